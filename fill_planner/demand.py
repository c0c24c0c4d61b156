"""Demand of the next day: expected bytes of every file at every site, with the name of the model that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fill_planner.config import PlannerSettings
from fill_planner.forecast.choice import Forecast, forecast
from fill_planner.forecast.releases import borrowed, with_releases
from fill_planner.popularity import Floats, daily_popularity
from fill_planner.snapshot import CatalogueFile, PlanningSite

NO_PEAK_KNOWN = 1 / 24


@dataclass(frozen=True, slots=True)
class SiteDemand:
    """Arrays in the order of the snapshot's files."""

    expected_bytes: Floats
    models: tuple[str, ...]
    peak_share: float
    """Share of a day's bytes in its busiest hour."""


def site_demands(
    sites: Sequence[PlanningSite], files: Sequence[CatalogueFile], now: float, settings: PlannerSettings
) -> dict[str, SiteDemand]:
    """Demand by site id. A site without any traffic borrows from its region's others, else from all others."""
    sizes = np.array([file.size_bytes for file in files], dtype=np.float64)
    found: dict[str, Forecast] = {}
    peaks: dict[str, float] = {}
    for site in sites:
        history = daily_popularity(files, site.traffic, now, settings.history_days)
        if history.days and history.views.any():
            found[site.site.id] = with_releases(forecast(history, sizes), history, files, now, settings)
            peaks[site.site.id] = history.peak_share
    silent = {site.site.id: _borrowed_for(site, sites, found, len(files), settings) for site in sites}
    return {
        site_id: SiteDemand(chosen.views * sizes, chosen.models, peaks.get(site_id, NO_PEAK_KNOWN))
        for site_id, chosen in (silent | found).items()
    }


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
