"""Models of tomorrow's views, all behind one interface: days seen in, the next day out.

Each takes `views` (files × days, newest last) and `start` (the first day a file was out) and gives one number per file;
a file whose start is not inside the days gets 0. They look at nothing else, so that holding back the last days and asking
again is an honest test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fill_planner.popularity import Floats, Ints

WEEK = 7
LEAST_SHAPE = 0.05


class Model(Protocol):
    """`min_days` is the history below which the model has nothing to say."""

    @property
    def name(self) -> str: ...

    @property
    def min_days(self) -> int: ...

    def next_day(self, views: Floats, start: Ints) -> Floats: ...


@dataclass(frozen=True, slots=True)
class LastValue:
    """Tomorrow is as today."""

    name: str = "last-value"
    min_days: int = 1

    def next_day(self, views: Floats, start: Ints) -> Floats:
        return np.where(start < views.shape[1], views[:, -1], 0.0)


@dataclass(frozen=True, slots=True)
class Smoothed:
    """Simple exponential smoothing: each day moves the level by `alpha` of the difference."""

    alpha: float
    min_days: int = 2

    @property
    def name(self) -> str:
        return f"smoothed-{self.alpha:g}"

    def next_day(self, views: Floats, start: Ints) -> Floats:
        level = np.zeros(views.shape[0])
        for day in range(views.shape[1]):
            seen = views[:, day]
            moved = level + self.alpha * (seen - level)
            level = np.where(day < start, 0.0, np.where(day == start, seen, moved))
        return level


@dataclass(frozen=True, slots=True)
class WeekdaySmoothed:
    """Smoothing of what is left when the site's weekly shape, taken from the last two weeks of all files, is divided out."""

    alpha: float
    min_days: int = 2 * WEEK

    @property
    def name(self) -> str:
        return f"weekday-smoothed-{self.alpha:g}"

    def next_day(self, views: Floats, start: Ints) -> Floats:
        days = views.shape[1]
        recent = views[:, -2 * WEEK :].sum(axis=0).reshape(2, WEEK).mean(axis=0)
        mean = recent.mean()
        # A weekday with next to no traffic (an outage) would blow up whatever is divided by it.
        shape = np.maximum(LEAST_SHAPE, recent / mean) if mean > 0 else np.ones(WEEK)
        # `shape[0]` is the weekday of the day to forecast, which is a whole number of weeks after column 0 of `recent`.
        factor = np.array([shape[(day - days) % WEEK] for day in range(days)])
        level = Smoothed(self.alpha).next_day(views / factor, start)
        return level * float(shape[0])


MODELS: tuple[Model, ...] = (LastValue(), Smoothed(0.5), Smoothed(0.2), WeekdaySmoothed(0.3))
