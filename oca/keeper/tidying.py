"""What a keeper does to its disks when nobody waits: rows of an older format, files nobody knows, scrub. In small steps in threads of their own.

Scrub goes on while nothing is being written, at `store.scrub_bytes_per_s` of each disk; a round begins a day after the last one ended. A scrub that an operator asks for
(`lowtide oca store scrub`) begins at the first extent, goes beside it and does not care who writes.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from chassis.clock import Clock
from chassis.logs import get_logger
from oca.link.commands import DiskScrub, ScrubReport
from oca.store.errors import StoreError
from oca.store.recovery import Recovery
from oca.store.scrub import Scrub
from oca.store.writer import StoreWriter

T = TypeVar("T")
PAUSE_S = 0.01
LOOK_S = 5.0
"""A disk may have come, or may take writes again."""
STRAYS = 64
"""Orphans unlinked at once."""
MIGRATED_ROWS = 2048
"""Of an index in an older format, at once: about 20 ms."""
BUSY_S = 1.0
ROUND_S = 86_400.0
STEP_BLOCKS = 16
THREADS = 8


class Tidying:
    def __init__(self, store: StoreWriter, scrub_bytes_per_s: int, is_idle: Callable[[], bool], clock: Clock) -> None:
        """`is_idle()` says whether nothing is being written."""
        self._store = store
        self._rate = scrub_bytes_per_s
        self._is_idle = is_idle
        self._clock = clock
        self._threads = ThreadPoolExecutor(THREADS, "tidying")
        self._going = asyncio.Event()
        self._going.set()
        self._under_way = 0
        self.is_asked = False
        """A scrub that somebody asked for runs."""
        self._log = get_logger("oca.keeper.tidying")

    async def tidy(self) -> None:
        """With pauses as long as the steps. Ends by cancellation."""
        said: dict[int, Recovery] = {}
        while True:
            began_s = self._clock.monotonic_s()
            more = await self._step(functools.partial(self._store.migrate_some, MIGRATED_ROWS), False)
            more |= await self._step(functools.partial(self._store.collect_strays, STRAYS), False)
            for number, found in self._store.recovered.items():
                if said.get(number) is not found and (found.orphans or found.missing or found.strangers):
                    self._say_strays(number, found)
                said[number] = found
            took_s = self._clock.monotonic_s() - began_s
            await self._clock.sleep(max(PAUSE_S, took_s) if more else LOOK_S)

    def _say_strays(self, number: int, found: Recovery) -> None:
        path = self._store.settings.disks[number].path
        self._log.warning("strays", disk=path, orphans=found.orphans, missing=found.missing, strangers=found.strangers)

    async def scrub_at_idle(self) -> None:
        """Round after round. Ends by cancellation, or at once with a rate of 0."""
        while self._rate:
            due = self._store.scrubs_due(ROUND_S)
            if not due or self.is_asked or not self._is_idle():
                await self._clock.sleep(BUSY_S if due else LOOK_S)
                continue
            await self._scrub_some(due, self._rate)

    async def scrub_all(self, bytes_per_s: int) -> AsyncGenerator[ScrubReport, None]:
        """Every disk once from its first extent, at this rate each (0: as fast as it gives). Says how far it is after every step.

        The last report has `ended`. A second asker is refused. Leaving the iterator ends the scrub.
        """
        if self.is_asked:
            yield ScrubReport(ended=True, refused="another scrub runs; ask again when that has ended")
            return
        self.is_asked = True
        try:
            scrubs = self._store.new_scrubs()
            while left := {number: scrub for number, scrub in scrubs.items() if self._goes_on(number, scrub)}:
                yield self._report(scrubs, ended=False)
                await self._scrub_some(left, bytes_per_s)
            yield self._report(scrubs, ended=True)
        finally:
            self.is_asked = False

    def _goes_on(self, number: int, scrub: Scrub) -> bool:
        disk = self._store.disks.get(number)
        return not scrub.rounds and disk is not None and disk.failure is None

    def _report(self, scrubs: Mapping[int, Scrub], ended: bool) -> ScrubReport:
        return ScrubReport(tuple(self._disk_report(number, scrub) for number, scrub in scrubs.items()), ended)

    def _disk_report(self, number: int, scrub: Scrub) -> DiskScrub:
        disk, found = self._store.disks.get(number), scrub.progress
        failure = "it left" if disk is None else disk.failure or ""
        passed = found.extents if found.rounds else found.extents_passed
        path = self._store.settings.disks[number].path
        return DiskScrub(path, passed, found.extents, found.blocks, found.bad_blocks, bool(found.rounds), failure)

    async def _scrub_some(self, scrubs: Mapping[int, Scrub], bytes_per_s: int) -> None:
        """One step of each disk side by side, and the pause that holds the rate."""
        began_s = self._clock.monotonic_s()
        read = await asyncio.gather(*(self._scrub_disk(number, scrub) for number, scrub in scrubs.items()))
        took_s = self._clock.monotonic_s() - began_s
        await self._clock.sleep(max(0.0, max(read, default=0) / bytes_per_s - took_s) if bytes_per_s else 0.0)

    async def _scrub_disk(self, number: int, scrub: Scrub) -> int:
        """Bytes read."""
        found = await self._step(functools.partial(scrub.some, STEP_BLOCKS), None)
        if found is None:
            await self._clock.sleep(BUSY_S)
            return 0
        if found.bad_blocks:
            path = self._store.settings.disks[number].path
            self._log.error("scrub-found-bad-blocks", disk=path, blocks=found.bad_blocks)
        return found.read_bytes

    async def _step(self, step: Callable[[], T], otherwise: T) -> T:
        """Run in a thread; what the store refuses is said and tried again later."""
        await self._going.wait()
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, step)
        except StoreError as error:
            self._log.warning("tidying-waits", detail=str(error))
            return otherwise
        finally:
            self._under_way -= 1

    @asynccontextmanager
    async def halted(self) -> AsyncIterator[None]:
        """While entered no step is under way: a disk may be closed."""
        self._going.clear()
        try:
            while self._under_way:
                await self._clock.sleep(PAUSE_S)
            yield
        finally:
            self._going.set()

    async def close(self) -> None:
        """Waits for the steps that are under way. Call before the store is closed."""
        await asyncio.to_thread(self._threads.shutdown)
