"""Many scripted plays in one process: `python -m benchmarks.steer.playing.viewers TASK SESSIONS`.

Members sign up first; a line on standard output says that they are ready, a line on standard input when to begin, and another one on output
that all play with ENOUGH_BUFFER_S ahead. What happened is written to the file SESSIONS. The plays are those of the scripted player, DASH and HLS in turn, each byte checked; only the eyes are missing.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import msgspec

from benchmarks.serve import processes
from benchmarks.steer.playing.facts import ENOUGH_BUFFER_S, FULL, READY, Ask, Level, Said, Session, Task
from contracts.members import SignUp
from player.membership import Member, Refused, Services
from player.playing import Playback, PlayReport
from player.viewer import watch

STREAMS_PER_MEMBER = 4
LOOK_EVERY_S = 1.0
PASSWORD = "a long tide comes slowly"


@dataclass(slots=True)
class Home:
    member: Member
    profile_id: str
    address: str


@dataclass(slots=True)
class Watched:
    """What was seen of one play from beside it."""

    levels: list[Level] = field(default_factory=list)
    playback: Playback | None = None

    def begin(self, playback: Playback) -> None:
        self.playback = playback

    def look(self) -> None:
        if self.playback is not None:
            timeline, now = self.playback.timeline, time.monotonic()
            self.levels.append(Level(now, timeline.buffer_s(now), timeline.stalls))

    def broken_off(self, error: Exception) -> PlayReport:
        """What the play had seen when something refused it."""
        report = PlayReport() if self.playback is None else self.playback.report
        return replace(report, failure=f"refused: {error!r}")

    @property
    def is_full(self) -> bool:
        return self.playback is not None and bool(self.levels) and self.levels[-1].buffer_s >= ENOUGH_BUFFER_S


class Viewers:
    """The sessions of a task. Sign up with `move_in`, then `play`; close with `aclose`. `on_full` is told once that all play with enough ahead."""

    def __init__(self, task: Task, on_full: Callable[[], None]) -> None:
        self._task = task
        self._on_full = on_full
        self._services = Services(task.auth, task.catalog, task.recommendation, task.playback)
        self._homes: dict[int, Home] = {}
        self._watched = {number: Watched() for number in task.numbers}

    async def move_in(self) -> None:
        for number in sorted({number // STREAMS_PER_MEMBER for number in self._task.numbers}):
            address = self._task.addresses[number % len(self._task.addresses)]
            member = Member(self._services, address, timeout_s=30.0)
            mail = f"viewer-{number}-{time.monotonic_ns()}@example.org"
            await member.sign_up(SignUp(mail, PASSWORD, self._task.region, "premium"))
            account = await member.account()
            self._homes[number] = Home(member, account.profiles[0].id, address)

    async def aclose(self) -> None:
        for home in self._homes.values():
            await home.member.aclose()

    async def play(self, begins_at_s: float) -> list[Session]:
        """All sessions, each at its time from `begins_at_s` on. Raises player.verification.WrongBytes."""
        looking = asyncio.create_task(self._look())
        try:
            async with asyncio.TaskGroup() as group:
                plays = [group.create_task(self._one(number, begins_at_s)) for number in self._task.numbers]
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        return [one.result() for one in plays]

    async def _look(self) -> None:
        told = False
        while True:
            for watched in self._watched.values():
                watched.look()
            if not told and all(watched.is_full for watched in self._watched.values()):
                told = True
                self._on_full()
            await asyncio.sleep(LOOK_EVERY_S)

    async def _one(self, number: int, begins_at_s: float) -> Session:
        home = self._homes[number // STREAMS_PER_MEMBER]
        await asyncio.sleep(max(0.0, begins_at_s + number * self._task.every_s - time.monotonic()))
        pressed_at_s, watched = time.monotonic(), self._watched[number]
        try:
            report = await watch(
                home.member,
                self._task.titles[number % len(self._task.titles)],
                home.profile_id,
                f"device-{number}",
                source_address=home.address,
                until_s=self._task.watch_s,
                resume=False,
                buffer_s=self._task.buffer_s,
                hls=number % 2 == 1,
                on_playback=watched.begin,
            )
        except (Refused, httpx.HTTPError) as error:
            report = watched.broken_off(error)
        watched.playback = None
        return session_of(number, pressed_at_s, time.monotonic(), report, watched.levels)


def session_of(
    number: int, pressed_at_s: float, ended_at_s: float, report: PlayReport, levels: Sequence[Level]
) -> Session:
    return Session(
        number,
        pressed_at_s,
        ended_at_s,
        report.startup_s,
        report.position_s - report.started_at_position_s,
        report.stalls,
        report.stalled_s,
        report.failure,
        report.checked_bytes,
        tuple(Ask(one.at_s, one.took_s, one.host, one.got_bytes, one.ended.value) for one in report.attempts),
        tuple(Said(one.at_s, one.took_s, one.heard.value, one.hosts) for one in report.told),
        tuple(levels),
    )


def shares(task: Task, count: int) -> list[Task]:
    """The task dealt out to so many processes, a member's sessions to one."""
    dealt: list[list[int]] = [[] for _ in range(count)]
    for group, numbers in itertools.groupby(sorted(task.numbers), lambda number: number // STREAMS_PER_MEMBER):
        dealt[group % count] += numbers
    return [msgspec.structs.replace(task, numbers=tuple(numbers)) for numbers in dealt if numbers]


async def _main(task_file: Path, out: Path) -> None:
    viewers = Viewers(msgspec.json.decode(task_file.read_bytes(), type=Task), lambda: _tell(FULL))
    try:
        await viewers.move_in()
        _tell(READY)
        begins_at_s = float(await asyncio.to_thread(sys.stdin.readline))
        out.write_bytes(msgspec.json.encode(await viewers.play(begins_at_s)))
    finally:
        await viewers.aclose()


def _tell(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    processes.raise_file_limit()
    asyncio.run(_main(Path(sys.argv[1]), Path(sys.argv[2])))
