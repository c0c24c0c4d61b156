"""Weekly top lists as Netflix publishes them (`all-weeks-global.tsv`): one line per title and week, tab-separated.

Columns: `week` (the Sunday it ends, ISO date), `category` (the list), `weekly_rank`, `show_title`, `season_title` (`N/A` for what
has no seasons), `weekly_hours_viewed`, `runtime` (hours; empty before June 2023, 0 where it is not said), `weekly_views`
(hours / runtime; empty before June 2023), `cumulative_weeks_in_top_10`.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WEEK_DAYS = 7
COLUMNS = (
    "week",
    "category",
    "weekly_rank",
    "show_title",
    "season_title",
    "weekly_hours_viewed",
    "runtime",
    "weekly_views",
    "cumulative_weeks_in_top_10",
)
_SHOWN_PROBLEMS = 5


class BadLists(ValueError):
    """The text is no file of weekly lists. The message names up to five lines and what is wrong with each."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One title in one list in one week. `season` is empty for what has no seasons; unknown numbers are NaN."""

    week: int
    """Whole weeks since the Sunday 0001-01-07."""
    list_name: str
    rank: int
    show: str
    season: str
    hours: float
    runtime_h: float
    views: float
    weeks_listed: int
    """Weeks in the list so far, this one included; not necessarily in a row."""

    @property
    def key(self) -> tuple[str, str, str]:
        """What stays the same from week to week: list, title and season."""
        return self.list_name, self.show, self.season


def parse(text: str) -> tuple[Entry, ...]:
    """The entries, oldest week first, then by list and rank. Further columns are ignored.

    Raises BadLists: a missing column, a value that is not what its column holds, a title twice in one list and week.
    """
    lines = text.splitlines()
    header = lines[0].split("\t") if lines else []
    if missing := [name for name in COLUMNS if name not in header]:
        raise BadLists(f"line 1 must name the columns; missing: {', '.join(missing)}")
    places = {name: header.index(name) for name in COLUMNS}
    entries: list[Entry] = []
    problems: list[str] = []
    seen: dict[tuple[int, tuple[str, str, str]], int] = {}
    for number, line in enumerate(lines[1:], 2):
        if not line:
            continue
        try:
            entry = _entry(line.split("\t"), places, len(header))
        except ValueError as error:
            problems.append(f"line {number}: {error}")
            continue
        first = seen.setdefault((entry.week, entry.key), number)
        if first != number:
            problems.append(f"line {number}: {entry.show!r} stands in this list and week already on line {first}")
        entries.append(entry)
    if problems:
        more = f"; and {len(problems) - _SHOWN_PROBLEMS} more" if len(problems) > _SHOWN_PROBLEMS else ""
        raise BadLists("; ".join(problems[:_SHOWN_PROBLEMS]) + more)
    if not entries:
        raise BadLists("there is no entry below the line that names the columns")
    return tuple(sorted(entries, key=lambda entry: (entry.week, entry.list_name, entry.rank)))


def until(entries: Sequence[Entry], last_week: int) -> tuple[Entry, ...]:
    """What was published by the end of `last_week`."""
    return tuple(entry for entry in entries if entry.week <= last_week)


def week_of(day: datetime.date) -> int:
    """The number of the week that ends on `day`, or in which it lies."""
    return -(-day.toordinal() // WEEK_DAYS)


def day_of(text: str) -> datetime.date:
    """A date such as 2024-12-29. Raises ValueError."""
    return datetime.date.fromisoformat(text)


def last_day(week: int) -> datetime.date:
    """The Sunday on which a week ends."""
    return datetime.date.fromordinal(week * WEEK_DAYS)


def by_list_and_week(entries: Sequence[Entry]) -> Iterator[tuple[tuple[str, int], list[Entry]]]:
    """Each list of each week, its entries by rank."""
    found: dict[tuple[str, int], list[Entry]] = {}
    for entry in entries:
        found.setdefault((entry.list_name, entry.week), []).append(entry)
    yield from found.items()


def _entry(fields: list[str], places: dict[str, int], columns: int) -> Entry:
    if len(fields) != columns:
        raise ValueError(f"{len(fields)} fields where the header names {columns}")
    text = {name: fields[place] for name, place in places.items()}
    season = text["season_title"]
    hours = _number(text, "weekly_hours_viewed")
    if not hours > 0:
        raise ValueError("weekly_hours_viewed must be above 0")
    return Entry(
        week=_week(text["week"]),
        list_name=text["category"],
        rank=_count(text, "weekly_rank"),
        show=text["show_title"],
        season="" if season == "N/A" else season,
        hours=hours,
        runtime_h=_number(text, "runtime") or math.nan,
        views=_number(text, "weekly_views") or math.nan,
        weeks_listed=_count(text, "cumulative_weeks_in_top_10"),
    )


def _week(text: str) -> int:
    try:
        day = datetime.date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"week {text!r} is not a date such as 2024-12-29") from None
    if day.toordinal() % WEEK_DAYS:
        raise ValueError(f"week {text} is not a Sunday")
    return day.toordinal() // WEEK_DAYS


def _number(text: dict[str, str], column: str) -> float:
    """NaN when empty."""
    if not text[column]:
        return math.nan
    try:
        value = float(text[column])
    except ValueError:
        raise ValueError(f"{column} {text[column]!r} is not a number") from None
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{column} {text[column]!r} is not a count")
    return value


def _count(text: dict[str, str], column: str) -> int:
    if not text[column].isdecimal() or int(text[column]) < 1:
        raise ValueError(f"{column} {text[column]!r} is not a whole number from 1 on")
    return int(text[column])
