"""The pipes between workers and logger: one per line of the counters, made once, so that they outlive every worker and every logger.

One per line and not per slot: while a worker is replaced there are two in its slot, and frames of two writers would tear each other.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

from oca.link.records import PIPE_BYTES


class LogPipes:
    """Both ends of each line's pipe. Without `lines` (no access log) every descriptor is -1."""

    def __init__(self, lines: int) -> None:
        pairs = [os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) for _ in range(lines)]
        self.reading = tuple(pair[0] for pair in pairs)
        self._writing = [pair[1] for pair in pairs]
        for fd in self._writing:
            with suppress(
                OSError
            ):  # beyond the user's share of pipe pages: 64 KiB it is, and records are dropped sooner
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def writing(self, line: int) -> int:
        return self._writing[line] if self._writing else -1

    def close_writing(self) -> None:
        """No worker will be started any more: when the last one is gone, the logger sees the end."""
        while self._writing:
            os.close(self._writing.pop())

    def close(self) -> None:
        self.close_writing()
        for fd in self.reading:
            os.close(fd)
        self.reading = ()
