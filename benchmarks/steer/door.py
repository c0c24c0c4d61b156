"""`steer/requests-per-s`: rankings over HTTP, one steering process on one core, wrk on the other.

The requests are ready-made (`deciding.requests`): one file each, a client of an announced network, keep-alive connections. What the server
could do on a core of its own is its answers per second of its CPU: the rate that was seen says how much of the core it got, on a machine that
others use. The row is per core, therefore answers per CPU second of the server; the rate seen stands beside it.
"""

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
from benchmarks.serve.rows import Plain, Row
from benchmarks.steer.deciding import requests
from chassis.service import Listening
from contracts.world import Ranking, RankRequest

APPLIANCES, PREFIXES = 1000, 500_000
DISTINCT = 20_000
SECONDS = 10
START_S = 240.0


def rows(folder: Path, *, rounds: int, say: Callable[[str], None]) -> list[Row]:
    """The row, with the steering log (as it is by default) and without."""
    found: list[Plain] = []
    for with_log in (True, False):
        own = folder / ("log" if with_log else "no-log")
        own.mkdir()
        measured = _measured(own, with_log, rounds if with_log else 1, say)
        found += measured
    with_log_rounds = [one for one in found if one.facts["steering log"] == 1]
    value = sorted(one.value for one in with_log_rounds)[len(with_log_rounds) // 2]
    unit = "answers of /v1/rank per second of CPU of one process, 1,000 appliances, 500,000 prefixes, with the steering log"
    return [Row("steer/requests-per-s", unit, value, None, None, tuple(found))]


def _measured(folder: Path, with_log: bool, rounds: int, say: Callable[[str], None]) -> list[Plain]:
    asked = requests(PREFIXES, DISTINCT, 7)
    wanted = folder / "requests"
    wanted.write_bytes(b"".join(_text(one) + b"\0" for one in asked))
    with steering(folder, with_log=with_log) as server:
        _check(server.url, asked[:50])
        return server.under_load(wanted, rounds, {"steering log": float(with_log)}, say)


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


def _text(request: RankRequest) -> bytes:
    body = msgspec.json.encode(request)
    head = f"POST /v1/rank HTTP/1.1\r\nHost: steering\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


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


def _check(url: str, asked: list[RankRequest]) -> None:
    """Every answer names an appliance and ends with the origin: a fast answer must be one."""
    for one in asked:
        request = urllib.request.Request(
            url + "/v1/rank", msgspec.json.encode(one), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            choices = msgspec.json.decode(answer.read(), type=Ranking).groups[0].choices
        if len(choices) != 4 or not choices[0].appliance_id or choices[-1].appliance_id:
            raise RuntimeError(f"not a ranking of three appliances and the origin: {choices}")
