"""Popularity feeds as text: CSV with the columns `file,hour,views`. Pure.

`file` is a cache key or a media path, `hour` an ISO 8601 instant (UTC where it names no zone) or seconds since the Epoch, `views` a number of views
of the whole file. Views of one file and hour are added up.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from contracts.pins import FeedFacts
from contracts.urls import MEDIA_SERVICE, cache_key, is_name, split_key

COLUMNS = ("file", "hour", "views")
MOST_ROWS = 5_000_000
MOST_LINES = 10
HOUR_S = 3600
LATEST = 32_503_680_000.0
"""The year 3000: later instants are milliseconds by mistake."""
Row = tuple[str, int, float]
"""Key, hour, views."""


class FeedError(ValueError):
    """The text is not a feed: `lines` say what is wrong where."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


def read_feed(name: str, text: str, now: float) -> tuple[FeedFacts, list[Row]]:
    """The feed's facts and rows, by key and hour. Raises FeedError with at most ten lines."""
    wrong: list[str] = [] if is_name(name) else [f"name: {name!r} is not a name"]
    sums: dict[tuple[str, int], float] = {}
    reader = csv.reader(_lines(text))
    head = [cell.strip().lower() for cell in next(reader, [])]
    if tuple(head) != COLUMNS:
        raise FeedError((*wrong, f"line 1: the columns must be {','.join(COLUMNS)}, not {','.join(head) or 'nothing'}"))
    try:
        for cells in reader:
            if not cells:
                continue
            try:
                key, hour, views = _row(cells)
            except ValueError as error:
                wrong.append(f"line {reader.line_num}: {error}")
                if len(wrong) >= MOST_LINES:
                    break
            else:
                sums[key, hour] = sums.get((key, hour), 0.0) + views
            if len(sums) > MOST_ROWS:
                wrong.append(f"line {reader.line_num}: more than {MOST_ROWS} rows")
                break
    except csv.Error as error:
        wrong.append(f"line {reader.line_num}: {error}")
    if wrong:
        raise FeedError(tuple(wrong))
    if not sums:
        raise FeedError(("there is no row in it",))
    rows = [(key, hour, views) for (key, hour), views in sorted(sums.items())]
    hours = [hour for _, hour, _ in rows]
    files = len({key for key, _, _ in rows})
    return FeedFacts(name, len(rows), files, sum(row[2] for row in rows), min(hours), max(hours), now), rows


def _lines(text: str) -> Iterator[str]:
    yield from text.removeprefix("\ufeff").splitlines(keepends=True)


def _row(cells: Iterable[str]) -> Row:
    file, hour, views = (cell.strip() for cell in _three(list(cells)))
    key = file if "|" in file else cache_key(MEDIA_SERVICE, file)
    split_key(key)
    return key, _hour(hour), _views(views)


def _views(text: str) -> float:
    try:
        count = float(text)
    except ValueError:
        count = math.nan
    if not math.isfinite(count) or count < 0:
        raise ValueError(f"views {text!r} is not a number of views")
    return count


def _three(cells: list[str]) -> list[str]:
    if len(cells) != len(COLUMNS):
        raise ValueError(f"has {len(cells)} cells instead of {len(COLUMNS)}")
    return cells


def _hour(text: str) -> int:
    try:
        at = float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not 0 <= at <= LATEST:
        raise ValueError(f"hour {text!r} is not an instant in seconds or ISO 8601")
    return int(at) // HOUR_S * HOUR_S
