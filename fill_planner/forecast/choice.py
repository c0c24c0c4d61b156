"""Which model speaks for a file: the one that would have been least wrong on the days held back.

A file with two weeks of its own has its own choice; others take the choice of the whole site, because a handful of days
of one file choose by chance. Errors are weighted by file size: what counts is bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fill_planner.forecast.models import MODELS, Model, Smoothed
from fill_planner.popularity import DailyPopularity, Floats

HELD_BACK_DAYS = 7
LEAST_HELD_BACK_DAYS = 3
OWN_CHOICE_DAYS = 14
UNTESTED: Model = Smoothed(0.5)
"""Speaks while the history is too short to hold anything back; of one day it makes the last value."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Expected views of each file on the next day, and the name of the model that says so."""

    views: Floats
    models: tuple[str, ...]
    site_error: float | None
    """Error of the site's chosen model on the held-back days / what was really viewed; None when nothing was held back."""


def forecast(history: DailyPopularity, sizes: Floats, models: Sequence[Model] = MODELS) -> Forecast:
    """The chosen models' next day. A file without a day of history gets 0 views and the model `none`."""
    files = history.views.shape[0]
    if history.days == 0:
        return Forecast(np.zeros(files), ("none",) * files, None)
    usable = [model for model in models if model.min_days + LEAST_HELD_BACK_DAYS <= history.days] or [UNTESTED]
    errors, actual = _held_back_errors(history, usable)
    site_errors = (errors * sizes).sum(axis=1)
    site_choice = int(site_errors.argmin())
    own_history = history.days - history.start
    choice = np.where(own_history >= OWN_CHOICE_DAYS, errors.argmin(axis=0), site_choice)
    # Equal errors (a file nobody viewed, or no day held back) are no reason to leave the site's choice.
    choice = np.where(errors.min(axis=0) == errors[site_choice], site_choice, choice)
    predicted = np.stack([model.next_day(history.views, history.start) for model in usable])
    total = float((actual * sizes).sum())
    return Forecast(
        views=np.maximum(0.0, np.take_along_axis(predicted, choice[None, :], axis=0)[0]),
        models=tuple(usable[c].name if days > 0 else "none" for c, days in zip(choice, own_history, strict=True)),
        site_error=float(site_errors[site_choice]) / total if total > 0 else None,
    )


def _held_back_errors(history: DailyPopularity, models: Sequence[Model]) -> tuple[Floats, Floats]:
    """(models × files sum of absolute errors in views, views really seen) over the days all models can be asked for."""
    first = max(model.min_days for model in models)
    first = max(first, history.days - HELD_BACK_DAYS)
    errors = np.zeros((len(models), history.views.shape[0]))
    actual = np.zeros(history.views.shape[0])
    for day in range(first, history.days):
        known = history.start < day
        seen = history.views[:, day]
        actual += np.where(known, seen, 0.0)
        for row, model in enumerate(models):
            guess = model.next_day(history.views[:, :day], history.start)
            errors[row] += np.where(known, np.abs(guess - seen), 0.0)
    return errors, actual
