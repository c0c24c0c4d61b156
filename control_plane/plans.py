"""From the record to a planning snapshot, and when the next plan is due. The planner itself is `fill_planner`."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from contracts.pins import Pin
from contracts.places import ApplianceState, PopularityKind, Site
from contracts.plans import PlanCause
from contracts.world import FallbackOrigin
from control_plane import windows
from control_plane.pinning import keys_at, keys_of_pins
from control_plane.registry import Box, Registry
from fill_planner.clusters import FILLING
from fill_planner.mixing import mixed
from fill_planner.snapshot import (
    CatalogueFile,
    HourlySeries,
    PlanningAppliance,
    PlanningSite,
    PlanningSnapshot,
    SiteWindow,
)

Series = Mapping[str, tuple[Sequence[int], Sequence[int]]]
"""Key → (hours, bytes served)."""
DAY_S = 86400.0
HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class Heard:
    """What the archive adds to the registry. `used_bytes` were fetched in the window of a site that is open now."""

    traffic: Mapping[str, Series] = field(default_factory=dict)
    """By site."""
    feeds: Mapping[str, Series] = field(default_factory=dict)
    """By name."""
    pins: Sequence[Pin] = ()
    used_bytes: Mapping[str, int] = field(default_factory=dict)
    """By site."""
    served: Mapping[str, Mapping[str, frozenset[int]]] = field(default_factory=dict)
    """Site → appliance → hours in which it reported to have served anything."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What kind of plan is to be made. `only` some sites, or all; the plan does without `lost` appliances."""

    cause: PlanCause = PlanCause.ASKED
    only: tuple[str, ...] = ()
    lost: frozenset[str] = frozenset()


ASKED = Wanted()


def snapshot(
    registry: Registry,
    heard: Heard,
    files: tuple[CatalogueFile, ...],
    origin: FallbackOrigin,
    number: int,
    now: float,
    wanted: Wanted = ASKED,
) -> PlanningSnapshot:
    """What the planner looks at. Boxes that never reported are left out: nobody knows what they can hold.

    Raises WindowError when a site's window cannot be resolved.
    """
    meant = keys_of_pins(heard.pins, files)
    traffic = {site_id: _read(series) for site_id, series in heard.traffic.items()}
    feeds = {name: _read(series) for name, series in heard.feeds.items()}
    regions: dict[str, list[Mapping[str, HourlySeries]]] = {}
    for site in registry.sites.values():
        regions.setdefault(site.region, []).append(traffic.get(site.id, {}))
    sites = []
    for site in registry.sites.values():
        window = _window(site, heard.used_bytes.get(site.id, 0), now)
        required, forbidden = keys_at(site, window, now, heard.pins, meant)
        demand = mixed(site, traffic.get(site.id, {}), regions[site.region], feeds)
        silent = silent_hours(
            heard.served.get(site.id, {}), [b.id for b in registry.at_site(site.id) if is_filled(b)], now
        )
        sites.append(PlanningSite(site, window, demand, required, forbidden, silent))
    return PlanningSnapshot(
        number=number,
        now=now,
        sites=tuple(sites),
        appliances=tuple(_appliance(box, wanted.lost) for box in registry.boxes.values() if _is_planned(box)),
        files=files,
        origin_name=origin.name,
        origin_url=origin.mtls_url,
        only=wanted.only,
        cause=wanted.cause,
    )


def silent_hours(served: Mapping[str, frozenset[int]], present: Sequence[str], now: float) -> tuple[int, ...]:
    """Hours in which an appliance of a site reported nothing between its first hour and its last; to now for those `present`.

    Most are hours in which nobody came, or its neighbour served: the forecast compares them with what is usual.
    """
    this_hour = int(now) - int(now) % HOUR_S
    found: set[int] = set()
    for box_id, hours in served.items():
        last = this_hour if box_id in present else max(hours)
        found.update(hour for hour in range(min(hours), last + 1, HOUR_S) if hour not in hours)
    return tuple(sorted(found))


def open_windows(registry: Registry, now: float) -> dict[str, float]:
    """Site → when its window opened, of those whose window is open."""
    found = {site.id: windows.resolve(site.window, now)[0] for site in registry.sites.values()}
    return {site_id: opens_at for site_id, opens_at in found.items() if opens_at <= now}


def heard_sites(registry: Registry, only: tuple[str, ...]) -> tuple[str, ...] | None:
    """Sites whose traffic a plan for `only` some sites needs: all of their regions. None: of all sites."""
    if not only:
        return None
    regions = {registry.sites[site_id].region for site_id in only if site_id in registry.sites}
    return tuple(site.id for site in registry.sites.values() if site.region in regions)


def feeds_named(registry: Registry) -> tuple[str, ...]:
    """The feeds that sites take their popularity from."""
    named = (one for site in registry.sites.values() for one in site.popularity)
    return tuple(sorted({one.feed for one in named if one.kind is PopularityKind.FEED}))


def is_filled(box: Box) -> bool:
    """True for an appliance that plans give files to."""
    return box.state in FILLING and box.report is not None


def next_due(at: str, now: float) -> float:
    """The first instant after `now` whose UTC wall clock shows `at` (HH:MM)."""
    due = last_due(at, now)
    return due + DAY_S


def last_due(at: str, now: float) -> float:
    """The last instant not after `now` whose UTC wall clock shows `at`."""
    time = windows.parse_time(at)
    day = datetime.datetime.fromtimestamp(now, datetime.UTC).date()
    today = datetime.datetime.combine(day, time, datetime.UTC).timestamp()
    return today if today <= now else today - DAY_S


def _window(site: Site, used_bytes: int, now: float) -> SiteWindow:
    opens_at, closes_at = windows.resolve(site.window, now)
    return SiteWindow(opens_at, closes_at, site.window.rate_bps, max(0, site.window.volume_bytes - used_bytes))


def _read(series: Series) -> dict[str, HourlySeries]:
    return {key: HourlySeries(tuple(hours), tuple(amounts)) for key, (hours, amounts) in series.items()}


def _appliance(box: Box, lost: frozenset[str]) -> PlanningAppliance:
    held = {key: holding.present_bytes for key, holding in box.held.items()}
    pins = box.plan.pins if box.plan else ()
    return PlanningAppliance(box.appliance(), held, pins, suspect=box.pulse.suspect is not None, lost=box.id in lost)


def _is_planned(box: Box) -> bool:
    return box.report is not None and box.state is not ApplianceState.RETIRED
