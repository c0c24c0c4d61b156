"""What a steering server answers (RFC 8216bis §7, ETSI TS 103 998: one JSON for HLS and DASH), and the clones it makes. Pure.

BadGuidance is the one error that leaves this module. Clones are made by another host and further query parameters; one that names an
address per rendition (`PER-VARIANT-URIS`, `PER-RENDITION-URIS`) is taken as far as its host and parameters go.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from player.presentation import Address

VERSION = 1
DEFAULT_TTL_S = 300.0
LEAST_TTL_S = 1.0
"""A server that says less is asked once a second: a player is no load generator."""


class BadGuidance(Exception):
    """The answer is no steering manifest of version 1; the message says why."""


@dataclass(frozen=True, slots=True)
class Clone:
    """A pathway that is another one's on another host. `params` are added to the query, or take the place of what it has."""

    id: str
    base: str
    host: str = ""
    params: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Guidance:
    """`reload_uri` may be relative, and is empty where the same address is asked again."""

    ttl_s: float
    reload_uri: str
    priority: tuple[str, ...]
    clones: tuple[Clone, ...] = ()


class _Replacement(msgspec.Struct, rename={"host": "HOST", "params": "PARAMS"}):
    host: str = ""
    params: dict[str, str] = {}


class _Clone(msgspec.Struct, rename={"base": "BASE-ID", "id": "ID", "replacement": "URI-REPLACEMENT"}):
    base: str
    id: str
    replacement: _Replacement


class _Written(
    msgspec.Struct,
    rename={
        "version": "VERSION",
        "ttl_s": "TTL",
        "reload_uri": "RELOAD-URI",
        "priority": "PATHWAY-PRIORITY",
        "clones": "PATHWAY-CLONES",
    },
):
    version: int
    priority: tuple[str, ...]
    ttl_s: float = DEFAULT_TTL_S
    reload_uri: str = ""
    clones: tuple[_Clone, ...] = ()


def read(body: bytes) -> Guidance:
    """Raises BadGuidance. Unknown keys are ignored, and so are clones that replace nothing or whose HOST is none; a pathway named twice
    counts where it stands first."""
    try:
        found = msgspec.json.decode(body, type=_Written)
    except msgspec.MsgspecError as error:
        raise BadGuidance(f"not a steering manifest: {error}") from error
    if found.version != VERSION:
        raise BadGuidance(f"version {found.version} of a steering manifest is not known here")
    priority = tuple(dict.fromkeys(filter(None, found.priority)))
    if not priority:
        raise BadGuidance("PATHWAY-PRIORITY names no pathway")
    if not math.isfinite(found.ttl_s) or found.ttl_s <= 0:
        raise BadGuidance(f"a TTL of {found.ttl_s} is no time to wait")
    clones = (
        Clone(one.id, one.base, one.replacement.host, tuple(one.replacement.params.items()))
        for one in found.clones
        if one.id
        and one.base
        and (one.replacement.host or one.replacement.params)
        and _may_be_host(one.replacement.host)
    )
    return Guidance(max(found.ttl_s, LEAST_TTL_S), found.reload_uri, priority, tuple(clones))


def with_clones(addresses: Iterable[Address], clones: Iterable[Clone]) -> tuple[Address, ...]:
    """The addresses and their clones, which may be clones of clones. A clone of what is not there, or under a name that is taken, is left out."""
    known = {address.location: address for address in reversed(list(addresses))}
    found = list(addresses)
    for clone in clones:
        if clone.base in known and clone.id not in known:
            known[clone.id] = cloned(known[clone.base], clone)
            found.append(known[clone.id])
    return tuple(found)


def cloned(address: Address, clone: Clone) -> Address:
    """The same path on the clone's host. A host without a port keeps the port."""
    parts = urlsplit(address.url)
    netloc = parts.netloc
    if clone.host:
        has_port = re.search(r":\d+$", clone.host) or parts.port is None
        netloc = clone.host if has_port else f"{clone.host}:{parts.port}"
    query = parts.query
    if clone.params:
        replaced = dict(clone.params)
        kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in replaced]
        query = urlencode([*kept, *clone.params])
    return Address(parts._replace(netloc=netloc, query=query).geturl(), clone.id)


def _may_be_host(host: str) -> bool:
    """Whether an address with this host, or host and port, can be taken apart again. Empty keeps the host of the base."""
    if not host:
        return True
    try:
        parts = urlsplit(f"//{host}")
        return parts.netloc == host and bool(parts.hostname) and (parts.port is not None or host[-1] != ":")
    except ValueError:
        return False
