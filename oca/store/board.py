"""The board: shared memory of one appliance, made by the supervisor, written by keeper and workers without a lock.

A memfd of 64-bit words, allocated in full and sealed against resizing, handed over by descriptor. Each word has one
writer (marks excepted, where lost updates are allowed), an aligned word is read and written whole:

| part | words | writer |
|---|---|---|
| header: magic, format, shape, purge epoch, ring head and tail, reach, state of each disk | 64 | keeper |
| in the header: generation of the roster (which disks there are, `oca.link.roster`) | 1 | supervisor |
| ring of dead extent ids: (disk, id), bytes, check | 3 × `RING_ENTRIES` | keeper |
| a line per worker: pid, epoch, ring position, generation of the roster, dead ids still held | 64 each | that worker; the supervisor clears it |
| access marks per disk | `marks_per_disk` each | keeper assigns, workers touch |

**Dead ids.** The keeper unlinks, then publishes the id under the next sequence number. A worker polls: it closes what it
holds of the new ids, writes the sequence numbers of those still in use into free cells of its line and only then
advances its position; when no cell is free the position stays. Id `s` is released when every live worker's position is
above `s` and no cell names it. The keeper publishes at most `RING_ENTRIES` unreleased ids, so nothing is overwritten unread.
An entry is trusted only when its check word fits its sequence number: on weakly ordered processors the head may be seen first.

After an unclean restart the keeper publishes `FLUSH` for a disk: every descriptor of it opened before is closed once idle,
because an id may have been unlinked by a keeper that died before it could say so.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from oca.store.errors import StoreError

MAGIC = 0x4C4F57544944_4231
FORMAT = 1
MAX_DISKS = 40
RING_ENTRIES = 4096
FLUSH = (1 << 56) - 1
"""The id in a ring entry that stands for every extent of its disk."""

_HEADER_WORDS = 64
_LINE_WORDS = 64
_ENTRY_WORDS = 3
_FIRST_CELL = 8
_CELLS = _LINE_WORDS - _FIRST_CELL
_U64 = 0xFFFF_FFFF_FFFF_FFFF
_GOLDEN = 0x9E3779B97F4A7C15

_W_MAGIC, _W_FORMAT, _W_WORKERS, _W_DISKS, _W_MARKS, _W_RING, _W_EPOCH, _W_HEAD, _W_TAIL = range(9)
_W_ROSTER, _W_REACH = 9, 10
_W_STATES = 16
PULSE_EPOCH, PULSE_HEAD, PULSE_REACH, PULSE_STATES = _W_EPOCH, _W_HEAD, _W_REACH, _W_STATES
"""Where in `Board.pulse` the purge epoch, the number of the next dead id, the reach and the first disk's state stand."""
_L_PID, _L_EPOCH, _L_POSITION, _L_ROSTER = range(4)


class BoardMismatch(StoreError):
    """The descriptor is not a board of this version."""


class DiskState(IntEnum):
    UNKNOWN = 0
    """No keeper has looked at it yet: workers serve from it only when its index was closed cleanly."""
    RECOVERING = 1
    READY = 2
    FAILED = 3
    """Taken out: its share is misses."""


@dataclass(frozen=True, slots=True)
class BoardShape:
    """How much the board has room for: a line per worker that may live at once. `marks_per_disk` is the number of extents that can be told apart by use."""

    workers: int
    disks: int
    marks_per_disk: int = 65536
    spare_disks: int = 0
    """How many of the disks are not there yet: what may join while the board lives."""

    @property
    def words(self) -> int:
        lines = self.workers * _LINE_WORDS
        return _HEADER_WORDS + RING_ENTRIES * _ENTRY_WORDS + lines + self.disks * self.marks_per_disk


@dataclass(frozen=True, slots=True)
class DeadExtent:
    """One ring entry. `extent_id` may be `FLUSH`."""

    sequence: int
    disk: int
    extent_id: int
    held_bytes: int


class WorkerLine:
    """One worker's line, seen by its owner (writes) or by keeper and supervisor (reads)."""

    def __init__(self, words: memoryview) -> None:
        self._words = words

    def attach(self, pid: int, position: int) -> None:
        """A fresh worker takes the slot: it holds nothing and has seen all ids below `position`."""
        self._words[_L_PID] = 0
        for cell in range(_FIRST_CELL, _LINE_WORDS):
            self._words[cell] = 0
        self._words[_L_EPOCH] = 0
        self._words[_L_ROSTER] = 0
        self._words[_L_POSITION] = position
        self._words[_L_PID] = pid

    def clear(self) -> None:
        self._words[_L_PID] = 0

    @property
    def pid(self) -> int:
        """0 when nobody has the slot."""
        return int(self._words[_L_PID])

    @property
    def epoch(self) -> int:
        return int(self._words[_L_EPOCH])

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._words[_L_EPOCH] = epoch

    @property
    def roster(self) -> int:
        """The generation of the roster by which this worker looks up; 0 before it has read one."""
        return int(self._words[_L_ROSTER])

    @roster.setter
    def roster(self, generation: int) -> None:
        self._words[_L_ROSTER] = generation

    @property
    def position(self) -> int:
        return int(self._words[_L_POSITION])

    @position.setter
    def position(self, position: int) -> None:
        self._words[_L_POSITION] = position

    def hold(self, sequence: int) -> bool:
        """Name a dead id as still in use; False when every cell is taken."""
        for cell in range(_FIRST_CELL, _LINE_WORDS):
            if self._words[cell] == 0:
                self._words[cell] = sequence + 1
                return True
        return False

    def let_go(self, sequence: int) -> None:
        for cell in range(_FIRST_CELL, _LINE_WORDS):
            if self._words[cell] == sequence + 1:
                self._words[cell] = 0

    def holds(self) -> set[int]:
        return {int(word) - 1 for word in self._words[_FIRST_CELL:_LINE_WORDS] if word}


class Board:
    """A mapping of the shared words. `create` in the supervisor, `attach` everywhere else."""

    def __init__(self, fd: int, shape: BoardShape, mapping: mmap.mmap) -> None:
        self.fd = fd
        self.shape = shape
        self._mapping = mapping
        self._words = memoryview(mapping).cast("Q")
        self._ring = _HEADER_WORDS
        self._lines = self._ring + RING_ENTRIES * _ENTRY_WORDS
        self._marks = self._lines + shape.workers * _LINE_WORDS
        self._views: list[memoryview] = []

    @classmethod
    def create(cls, shape: BoardShape) -> Board:
        """A new board; its descriptor is inheritable only where the caller passes it on (`pass_fds`)."""
        if not 1 <= shape.disks <= MAX_DISKS:
            raise BoardMismatch(f"a board has 1 to {MAX_DISKS} disks, not {shape.disks}")
        fd = os.memfd_create("lowtide-board", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        # Allocated now: a page of shared memory that cannot be had at first touch kills the toucher.
        os.posix_fallocate(fd, 0, shape.words * 8)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        board = cls(fd, shape, mmap.mmap(fd, shape.words * 8))
        words = board._words
        words[_W_FORMAT], words[_W_WORKERS], words[_W_DISKS] = FORMAT, shape.workers, shape.disks
        words[_W_MARKS], words[_W_RING], words[_W_MAGIC] = shape.marks_per_disk, RING_ENTRIES, MAGIC
        for spare in range(shape.disks - shape.spare_disks, shape.disks):
            words[_W_STATES + spare] = (
                DiskState.FAILED
            )  # nobody serves from one that joins before a keeper has looked at it
        return board

    @classmethod
    def attach(cls, fd: int) -> Board:
        """The board behind an inherited descriptor. Raises BoardMismatch when it is something else."""
        size = os.fstat(fd).st_size
        if size < _HEADER_WORDS * 8:
            raise BoardMismatch(f"descriptor {fd} holds {size} bytes: not a board")
        mapping = mmap.mmap(fd, size)
        with memoryview(mapping) as raw, raw.cast("Q") as words:
            shape = BoardShape(int(words[_W_WORKERS]), int(words[_W_DISKS]), int(words[_W_MARKS]))
            fits = (words[_W_MAGIC], words[_W_FORMAT], words[_W_RING]) == (MAGIC, FORMAT, RING_ENTRIES)
        if not fits or shape.words * 8 != size:
            mapping.close()
            raise BoardMismatch(f"descriptor {fd} is not a board of format {FORMAT}")
        return cls(fd, shape, mapping)

    def close(self) -> None:
        """Unmap and close the descriptor. Views handed out (lines, marks) end here."""
        for view in self._views:
            view.release()
        self._views.clear()
        self._words.release()
        self._mapping.close()
        os.close(self.fd)

    def _view(self, start: int, length: int) -> memoryview:
        view = self._words[start : start + length]
        self._views.append(view)
        return view

    def line(self, slot: int) -> WorkerLine:
        return WorkerLine(self._view(self._lines + slot * _LINE_WORDS, _LINE_WORDS))

    def marks(self, disk: int) -> memoryview:
        """The words of one disk's access marks; `marks.Marks` knows what they mean."""
        return self._view(self._marks + disk * self.shape.marks_per_disk, self.shape.marks_per_disk)

    def states(self) -> memoryview:
        """A live view of the disks' states (`DiskState` values), for readers that ask at every look-up."""
        return self._view(_W_STATES, self.shape.disks)

    def clear_worker(self, slot: int) -> None:
        """The supervisor says that the process in `slot` is gone: what it held is free."""
        self._words[self._lines + slot * _LINE_WORDS + _L_PID] = 0

    def pulse(self) -> memoryview:
        """A live view of the header, for readers that ask at every request whether anything has changed (`PULSE_…`)."""
        return self._view(0, _W_STATES + self.shape.disks)

    def disk_state(self, disk: int) -> DiskState:
        return DiskState(self._words[_W_STATES + disk])

    def set_disk_state(self, disk: int, state: DiskState) -> None:
        self._words[_W_STATES + disk] = state

    @property
    def purge_epoch(self) -> int:
        return int(self._words[_W_EPOCH])

    @purge_epoch.setter
    def purge_epoch(self, epoch: int) -> None:
        self._words[_W_EPOCH] = epoch

    @property
    def roster(self) -> int:
        """The generation of the roster that the supervisor wrote last; 0 where there is none but the settings."""
        return int(self._words[_W_ROSTER])

    @roster.setter
    def roster(self, generation: int) -> None:
        self._words[_W_ROSTER] = generation

    @property
    def reach(self) -> int:
        """How many ranks of a class hold extents: look-up asks so many disks of it. 0: nobody knows, ask all."""
        return int(self._words[_W_REACH])

    @reach.setter
    def reach(self, ranks: int) -> None:
        self._words[_W_REACH] = ranks

    @property
    def head(self) -> int:
        """Sequence number of the next dead id."""
        return int(self._words[_W_HEAD])

    @property
    def tail(self) -> int:
        """Lowest sequence number that may still be held by a worker."""
        return int(self._words[_W_TAIL])

    def publish_dead(self, disk: int, extent_id: int, held_bytes: int) -> int | None:
        """Append to the ring: the sequence number, or None while the ring is full (ask again after `advance_tail`)."""
        head = self.head
        if head - self.tail >= RING_ENTRIES:
            return None
        at = self._ring + (head % RING_ENTRIES) * _ENTRY_WORDS
        name = (disk << 56) | extent_id
        self._words[at + 2] = 0
        self._words[at] = name
        self._words[at + 1] = held_bytes
        self._words[at + 2] = _check(head, name, held_bytes)
        self._words[_W_HEAD] = head + 1
        return head

    def dead(self, sequence: int) -> DeadExtent | None:
        """The entry `sequence`, or None when it is not (yet) readable."""
        at = self._ring + (sequence % RING_ENTRIES) * _ENTRY_WORDS
        name, held_bytes, check = (int(word) for word in self._words[at : at + _ENTRY_WORDS])
        if check != _check(sequence, name, held_bytes):
            return None
        return DeadExtent(sequence, name >> 56, name & FLUSH, held_bytes)

    def unreleased(self) -> Iterator[DeadExtent]:
        """All entries that no tail has passed: what a restarted keeper takes over from its predecessor."""
        for sequence in range(self.tail, self.head):
            entry = self.dead(sequence)
            if entry is not None:
                yield entry

    def released(self, sequences: list[int]) -> set[int]:
        """Those of `sequences` that no live worker holds any more."""
        floor = self.head
        held: set[int] = set()
        for slot in range(self.shape.workers):
            at = self._lines + slot * _LINE_WORDS
            if self._words[at + _L_PID]:
                floor = min(floor, int(self._words[at + _L_POSITION]))
                held.update(int(word) - 1 for word in self._words[at + _FIRST_CELL : at + _LINE_WORDS] if word)
        return {sequence for sequence in sequences if sequence < floor and sequence not in held}

    def advance_tail(self, tail: int) -> None:
        self._words[_W_TAIL] = tail

    def epoch_seen_by_all(self) -> int:
        """The purge epoch that every live worker has published (the current one when no worker lives)."""
        return self._seen_by_all(self.purge_epoch, _L_EPOCH)

    def roster_seen_by_all(self) -> int:
        """The generation of the roster by which every live worker looks up (the current one when no worker lives)."""
        return self._seen_by_all(self.roster, _L_ROSTER)

    def _seen_by_all(self, current: int, word: int) -> int:
        seen = [current]
        for slot in range(self.shape.workers):
            at = self._lines + slot * _LINE_WORDS
            if self._words[at + _L_PID]:
                seen.append(int(self._words[at + word]))
        return min(seen)


def _check(sequence: int, name: int, held_bytes: int) -> int:
    return (((sequence + 1) * _GOLDEN) & _U64) ^ name ^ ((held_bytes << 7) & _U64)
