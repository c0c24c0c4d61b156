"""Many scripted sessions play from the appliances of one site; one of these loses its power while all play, and comes back.

The plays run in processes of their own (`viewers`), which share the machine's monotonic clock with this one.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.serve.rows import Row
from benchmarks.steer.playing import figures
from benchmarks.steer.playing.facts import FULL, READY, Session, Task
from benchmarks.steer.playing.figures import SOON_S, Outcome
from benchmarks.steer.playing.stage import USUAL_TTL_S, Stage, open_stage
from benchmarks.steer.playing.viewers import shares
from chassis.client import ServiceClient
from contracts.world import RankFile, Ranking, RankRequest

SEGMENT_S = 4.0
BEGIN_IN_S = 2.0
SLACK_S = 60.0
PROCESSES = 2
LADDER = ("180@160",)
"""With its audio some 300 kbit/s: what two cores can give to 500 sessions and play too."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Instants count from the first press of play; every session watches for `watch_s`, the last one begins at `arrive_s`. The kill waits
    for all to have their buffer, `patience_s` at most. Each session asks steering when it begins and every `ttl_s` from then on, so that
    somebody asks all the time in [n · ttl_s, n · ttl_s + arrive_s]: the kill and the SOON_S after it lie in there."""

    sessions: int
    arrive_s: float
    kill_s: float
    dead_s: float
    watch_s: float
    buffer_s: float = 24.0
    """Media seconds that a player keeps ahead at least; with the next segment there are up to four more. Fetching takes
    some of it: what is held at the kill should be ENOUGH_BUFFER_S still."""
    patience_s: float = 10.0
    ttl_s: int = USUAL_TTL_S
    """How long players wait before they ask steering again while all is well."""

    def __post_init__(self) -> None:
        latest_kill_s = self.kill_s + self.patience_s
        if not self.arrive_s < self.kill_s < latest_kill_s + self.dead_s < self.watch_s:
            raise ValueError(
                "arrive_s < kill_s < kill_s + patience_s + dead_s < watch_s: or not all would play through all of it"
            )
        if latest_kill_s + self.buffer_s + SEGMENT_S >= self.watch_s:
            raise ValueError(
                "kill_s + patience_s + buffer_s must be more than a segment below watch_s: or nothing would be left to fetch"
            )
        round_began_s = self.kill_s // self.ttl_s * self.ttl_s
        if self.arrive_s < self.ttl_s and latest_kill_s + SOON_S > round_began_s + self.arrive_s:
            raise ValueError(
                f"kill_s {self.kill_s:g} to {latest_kill_s + SOON_S:g} must lie where sessions ask steering, "
                f"which is {round_began_s:g} to {round_began_s + self.arrive_s:g}: or nothing would be known of what it says then"
            )


WHOLE = Setting(sessions=500, arrive_s=45.0, kill_s=75.0, dead_s=60.0, watch_s=160.0)
QUICK = Setting(sessions=100, arrive_s=10.0, kill_s=14.0, dead_s=25.0, watch_s=58.0, ttl_s=10)


class Broken(RuntimeError):
    """A process of viewers ended early; the message is the end of its log."""


def rows(folder: Path, *, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """The `play/…` rows of one kill."""
    return figures.rows(asyncio.run(_outcome(folder, QUICK if quick else WHOLE, say)))


async def _outcome(folder: Path, setting: Setting, say: Callable[[str], None]) -> Outcome:
    async with open_stage(folder, math.ceil(setting.watch_s + SEGMENT_S), LADDER, setting.ttl_s) as stage:
        return await through_a_kill(stage, folder, setting, say)


async def through_a_kill(stage: Stage, folder: Path, setting: Setting, say: Callable[[str], None]) -> Outcome:
    """Plays all sessions. Raises Broken."""
    victim = await first_choice(stage)
    hosts = stage.hosts(victim)
    async with asyncio.timeout(SLACK_S + setting.arrive_s + setting.watch_s + SLACK_S):
        async with crowd(shares(task_of(stage, setting), PROCESSES), folder) as plays:
            began_s = await plays.begin()
            await _until(began_s + setting.kill_s)
            await plays.full(setting.patience_s)
            stage.box.pull_the_plug(victim)
            killed_s = time.monotonic()
            say(f"  {victim} is dead, {setting.sessions} sessions play")
            await _until(killed_s + setting.dead_s)
            stage.box.revive(victim)
            back_s = time.monotonic()
            sessions = await plays.end()
    return Outcome(killed_s, back_s, hosts, tuple(sessions))


async def first_choice(stage: Stage) -> str:
    """The appliance that stands first for most files of the films, for viewers of the site."""
    client = stage.network.address(0)
    async with ServiceClient(stage.box.url("steering"), timeout_s=5.0) as steering:
        keys = [f"vod|/media/{title}/sd/{number}.mp4" for title in stage.titles for number in range(8)]
        files = tuple(RankFile(key, key) for key in keys)
        answer = await steering.post("/v1/rank", RankRequest(client, files), Ranking)
    return Counter(group.choices[0].appliance_id for group in answer.groups).most_common(1)[0][0]


def task_of(stage: Stage, setting: Setting) -> Task:
    services = stage.services
    return Task(
        services.auth,
        services.catalog,
        services.recommendation,
        services.playback,
        stage.titles,
        tuple(stage.network.address(number) for number in range(60)),
        stage.network.region,
        tuple(range(setting.sessions)),
        setting.arrive_s / setting.sessions,
        setting.watch_s,
        setting.buffer_s,
    )


@dataclass(slots=True)
class Crowd:
    """Processes of viewers that have signed up."""

    processes: list[asyncio.subprocess.Process]
    files: list[Path]
    logs: list[Path]

    async def begin(self) -> float:
        """When the first one presses play."""
        begins_at_s = time.monotonic() + BEGIN_IN_S
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(f"{begins_at_s!r}\n".encode())
            await process.stdin.drain()
        return begins_at_s

    async def full(self, within_s: float) -> bool:
        """Whether all played with enough ahead before the time was over. Raises Broken."""
        try:
            async with asyncio.timeout(within_s):
                for process, log in zip(self.processes, self.logs, strict=True):
                    await _expect(FULL, process, log)
        except TimeoutError:
            return False
        return True

    async def end(self) -> list[Session]:
        """What they saw, once all have left. Raises Broken."""
        found: list[Session] = []
        for process, file, log in zip(self.processes, self.files, self.logs, strict=True):
            if await process.wait() != 0:
                raise Broken(f"viewers ended with {process.returncode}: {log.read_text()[-400:]}")
            found += msgspec.json.decode(file.read_bytes(), type=list[Session])
        return found


@asynccontextmanager
async def crowd(tasks: Sequence[Task], folder: Path) -> AsyncIterator[Crowd]:
    """A process for each task, all ready; none is left at the end. Raises Broken."""
    made = Crowd([], [], [])
    try:
        for number, task in enumerate(tasks):
            task_file, out, log = (folder / f"{name}-{number}" for name in ("task", "sessions", "log"))
            task_file.write_bytes(msgspec.json.encode(task))
            with log.open("wb") as errors:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "benchmarks.steer.playing.viewers", str(task_file), str(out)),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=errors,
                )
            made.processes.append(process)
            made.files.append(out)
            made.logs.append(log)
        for process, log in zip(made.processes, made.logs, strict=True):
            await _expect(READY, process, log)
        yield made
    finally:
        for process in made.processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _expect(word: str, process: asyncio.subprocess.Process, log: Path) -> None:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if line.decode().strip() != word:
        raise Broken(f"viewers said {line!r} where {word!r} was expected: {log.read_text()[-400:]}")


async def _until(instant_s: float) -> None:
    await asyncio.sleep(max(0.0, instant_s - time.monotonic()))
