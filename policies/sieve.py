"""SIEVE (Zhang et al., NSDI 2024): one queue, one visited bit, one hand that moves from the old end to the young.

New keys enter at the young end. The hand clears visited bits as it passes and evicts the first key without one; it stays where it
stopped. A hit only sets a bit, so that nothing moves: quick demotion of what is asked for once, lazy promotion of the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class _Node(Generic[K]):
    __slots__ = ("key", "older", "size", "visited", "younger")

    def __init__(self, key: K, size: int) -> None:
        self.key = key
        self.size = size
        self.visited = False
        self.older: _Node[K] | None = None
        self.younger: _Node[K] | None = None


class Sieve(Generic[K]):
    def __init__(self) -> None:
        self._nodes: dict[K, _Node[K]] = {}
        self._oldest: _Node[K] | None = None
        self._youngest: _Node[K] | None = None
        self._hand: _Node[K] | None = None
        self._used = 0

    @property
    def used_bytes(self) -> int:
        return self._used

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, key: object) -> bool:
        return key in self._nodes

    def resize(self, capacity_bytes: int) -> None:
        """One queue, whatever its size."""

    def on_insert(self, key: K, size: int) -> None:
        self.remove(key)
        node = self._nodes[key] = _Node(key, size)
        node.older = self._youngest
        if self._youngest is not None:
            self._youngest.younger = node
        self._youngest = node
        if self._oldest is None:
            self._oldest = node
        self._used += size

    def on_access(self, key: K, count: int = 1) -> None:
        node = self._nodes.get(key)
        if node is not None:
            node.visited = True

    def remove(self, key: K) -> None:
        node = self._nodes.get(key)
        if node is not None:
            self._unlink(node)

    def victims(self, need_bytes: int, is_spared: Callable[[K], bool] | None = None) -> list[K]:
        chosen: list[K] = []
        freed = 0
        while freed < need_bytes and self._nodes:
            node = self._next_victim(is_spared)
            if node is None:
                break
            self._unlink(node)
            freed += node.size
            chosen.append(node.key)
        return chosen

    def _next_victim(self, is_spared: Callable[[K], bool] | None) -> _Node[K] | None:
        """The hand passes over what is spared and leaves its bit; None after two rounds, when all that is left is spared."""
        node = self._hand or self._oldest
        steps = 2 * len(self._nodes)
        while node is not None and (node.visited or (is_spared is not None and is_spared(node.key))):
            if not steps:
                return None
            steps -= 1
            if is_spared is None or not is_spared(node.key):
                node.visited = False
            node = node.younger or self._oldest
        assert node is not None, "asked for a victim of an empty queue"
        self._hand = node
        return node

    def _unlink(self, node: _Node[K]) -> None:
        """Take a node out; a hand on it goes on to the next younger one (None: starts again at the oldest)."""
        if self._hand is node:
            self._hand = node.younger
        if node.older is not None:
            node.older.younger = node.younger
        else:
            self._oldest = node.younger
        if node.younger is not None:
            node.younger.older = node.older
        else:
            self._youngest = node.older
        del self._nodes[node.key]
        self._used -= node.size
