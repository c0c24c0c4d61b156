"""Is a disk still there: asked every half second, so that one that nobody uses is not believed to be sound.

A probe looks at the description file (the same file of the same filesystem as when it began: a disk that was unmounted shows the folder
below it), asks the filesystem whether it may be written, and reads the file past the page cache, which would answer for a dead disk.
Filesystems that take no direct reads (tmpfs, some FUSE) are asked without.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os

from oca.store.disk_writer import DiskWriter
from oca.store.disks import DESCRIPTION


class Probe:
    """Of one opened disk. `look` blocks; one at a time."""

    def __init__(self, disk: DiskWriter) -> None:
        self.disk = disk
        self._path = os.path.join(disk.path, DESCRIPTION)
        self._began: tuple[int, int] | None = None
        self._direct = os.O_DIRECT

    def look(self) -> None:
        """Takes the disk out when it is not there any more or cannot be read; notes whether it may be written. Raises DiskFailed then."""
        try:
            found = os.stat(self._path)
            self._note_writable(os.statvfs(self.disk.path).f_flag & os.ST_RDONLY != 0)
            self._read()
        except OSError as error:
            raise self.disk.take_out(f"probe: {error.strerror or error}") from error
        now = (found.st_dev, found.st_ino)
        if self._began is not None and now != self._began:
            raise self.disk.take_out("probe: another filesystem is mounted there")
        self._began = now

    def _note_writable(self, read_only: bool) -> None:
        if read_only:
            self.disk.read_only = True
        elif self.disk.read_only and self._may_write():
            self.disk.read_only = False

    def _may_write(self) -> bool:
        """Whether it takes writes again after it had refused them, whatever its flags say."""
        with contextlib.suppress(OSError), open(os.path.join(self.disk.path, "lock"), "r+b") as file:
            os.utime(file.fileno())
            return True
        return False

    def _read(self) -> None:
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | self._direct)
        except OSError as error:
            if not self._direct or error.errno != errno.EINVAL:
                raise
            self._direct = 0
            return
        try:
            with mmap.mmap(-1, mmap.PAGESIZE) as aligned:
                os.preadv(fd, [aligned], 0)
        except OSError as error:
            if not self._direct or error.errno != errno.EINVAL:
                raise
            self._direct = 0
        finally:
            os.close(fd)
