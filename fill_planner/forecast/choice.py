"""Which model speaks for a file: the one that would have been least wrong on the days held back.

A file with two weeks of its own has its own choice; younger ones take the choice of the site's files of their age, because a handful of
days of one file choose by chance. Errors are weighted by file size: what counts is bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from fill_planner.forecast.bands import UNTESTED as UNTESTED_BAND
from fill_planner.forecast.bands import band
from fill_planner.forecast.models import Decay, LastValue, Model, Smoothed, WeekdaySmoothed, next_day
from fill_planner.forecast.pooling import Pooled
from fill_planner.popularity import DailyPopularity, Floats, Ints, Views

HELD_BACK_DAYS = 7
LEAST_HELD_BACK_DAYS = 3
OWN_CHOICE_DAYS = 14
AGES = (3, 7, OWN_CHOICE_DAYS)
"""Days of own history up to which files are of one age."""
MODELS: tuple[Model, ...] = (LastValue(), Smoothed(0.5), Smoothed(0.2), WeekdaySmoothed(0.3), Decay(), Pooled())
UNTESTED: Model = Smoothed(0.5)
"""Speaks while the history is too short to hold anything back; of one day it makes the last value."""
NOBODY = "none"
"""The model's name of a file without a day of history."""


class Why(Enum):
    """Why a model speaks for a file: log word and words."""

    OWN_DAYS = ("own-days", "least wrong on the file's own last days")
    OF_ITS_AGE = ("of-its-age", "least wrong on the last days of the site's files of its age")
    OF_THE_SITE = ("of-the-site", "least wrong on the last days of all the site's files")
    UNTESTED = ("untested", "the history is too short to hold days back")
    NOT_OUT = ("not-out", "the file has no day of history")
    PRIOR = ("prior", "the file has no views yet, or none of a whole day")

    def __init__(self, word: str, words: str) -> None:
        self.word = word
        self.words = words


@dataclass(frozen=True, slots=True)
class Score:
    """A model on the site's held-back days: sum of errors in bytes / bytes really served; None when nothing was held back."""

    name: str
    words: str
    error: float | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """Expected views of each file on the next day, and the name of the model that says so."""

    views: Floats
    models: tuple[str, ...]
    site_error: float | None
    """Error of the site's chosen model on the held-back days / what was really viewed; None when nothing was held back."""
    low: Floats | None = None
    high: Floats | None = None
    """The band that holds four days of five, as far as the held-back days tell; None where nobody made one."""
    scores: tuple[Score, ...] = ()
    """All models that were asked, by what they got wrong at the site."""
    why: tuple[Why, ...] = ()
    """Per file; empty where nothing was chosen."""

    def explain(self, row: int) -> str:
        """In words: who speaks for a file and why, and how wrong each model was at the site."""
        name = self.models[row]
        words = next((score.words for score in self.scores if score.name == name), "")
        why = f", {self.why[row].words}" if self.why else ""
        tested = [f"{score.name} {score.error:.0%}" for score in self.scores if score.error is not None]
        said = f"{name}{f' ({words})' if words else ''}{why}"
        return said + (f"; wrong at the site by {', '.join(tested)}" if tested else "")


def forecast(history: DailyPopularity, sizes: Floats, models: Sequence[Model] = MODELS) -> Forecast:
    """The chosen models' next day. A file without a day of history gets 0 views and the model `none`."""
    files = history.views.shape[0]
    if history.days == 0:
        return Forecast(np.zeros(files), (NOBODY,) * files, None, why=(Why.NOT_OUT,) * files)
    usable = [m for m in models if m.min_days + LEAST_HELD_BACK_DAYS <= history.days and _has_relatives(m, history)]
    if not usable:
        return _untested(history)
    first = max(max(model.min_days for model in usable), history.days - HELD_BACK_DAYS)
    asked = _Asked(history, usable, first)
    weighted = asked.errors * sizes
    site_errors = weighted.sum(axis=1)
    site_choice = int(site_errors.argmin())
    choice, why = _choose(history, asked.errors, weighted, site_choice)
    total = float((asked.actual * sizes).sum())
    scores = [
        Score(model.name, model.words, float(error) / total if total > 0 else None)
        for model, error in zip(usable, site_errors, strict=True)
    ]
    views = asked.chosen(choice, asked.days - 1).astype(np.float64)
    out = history.start < history.days
    guesses = np.stack([asked.chosen(choice, column) for column in range(asked.days - 1)], axis=1)
    low, high = band(guesses, asked.seen, asked.counted, views)
    names = [model.name for model in usable]
    return Forecast(
        views=views,
        models=tuple(names[c] if is_out else NOBODY for c, is_out in zip(choice.tolist(), out.tolist(), strict=True)),
        site_error=scores[site_choice].error,
        low=low,
        high=high,
        scores=tuple(sorted(scores, key=lambda score: score.error if score.error is not None else 0.0)),
        why=tuple(
            _WHY[code] if is_out else Why.NOT_OUT for code, is_out in zip(why.tolist(), out.tolist(), strict=True)
        ),
    )


_WHY = (Why.OF_THE_SITE, Why.OF_ITS_AGE, Why.OWN_DAYS)


class _Asked:
    """All models' forecasts of the held-back days and of the next one, and what they got wrong (models × files, in views)."""

    def __init__(self, history: DailyPopularity, models: Sequence[Model], first: int) -> None:
        held_back = np.arange(first, history.days)
        known = np.array([history.is_known(day) for day in held_back.tolist()], dtype=np.bool_)
        self.seen = history.views[:, first:]
        self.counted = (history.start[:, None] < held_back[None, :]) & known[None, :]
        self.actual = np.where(self.counted, self.seen, 0).sum(axis=1, dtype=np.float64)
        self._tables = [model.ahead(history, first) for model in models]
        self.days = self._tables[0].shape[1]
        self.errors = np.stack(
            [
                np.where(self.counted, np.abs(table[:, :-1] - self.seen), 0).sum(axis=1, dtype=np.float64)
                for table in self._tables
            ]
        )

    def chosen(self, choice: Ints, column: int) -> Views:
        """Each file's forecast of one day by the model chosen for it."""
        rows = np.arange(len(choice))
        stacked = np.stack([table[:, column] for table in self._tables])
        return np.asarray(stacked[choice, rows])


def _choose(history: DailyPopularity, errors: Floats, weighted: Floats, site_choice: int) -> tuple[Ints, Ints]:
    """(the model of each file, the place of its reason in `_WHY`)."""
    own_days = history.days - history.start
    choice = np.full(len(own_days), site_choice, dtype=np.int64)
    why = np.zeros(len(own_days), dtype=np.int64)
    youngest = 0
    for oldest in AGES:
        of_age = (own_days > youngest) & (own_days < oldest if oldest == OWN_CHOICE_DAYS else own_days <= oldest)
        sums = weighted[:, of_age].sum(axis=1)
        if of_age.any() and sums.min() < sums[site_choice]:
            choice[of_age], why[of_age] = int(sums.argmin()), 1
        youngest = oldest
    # Equal errors (a file nobody viewed, or no day held back) are no reason to leave the site's choice.
    alone = (own_days >= OWN_CHOICE_DAYS) & (errors.min(axis=0) < errors[site_choice])
    choice[alone], why[alone] = errors[:, alone].argmin(axis=0), 2
    return choice, why


def _has_relatives(model: Model, history: DailyPopularity) -> bool:
    return not isinstance(model, Pooled) or history.groups is not None


def _untested(history: DailyPopularity) -> Forecast:
    views = next_day(UNTESTED, history).astype(np.float64)
    out = (history.start < history.days).tolist()
    return Forecast(
        views=views,
        models=tuple(UNTESTED.name if is_out else NOBODY for is_out in out),
        site_error=None,
        low=views * UNTESTED_BAND[0],
        high=views * UNTESTED_BAND[1],
        scores=(Score(UNTESTED.name, UNTESTED.words, None),),
        why=tuple(Why.UNTESTED if is_out else Why.NOT_OUT for is_out in out),
    )
