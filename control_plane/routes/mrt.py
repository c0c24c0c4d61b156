"""Routing tables out of MRT dumps (RFC 6396, TABLE_DUMP_V2; RFC 8050 for several paths per prefix), strictly.

Of each unicast prefix one route is given: of the peers that are asked for, the one with the shortest AS path, then the lowest MED,
then the first peer of the index. What is cut off, contradicts its own lengths or is no table ends the reading with a MrtError that
says at which byte. Multicast tables and the generic form are passed over; older TABLE_DUMP and update logs (BGP4MP) are refused: they
are no table of four-byte autonomous systems.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from contracts.routes import Route

_HEADER = struct.Struct("!IHHI")
_ENTRY = struct.Struct("!HI")
TABLE_DUMP_V2 = 13
LONGEST_RECORD = 16 * 1024 * 1024
"""Bytes; a prefix heard by 65,535 peers stays below."""


class Kind(IntEnum):
    """Subtypes of TABLE_DUMP_V2 that are read (RFC 6396 §4.3, RFC 8050 §4)."""

    PEERS = 1
    V4_UNICAST = 2
    V6_UNICAST = 4
    V4_UNICAST_PATHS = 8
    V6_UNICAST_PATHS = 10


PASSED_OVER = frozenset({3, 5, 6, 9, 11, 12})
"""Multicast and generic tables, with one or more paths."""
_VERSION = {Kind.V4_UNICAST: 4, Kind.V4_UNICAST_PATHS: 4, Kind.V6_UNICAST: 6, Kind.V6_UNICAST_PATHS: 6}
_WITH_PATHS = frozenset({Kind.V4_UNICAST_PATHS, Kind.V6_UNICAST_PATHS})
EXTENDED_LENGTH = 0x10
AS_PATH, NEXT_HOP, MED, MP_REACH = 2, 3, 4, 14
AS_SEQUENCE, AS_SET, CONFED_SEQUENCE, CONFED_SET = 2, 1, 3, 4


class MrtError(ValueError):
    """The bytes are no MRT table; the message says what and where."""


@dataclass(frozen=True, slots=True)
class Peer:
    address: str
    asn: int


class _Bytes:
    """A cursor that never reads beyond its end."""

    __slots__ = ("_at", "_base", "_data")

    def __init__(self, data: bytes, base: int = 0) -> None:
        self._data, self._at, self._base = data, 0, base

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    @property
    def place(self) -> int:
        return self._base + self._at

    def take(self, count: int, what: str) -> bytes:
        if count > self.left:
            raise MrtError(f"byte {self.place}: {what} needs {count} bytes and {self.left} are left")
        found = self._data[self._at : self._at + count]
        self._at += count
        return found

    def number(self, count: int, what: str) -> int:
        return int.from_bytes(self.take(count, what), "big")

    def part(self, count: int, what: str) -> _Bytes:
        base = self.place
        return _Bytes(self.take(count, what), base)


def routes(data: bytes, peer_as: int | None = None) -> Iterator[Route]:
    """All unicast prefixes with their best route; only of peers of one AS where it is given. Raises MrtError."""
    whole = _Bytes(data)
    peers: tuple[Peer, ...] | None = None
    while whole.left:
        start = whole.place
        _, type_, subtype, length = _HEADER.unpack(whole.take(_HEADER.size, "the header of a record"))
        if type_ != TABLE_DUMP_V2:
            raise MrtError(
                f"byte {start}: type {type_} is no TABLE_DUMP_V2: only tables can be read, not logs of updates"
            )
        if length > LONGEST_RECORD:
            raise MrtError(f"byte {start}: a record of {length} bytes is too long to be true")
        record = whole.part(length, "a record")
        if subtype in PASSED_OVER:
            continue
        try:
            kind = Kind(subtype)
        except ValueError:
            raise MrtError(f"byte {start}: subtype {subtype} of TABLE_DUMP_V2 is not known") from None
        if kind is Kind.PEERS:
            peers = _peers(record)
        elif peers is None:
            raise MrtError(f"byte {start}: routes before the index of peers")
        else:
            route = _best(record, kind, peers, peer_as)
            if route is not None:
                yield route
    if peers is None:
        raise MrtError("byte 0: there is no index of peers: this is no table")


def _peers(record: _Bytes) -> tuple[Peer, ...]:
    record.take(4, "the collector's id")
    record.take(record.number(2, "the length of the view's name"), "the view's name")
    found = []
    for _ in range(record.number(2, "the count of peers")):
        form = record.number(1, "a peer's form")
        record.take(4, "a peer's id")
        address = ipaddress.ip_address(record.take(16 if form & 1 else 4, "a peer's address"))
        found.append(Peer(str(address), record.number(4 if form & 2 else 2, "a peer's AS")))
    _ends(record, "the index of peers")
    return tuple(found)


def _best(record: _Bytes, kind: Kind, peers: tuple[Peer, ...], peer_as: int | None) -> Route | None:
    record.take(4, "a sequence number")
    cidr = _prefix(record, _VERSION[kind])
    best: tuple[tuple[int, int, int], Route] | None = None
    for _ in range(record.number(2, "the count of entries")):
        index, _at = _ENTRY.unpack(record.take(_ENTRY.size, "an entry"))
        if kind in _WITH_PATHS:
            record.take(4, "a path's id")
        place = record.place
        attributes = record.part(record.number(2, "the length of the attributes"), "the attributes")
        if index >= len(peers):
            raise MrtError(f"byte {place}: peer {index} is not among the {len(peers)} of the index")
        route = _route(cidr, attributes)
        rank = (len(route.as_path), route.med, index)
        if (peer_as is None or peers[index].asn == peer_as) and (best is None or rank < best[0]):
            best = rank, route
    _ends(record, cidr)
    return best[1] if best is not None else None


def _prefix(record: _Bytes, version: int) -> str:
    place = record.place
    length = record.number(1, "a prefix length")
    whole = 32 if version == 4 else 128
    if length > whole:
        raise MrtError(f"byte {place}: a prefix of /{length} in IPv{version}")
    bits = record.take((length + 7) // 8, "a prefix").ljust(whole // 8, b"\0")
    try:
        network = ipaddress.ip_network((bits, length))
    except ValueError as error:
        raise MrtError(f"byte {place}: {error}") from error
    return str(network)


def _route(cidr: str, attributes: _Bytes) -> Route:
    path: tuple[int, ...] = ()
    med, next_hop = 0, ""
    while attributes.left:
        flags, kind = attributes.take(2, "an attribute")
        size = attributes.number(2 if flags & EXTENDED_LENGTH else 1, "an attribute's length")
        value = attributes.part(size, "an attribute's value")
        if kind == AS_PATH:
            path = _as_path(value)
        elif kind == NEXT_HOP:
            next_hop = _address(value.take(value.left, "a next hop"), value.place)
        elif kind == MED:
            med = value.number(4, "a MED")
        elif kind == MP_REACH:
            next_hop = _mp_next_hop(value) or next_hop
    return Route(cidr, path, med, next_hop)


def _as_path(value: _Bytes) -> tuple[int, ...]:
    """Up to the first set: what is in it has no order, and the origin of the route is not known (RFC 6811 §2)."""
    found: list[int] = []
    is_ordered = True
    while value.left:
        place = value.place
        kind, count = value.take(2, "a segment of an AS path")
        numbers = [value.number(4, "an AS") for _ in range(count)]
        if kind == AS_SEQUENCE:
            found += numbers if is_ordered else []
        elif kind == AS_SET:
            is_ordered = False
        elif kind not in (CONFED_SEQUENCE, CONFED_SET):
            raise MrtError(f"byte {place}: a segment of kind {kind} in an AS path")
    return tuple(found) if is_ordered else (*found, 0)


def _mp_next_hop(value: _Bytes) -> str:
    """The short form of RFC 6396 §4.3.4 begins with the length; the whole one of RFC 4760 with family 1 or 2 and its sub-family."""
    first = value.number(1, "the length of a next hop")
    if first == 0:
        value.take(2, "an address family")
        first = value.number(1, "the length of a next hop")
    raw = value.take(first, "a next hop")
    return _address(raw[:16] if len(raw) == 32 else raw, value.place)


def _address(raw: bytes, place: int) -> str:
    if len(raw) not in (4, 16):
        raise MrtError(f"byte {place}: a next hop of {len(raw)} bytes")
    return str(ipaddress.ip_address(raw))


def _ends(record: _Bytes, what: str) -> None:
    if record.left:
        raise MrtError(f"byte {record.place}: {record.left} bytes too many after {what}")
