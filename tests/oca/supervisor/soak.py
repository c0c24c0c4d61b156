"""Verified requests while a randomly chosen worker is killed every second (`make soak-serve`).

    python -m tests.oca.supervisor.soak [--requests N] [--seconds S] [--workers N] [--seed N]

The laws, and exit code 1 when one is broken:
- no slot is given up, and at the end all serve;
- at least 99.9 % of the requests are complete within two attempts;
- every failure is on a connection that a killed worker held;
- no connection is refused;
- every body is right.

Which connections a worker holds is not guessed: it is stopped first (SIGSTOP), then the sockets among its descriptors are looked up in
/proc/net/tcp; a stopped process accepts and closes nothing, so that the list is exact when SIGKILL comes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from tests.oca.supervisor.box import FILE, Box, box, settings_of, stock, until
from tests.oca.supervisor.players import Fault, Line, Place, Trouble

ATTEMPTS = 2
COMPLETE = 0.999
KILL_EVERY_S = 1.0
SIZES = (1024,) * 70 + (16 * 1024,) * 20 + (64 * 1024,) * 9 + (512 * 1024,)


@dataclass(frozen=True, slots=True)
class Course:
    """What is done: so many requests, spread over so many seconds."""

    requests: int = 100_000
    seconds: float = 60.0
    workers: int = 4
    lines: int = 32
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Kill:
    """`ports` are the clients' ports of the connections that the worker held."""

    at: float
    pid: int
    ports: frozenset[int]


@dataclass(frozen=True, slots=True)
class Failure:
    """One attempt that came to nothing. `port` is None when there was no connection."""

    at: float
    fault: Fault
    detail: str
    port: int | None
    opened_at: float

    def is_explained(self, kills: list[Kill]) -> bool:
        return any(self.opened_at <= kill.at <= self.at and self.port in kill.ports for kill in kills)


@dataclass
class Report:
    """What came of it."""

    course: Course
    kills: list[Kill] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    complete_at_attempt: Counter[int] = field(default_factory=Counter)
    incomplete: int = 0
    bytes_verified: int = 0
    connections: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    given_up: int = 0
    serving_at_end: float = 0.0
    deaths_counted: float = 0.0
    unexpected_errors: float = 0.0

    def broken_laws(self) -> list[str]:
        done = sum(self.complete_at_attempt.values())
        foreign = [failure for failure in self.failures if not failure.is_explained(self.kills)]
        laws = (
            (done + self.incomplete == self.course.requests, "not every request was made"),
            (self.given_up == 0, f"{self.given_up} times a slot was given up to a sibling"),
            (self.serving_at_end == self.course.workers, f"only {self.serving_at_end:g} workers serve at the end"),
            (
                done >= COMPLETE * self.course.requests,
                f"{self.incomplete} requests were not complete within two attempts",
            ),
            (not foreign, f"{len(foreign)} failures on connections of workers that lived, e.g. {foreign[:3]}"),
            (not self._count(Fault.REFUSED), f"{self._count(Fault.REFUSED)} connections were refused"),
            (not self._count(Fault.WRONG), f"{self._count(Fault.WRONG)} answers were wrong"),
            (
                len(self.kills) >= self.course.seconds / KILL_EVERY_S * 0.8,
                f"only {len(self.kills)} workers were killed",
            ),
            (not self.unexpected_errors, f"{self.unexpected_errors:g} unexpected errors in workers that lived"),
        )
        return [words for holds, words in laws if not holds]

    def lines(self) -> list[str]:
        done = sum(self.complete_at_attempt.values())
        faults = ", ".join(f"{self._count(fault)} × {fault.value}" for fault in Fault if self._count(fault)) or "none"
        held = sum(len(kill.ports) for kill in self.kills)
        return [
            f"machine             {platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}",
            f"requests            {self.course.requests} over {self.seconds:.1f} s by {self.course.lines} players, "
            f"{self.connections} connections, {self.bytes_verified / 1e6:.0f} MB compared byte by byte",
            f"killed              {len(self.kills)} workers of {self.course.workers}, which held {held} connections",
            f"complete            {done} ({100 * done / self.course.requests:.4f} %): "
            f"{self.complete_at_attempt[1]} at once, {self.complete_at_attempt[2]} at the second attempt, {self.incomplete} not",
            f"failed attempts     {len(self.failures)}: {faults}",
            f"slowest request     {self.slowest_s:.2f} s, attempts and waiting in a queue without a worker included",
            f"slots given up      {self.given_up}; {self.serving_at_end:g} workers serve at the end",
        ]

    def _count(self, fault: Fault) -> int:
        return sum(failure.fault is fault for failure in self.failures)


class Players:
    """They take requests off one counter, each over its own kept connection."""

    def __init__(self, place: Place, course: Course, report: Report) -> None:
        self._place = place
        self._course = course
        self._report = report
        self._rng = random.Random(course.seed)
        self._taken = 0
        self._began = time.monotonic()

    async def play(self) -> None:
        await asyncio.gather(*(self._player() for _ in range(self._course.lines)))
        self._report.seconds = time.monotonic() - self._began

    async def _player(self) -> None:
        line: Line | None = None
        while self._taken < self._course.requests:
            due = self._began + self._taken * self._course.seconds / self._course.requests
            self._taken += 1
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            line = await self._request(line)
        if line is not None:
            line.close()

    async def _request(self, line: Line | None) -> Line | None:
        """Two attempts at one request; gives the connection for the next one."""
        length = self._rng.choice(SIZES)
        first = self._rng.randrange(len(self._place.file.data) - length)
        report, began = self._report, time.monotonic()
        for attempt in range(1, ATTEMPTS + 1):
            opening = time.monotonic()
            try:
                if line is None:
                    line = await Line.open(self._place)
                    report.connections += 1
                await line.ask(first, first + length - 1)
            except Trouble as trouble:
                port, opened_at = (None, opening) if line is None else (line.local_port, line.opened_at)
                report.failures.append(Failure(time.monotonic(), trouble.fault, str(trouble), port, opened_at))
                if line is not None:
                    line.close()
                line = None
                continue
            report.complete_at_attempt[attempt] += 1
            report.bytes_verified += length
            report.slowest_s = max(report.slowest_s, time.monotonic() - began)
            return line
        report.incomplete += 1
        return None


def stop_process(pid: int) -> None:
    """SIGSTOP, and wait until it has stopped. Raises ProcessLookupError."""
    os.kill(pid, signal.SIGSTOP)
    for _ in range(1000):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError as error:
            raise ProcessLookupError(pid) from error
        if state == "T":
            return
        time.sleep(0.001)
    raise RuntimeError(f"process {pid} does not stop")


def connections_of(pid: int, port: int) -> frozenset[int]:
    """The other ends' ports of the IPv4 connections to `port` that a process holds."""
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            name = str(fd.readlink())
            if name.startswith("socket:["):
                inodes.add(name[8:-1])
    found = set()
    for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = row.split()
        if fields[9] in inodes and int(fields[1].rpartition(":")[2], 16) == port:
            found.add(int(fields[2].rpartition(":")[2], 16))
    return frozenset(found - {0})


async def kill_every_second(appliance: Box, report: Report) -> None:
    """Until cancelled. Any of the workers may be hit, also one that has only just been started."""
    rng = random.Random(report.course.seed)
    port = appliance.address[1]
    began = time.monotonic()
    while True:
        began += KILL_EVERY_S
        await asyncio.sleep(max(0.0, began - time.monotonic()))
        victim = rng.choice(appliance.children("oca.worker"))
        with contextlib.suppress(ProcessLookupError):
            stop_process(victim)
            ports = connections_of(victim, port)
            report.kills.append(Kill(time.monotonic(), victim, ports))
            os.kill(victim, signal.SIGKILL)


async def soak(course: Course, folder: Path) -> Report:
    """The whole course on an appliance of its own."""
    settings = settings_of(folder, workers=course.workers)
    keys = stock(settings, [FILE])
    report = Report(course)
    with box(settings, folder, keys) as appliance:
        await until(lambda: len(appliance.children("oca.worker")) == course.workers)
        await serving(appliance, course.workers)
        host, port = appliance.address
        players = Players(Place(host, port, f"/~{keys.token()}{FILE.name.path}", FILE), course, report)
        killer = asyncio.create_task(kill_every_second(appliance, report))
        try:
            await players.play()
        finally:
            killer.cancel()
            await asyncio.gather(killer, return_exceptions=True)
        report.serving_at_end = await serving(appliance, course.workers)
        report.deaths_counted = await appliance.metric('lowtide_oca_child_deaths_total{child="worker"}')
        report.unexpected_errors = await appliance.metric("lowtide_oca_worker_errors_total")
    report.given_up = appliance.log.read_text().count('"phase": "resting"')
    return report


async def serving(appliance: Box, workers: int, wait_s: float = 20.0) -> float:
    """How many workers serve, as soon as all do or the time is over."""
    deadline = time.monotonic() + wait_s
    found = 0.0
    while found != workers and time.monotonic() < deadline:
        found = await appliance.metric("lowtide_oca_workers_ready")
        await asyncio.sleep(0.1)
    return found


def main() -> int:
    words = argparse.ArgumentParser(
        prog="python -m tests.oca.supervisor.soak", description=(__doc__ or "").split("\n")[0]
    )
    default = Course()
    words.add_argument("--requests", type=int, default=default.requests)
    words.add_argument("--seconds", type=float, default=default.seconds)
    words.add_argument("--workers", type=int, default=default.workers)
    words.add_argument("--seed", type=int, default=default.seed)
    course = Course(**vars(words.parse_args()))
    with tempfile.TemporaryDirectory(prefix="lowtide-soak-") as folder:
        report = uvloop.run(soak(course, Path(folder)))
    broken = report.broken_laws()
    verdict = [f"BROKEN              {law}" for law in broken] or ["every law holds"]
    sys.stdout.write("\n".join((*report.lines(), *verdict)) + "\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
