"""The folder of the access log: appends to the current file, puts complete ones aside, removes the oldest.

Somebody else may rename or remove the current file at any time: before each write the name is compared with what is open, and a
new file begun where they differ. A write that did not fit is taken back, so that no line is ever half there.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from oca.logger.rotation import CURRENT, Limits, Rotated, due, surplus


class LogFolder:
    """`open` raises OSError when the folder cannot be made or written into; so does every other call when the disk fails."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder = folder
        self._limits = limits
        self._fd = -1
        self._size = 0
        self._began_at = 0.0

    def open(self, now: float) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(self.folder / CURRENT, flags, 0o640)
        found = os.fstat(self._fd)
        self._size = found.st_size
        # The birth of a file is not known everywhere; an older file that is gone on with may live a little longer.
        self._began_at = now

    def write(self, lines: bytes, now: float) -> None:
        """Append whole lines. Raises OSError; then none of them is in the file."""
        if not self._is_current():
            self.close()
            self.open(now)
        written = os.write(self._fd, lines)
        if written < len(lines):
            os.ftruncate(self._fd, self._size)
            raise OSError(28, "the disk of the access log is full")
        self._size += written

    def rotate(self, now: float) -> Rotated | None:
        """Put the current file aside when it is complete, and remove what is too much. Raises OSError."""
        why = due(self._limits, self._size, now - self._began_at) if self._fd >= 0 else None
        if why is None:
            return None
        second = int(now)
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(second)) + f".{int((now - second) * 1000):03d}Z"
        self.close()
        os.rename(self.folder / CURRENT, self.folder / f"access-{stamp}.jsonl")
        for name in surplus(self._limits, os.listdir(self.folder)):
            os.unlink(self.folder / name)
        self.open(now)
        return why

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _is_current(self) -> bool:
        if self._fd < 0:
            return False
        try:
            named = os.stat(self.folder / CURRENT)
        except FileNotFoundError:
            return False
        opened = os.fstat(self._fd)
        return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)
