"""A worker's log: one JSON object per line on stderr, as `chassis.logs` writes them, without importing it.

Paths are never logged whole: a media token must not reach a line.
"""

from __future__ import annotations

import datetime
import os
import sys
import traceback

import msgspec

LEVELS = ("debug", "info", "warning", "error")


class Log:
    """`level` is the lowest that is written."""

    def __init__(self, slot: int, level: str = "info") -> None:
        self._slot = slot
        self._lowest = LEVELS.index(level) if level in LEVELS else 1

    def write(self, level: str, event: str, **facts: str | int | float | bool) -> None:
        if LEVELS.index(level) < self._lowest:
            return
        line = {
            "timestamp": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            "level": level,
            "logger": "oca.worker",
            "service": "oca",
            "worker": self._slot,
            "pid": os.getpid(),
            "event": event,
            **facts,
        }
        sys.stderr.buffer.write(msgspec.json.encode(line) + b"\n")
        sys.stderr.buffer.flush()

    def unexpected(self, event: str, error: BaseException) -> None:
        """An error nobody expected, with its traceback."""
        self.write("error", event, exception="".join(traceback.format_exception(error)))
