"""Sources: whom an order may ask, in which order, and after which wait (DESIGN §4.4).

Laws: a group crosses a site's border once, and a fill cluster's once: of the appliances that lack it, as many as the fill cluster has fill
masters (by rendezvous hashing) ask farther away, the others ask them. First masters of the own site, then those of the fill cluster's other
sites, then tiers; one tier site fetches what no tier holds yet, and the others wait for it. The origin is always last, and is asked at once
only where nothing nearer is named. A wait covers the time the nearer source needs for its own order plus `escalation_s`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from contracts.places import Site
from contracts.plans import RankedSource, SourceKind
from contracts.rendezvous import ranked
from fill_planner.config import PlannerSettings


@dataclass(frozen=True, slots=True)
class Place:
    """An appliance that holds a group whole or is told to fetch it. Without `url` it is nobody's source."""

    box_id: str
    site_id: str
    url: str
    whole: bool
    whole_at: float = 0.0
    """When it is expected to be whole, for one that is not."""


@dataclass(frozen=True, slots=True)
class Asker:
    """The appliance whose order it is, and when its window opens and closes."""

    box_id: str
    site_id: str
    opens_at: float
    closes_at: float


@dataclass(frozen=True, slots=True)
class Map:
    """What is the same for all orders: the sites, the origin, the rules."""

    sites: Mapping[str, Site]
    origin_name: str
    origin_url: str
    settings: PlannerSettings
    _masters: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        masters: dict[str, int] = {}
        for site in self.sites.values():
            name = self.fill_cluster(site.id)
            masters[name] = max(1, masters.get(name, 1), site.fill_masters)
        object.__setattr__(self, "_masters", masters)

    def fill_cluster(self, site_id: str) -> str:
        """Its name; a site without one is a fill cluster of its own, which no other site can name."""
        named = self.sites[site_id].fill_cluster
        return f"cluster {named}" if named else f"site {site_id}"

    def masters(self, site_id: str) -> int:
        """How many appliances of one site fetch one group from far, by the site's fill cluster."""
        return self._masters[self.fill_cluster(site_id)]


def masters(group: str, places: Iterable[Place], count: int) -> tuple[str, ...]:
    """The fill masters of a group among the places of one site, the first choice first.

    Empty when a place that others may ask is whole, or nobody could be asked.
    """
    incomplete = []
    for place in places:
        if place.whole and place.url:
            return ()
        if place.url:
            incomplete.append((place.box_id, 1.0))
    return tuple(ranked(group, incomplete)[:count]) if incomplete else ()


def master(group: str, places: Iterable[Place]) -> str | None:
    """The one fill master of a site that has one; None where `masters` is empty."""
    return next(iter(masters(group, places, 1)), None)


def rank_sources(group: str, asker: Asker, places: Sequence[Place], over: Map) -> tuple[RankedSource, ...]:
    """The sources of one order. `places` are all that hold or fetch the group, the asker included."""
    near = over.fill_cluster(asker.site_id)
    cluster = [p for p in places if over.fill_cluster(p.site_id) == near]
    tiers = [
        p
        for p in places
        if over.sites[p.site_id].is_tier and (p.site_id == asker.site_id or over.fill_cluster(p.site_id) != near)
    ]
    rings = (
        (SourceKind.PEER, _peers(group, asker, places, over)),
        (SourceKind.TIER, _elsewhere(group, asker, cluster, over)),
        (SourceKind.TIER, _elsewhere(group, asker, tiers, over)),
    )
    nearer: list[RankedSource] = []
    wait_s = 0.0
    for kind, (found, whole_at) in rings:
        if found:
            nearer += [RankedSource(kind, place.box_id, place.url, wait_s) for place in found]
            until_whole_s = max(0.0, whole_at - asker.opens_at)
            wait_s = round(max(wait_s, until_whole_s) + over.settings.escalation_s, 1)
    return (*nearer, RankedSource(SourceKind.ORIGIN, over.origin_name, over.origin_url, wait_s))


Ring = tuple[list[Place], float]
"""Places that may be asked, and when the first of them is whole (0: now)."""


def _peers(group: str, asker: Asker, places: Sequence[Place], over: Map) -> Ring:
    """Neighbours that hold it, else the fill masters unless the asker is one."""
    site = [place for place in places if place.site_id == asker.site_id]
    whole = {p.box_id: p for p in site if p.whole and p.url and p.box_id != asker.box_id}
    if whole:
        return [whole[box_id] for box_id in ranked(group, ((box_id, 1.0) for box_id in whole))], 0.0
    chosen = masters(group, site, over.masters(asker.site_id))
    return _waited_for(chosen, site) if asker.box_id not in chosen else ([], 0.0)


def _elsewhere(group: str, asker: Asker, places: Sequence[Place], over: Map) -> Ring:
    """Appliances of other sites among `places`: those that hold it, else the masters of the one site that fetches it for all."""
    there = [p for p in places if p.url]
    whole = [p for p in there if p.whole and p.site_id != asker.site_id]
    most = over.settings.tiers_per_order
    if whole:
        here = over.sites[asker.site_id]
        whole.sort(key=lambda p: (*_far(here, over.sites[p.site_id]), p.box_id))
        return whole[:most], 0.0
    if not there or most == 0 or any(p.whole for p in there):
        return [], 0.0
    chosen_site = ranked(group, sorted({(p.site_id, 1.0) for p in there}))[0]
    if chosen_site == asker.site_id:
        return [], 0.0
    fetching = [p for p in there if p.site_id == chosen_site]
    found, _ = _waited_for(masters(group, fetching, over.masters(chosen_site)), fetching)
    in_time = [p for p in found if p.whole_at < asker.closes_at][:most]
    return in_time, min((p.whole_at for p in in_time), default=0.0)


def _waited_for(chosen: Sequence[str], places: Sequence[Place]) -> Ring:
    by_id = {place.box_id: place for place in places}
    found = [by_id[box_id] for box_id in chosen]
    return found, min((place.whole_at for place in found), default=0.0)


def _far(here: Site, there: Site) -> tuple[bool, float]:
    """(another region, kilometres)."""
    return here.region != there.region, distance_km(here, there)


def distance_km(here: Site, there: Site) -> float:
    """Great-circle distance."""
    a, b = math.radians(here.latitude), math.radians(there.latitude)
    across = math.radians(there.longitude - here.longitude)
    chord = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(across / 2) ** 2
    return 2 * 6371.0 * math.asin(min(1.0, math.sqrt(chord)))
