"""80 % bands by rolling conformal calibration: how far past forecasts of the same age were off says how far this one may be.

At each week the residuals ln(came / forecast) of the last `WINDOW_WEEKS` whose target week had ended give the 10 % and 90 % quantiles
(split conformal prediction; Lei et al., JASA 113, 2018), apart for first, second, third and later weeks in the list where there are enough.
The forecasts were made without their outcome, so the residuals are honest; the weeks drift, so that coverage is aimed at, not guaranteed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fill_planner.popularity import Floats, Ints
from fill_planner.toplists.features import Examples

LOW, HIGH = 0.1, 0.9
WINDOW_WEEKS = 104
LEAST_RESIDUALS = 60
AGE_BOUNDS = (1, 2, 4)
"""Ages up to each bound are one group; older ones another."""


@dataclass(frozen=True, slots=True)
class Band:
    """Bounds in hours, row by row; NaN where nothing was known to calibrate by."""

    low: Floats
    high: Floats


def band(given: Examples, log_ratio: Floats, horizon: int) -> Band:
    """Bounds around forecasts of ln(hours then / hours now), from what was known at the end of each row's week."""
    residual = given.log_ratio(horizon) - log_ratio
    group = np.searchsorted(np.array(AGE_BOUNDS), given.age)
    low, high = np.full(len(residual), np.nan), np.full(len(residual), np.nan)
    for week in np.unique(given.week[np.isfinite(log_ratio)]).tolist():
        past = np.isfinite(residual) & (given.week + horizon <= week) & (given.week + horizon > week - WINDOW_WEEKS)
        now = np.flatnonzero((given.week == week) & np.isfinite(log_ratio))
        if past.sum() < LEAST_RESIDUALS:
            continue
        for which in np.unique(group[now]).tolist():
            same = past & (group == which)
            down, up = conformal(residual[same if same.sum() >= LEAST_RESIDUALS else past])
            rows = now[group[now] == which]
            guess = given.hours[rows] * np.exp(log_ratio[rows])
            low[rows], high[rows] = guess * np.exp(down), guess * np.exp(up)
    return Band(low, high)


def conformal(residuals: Floats) -> tuple[float, float]:
    """The residuals between which the share HIGH - LOW of one more is expected, by rank among one more than were seen."""
    ordered = np.sort(residuals)
    count = len(ordered)
    down = max(0, int(np.floor(LOW * (count + 1))) - 1)
    up = min(count - 1, int(np.ceil(HIGH * (count + 1))) - 1)
    return float(ordered[down]), float(ordered[up])


def covered(then: Floats, bounds: Band) -> Ints:
    """1 where it came inside the band, else 0; only for rows with bounds and an outcome."""
    told = np.isfinite(then) & np.isfinite(bounds.low)
    return ((then[told] >= bounds.low[told]) & (then[told] <= bounds.high[told])).astype(np.int64)
