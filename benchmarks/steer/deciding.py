"""`steer/decision-us` and what it is made of: one thread, CPU time of the process, worlds of several sizes.

CPU time, because a machine that others use would be measured otherwise. Each world has sites of 20 equal boxes; each box holds 10,000 of
100,000 titles, the popular ones twice as likely; half of the prefixes are IPv4. A decision is one request for one file, as it comes out of the
decoder, to the ranking as it goes into the encoder, with reservations and standings as in service, at a pace of PLAYS_PER_S; clients and
titles (Zipf 0.83) are drawn before. Each of several renditions is held like a title of its own: those that follow the title in popularity.
"""

from __future__ import annotations

import gc
import random
import resource
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate

from benchmarks.serve.rows import Plain, Row
from chassis.clock import SystemClock
from contracts.keysets import KeySet, key_hash
from contracts.places import Appliance, ApplianceState, Prefix, Site
from contracts.world import Change, FallbackOrigin, Health, HoldingsDigest, RankFile, RankRequest
from steering.candidates import Rules, Scene
from steering.decided import Recorder
from steering.decisions import Decisions
from steering.feed import State
from steering.prefixes import HashedPrefixes
from steering.ranking import rank_in, ranked_in
from steering.reservations import ReservationRules
from steering.world import Draft, World

PER_SITE = 20
TITLES = 100_000
HELD = 10_000
RENDITIONS = 8
PLAYS_PER_S = 3_000
"""The rate that the design asks of a core (`steer/requests-per-s`): so many decisions share what a look at all standings costs."""
SIZES = ((20, 1_000), (200, 100_000), (1000, 500_000))
"""(appliances, prefixes)."""


def world_of(appliances: int, prefixes: int, seed: int = 1) -> World:
    """A world of equal sites; the first bits of an address say which site announces it."""
    rng = random.Random(seed)
    sites = max(1, appliances // PER_SITE)
    announced: list[list[Prefix]] = [[] for _ in range(sites)]
    for n in range(prefixes):
        cidr = ipv4_prefix(n // 2) if n % 2 == 0 else ipv6_prefix(n // 2)
        announced[n // 2 % sites].append(Prefix(cidr, rng.randint(1, 3)))
    hashes = [key_hash(key_of(title)) for title in range(TITLES)]
    draft = Draft(HashedPrefixes)
    draft.add(Change(1, origin=FallbackOrigin("origin", "http://origin.example", "")))
    for at in range(sites):
        name = f"site-{at}"
        draft.add(Change(1, site=Site(name, name, "isp", "r", tuple(announced[at]), is_tier=at % 10 == 0)))
        for n in range(PER_SITE):
            box = f"{name}-{n}"
            urls = (f"http://{box}.example", f"https://{box}.example")
            draft.add(Change(1, appliance=Appliance(box, name, "main", ApplianceState.LIVE, urls, disk_bytes=10**13)))
            load = round(rng.uniform(0.4, 0.8), 3)
            draft.add(Change(1, health=Health(box, 1.0, suspect=False, serving=True, load=load)))
            held = KeySet.of_hashes(hashes[int(TITLES * rng.random() ** 2)] for _ in range(HELD)).packed()
            draft.add(Change(1, digest=HoldingsDigest(box, True, held=held, planned=held)))
    return draft.freeze()


def ipv4_prefix(n: int) -> str:
    """The n-th /24 from 1.0.0.0 on."""
    return f"{1 + (n >> 16)}.{n >> 8 & 255}.{n & 255}.0/24"


def ipv6_prefix(n: int) -> str:
    """The n-th /48 from 2400:: on."""
    return f"2400:{n >> 16 & 65535:x}:{n & 65535:x}::/48"


def key_of(title: int) -> str:
    return f"vod|/media/title-{title}/hd/v-1080.mp4"


def requests(prefixes: int, count: int, seed: int, files: int = 1) -> list[RankRequest]:
    """Clients of announced networks, both families in turn."""
    rng = random.Random(seed)
    edges = array("d", accumulate((rank + 1) ** -0.83 for rank in range(TITLES)))
    made = []
    for n in range(count):
        at = rng.randrange(max(1, prefixes // 2))
        client = ipv4_prefix(at).replace(".0/24", f".{rng.randrange(256)}")
        if n % 2:
            client = ipv6_prefix(at).replace("::/48", f"::{rng.randrange(65536):x}")
        title = min(bisect_left(edges, rng.random() * edges[-1]), TITLES - 1)
        wanted = tuple(RankFile(key_of((title + r) % TITLES), f"title-{title}/v-{r}") for r in range(files))
        made.append(RankRequest(client, wanted, play=f"s-{n:016x}"))
    return made


def rows(*, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """`steer/decision-us`, by world size, with the memory of each world."""
    found = []
    for appliances, prefixes in SIZES[2:] if quick else SIZES:
        facts = measured(appliances, prefixes, 5_000 if quick else 20_000)
        say(f"  {appliances} appliances, {prefixes} prefixes: " + ", ".join(f"{k} {v:.4g}" for k, v in facts.items()))
        found.append(Plain(facts["decision us"], facts))
    unit = (
        f"us of CPU per decision with reservations and standings at {PLAYS_PER_S:,} plays/s, "
        "1,000 appliances, 500,000 prefixes (the last round; smaller worlds before)"
    )
    return [Row("steer/decision-us", unit, found[-1].value, None, None, tuple(found))]


def measured(appliances: int, prefixes: int, count: int) -> dict[str, float]:
    """One world."""
    gc.collect()
    before_kib = _resident_kib()
    world = world_of(appliances, prefixes)
    gc.collect()
    built_mib = (_resident_kib() - before_kib) / 1024
    gc.freeze()
    warm, asked, wide = (
        requests(prefixes, 2_000, 1),
        requests(prefixes, count, 2),
        requests(prefixes, count // 8, 3, RENDITIONS),
    )
    decisions = Decisions(State(world), Rules(), ReservationRules(), Pace())
    first_us = max(_us_each([one], decisions.rank) for one in warm)
    whole_us = _us_each(asked, decisions.rank)
    wide_us = _us_each(wide, decisions.rank)
    scene = Scene(world, Rules())
    for one in warm:
        rank_in(scene, one)
    alone_us = _us_each(asked, lambda one: rank_in(scene, one))
    recorder, rankings = Recorder(24, 48), [(one, ranked_in(scene, one)) for one in asked]
    line_us = _us_each(rankings, lambda pair: recorder.line(pair[0], pair[1], 1.7e9))
    gc.unfreeze()
    return {
        "appliances": appliances,
        "prefixes": prefixes,
        "decision us": whole_us,
        f"of {RENDITIONS} renditions us": wide_us,
        "without reservations and standings us": alone_us,
        "line of the steering log us": line_us,
        "slowest first decision at a site ms": first_us / 1000,
        "world MiB": built_mib,
    }


class Pace(SystemClock):
    """Is one play later whenever it is asked."""

    def __init__(self) -> None:
        self._plays = 0

    def monotonic_s(self) -> float:
        self._plays += 1
        return self._plays / PLAYS_PER_S


def _us_each(items: Sequence[object], run: Callable[..., object]) -> float:
    gc.disable()
    started_s = time.process_time()
    for item in items:
        run(item)
    spent_s = time.process_time() - started_s
    gc.enable()
    return 1e6 * spent_s / len(items)


def _resident_kib() -> int:
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() // 1024
