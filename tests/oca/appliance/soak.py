"""Everything at once, for long (`make soak-store`): readers of changing files while workers and keeper are killed, files are changed and
purged, disks lose their files, and the origin fails.

    python -m tests.oca.appliance.soak [--minutes M] [--kills N] [--seed N] [--out FILE]

The laws, and exit code 1 when one is broken:
- no byte is wrong, and nothing that was purged is served again: a file that changed is read in its new form from the moment the
  purge was acknowledged;
- a reader gets an answer or an end in time; a connection is never refused;
- at the end all is answered again, and when everything is purged the disks are empty;
- no process holds more descriptors or much more memory at the end than in the first part of the run.

With `--kills N` the keeper alone is killed N times under a thousand cold readers (`killing`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from contracts.digests import BLOCK_BYTES
from tests.oca.appliance.chaos import Chaos, Event, purged
from tests.oca.appliance.crowd import End, Got, Reader, ends
from tests.oca.appliance.killing import Killing, kill_keepers
from tests.oca.appliance.samples import Sample, grown_bytes, sample
from tests.oca.appliance.world import MIB, World, appliance_world
from tests.oca.store.harness import MadeFile

OUT = Path(__file__).parents[3] / "benchmarks" / "store" / "SOAK.md"
LONGEST_BLOCKS = 3
SAMPLE_EVERY_S = 1.0
EMPTY_WITHIN_S = 30.0
IDLE_DESCRIPTORS = 24
"""More than at the beginning, when all is quiet and nothing is stored: connections that are kept for a while."""
GROWN_MEMORY_BYTES = 48 * MIB
KILL_SHOWS_S = 30.0
"""A kept connection may show so much later that its worker was killed: when it is used again."""
LAWFUL_STATUS = (502, 503, 504)
"""What a reader may hear while sources and disks fail."""


@dataclass(frozen=True, slots=True)
class Course:
    """How long, and with whom."""

    seconds: float = 1800.0
    readers: int = 48
    films: int = 24
    film_bytes: int = 6 * MIB
    disks: int = 3
    quota_bytes: int = 40 * MIB
    """Of each disk; all together hold less than all films."""
    pause_s: float = 1.5
    """Between two things that go wrong, on average."""
    seed: int = 1


@dataclass
class Report:
    """What came of it."""

    course: Course
    ended: Counter[str] = field(default_factory=Counter)
    events: Counter[Event] = field(default_factory=Counter)
    mishaps: Counter[str] = field(default_factory=Counter)
    strange: list[Got] = field(default_factory=list)
    at_end: Counter[str] = field(default_factory=Counter)
    bytes_verified: int = 0
    seconds: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    idle_descriptors: tuple[int, int] = (0, 0)
    """Of all processes, before the first request and after the last one, with nothing stored."""
    left_bytes: int = 0
    """Of extent files, after everything was purged."""
    purge_ms: list[float] = field(default_factory=list)

    def broken_laws(self) -> list[str]:
        memory = grown_bytes(self.samples)
        before, after = self.idle_descriptors
        never = [event.value for event in Event if not self.events[event]]
        laws = (
            (not self.strange, f"{len(self.strange)} answers that must not be: {self.strange[:3]}"),
            (not never, f"never happened: {', '.join(never)}"),
            (self.ended["complete"] > 0, "nobody got anything"),
            (set(self.at_end) == {"complete"}, f"at the end: {dict(self.at_end)}"),
            (self.left_bytes == 0, f"{self.left_bytes} bytes of extents are left when everything was purged"),
            (after <= before + IDLE_DESCRIPTORS, f"{after - before} more descriptors at the end"),
            (memory <= GROWN_MEMORY_BYTES, f"{memory >> 20} MiB more memory at the end"),
        )
        return [words for holds, words in laws if not holds]

    def lines(self) -> list[str]:
        memory = grown_bytes(self.samples)
        before, after = self.idle_descriptors
        total = sum(self.ended.values())
        answers = ", ".join(f"{count} {word}" for word, count in self.ended.most_common())
        purges = sorted(self.purge_ms) or [0.0]
        most_bytes = max((one.disk_bytes for one in self.samples), default=0)
        return [
            f"machine             {platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}",
            f"run                 {self.seconds:.0f} s, {self.course.readers} readers, {self.course.films} files of {self.course.film_bytes >> 20} MiB, "
            f"{self.course.disks} disks of {self.course.quota_bytes >> 20} MiB, seed {self.course.seed}",
            f"answers             {total}: {answers}; {self.bytes_verified / 1e9:.2f} GB compared byte by byte",
            f"what went wrong     {', '.join(f'{count} × {event.value}' for event, count in self.events.most_common())}",
            f"at the origin       {', '.join(f'{count} × {word}' for word, count in self.mishaps.most_common())}",
            f"purges              acknowledged in {purges[len(purges) // 2]:.0f} ms (median), {purges[-1]:.0f} ms (longest, restarts included)",
            f"at the end          {dict(self.at_end)}; {self.left_bytes} bytes left after everything was purged",
            f"descriptors         {before} of all processes before the first request, {after} after the last one",
            f"memory              {memory / MIB:+.1f} MiB between the second sixth and the last third of the run",
            f"disks               held at most {most_bytes / MIB:.0f} MiB at once",
        ]


class Readers:
    """They read ranges of random files; a file that is being changed rests."""

    def __init__(self, world: World, report: Report) -> None:
        self.world = world
        self.report = report
        self.films: dict[str, MadeFile] = {}
        self._rng = random.Random(report.course.seed)
        self._resting: set[str] = set()
        self._reading: Counter[str] = Counter()
        self._left = asyncio.Condition()
        self._kills: list[float] = []
        self._over = False

    def killed_worker(self) -> None:
        """Connections may have ended with it."""
        self._kills.append(time.monotonic())

    async def read(self) -> None:
        await asyncio.gather(*(self._reader() for _ in range(self.report.course.readers)))

    def stop(self) -> None:
        self._over = True

    @contextlib.asynccontextmanager
    async def resting(self, name: str) -> AsyncIterator[None]:
        """Nobody reads this file, and nobody begins to."""
        self._resting.add(name)
        try:
            async with self._left:
                await self._left.wait_for(lambda: not self._reading[name])
            yield
        finally:
            self._resting.discard(name)

    async def everything_once(self) -> Counter[str]:
        """Every block of every file."""
        found: Counter[str] = Counter()
        reader = self.world.reader()
        for film in self.films.values():
            for block in range(-(-len(film.data) // BLOCK_BYTES)):
                found.update(ends([await reader.ask(self.world.block(film, block))]))
        reader.close()
        return found

    async def _reader(self) -> None:
        reader = self.world.reader()
        while not self._over:
            name = self._rng.choice([one for one in self.films if one not in self._resting])
            self._reading[name] += 1
            try:
                await self._ask(reader, self.films[name])
            finally:
                self._reading[name] -= 1
                async with self._left:
                    self._left.notify_all()
        reader.close()

    async def _ask(self, reader: Reader, film: MadeFile) -> None:
        length = self._rng.randrange(1, LONGEST_BLOCKS * BLOCK_BYTES)
        first = self._rng.randrange(len(film.data) - length)
        began = time.monotonic()
        found = await reader.ask(self.world.wanted(film, first, first + length - 1))
        self.report.ended.update(ends([found]))
        if found.end is End.COMPLETE:
            self.report.bytes_verified += length
            return
        if not self._may_be(found, began):
            self.report.strange.append(found)
        await asyncio.sleep(0.1)

    def _may_be(self, found: Got, began: float) -> bool:
        if found.end is End.BROKEN:  # the connection was idle or waited in a worker that was killed
            return any(at >= began - KILL_SHOWS_S for at in self._kills)
        return found.end is End.CUT or (found.end is End.STATUS and found.status in LAWFUL_STATUS)


async def soak(course: Course, folder: Path) -> Report:
    """The whole course on an appliance of its own."""
    report = Report(course)
    async with appliance_world(folder, disks=course.disks, quota_bytes=course.quota_bytes, extent_bytes=MIB) as world:
        readers = Readers(world, report)
        for number in range(course.films):
            name = f"film-{number}.mp4"
            readers.films[name] = world.publish(name, course.film_bytes)
        await world.start()
        idle_before = sample(world, 0.0).descriptors
        chaos = Chaos(world, course.seed)
        began = time.monotonic()
        tasks = [asyncio.create_task(readers.read()), asyncio.create_task(_watch(world, report))]
        try:
            await _go_wrong(chaos, readers, report, began + course.seconds)
            await chaos.end()
        finally:
            readers.stop()
            await tasks[0]
            tasks[1].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        report.seconds = time.monotonic() - began
        report.events, report.mishaps = chaos.events, Counter({m.value: n for m, n in world.origin.suffered.items()})
        report.at_end = await _all_answered(readers)
        await purged(world)
        after = await _emptied(world, idle_before)
        report.left_bytes, report.idle_descriptors = after.disk_bytes, (idle_before, after.descriptors)
    return report


async def _go_wrong(chaos: Chaos, readers: Readers, report: Report, end: float) -> None:
    """One thing after the other; the first ones in turn, so that each kind happens in the shortest run."""
    rng = random.Random(report.course.seed)
    kinds = list(Event)
    turn = 0
    while time.monotonic() < end or turn < len(kinds):
        event = kinds[turn] if turn < len(kinds) else rng.choice(kinds)
        turn += 1
        match event:
            case Event.WORKER_KILLED:
                if chaos.kill_worker():
                    readers.killed_worker()
            case Event.KEEPER_KILLED:
                await chaos.kill_keeper()
            case Event.FILE_CHANGED:
                name = rng.choice(list(readers.films))
                async with readers.resting(name):
                    readers.films[name], took_ms = await chaos.change(readers.films[name], name)
                report.purge_ms.append(took_ms)
            case Event.DISK_LOST:
                await chaos.lose_disk()
            case Event.ORIGIN_FAILS:
                chaos.spoil_origin()
        await asyncio.sleep(rng.uniform(0.2, 2 * report.course.pause_s - 0.2))


async def _watch(world: World, report: Report) -> None:
    while True:
        report.samples.append(sample(world, time.monotonic()))
        await asyncio.sleep(SAMPLE_EVERY_S)


async def _all_answered(readers: Readers, attempts: int = 5) -> Counter[str]:
    """What all get when nothing goes wrong any more; a source that rests is given the time to be asked again."""
    found: Counter[str] = Counter()
    for _ in range(attempts):
        found = await readers.everything_once()
        if set(found) == {"complete"}:
            break
        await asyncio.sleep(5.0)
    return found


async def _emptied(world: World, descriptors: int) -> Sample:
    """How it is as soon as nothing is stored and what was open is closed, or after a while."""
    end = time.monotonic() + EMPTY_WITHIN_S
    found = sample(world, 0.0)
    while found.disk_bytes or found.descriptors > descriptors + IDLE_DESCRIPTORS:
        if time.monotonic() >= end:
            break
        await asyncio.sleep(0.2)
        found = sample(world, 0.0)
    return found


def main() -> int:
    words = argparse.ArgumentParser(
        prog="python -m tests.oca.appliance.soak", description=(__doc__ or "").split("\n")[0]
    )
    words.add_argument("--minutes", type=float, default=30.0)
    words.add_argument(
        "--kills", type=int, default=0, help="kill the keeper alone, so many times, under 1,000 cold readers"
    )
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--out", type=Path, default=OUT, help="the page that is written")
    given = words.parse_args()
    with tempfile.TemporaryDirectory(prefix="lowtide-soak-") as folder:
        if given.kills:
            killed = uvloop.run(kill_keepers(Killing(given.kills, seed=given.seed), Path(folder)))
            lines, broken = killed.lines(), killed.broken_laws()
        else:
            report = uvloop.run(soak(Course(seconds=60 * given.minutes, seed=given.seed), Path(folder)))
            lines, broken = report.lines(), report.broken_laws()
    verdict = [f"BROKEN              {law}" for law in broken] or ["every law holds"]
    text = "\n".join((*lines, *verdict))
    sys.stdout.write(text + "\n")
    if not given.kills:
        given.out.write_text(_page(text))
    return 1 if broken else 0


def _page(text: str) -> str:
    date = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return f"# The store soaked\n\nWritten by `make soak-store` ({date}); what is done and which laws hold: `tests/oca/appliance/soak.py`.\n\n```\n{text}\n```\n"


if __name__ == "__main__":
    sys.exit(main())
