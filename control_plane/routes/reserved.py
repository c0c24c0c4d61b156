"""Networks that are nobody's customers: an announcement inside them, or around them, comes from a mistake or a lab.

From the IANA registries of special-purpose addresses (RFC 6890 and those that update it), RFC 1918, RFC 6598, RFC 4193; multicast
(RFC 5771, RFC 4291 §2.7) and the class E space (RFC 1112 §4). Of IPv6 only 2000::/3 is given out at all (RFC 4291 §2.4).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Reserved:
    network: Network
    what: str


def _table(*rows: tuple[str, str]) -> tuple[Reserved, ...]:
    return tuple(Reserved(ipaddress.ip_network(cidr), what) for cidr, what in rows)


V4 = _table(
    ("0.0.0.0/8", "this network, RFC 791"),
    ("10.0.0.0/8", "private, RFC 1918"),
    ("100.64.0.0/10", "shared behind carriers' address translation, RFC 6598"),
    ("127.0.0.0/8", "loopback, RFC 1122"),
    ("169.254.0.0/16", "link-local, RFC 3927"),
    ("172.16.0.0/12", "private, RFC 1918"),
    ("192.0.0.0/24", "protocol assignments, RFC 6890"),
    ("192.0.2.0/24", "documentation, RFC 5737"),
    ("192.88.99.0/24", "6to4 relays, RFC 7526"),
    ("192.168.0.0/16", "private, RFC 1918"),
    ("198.18.0.0/15", "benchmarks, RFC 2544"),
    ("198.51.100.0/24", "documentation, RFC 5737"),
    ("203.0.113.0/24", "documentation, RFC 5737"),
    ("224.0.0.0/4", "multicast, RFC 5771"),
    ("240.0.0.0/4", "class E, RFC 1112"),
)
V6 = _table(
    ("2001::/23", "protocol assignments, RFC 2928"),
    ("2001:db8::/32", "documentation, RFC 3849"),
    ("2002::/16", "6to4, RFC 7526"),
    ("3fff::/20", "documentation, RFC 9637"),
)
GIVEN_OUT_V6 = ipaddress.IPv6Network("2000::/3")
UNASSIGNED_V6 = "outside 2000::/3: loopback, unique local, link-local, multicast or not given out, RFC 4291"


def reserved(network: Network) -> str | None:
    """What the network is reserved for, where it lies in a reserved one or contains one whole; None where it is ordinary.

    A short prefix that only contains a reserved network as a part of much else (3.0.0.0/8 does not, 192.0.0.0/8 does) is judged
    reserved too: no registry gives such a block to one ISP.
    """
    if isinstance(network, ipaddress.IPv4Network):
        rows = V4
    elif network.subnet_of(GIVEN_OUT_V6):
        rows = V6
    else:
        return UNASSIGNED_V6
    return next((row.what for row in rows if row.network.overlaps(network)), None)


def is_inside_reserved(network: Network) -> bool:
    """True when all of it is reserved."""
    if isinstance(network, ipaddress.IPv4Network):
        return any(network.subnet_of(row.network) for row in V4 if isinstance(row.network, ipaddress.IPv4Network))
    if not network.overlaps(GIVEN_OUT_V6):
        return True
    return any(network.subnet_of(row.network) for row in V6 if isinstance(row.network, ipaddress.IPv6Network))
