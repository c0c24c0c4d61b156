"""Demand of the next day: expected bytes of every file at every site, with the name of the model that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fill_planner.config import PlannerSettings
from fill_planner.forecast.choice import Forecast, forecast
from fill_planner.forecast.releases import borrowed, with_releases
from fill_planner.popularity import NO_PEAK_KNOWN, DailyPopularity, Floats, Views, daily_popularity
from fill_planner.snapshot import CatalogueFile, PlanningSite


@dataclass(frozen=True, slots=True)
class SiteDemand:
    """Arrays in the order of the snapshot's files."""

    expected_bytes: Floats
    models: tuple[str, ...]
    peak_share: float
    """Share of a day's bytes in its busiest hour."""
    low_bytes: Floats | None = None
    high_bytes: Floats | None = None
    """The band that holds four days of five; None where nobody made one."""
    forecast: Forecast | None = None
    """In views, with the scores of all models; None where the site borrows."""


def site_demands(
    sites: Sequence[PlanningSite], files: Sequence[CatalogueFile], now: float, settings: PlannerSettings
) -> dict[str, SiteDemand]:
    """Demand by site id. A site without any traffic borrows from its region's others, else from all others.

    A site with traffic is forecast from its own and, where that is little, from what the other sites of its region saw.
    """
    sizes = np.array([file.size_bytes for file in files], dtype=np.float64)
    histories = {
        site.site.id: daily_popularity(files, site.traffic, now, settings.history_days, site.silent) for site in sites
    }
    speaking = {site_id: its for site_id, its in histories.items() if its.days and its.views.any()}
    regions = _regions(sites, speaking)
    found: dict[str, Forecast] = {}
    for site in sites:
        if history := speaking.get(site.site.id):
            history = replace(history, around=_around(history, regions.get(site.site.region)))
            found[site.site.id] = with_releases(forecast(history, sizes), history, files, now, settings)
    silent = {site.site.id: _borrowed_for(site, sites, found, len(files), settings) for site in sites}
    return {
        site_id: _demand(chosen, sizes, speaking[site_id].peak_share if site_id in speaking else NO_PEAK_KNOWN)
        for site_id, chosen in (silent | found).items()
    }


def _demand(chosen: Forecast, sizes: Floats, peak_share: float) -> SiteDemand:
    low = None if chosen.low is None else chosen.low * sizes
    high = None if chosen.high is None else chosen.high * sizes
    return SiteDemand(chosen.views * sizes, chosen.models, peak_share, low, high, chosen)


def _regions(sites: Sequence[PlanningSite], histories: Mapping[str, DailyPopularity]) -> dict[str, Views]:
    """Views of all sites of a region together, the newest day last; only of regions with more than one that has traffic."""
    members: dict[str, list[DailyPopularity]] = {}
    for site in sites:
        if history := histories.get(site.site.id):
            members.setdefault(site.site.region, []).append(history)
    found: dict[str, Views] = {}
    for region, its in members.items():
        if len(its) > 1:
            total = np.zeros((its[0].views.shape[0], max(one.days for one in its)), dtype=np.float32, order="F")
            for one in its:
                total[:, total.shape[1] - one.days :] += one.views
            found[region] = total
    return found


def _around(history: DailyPopularity, region: Views | None) -> Views | None:
    if region is None:
        return None
    # Subtracting what was added leaves rounding errors of either sign.
    return np.maximum(0, region[:, region.shape[1] - history.days :] - history.views)


def _borrowed_for(
    site: PlanningSite,
    sites: Sequence[PlanningSite],
    found: dict[str, Forecast],
    files: int,
    settings: PlannerSettings,
) -> Forecast:
    region = [
        found[other.site.id] for other in sites if other.site.id in found and other.site.region == site.site.region
    ]
    return borrowed(region or list(found.values()), files, settings)
