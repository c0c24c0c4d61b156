"""The steering log: its lines on disk, the last of each session in memory, and what is found in it (laws in `chassis.linelog`)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from chassis.clock import Clock
from chassis.linelog import LineLimits, LineLog, files_of
from steering.config import DecisionLog
from steering.searching import Found, Wanted, found_in

FOLDER = "decisions"
STEM = "steering"
CURRENT = f"{STEM}.jsonl"
MOST_MOVES = 200
"""Lines of one session that memory has or that are read from files: of more, those between its ranking and the last ones are left out."""


class Journal:
    """Takes lines. `on_lost(n)` is told of lines that were not written."""

    def __init__(self, folder: Path, limits: DecisionLog, clock: Clock, on_lost: Callable[[int], None]) -> None:
        kept = LineLimits(limits.file_bytes, limits.file_s, limits.files, limits.keep_s)
        self._log = LineLog(folder, STEM, kept, clock, on_lost)
        self._limits = limits
        self._last: OrderedDict[str, list[bytes]] = OrderedDict()
        self._last_bytes = 0
        self._one_search = asyncio.Lock()
        self._searches = 0

    def add(self, play: str, line: bytes) -> None:
        """Keeps a line; `play` is its session, empty for none."""
        if play:
            self._remember(play, [line])
        self._log.add(line)

    def move(self, play: str, line: bytes) -> None:
        """Keeps a line of a running session, behind those that memory has of it: what came before may lie in the files alone."""
        known = self._last.get(play)
        if known is not None:
            self._remember(play, [*known[:1], *known[1:][-(MOST_MOVES - 2) :], line])
        self._log.add(line)

    async def find(self, play: str) -> bytes | None:
        """The last line of a session; None where there is none."""
        lines = await self.history(play)
        return lines[-1] if lines else None

    @property
    def is_crowded(self) -> bool:
        """Whether a search waits for another already: one more would be answered late, or never read."""
        return self._searches > 1

    def remembers(self, play: str) -> bool:
        """Whether the history of a session needs no search."""
        return play in self._last

    async def history(self, play: str, since: str = "") -> list[bytes]:
        """The lines of a session from its last ranking on, the oldest first: from memory, else from the files, there from an instant on as
        lines have it; none where there are none."""
        known = self._last.get(play)
        if known is not None:
            return list(known)
        return (await self.search(Wanted(play=play, since=since), limit=MOST_MOVES)).lines[::-1]

    async def search(self, wanted: Wanted, limit: int) -> Found:
        """The newest lines that are wanted, at most `limit`, the newest first. One search at a time; it holds up no answer."""
        self._searches += 1
        try:
            async with self._one_search:
                await self._log.flush()
                return await asyncio.to_thread(found_in, self._log.files, wanted, limit)
        finally:
            self._searches -= 1

    async def run(self) -> None:
        await self._log.run()

    async def flush(self) -> None:
        """Writes what waits, after whatever is being written."""
        await self._log.flush()

    async def tidy(self) -> None:
        """Completes and removes files that are old enough."""
        await self._log.tidy()

    def _remember(self, play: str, lines: list[bytes]) -> None:
        before = self._last.pop(play, [])
        self._last[play] = lines
        self._last_bytes += sum(map(len, lines)) - sum(map(len, before))
        while self._last_bytes > self._limits.memory_bytes:
            self._last_bytes -= sum(map(len, self._last.popitem(last=False)[1]))


def files_in(folder: Path) -> list[Path]:
    """The files of a steering log, the newest first."""
    return files_of(folder, STEM)
