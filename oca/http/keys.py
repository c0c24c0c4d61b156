"""From a request target to token, path and cache key (DESIGN §3.3, §3.4). The query never reaches a media key.

Keys: `vod|/media/…` for media. A pulled object has a *service key*, `SERVICE|/path?query`, under which its variants and their freshness are
recorded, and one *storage key* per version, `SERVICE|/path?query#VERSION`, under which bytes lie: no target has a `#`, so that both are told
apart, and what is purged by key or prefix takes the storage keys with it.

A target is origin-form or absolute-form (RFC 9112 §3.2). Percent-encoded unreserved characters are the characters
themselves (RFC 3986 §6.2.2.2). Media names have exactly one spelling (`contracts.urls`), so that a path with anything else
left (dot segments, empty segments, capitals) is no address of ours rather than something to be repaired.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from contracts.urls import parse_media_path, split_token
from oca.http.reasons import Outcome
from oca.http.request import HOST, Request, RequestRefused

_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]+)([/?].*)?")
_DEFAULT_PORTS = ("", "80", "443")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


@dataclass(frozen=True, slots=True)
class Address:
    """What a target names. `key` is None when the path is none of media; `host` None when the target does not say."""

    token: str | None
    path: str
    key: str | None
    host: bytes | None


def read_target(target: bytes) -> Address:
    """Raises RequestRefused (400, fatal) for a target that is no address at all."""
    host: bytes | None = None
    if not target.startswith(b"/"):
        match = _ABSOLUTE.fullmatch(target)
        if match is None:
            raise RequestRefused(Outcome.BAD_REQUEST, "the request target is not an address")
        host, target = match[1], match[2] or b"/"
    if b"#" in target:
        raise RequestRefused(Outcome.BAD_REQUEST, "a request target has no fragment")
    raw, _mark, _query = target.partition(b"?")
    if b"%" in raw:
        raw = _ESCAPE.sub(_unescape, raw)
    token, path = split_token(raw.decode("latin-1"))
    name = parse_media_path(path)
    return Address(token, path, None if name is None else name.key, host)


@dataclass(frozen=True, slots=True)
class Resource:
    """What a target names in a pull-through service: `path` (with its query) is what goes upstream, and the key says no less."""

    service: str
    path: str
    host: bytes | None

    @property
    def key(self) -> str:
        return f"{self.service}|{self.path}"


def read_resource(service: str, target: bytes, kept: frozenset[str] | None) -> Resource:
    """`kept` names the query parameters that stay, None keeps all; their order stays, and `CMCD` never does (CTA-5004 §2.2).

    Raises RequestRefused (400): no address, or one with dot segments, which could leave the upstream's base path.
    """
    host: bytes | None = None
    if not target.startswith(b"/"):
        match = _ABSOLUTE.fullmatch(target)
        if match is None:
            raise RequestRefused(Outcome.BAD_REQUEST, "the request target is not an address")
        host, target = match[1], match[2] or b"/"
        target = target if target.startswith(b"/") else b"/" + target
    if b"#" in target:
        raise RequestRefused(Outcome.BAD_REQUEST, "a request target has no fragment")
    raw, mark, query = target.partition(b"?")
    if b"%" in raw:
        raw = _ESCAPE.sub(_unescape, raw)
    if any(segment in (b".", b"..") for segment in raw.split(b"/")):
        raise RequestRefused(Outcome.BAD_REQUEST, "a path has no dot segments", fatal=False)
    if query:
        parameters = [part for part in query.split(b"&") if _stays(part, kept)]
        query, mark = b"&".join(parameters), b"?" if parameters else b""
    return Resource(service, (raw + mark + query).decode("latin-1"), host)


def _stays(parameter: bytes, kept: frozenset[str] | None) -> bool:
    name = parameter.partition(b"=")[0].decode("latin-1")
    return name != "CMCD" and (kept is None or name in kept)


def storage_key(service_key: str, version: bytes) -> str:
    """Under which the bytes of one version of a pulled object lie."""
    return f"{service_key}#{version.hex()}"


def service_key(key: str) -> str:
    """The service key of a storage key; any other key is its own."""
    return key.partition("#")[0]


def target_host(target: bytes) -> bytes | None:
    """The host of a target in absolute form, which counts in place of the Host header (RFC 9112 §3.2.2); None without."""
    match = None if target.startswith(b"/") else _ABSOLUTE.fullmatch(target)
    return match[1] if match is not None else None


def host_of(request: Request, address: Address) -> bytes | None:
    """The host (with port, lower case) that the request is for; None for HTTP/1.0 without one. Raises RequestRefused."""
    host = address.host if address.host is not None else request.headers.get(b"host")
    if host is None:
        return None
    if HOST.fullmatch(host) is None:
        raise RequestRefused(Outcome.BAD_REQUEST, "the Host header is malformed")
    return host.lower()


def host_spellings(names: Iterable[str]) -> frozenset[bytes]:
    """All ways to write hosts that are served (RFC 9110 §4.2.3): a default port is said, left out or left empty.

    80 and 443 are both taken for default: a host selects a delivery service, not a scheme.
    """
    found: set[str] = set()
    for name in names:
        host, colon, port = name.lower().rpartition(":")
        if not colon or (host.startswith("[") and not host.endswith("]")):  # no port, or the colons of an IPv6 address
            host, port = name.lower(), ""
        found.update(
            (f"{host}:{port}",) if port not in _DEFAULT_PORTS else (host, *(f"{host}:{p}" for p in _DEFAULT_PORTS))
        )
    return frozenset(name.encode() for name in found)


def _unescape(match: re.Match[bytes]) -> bytes:
    digits = match[1]
    if digits is None:
        raise RequestRefused(Outcome.BAD_REQUEST, "a percent sign without two hexadecimal digits")
    value = int(digits, 16)
    return bytes((value,)) if value in _UNRESERVED else b"%" + digits.upper()
