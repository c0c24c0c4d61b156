"""Appliances as a client of one address family and one scheme sees them, site by site: what rankings are made of. Pure.

A `Scene` is a world, the rules and the standings of one moment. It makes the candidates of a site when they are first asked for and
keeps them: they depend on nothing of the client but family and scheme. The scene of the next moment takes over those of the sites
where nothing changed, so that a report of one appliance costs its own site and no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import is_
from urllib.parse import urlsplit

from contracts.keysets import which_have
from contracts.places import Appliance, ApplianceState, Site
from contracts.world import Choice, Health, Why
from steering.hashing import Kind
from steering.ladder import Ladder, Rung, band, is_on
from steering.standing import UNKNOWN, LoadRules, Standing, Standings, settled
from steering.world import Held, World

NOTHING_HELD = Held()
BOTH = (4, 6)
FOCUS = 3
"""The power of what is left by which holders share their plays. A box that holds more of what is popular settles where its smaller share makes
up for it: with the first power hottest / mean was 1.16 over the design's instance, with the second 1.11, with the third 1.08."""
MOST_REMEMBERED = 2048
"""Answers a shelf remembers, at about 200 bytes each."""


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


@dataclass(frozen=True, slots=True)
class Candidate:
    """An appliance as these clients see it. `problem` is why it is no candidate; None when it is one."""

    appliance: Appliance
    url: str
    problem: Why | None
    score: float
    suspect: bool
    held: Held
    standing: Standing
    id: str
    at: int
    """Its position on its site's shelf."""
    crowded: bool
    domain: tuple[str, str]
    """Site and failure domain."""
    head_weight: float
    """For files that many hold: egress that is left."""
    tail_weight: float
    """For files that few hold: storage, by what is left of the egress; egress where storage is not told."""
    miss_weight: float
    """For files that nobody holds: storage (or egress), whatever the load, so that misses for one file stay together."""

    @property
    def load(self) -> float:
        return self.standing.load


class Shelf:
    """What the boxes of one site hold, and what was asked of it last: half of all plays are for titles that were asked for before."""

    __slots__ = ("_kinds", "_planned", "_whole", "held")

    def __init__(self, held: tuple[Held, ...]) -> None:
        self.held = held
        self._whole = [one.whole for one in held]
        self._planned = [one.planned for one in held]
        self._kinds: dict[tuple[int, ...], bytes] = {}

    def kinds(self, hashes: tuple[int, ...]) -> bytes:
        """The `Kind` of each box, in the order of the boxes, for files by the hashes of their keys."""
        found = self._kinds.get(hashes)
        if found is None:
            if len(self._kinds) >= MOST_REMEMBERED:
                self._kinds.clear()
            made = self._of_one(hashes[0]) if len(hashes) == 1 else [kind_of(held, hashes) for held in self.held]
            found = self._kinds[hashes] = bytes(made)
        return found

    def _of_one(self, hashed: int) -> list[Kind]:
        """`kind_of` a single file for each box."""
        holds, planned, lacks = Kind.HOLDS, Kind.PLANNED, Kind.LACKS
        here, to_come = which_have(self._whole, hashed), which_have(self._planned, hashed)
        return [holds if whole else planned if plan else lacks for whole, plan in zip(here, to_come, strict=True)]


def kind_of(held: Held, hashes: tuple[int, ...]) -> Kind:
    """HOLDS when all the files are held, PLANNED when each of them is held or planned to be."""
    whole, planned = held.whole, held.planned
    if all(map(whole.has, hashes)):
        return Kind.HOLDS
    return Kind.PLANNED if all(planned.has(one) or whole.has(one) for one in hashes) else Kind.LACKS


@dataclass(frozen=True, slots=True)
class Roster:
    """The candidates of one site for one family and scheme."""

    site_id: str
    shelf: Shelf
    candidates: tuple[Candidate, ...]
    roomy: tuple[Candidate, ...]
    """Candidates without a problem that have room, by id."""
    full: tuple[Candidate, ...]
    """Candidates without a problem that are nearly full, by id."""
    made_of: tuple[object, ...]
    """The boxes and what is known of each: while these are the very same objects, so is the roster."""


class Scene:
    """A world under rules and standings. `standings` may be empty: then the reports alone say how loaded everybody is."""

    def __init__(self, world: World, rules: Rules = DEFAULTS, standings: Standings | None = None) -> None:
        self.world = world
        self.rules = rules
        self.standings: Standings = standings or {}
        self._loads = rules.loads
        self._rosters: dict[tuple[str, int, str], Roster] = {}
        self._below: dict[tuple[str, Rung], tuple[tuple[Site, ...], ...]] = {}
        self._shelves: dict[str, Shelf] = {}
        self.last: dict[tuple[str, str], tuple[Choice, ...]] = {}
        """What is no appliance, by own site and scheme, as far as it was asked for (steering.ranking)."""

    def next(self, world: World, standings: Standings) -> Scene:
        """The scene of the next moment."""
        made = Scene(world, self.rules, standings)
        for key, roster in self._rosters.items():
            now = made._made_of(world.by_site.get(roster.site_id, ()))
            if len(now) == len(roster.made_of) and all(map(is_, now, roster.made_of)):
                made._rosters[key] = roster
        made._shelves = self._shelves
        if world.sites is self.world.sites:
            made._below = self._below
        return made

    def roster(self, site_id: str, version: int, scheme: str) -> Roster:
        """The candidates of a site for clients of IP `version` (4 or 6) and `scheme`."""
        key = (site_id, version, scheme)
        found = self._rosters.get(key)
        if found is None:
            found = self._rosters[key] = self._made(site_id, version, scheme)
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

    def _shelf(self, site_id: str, boxes: Sequence[Appliance]) -> Shelf:
        held = tuple(self.world.holdings.get(box.id, NOTHING_HELD) for box in boxes)
        shelf = self._shelves.get(site_id)
        if shelf is None or len(shelf.held) != len(held) or not all(map(is_, shelf.held, held)):
            shelf = self._shelves[site_id] = Shelf(held)
        return shelf

    def _made_of(self, boxes: Sequence[Appliance]) -> tuple[object, ...]:
        health, holdings, standings = self.world.health, self.world.holdings, self.standings
        names = [box.id for box in boxes]
        return (*boxes, *map(health.get, names), *map(holdings.get, names), *map(standings.get, names))

    def _made(self, site_id: str, version: int, scheme: str) -> Roster:
        world, boxes = self.world, self.world.by_site.get(site_id, ())
        standings: Mapping[str, Standing] = self.standings
        if any(box.id not in standings for box in boxes):
            standings = settled(boxes, world.health, self._loads, standings, {}, {})
        by_disk = all(box.disk_bytes > 0 for box in boxes)
        found = tuple(
            judge(world, box, at, version, scheme, self.rules, standings.get(box.id, UNKNOWN), by_disk=by_disk)
            for at, box in enumerate(boxes)
        )
        well = [candidate for candidate in found if candidate.problem is None]
        return Roster(
            site_id,
            self._shelf(site_id, boxes),
            found,
            tuple(candidate for candidate in well if not candidate.standing.full),
            tuple(candidate for candidate in well if candidate.standing.full),
            self._made_of(boxes),
        )


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
    suspect = health is None or health.suspect
    egress = float(appliance.egress_bps)
    size = float(appliance.disk_bytes) if by_disk else egress
    share = standing.left**FOCUS * standing.ramp
    return Candidate(
        appliance=appliance,
        url=url,
        problem=_problem(appliance, health, unreachable, rules),
        score=health.score if health else 0.0,
        suspect=suspect,
        held=world.holdings.get(appliance.id, NOTHING_HELD),
        standing=standing,
        id=appliance.id,
        at=at,
        crowded=standing.crowded,
        domain=(appliance.site_id, appliance.failure_domain or appliance.id),
        head_weight=egress * share,
        tail_weight=size * share,
        miss_weight=size * standing.ramp,
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
        its_scheme, family = _scheme_and_family(url)
        if its_scheme != scheme:
            continue
        if family == version or (family is None and version in (appliance.families or BOTH)):
            return url, None
        why = Why.ADDRESS_FAMILY
    return "", why


@lru_cache(maxsize=65536)
def _scheme_and_family(url: str) -> tuple[str, int | None]:
    """(scheme, 4 or 6 for an address literal and None for a name). Remembered: taking URLs apart was a third of a decision."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ":" in host:
        return parts.scheme, 6
    return parts.scheme, 4 if host.replace(".", "").isdigit() else None
