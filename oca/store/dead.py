"""Unlinked extents whose space still counts: published to the workers, released when none of them holds the file."""

from __future__ import annotations

import threading
from collections import Counter, deque

from oca.store.board import FLUSH, Board


class DeadExtents:
    """The keeper's side of the board's ring, for all disks. Thread-safe: every disk's thread buries here."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._lock = threading.Lock()
        self._waiting: deque[tuple[int, int, int]] = deque()
        self._held: dict[int, tuple[int, int]] = {}
        self._released: Counter[int] = Counter()

    def adopt(self) -> Counter[int]:
        """Take over what a predecessor published on this board and nobody released: bytes by disk."""
        found: Counter[int] = Counter()
        with self._lock:
            for entry in self._board.unreleased():
                self._held[entry.sequence] = (entry.disk, entry.held_bytes)
                found[entry.disk] += entry.held_bytes
        return found

    def bury(self, disk: int, extent_id: int, held_bytes: int) -> None:
        """The file is unlinked: tell the workers. While the ring is full it waits here, counted."""
        with self._lock:
            self._waiting.append((disk, extent_id, held_bytes))
            self._publish()

    def flush(self, disk: int) -> None:
        """Have the workers close every file of a disk that they opened before now."""
        self.bury(disk, FLUSH, 0)

    def settle(self, disk: int) -> int:
        """Bytes of this disk that were released since the last call."""
        with self._lock:
            for sequence in self._board.released(list(self._held)):
                owner, held_bytes = self._held.pop(sequence)
                self._released[owner] += held_bytes
            self._board.advance_tail(min(self._held, default=self._board.head))
            self._publish()
            return self._released.pop(disk, 0)

    def held_bytes(self, disk: int) -> int:
        """Bytes of this disk that somebody may still hold: what a writer that takes over counts as used."""
        with self._lock:
            published = sum(held for owner, held in self._held.values() if owner == disk)
            waiting = sum(held for owner, _, held in self._waiting if owner == disk)
            return published + waiting + self._released[disk]

    def _publish(self) -> None:
        while self._waiting:
            disk, extent_id, held_bytes = self._waiting[0]
            sequence = self._board.publish_dead(disk, extent_id, held_bytes)
            if sequence is None:
                return
            self._waiting.popleft()
            self._held[sequence] = (disk, held_bytes)

    @property
    def outstanding(self) -> int:
        """Dead ids that some worker may still hold, published or waiting for the ring."""
        return len(self._held) + len(self._waiting)
