"""The playback log: the embedded adapter of the events port. JSON lines in one file, put aside by size.

Laws: appending never waits and never fails a play; what cannot be written is counted; memory is bounded; a line is written
whole. Files: `NAME`, then `NAME.1` (the youngest put aside) …
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Protocol

import msgspec
from prometheus_client import Counter

from chassis.clock import Clock
from chassis.logs import get_logger
from contracts.events import PlaybackEvent

FLUSH_S = 0.5
MAX_WAITING = 50_000
_LOG = get_logger("companions.playback")


class PlaybackEvents(Protocol):
    """The events port as playback uses it."""

    def append(self, event: PlaybackEvent) -> None:
        """Takes an event; never waits, never raises."""


class NoEvents:
    """For a service that keeps no log."""

    def append(self, event: PlaybackEvent) -> None:
        return


class LogFile:
    """The file itself. Blocking: called from a thread."""

    def __init__(self, path: Path, *, rotate_bytes: int, keep_files: int) -> None:
        self._path = path
        self._rotate_bytes = rotate_bytes
        self._keep_files = keep_files

    def write(self, lines: list[bytes]) -> None:
        """Appends whole lines; a file that has reached its size is put aside first. Raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists() and self._path.stat().st_size >= self._rotate_bytes:
            self._rotate()
        # Who watches what is nobody else's business on this machine.
        with open(self._path, "ab", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(b"".join(lines))

    def _rotate(self) -> None:
        for number in range(self._keep_files - 1, 0, -1):
            younger = self._aside(number - 1)
            if younger.exists():
                younger.replace(self._aside(number))
        self._path.unlink(missing_ok=True)

    def _aside(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path


class PlayLog:
    """Collects lines and writes them every FLUSH_S: run `run()` in the background, `close()` at the end."""

    def __init__(self, file: LogFile, dropped: Counter, clock: Clock) -> None:
        self._file = file
        self._dropped = dropped
        self._clock = clock
        self._waiting: list[bytes] = []
        self._something = asyncio.Event()

    def append(self, event: PlaybackEvent) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._dropped.inc()
            return
        self._waiting.append(msgspec.json.encode(event) + b"\n")
        self._something.set()

    async def run(self) -> None:
        while True:
            await self._something.wait()
            await self._clock.sleep(FLUSH_S)
            await self.flush()

    async def flush(self) -> None:
        """Writes what waits. Lines that cannot be written are given up and counted."""
        if not self._waiting:
            return
        lines, self._waiting = self._waiting, []
        self._something.clear()
        try:
            await asyncio.to_thread(self._file.write, lines)
        except OSError as error:
            self._dropped.inc(len(lines))
            _LOG.error("playback-log-not-written", detail=str(error), lines=len(lines))

    async def close(self) -> None:
        await self.flush()
