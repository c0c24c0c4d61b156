"""Rolling-origin forecasts: at the end of each week, what would have been forecast from what was published by then.

Models are fitted anew every `refit_weeks` on the rows whose target week had ended, and asked about the week's entries. Nothing later
than the origin's week enters: not in fitting, not in features, not in weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fill_planner.popularity import Floats
from fill_planner.toplists.features import Examples
from fill_planner.toplists.models import RatioModel, Weighting

LEAST_KNOWN = 200
"""Rows with a known target below which nothing is fitted."""


@dataclass(frozen=True, slots=True)
class Rolling:
    """How the models are refitted; `seed` makes the chance of growing trees repeatable."""

    weighting: Weighting = field(default_factory=Weighting)
    refit_weeks: int = 8
    seed: int = 1

    def forecasts(
        self, given: Examples, models: Sequence[RatioModel], horizon: int, first_week: int, last_week: int
    ) -> dict[str, Floats]:
        """ln(hours then / hours now) by model's name for each row of `given`, whether it is listed then or not.

        Rows whose origin lies outside first_week..last_week are NaN, and so are those before enough was known to fit.
        """
        target = given.log_ratio(horizon)
        found = {model.name: np.full(len(target), np.nan) for model in models}
        for origin in range(first_week, last_week + 1, self.refit_weeks):
            known = np.flatnonzero(np.isfinite(target) & (given.week + horizon <= origin))
            asked = np.flatnonzero(
                (given.week >= origin) & (given.week < origin + self.refit_weeks) & (given.week <= last_week)
            )
            if len(known) < LEAST_KNOWN or len(asked) == 0:
                continue
            rows, rows_asked = given.rows(known), given.rows(asked)
            weight = self.weighting.of(rows, target[known], origin)
            for place, model in enumerate(models):
                rng = np.random.default_rng((self.seed, horizon, origin, place))
                found[model.name][asked] = model.fit(rows, target[known], weight, rng).log_ratio(rows_asked)
        return found
