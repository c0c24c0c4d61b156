"""How wrong forecasts were: WAPE, pinball and the coverage of the band.

WAPE is sum |forecast - came| / sum came. `pinball` is twice the mean of the pinball losses of the 10 %, 50 % and 90 % quantiles / sum
came, so that at the median alone it would be the WAPE. `coverage` is the share of rows whose outcome lies in the 80 % band.
"""

from __future__ import annotations

import msgspec
import numpy as np

from fill_planner.popularity import Flags, Floats
from fill_planner.toplists.bands import HIGH, LOW, Band

ALL = "all"


class Score(msgspec.Struct, frozen=True):
    """One model on some rows. `coverage` and `pinball` count rows that have a band. None where there is nothing to count."""

    model: str
    horizon: int
    list_name: str
    age: str
    rows: int
    wape: float | None
    pinball: float | None
    coverage: float | None


def score(named: tuple[str, int, str, str], guess: Floats, bounds: Band, then: Floats, chosen: Flags) -> Score:
    """`named` is (model, horizon, list, age); `chosen` says which rows count, all of them with a guess and an outcome."""
    told = chosen & np.isfinite(guess) & np.isfinite(then)
    came = then[told]
    total = float(came.sum())
    wape = float(np.abs(guess[told] - came).sum()) / total if total else None
    banded = told & np.isfinite(bounds.low)
    losses, covered = None, None
    if banded.any():
        outcome = then[banded]
        lost = sum(
            float(_pinball(quantile[banded], outcome, share).sum())
            for quantile, share in ((bounds.low, LOW), (guess, 0.5), (bounds.high, HIGH))
        )
        losses = 2.0 * lost / 3.0 / float(outcome.sum())
        covered = float(((outcome >= bounds.low[banded]) & (outcome <= bounds.high[banded])).mean())
    return Score(*named, int(told.sum()), wape, losses, covered)


def _pinball(quantile: Floats, came: Floats, share: float) -> Floats:
    over = came - quantile
    return np.maximum(share * over, (share - 1.0) * over)
