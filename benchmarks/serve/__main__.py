"""`python -m benchmarks.serve`: run everything and write `results.json` and `RESULTS.md` (see `make bench-serve`)."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import time
from pathlib import Path

from benchmarks.serve import cold_disk, connections, processes, report, running
from benchmarks.serve.appliance import OurAppliance
from benchmarks.serve.contest import PEERS, Contest, Pace
from benchmarks.serve.rows import TLS_SIZES, Measured, Results, Round, Row, compared, plain, user_cpu
from benchmarks.serve.workload import ALPHA, CLASSES, SIZES, TOKENS, Contents, FileClass, smaller, token_target
from benchmarks.suite.shell import say, scratch, write

HERE = Path(__file__).parent
_PACKAGES = {"nginx": "nginx-light", "varnish": "varnish", "trafficserver": "trafficserver"}
_STALLED = FileClass("stalled", 16, 8 << 20, ())


def main() -> int:
    arguments = _arguments()
    if shutil.which("wrk") is None:
        sys.stderr.write("wrk, the load client, is not installed: make bench-peers\n")
        return 2
    if (os.cpu_count() or 1) < 2:
        sys.stderr.write("server and client need a core each; this machine has one\n")
        return 2
    os.sched_setaffinity(0, {processes.CLIENT_CORE})
    processes.raise_file_limit()
    started = time.monotonic()
    with scratch(arguments.folder) as folder:
        results = asyncio.run(_run(arguments, folder))
    write(results, arguments.out, report.render)
    say(f"{len(results.rows)} rows in {time.monotonic() - started:.0f} s: {arguments.out / 'RESULTS.md'}")
    return 0


async def _run(arguments: argparse.Namespace, folder: Path) -> Results:
    versions = running.versions()
    pace = Pace(arguments.rounds, arguments.seconds)
    load_before = os.getloadavg()
    left_out = {
        name: f"not installed ({package}); `make bench-peers` installs it"
        for name, package in _PACKAGES.items()
        if name not in versions
    }
    rows: list[Row] = []
    unproven: dict[str, int] = {}
    for group in smaller(CLASSES, arguments.files):
        sizes = [size for size in group.sizes if size in arguments.sizes]
        if sizes:
            rows += await _contest(folder / group.name, group, sizes, pace, versions, left_out, unproven)
    rows += await _connections(folder / "connections", arguments.idle, arguments.stalled)
    rows += await _cold_disk(folder / "cold-disk", left_out)
    if arguments.files:
        left_out["serve/…"] = (
            f"only {arguments.files} files per working set: no figure here stands for the design's rows"
        )
    return Results(
        machine=processes.machine(),
        date=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        command=arguments.command,
        rows=tuple(rows),
        conditions=_conditions(pace, load_before, unproven),
        left_out=left_out,
    )


async def _contest(
    folder: Path,
    group: FileClass,
    sizes: list[str],
    pace: Pace,
    versions: dict[str, str],
    left_out: dict[str, str],
    unproven: dict[str, int],
) -> list[Row]:
    folder.mkdir()
    rows: list[Row] = []
    contest = Contest(folder, group, versions, say)
    try:
        say(f"{group.name}: {group.files} files, {group.working_set_bytes >> 20} MiB")
        await contest.open()
        for size in sizes:
            alone, found = await contest.size(size, pace)
            made = _rows(size, alone, found, versions)
            if size in TLS_SIZES:
                _alone, found = await contest.size(size, pace, tls=True)
                made += _rows(size, [], found, versions, "tls")
            rows += made
            for row in made:
                say(f"  {row.name}: {row.ours:.1f} / {row.peer_value or 0:.1f} {row.unit}")
    finally:
        left_out.update(contest.failed)
        unproven[group.name] = contest.unproven_windows
        await contest.close()
        shutil.rmtree(folder, ignore_errors=True)
    return rows


def _rows(
    size: str,
    alone: list[Measured],
    found: dict[tuple[str, str], list[Round]],
    versions: dict[str, str],
    how: str = "plain",
) -> list[Row]:
    rows = []
    for peer in PEERS:
        rounds = {words: some for (name, words), some in found.items() if name == peer}
        if rounds:
            version = versions[peer.partition("-")[0]]
            rows.append(compared(f"serve/{how}/{size}/{peer}", rounds, version))
    if size == "64k" and alone:
        rows.append(user_cpu(alone))
    return rows


async def _connections(folder: Path, idle: int, stalled: int) -> list[Row]:
    """The rows about memory, each with a worker of its own."""
    rows = []
    for name in ("idle", "idle-tls", "stalled"):
        (folder / name).mkdir(parents=True)
        ours = OurAppliance(folder / name)
        ours.fill(_STALLED, Contents())
        target = token_target(_STALLED, ours.tokens(_STALLED))
        await ours.start()
        try:
            if name != "stalled":
                tls = name == "idle-tls"
                found = await connections.idle(ours, target, idle, tls=tls)
                words = "KiB of worker memory per idle connection" + (" over TLS" if tls else "")
                rows.append(plain(f"serve/{name}-kib", words, [found]))
            else:
                found = await connections.stalled(ours, _STALLED.files, _STALLED.range_bytes, target, stalled)
                words = f"MiB of worker and its sockets, {stalled} stalled readers"
                rows.append(plain("serve/slow-readers-mib", words, [found]))
            say(f"  {rows[-1].name}: {rows[-1].ours:.1f} {rows[-1].unit}")
        finally:
            await ours.stop()
    return rows


async def _cold_disk(folder: Path, left_out: dict[str, str]) -> list[Row]:
    name = "serve/cold-disk-p99-ms"
    if why := cold_disk.why_not():
        left_out[name] = why
        return []
    folder.mkdir(parents=True)
    words = (
        f"ms that the p99 of hits in memory grows by while another disk takes {cold_disk.DELAY_S * 1000:g} ms per read"
    )
    row = plain(name, words, await cold_disk.measure(folder))
    say(f"  {row.name}: {row.ours:.1f} {row.unit}")
    return [row]


def _conditions(pace: Pace, load_before: tuple[float, float, float], unproven: dict[str, int]) -> dict[str, str]:
    open_files = processes.file_limit()
    sets = ", ".join(
        f"{group.files} files of {group.file_bytes} bytes for {'/'.join(group.sizes)}" for group in CLASSES
    )
    return {
        "rounds": f"{pace.rounds} of {pace.seconds} s per server and size, servers in turn within each round",
        "cores": f"server on core {processes.SERVER_CORE}, wrk (1 thread, 32 connections) on core {processes.CLIENT_CORE}, loopback",
        "working sets": f"{sets}; Zipf α {ALPHA}; ranges start at any byte",
        "sessions": f"{TOKENS} tokens (ES256) verified once per worker, a different CMCD query on every request",
        "ours": "one worker and its logger (part of the cost, shown apart); tokens, access log, accounting (reported each second) and metrics on",
        "in memory": "locked there where the machine allows it, asserted before each round by mincore; no origin request or cold window during one, less than 256 KiB read from the device",
        "compared again": f"{unproven} windows of ours in all rounds: a block is compared before the first send since its extent was opened, and {open_files} files may be open",
        "bodies": "all compared while warming, a sample after the rounds, their volume in every round",
        "CPU": "user + system of the server's process tree from /proc; the receiver's TCP work on loopback is charged to the sender",
        "load before": " ".join(f"{number:.2f}" for number in load_before),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under five minutes: 2 rounds of 1 s")
    parser.add_argument("--rounds", type=int, help="rounds per size")
    parser.add_argument("--seconds", type=int, help="seconds per server in a round")
    parser.add_argument("--sizes", type=lambda text: text.split(","), default=list(SIZES), help="such as 1k,64k")
    parser.add_argument("--files", type=int, help="so many per working set, a multiple of 100: to try this program out")
    parser.add_argument("--idle", type=int, help="idle connections")
    parser.add_argument("--stalled", type=int, default=2_000, help="readers that stop reading")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for results.json and RESULTS.md")
    parser.add_argument("--folder", type=Path, help="where working sets are written (10 GiB); not tmpfs")
    arguments = parser.parse_args()
    given = bool(arguments.rounds or arguments.seconds)
    arguments.rounds = arguments.rounds or (2 if arguments.quick else 5)
    arguments.seconds = arguments.seconds or (1 if arguments.quick else 3)
    arguments.idle = arguments.idle or (2_000 if arguments.quick else 8_000)
    further = f" ARGS='--rounds {arguments.rounds} --seconds {arguments.seconds}'" if given else ""
    arguments.command = ("QUICK=1 " if arguments.quick else "") + "make bench-serve" + further
    return arguments


if __name__ == "__main__":
    raise SystemExit(main())
