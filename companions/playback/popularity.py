"""Plays that fade: an exponentially decayed count per region and title. Pure.

A count is a value at an instant; a play at `now` makes it value × 2^(−elapsed / half-life) + 1. Counts of one instant can
be compared, so that nothing has to be swept: reading decays too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from contracts.viewing import TitleCount


@dataclass(frozen=True, slots=True)
class Decayed:
    """`plays` as they counted at `at` (seconds since the epoch)."""

    plays: float
    at: float


def value_at(count: Decayed, now: float, half_life_s: float) -> float:
    """A clock that went back does not make old plays grow."""
    return count.plays * float(2.0 ** (-max(0.0, now - count.at) / half_life_s))


def played(count: Decayed | None, now: float, half_life_s: float) -> Decayed:
    """The count after one more play."""
    before = value_at(count, now, half_life_s) if count else 0.0
    return Decayed(before + 1.0, max(now, count.at) if count else now)


def ranked(counts: Iterable[tuple[str, Decayed]], now: float, half_life_s: float, limit: int) -> tuple[TitleCount, ...]:
    """Most played first; equals by title id."""
    rated = [TitleCount(title_id, round(value_at(count, now, half_life_s), 6)) for title_id, count in counts]
    rated.sort(key=lambda count: (-count.plays, count.title_id))
    return tuple(count for count in rated[:limit] if count.plays > 0)
