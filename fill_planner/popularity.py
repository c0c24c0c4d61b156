"""Popularity: bytes served / file size, per file, site and day (DESIGN §4.1).

A day is 24 hour buckets that end with the hour of planning, not a calendar day: the newest day is whole whenever the plan
is made. Arrays are files × days, the newest day last. An oldest day that is not whole is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fill_planner.snapshot import CatalogueFile, HourlySeries

HOUR_S = 3600
DAY_S = 86400
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class DailyPopularity:
    """Views per file and day at one site. `start` is the first day in which a file was out; days before it say nothing."""

    views: Floats
    start: Ints
    peak_share: float
    """Share of a day's bytes that the busiest hour of the day carries, over all files."""

    @property
    def days(self) -> int:
        return int(self.views.shape[1])


def daily_popularity(
    files: Sequence[CatalogueFile], traffic: Mapping[str, HourlySeries], now: float, max_days: int
) -> DailyPopularity:
    """Popularity of `files` in their order. No traffic at all gives zero days. Hours in the future are ignored."""
    end = (int(now) // HOUR_S + 1) * HOUR_S
    days = _whole_days(traffic, end, max_days)
    served = np.zeros((len(files), days))
    by_hour = np.zeros(24)
    for row, file in enumerate(files):
        series = traffic.get(file.key)
        if series is None or not series.hours:
            continue
        hours = np.asarray(series.hours, dtype=np.int64)
        volume = np.asarray(series.served_bytes, dtype=np.float64)
        ago = (end - HOUR_S - hours) // DAY_S
        inside = (ago >= 0) & (ago < days)
        np.add.at(served[row], days - 1 - ago[inside], volume[inside])
        np.add.at(by_hour, (hours[inside] // HOUR_S) % 24, volume[inside])
    sizes = np.array([max(1, file.size_bytes) for file in files], dtype=np.float64)
    published = np.array([file.published_at for file in files], dtype=np.float64)
    first_day = np.ceil((published - (end - days * DAY_S)) / DAY_S)
    start = np.clip(first_day, 0, days).astype(np.int64)
    # A file that was asked for before it was said to be out was out.
    seen = np.where(served.any(axis=1), (served > 0).argmax(axis=1) if days else 0, days)
    return DailyPopularity(
        views=served / sizes[:, None],
        start=np.minimum(start, seen).astype(np.int64),
        peak_share=float(by_hour.max() / by_hour.sum()) if by_hour.sum() > 0 else 1 / 24,
    )


def _whole_days(traffic: Mapping[str, HourlySeries], end: int, max_days: int) -> int:
    earliest = min((min(series.hours) for series in traffic.values() if series.hours), default=end)
    if earliest >= end:
        return 0
    return max(1, min(max_days, (end - earliest) // DAY_S))
