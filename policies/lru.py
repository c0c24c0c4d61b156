"""Least recently used: the baseline. A hit moves to the young end, victims come from the old end."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Lru(Generic[K]):
    def __init__(self) -> None:
        self._sizes: OrderedDict[K, int] = OrderedDict()
        self._used = 0

    @property
    def used_bytes(self) -> int:
        return self._used

    def __len__(self) -> int:
        return len(self._sizes)

    def __contains__(self, key: object) -> bool:
        return key in self._sizes

    def resize(self, capacity_bytes: int) -> None:
        """One queue, whatever its size."""

    def on_insert(self, key: K, size: int) -> None:
        self.remove(key)
        self._sizes[key] = size
        self._used += size

    def on_access(self, key: K, count: int = 1) -> None:
        if key in self._sizes:
            self._sizes.move_to_end(key)

    def remove(self, key: K) -> None:
        self._used -= self._sizes.pop(key, 0)

    def victims(self, need_bytes: int, is_spared: Callable[[K], bool] | None = None) -> list[K]:
        chosen: list[K] = []
        freed = 0
        for key, size in self._sizes.items():
            if freed >= need_bytes:
                break
            if is_spared is None or not is_spared(key):
                freed += size
                chosen.append(key)
        for key in chosen:
            del self._sizes[key]
        self._used -= freed
        return chosen
