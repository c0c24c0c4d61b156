"""Which sites announce the networks a client's address lies in: longest prefix first.

The port is `PrefixTable`; the pure table here answers for any number of prefixes with one look-up per announced length,
`steering.trie` is the adapter over pytricia. Both pass the same contract tests. A table never changes once made.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Announcement:
    """One site announces one prefix, with the BGP attributes where a feed gave them."""

    cidr: str
    site_id: str
    as_path_length: int = 1
    med: int = 0


@dataclass(frozen=True, slots=True)
class Match:
    """An announced prefix that covers an address, and who announces it."""

    cidr: str
    announcements: tuple[Announcement, ...]


class PrefixTable(Protocol):
    def covering(self, address: IpAddress) -> tuple[Match, ...]:
        """All announced prefixes that cover the address, the longest first; empty when there is none."""


TableMaker = Callable[[Iterable[Announcement]], PrefixTable]


def parse_address(text: str) -> IpAddress:
    """An address as the network sees it: IPv4 inside IPv6 is IPv4, a zone is dropped. Raises ValueError."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_prefix(text: str) -> bool:
    """True for a network in CIDR form without host bits."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def by_prefix(announcements: Iterable[Announcement]) -> dict[str, Match]:
    """Announcements together by canonical prefix. What is no prefix (or has host bits) raises ValueError naming it."""
    found: dict[str, list[Announcement]] = defaultdict(list)
    for one in announcements:
        found[str(ipaddress.ip_network(one.cidr))].append(one)
    return {cidr: Match(cidr, tuple(sorted(ones, key=lambda a: a.site_id))) for cidr, ones in found.items()}


class HashedPrefixes:
    """One dictionary per family; an address is asked with each length that is announced, the longest first."""

    def __init__(self, announcements: Iterable[Announcement]) -> None:
        self._matches: dict[int, dict[tuple[int, int], Match]] = {4: {}, 6: {}}
        for match in by_prefix(announcements).values():
            network = ipaddress.ip_network(match.cidr)
            bits = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
            self._matches[network.version][(network.prefixlen, bits)] = match
        self._lengths = {
            version: sorted({length for length, _ in matches}, reverse=True)
            for version, matches in self._matches.items()
        }

    def covering(self, address: IpAddress) -> tuple[Match, ...]:
        matches, bits = self._matches[address.version], int(address)
        found = (
            matches.get((length, bits >> (address.max_prefixlen - length))) for length in self._lengths[address.version]
        )
        return tuple(match for match in found if match is not None)
