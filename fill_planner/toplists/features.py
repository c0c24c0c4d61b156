"""What was known of each entry at the end of its week, as numbers, and what its hours were one to four weeks later.

Law: a row looks at entries of its own and of earlier weeks only, so that adding later weeks to the file changes no feature of an
earlier one. The targets (`hours_then`) are kept apart and are for fitting (when they lie in the past) and for scoring.
"""

from __future__ import annotations

import datetime
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fill_planner.popularity import Floats, Ints
from fill_planner.toplists.lists import Entry, by_list_and_week, last_day

HORIZONS = (1, 2, 3, 4)
"""Weeks ahead."""
UNKNOWN = math.nan
_CHRISTMAS = (12, 25)
_SEASON_NUMBER = re.compile(r"(?:season|part|volume|book|chapter)\s+(\d+)", re.IGNORECASE)
_HOLIDAY_WORDS = re.compile(
    r"christmas|grinch|santa|noel|navidad|klaus|jingle|holiday|holidate|mistletoe|snow|elf\b|scrooge|reindeer|xmas|"
    r"candy cane|nutcracker|sleigh|merry|fireplace",
    re.IGNORECASE,
)

NAMES = (
    "film",
    "english",
    "age",
    "in-a-row",
    "hours",
    "hours-over-last",
    "hours-over-median",
    "rank",
    "views-over-last",
    "ratio-1",
    "ratio-2",
    "ratio-3",
    "hours-over-peak",
    "runtime",
    "runtime-said",
    "runtime-change",
    "season-number",
    "limited",
    "siblings",
    "newest-sibling-age",
    "hours-over-newest-sibling",
    "earlier-seasons-ratio",
    "earlier-seasons-start",
    "days-from-christmas",
    "holiday-title",
    "new-entries-share",
    "list-change",
    "list-old-change",
    "views-said",
    "weeks-of-show",
)
AT = {name: place for place, name in enumerate(NAMES)}


@dataclass(frozen=True, slots=True)
class Examples:
    """One row per entry. `features` is rows × NAMES, logarithms natural, NaN where nothing is known."""

    entries: tuple[Entry, ...]
    lists: tuple[str, ...]
    week: Ints
    list_index: Ints
    age: Ints
    """Weeks in the list so far, this one included."""
    hours: Floats
    features: Floats
    hours_then: Floats
    """Rows × HORIZONS: hours in the same list that many weeks later; NaN where it is not listed or not published yet."""
    published_then: Floats
    """Rows × HORIZONS: 1 where that list of that week is in the file, else 0."""

    def rows(self, chosen: Ints) -> Examples:
        """Some of the rows."""
        return Examples(
            tuple(self.entries[row] for row in chosen.tolist()),
            self.lists,
            self.week[chosen],
            self.list_index[chosen],
            self.age[chosen],
            self.hours[chosen],
            self.features[chosen],
            self.hours_then[chosen],
            self.published_then[chosen],
        )

    def log_ratio(self, horizon: int) -> Floats:
        """ln(hours then / hours now); NaN where the entry is not in the list then."""
        return np.asarray(np.log(self.hours_then[:, HORIZONS.index(horizon)] / self.hours), dtype=np.float64)


def examples(entries: Sequence[Entry]) -> Examples:
    """Every entry with its features and targets, in the order given."""
    past = _Past(entries)
    names = tuple(sorted({entry.list_name for entry in entries}))
    then = np.full((len(entries), len(HORIZONS)), UNKNOWN)
    published = np.zeros((len(entries), len(HORIZONS)))
    for row, entry in enumerate(entries):
        for column, horizon in enumerate(HORIZONS):
            published[row, column] = (entry.list_name, entry.week + horizon) in past.of_week
            if later := past.of_key[entry.key].get(entry.week + horizon):
                then[row, column] = later.hours
    return Examples(
        entries=tuple(entries),
        lists=names,
        week=np.array([entry.week for entry in entries], dtype=np.int64),
        list_index=np.array([names.index(entry.list_name) for entry in entries], dtype=np.int64),
        age=np.array([entry.weeks_listed for entry in entries], dtype=np.int64),
        hours=np.array([entry.hours for entry in entries], dtype=np.float64),
        features=np.array([past.features(entry) for entry in entries], dtype=np.float64),
        hours_then=then,
        published_then=published,
    )


class _Past:
    """The entries by key, by show, by list and week; asked only for weeks up to that of an entry."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.of_key: dict[tuple[str, str, str], dict[int, Entry]] = defaultdict(dict)
        self.of_show: dict[str, dict[tuple[str, str, str], dict[int, Entry]]] = defaultdict(dict)
        for entry in entries:
            self.of_key[entry.key][entry.week] = entry
            self.of_show[entry.show][entry.key] = self.of_key[entry.key]
        self.of_week: dict[tuple[str, int], _ListWeek] = {
            place: _ListWeek.of(found) for place, found in by_list_and_week(entries)
        }

    def features(self, entry: Entry) -> list[float]:
        """In the order of NAMES."""
        own, here = self.of_key[entry.key], self.of_week[entry.list_name, entry.week]
        values = {
            "film": float(entry.list_name.lower().startswith("film")),
            "english": float("non-english" not in entry.list_name.lower()),
            "age": math.log(entry.weeks_listed),
            "in-a-row": math.log(_in_a_row(own, entry.week)),
            "hours": math.log(entry.hours),
            "hours-over-last": math.log(entry.hours / here.least_hours),
            "hours-over-median": math.log(entry.hours / here.median_hours),
            "rank": float(entry.rank),
            "views-over-last": _log_ratio(entry.views, here.least_views),
            "ratio-1": _change(own, entry.week),
            "ratio-2": _change(own, entry.week - 1),
            "ratio-3": _change(own, entry.week - 2),
            "hours-over-peak": math.log(entry.hours / max(e.hours for w, e in own.items() if w <= entry.week)),
            "runtime": _log_ratio(_runtime_h(entry), 1.0),
            "runtime-said": float(entry.runtime_h > 0),
            "runtime-change": _runtime_change(own, entry),
            "season-number": _season_number(entry.season),
            "limited": float("limited" in entry.season.lower()),
            "days-from-christmas": _days_from_christmas(last_day(entry.week)),
            "holiday-title": float(_HOLIDAY_WORDS.search(entry.show) is not None),
            "new-entries-share": here.new_share,
            "list-change": self._list_change(entry.list_name, entry.week),
            "list-old-change": self._old_change(entry.list_name, entry.week),
            "views-said": float(entry.views > 0),
            **self._family(entry),
        }
        return [values[name] for name in NAMES]

    def _family(self, entry: Entry) -> dict[str, float]:
        """What other seasons of the show say."""
        others = [weeks for key, weeks in self.of_show[entry.show].items() if key != entry.key]
        present = [weeks[entry.week] for weeks in others if entry.week in weeks]
        newest = min(present, key=lambda other: other.weeks_listed, default=None)
        ratios, starts, weeks_seen = [], [], 0
        for weeks in others:
            weeks_seen += sum(1 for week in weeks if week < entry.week)
            for week, other in weeks.items():
                later = weeks.get(week + 1)
                if other.weeks_listed == entry.weeks_listed and later is not None and later.week <= entry.week:
                    ratios.append(math.log(later.hours / other.hours))
                if other.weeks_listed == entry.weeks_listed and week < entry.week:
                    starts.append(math.log(entry.hours / other.hours))
        return {
            "siblings": float(len(present)),
            "newest-sibling-age": math.log(newest.weeks_listed) if newest else UNKNOWN,
            "hours-over-newest-sibling": math.log(entry.hours / newest.hours) if newest else UNKNOWN,
            "earlier-seasons-ratio": _mean(ratios),
            "earlier-seasons-start": _mean(starts),
            "weeks-of-show": math.log1p(weeks_seen),
        }

    def _list_change(self, name: str, week: int) -> float:
        before = self.of_week.get((name, week - 1))
        return math.log(self.of_week[name, week].total / before.total) if before else UNKNOWN

    def _old_change(self, name: str, week: int) -> float:
        """ln of how the hours of those that were listed the week before changed."""
        before = self.of_week.get((name, week - 1))
        if before is None:
            return UNKNOWN
        both = [(own[week - 1].hours, own[week].hours) for own in before.weeks_of(self.of_key) if week in own]
        return math.log(sum(now for _, now in both) / sum(then for then, _ in both)) if both else UNKNOWN


@dataclass(frozen=True, slots=True)
class _ListWeek:
    keys: tuple[tuple[str, str, str], ...]
    total: float
    least_hours: float
    median_hours: float
    least_views: float
    new_share: float

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> _ListWeek:
        hours = sorted(entry.hours for entry in entries)
        return cls(
            keys=tuple(entry.key for entry in entries),
            total=sum(hours),
            least_hours=hours[0],
            median_hours=hours[len(hours) // 2],
            least_views=min((entry.views for entry in entries if entry.views > 0), default=UNKNOWN),
            new_share=sum(entry.hours for entry in entries if entry.weeks_listed == 1) / sum(hours),
        )

    def weeks_of(self, of_key: Mapping[tuple[str, str, str], dict[int, Entry]]) -> list[dict[int, Entry]]:
        return [of_key[key] for key in self.keys]


def _in_a_row(own: Mapping[int, Entry], week: int) -> int:
    count = 0
    while week - count in own:
        count += 1
    return count


def _change(own: Mapping[int, Entry], week: int) -> float:
    """ln of the hours of a week over those of the week before."""
    now, before = own.get(week), own.get(week - 1)
    return math.log(now.hours / before.hours) if now and before else UNKNOWN


def _runtime_change(own: Mapping[int, Entry], entry: Entry) -> float:
    before = own.get(entry.week - 1)
    return _log_ratio(_runtime_h(entry), _runtime_h(before)) if before else UNKNOWN


def _runtime_h(entry: Entry) -> float:
    """As said; where it is not (of what is still on the air, or live), hours / views."""
    return entry.runtime_h if entry.runtime_h > 0 else entry.hours / entry.views


def _log_ratio(above: float, below: float) -> float:
    return math.log(above / below) if above > 0 and below > 0 else UNKNOWN


def _season_number(season: str) -> float:
    found = _SEASON_NUMBER.search(season)
    return float(found.group(1)) if found else UNKNOWN


def _days_from_christmas(day: datetime.date) -> float:
    """Days since the nearest Christmas Day; negative before it."""
    days = (day.toordinal() - datetime.date(year, *_CHRISTMAS).toordinal() for year in (day.year - 1, day.year))
    return float(min(days, key=abs))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else UNKNOWN
