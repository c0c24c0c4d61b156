"""The system calls of the writing side, as a port: the real ones here, faulty and forgetful ones in the tests.

Every call may raise OSError and nothing else.
"""

from __future__ import annotations

import errno
import mmap
import os
from typing import Protocol


class Syscalls(Protocol):
    def create(self, path: str) -> int:
        """Open a new file for reading and writing; FileExistsError when the name is taken."""

    def open(self, path: str) -> int:
        """Open an existing file for reading and writing."""

    def allocate(self, fd: int, length: int) -> None:
        """Give the file its final length with real blocks behind it (ENOSPC shows here)."""

    def write(self, fd: int, data: memoryview, offset: int) -> None:
        """Write all of `data` at `offset`."""

    def read(self, fd: int, length: int, offset: int) -> bytes:
        """Up to `length` bytes at `offset`; fewer only at the end of the file."""

    def read_past_cache(self, path: str, length: int, offset: int) -> bytes:
        """The same of a file by name, from the disk and not from memory, where the filesystem can; `offset` is a multiple of 4096."""

    def sync(self, fd: int) -> None: ...

    def sync_folder(self, path: str) -> None: ...

    def close(self, fd: int) -> None: ...

    def unlink(self, path: str) -> None: ...

    def list_folder(self, path: str) -> list[tuple[str, int]]:
        """(name, size) of each file in a folder."""

    def free_bytes(self, path: str) -> int:
        """What the filesystem of a folder has left for us."""


class RealSyscalls:
    def create(self, path: str) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)

    def open(self, path: str) -> int:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def allocate(self, fd: int, length: int) -> None:
        os.posix_fallocate(fd, 0, length)

    def write(self, fd: int, data: memoryview, offset: int) -> None:
        while data:
            done = os.pwrite(fd, data, offset)
            data = data[done:]
            offset += done

    def read(self, fd: int, length: int, offset: int) -> bytes:
        pieces: list[bytes] = []
        while length:
            piece = os.pread(fd, length, offset)
            if not piece:
                break
            pieces.append(piece)
            length -= len(piece)
            offset += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_past_cache(self, path: str, length: int, offset: int) -> bytes:
        try:
            return _read_directly(path, length, offset)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return RealSyscalls.read(self, fd, length, offset)
        finally:
            os.close(fd)

    def sync(self, fd: int) -> None:
        os.fdatasync(fd)

    def sync_folder(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def close(self, fd: int) -> None:
        os.close(fd)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def list_folder(self, path: str) -> list[tuple[str, int]]:
        with os.scandir(path) as entries:
            return [(entry.name, entry.stat(follow_symlinks=False).st_size) for entry in entries]

    def free_bytes(self, path: str) -> int:
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize


def _read_directly(path: str, length: int, offset: int) -> bytes:
    """By O_DIRECT, which takes whole pages into aligned memory (a mapping is). Raises OSError, EINVAL where the filesystem has no such thing."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    try:
        with mmap.mmap(-1, -(-length // mmap.PAGESIZE) * mmap.PAGESIZE) as buffer:
            done = 0
            while done < length:
                with memoryview(buffer) as whole, whole[done:] as rest:
                    count = os.preadv(fd, [rest], offset + done)
                done += count
                if count == 0 or count % mmap.PAGESIZE:
                    break
            return buffer[: min(done, length)]
    finally:
        os.close(fd)
