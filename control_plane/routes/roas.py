"""Route origin validation (RFC 6811) against a validated list, as rpki-client and Routinator write it in JSON.

A route is *valid* when some entry covers its prefix, names its origin, and allows its length; *invalid* when entries cover it and
none does; *unknown* otherwise. An entry for AS 0 allows nothing (RFC 6483 §4). A route without an origin (an empty AS path: the
ISP's own) cannot be matched: covered, it is invalid; so RFC 6811 §2 has it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

import msgspec

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Validity(Enum):
    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"


class RoaListError(Exception):
    """The list cannot be used; the message says why."""


class RoaEntry(msgspec.Struct, frozen=True):
    """A line of `roas`. rpki-client writes the AS as a number, Routinator as `AS64500`."""

    prefix: str
    asn: int | str
    max_length: int = msgspec.field(name="maxLength", default=0)


class RoaFile(msgspec.Struct, frozen=True):
    """What we need of the file; all else in it is passed over."""

    roas: tuple[RoaEntry, ...]


@dataclass(frozen=True, slots=True)
class Roas:
    """The list by (version, length, first bits) → (origin, longest length) of each entry."""

    entries: Mapping[tuple[int, int, int], tuple[tuple[int, int], ...]]
    count: int

    def validity(self, network: Network, origin_as: int | None) -> Validity:
        covered = False
        bits, whole = int(network.network_address), network.max_prefixlen
        for length in range(network.prefixlen + 1):
            for asn, longest in self.entries.get((network.version, length, bits >> (whole - length)), ()):
                covered = True
                if asn and asn == origin_as and network.prefixlen <= longest:
                    return Validity.VALID
        return Validity.INVALID if covered else Validity.UNKNOWN


def read_roas(raw: bytes) -> Roas:
    """Raises RoaListError. A list without entries is refused: it would call every route unknown without anybody noticing."""
    try:
        found = msgspec.json.decode(raw, type=RoaFile)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RoaListError(f"is not a validated RPKI list in JSON: {error}") from error
    if not found.roas:
        raise RoaListError("has no entries")
    return roas_of(found.roas)


def roas_of(entries: Iterable[RoaEntry]) -> Roas:
    """Raises RoaListError naming the first entry that makes no sense."""
    table: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
    count = 0
    for entry in entries:
        try:
            network = ipaddress.ip_network(entry.prefix)
            asn = _asn(entry.asn)
        except ValueError as error:
            raise RoaListError(f"entry {count + 1}: {error}") from error
        longest = entry.max_length or network.prefixlen
        if not network.prefixlen <= longest <= network.max_prefixlen:
            raise RoaListError(f"entry {count + 1}: {entry.prefix} cannot have a maxLength of {longest}")
        key = (
            network.version,
            network.prefixlen,
            int(network.network_address) >> (network.max_prefixlen - network.prefixlen),
        )
        table.setdefault(key, []).append((asn, longest))
        count += 1
    return Roas({key: tuple(its) for key, its in table.items()}, count)


def _asn(given: int | str) -> int:
    text = str(given).upper().removeprefix("AS")
    if not (text.isascii() and text.isdigit()) or int(text) >= 1 << 32:
        raise ValueError(f"{given!r} is no number of an autonomous system")
    return int(text)
