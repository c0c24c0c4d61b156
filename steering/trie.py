"""The prefix table over pytricia, a Patricia trie in C: look-ups do not grow with the number of lengths."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from pytricia import PyTricia

from steering.prefixes import Announcement, IpAddress, Match, PrefixTable, by_prefix


class TriePrefixes:
    """A `PrefixTable`."""

    def __init__(self, announcements: Iterable[Announcement]) -> None:
        self._tries = {4: PyTricia(32), 6: PyTricia(128, socket.AF_INET6)}
        for cidr, match in by_prefix(announcements).items():
            self._tries[6 if ":" in cidr else 4][cidr] = match

    def covering(self, address: IpAddress) -> tuple[Match, ...]:
        trie = self._tries[address.version]
        found: list[Match] = []
        cidr = trie.get_key(str(address))
        while cidr is not None:
            found.append(trie[cidr])
            cidr = trie.parent(cidr)
        return tuple(found)


def make_table(announcements: Iterable[Announcement]) -> PrefixTable:
    """The table that the service uses."""
    return TriePrefixes(announcements)
