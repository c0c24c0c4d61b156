"""Which access mark belongs to which extent: the lowest free slot of a disk. Pure."""

from __future__ import annotations

import heapq

from oca.store.marks import NO_SLOT


class Slots:
    """Slots 0 … count − 1. A slot that is free again may be taken at once: the mark carries the extent's id."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._next = 0
        self._free: list[int] = []
        self._owners: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._owners)

    def take(self, extent_id: int) -> int:
        """The lowest free slot, or NO_SLOT when all are taken."""
        while self._free:
            slot = heapq.heappop(self._free)
            if slot not in self._owners:
                self._owners[slot] = extent_id
                return slot
        while self._next < self._count:
            slot = self._next
            self._next += 1
            if slot not in self._owners:
                self._owners[slot] = extent_id
                return slot
        return NO_SLOT

    def claim(self, slot: int, extent_id: int) -> bool:
        """An extent of the index has this slot already; False when that cannot be (taken twice, or out of range)."""
        if slot >= self._count or slot in self._owners:
            return False
        self._owners[slot] = extent_id
        return True

    def owner(self, slot: int) -> int | None:
        """The extent that has the slot now."""
        return self._owners.get(slot)

    def give_back(self, slot: int) -> None:
        if self._owners.pop(slot, None) is not None:
            heapq.heappush(self._free, slot)
