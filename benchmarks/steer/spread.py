"""`steer/hottest`, `holders`, `moved`, `distinct`, `content-misses`: one run over the Steering instance.

Real decisions over a simulated cluster: plays arrive as a Poisson process at the instance's peak load and last exponentially; a play is egress
some seconds after it was handed out; each box says its load every second, and steering hears it when it has moved by the step of the control
plane. Clients and titles are drawn from the seed. What a box fetched for a play it keeps to the end of the run.

The instance does not say how many titles are planned. Two cases are run: all of them, and the most popular fifth. The rows have the worse.
"""

from __future__ import annotations

import heapq
import math
import random
import statistics
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import yaml

from benchmarks.serve.rows import Plain, Row
from contracts.keysets import KeySet, key_hash
from contracts.places import Appliance, ApplianceState, Prefix, Site
from contracts.rendezvous import ranked
from contracts.world import Change, FallbackOrigin, Health, HoldingsDigest, RankFile, RankRequest
from control_plane.health import LOAD_STEP
from steering.candidates import Rules, Scene
from steering.prefixes import HashedPrefixes
from steering.ranking import rank_in
from steering.reservations import ReservationRules, Reservations
from steering.standing import Memory, remember
from steering.world import Draft, World

INSTANCE = Path(__file__).parent.parent / "instances" / "steering.yaml"
BOX_BPS = 10_000_000_000
PLAY_BPS = 5_000_000
PLAY_S = 600.0
"""Mean length of a play. Real ones are longer: short ones turn the load over faster between two reports."""
START_S = 3.0
"""From the answer to the egress."""
FOLD_S = 0.25
WARM_S, MEASURED_S = 1800.0, 900.0
CLIENTS = 200_000
SAMPLE = 20_000
PLANNED_SHARES = (1.0, 0.2)
OFTEN = 10
"""Plays from which a file's distinct boxes are counted: fewer cannot reach many."""


@dataclass(frozen=True, slots=True)
class Instance:
    boxes: int
    titles: int
    exponent: float
    peak_load: float
    least_copies: int
    copies_factor: float
    load_factor: float
    seeds: tuple[int, ...]


@dataclass(slots=True)
class Found:
    """What one run gave."""

    hottest: float
    worst_minute: float
    holders: float
    moved: float
    moved_settled: float
    drift: float
    distinct: float
    misses: float
    misses_unbounded: float
    decisions: int

    @property
    def facts(self) -> dict[str, float]:
        return {
            "hottest": self.hottest,
            "hottest of the worst minute": self.worst_minute,
            "holders": self.holders,
            "moved × n at once": self.moved,
            "moved × n after ten minutes": self.moved_settled,
            "moved × n in ten minutes though nobody left": self.drift,
            "distinct boxes / planned copies": self.distinct,
            "content misses %": 100 * self.misses,
            "content misses of unbounded hashing %": 100 * self.misses_unbounded,
            "decisions": self.decisions,
        }


def instance(path: Path = INSTANCE) -> Instance:
    told = yaml.safe_load(path.read_text())
    return Instance(
        told["boxes"], told["titles"], told["views"]["exponent"], told["peak_load"], told["copies"]["least"],
        told["copies"]["factor"], told["bounded_load_factor"], tuple(told["seeds"]),
    )  # fmt: skip


class Titles:
    """Popularity and where each planned title lies."""

    def __init__(self, it: Instance, planned_share: float) -> None:
        weights = [rank**-it.exponent for rank in range(1, it.titles + 1)]
        total = sum(weights)
        self._edges = array("d", accumulate(weight / total for weight in weights))
        self.planned = int(it.titles * planned_share)
        names = [box_name(n) for n in range(it.boxes)]
        self.holders: list[frozenset[str]] = []
        for title in range(self.planned):
            load_boxes = weights[title] / total * it.peak_load * it.boxes
            copies = max(it.least_copies, math.ceil(it.copies_factor * load_boxes))
            best = ranked(f"title-{title}/v", ((name, 1.0) for name in names))
            self.holders.append(frozenset(best[:copies]))

    def draw(self, rng: random.Random) -> int:
        return min(bisect_left(self._edges, rng.random()), len(self._edges) - 1)


def box_name(n: int) -> str:
    return f"box-{n:02d}"


def world_of(it: Instance, titles: Titles) -> World:
    draft = Draft(HashedPrefixes)
    draft.add(Change(1, site=Site("site", "site", "isp", "r", (Prefix("10.0.0.0/8"),))))
    draft.add(Change(1, origin=FallbackOrigin("origin", "http://origin.example", "")))
    held: dict[str, list[int]] = {}
    for title, names in enumerate(titles.holders):
        hashed = key_hash(key_of(title))
        for name in names:
            held.setdefault(name, []).append(hashed)
    for n in range(it.boxes):
        name = box_name(n)
        box = Appliance(name, "site", "main", ApplianceState.LIVE, (f"http://{name}.example",), egress_bps=BOX_BPS)
        draft.add(Change(1, appliance=box))
        draft.add(Change(1, health=Health(name, 1.0, suspect=False, serving=True, load=0.0)))
        whole = KeySet.of_hashes(held.get(name, ())).packed()
        draft.add(Change(1, digest=HoldingsDigest(name, True, held=whole, planned=whole)))
    return draft.freeze()


def key_of(title: int) -> str:
    return f"vod|/media/title-{title}/hd/v.mp4"


def asking(client: int, title: int) -> RankRequest:
    address = f"10.{client >> 16 & 255}.{client >> 8 & 255}.{client & 255}"
    return RankRequest(address, (RankFile(key_of(title), f"title-{title}/v"),))


class Cluster:
    """The simulated cluster with the state that a steering process keeps."""

    def __init__(self, it: Instance, titles: Titles, seed: int) -> None:
        self.it = it
        self.titles = titles
        self.rng = random.Random(seed)
        self.world = world_of(it, titles)
        self.rules = Rules(load_factor=it.load_factor)
        self.memory = Memory()
        self.reservations = Reservations(ReservationRules(PLAY_BPS), 0.0)
        self.scene = Scene(self.world, self.rules)
        self.now_s = 0.0
        self.load = {name: 0.0 for name in self.world.appliances}
        self.told = dict(self.load)
        self.events: list[tuple[float, str, float]] = []
        """(when, box, by how much its egress changes)."""
        self.on_play: Callable[[int, int, str], None] = lambda _client, _title, _box: None
        self.on_second: Callable[[], None] = lambda: None
        self.decisions = 0

    def run(self, seconds: float) -> None:
        """Lets plays come and go for so long."""
        capacity = BOX_BPS / PLAY_BPS
        rate = self.it.peak_load * self.it.boxes * capacity / PLAY_S
        until = self.now_s + seconds
        next_play = self.now_s + self.rng.expovariate(rate)
        next_fold, next_second = self.now_s, self.now_s + 1.0
        while True:
            at = min(next_play, next_fold, next_second)
            if at >= until:
                break
            self.now_s = at
            self._egress(at)
            if at == next_play:
                self._play(1.0 / capacity)
                next_play += self.rng.expovariate(rate)
            elif at == next_fold:
                self._fold()
                next_fold += FOLD_S
            else:
                self._tell()
                self.on_second()
                next_second += 1.0
        self.now_s = until

    def first(self, client: int, title: int) -> str:
        return rank_in(self.scene, asking(client, title)).groups[0].choices[0].appliance_id

    def without(self, name: str) -> Scene:
        """The scene of the moment in which a box leaves."""
        draft = Draft(HashedPrefixes, self.world)
        draft.add(Change(2, appliance_gone=name))
        return self.scene.next(draft.freeze(), self.memory.standings)

    def drop(self, name: str) -> None:
        """A box leaves for good; its plays are over (their players go to their next choices, which nobody counts)."""
        draft = Draft(HashedPrefixes, self.world)
        draft.add(Change(2, appliance_gone=name))
        self.world = draft.freeze()
        for known in (self.load, self.told):
            known.pop(name)
        self._fold()

    def _play(self, load: float) -> None:
        client, title = self.rng.randrange(CLIENTS), self.titles.draw(self.rng)
        ranking = rank_in(self.scene, asking(client, title))
        self.decisions += 1
        self.reservations.give(ranking)
        box = ranking.groups[0].choices[0].appliance_id
        self.on_play(client, title, box)
        if box in self.load:
            begins = self.now_s + START_S
            heapq.heappush(self.events, (begins, box, load))
            heapq.heappush(self.events, (begins + self.rng.expovariate(1.0 / PLAY_S), box, -load))

    def _egress(self, at: float) -> None:
        while self.events and self.events[0][0] <= at:
            _, box, by = heapq.heappop(self.events)
            if box in self.load:
                self.load[box] += by

    def _tell(self) -> None:
        moved = [name for name, load in self.load.items() if abs(load - self.told[name]) >= LOAD_STEP]
        if not moved:
            return
        draft = Draft(HashedPrefixes, self.world)
        for name in moved:
            self.told[name] = self.load[name]
            draft.add(Change(2, health=Health(name, 1.0, suspect=False, serving=True, load=round(self.load[name], 3))))
        self.world = draft.freeze()
        self.scene = self.scene.next(self.world, self.memory.standings)

    def _fold(self) -> None:
        given = self.reservations.fold(self.world.appliances, self.world.health, self.now_s)
        self.memory = remember(self.memory, self.world, given, self.now_s, self.rules.loads)
        self.scene = self.scene.next(self.world, self.memory.standings)


def play(it: Instance, planned_share: float, seed: int, *, quick: bool = False) -> Found:
    """One run: warm up, measure, take a box away, measure again."""
    titles = Titles(it, planned_share)
    cluster = Cluster(it, titles, seed)
    names = sorted(cluster.load)
    fetched: set[tuple[int, str]] = set()
    hashed_fetched: set[tuple[int, str]] = set()
    counts = {"plays": 0, "planned": 0, "holders": 0, "misses": 0, "hashed": 0}
    boxes_of: dict[int, set[str]] = {}
    plays_of: dict[int, int] = {}
    measuring = False
    unbounded = Unbounded(names, titles)

    def on_play(client: int, title: int, box: str) -> None:
        planned = title < titles.planned
        held = planned and box in titles.holders[title]
        missed = not held and (title, box) not in fetched
        fetched.add((title, box))
        plain = unbounded.first(client, title)
        plain_missed = not planned and (title, plain) not in hashed_fetched
        hashed_fetched.add((title, plain))
        if not measuring:
            return
        counts["plays"] += 1
        counts["planned"] += planned
        counts["holders"] += held
        counts["misses"] += missed
        counts["hashed"] += plain_missed
        if planned:
            boxes_of.setdefault(title, set()).add(box)
            plays_of[title] = plays_of.get(title, 0) + 1

    cluster.on_play = on_play
    cluster.run(WARM_S / 1.5 if quick else WARM_S)
    measuring = True
    seconds: list[dict[str, float]] = []
    cluster.on_second = lambda: seconds.append(dict(cluster.load))
    cluster.run(MEASURED_S / 3 if quick else MEASURED_S)
    cluster.on_second = lambda: None
    measuring = False
    often = [title for title, plays in plays_of.items() if plays >= OFTEN]
    sample = [
        (cluster.rng.randrange(CLIENTS), titles.draw(cluster.rng)) for _ in range(SAMPLE // 4 if quick else SAMPLE)
    ]
    before = [cluster.first(*one) for one in sample]
    hottest_box = max(names, key=lambda name: statistics.fmean(second[name] for second in seconds))
    gone = [hottest_box, names[0], names[len(names) // 2]]
    moved = statistics.fmean(_moved(before, cluster.without(name), sample) * len(names) for name in gone)
    wait_s = PLAY_S / 3 if quick else PLAY_S
    cluster.run(wait_s)
    drift = _moved(before, cluster.scene, sample) * len(names)
    settled_before = [cluster.first(*one) for one in sample]
    cluster.drop(hottest_box)
    cluster.run(wait_s)
    return Found(
        hottest=_hottest(seconds, names),
        worst_minute=max(_hottest(seconds[at : at + 60], names) for at in range(0, len(seconds) - 59, 60)),
        holders=counts["holders"] / counts["planned"],
        moved=moved,
        moved_settled=_moved(settled_before, cluster.scene, sample) * len(names),
        drift=drift,
        distinct=statistics.fmean(len(boxes_of[title]) / len(titles.holders[title]) for title in often),
        misses=counts["misses"] / counts["plays"],
        misses_unbounded=counts["hashed"] / counts["plays"],
        decisions=cluster.decisions,
    )


class Unbounded:
    """Where plain hashing would send a play: to a holder by group and client, to any box by the group."""

    def __init__(self, names: Sequence[str], titles: Titles) -> None:
        self._names = names
        self._titles = titles

    def first(self, client: int, title: int) -> str:
        if title < self._titles.planned:
            pool, name = self._titles.holders[title], f"title-{title}/v\0{client}"
        else:
            pool, name = frozenset(self._names), f"title-{title}/v"
        return min(pool, key=lambda box: key_hash(f"{box}\0{name}"))


def rows(*, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """All rows of the spread, from the same runs."""
    it = instance()
    found = []
    for share in PLANNED_SHARES:
        for seed in it.seeds[: 1 if quick else 5]:
            one = play(it, share, seed, quick=quick)
            say(
                f"  planned {share:.0%}, seed {seed}: "
                + ", ".join(f"{name} {value:.3g}" for name, value in one.facts.items())
            )
            found.append((share, one))

    def row(name: str, unit: str, value: Callable[[Found], float], worst: Callable[[list[float]], float] = max) -> Row:
        rounds = tuple(Plain(value(one), {"planned share": share, **one.facts}) for share, one in found)
        return Row(
            name, f"{unit}, the worst of {len(rounds)} runs", worst([one.value for one in rounds]), None, None, rounds
        )

    return [
        row("steer/hottest", "hottest / mean of equal boxes", lambda one: one.hottest),
        row("steer/holders", "share of plays of planned titles that go to a holder", lambda one: one.holders, min),
        row("steer/moved", "share of plays that go elsewhere when one of n leaves, × n", lambda one: one.moved),
        row("steer/distinct", "distinct boxes per planned file / its planned copies", lambda one: one.distinct),
        row(
            "steer/content-misses",
            "points of content misses above unbounded hashing",
            lambda one: 100 * (one.misses - one.misses_unbounded),
        ),
    ]


def _hottest(seconds: Sequence[dict[str, float]], names: Sequence[str]) -> float:
    means = [statistics.fmean(second[name] for second in seconds) for name in names]
    return max(means) / statistics.fmean(means)


def _moved(before: Sequence[str], scene: Scene, sample: Sequence[tuple[int, int]]) -> float:
    after = [rank_in(scene, asking(*one)).groups[0].choices[0].appliance_id for one in sample]
    return sum(one != other for one, other in zip(before, after, strict=True)) / len(before)
