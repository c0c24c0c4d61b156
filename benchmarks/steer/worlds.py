"""`steer/world-…`: what a world of 1,000 appliances and 500,000 learnt prefixes costs in memory and time (DESIGN §5).

The feed reads the lines of a change stream, as the control plane sends them, in a process of its own. Four
fifths of the prefixes are IPv4, lengths as in a full table (three fifths /24), over 500 sites. Memory is the process's resident set with
the world in it, everything imported. Times are CPU times of the process: others use the machine.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec

from benchmarks.serve.rows import Plain, Row
from chassis.clock import SYSTEM_CLOCK
from contracts.places import Appliance, ApplianceState, Prefix, Site
from contracts.world import Change, Health, SiteRoutes
from steering import archive
from steering.feed import Feed, State
from steering.prefixes import HashedPrefixes, parse_address
from steering.world import World

APPLIANCES, PREFIXES, SITES = 1_000, 500_000, 500
LINE_PREFIXES, DELTA, DELTAS, LOOKUPS = 500, 100, 200, 100_000
V4_SHARE = 0.8
V4_LENGTHS = [24] * 60 + [23] * 8 + [22] * 12 + [21] * 5 + [20] * 5 + [19] * 4 + [18] * 2 + [17] * 2 + [16] * 2
V6_LENGTHS = [48] * 50 + [32] * 15 + [40] * 10 + [44] * 10 + [36] * 10 + [29] * 5
GIB = 1 << 30
SNAPSHOT = "snapshot.ndjson"


def rows(rounds: int, folder: Path) -> list[Row]:
    """`steer/world-memory-gib`, `-build-s`, `-delta-ms`, `-turn-ms`, `-lookup-us`. `folder` is for files."""
    found = [_measured(number, folder) for number in range(1, rounds + 1)]
    return [
        _row("steer/world-memory-gib", "GiB resident, 1,000 appliances, 500,000 prefixes", "memory_gib", found),
        _row("steer/world-build-s", "s of CPU from the lines of a snapshot to the world", "build_s", found),
        _row("steer/world-turn-ms", "ms of CPU of the loop's slowest turn while that snapshot comes", "turn_ms", found),
        _row("steer/world-delta-ms", "ms of CPU for a change of 100 prefixes, median", "delta_ms", found),
        _row("steer/world-lookup-us", "us of CPU for all prefixes that cover an address", "lookup_us", found),
    ]


def _row(name: str, unit: str, which: str, found: list[dict[str, float]]) -> Row:
    values = sorted(facts[which] for facts in found)
    rounds = tuple(Plain(facts[which], facts) for facts in found)
    return Row(name, unit, values[len(values) // 2], None, None, rounds)


def _measured(seed: int, folder: Path) -> dict[str, float]:
    _alone("write", seed, folder)
    facts = json.loads(_alone("measure", seed, folder).splitlines()[-1])
    assert isinstance(facts, dict)
    return facts


def _alone(what: str, seed: int, folder: Path) -> str:
    """In a process of its own: what writing the snapshot leaves in memory is not counted."""
    command = [sys.executable, "-m", "benchmarks.steer.worlds", what, str(seed), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    if done.returncode:
        raise RuntimeError(f"worlds: {done.stderr[-500:]}")
    return done.stdout


def cidrs(rng: random.Random) -> list[str]:
    """PREFIXES different ones, in no order."""
    seen: set[str] = set()
    while len(seen) < PREFIXES * V4_SHARE:
        length = rng.choice(V4_LENGTHS)
        bits = rng.randrange(1 << 24, 224 << 24) >> (32 - length) << (32 - length)
        seen.add(f"{ipaddress.IPv4Address(bits)}/{length}")
    while len(seen) < PREFIXES:
        length = rng.choice(V6_LENGTHS)
        bits = (2 << 124 | rng.getrandbits(124)) >> (128 - length) << (128 - length)
        seen.add(f"{ipaddress.IPv6Address(bits)}/{length}")
    found = sorted(seen)
    rng.shuffle(found)
    return found


def lines(rng: random.Random, announced: list[str]) -> Iterator[bytes]:
    """A snapshot."""
    encode = msgspec.json.Encoder().encode
    for number in range(SITES):
        name = f"site-{number}"
        yield encode(Change(1, site=Site(name, name, "isp", "r")))
        its = [Prefix(cidr, rng.randint(1, 5), rng.choice((0, 0, 0, 10))) for cidr in announced[number::SITES]]
        for start in range(0, len(its), LINE_PREFIXES):
            yield encode(Change(1, routes=SiteRoutes(name, start == 0, tuple(its[start : start + LINE_PREFIXES]))))
    for number in range(APPLIANCES):
        box, name = f"box-{number}", f"site-{number % SITES}"
        yield encode(
            Change(1, appliance=Appliance(box, name, "main", ApplianceState.LIVE, (f"https://{box}.example",)))
        )
        yield encode(Change(1, health=Health(box, 1.0, suspect=False, serving=True, load=0.5)))
    yield encode(Change(1, snapshot_complete=True))


def write(seed: int, folder: Path) -> None:
    rng = random.Random(seed)
    with (folder / SNAPSHOT).open("wb") as file:
        for line in lines(rng, cidrs(rng)):
            file.write(line + b"\n")


def measure(seed: int, folder: Path) -> dict[str, float]:
    """In this process, which should do nothing else."""
    return asyncio.run(_measure(random.Random(seed), folder))


async def _measure(rng: random.Random, folder: Path) -> dict[str, float]:
    news: asyncio.Queue[Change] = asyncio.Queue()
    state = State(World())
    applied = asyncio.Event()

    def source(after: int) -> AsyncIterator[Change]:
        return _stream(folder / SNAPSHOT, news)

    def changed(is_change: bool) -> None:
        if is_change:
            applied.set()

    feed = Feed(
        source,
        state,
        HashedPrefixes,
        SYSTEM_CLOCK,
        longest_wait_s=1.0,
        rng=rng,
        on_change=changed,
        on_end=lambda _end: None,
    )
    turns = Turns()
    watching = asyncio.create_task(turns.watch())
    began_s = time.process_time()
    reading = asyncio.create_task(feed.run())
    await applied.wait()
    build_s = time.process_time() - began_s
    slowest_s = turns.slowest_s
    watching.cancel()
    assert len(state.world.prefixes) == PREFIXES
    resident_bytes = _resident_bytes()
    announced = [cidr for cidr, _ in state.world.prefixes.announced()]
    deltas = []
    for number in range(2, DELTAS + 2):
        part = tuple(Prefix(rng.choice(announced), 9, number) for _ in range(DELTA))
        applied.clear()
        delta_s = time.process_time()
        news.put_nowait(Change(number, routes=SiteRoutes("site-1", announced=part)))
        await applied.wait()
        deltas.append(time.process_time() - delta_s)
    reading.cancel()
    await asyncio.gather(reading, watching, return_exceptions=True)
    clients = [parse_address(cidr.partition("/")[0]) for cidr in rng.choices(announced, k=LOOKUPS)]
    world = state.world
    began_s = time.process_time()
    for client in clients:
        world.covering(client)
    lookup_s = time.process_time() - began_s
    began_s = time.process_time()
    archive.save_routes(world, folder / archive.FILE_NAME)
    return {
        "memory_gib": resident_bytes / GIB,
        "build_s": build_s,
        "turn_ms": slowest_s * 1e3,
        "delta_ms": sorted(deltas)[DELTAS // 2] * 1e3,
        "slowest_delta_ms": max(deltas) * 1e3,
        "lookup_us": lookup_s / LOOKUPS * 1e6,
        "save_routes_s": time.process_time() - began_s,
    }


class Turns:
    """The slowest turn of the loop, in CPU time."""

    def __init__(self) -> None:
        self.slowest_s = 0.0

    async def watch(self) -> None:
        while True:
            began_s = time.process_time()
            await asyncio.sleep(0)
            self.slowest_s = max(self.slowest_s, time.process_time() - began_s)


async def _stream(path: Path, news: asyncio.Queue[Change]) -> AsyncIterator[Change]:
    """The snapshot as it would arrive, then what is said."""
    decode = msgspec.json.Decoder(Change).decode
    with path.open("rb") as file:
        for line in file:
            yield decode(line)
    while True:
        yield await news.get()


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    seed, folder = int(sys.argv[2]), Path(sys.argv[3])
    if sys.argv[1] == "write":
        write(seed, folder)
    else:
        sys.stdout.write(json.dumps(measure(seed, folder)))
