"""Priors for what a list's history does not forecast: titles that come in, and titles that drop out.

What comes in has no hours in that list the week before. It is expected to have, times what is usual, the hours of its own last week in
the list (it returns), of the first week of the season before (it is a next season), or of the list's new titles (nothing is known of it).
What drops out has no published hours any more: its prior is the probability that it does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from fill_planner.popularity import Floats, Ints
from fill_planner.toplists.bands import Band, conformal
from fill_planner.toplists.features import HORIZONS, Examples
from fill_planner.toplists.lists import Entry

WINDOW_WEEKS = 104
LEAST_COMINGS = 25
PULL = 10.0
"""Rows of the coarser group that stand behind each drop-out rate."""
_RANK_BOUNDS = (3, 6, 8, 9)
_AGE_BOUNDS = (1, 2, 3, 6)


class Coming(Enum):
    """What is known of a title that comes into a list: log word and words."""

    RETURNS = ("returns", "it was in the list before")
    NEXT_SEASON = ("next-season", "an earlier season of the title was in the list")
    NEW = ("new", "nothing of the title was in the list")

    def __init__(self, word: str, words: str) -> None:
        self.word = word
        self.words = words


@dataclass(frozen=True, slots=True)
class Comings:
    """One row per title and week in which it came into a list; the forecast is made at the end of the week before."""

    week: Ints
    list_name: tuple[str, ...]
    kind: tuple[Coming, ...]
    base: Floats
    """Hours it is compared with; 1 where there is nothing."""
    hours: Floats


def comings(entries: Sequence[Entry]) -> Comings:
    """Those of all weeks but the first, in the order of the entries."""
    last: dict[tuple[str, str, str], Entry] = {}
    starts: dict[tuple[str, str], Entry] = {}
    weeks = {(entry.list_name, entry.week) for entry in entries}
    rows: list[tuple[Entry, Coming, float]] = []
    for entry in sorted(entries, key=lambda one: one.week):
        before = last.get(entry.key)
        show = (entry.list_name, entry.show)
        earlier = starts.get(show)
        if (before is None or before.week < entry.week - 1) and (entry.list_name, entry.week - 1) in weeks:
            if before is not None:
                rows.append((entry, Coming.RETURNS, before.hours))
            elif earlier is not None and earlier.week < entry.week:
                rows.append((entry, Coming.NEXT_SEASON, earlier.hours))
            else:
                rows.append((entry, Coming.NEW, 1.0))
        if entry.weeks_listed == 1 and (earlier is None or earlier.week < entry.week):
            starts[show] = entry
        last[entry.key] = entry
    return Comings(
        week=np.array([entry.week for entry, _, _ in rows], dtype=np.int64),
        list_name=tuple(entry.list_name for entry, _, _ in rows),
        kind=tuple(kind for _, kind, _ in rows),
        base=np.array([base for _, _, base in rows], dtype=np.float64),
        hours=np.array([entry.hours for entry, _, _ in rows], dtype=np.float64),
    )


def expected(given: Comings, first_week: int, last_week: int) -> tuple[Floats, Band]:
    """(hours expected of each row, its 80 % band), for the weeks asked for and from what had come before; NaN elsewhere."""
    count = len(given.week)
    guess, low, high = (np.full(count, math.nan) for _ in range(3))
    change = np.log(given.hours / given.base)
    kinds = np.array([kind.word for kind in given.kind])
    lists = np.array(given.list_name)
    for row in np.flatnonzero((given.week >= first_week) & (given.week <= last_week)).tolist():
        past = (given.week < given.week[row]) & (given.week >= given.week[row] - WINDOW_WEEKS) & (kinds == kinds[row])
        here = past & (lists == lists[row])
        told = change[here if here.sum() >= LEAST_COMINGS else past]
        if len(told) < LEAST_COMINGS:
            continue
        down, up = conformal(told)
        guess[row] = given.base[row] * math.exp(float(np.median(told)))
        low[row], high[row] = given.base[row] * math.exp(down), given.base[row] * math.exp(up)
    return guess, Band(low, high)


def drop_rates(given: Examples, horizon: int, first_week: int, last_week: int, refit_weeks: int) -> Floats:
    """Probability that each row is not in its list `horizon` weeks later, by list, rank and age, from what had ended by then.

    Rates of fine groups are drawn to those of coarser ones by `PULL` rows (list and rank and age ← list and rank ← rank ← all). NaN for
    weeks that were not asked for, and before anything is known.
    """
    at = HORIZONS.index(horizon)
    dropped = np.isnan(given.hours_then[:, at]).astype(np.float64)
    rank = np.searchsorted(np.array(_RANK_BOUNDS), np.array([entry.rank for entry in given.entries]))
    age = np.searchsorted(np.array(_AGE_BOUNDS), given.age)
    ranks, ages = len(_RANK_BOUNDS) + 1, len(_AGE_BOUNDS) + 1
    by_list = given.list_index * ranks + rank
    groups = (np.zeros_like(rank), rank, by_list, by_list * ages + age)
    found = np.full(len(dropped), np.nan)
    for origin in range(first_week, last_week + 1, refit_weeks):
        known = (given.published_then[:, at] > 0) & (given.week + horizon <= origin)
        asked = (given.week >= origin) & (given.week < origin + refit_weeks) & (given.week <= last_week)
        if not known.any() or not asked.any():
            continue
        rate = np.full(len(dropped), float(dropped[known].mean()))
        for group in groups[1:]:
            size = int(group.max()) + 1
            sums = np.bincount(group[known], dropped[known], size)[group]
            counts = np.bincount(group[known], minlength=size)[group]
            rate = (sums + PULL * rate) / (counts + PULL)
        found[asked] = rate[asked]
    return found
