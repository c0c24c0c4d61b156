"""The keeper killed again and again under readers of what is not here (DESIGN §3.1).

Laws: an answer is complete and right, aborted, or 504; no worker dies of it; afterwards everything is answered.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

from contracts.digests import BLOCK_BYTES
from tests.oca.appliance.crowd import End, Got, Reader, ends
from tests.oca.appliance.world import MIB, World, appliance_world
from tests.oca.store.harness import MadeFile

SESSION_READERS = 20
KEPT_ROUNDS = 10
"""Rounds after which nobody can still wait for a first byte of a film."""
QUOTA_BYTES = 384 * MIB


@dataclass(frozen=True, slots=True)
class Killing:
    """So many kills under so many readers."""

    kills: int = 100
    readers: int = 1000
    seed: int = 1
    films: int = 3
    """New ones after each kill: what is asked for is never here yet."""
    film_bytes: int = 10 * MIB


@dataclass
class Killed:
    """What came of it."""

    course: Killing
    pids: list[int] = field(default_factory=list)
    during_fetches: int = 0
    """Kills while the origin was sending."""
    ended: Counter[str] = field(default_factory=Counter)
    answered_at_end: Counter[str] = field(default_factory=Counter)
    bytes_verified: int = 0
    worker_deaths: float = 0.0
    seconds: float = 0.0
    strange: list[Got] = field(default_factory=list)

    def broken_laws(self) -> list[str]:
        laws = (
            (len(self.pids) == self.course.kills, f"only {len(self.pids)} keepers were killed"),
            (len(set(self.pids)) == len(self.pids), "a keeper was killed twice"),
            (self.during_fetches > 0, f"only {self.during_fetches} kills fell into fetches"),
            (not self.strange, f"{len(self.strange)} answers were none of complete, aborted, 504: {self.strange[:3]}"),
            (self.ended["complete"] > 0, "nobody got anything"),
            (set(self.answered_at_end) == {"complete"}, f"at the end: {dict(self.answered_at_end)}"),
            (self.worker_deaths == 0, f"{self.worker_deaths:g} workers died"),
        )
        return [words for holds, words in laws if not holds]

    def lines(self) -> list[str]:
        found = ", ".join(f"{count} {word}" for word, count in sorted(self.ended.items()))
        return [
            f"keepers killed      {len(self.pids)} in {self.seconds:.0f} s, {self.during_fetches} of them while a source was sending",
            f"answers             {found}; {self.course.readers} readers, {self.bytes_verified / 1e6:.0f} MB compared byte by byte",
            f"at the end          {dict(self.answered_at_end)}",
        ]


def is_lawful(found: Got) -> bool:
    """What a reader may see of a keeper's death."""
    return found.end in (End.COMPLETE, End.CUT) or (found.end is End.STATUS and found.status == 504)


class _Readers:
    def __init__(self, world: World, report: Killed) -> None:
        course = report.course
        self._world = world
        self._films: list[MadeFile] = []
        self._report = report
        self._rng = random.Random(course.seed)
        self._readers = [world.reader() for _ in range(course.readers)]
        self._tokens = [world.token(n) for n in range(course.readers // SESSION_READERS + 1)]
        self._kept: deque[list[MadeFile]] = deque()
        self._over = False

    async def read(self) -> None:
        """Until `stop`."""
        await asyncio.gather(*(self._reader(number) for number in range(len(self._readers))))

    def stop(self) -> None:
        self._over = True

    def turn_to_new_films(self, number: int) -> None:
        """What nobody has asked for yet; what was read before may go from the origin too."""
        course, world = self._report.course, self._world
        names = [f"film-{number}-{one}.mp4" for one in range(course.films)]
        self._films = [world.publish(name, course.film_bytes, course.seed) for name in names]
        self._kept.append(self._films)
        if len(self._kept) > KEPT_ROUNDS:
            world.forget(self._kept.popleft())

    async def once(self) -> list[Got]:
        found = await asyncio.gather(*(self._ask(number) for number in range(len(self._readers))))
        for reader in self._readers:
            reader.close()
        return found

    async def _reader(self, number: int) -> None:
        while not self._over:
            found = await self._ask(number)
            self._report.ended.update(ends([found]))
            if not is_lawful(found):
                self._report.strange.append(found)
            if found.end is not End.COMPLETE:
                await asyncio.sleep(0.05)  # as a player that tries again

    async def _ask(self, number: int) -> Got:
        film = self._rng.choice(self._films)
        first = self._rng.randrange(len(film.data) - 3 * BLOCK_BYTES)
        length = self._rng.randrange(1, 3 * BLOCK_BYTES)
        token = self._tokens[number // SESSION_READERS]
        reader: Reader = self._readers[number]
        found = await reader.ask(self._world.wanted(film, first, first + length - 1, token))
        if found.end is End.COMPLETE:
            self._report.bytes_verified += length
        return found


async def kill_keepers(course: Killing, folder: Path) -> Killed:
    """The whole course on an appliance of its own."""
    report = Killed(course)
    rng = random.Random(course.seed)
    async with appliance_world(folder, quota_bytes=QUOTA_BYTES, extent_bytes=MIB) as world:
        world.origin.pause_s = 0.002
        await world.start()
        readers = _Readers(world, report)
        readers.turn_to_new_films(0)
        began = time.monotonic()
        reading = asyncio.create_task(readers.read())
        try:
            for number in range(1, course.kills + 1):
                await world.until_keeper_serves(report.pids[-1] if report.pids else None, 60.0)
                await world.until(lambda: world.origin.sending, 60.0)
                await asyncio.sleep(rng.uniform(0.0, 0.3))
                report.during_fetches += world.origin.sending > 0
                pid = world.kill_keeper()
                assert pid is not None, "it has just said that it serves"
                report.pids.append(pid)
                readers.turn_to_new_films(number)
            await world.until_keeper_serves(report.pids[-1], 60.0)
        finally:
            readers.stop()
            await reading
        report.seconds = time.monotonic() - began
        report.answered_at_end = await _settled(readers)
        report.worker_deaths = await world.counter('lowtide_oca_child_deaths_total{child="worker"}')
    return report


async def _settled(readers: _Readers, attempts: int = 10) -> Counter[str]:
    """What all get once the last keeper has worked off what piled up before it."""
    found: Counter[str] = Counter()
    for _ in range(attempts):
        found = ends(await readers.once())
        if set(found) == {"complete"}:
            break
    return found
