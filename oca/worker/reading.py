"""Reading a file's bytes completely, or saying why not."""

from __future__ import annotations

import os


class ShortFile(Exception):
    """The file is shorter than what its record promises."""


def read_all(fd: int, offset: int, length: int) -> bytearray:
    """Exactly `length` bytes. Blocking. Raises ShortFile, OSError."""
    data = bytearray(length)
    view = memoryview(data)
    done = 0
    while done < length:
        count = os.preadv(fd, [view[done:]], offset + done)
        if count == 0:
            raise ShortFile(f"the file ends at {offset + done}, {length - done} bytes before its window")
        done += count
    return data
