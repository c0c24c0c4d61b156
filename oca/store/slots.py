"""Which access mark belongs to which extent. Pure.

Slots are reused as late as possible: a worker that touches an extent at the very moment its slot changes hands could put the old id back,
and the new extent would look cold for good. With the oldest free slot first, no worker still has the old record.
"""

from __future__ import annotations

from collections import deque

from oca.store.marks import NO_SLOT


class Slots:
    """Slots 0 … count − 1."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._next = 0
        self._free: deque[int] = deque()
        self._owners: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._owners)

    def take(self, extent_id: int) -> int:
        """A slot that nobody had yet, else the one that is free for the longest time, else NO_SLOT."""
        while self._next < self._count:
            slot = self._next
            self._next += 1
            if slot not in self._owners:
                self._owners[slot] = extent_id
                return slot
        if not self._free:
            return NO_SLOT
        slot = self._free.popleft()
        self._owners[slot] = extent_id
        return slot

    def claim(self, slot: int, extent_id: int) -> bool:
        """An extent of the index has this slot already; False when that cannot be (taken twice, or out of range).

        Only before the first `take`.
        """
        if slot >= self._count or slot in self._owners:
            return False
        self._owners[slot] = extent_id
        return True

    def owner(self, slot: int) -> int | None:
        """The extent that has the slot now."""
        return self._owners.get(slot)

    def give_back(self, slot: int) -> None:
        """Free again. A slot below the high mark queues up; one above it is still to come."""
        if self._owners.pop(slot, None) is not None and slot < self._next:
            self._free.append(slot)
