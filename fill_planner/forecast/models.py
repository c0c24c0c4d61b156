"""Models of tomorrow's views, all behind one interface: the days of a site in, each day forecast from the days before it.

Laws: the column of a day depends on earlier days only, so that the last columns are an honest test and the one after the newest day
is the forecast; scaling all views scales every forecast; nothing is negative; an unknown day changes nothing. A file that was
not out before a day is forecast 0 there: `releases` speaks for those.

Each pass goes once over the days with a few numbers per file, so that a million files take seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fill_planner.popularity import DailyPopularity, Flags, Floats, Ints, Views

WEEK = 7
LEAST_SHAPE = 0.05
MOST_GROWTH = 20.0
"""Most that a day's views are to those of the day before on the curve: what starts from next to nothing is no curve."""
OLDEST_AGE = 28
"""Days after publishing from which on a file no longer decays as a release."""


class Model(Protocol):
    """`min_days` is the history below which the model has nothing to say; `words` says what it does, for explanations."""

    @property
    def name(self) -> str: ...

    @property
    def words(self) -> str: ...

    @property
    def min_days(self) -> int: ...

    def ahead(self, past: DailyPopularity, first: int) -> Views:
        """Files × (days - first + 1): the forecasts of the days `first` to `days`, the last being the one after the newest.

        `first` is at least `min_days`.
        """
        ...


def next_day(model: Model, past: DailyPopularity) -> Views:
    """One number per file: the day after the newest."""
    return np.asarray(model.ahead(past, past.days)[:, -1])


@dataclass(frozen=True, slots=True)
class LastValue:
    """Tomorrow is as today."""

    name: str = "last-value"
    words: str = "as many as on the last day"
    min_days: int = 1

    def ahead(self, past: DailyPopularity, first: int) -> Views:
        found = _columns(past, first)
        level = np.zeros(past.views.shape[0], dtype=past.views.dtype)
        for day in range(past.days):
            if past.is_known(day):
                level = np.where(past.start <= day, past.views[:, day], 0)
            _keep(found, first, day + 1, level)
        return found


@dataclass(frozen=True, slots=True)
class Smoothed:
    """Simple exponential smoothing: each day moves the level by `alpha` of the difference."""

    alpha: float
    min_days: int = 2

    @property
    def name(self) -> str:
        return f"smoothed-{self.alpha:g}"

    @property
    def words(self) -> str:
        return f"the days smoothed, each moving the level by {self.alpha:g} of the difference"

    def ahead(self, past: DailyPopularity, first: int) -> Views:
        found = _columns(past, first)
        for day, level in _levels(past, self.alpha):
            _keep(found, first, day, level)
        return found


@dataclass(frozen=True, slots=True)
class WeekdaySmoothed:
    """Smoothing of what is left when the site's weekly shape is divided out (Holt-Winters with one multiplicative season for all).

    The shape is taken from the first two weeks of all files and moves by `season` of the difference with every day.
    """

    alpha: float
    season: float = 0.3
    min_days: int = 2 * WEEK

    @property
    def name(self) -> str:
        return f"weekday-smoothed-{self.alpha:g}"

    @property
    def words(self) -> str:
        return (
            f"the days smoothed by {self.alpha:g} without the site's weekly shape, times the shape of the day to come"
        )

    def ahead(self, past: DailyPopularity, first: int) -> Views:
        found = _columns(past, first)
        shapes = self._shapes(past)
        factors = np.array([shape[day % WEEK] for day, shape in enumerate(shapes)])
        for day, level in _levels(past, self.alpha, factors):
            _keep(found, first, day, level * past.views.dtype.type(factors[day]))
        return found

    def _shapes(self, past: DailyPopularity) -> Floats:
        """(days + 1) × 7: the shape as known before each day; before the first two weeks have passed, what they came to."""
        totals = past.views.sum(axis=0, dtype=np.float64)
        known = np.array([past.is_known(day) for day in range(past.days)])
        shapes = np.ones((past.days + 1, WEEK))
        shape = _weekly(totals[: 2 * WEEK], known[: 2 * WEEK])
        for day in range(past.days + 1):
            shapes[day] = shape
            if 2 * WEEK <= day < past.days and known[day]:
                week = totals[day - WEEK + 1 : day + 1][known[day - WEEK + 1 : day + 1]]
                mean = float(week.mean())
                if mean > 0 and len(week) == WEEK:
                    shape = shape.copy()
                    shape[day % WEEK] += self.season * (totals[day] / mean - shape[day % WEEK])
                    shape = np.maximum(LEAST_SHAPE, shape)
        return shapes


@dataclass(frozen=True, slots=True)
class Decay:
    """The file's level carried along the curve by which files of its kind lose (or gain) viewers with age.

    The curve's step from one age to the next is the ratio of sums over the site's files of that kind, drawn towards all kinds'
    by the weight of `pull` files of mean size, and towards 1 (no decay) where no file was ever seen at that age. The level moves
    by `alpha` of what the curve got wrong. From `OLDEST_AGE` on a file keeps its level.
    """

    alpha: float = 0.6
    pull: float = 5.0
    name: str = "decay"
    words: str = "its level carried along the curve by which files of its kind lose viewers with age"
    min_days: int = 2

    def ahead(self, past: DailyPopularity, first: int) -> Views:
        files = past.views.shape[0]
        found = _columns(past, first)
        kinds = past.groups.mix if past.groups is not None else np.zeros(files, dtype=np.int64)
        count = int(kinds.max(initial=0)) + 1
        born = past.start if past.born is None else np.minimum(past.born, past.start)
        curve = _Curve(count, self.pull)
        level = np.zeros(files, dtype=past.views.dtype)
        for day in range(past.days + 1):
            age = np.clip(day - born, 0, OLDEST_AGE)
            step = np.where(past.start < day, curve.steps()[kinds, age], 1.0).astype(past.views.dtype)
            guess = level * step
            _keep(found, first, day, np.where(past.start < day, guess, 0))
            if day == past.days:
                break
            if not past.is_known(day):
                level = guess
                continue
            seen = past.views[:, day]
            if day and past.is_known(day - 1):
                both = (past.start < day) & (age < OLDEST_AGE)
                curve.see(kinds[both], age[both], past.views[both, day - 1], seen[both])
            moved = guess + past.views.dtype.type(self.alpha) * (seen - guess)
            level = np.where(day < past.start, 0, np.where(day == past.start, seen, moved))
        return found


class _Curve:
    """Sums of views at each age and the age before, by kind."""

    def __init__(self, kinds: int, pull: float) -> None:
        self._now = np.zeros((kinds, OLDEST_AGE + 1))
        self._before = np.zeros((kinds, OLDEST_AGE + 1))
        self._files = np.zeros((kinds, OLDEST_AGE + 1))
        self._pull = pull

    def see(self, kinds: Ints, ages: Ints, before: Views, now: Views) -> None:
        cells = kinds * (OLDEST_AGE + 1) + ages
        shape, size = self._now.shape, self._now.size
        self._now += np.bincount(cells, now, size).reshape(shape)
        self._before += np.bincount(cells, before, size).reshape(shape)
        self._files += np.bincount(cells, minlength=size).reshape(shape)

    def steps(self) -> Floats:
        """Kinds × ages: views at an age / views at the age before."""
        now, before, files = self._now.sum(axis=0), self._before.sum(axis=0), self._files.sum(axis=0)
        usual = self._pull * np.divide(before, files, out=np.zeros_like(before), where=files > 0)
        of_all = _growth(now + usual, before + usual)
        above, below = self._now + usual * of_all, self._before + usual
        steps = _growth(above, below)
        steps[:, OLDEST_AGE] = 1.0
        return steps


def _growth(now: Floats, before: Floats) -> Floats:
    """now / before; 1 where nothing was."""
    bounded = np.minimum(now, MOST_GROWTH * before)
    return np.divide(bounded, before, out=np.ones_like(before), where=before > 0)


def _levels(past: DailyPopularity, alpha: float, factors: Floats | None = None) -> Iterator[tuple[int, Views]]:
    """(day, each file's smoothed level before it), to the day after the newest; `factors` are divided out of the days."""
    number = past.views.dtype.type
    level = np.zeros(past.views.shape[0], dtype=past.views.dtype)
    for day in range(past.days):
        yield day, level
        if not past.is_known(day):
            continue
        seen = past.views[:, day] if factors is None else past.views[:, day] / number(factors[day])
        moved = level + number(alpha) * (seen - level)
        level = np.where(day < past.start, 0, np.where(day == past.start, seen, moved))
    yield past.days, level


def _weekly(totals: Floats, known: Flags) -> Floats:
    """Mean of each weekday / mean of the week; 1 where nothing is known. Weekdays are numbered from day 0 of the history."""
    sums, counts = np.zeros(WEEK), np.zeros(WEEK)
    for day in np.flatnonzero(known).tolist():
        sums[day % WEEK] += totals[day]
        counts[day % WEEK] += 1
    mean = sums.sum() / counts.sum() if counts.sum() else 0.0
    if mean <= 0:
        return np.ones(WEEK)
    # A weekday with next to no traffic (an outage) would blow up whatever is divided by it.
    shape = np.where(counts > 0, sums / np.maximum(1, counts) / mean, 1.0)
    return np.asarray(np.maximum(LEAST_SHAPE, shape), dtype=np.float64)


def _columns(past: DailyPopularity, first: int) -> Views:
    return np.zeros((past.views.shape[0], past.days - first + 1), dtype=past.views.dtype, order="F")


def _keep(found: Views, first: int, day: int, level: Views) -> None:
    if day >= first:
        found[:, day - first] = level
