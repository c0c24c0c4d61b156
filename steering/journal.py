"""The steering log on disk and the last decisions in memory.

Laws: a decision never waits for the disk (lines gather and are written by a thread every FLUSH_S); a disk that refuses costs whole lines,
which are counted, and no answer; a stop writes what gathered; files are bounded in number and size. The current file is
`steering.jsonl`, complete ones are `steering-20251121T093436.123Z.jsonl` by the instant of their completion.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from chassis.clock import Clock
from chassis.logs import get_logger
from steering.config import DecisionLog
from steering.decided import instant

FOLDER = "decisions"
CURRENT = "steering.jsonl"
FLUSH_S = 0.5
MOST_WAITING_BYTES = 16 * 1024 * 1024
_COMPLETE = re.compile(r"steering-[0-9]{8}T[0-9]{6}\.[0-9]{3}Z\.jsonl")
_LOG = get_logger("steering.journal")


class Journal:
    """Takes lines. `on_lost(n)` is told of lines that were not written."""

    def __init__(self, folder: Path, limits: DecisionLog, clock: Clock, on_lost: Callable[[int], None]) -> None:
        self._folder = folder
        self._limits = limits
        self._clock = clock
        self._on_lost = on_lost
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._last: OrderedDict[str, bytes] = OrderedDict()
        self._last_bytes = 0
        self._began_s = clock.wall_s()
        self._one_writer = asyncio.Lock()

    def add(self, play: str, line: bytes) -> None:
        """Keeps a line; `play` is its session, empty for none."""
        if play:
            self._remember(play, line)
        if self._waiting_bytes + len(line) > MOST_WAITING_BYTES:
            self._on_lost(1)
            return
        self._waiting.append(line)
        self._waiting_bytes += len(line)

    async def find(self, play: str) -> bytes | None:
        """The last line of a session: from memory, else from the files, the newest first; None where there is none."""
        found = self._last.get(play)
        if found is not None:
            return found
        await self.flush()
        return await asyncio.to_thread(_find, self.files(), play)

    def files(self) -> list[Path]:
        """All files there are, the newest first."""
        return files_of(self._folder)

    async def run(self) -> None:
        while True:
            await self._clock.sleep(FLUSH_S)
            await self.flush()

    async def flush(self) -> None:
        """Writes what waits, after whatever is being written."""
        async with self._one_writer:
            lines, self._waiting, self._waiting_bytes = self._waiting, [], 0
            if not lines:
                return
            try:
                await asyncio.to_thread(self._write, b"".join(lines))
            except OSError as error:
                self._on_lost(len(lines))
                _LOG.error("decisions-not-written", path=str(self._folder), lines=len(lines), detail=str(error))

    def _remember(self, play: str, line: bytes) -> None:
        before = self._last.pop(play, b"")
        self._last[play] = line
        self._last_bytes += len(line) - len(before)
        while self._last_bytes > self._limits.memory_bytes:
            self._last_bytes -= len(self._last.popitem(last=False)[1])

    def _write(self, data: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / CURRENT
        with path.open("ab", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            written = file.write(data)
            size = before + written
            if written != len(data):
                file.truncate(before)  # half a line would make the rest of the file unreadable
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        now_s = self._clock.wall_s()
        if size >= self._limits.file_bytes or now_s - self._began_s >= self._limits.file_s:
            stamp = instant(now_s).replace("-", "").replace(":", "")
            path.replace(self._folder / f"steering-{stamp}.jsonl")
            self._began_s = now_s
            for old in files_of(self._folder)[self._limits.files :]:
                old.unlink(missing_ok=True)


def files_of(folder: Path) -> list[Path]:
    """The files of a steering log, the newest first."""
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    complete = sorted((name for name in names if _COMPLETE.fullmatch(name)), reverse=True)
    return [folder / name for name in ([CURRENT] if CURRENT in names else []) + complete]


def _find(files: list[Path], play: str) -> bytes | None:
    wanted = f'"play":"{play}"'.encode()
    for path in files:
        found = None
        try:
            with path.open("rb") as lines:
                for line in lines:
                    if wanted in line:
                        found = line
        except FileNotFoundError:
            continue  # it was renamed or removed meanwhile
        if found is not None:
            return found
    return None
