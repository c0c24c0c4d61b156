"""Popularity: bytes acknowledged by clients / file size, per file, site and day (DESIGN §4.1).

A day is 24 hour buckets that end with the hour of planning, not a calendar day: the newest day is whole whenever the plan
is made. Arrays are files × days, the newest day last. An oldest day that is not whole is left out.

Laws: hours nobody reported on are no zero demand. Such hours are compared with the same hour of other days; a day of which they hide
a part is scaled up to a whole one, and a day of which less than `LEAST_COVERED` is left is unknown. A file's first day counts from the
hour in which it came out, by the share of the site's day that is left then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fill_planner.snapshot import CatalogueFile, HourlySeries

HOUR_S = 3600
DAY_S = 86400
DAY_HOURS = 24
LEAST_COVERED = 0.25
"""Share of a day (of a file's first day, too) below which it says nothing."""
NO_PEAK_KNOWN = 1 / 24
_CHUNK = 65_536
"""Files whose series are made into arrays at a time."""

Floats = NDArray[np.float64]
Views = NDArray[np.floating[Any]]
"""float32 where there is one per file and day: a million files and four weeks are 112 MB."""
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Groups:
    """What files have in common, by number from 0: their title, and what kind of file of a title they are."""

    title: Ints
    mix: Ints
    """The rendition's kind: the same number for every title's file of that name."""


@dataclass(frozen=True, slots=True)
class DailyPopularity:
    """Views per file and day at one site. `start` is the first day in which a file was out; days before it say nothing."""

    views: Views
    start: Ints
    peak_share: float
    """Share of a day's bytes that the busiest hour of the day carries, over all files."""
    known: Flags | None = None
    """Per day whether anything is known of it; None when all are. `views` of an unknown day are 0."""
    born: Ints | None = None
    """The day each file was first shown, negative before the first; None when it is `start`."""
    groups: Groups | None = None
    around: Views | None = None
    """Views of the same files and days at the other sites of the region; None when there are none."""

    @property
    def days(self) -> int:
        return int(self.views.shape[1])

    def is_known(self, day: int) -> bool:
        return self.known is None or bool(self.known[day])


def daily_popularity(
    files: Sequence[CatalogueFile],
    traffic: Mapping[str, HourlySeries],
    now: float,
    max_days: int,
    silent: Iterable[int] = (),
) -> DailyPopularity:
    """Popularity of `files` in their order. No traffic at all gives zero days. Hours in the future are ignored.

    `silent` are hours (instants floored to 3600) in which at least one appliance of the site reported nothing.
    """
    end = (int(now) // HOUR_S + 1) * HOUR_S
    days = _whole_days(traffic, end, max_days)
    began = end - days * DAY_S
    served, hourly = _served(files, traffic, began, days)
    sizes = np.array([max(1, file.size_bytes) for file in files], dtype=np.float32)
    shown = np.array([file.shown_from for file in files], dtype=np.float64)
    covered = _covered(hourly, began, now, silent)
    known = covered >= LEAST_COVERED
    views = served / sizes[:, None]
    views *= np.where(known, 1.0 / np.maximum(covered, LEAST_COVERED), 0.0).astype(np.float32)
    start, first_share = _first_days(served, shown, began, _by_hour(hourly))
    rows = np.flatnonzero(first_share < 1.0)
    views[rows, start[rows]] /= first_share[rows].astype(np.float32)
    profile = _by_hour(hourly)
    return DailyPopularity(
        views=np.asfortranarray(views),
        start=start,
        peak_share=float(profile.max() / profile.sum()) if profile.sum() > 0 else NO_PEAK_KNOWN,
        known=None if bool(known.all()) else known,
        born=np.floor((shown - began) / DAY_S).astype(np.int64),
        groups=groups_of(files),
    )


def groups_of(files: Sequence[CatalogueFile]) -> Groups:
    """Titles by id; the mix by kind and the file's own name, which is the same in every title (`v-360.mp4`)."""
    titles: dict[str, int] = {}
    mixes: dict[tuple[str, str], int] = {}
    title = np.empty(len(files), dtype=np.int64)
    mix = np.empty(len(files), dtype=np.int64)
    for row, file in enumerate(files):
        title[row] = titles.setdefault(file.title_id, len(titles))
        mix[row] = mixes.setdefault((file.kind.value, file.key.rpartition("/")[2]), len(mixes))
    return Groups(title, mix)


def _whole_days(traffic: Mapping[str, HourlySeries], end: int, max_days: int) -> int:
    earliest = min((min(series.hours) for series in traffic.values() if series.hours), default=end)
    if earliest >= end:
        return 0
    return max(1, min(max_days, (end - earliest) // DAY_S))


def _served(
    files: Sequence[CatalogueFile], traffic: Mapping[str, HourlySeries], began: int, days: int
) -> tuple[NDArray[np.float32], Floats]:
    """(bytes by file and day, bytes by hour since `began`)."""
    served = np.zeros((len(files), days), dtype=np.float32)
    hourly = np.zeros(days * DAY_HOURS)
    nothing = HourlySeries()
    for first in range(0, len(files) if days else 0, _CHUNK):
        series = [traffic.get(file.key, nothing) for file in files[first : first + _CHUNK]]
        lengths = np.array([len(its.hours) for its in series], dtype=np.int64)
        hours = np.fromiter(chain.from_iterable(its.hours for its in series), dtype=np.int64, count=lengths.sum())
        volume = np.fromiter(chain.from_iterable(its.served_bytes for its in series), dtype=np.float64)
        place = (hours - began) // HOUR_S
        inside = (place >= 0) & (place < len(hourly))
        row = np.repeat(np.arange(len(series)), lengths)[inside]
        place, volume = place[inside], volume[inside]
        cells = np.bincount(row * days + place // DAY_HOURS, volume, len(series) * days)
        served[first : first + len(series)] = cells.reshape(len(series), days)
        hourly += np.bincount(place, volume, len(hourly))
    return served, hourly


def _by_hour(hourly: Floats) -> Floats:
    """Bytes by hour of the day, the first being the hour at which days begin."""
    return np.asarray(hourly.reshape(-1, DAY_HOURS).sum(axis=0), dtype=np.float64)


def _covered(hourly: Floats, began: int, now: float, silent: Iterable[int]) -> Floats:
    """Share of each day's usual bytes that its reported hours carry.

    A silent hour may hide nothing: the site's other appliances served its clients. So it counts as covered as far as it reached what
    is usual at that hour, the median of the other days. The hour of planning is covered at least as far as it has passed.
    """
    days = len(hourly) // DAY_HOURS
    usual_share = np.ones((days, DAY_HOURS))
    doubted = np.zeros(len(hourly), dtype=np.bool_)
    places = np.array([(hour - began) // HOUR_S for hour in silent], dtype=np.int64)
    doubted[places[(places >= 0) & (places < len(hourly))]] = True
    least = np.zeros(len(hourly))
    if days:
        doubted[-1] = True
        least[-1] = (now % HOUR_S) / HOUR_S
    table, doubts = hourly.reshape(days, DAY_HOURS), doubted.reshape(days, DAY_HOURS)
    usual = np.zeros(DAY_HOURS)
    for hour in np.flatnonzero(doubts.any(axis=0)).tolist() if days else []:
        trusted = table[~doubts[:, hour], hour]
        usual[hour] = float(np.median(trusted)) if len(trusted) else 0.0
        if usual[hour] > 0:
            reached = np.clip(table[:, hour] / usual[hour], 0.0, 1.0)
            usual_share[:, hour] = np.where(doubts[:, hour], reached, 1.0)
    usual_share = np.maximum(usual_share, least.reshape(days, DAY_HOURS))
    weight = np.array([float(np.median(table[:, hour])) if days else 0.0 for hour in range(DAY_HOURS)])
    weight = np.where(usual > 0, usual, weight)
    total = weight.sum()
    return (usual_share * weight).sum(axis=1) / total if total > 0 else np.ones(days)


def _first_days(
    served: NDArray[np.float32], shown: Floats, began: int, profile: Floats
) -> tuple[Ints, NDArray[np.float32]]:
    """(first day in which each file counts as out, share of that day's usual bytes that fell after it came out)."""
    days = served.shape[1]
    since = (shown - began) / DAY_S
    day = np.clip(np.floor(since), -1, days).astype(np.int64)
    reached = np.concatenate([[0.0], np.cumsum(profile / (profile.sum() or 1.0))])
    gone = np.interp(np.clip(since - day, 0.0, 1.0), np.linspace(0.0, 1.0, DAY_HOURS + 1), reached)
    left = np.where(day < 0, 1.0, 1.0 - gone)
    start = np.maximum(0, np.where(left < LEAST_COVERED, day + 1, day))
    share = np.where((start == day) & (day >= 0), left, 1.0)
    seen = np.where(served.any(axis=1), (served > 0).argmax(axis=1) if days else 0, days)
    # Part of a day in which nobody came is not held against a file.
    idle = (day >= 0) & (start == day) & (since > day) & (seen > start)
    start, share = np.where(idle, start + 1, start), np.where(idle, 1.0, share)
    # A file that was asked for before it was said to be out was out.
    early = seen < np.minimum(start, day)
    start = np.where(early, seen, np.minimum(start, days))
    share = np.where(early | (start >= days), 1.0, share)
    return start.astype(np.int64), share.astype(np.float32)
