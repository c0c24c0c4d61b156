"""Is a window of an extent file in memory, and bringing it there without the event loop waiting (DESIGN §3.3).

- `mincore` on a mapping that exists only for the question, has no access rights and is never touched; it is kept with the
  descriptor, so that a window costs one `fstat` and one `mincore`: 10.4 µs for 512 KiB, where mapping and unmapping for each took 18
  (4.4 and 10.8 for 64 KiB; `timeit`, alternately). The kernel answers honestly only to those who own the file or could write it
  (to others everything looks resident), so that others ask by a whole-window `preadv2(RWF_NOWAIT)`, and so does everybody where
  the mapping is refused.
- `RWF_NOWAIT` is not supported on some filesystems (tmpfs among them): what lies there counts as resident.
- A probe of one byte says nothing of the rest; `cachestat` also counts pages that are still being read.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from functools import partial
from typing import Protocol, TypeVar

from oca.store.descriptors import Asking
from oca.worker.reading import read_all
from oca.worker.verifying import BadBlock, ExtentFile, Share, mask_of, read_verified

WINDOW_BYTES = 512 * 1024
T = TypeVar("T")
THREADS_PER_DISK = 4
_PAGE = mmap.PAGESIZE
_RESIDENT = b"\x01" * (WINDOW_BYTES // _PAGE + 2)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)


class Window(Enum):
    """What is known of a window before it is handed over."""

    WARM = "warm"
    COLD = "cold"
    SHORT = "short"
    """The file ends before the window does: nothing of it may be promised."""


class OpenFile(Protocol):
    """What of `oca.store.descriptors.Descriptor` is used here."""

    fd: int

    def asking(self, file_bytes: int) -> Asking | None: ...


class Residency:
    """One per event loop: its buffers are used for one question at a time."""

    def __init__(self) -> None:
        self._pages = bytearray(len(_RESIDENT))
        self._pages_address = ctypes.addressof(ctypes.c_char.from_buffer(self._pages))
        self._view = memoryview(bytearray(WINDOW_BYTES))
        self._uid = os.geteuid()

    def check(self, file: OpenFile, offset: int, length: int) -> Window:
        """`length` ≤ WINDOW_BYTES. Raises OSError when the disk cannot even be asked."""
        fd = file.fd
        found = os.fstat(fd)
        if found.st_size < offset + length:
            return Window.SHORT
        if self._uid == 0 or found.st_uid == self._uid:
            asking = file.asking(found.st_size)
            if asking is not None:
                answer = self._mincore(asking, offset, length)
                if answer is not None:
                    return Window.WARM if answer else Window.COLD
        return Window.WARM if self._read_nowait(fd, self._view[:length], offset) else Window.COLD

    def read_now(self, fd: int, offset: int, length: int) -> memoryview | None:
        """The bytes when all of them are in memory, else None (cold, or a short file: the pool tells which).

        `length` ≤ WINDOW_BYTES. They are there until the next question: fresh memory for each window would cost more than reading it.
        """
        view = self._view[:length]
        return view if self._read_nowait(fd, view, offset) else None

    def _read_nowait(self, fd: int, into: memoryview, offset: int) -> bool:
        try:
            return os.preadv(fd, [into], offset, os.RWF_NOWAIT) == len(into)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                return False  # the pool meets the same error and names it
            return os.preadv(fd, [into], offset) == len(into)

    def _mincore(self, asking: Asking, offset: int, length: int) -> bool | None:
        start = offset - offset % _PAGE
        span = offset + length - start
        if _libc.mincore(asking.address + start, span, self._pages_address):
            return None
        return self._pages.startswith(_RESIDENT[: -(-span // _PAGE)])


class StoredFile(ExtentFile, Protocol):
    """What of `oca.store.descriptors.Descriptor` is used to read."""

    disk: int
    extent_id: int
    proven: int


class DiskPools:
    """A thread pool per disk, so that one slow disk delays only what lies on it. A share of what is read is verified there (`verifying`).

    What was read well, and verified where the share wanted that, is proven from then on; while it is being read it is not.
    """

    def __init__(self, loop: AbstractEventLoop, disks: int, verify_reads: float = 1.0) -> None:
        self._loop = loop
        self.errors = 0
        """Reads that a disk refused, whose file was short, or that were not what was stored."""
        self.verified_blocks = 0
        self.bad_blocks = 0
        self.found_bad: Callable[[StoredFile], None] = lambda _file: None
        """Told of each extent with a bad block, from the event loop."""
        self._share = Share(verify_reads)
        self.unreadable: dict[int, int] = {}
        """By disk the extent that could not be read last: for the keeper to look at."""
        self._pools = [ThreadPoolExecutor(THREADS_PER_DISK, f"disk-{number}") for number in range(disks)]
        self._waiting = [0] * disks

    @property
    def longest_queue(self) -> int:
        """Reads under way or waiting, of the disk that has most."""
        return max(self._waiting, default=0)

    def read(self, file: StoredFile, offset: int, length: int) -> Future[bytearray]:
        """The bytes. The future raises ShortFile, BadBlock or OSError; the descriptor must stay open until it is done."""
        pool, is_verified = self._pools[file.disk], self._share.takes()
        if is_verified:
            reading = self._loop.run_in_executor(pool, read_verified, file, offset, length)
        else:
            reading = self._loop.run_in_executor(pool, read_all, file.fd, offset, length)
        return self._counted(file, reading, offset, length, is_verified=is_verified)

    def warm(self, file: StoredFile, offset: int, length: int) -> Future[None]:
        """Bring a window into memory. The same errors."""
        pool, is_verified = self._pools[file.disk], self._share.takes()
        if is_verified:
            warming = self._loop.run_in_executor(pool, _warm_verified, file, offset, length)
        else:
            warming = self._loop.run_in_executor(pool, _warm, file.fd, offset, length)
        return self._counted(file, warming, offset, length, is_verified=is_verified)

    def failed(self, file: StoredFile) -> None:
        """Somebody else met an error of the disk, or a short file, in this extent (`sendfile` reads for itself)."""
        self.errors += 1
        self.unreadable[file.disk] = file.extent_id

    def _counted(
        self, file: StoredFile, reading: Future[T], offset: int, length: int, *, is_verified: bool
    ) -> Future[T]:
        self._waiting[file.disk] += 1
        mask = mask_of(offset, length)
        file.proven &= ~mask
        reading.add_done_callback(partial(self._finished, file, mask, is_verified))
        return reading

    def _finished(self, file: StoredFile, mask: int, is_verified: bool, done: Future[T]) -> None:
        self._waiting[file.disk] -= 1
        if done.cancelled():
            return
        error = done.exception()
        if error is None:
            file.proven |= mask
            if is_verified:
                self.verified_blocks += mask.bit_count()
            return
        self.failed(file)
        if isinstance(error, BadBlock):
            self.bad_blocks += 1
            self.found_bad(file)

    def grow(self, disks: int) -> None:
        """There are so many numbers now."""
        for number in range(len(self._pools), disks):
            self._pools.append(ThreadPoolExecutor(THREADS_PER_DISK, f"disk-{number}"))
            self._waiting.append(0)

    def close(self) -> None:
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)


def _warm(fd: int, offset: int, length: int) -> None:
    read_all(fd, offset, length)


def _warm_verified(file: ExtentFile, offset: int, length: int) -> None:
    read_verified(file, offset, length)
