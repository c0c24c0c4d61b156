"""Bands around forecasts: what the held-back days were, as multiples of what had been forecast for them.

Split-conformal quantiles (Vovk et al., Algorithmic Learning in a Random World, 2005) of seen / forecast, taken apart for files of
similar forecast, because small files scatter more. Multiples are used, not differences, so that scaling all views scales the band.
"""

from __future__ import annotations

import numpy as np

from fill_planner.popularity import Flags, Floats, Views

LOW, HIGH = 0.1, 0.9
LEVELS = 12
"""Groups of files by the size of their forecast."""
LEAST_SEEN = 30
"""Held-back days of files below which a group says nothing of its own."""
MOST_MULTIPLE = 1e3
UNTESTED = (0.25, 2.5)
"""Multiples where nothing was held back: a wide guess."""


def band(guess: Views, seen: Views, counts: Flags, forecast: Floats) -> tuple[Floats, Floats]:
    """(10 %, 90 %) quantiles of the day that `forecast` (files) is for.

    `guess` and `seen` are files × held-back days, what was forecast and what came; `counts` says which of them to look at. A forecast
    of 0 has the band of what came where 0 had been forecast.
    """
    told = counts & (guess > 0)
    guesses = guess[told].astype(np.float64)
    multiples = np.minimum(seen[told], MOST_MULTIPLE * guesses) / guesses
    low, high = np.empty(len(forecast)), np.empty(len(forecast))
    edges = np.quantile(guesses, np.linspace(0, 1, LEVELS + 1)[1:-1]) if len(guesses) else np.zeros(0)
    of_all = _quantiles(multiples.astype(np.float64)) if len(multiples) >= LEAST_SEEN else UNTESTED
    level_of_guess, level = np.searchsorted(edges, guesses), np.searchsorted(edges, forecast)
    order = np.argsort(level_of_guess, kind="stable")
    bounds = np.searchsorted(level_of_guess[order], np.arange(len(edges) + 2))
    for place in range(len(edges) + 1):
        same = multiples[order[bounds[place] : bounds[place + 1]]].astype(np.float64)
        down, up = _quantiles(same) if len(same) >= LEAST_SEEN else of_all
        at = level == place
        low[at], high[at] = forecast[at] * min(1.0, down), forecast[at] * max(1.0, up)
    nothing = forecast <= 0
    surprises = seen[counts & (guess <= 0)].astype(np.float64)
    low[nothing] = 0.0
    high[nothing] = _quantiles(surprises)[1] if len(surprises) >= LEAST_SEEN else 0.0
    return low, high


def _quantiles(values: Floats) -> tuple[float, float]:
    """The bounds that hold the share HIGH - LOW of further values, by rank: conformal, one value more than were seen."""
    count = len(values)
    ranks = (int(np.floor(LOW * (count + 1))) - 1, int(np.ceil(HIGH * (count + 1))) - 1)
    ordered = np.partition(values, [max(0, ranks[0]), min(count - 1, ranks[1])])
    return float(ordered[max(0, ranks[0])]), float(ordered[min(count - 1, ranks[1])])
