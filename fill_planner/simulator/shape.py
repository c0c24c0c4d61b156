"""The shape of demand: how popularity falls with rank, how it decays after a release, how it goes through a day. Pure, generator only.

Popularity is a Mandelbrot–Zipf law, weight (rank + shift) ** -exponent (Mandelbrot 1953; seen in shared video by Hefeeda & Saleh, IEEE/ACM ToN 2008).
The public engagement report of the second half of 2023 gives a line of slope −0.83 through ranks 10 to 2,000 on log-log axes; the exponent follows from that
slope, the ranks and the shift, because the slope of a least-squares line is linear in the exponent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

RESIDENTIAL = (
    2.6, 1.7, 1.1, 0.8, 0.7, 0.8, 1.1, 1.6, 2.1, 2.5, 2.9, 3.2, 3.6, 3.9, 4.0, 4.2, 4.7, 5.5, 6.6, 7.9, 9.2, 9.6, 8.0, 4.9,
)  # fmt: skip
"""Relative views by local hour: lowest before five in the morning, highest from nine to ten in the evening with 2.5 times a mean hour."""
WEEK = 7


def exponent_for(slope: float, first: int, last: int, shift: float) -> float:
    """The exponent of the law whose line through ranks `first` to `last` has `slope` (negative). Raises ValueError unless 1 ≤ first < last."""
    if not 1 <= first < last:
        raise ValueError(f"ranks {first} to {last} make no line")
    ranks = np.arange(first, last + 1, dtype=np.float64)
    return -slope / _line(np.log(ranks), np.log(ranks + shift))


def mandelbrot_zipf(count: int, exponent: float, shift: float) -> Floats:
    """Weights of ranks 1 to `count`, summing to 1."""
    weights = (np.arange(1, count + 1, dtype=np.float64) + shift) ** -exponent
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def loglog_slope(weights: Floats, first: int, last: int) -> float:
    """Slope of the least-squares line through ranks `first` to `last` of the weights, sorted, both axes logarithmic."""
    ordered = np.sort(weights)[::-1][first - 1 : last]
    ranks = np.arange(first, first + len(ordered), dtype=np.float64)
    return _line(np.log(ranks), np.log(ordered))


def decay(age_days: Floats, half_life_days: float) -> Floats:
    """Views of a release per day as a share of all it will ever have; 0 before it."""
    rate = np.log(2.0) / half_life_days * np.exp2(-np.maximum(age_days, 0.0) / half_life_days)
    return np.asarray(np.where(age_days < 0, 0.0, rate), dtype=np.float64)


def first_week_fraction(half_life_days: float) -> float:
    """Share of all views of a release that fall into its first seven days."""
    return float(1.0 - 2.0 ** (-WEEK / half_life_days))


def daily_curve(hours: tuple[float, ...]) -> Floats:
    """The 24 shares of a day's views; `RESIDENTIAL` where none are given."""
    curve = np.asarray(hours or RESIDENTIAL, dtype=np.float64)
    return np.asarray(curve / curve.sum(), dtype=np.float64)


def week_factor(day: int, weekend: float) -> float:
    """Views of a day relative to a mean day; day 0 is a Monday."""
    return (weekend if day % WEEK >= 5 else 1.0) * WEEK / (5.0 + 2.0 * weekend)


def _line(x: Floats, y: Floats) -> float:
    centred = x - x.mean()
    return float((centred * (y - y.mean())).sum() / (centred * centred).sum())
