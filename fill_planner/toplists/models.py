"""Models of a listed title's hours some weeks ahead, all behind one interface: examples in, ln(hours then / hours now) out.

All are fitted for the absolute error in hours, because that is what the weighted absolute percentage error sums: a row weighs what its
hours are expected to be, to a power below 1 (at 1 a few very large titles would be all that is learnt from), and less the older it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from fill_planner.popularity import Floats
from fill_planner.toplists import trees
from fill_planner.toplists.features import AT, Examples
from fill_planner.toplists.trees import Boosting, Forest, weighted_median

OLDEST_AGE = 8
"""Ages from here on are one."""
LEAST_ROWS = 8
_CLIP = 6.0
"""Standard deviations beyond which a feature says no more."""


class Fitted(Protocol):
    def log_ratio(self, asked: Examples) -> Floats:
        """ln(hours then / hours now) for each row."""
        ...


class RatioModel(Protocol):
    """`fit` sees rows whose target is known, the target and a positive weight per row."""

    @property
    def name(self) -> str: ...

    def fit(self, known: Examples, target: Floats, weight: Floats, rng: np.random.Generator) -> Fitted: ...


@dataclass(frozen=True, slots=True)
class Weighting:
    """What a row counts in fitting: (expected hours then) ** `power` × 0.5 ** (weeks ago / `half_life_weeks`)."""

    power: float = 0.2
    half_life_weeks: float = 80.0

    def of(self, known: Examples, target: Floats, now_week: int) -> Floats:
        """One positive weight per row; their mean is 1."""
        expected = known.hours * np.exp(Decay().fit(known, target, np.ones(len(target))).log_ratio(known))
        weight = expected**self.power * 0.5 ** ((now_week - known.week) / self.half_life_weeks)
        return np.asarray(weight / weight.mean(), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class LastValue:
    """Next week's hours are this week's."""

    name: str = "last-value"

    def fit(self, known: Examples, target: Floats, weight: Floats, rng: np.random.Generator | None = None) -> Fitted:
        return _Same()


@dataclass(frozen=True, slots=True)
class _Same:
    def log_ratio(self, asked: Examples) -> Floats:
        return np.zeros(len(asked.week))


@dataclass(frozen=True, slots=True)
class Decay:
    """The median ratio of the list's entries of the same age; of the list where there are few, of all where there are fewer."""

    name: str = "decay"

    def fit(self, known: Examples, target: Floats, weight: Floats, rng: np.random.Generator | None = None) -> Fitted:
        ages = np.minimum(known.age, OLDEST_AGE)
        table = np.full((len(known.lists), OLDEST_AGE + 1), weighted_median(target, weight))
        for place in range(len(known.lists)):
            here = known.list_index == place
            if here.sum() >= LEAST_ROWS:
                table[place] = weighted_median(target[here], weight[here])
            for age in range(1, OLDEST_AGE + 1):
                same = here & (ages == age)
                if same.sum() >= LEAST_ROWS:
                    table[place, age] = weighted_median(target[same], weight[same])
        return _DecayTable(table)


@dataclass(frozen=True, slots=True)
class _DecayTable:
    table: Floats

    def log_ratio(self, asked: Examples) -> Floats:
        return self.table[asked.list_index, np.minimum(asked.age, OLDEST_AGE)]


@dataclass(frozen=True, slots=True)
class Regression:
    """Linear regression of what the decay leaves, for the absolute error, with a ridge on standardised features.

    Solved by iteratively reweighted least squares (Schlossmacher, JASA 68, 1973); `ridge` is in mean row weights.
    """

    ridge: float = 30.0
    rounds: int = 25
    name: str = "regression"

    def fit(self, known: Examples, target: Floats, weight: Floats, rng: np.random.Generator | None = None) -> Fitted:
        decay = Decay().fit(known, target, weight)
        left = target - decay.log_ratio(known)
        scale = _Scale.of(known.features)
        design = _design(known, scale)
        smallest = 0.02 * float(np.abs(left).mean()) + 1e-9
        solution = np.zeros(design.shape[1])
        penalty = self.ridge * np.eye(design.shape[1])
        for _ in range(self.rounds):
            pull = weight / np.maximum(np.abs(left - design @ solution), smallest)
            # The penalty keeps its size relative to the rows however small the residuals get.
            pull = pull / (pull.sum() / weight.sum())
            solution = np.linalg.solve(design.T @ (design * pull[:, None]) + penalty, design.T @ (pull * left))
        return _Line(decay, scale, solution)


@dataclass(frozen=True, slots=True)
class _Scale:
    middle: Floats
    spread: Floats

    @classmethod
    def of(cls, features: Floats) -> _Scale:
        known = np.isfinite(features)
        count = np.maximum(1, known.sum(axis=0))
        filled = np.where(known, features, 0.0)
        middle = filled.sum(axis=0) / count
        spread = np.sqrt((np.where(known, features - middle, 0.0) ** 2).sum(axis=0) / count)
        return cls(middle, np.where(spread > 0, spread, 1.0))

    def standard(self, features: Floats) -> Floats:
        """Unknown features stand at their mean: 0."""
        standard = np.clip((features - self.middle) / self.spread, -_CLIP, _CLIP)
        return np.where(np.isfinite(features), standard, 0.0)


_BY_AGE = (
    "hours-over-last",
    "hours",
    "views-over-last",
    "ratio-1",
    "runtime",
    "film",
    "english",
    "earlier-seasons-ratio",
)


def _design(asked: Examples, scale: _Scale) -> Floats:
    """A constant, the features, which are unknown, and some of them apart for ages 1, 2, 3 and more."""
    standard = scale.standard(asked.features)
    unknown = (~np.isfinite(asked.features)).astype(np.float64)
    ages = np.minimum(asked.age, 3)
    parts = [np.ones((len(asked.week), 1)), standard, unknown]
    columns = standard[:, [AT[name] for name in _BY_AGE]]
    parts += [columns * (ages == age)[:, None] for age in (1, 2, 3)]
    return np.hstack(parts)


@dataclass(frozen=True, slots=True)
class _Line:
    decay: Fitted
    scale: _Scale
    solution: Floats

    def log_ratio(self, asked: Examples) -> Floats:
        return self.decay.log_ratio(asked) + _design(asked, self.scale) @ self.solution


@dataclass(frozen=True, slots=True)
class Trees:
    """The mean of `forests` boosted forests, each grown by chance of its own, on what the decay leaves."""

    settings: Boosting = field(default_factory=Boosting)
    forests: int = 3
    name: str = "trees"

    def fit(self, known: Examples, target: Floats, weight: Floats, rng: np.random.Generator) -> Fitted:
        decay = Decay().fit(known, target, weight)
        left = target - decay.log_ratio(known)
        grown = [trees.fit(known.features, left, weight, self.settings, rng) for _ in range(self.forests)]
        return _Grown(decay, tuple(grown))


@dataclass(frozen=True, slots=True)
class _Grown:
    decay: Fitted
    forests: tuple[Forest, ...]

    def log_ratio(self, asked: Examples) -> Floats:
        mean = np.mean([forest.predict(asked.features) for forest in self.forests], axis=0)
        return self.decay.log_ratio(asked) + np.asarray(mean, dtype=np.float64)
