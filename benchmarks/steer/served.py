"""One steering process with a made world, on a core of its own, and what it answers per second of its CPU under wrk's load."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.serve import load, processes
from benchmarks.serve.rows import Plain
from chassis.service import Listening

APPLIANCES, PREFIXES = 1000, 500_000
SECONDS = 10
START_S = 240.0


@dataclass(frozen=True, slots=True)
class Server:
    """A steering process that has its world."""

    process: subprocess.Popen[bytes]
    url: str

    def under_load(
        self, wanted: Path, rounds: int, more: Mapping[str, float], say: Callable[[str], None]
    ) -> list[Plain]:
        """Answers per second of its CPU to the requests of a file, a round that warms left out. Raises RuntimeError for a failure."""
        found = []
        for at in range(rounds + 1):
            facts = {**more, **self._round(wanted, at * 997)}
            if at == 0:
                continue
            say("  " + ", ".join(f"{name} {value:.4g}" for name, value in facts.items()))
            found.append(Plain(facts["answers per CPU second"], facts))
        return found

    def _round(self, wanted: Path, first: int) -> dict[str, float]:
        pids = processes.tree(self.process.pid)
        before, started_s = processes.cpu_of(pids), time.monotonic()
        seen = asyncio.run(load.measure(int(self.url.rpartition(":")[2]), wanted, SECONDS, first))
        spent = processes.cpu_of(pids) - before
        if seen.failures:
            raise RuntimeError(f"wrk counted failures: {seen}")
        cpu_s = spent.user_s + spent.system_s
        return {
            "answers per CPU second": seen.requests / cpu_s,
            "answers per second seen": seen.requests / (seen.duration_us / 1e6),
            "share of the core it got": cpu_s / (time.monotonic() - started_s),
            "p50 ms": seen.p50_us / 1000,
            "p99 ms": seen.p99_us / 1000,
            "resident MiB": processes.resident_kib(pids) / 1024,
        }


@contextmanager
def steering(folder: Path, *, with_log: bool) -> Iterator[Server]:
    """A steering process on the server's core, with a world of APPLIANCES and PREFIXES. Raises RuntimeError when it does not come up."""
    read, write = os.pipe()
    command = [sys.executable, "-m", "benchmarks.steer.serving", "--folder", str(folder), "--ready-fd", str(write)]
    command += ["--appliances", str(APPLIANCES), "--prefixes", str(PREFIXES), *([] if with_log else ["--no-log"])]
    process = processes.start(command, folder / "log.txt", processes.SERVER_CORE, (write,))
    os.close(write)
    try:
        with os.fdopen(read, "rb") as ready:
            line = ready.readline()
        if not line:
            raise RuntimeError(f"steering did not start: {(folder / 'log.txt').read_text()[-400:]}")
        url = msgspec.json.decode(line, type=Listening).listening["http"]
        _wait_for_world(url)
        yield Server(process, url)
    finally:
        processes.stop(process)


def _wait_for_world(url: str) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(url + "/readyz", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError("steering has no world")
