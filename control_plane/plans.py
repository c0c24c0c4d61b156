"""From the record to a planning snapshot, and when the next plan is due. The planner itself is `fill_planner`."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

from contracts.places import ApplianceState, Site
from contracts.world import FallbackOrigin
from control_plane import windows
from control_plane.registry import Box, Registry
from fill_planner.snapshot import (
    CatalogueFile,
    HourlySeries,
    PlanningAppliance,
    PlanningSite,
    PlanningSnapshot,
    SiteWindow,
)

Traffic = Mapping[str, Mapping[str, tuple[Sequence[int], Sequence[int]]]]
"""Site → key → (hours, bytes served)."""
DAY_S = 86400.0


def snapshot(
    registry: Registry,
    traffic: Traffic,
    files: tuple[CatalogueFile, ...],
    origin: FallbackOrigin,
    number: int,
    now: float,
) -> PlanningSnapshot:
    """What the planner looks at. Boxes that never reported are left out: nobody knows what they can hold.

    Raises WindowError when a site's window cannot be resolved.
    """
    return PlanningSnapshot(
        number=number,
        now=now,
        sites=tuple(_site(site, traffic.get(site.id, {}), now) for site in registry.sites.values()),
        appliances=tuple(_appliance(box) for box in registry.boxes.values() if _is_planned(box)),
        files=files,
        origin_name=origin.name,
        origin_url=origin.mtls_url,
    )


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


def _site(site: Site, traffic: Mapping[str, tuple[Sequence[int], Sequence[int]]], now: float) -> PlanningSite:
    opens_at, closes_at = windows.resolve(site.window, now)
    window = SiteWindow(opens_at, closes_at, site.window.rate_bps, site.window.volume_bytes)
    series = {key: HourlySeries(tuple(hours), tuple(amounts)) for key, (hours, amounts) in traffic.items()}
    return PlanningSite(site, window, series)


def _appliance(box: Box) -> PlanningAppliance:
    held = {key: holding.present_bytes for key, holding in box.held.items()}
    pins = box.plan.pins if box.plan else ()
    return PlanningAppliance(box.appliance(), held, pins, suspect=box.pulse.suspect is not None)


def _is_planned(box: Box) -> bool:
    return box.report is not None and box.state is not ApplianceState.RETIRED
