"""Writers of what others write: MRT tables (RFC 6396) and MaxMind databases, as small as tests need them."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Mapping

Entry = tuple[int, tuple[int, ...], int, str]
"""(peer, AS path, MED, next hop)."""


def record(subtype: int, body: bytes, type_: int = 13) -> bytes:
    return struct.pack("!IHHI", 1_700_000_000, type_, subtype, len(body)) + body


def peers(*rows: tuple[str, int]) -> bytes:
    body = b"\x0a\0\0\1" + struct.pack("!H", 4) + b"view" + struct.pack("!H", len(rows))
    for address, asn in rows:
        packed = ipaddress.ip_address(address).packed
        body += bytes([2 | (len(packed) == 16)]) + b"\x0a\0\0\2" + packed + struct.pack("!I", asn)
    return record(1, body)


def attribute(kind: int, value: bytes, *, extended: bool = False) -> bytes:
    size = struct.pack("!H", len(value)) if extended else bytes([len(value)])
    return bytes([0x40 | (0x10 if extended else 0), kind]) + size + value


def attributes(path: tuple[int, ...], med: int, next_hop: str) -> bytes:
    made = attribute(1, b"\0") + attribute(2, segment(2, path), extended=True) + attribute(4, struct.pack("!I", med))
    packed = ipaddress.ip_address(next_hop).packed
    return made + (attribute(3, packed) if len(packed) == 4 else attribute(14, bytes([16]) + packed))


def segment(kind: int, path: tuple[int, ...]) -> bytes:
    return bytes([kind, len(path)]) + b"".join(struct.pack("!I", asn) for asn in path) if path else b""


def rib(cidr: str, *entries: Entry, with_paths: bool = False, raw: bytes | None = None) -> bytes:
    network = ipaddress.ip_network(cidr)
    body = struct.pack("!IB", 0, network.prefixlen) + network.network_address.packed[: (network.prefixlen + 7) // 8]
    body += struct.pack("!H", len(entries))
    for peer, path, med, next_hop in entries:
        its = raw if raw is not None else attributes(path, med, next_hop)
        body += struct.pack("!HI", peer, 0) + (b"\0\0\0\1" if with_paths else b"") + struct.pack("!H", len(its)) + its
    subtype = {4: 2, 6: 4}[network.version] + (6 if with_paths else 0)
    return record(subtype, body)


# -- MaxMind's format (maxmind.github.io/MaxMind-DB, version 2.0): records of 32 bits, IPv4 below ::/96 --------------


class Short(int):
    """Sixteen bits."""


class Long(int):
    """Sixty-four bits."""


def mmdb(networks: Mapping[str, Mapping[str, object]], kind: str = "GeoLite2-ASN") -> bytes:
    root: list[object] = [None, None]
    for cidr, data in networks.items():
        network = ipaddress.ip_network(cidr)
        bits = int(network.network_address)
        length = network.prefixlen + (96 if network.version == 4 else 0)
        node = root
        for depth in range(length - 1):
            node = _child(node, bits >> (127 - depth) & 1)
        node[bits >> (128 - length) & 1] = dict(data)
    nodes: list[list[object]] = []
    _number(root, nodes)
    places = {id(node): n for n, node in enumerate(nodes)}
    tree, section = b"", b""
    for node in nodes:
        for side in node:
            if side is None:
                value = len(nodes)
            elif isinstance(side, list):
                value = places[id(side)]
            else:
                value = len(nodes) + 16 + len(section)
                section += _encoded(side)
            tree += struct.pack("!I", value)
    metadata = {
        "node_count": len(nodes), "record_size": Short(32), "ip_version": Short(6), "database_type": kind, "languages": [],
        "binary_format_major_version": Short(2), "binary_format_minor_version": Short(0), "build_epoch": Long(1), "description": {},
    }  # fmt: skip
    return tree + b"\0" * 16 + section + b"\xab\xcd\xefMaxMind.com" + _encoded(metadata)


def _child(node: list[object], side: int) -> list[object]:
    child = node[side]
    if isinstance(child, list):
        return child
    made: list[object] = [None, None]
    node[side] = made
    return made


def _number(node: list[object], nodes: list[list[object]]) -> None:
    nodes.append(node)
    for side in node:
        if isinstance(side, list):
            _number(side, nodes)


def _encoded(value: object) -> bytes:
    match value:
        case str():
            raw = value.encode()
            return bytes([2 << 5 | len(raw)]) + raw
        case Short():
            return bytes([5 << 5 | 2]) + value.to_bytes(2, "big")
        case Long():
            return bytes([8, 9 - 7]) + value.to_bytes(8, "big")
        case int():
            raw = value.to_bytes(4, "big")
            return bytes([6 << 5 | 4]) + raw
        case dict():
            return bytes([7 << 5 | len(value)]) + b"".join(_encoded(k) + _encoded(v) for k, v in value.items())
        case list():
            return bytes([len(value), 11 - 7]) + b"".join(_encoded(v) for v in value)
    raise TypeError(f"{value!r}")


def joined(parts: Iterable[bytes]) -> bytes:
    return b"".join(parts)
