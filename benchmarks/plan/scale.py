"""One night for all sites of `benchmarks/instances/scale.yaml` by one process: `plan/time-s`, `plan/memory-gib`, and how they grow.

`python -m benchmarks.plan.scale --sites N --files M` plans two nights and prints its figures as JSON: it runs in a process of its own, so that
its peak of resident memory is that of planning alone. Counted is what the planner does for a night: from each file's forecast at each site
to the placement and to the message of every appliance (all pins, and each order with its sources), encoded and put away. Drawing the demand is not counted
in the time, and its arrays are counted in the memory.
"""

from __future__ import annotations

import argparse
import gc
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import yaml

from benchmarks.serve.rows import Plain, Row
from contracts.plans import AppliancePlan, Order, RankedSource, Reason, SourceKind
from fill_planner.config import PlannerSettings
from fill_planner.placement.greedy import Solution, solve
from fill_planner.placement.instances import Sizes, Views
from fill_planner.placement.pricing import bound
from fill_planner.placement.problem import Boxes, Flags, Floats, Ints, Problem, worth
from fill_planner.plan import fetch_id

INSTANCE = Path(__file__).parents[1] / "instances" / "scale.yaml"
HOUR_S = 3600
WINDOW_S = 12 * HOUR_S


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    first_night_share: float
    share: float


class ScaleInstance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="scale", tag_field="kind"):
    seeds: tuple[int, ...]
    sites: int
    boxes_per_site: int
    files: int
    sizes: Sizes
    views: Views
    regions: int
    region_sigma: float
    site_sigma: float
    site_scale_sigma: float
    drift_sigma: float
    peak_share: float
    disk_share: float
    egress_bps: float
    window: Window


class Night(msgspec.Struct):
    """What one night took and gave, over all sites."""

    placing_s: float = 0.0
    ordering_s: float = 0.0
    orders: int = 0
    pins: int = 0
    message_bytes: int = 0
    worth: float = 0.0
    bound: float = 0.0


class Found(msgspec.Struct):
    sites: int
    files: int
    nights: tuple[Night, Night]
    memory_gib: float


def read() -> ScaleInstance:
    return msgspec.convert(yaml.safe_load(INSTANCE.read_text()), ScaleInstance)


def rows(quick: bool, say: Callable[[str], None]) -> tuple[list[Row], dict[str, str]]:
    """The rows at full size and the growth; quick: a fiftieth of the sites, and no claim for all of them."""
    instance = read()
    left_out: dict[str, str] = {}
    sizes = [(10, instance.files // 10), (10, instance.files)]
    sizes += [] if quick else [(50, instance.files), (instance.sites, instance.files // 10)]
    grown = [_measured(sites, files, say) for sites, files in sizes]
    made = [_growth_row(one) for one in grown]
    if quick:
        left_out["plan/time-s, plan/memory-gib"] = "all sites take minutes; QUICK plans ten of them"
        return made, left_out
    whole = _measured(instance.sites, instance.files, say)
    longest = max(whole.nights, key=lambda night: night.placing_s + night.ordering_s)
    took = longest.placing_s + longest.ordering_s
    time_row = Row("plan/time-s", "s for the longer of two nights", took, None, None, tuple(map(_plain, whole.nights)))
    memory = Plain(whole.memory_gib, {"sites": whole.sites, "files": whole.files})
    return [time_row, Row("plan/memory-gib", "GiB, peak", whole.memory_gib, None, None, (memory,)), *made], left_out


def _growth_row(found: Found) -> Row:
    longest = max(found.nights, key=lambda night: night.placing_s + night.ordering_s)
    took = longest.placing_s + longest.ordering_s
    facts = tuple(_plain(night) for night in found.nights)
    memory = Plain(took, {"memory GiB": found.memory_gib})
    return Row(
        f"plan/growth/{found.sites}x{found.files}", "s for the longer of two nights", took, None, None, (*facts, memory)
    )


def _plain(night: Night) -> Plain:
    facts = {
        "placing s": night.placing_s,
        "messages s": night.ordering_s,
        "orders": float(night.orders),
        "pins": float(night.pins),
        "GB of messages": night.message_bytes / 1e9,
        "gap to the bound %": 100 * (1 - night.worth / night.bound) if night.bound else 0.0,
    }
    return Plain(night.placing_s + night.ordering_s, facts)


def _measured(sites: int, files: int, say: Callable[[str], None]) -> Found:
    command = [sys.executable, "-m", "benchmarks.plan.scale", "--sites", str(sites), "--files", str(files)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"planning {sites} sites failed: {done.stderr.decode()[-300:]}")
    found = msgspec.json.decode(done.stdout, type=Found)
    spent = ", ".join(f"{night.placing_s:.0f} + {night.ordering_s:.0f} s" for night in found.nights)
    say(f"  {sites} sites × {files} files: {spent}, {found.memory_gib:.1f} GiB")
    return found


class _World:
    """Demand and what lies on the disks."""

    def __init__(self, instance: ScaleInstance, sites: int, files: int, seed: int) -> None:
        self.instance = instance
        rng = np.random.default_rng(seed)
        self.size = instance.sizes.draw(rng, files)
        views = rng.permutation(instance.views.by_rank(files))
        noise = rng.normal(0.0, instance.region_sigma, (instance.regions, files)).astype(np.float32)
        self._regions = np.log(views).astype(np.float32) + noise
        self._scales = np.exp(rng.normal(0.0, instance.site_scale_sigma, sites))
        self._total = float(views.sum())
        self._seed = seed
        space = float(int(self.size.sum() * instance.disk_share))
        count = instance.boxes_per_site
        self.boxes = Boxes(
            np.full(count, space), np.full(count, instance.egress_bps * HOUR_S / 8), np.arange(count, dtype=np.int64)
        )
        self.ids = rng.integers(0, 1 << 63, files, dtype=np.uint64)
        self.held: list[list[NDArrayBytes | None]] = [[None] * count for _ in range(sites)]

    def forecast(self, site: int, night: int) -> Floats:
        """Expected views of each file; the site's own sum is kept, whatever is drawn."""
        rng = np.random.default_rng([self._seed, site])
        files = len(self.size)
        logs = self._regions[site % self.instance.regions] + np.float32(self.instance.site_sigma) * rng.standard_normal(
            files, dtype=np.float32
        )
        if night:
            logs += np.float32(self.instance.drift_sigma) * rng.standard_normal(files, dtype=np.float32)
        views = np.exp(logs.astype(np.float64))
        return np.asarray(views * (self._total * self._scales[site] / views.sum()))

    def holds(self, site: int, box: int) -> Flags:
        packed = self.held[site][box]
        if packed is None:
            return np.zeros(len(self.size), dtype=np.bool_)
        return np.unpackbits(packed, count=len(self.size)).astype(np.bool_)


NDArrayBytes = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def _problem(world: _World, site: int, views: Floats, share: float) -> Problem:
    instance, count = world.instance, len(world.boxes.space)
    missing = np.empty((len(world.size), count))
    affinity = np.empty((len(world.size), count))
    for box in range(count):
        held = world.holds(site, box)
        missing[:, box] = np.where(held, 0.0, world.size)
        affinity[:, box] = _mixed(world.ids, site * count + box) + held
    return Problem(
        size=world.size,
        disk=world.size,
        peak=views * world.size * instance.peak_share,
        missing=missing,
        affinity=affinity,
        allowed=np.ones(len(world.size), dtype=np.bool_),
        required=np.zeros(len(world.size), dtype=np.bool_),
        boxes=world.boxes,
        fill_bytes=float(world.boxes.space.sum() * share),
        peak_share=instance.peak_share,
        settings=PlannerSettings(),
    )


def _mixed(ids: np.ndarray[tuple[int, ...], np.dtype[np.uint64]], box: int) -> Floats:
    """A number from 0 to 1 by file and box: the finaliser of splitmix64 (Steele, Lea & Flood 2014)."""
    word = ids ^ np.uint64((box + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((word ^ (word >> np.uint64(31))) * 2.0**-64)


def _messages(world: _World, site: int, problem: Problem, found: Solution, night: Night, files: _Files) -> None:
    """Every appliance's plan, made and encoded as it goes out."""
    encoder = msgspec.json.Encoder()
    placed_twice = np.bincount(found.unit, minlength=len(world.size)) > 1
    volume = problem.fill_bytes / len(world.boxes.space)
    rate = int(volume * 8 / WINDOW_S)
    for box in range(len(world.boxes.space)):
        mine = np.flatnonzero(found.box == box)
        units = found.unit[mine]
        appliance = f"site-{site:03d}-{box}"
        neighbour = f"site-{site:03d}-{1 - box}"
        wanted = problem.missing[units, box] > 0
        # The first copy is the fill master's; the second asks the neighbour, and the origin when the master should be done.
        follows = (found.number[mine] > 0) & placed_twice[units]
        ends = np.cumsum(np.where(wanted, problem.missing[units, box], 0.0)) * 8 / max(1, rate)
        orders = _orders(files, appliance, neighbour, problem, found, mine[wanted], follows[wanted], ends[wanted])
        plan = AppliancePlan(
            number=1,
            appliance_id=appliance,
            created_at=0.0,
            window_opens_at=0.0,
            window_closes_at=float(WINDOW_S),
            rate_bps=rate,
            volume_bytes=int(volume),
            pins=tuple([files.keys[unit] for unit in units.tolist()]),
            orders=tuple(orders),
        )
        night.orders += len(orders)
        night.pins += len(plan.pins)
        night.message_bytes += len(encoder.encode(plan))


def _orders(
    files: _Files,
    appliance: str,
    neighbour: str,
    problem: Problem,
    found: Solution,
    copies: Ints,
    follows: Flags,
    ends: Floats,
) -> list[Order]:
    units = found.unit[copies]
    expected = problem.peak[units] / problem.peak_share
    sources: dict[int, tuple[RankedSource, ...]] = {}
    origin = RankedSource(SourceKind.ORIGIN, "origin", "https://origin:9443")
    made = []
    columns = (units, follows, ends, expected, expected / problem.size[units], problem.size[units].astype(np.int64))
    for priority, (unit, second, end, forecast, value, size) in enumerate(
        zip(*(column.tolist() for column in columns), strict=True)
    ):
        # Waits in whole minutes, so that orders share what says the same.
        minute = 1 + int(end / 60) if second else 0
        if minute not in sources:
            peer = RankedSource(SourceKind.PEER, neighbour, f"https://{neighbour}:8443")
            last = RankedSource(SourceKind.ORIGIN, "origin", "https://origin:9443", 60.0 * minute)
            sources[minute] = (peer, last) if minute else (origin,)
        made.append(
            Order(
                id=fetch_id(appliance, files.keys[unit], files.versions[unit]),
                key=files.keys[unit],
                size_bytes=size,
                version=files.versions[unit],
                priority=priority,
                sources=sources[minute],
                reason=Reason.SECOND_COPY if second else Reason.POPULAR,
                forecast_bytes=forecast,
                value=value,
            )
        )
    return made


class _Files:
    """Keys and versions of a catalogue."""

    def __init__(self, count: int) -> None:
        self.keys = [f"vod|/media/title-{row // 50:05d}/hd/v-{row % 50:02d}.mp4" for row in range(count)]
        self.versions = [f"{row:064x}" for row in range(count)]


def clock() -> float:
    """CPU seconds of this process: what the machine does beside it is not planning, and planning waits for nothing."""
    return time.process_time()


def measure(sites: int, files: int) -> Found:
    """Two nights, in this process."""
    instance = read()
    world = _World(instance, sites, files, instance.seeds[0])
    named = _Files(files)
    nights = (Night(), Night())
    # Nothing here refers to itself; looking through millions of orders for what does would take as long as making them.
    gc.disable()
    shares = (instance.window.first_night_share, instance.window.share)
    for number, (night, share) in enumerate(zip(nights, shares, strict=True)):
        for site in range(sites):
            views = world.forecast(site, number)
            began = clock()
            problem = _problem(world, site, views, share)
            found = solve(problem)
            placed = found.placed(problem)
            for box in range(len(world.boxes.space)):
                world.held[site][box] = np.packbits(placed[:, box])
            night.placing_s += clock() - began
            began = clock()
            _messages(world, site, problem, found, night, named)
            night.ordering_s += clock() - began
            if site < 3:
                night.worth += worth(problem, placed).total
                night.bound += bound(problem, found.prices)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    return Found(sites, files, nights, peak)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan.scale", description=__doc__)
    parser.add_argument("--sites", type=int, default=10)
    parser.add_argument("--files", type=int, default=100_000)
    arguments = parser.parse_args()
    found = measure(arguments.sites, arguments.files)
    sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")


if __name__ == "__main__":
    main()
