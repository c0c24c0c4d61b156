"""A worker's open extent files: opened once, shared by its connections, closed soon after the keeper unlinked them.

Laws: an extent's length is checked when it is opened, so that nobody promises bytes a file does not have; a descriptor in use is never
closed; a dead id that is still in use stands in the worker's line of the board until its last user lets go. Files are opened
with `POSIX_FADV_RANDOM`: only the disk's thread pool reads ahead.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import itertools
import mmap
import os
from collections import Counter, OrderedDict
from enum import Enum

from oca.store.board import FLUSH, Board, DiskState, WorkerLine
from oca.store.extents import ExtentRecord, extent_name
from oca.store.trailer import file_length

_CLOSED_AT_ONCE = 512
"""About 2 ms."""
_LOOKED_AT = 8
"""Open files offered a second chance before one is closed whatever was recalled."""

_LEFT = -1
"""In place of a dead id: the disk left, and nobody waits for the file's space."""

DISTRUSTED_POLLS = 40
"""Ten seconds."""

_PROT_NONE = 0
_MAP_SHARED = 1
_MAP_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


class Asking:
    """A mapping of a whole file that `mincore` is asked about: it has no access rights and is never touched, so that no page of
    it can fail. It holds the file as a descriptor does: `close` it with the descriptor.

    Kept with the descriptor it makes a question cost one system call (see `oca.worker.residency`); it takes one of the
    process's `vm.max_map_count` mappings, and no memory.
    """

    __slots__ = ("address", "length")

    def __init__(self, address: int, length: int) -> None:
        self.address = address
        self.length = length
        """In bytes, the last page whole."""

    @classmethod
    def map(cls, fd: int, file_bytes: int) -> Asking | None:
        """None where the kernel or the filesystem refuses, and for an empty file."""
        length = -(-file_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        address = _libc.mmap(None, length, _PROT_NONE, _MAP_SHARED, fd, 0) if length else None
        return None if not address or address == _MAP_FAILED else cls(address, length)

    def close(self) -> None:
        """Unmap. Call it once."""
        _libc.munmap(self.address, self.length)


class NotOpened(Enum):
    """Why an extent could not be opened; each is a miss. The value is the log word."""

    GONE = "gone"
    """Evicted between look-up and open."""
    WRONG_LENGTH = "wrong-length"
    TOO_MANY_FILES = "too-many-files"
    DISK_ERROR = "disk-error"


class Descriptor:
    """An open extent file. `fd` is valid from `acquire` to `release`. `clean_epoch`: judged clean up to that purge epoch.

    `record` is what the index said of the extent when it was remembered for `place`; see `DescriptorCache.recall`. `proven` has a bit for
    each block that was compared with its check bytes since the file was opened (`oca.worker.verifying`).
    """

    __slots__ = (
        "_asking",
        "_dead",
        "_refused",
        "clean_epoch",
        "disk",
        "distrusted",
        "extent_id",
        "fd",
        "length",
        "place",
        "proven",
        "recalled",
        "record",
        "users",
    )

    def __init__(self, fd: int, disk: int, extent_id: int, length: int) -> None:
        self.fd = fd
        self.disk = disk
        self.extent_id = extent_id
        self.length = length
        self.users = 1
        self.distrusted = False
        """A block of it was found to be bad: nothing more is sent from it."""
        self.clean_epoch = 0
        self.proven = 0
        self.place: bytes | None = None
        self.record: ExtentRecord | None = None
        self.recalled = False
        self._dead: int | None = None
        self._asking: Asking | None = None
        self._refused = False

    def asking(self, file_bytes: int) -> Asking | None:
        """The mapping to ask residency by, made at the first call and again when the file has grown; None where it is refused (asked once)."""
        asking = self._asking
        if asking is not None and asking.length >= file_bytes:
            return asking
        if self._refused:
            return None
        if asking is not None:
            asking.close()
        asking = self._asking = Asking.map(self.fd, file_bytes)
        self._refused = asking is None
        return asking

    def close(self) -> None:
        """Close the file and its mapping: either would keep the space of an unlinked extent."""
        if self._asking is not None:
            self._asking.close()
            self._asking = None
        os.close(self.fd)

    def fileno(self) -> int:
        """For transports that take a file."""
        return self.fd


class DescriptorCache:
    """Bounded by `limit` idle and busy files together; while more than that are busy, it is exceeded."""

    def __init__(self, disk_paths: list[str], board: Board, line: WorkerLine, limit: int) -> None:
        self.paths = disk_paths
        """Folders of the disks, by number; empty for one that left."""
        self._board = board
        self._line = line
        self._limit = limit
        self._open: OrderedDict[int, Descriptor] = OrderedDict()
        self._places: dict[bytes, Descriptor] = {}
        self._dying: set[Descriptor] = set()
        self._waiting: Counter[int] = Counter()
        self.not_opened: Counter[NotOpened] = Counter()
        self.unreadable: dict[int, int] = {}
        """By disk the extent that could not be opened last, though the index has it: for the keeper to look at."""
        self.opened = 0
        self._distrusted: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._open) + len(self._dying)

    @property
    def dying(self) -> int:
        """Descriptors of unlinked extents that are still in use."""
        return len(self._dying)

    def acquire(self, disk: int, extent_id: int, length: int) -> Descriptor | None:
        """The open file of an extent, counted as used until `release`; None when it cannot be had: treat as a miss."""
        name = disk << 56 | extent_id
        if self._distrusted and name in self._distrusted:
            return None
        held = self._open.get(name)
        if held is not None and held.length == length:
            held.users += 1
            self._open.move_to_end(name)
            return held
        return self._open_file(name, disk, extent_id, length)

    def _open_file(self, name: int, disk: int, extent_id: int, length: int) -> Descriptor | None:
        # A keeper may know of a disk before this worker does; under the path of one that is out another disk may be mounted.
        if disk >= len(self.paths) or not self.paths[disk] or self._board.disk_state(disk) is DiskState.FAILED:
            self.not_opened[NotOpened.GONE] += 1
            return None
        try:
            fd = os.open(f"{self.paths[disk]}/{extent_name(extent_id)}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            why = _why(error)
            self.not_opened[why] += 1
            if why is not NotOpened.TOO_MANY_FILES:
                self.unreadable[disk] = extent_id
            return None
        if name in self._open or os.fstat(fd).st_size != file_length(length):
            os.close(fd)
            self.not_opened[NotOpened.WRONG_LENGTH] += 1
            self.unreadable[disk] = extent_id
            return None
        with contextlib.suppress(OSError):  # advice only; tmpfs and FUSE may not take it
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        self.opened += 1
        held = self._open[name] = Descriptor(fd, disk, extent_id, length)
        if len(self._open) > self._limit:
            self._close_oldest_idle()
        return held

    def remember(self, place: bytes, held: Descriptor, record: ExtentRecord) -> None:
        """Keep what the index said of an open extent, until the file is closed or its death is told."""
        self._forget(held)
        earlier = self._places.get(place)
        if earlier is not None:
            self._forget(earlier)
        held.place, held.record = place, record
        self._places[place] = held

    def recall(self, place: bytes) -> Descriptor | None:
        """The open file remembered for an index key, with its `record`. Not counted as used: valid in this turn of the loop only."""
        held = self._places.get(place)
        if held is not None:
            held.recalled = True
        return held

    def forget_records(self) -> None:
        """A purge was ordered: every record is to be looked up and judged again."""
        for held in list(self._places.values()):
            self._forget(held)

    def distrust(self, disk: int, extent_id: int) -> None:
        """A block of this extent is bad: it is a miss from now on, for `DISTRUSTED_POLLS`, in which the keeper takes the bad block out of service."""
        name = disk << 56 | extent_id
        self._distrusted[name] = DISTRUSTED_POLLS
        held = self._open.get(name)
        if held is not None:
            held.distrusted = True
            self._forget(held)

    def _trust_again(self) -> None:
        """Whom the keeper did not bury it found to be good."""
        for name, polls in list(self._distrusted.items()):
            self._distrusted[name] = polls - 1
            if polls <= 1:
                del self._distrusted[name]
                if name in self._open:
                    self._open[name].distrusted = False

    def _forget(self, held: Descriptor) -> None:
        if held.place is not None:
            del self._places[held.place]
            held.place = held.record = None

    def release(self, held: Descriptor) -> None:
        """One user less; the last user of a dead extent closes it."""
        held.users -= 1
        if held.users:
            return
        if held._dead is not None:
            self._dying.discard(held)
            held.close()
            if held._dead != _LEFT:
                self._let_go(held._dead)
        elif len(self._open) > self._limit:
            self._close_oldest_idle()

    def _close_oldest_idle(self) -> None:
        """Second chance: whose record was recalled since it was looked at last goes to the end of the line once."""
        for name in list(itertools.islice(self._open, _LOOKED_AT)):
            held = self._open[name]
            if held.users:
                continue
            if held.recalled:
                held.recalled = False
                self._open.move_to_end(name)
                continue
            self._close(name, held)
            return
        for name, held in self._open.items():
            if not held.users:
                self._close(name, held)
                return

    def _close(self, name: int, held: Descriptor) -> None:
        del self._open[name]
        self._forget(held)
        held.close()

    def resize(self, limit: int) -> None:
        """Another bound from now on; of what is too much, as many idle files are closed as a moment allows (the rest next time)."""
        self._limit = limit
        for _ in range(min(len(self._open) - limit, _CLOSED_AT_ONCE)):
            self._close_oldest_idle()

    def poll(self) -> int:
        """Close what the keeper published as dead, report what is still in use; how many ids were taken from the ring.

        Call at least every 500 ms: unlinked space counts as used until every worker has polled.
        """
        if self._distrusted:
            self._trust_again()
        start = sequence = self._line.position
        head = self._board.head
        while sequence < head:
            entry = self._board.dead(sequence)
            if entry is None or not self._bury(sequence, entry.disk, entry.extent_id):
                break
            sequence += 1
        if sequence != start:
            self._line.position = sequence
        return sequence - start

    def _bury(self, sequence: int, disk: int, extent_id: int) -> bool:
        """Take one dead id (or a whole disk) out of the cache. False: no cell was free to name it, try again later."""
        if extent_id == FLUSH:
            names = [name for name, held in self._open.items() if held.disk == disk]
        else:
            names = [name for name in (disk << 56 | extent_id,) if name in self._open]
        busy = [held for held in map(self._open.__getitem__, names) if held.users]
        if busy and not self._line.hold(sequence):
            return False
        for name in names:
            held = self._open.pop(name)
            self._forget(held)
            if not held.users:
                held.close()
        for held in busy:
            held._dead = sequence
            self._dying.add(held)
            self._waiting[sequence] += 1
        return True

    def _let_go(self, sequence: int) -> None:
        self._waiting[sequence] -= 1
        if not self._waiting[sequence]:
            del self._waiting[sequence]
            self._line.let_go(sequence)

    def flush(self, disk: int) -> None:
        """Forget every file of a disk that left: idle ones are closed, those in use when their users let go."""
        for name in [name for name, held in self._open.items() if held.disk == disk]:
            held = self._open.pop(name)
            self._forget(held)
            if held.users:
                held._dead = _LEFT
                self._dying.add(held)
            else:
                held.close()

    def close(self) -> None:
        """Close every idle file. Those in use belong to their users until they let go."""
        for name in [name for name, held in self._open.items() if not held.users]:
            self._close(name, self._open[name])


def _why(error: OSError) -> NotOpened:
    if error.errno == errno.ENOENT:
        return NotOpened.GONE
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return NotOpened.TOO_MANY_FILES
    return NotOpened.DISK_ERROR
