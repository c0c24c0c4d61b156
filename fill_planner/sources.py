"""Sources: whom an order may ask, in which order, and after which wait (DESIGN §4.4).

Laws: a group crosses a site's border once: of the appliances of one site that lack it, one is the fill master (by
rendezvous hashing) and asks far away, the others ask the master. Likewise one tier site fetches what no tier holds yet, and the
others wait for it. The origin is always last, and is asked at once only where nothing nearer is named. A wait covers the time the
nearer source needs for its own order plus `escalation_s`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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


def master(group: str, places: Iterable[Place]) -> str | None:
    """The fill master of a group among the places of one site; None when one is whole, or nobody could be asked."""
    incomplete = []
    for place in places:
        if place.whole and place.url:
            return None
        if place.url:
            incomplete.append((place.box_id, 1.0))
    return ranked(group, incomplete)[0] if incomplete else None


def rank_sources(group: str, asker: Asker, places: Sequence[Place], over: Map) -> tuple[RankedSource, ...]:
    """The sources of one order. `places` are all that hold or fetch the group, the asker included."""
    nearer: list[RankedSource] = []
    wait_s = 0.0
    peers, until = _peers(group, asker, places)
    if peers:
        nearer += [RankedSource(SourceKind.PEER, p.box_id, p.url, 0.0) for p in peers]
        wait_s = _wait(asker, until, over.settings)
    tiers, until = _tiers(group, asker, places, over)
    if tiers:
        nearer += [RankedSource(SourceKind.TIER, t.box_id, t.url, wait_s) for t in tiers]
        wait_s = max(wait_s + over.settings.escalation_s, _wait(asker, until, over.settings))
    return (*nearer, RankedSource(SourceKind.ORIGIN, over.origin_name, over.origin_url, round(wait_s, 1)))


def _wait(asker: Asker, until: float, settings: PlannerSettings) -> float:
    """Seconds after the asker's opening: until the source is whole, and the escalation."""
    return round(max(0.0, until - asker.opens_at) + settings.escalation_s, 1)


def _peers(group: str, asker: Asker, places: Sequence[Place]) -> tuple[list[Place], float]:
    """Neighbours that hold it, else the fill master unless the asker is it; and when the first is whole."""
    site = [place for place in places if place.site_id == asker.site_id]
    whole = [p for p in site if p.whole and p.url and p.box_id != asker.box_id]
    if whole:
        order = ranked(group, ((p.box_id, 1.0) for p in whole))
        return sorted(whole, key=lambda p: order.index(p.box_id)), 0.0
    chosen = master(group, site)
    found = [p for p in site if p.box_id == chosen and p.box_id != asker.box_id]
    return found, found[0].whole_at if found else 0.0


def _tiers(group: str, asker: Asker, places: Sequence[Place], over: Map) -> tuple[list[Place], float]:
    """Appliances of other sites that are tiers: those that hold it, else the one that fetches it for all."""
    tier_places = [p for p in places if p.url and over.sites[p.site_id].is_tier]
    whole = [p for p in tier_places if p.whole and p.site_id != asker.site_id]
    if whole:
        here = over.sites[asker.site_id]
        whole.sort(key=lambda p: (*_far(here, over.sites[p.site_id]), p.box_id))
        return whole[: over.settings.tiers_per_order], 0.0
    fetching = [p for p in tier_places if not p.whole]
    if not fetching or over.settings.tiers_per_order == 0 or any(p.whole for p in tier_places):
        return [], 0.0
    chosen_site = ranked(group, sorted({(p.site_id, 1.0) for p in fetching}))[0]
    if chosen_site == asker.site_id:
        return [], 0.0
    chosen = master(group, (p for p in fetching if p.site_id == chosen_site))
    found = [p for p in fetching if p.box_id == chosen and p.whole_at < asker.closes_at]
    return found, found[0].whole_at if found else 0.0


def _far(here: Site, there: Site) -> tuple[bool, float]:
    """(another region, kilometres)."""
    return here.region != there.region, distance_km(here, there)


def distance_km(here: Site, there: Site) -> float:
    """Great-circle distance."""
    a, b = math.radians(here.latitude), math.radians(there.latitude)
    across = math.radians(there.longitude - here.longitude)
    chord = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(across / 2) ** 2
    return 2 * 6371.0 * math.asin(min(1.0, math.sqrt(chord)))
