"""S3-FIFO (Yang et al., SOSP 2023): a small queue that sifts, a main queue that keeps, a ghost queue that remembers.

New keys enter the small queue (a tenth of the capacity), or the main queue when the ghost remembers them, or while nothing was ever
evicted and the small queue is full. From the small queue those hit twice or more move to main, others are evicted and
remembered (as many bytes as nine tenths of the capacity). Main is a clock with a two-bit counter.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_SMALL_SHARE = 0.1
_PROMOTE_AT = 2
_MAX_HITS = 3


class _Queue(Generic[K]):
    """First in, first out, with sizes and hit counts."""

    def __init__(self) -> None:
        self.capacity_bytes = 0
        self.used_bytes = 0
        self.entries: OrderedDict[K, tuple[int, int]] = OrderedDict()

    def push(self, key: K, size: int, hits: int) -> None:
        self.entries[key] = (size, hits)
        self.used_bytes += size

    def push_oldest(self, key: K, size: int, hits: int) -> None:
        self.push(key, size, hits)
        self.entries.move_to_end(key, last=False)

    def pop_oldest(self) -> tuple[K, int, int]:
        key, (size, hits) = self.entries.popitem(last=False)
        self.used_bytes -= size
        return key, size, hits

    def discard(self, key: K) -> bool:
        entry = self.entries.pop(key, None)
        if entry is None:
            return False
        self.used_bytes -= entry[0]
        return True

    def hit(self, key: K, count: int) -> bool:
        entry = self.entries.get(key)
        if entry is None:
            return False
        self.entries[key] = (entry[0], min(entry[1] + count, _MAX_HITS))
        return True


def _nobody(key: object) -> bool:
    return False


class S3Fifo(Generic[K]):
    def __init__(self, capacity_bytes: int) -> None:
        self._small, self._main, self._ghost = _Queue[K](), _Queue[K](), _Queue[K]()
        self._has_evicted = False
        self.resize(capacity_bytes)

    @property
    def used_bytes(self) -> int:
        return self._small.used_bytes + self._main.used_bytes

    def __len__(self) -> int:
        return len(self._small.entries) + len(self._main.entries)

    def __contains__(self, key: object) -> bool:
        return key in self._small.entries or key in self._main.entries

    def resize(self, capacity_bytes: int) -> None:
        """Main is evicted from when it has more than nine tenths of what there really is: else it would swallow the small queue, or starve."""
        small = int(capacity_bytes * _SMALL_SHARE)
        self._small.capacity_bytes = small
        self._main.capacity_bytes = self._ghost.capacity_bytes = capacity_bytes - small

    def on_insert(self, key: K, size: int) -> None:
        if key in self:
            self.remove(key)
        remembered = self._ghost.discard(key)
        filling = not self._has_evicted and self._small.used_bytes >= self._small.capacity_bytes
        (self._main if remembered or filling else self._small).push(key, size, 0)

    def on_access(self, key: K, count: int = 1) -> None:
        if not self._small.hit(key, count):
            self._main.hit(key, count)

    def remove(self, key: K) -> None:
        if not self._small.discard(key):
            self._main.discard(key)

    def victims(self, need_bytes: int, is_spared: Callable[[K], bool] | None = None) -> list[K]:
        chosen: list[K] = []
        freed = 0
        aside: list[tuple[_Queue[K], K, int, int]] = []
        while freed < need_bytes:
            gone = self._evict_one(is_spared or _nobody, aside)
            if gone is None:
                break
            chosen.append(gone[0])
            freed += gone[1]
        for queue, key, size, hits in reversed(aside):
            queue.push_oldest(key, size, hits)
        return chosen

    def _evict_one(
        self, is_spared: Callable[[K], bool], aside: list[tuple[_Queue[K], K, int, int]]
    ) -> tuple[K, int] | None:
        """(key, size), or None when nothing is left. What is spared is set aside, to be put back where it was."""
        self._has_evicted = True
        if self._main.used_bytes <= self._main.capacity_bytes or not self._main.entries:
            while self._small.entries:
                key, size, hits = self._small.pop_oldest()
                if is_spared(key):
                    aside.append((self._small, key, size, hits))
                elif hits < _PROMOTE_AT:
                    self._remember(key, size)
                    return key, size
                else:
                    self._main.push(key, size, 0)
        while self._main.entries:
            key, size, hits = self._main.pop_oldest()
            if is_spared(key):
                aside.append((self._main, key, size, hits))
            elif not hits:
                return key, size
            else:
                self._main.push(key, size, hits - 1)
        return self._evict_one(is_spared, aside) if self._small.entries else None

    def _remember(self, key: K, size: int) -> None:
        if size > self._ghost.capacity_bytes:
            return
        while self._ghost.used_bytes + size > self._ghost.capacity_bytes:
            self._ghost.pop_oldest()
        self._ghost.push(key, size, 0)
