"""Pin a disk's index in memory: no process that maps it ever waits for the disk, or dies of a page that cannot be read.

The supervisor does this before the first worker serves. It maps `data.mdb` (and the small `lock.mdb` beside it, which LMDB
maps too) read-only and locks all of it; the page cache is one, so that the lock holds for every process that maps the
files, and outlives keeper and workers. `mlock` reads what is missing and reports a bad page as an error, where a touch would be
SIGBUS. Call it only in a process without an open index: closing a descriptor of the lock file would drop that
process's POSIX locks.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from dataclasses import dataclass, field

_PROT_NONE = 0
_PROT_READ = 1
_MAP_SHARED = 1
_MAP_FAILED = ctypes.c_void_p(-1).value
_READ_BYTES = 1 << 20

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.mlock.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


@dataclass(slots=True)
class PinnedIndex:
    """The outcome: `locked`, or `reason` in words. The mappings live until `unpin` or the process's end."""

    disk_path: str
    locked: bool = False
    reason: str = ""
    _mappings: list[tuple[int, int]] = field(default_factory=list)

    @property
    def locked_bytes(self) -> int:
        return sum(length for _, length in self._mappings)

    def unpin(self) -> None:
        for address, length in self._mappings:
            _libc.munmap(address, length)
        self._mappings.clear()
        self.locked = False


def pin_index(disk_path: str) -> PinnedIndex:
    """Map and lock the index of a prepared disk. Never raises: service goes on unlocked, and status says why."""
    outcome = PinnedIndex(disk_path)
    for name in ("data.mdb", "lock.mdb"):
        outcome.reason = _pin(os.path.join(disk_path, "index", name), outcome._mappings)
        if outcome.reason:
            outcome.unpin()
            return outcome
    outcome.locked = True
    return outcome


def read_index(folder: str) -> None:
    """Bring an index into memory by reading. Raises OSError for a page that cannot be read, which would end a process that touches it mapped.

    Cheap where it is locked: then nothing is read.
    """
    for name in ("data.mdb", "lock.mdb"):
        path = os.path.join(folder, name)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            if not _is_resident(fd, size):
                buffer = bytearray(_READ_BYTES)
                for offset in range(0, size, _READ_BYTES):
                    os.preadv(fd, [buffer], offset)
        finally:
            os.close(fd)


def _is_resident(fd: int, size: int) -> bool:
    address = _libc.mmap(None, size, _PROT_NONE, _MAP_SHARED, fd, 0) if size else None
    if not address or address == _MAP_FAILED:
        return False
    pages = ctypes.create_string_buffer(-(-size // mmap.PAGESIZE))
    refused = _libc.mincore(address, size, pages)
    _libc.munmap(address, size)
    return not refused and b"\0" not in pages.raw[:-1] and pages.raw[-1:] == b"\1"


def _pin(path: str, mappings: list[tuple[int, int]]) -> str:
    """Lock one file; "" when done, else why not."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return f"cannot open {path}: {error.strerror}"
    try:
        size = os.fstat(fd).st_size
        length = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        address = _libc.mmap(None, length, _PROT_READ, _MAP_SHARED, fd, 0)
        if address == _MAP_FAILED or not address:
            return f"cannot map {size} bytes: {os.strerror(ctypes.get_errno())}"
        if _libc.mlock(address, length) != 0:
            why = os.strerror(ctypes.get_errno())
            _libc.munmap(address, length)
            return f"cannot lock {size} bytes (raise RLIMIT_MEMLOCK): {why}"
        mappings.append((address, length))
        return ""
    finally:
        os.close(fd)
