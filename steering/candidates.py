"""Appliances as a client of one address family and one scheme sees them, site by site: what rankings are made of. Pure.

A `Scene` is a world, the rules and the standings of one moment. It makes the candidates of a site when they are first asked for and
keeps them: they depend on nothing of the client but family and scheme. The scene of the next moment takes over those of the sites
where nothing changed, so that a report of one appliance costs its own site and no other; of the others, those appliances of which
no more than the standing changed are not judged anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import is_
from typing import NamedTuple
from urllib.parse import urlsplit

from contracts.places import Appliance, ApplianceState, Site
from contracts.rendezvous import Salt, salt_of
from contracts.world import Choice, Health, Why
from steering.ladder import Ladder, Rung, band, is_on
from steering.shelves import Shelf
from steering.standing import UNKNOWN, LoadRules, Standing, Standings, is_usable, settled
from steering.world import Held, World

NOTHING_HELD = Held()
BOTH = (4, 6)
FOCUS = 3
"""The power of what is left by which holders share their plays. A box that holds more of what is popular settles where its smaller share makes
up for it: with the first power hottest / mean was 1.16 over the design's instance, with the second 1.11, with the third 1.08."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings a ranking depends on (see steering.config for what they mean)."""

    unhealthy_below: float = 0.3
    overloaded_from: float = 0.95
    load_factor: float = 1.2
    spill_from: float = 0.85
    slow_start_s: float = 60.0
    ladder: Ladder = field(default_factory=Ladder)

    @property
    def loads(self) -> LoadRules:
        return LoadRules(self.unhealthy_below, self.load_factor, self.spill_from, self.slow_start_s)


DEFAULTS = Rules()


class Candidate(NamedTuple):
    """An appliance as these clients see it. `problem` is why it is no candidate; None when it is one.

    Whenever plays were handed out thousands are made, at half the cost of a frozen dataclass.
    """

    appliance: Appliance
    url: str
    problem: Why | None
    score: float
    suspect: bool
    held: Held
    standing: Standing
    id: str
    salt: Salt
    bit: int
    """Its place on its site's shelf (steering.shelves)."""
    crowded: bool
    domain: tuple[str, str]
    """Site and failure domain."""
    egress: float
    size: float
    """What it can store; its egress where not all of its site tell that."""
    head_weight: float
    """For files that many hold: egress that is left."""
    tail_weight: float
    """For files that few hold: storage, by what is left of the egress; egress where storage is not told."""
    miss_weight: float
    """For files that nobody holds: storage (or egress), whatever the load, so that misses for one file stay together."""

    @property
    def load(self) -> float:
        return self.standing.load


class Boxes(NamedTuple):
    """Some candidates of one site. `bits` are theirs on its shelf; `crowded` says that any of them is."""

    all: tuple[Candidate, ...]
    bits: int
    crowded: bool


def boxes_of(candidates: Iterable[Candidate]) -> Boxes:
    its = tuple(candidates)
    return Boxes(its, sum([one.bit for one in its]), any([one.crowded for one in its]))


@dataclass(frozen=True, slots=True)
class Roster:
    """The candidates of one site for one family and scheme."""

    site_id: str
    shelf: Shelf
    candidates: tuple[Candidate, ...]
    roomy: Boxes
    """Candidates without a problem that have room, by id."""
    full: Boxes
    """Candidates without a problem that are nearly full, by id."""
    made_of: tuple[object, ...]
    """The boxes and what is known of each: while these are the very same objects, so is the roster."""


class Scene:
    """A world under rules and standings. `standings` may be empty: then the reports alone say how loaded everybody is."""

    def __init__(
        self, world: World, rules: Rules = DEFAULTS, standings: Standings | None = None, before: Scene | None = None
    ) -> None:
        """`before` is a scene of an earlier moment under the same rules."""
        self.world = world
        self.rules = rules
        self.standings: Standings = standings or {}
        self._loads = rules.loads
        self._rosters: dict[tuple[str, int, str], Roster] = {}
        self._earlier: dict[tuple[str, int, str], Roster] = {}
        """The last rosters that were made, shared from scene to scene: each looks at one when it first needs it."""
        self._shelves: dict[str, Shelf] = {}
        """The last shelf of each site, likewise: rosters of all families and schemes have the same."""
        self._below: dict[tuple[str, Rung], tuple[tuple[Site, ...], ...]] = {}
        if before is not None and before.world.sites is world.sites:
            self._earlier, self._shelves, self._below = before._earlier, before._shelves, before._below
        elif before is not None:
            self._earlier = {key: roster for key, roster in before._earlier.items() if roster.site_id in world.sites}
            self._shelves = {site_id: shelf for site_id, shelf in before._shelves.items() if site_id in world.sites}
        self.last: dict[tuple[str, str], tuple[Choice, ...]] = {}
        """What is no appliance, by own site and scheme, as far as it was asked for (steering.ranking)."""

    def next(self, world: World, standings: Standings) -> Scene:
        """The scene of the next moment."""
        return Scene(world, self.rules, standings, self)

    def roster(self, site_id: str, version: int, scheme: str) -> Roster:
        """The candidates of a site for clients of IP `version` (4 or 6) and `scheme`."""
        key = (site_id, version, scheme)
        found = self._rosters.get(key)
        if found is None:
            found = self._rosters[key] = self._earlier[key] = self._now(
                self._earlier.get(key), site_id, version, scheme
            )
        return found

    def below(self, own: str, rung: Rung) -> tuple[tuple[Site, ...], ...]:
        """The sites with appliances on a rung below a site (empty for none), in bands of equal distance, the nearest first."""
        key = (own, rung)
        found = self._below.get(key)
        if found is None:
            found = self._below[key] = self._bands(own, rung)
        return found

    def _bands(self, own: str, rung: Rung) -> tuple[tuple[Site, ...], ...]:
        home = self.world.sites.get(own)
        bands: dict[tuple[bool, int], list[Site]] = {}
        for site_id, site in sorted(self.world.sites.items()):
            if site_id != own and is_on(rung, site, home):
                bands.setdefault(band(site, home), []).append(site)
        return tuple(tuple(sites) for _, sites in sorted(bands.items(), key=lambda item: item[0]))

    def _now(self, earlier: Roster | None, site_id: str, version: int, scheme: str) -> Roster:
        boxes = self.world.by_site.get(site_id, ())
        made_of = self._made_of(boxes)
        if earlier is not None and _are_same(made_of, earlier.made_of):
            return earlier
        candidates = self._candidates(boxes, made_of, earlier, version, scheme)
        well = [candidate for candidate in candidates if candidate.problem is None]
        return Roster(
            site_id,
            self._shelf(site_id, boxes),
            candidates,
            boxes_of([candidate for candidate in well if not candidate.standing.full]),
            boxes_of([candidate for candidate in well if candidate.standing.full]),
            made_of,
        )

    def _made_of(self, boxes: Sequence[Appliance]) -> tuple[object, ...]:
        """Boxes and what is known of them, the standings last."""
        health, holdings, standings = self.world.health, self.world.holdings, self.standings
        names = [box.id for box in boxes]
        return (*boxes, *map(health.get, names), *map(holdings.get, names), *map(standings.get, names))

    def _shelf(self, site_id: str, boxes: Sequence[Appliance]) -> Shelf:
        held = tuple([self.world.holdings.get(box.id, NOTHING_HELD) for box in boxes])
        shelf = self._shelves.get(site_id)
        if shelf is None or not shelf.is_of(held):
            shelf = self._shelves[site_id] = Shelf(held, shelf)
        return shelf

    def _candidates(
        self,
        boxes: Sequence[Appliance],
        made_of: tuple[object, ...],
        earlier: Roster | None,
        version: int,
        scheme: str,
    ) -> tuple[Candidate, ...]:
        world = self.world
        standings: Mapping[str, Standing] = self.standings
        if any(box.id not in standings for box in boxes):
            usable = {box.id for box in boxes if is_usable(box, world.health.get(box.id), self._loads)}
            standings = settled(boxes, world.health, self._loads, standings, {}, {}, usable)
        if earlier is not None and _are_same(made_of, earlier.made_of, len(made_of) - len(boxes)):
            return tuple([stands(one, standings.get(one.id, UNKNOWN)) for one in earlier.candidates])
        by_disk = all(box.disk_bytes > 0 for box in boxes)
        return tuple(
            judge(world, box, at, version, scheme, self.rules, standings.get(box.id, UNKNOWN), by_disk=by_disk)
            for at, box in enumerate(boxes)
        )


def _are_same(some: Sequence[object], others: Sequence[object], first: int | None = None) -> bool:
    """As many, and each the very same object; `first` asks for no more than so many of them."""
    return len(some) == len(others) and all(map(is_, some[:first], others[:first]))


def judge(
    world: World,
    appliance: Appliance,
    at: int,
    version: int,
    scheme: str,
    rules: Rules,
    standing: Standing,
    *,
    by_disk: bool,
) -> Candidate:
    """The facts of the appliance that is number `at` on its shelf, and the first reason that keeps it out.

    `by_disk` says that all of its site tell how much they can store.
    """
    health = world.health.get(appliance.id)
    url, unreachable = reachable_url(appliance, version, scheme)
    egress = float(appliance.egress_bps)
    share = standing.left**FOCUS * standing.ramp
    size = float(appliance.disk_bytes) if by_disk else egress
    return Candidate(
        appliance,
        url,
        _problem(appliance, health, unreachable, rules),
        health.score if health else 0.0,
        health is None or health.suspect,
        world.holdings.get(appliance.id, NOTHING_HELD),
        standing,
        appliance.id,
        salt_of(appliance.id),
        1 << at,
        standing.crowded,
        (appliance.site_id, appliance.failure_domain or appliance.id),
        egress,
        size,
        egress * share,
        size * share,
        size * standing.ramp,
    )


def stands(candidate: Candidate, standing: Standing) -> Candidate:
    """The candidate of whom nothing but the standing changed."""
    if candidate.standing is standing:
        return candidate
    appliance, url, problem, score, suspect, held, _, name, salt, bit, _, domain, egress, size, _, _, _ = candidate
    share = standing.left**FOCUS * standing.ramp
    return Candidate(
        appliance,
        url,
        problem,
        score,
        suspect,
        held,
        standing,
        name,
        salt,
        bit,
        standing.crowded,
        domain,
        egress,
        size,
        egress * share,
        size * share,
        size * standing.ramp,
    )


def _problem(appliance: Appliance, health: Health | None, unreachable: Why | None, rules: Rules) -> Why | None:
    if appliance.state is not ApplianceState.LIVE:
        return Why.NOT_LIVE
    if unreachable is not None:
        return unreachable
    if health is None or health.suspect:
        return Why.SUSPECT
    if not health.serving:
        return Why.NOT_SERVING
    if health.score < rules.unhealthy_below:
        return Why.UNHEALTHY
    if health.shedding:
        return Why.SHEDDING
    return Why.OVERLOADED if health.load >= rules.overloaded_from else None


def reachable_url(appliance: Appliance, version: int, scheme: str) -> tuple[str, Why | None]:
    """(the first URL of the scheme that the family reaches, why there is none). Host names reach the families that the record says, or both."""
    why = Why.SCHEME
    for url in appliance.player_urls:
        its_scheme, host, family = _taken_apart(url)
        if its_scheme != scheme:
            continue
        limits = appliance.families if appliance.families_of in ("", host) else ()
        if family == version or (family is None and version in (limits or BOTH)):
            return url, None
        why = Why.ADDRESS_FAMILY
    return "", why


@lru_cache(maxsize=65536)
def _taken_apart(url: str) -> tuple[str, str, int | None]:
    """(scheme, host, 4 or 6 for an address literal and None for a name); no scheme where the URL cannot be read. Remembered: taking URLs apart was a third of a decision."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return "", "", None
    if ":" in host:
        return parts.scheme, host, 6
    return parts.scheme, host, 4 if host.replace(".", "").isdigit() else None
