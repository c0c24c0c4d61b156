"""What an ideal LRU of the same disk would have served of the same views: the standard that the live one is held against. Pure.

It holds whole files, evicts at once, and wastes no byte: better than any real disk of that size.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence


class IdealLru:
    """One cache for a whole site."""

    def __init__(self, disk_bytes: int) -> None:
        self._disk_bytes = disk_bytes
        self._used_bytes = 0
        self._held: OrderedDict[int, int] = OrderedDict()

    def serve(self, entry: int, size_bytes: int) -> bool:
        """True when it was held; it is held afterwards unless it is larger than the disk."""
        if entry in self._held:
            self._held.move_to_end(entry)
            return True
        if size_bytes > self._disk_bytes:
            return False
        self._held[entry] = size_bytes
        self._used_bytes += size_bytes
        while self._used_bytes > self._disk_bytes:
            _, gone = self._held.popitem(last=False)
            self._used_bytes -= gone
        return False


def inside_by_day(days: Iterable[Sequence[int]], sizes: Sequence[int], disk_bytes: int) -> list[float]:
    """Share of each day's bytes that an ideal LRU serves; `days` has the files asked for, in order."""
    cache, shares = IdealLru(disk_bytes), []
    for asked in days:
        total = sum(sizes[entry] for entry in asked)
        held = sum(sizes[entry] for entry in asked if cache.serve(entry, sizes[entry]))
        shares.append(held / total if total else 0.0)
    return shares
