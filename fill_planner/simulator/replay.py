"""One site, request by request: pins of a plan, caches of `policies/`, boxes that go away, a link that is full. Pure.

Each file has a home among the boxes that are up, by the rendezvous hashing that steering uses, so that the caches of a site do not hold the same twice. A
request is served *inside* by any box that is up and has the file pinned, else by the home's cache; else it comes from *outside*, and the home's cache stores it.

Laws: inside + outside bytes are the bytes asked for, hour by hour; what a box has pinned and cached never exceeds its disk.

Why a byte came from outside is one of `Cause`. Left out: fills take effect at the beginning of the hour in which they end; what a plan
lets go stays in the cache as if it had just been used; a box that comes back finds what it had.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from fill_planner.simulator.demand import Requests
from fill_planner.simulator.planning import Planner, Reports, Wanted, hashed
from fill_planner.simulator.scenario import DAY_HOURS, Outage, SiteSpec, Strategy
from fill_planner.simulator.shape import Bools, Floats, Ints
from policies.admission import AdmissionName, AdmissionRule
from policies.classes import Asked, Classed
from policies.comparison import simulated_policy
from policies.eviction import Policy, PolicyName

HOUR_BYTES_PER_GBPS = 1e9 / 8 * 3600


class Cause(Enum):
    """Why bytes came from outside; the words of the design (§4). The value is the log word."""

    CONTENT = "content"
    """No box of the site had the file."""
    HEALTH = "health"
    """A box that was away had it, or the site's boxes could not send any more."""
    OTHER = "other"
    """No box was up at all."""


CAUSES = tuple(Cause)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a strategy does. Without `policy` nothing is cached; `split`: each session meets any of the boxes, not the file's home."""

    planned: bool
    policy: PolicyName | None
    split: bool = False
    weekly: bool = False
    """Planned by `weekly.WeeklyTop` instead of the real planner."""


RULES: dict[Strategy, Rules] = {
    Strategy.PLAN: Rules(True, None),
    Strategy.LRU: Rules(False, PolicyName.LRU),
    Strategy.S3FIFO: Rules(False, PolicyName.S3FIFO),
    Strategy.PLAN_LRU: Rules(True, PolicyName.LRU),
    Strategy.PLAN_S3FIFO: Rules(True, PolicyName.S3FIFO),
    Strategy.WEEKLY_TOP: Rules(True, None, weekly=True),
    Strategy.WEEKLY_TOP_LRU: Rules(True, PolicyName.LRU, weekly=True),
    Strategy.SPLIT_LRU: Rules(False, PolicyName.LRU, split=True),
}


@dataclass(frozen=True, slots=True)
class Course:
    """What happened, hour by hour, in bytes; `replaced` counts objects that left a disk, by eviction or because a plan let them go."""

    inside: Floats
    outside: Floats
    """Hours × causes, in the order of `CAUSES`."""
    filled: Floats
    """Fetched by plan from outside the site."""
    copied: Floats
    """Fetched by plan from a box of the same site."""
    replaced: Ints

    @property
    def upstream(self) -> Floats:
        """What crossed the site's border."""
        return np.asarray(self.outside.sum(axis=1) + self.filled, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class SiteWorld:
    """What all strategies have alike. `homes` are files × boxes: the boxes in rendezvous order. `up` is hours × boxes."""

    sizes: Floats
    homes: Ints
    up: Bools
    site: SiteSpec
    disk_bytes: int

    @property
    def box_bytes(self) -> int:
        return self.disk_bytes // self.site.boxes


def site_world(
    sizes: Floats, site: SiteSpec, disk_bytes: int, hours: int, outages: Sequence[Outage], after: int
) -> SiteWorld:
    """`outages` are counted from hour `after` of the run."""
    up = np.ones((hours, site.boxes), dtype=np.bool_)
    for outage in outages:
        if outage.site == site.name:
            begin = after + outage.from_hour
            up[begin : begin + outage.hours, outage.box] = False
    homes = np.argsort(-hashed(len(sizes), site.boxes), axis=1, kind="stable")
    return SiteWorld(sizes, homes, up, site, disk_bytes)


def replay(
    world: SiteWorld,
    rules: Rules,
    requests: Iterable[Requests],
    planner: Planner | None = None,
    admission: AdmissionName = AdmissionName.ALL,
) -> Course:
    """One strategy over all hours of `world.up`. `planner` is needed where `rules.planned`."""
    run = SiteReplay(world, rules, planner if rules.planned else None, admission)
    for hour, asked in enumerate(requests):
        run.hour(hour, asked)
    return run.course()


class SiteReplay:
    """A strategy at one site, told hour by hour what is asked for; `course` is what has happened so far."""

    def __init__(self, world: SiteWorld, rules: Rules, planner: Planner | None, admission: AdmissionName) -> None:
        self._world = world
        self._rules = rules
        self._planner = planner
        hours, boxes = world.up.shape
        files = len(world.sizes)
        self._size_of: list[int] = world.sizes.astype(np.int64).tolist()
        self._pins = np.zeros((boxes, files), dtype=np.bool_)
        self._pinned_bytes = [0] * boxes
        rule = AdmissionRule(name=admission if rules.planned else AdmissionName.ALL)
        self._caches: list[Policy[int] | None] = [
            simulated_policy(rules.policy, rule, world.box_bytes) if rules.policy else None for _ in range(boxes)
        ]
        self._queues: list[list[int]] = [[] for _ in range(boxes)]
        self._left_in_window = 0.0
        self._allowed = [0.0] * boxes
        self._days: list[Floats] = []
        self._today = np.zeros(files)
        self._by_hour = np.zeros(DAY_HOURS)
        self._inside, self._filled, self._copied = np.zeros(hours), np.zeros(hours), np.zeros(hours)
        self._outside = np.zeros((hours, len(CAUSES)))
        self._replaced = np.zeros(hours, dtype=np.int64)

    def course(self) -> Course:
        return Course(self._inside, self._outside, self._filled, self._copied, self._replaced)

    def held_bytes(self, box: int) -> int:
        """What is pinned and cached on a box."""
        cache = self._caches[box]
        return self._pinned_bytes[box] + (cache.used_bytes if cache is not None else 0)

    def hour(self, hour: int, asked: Requests) -> None:
        """Plan when the window opens, fill while it is open, serve."""
        if self._planner is not None:
            if hour % DAY_HOURS == self._world.site.window_opens_hour:
                self._open_window(hour, self._planner)
            self._fill(hour)
        self._serve(hour, asked)
        if self._planner is not None:
            self._today += np.bincount(asked, minlength=len(self._today))
            self._by_hour[hour % DAY_HOURS] += float(self._world.sizes[asked].sum())

    def _open_window(self, hour: int, planner: Planner) -> None:
        """The night's plan. The first day of a run is no whole day before the second opening."""
        if hour >= DAY_HOURS:
            self._days.append(self._today)
            present = self._pins | self._cached()
            wanted = planner.plan(
                hour, Reports(np.stack(self._days, axis=1), self._by_hour), self._pins.copy(), present
            )
            self._let_go(hour, wanted)
            self._queues = [fills.tolist() for fills in wanted.fills]
            self._adopt(hour, wanted)
        self._today = np.zeros(len(self._today))
        self._left_in_window = self._world.site.fill_tb * 1e12
        self._allowed = [0.0] * len(self._allowed)

    def _cached(self) -> Bools:
        cached = np.zeros_like(self._pins)
        for box, cache in enumerate(self._caches):
            if cache is not None:
                cached[box] = [row in cache for row in range(cached.shape[1])]
        return cached

    def _let_go(self, hour: int, wanted: Wanted) -> None:
        for box, row in np.argwhere(self._pins & ~wanted.pins).tolist():
            self._pins[box, row] = False
            self._pinned_bytes[box] -= self._size_of[row]
            cache = self._caches[box]
            if cache is None:
                self._replaced[hour] += 1
            else:
                cache.resize(self._world.box_bytes - self._pinned_bytes[box])
                cache.on_insert(row, self._size_of[row])

    def _adopt(self, hour: int, wanted: Wanted) -> None:
        """What the plan wants and the cache has is pinned at once."""
        queued = np.zeros_like(self._pins)
        for box, fills in enumerate(wanted.fills):
            queued[box, fills] = True
        for box, row in np.argwhere(wanted.pins & ~self._pins & ~queued).tolist():
            self._pin(hour, box, row)

    def _fill(self, hour: int) -> None:
        site = self._world.site
        if (hour - site.window_opens_hour) % DAY_HOURS >= site.window_hours:
            return
        up = np.flatnonzero(self._world.up[hour]).tolist()
        per_box = site.fill_gbps * HOUR_BYTES_PER_GBPS / max(1, len(up))
        for box in up:
            self._allowed[box] += per_box
            queue = self._queues[box]
            done = 0
            for row in queue:
                size = self._size_of[row]
                cache = self._caches[box]
                if cache is None or row not in cache:
                    if size > min(self._allowed[box], self._left_in_window):
                        break
                    self._allowed[box] -= size
                    self._left_in_window -= size
                    (self._copied if self._held_by_another(box, row, up) else self._filled)[hour] += size
                self._pin(hour, box, row)
                done += 1
            del queue[:done]

    def _held_by_another(self, box: int, row: int, up: Sequence[int]) -> bool:
        others = (other for other in up if other != box)
        return any(self._pins[other, row] or self._in_cache(other, row) for other in others)

    def _in_cache(self, box: int, row: int) -> bool:
        cache = self._caches[box]
        return cache is not None and row in cache

    def _pin(self, hour: int, box: int, row: int) -> None:
        if self._pins[box, row]:
            return
        self._pins[box, row] = True
        self._pinned_bytes[box] += self._size_of[row]
        cache = self._caches[box]
        if cache is not None:
            cache.remove(row)
            room = self._world.box_bytes - self._pinned_bytes[box]
            cache.resize(room)
            if cache.used_bytes > room:
                self._replaced[hour] += len(cache.victims(cache.used_bytes - room))

    def _serve(self, hour: int, asked: Requests) -> None:
        up = self._world.up[hour]
        sizes = self._world.sizes
        if not up.any():
            self._outside[hour, CAUSES.index(Cause.OTHER)] += float(sizes[asked].sum())
            return
        holders = self._pins & up[:, None]
        copies = holders.sum(axis=0)
        pinned = copies[asked] > 0
        from_pins = np.bincount(asked[pinned], minlength=len(sizes)) * sizes
        load = (holders * (from_pins / np.maximum(1, copies))[None, :]).sum(axis=1)
        rest = asked[~pinned]
        boxes = self._boxes(rest, up)
        for box in np.flatnonzero(up).tolist():
            mine = rest[boxes == box]
            missed = self._ask(hour, box, mine)
            load[box] += float(sizes[mine].sum() - sizes[missed].sum())
            away = self._held_away(missed, up)
            self._outside[hour, CAUSES.index(Cause.HEALTH)] += float(sizes[missed[away]].sum())
            self._outside[hour, CAUSES.index(Cause.CONTENT)] += float(sizes[missed[~away]].sum())
        most = self._world.site.egress_gbps * HOUR_BYTES_PER_GBPS
        beyond = float(np.maximum(0.0, load - most).sum())
        self._outside[hour, CAUSES.index(Cause.HEALTH)] += beyond
        self._inside[hour] += float(load.sum()) - beyond

    def _boxes(self, rest: Requests, up: Bools) -> Ints:
        """The box whose cache each request meets: the best of those that are up."""
        if self._rules.split:
            alive = np.flatnonzero(up)
            return np.asarray(alive[np.arange(len(rest)) % len(alive)], dtype=np.int64)
        ranked = self._world.homes[rest]
        best = up[ranked].argmax(axis=1)
        return np.asarray(ranked[np.arange(len(rest)), best], dtype=np.int64)

    def _ask(self, hour: int, box: int, asked: Requests) -> Requests:
        """The requests that the box's cache missed. Hot: a hit costs one look-up and one method call."""
        cache = self._caches[box]
        if cache is None:
            return asked
        room = self._world.box_bytes - self._pinned_bytes[box]
        classed = cache if isinstance(cache, Classed) else None
        size_of, hit = self._size_of, cache.on_access
        missed = []
        for row in asked.tolist():
            if row in cache:
                hit(row)
                continue
            missed.append(row)
            size = size_of[row]
            if size > room:
                continue
            need = cache.used_bytes + size - room
            if need > 0:
                self._replaced[hour] += len(cache.victims(need))
            if classed is not None:
                classed.on_insert(row, size, Asked(row, size))
            else:
                cache.on_insert(row, size)
        return np.array(missed, dtype=np.int64)

    def _held_away(self, missed: Requests, up: Bools) -> Bools:
        """Which of the missed files a box has that is away."""
        if up.all():
            return np.zeros(len(missed), dtype=np.bool_)
        down = np.flatnonzero(~up).tolist()
        held: Bools = np.any(self._pins[down], axis=0)[missed]
        cached = [any(self._in_cache(box, row) for box in down) for row in missed.tolist()]
        return np.asarray(held | np.array(cached, dtype=np.bool_), dtype=np.bool_)
