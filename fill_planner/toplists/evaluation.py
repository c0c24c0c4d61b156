"""The evaluation: which model is chosen on the weeks up to a date, and how wrong each was on the weeks after it.

Population: entries that are in the same list, with the same title and season, in both weeks. Drop-outs and titles that come in are scored
apart (`comings`). All forecasts are rolling (`rolling`): for a week after the date, models are fitted on everything that had been published by then,
but which model speaks, and every setting, was chosen on weeks up to the date.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from fill_planner.popularity import Flags, Floats
from fill_planner.toplists import comings
from fill_planner.toplists.bands import Band, band
from fill_planner.toplists.features import HORIZONS, Examples, examples
from fill_planner.toplists.lists import Entry, until
from fill_planner.toplists.models import Decay, LastValue, RatioModel, Regression, Trees
from fill_planner.toplists.rolling import Rolling
from fill_planner.toplists.scores import ALL, Score, score

CHOICE_WEEKS = 52
"""Weeks up to the date on which the models compete."""
CALIBRATION_WEEKS = 52
"""Weeks before those whose residuals the first bands are made from."""
AGES = ("1", "2", "3", "4-6", "7+")
_AGE_BOUNDS = (1, 2, 3, 6)
MODELS: tuple[RatioModel, ...] = (LastValue(), Decay(), Regression(), Trees())


class TooShort(ValueError):
    """The file has too few weeks before or after the date."""


class Drops(msgspec.Struct, frozen=True):
    """Drop-outs at a horizon: the share of rows that dropped out, the share expected, and the Brier score beside a constant rate's."""

    horizon: int
    rows: int
    dropped: float | None
    expected: float | None
    brier: float | None
    brier_of_constant: float | None


class Evaluation(msgspec.Struct, frozen=True):
    """`chosen` is by horizon. `choice` are the scores on the weeks up to the date, `scores` those after it. Weeks by their number."""

    chosen_by_week: int
    first_week: int
    last_week: int
    chosen: dict[int, str]
    choice: tuple[Score, ...]
    scores: tuple[Score, ...]
    new_entries: tuple[Score, ...]
    drops: tuple[Drops, ...]

    def of_chosen(self, horizon: int) -> Score:
        """The score that counts: the chosen model on all lists and ages."""
        return self.of(self.chosen[horizon], horizon)

    def of(self, model: str, horizon: int, list_name: str = ALL, age: str = ALL) -> Score:
        """One score. Raises StopIteration when nothing of the sort was scored."""
        wanted = (model, horizon, list_name, age)
        return next(s for s in self.scores if (s.model, s.horizon, s.list_name, s.age) == wanted)


@dataclass(frozen=True, slots=True)
class Method:
    """Everything that was settled on the weeks up to the end of 2024: models, weights of rows, how often they are fitted."""

    models: tuple[RatioModel, ...] = MODELS
    rolling: Rolling = field(default_factory=Rolling)
    horizons: tuple[int, ...] = HORIZONS


def evaluate(entries: Sequence[Entry], chosen_by: int, last_week: int, method: Method) -> Evaluation:
    """Choose on the weeks up to `chosen_by`, score on those from the next to `last_week`.

    Raises TooShort when there is no week to score or nothing to choose by.
    """
    given = examples(until(entries, last_week))
    last_week = int(given.week.max())
    if not (given.week > chosen_by).any():
        raise TooShort("there is no week after the date up to which models are chosen")
    choice: list[Score] = []
    scores: list[Score] = []
    chosen: dict[int, str] = {}
    began = chosen_by - CHOICE_WEEKS - CALIBRATION_WEEKS + 1
    for horizon in method.horizons:
        then = given.hours_then[:, HORIZONS.index(horizon)]
        found = method.rolling.forecasts(given, method.models, horizon, began - horizon, last_week - horizon)
        target = given.week + horizon
        before = (target > chosen_by - CHOICE_WEEKS) & (target <= chosen_by)
        after = target > chosen_by
        for name, log_ratio in found.items():
            guess, bounds = given.hours * np.exp(log_ratio), band(given, log_ratio, horizon)
            choice.append(score((name, horizon, ALL, ALL), guess, bounds, then, before))
            scores += _scores(given, (name, horizon), guess, bounds, then, after)
        competed = [(one.wape, one.model) for one in choice if one.horizon == horizon and one.wape is not None]
        if not competed:
            raise TooShort(f"too few weeks up to the date to choose a model {horizon} weeks ahead")
        chosen[horizon] = min(competed, key=lambda one: one[0])[1]
    return Evaluation(
        chosen_by_week=chosen_by,
        first_week=chosen_by + 1,
        last_week=last_week,
        chosen=chosen,
        choice=tuple(choice),
        scores=tuple(scores),
        new_entries=tuple(_new_entries(given, chosen_by, last_week)),
        drops=tuple(_drops(given, horizon, chosen_by, last_week, method.rolling) for horizon in method.horizons),
    )


def _scores(
    given: Examples, named: tuple[str, int], guess: Floats, bounds: Band, then: Floats, counted: Flags
) -> Iterator[Score]:
    """Over all, by list, by age, and by both."""
    group = np.searchsorted(np.array(_AGE_BOUNDS), given.age)
    for list_name in (ALL, *given.lists):
        of_list = counted & ((given.list_index == given.lists.index(list_name)) if list_name != ALL else True)
        for age in (ALL, *AGES):
            of_age = of_list & ((group == AGES.index(age)) if age != ALL else True)
            yield score((*named, list_name, age), guess, bounds, then, of_age)


def _new_entries(given: Examples, chosen_by: int, last_week: int) -> Iterator[Score]:
    rows = comings.comings(given.entries)
    guess, bounds = comings.expected(rows, chosen_by + 1, last_week)
    lists, kinds = np.array(rows.list_name), np.array([kind.word for kind in rows.kind])
    for name in (ALL, *given.lists):
        of_list = (lists == name) if name != ALL else np.ones(len(lists), dtype=np.bool_)
        yield score((ALL, 1, name, ALL), guess, bounds, rows.hours, of_list)
    for kind in comings.Coming:
        yield score((kind.word, 1, ALL, ALL), guess, bounds, rows.hours, kinds == kind.word)


def _drops(given: Examples, horizon: int, chosen_by: int, last_week: int, rolling: Rolling) -> Drops:
    at = HORIZONS.index(horizon)
    rate = comings.drop_rates(given, horizon, chosen_by + 1 - horizon, last_week - horizon, rolling.refit_weeks)
    published = given.published_then[:, at] > 0
    known = published & (given.week + horizon <= chosen_by)
    counted = published & np.isfinite(rate) & (given.week + horizon > chosen_by)
    dropped = np.isnan(given.hours_then[:, at])
    came = dropped[counted].astype(np.float64)
    if not len(came) or not known.any():
        return Drops(horizon, 0, None, None, None, None)
    constant = float(dropped[known].mean())
    return Drops(
        horizon=horizon,
        rows=len(came),
        dropped=float(came.mean()),
        expected=float(rate[counted].mean()),
        brier=float(((rate[counted] - came) ** 2).mean()),
        brier_of_constant=float(((constant - came) ** 2).mean()),
    )
