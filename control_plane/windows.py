"""Site-local fill hours as instants.

A window is `HH:MM`–`HH:MM` in the site's time zone; end ≤ start crosses midnight (equal: the whole day); `shift_minutes` moves both ends by
the wall clock. The window of a day is that day's wall clock: where daylight saving skips the opening, it opens at the first moment after the
gap; where an hour comes twice, it opens at the first and closes at the first.
"""

from __future__ import annotations

import datetime
import re
import zoneinfo
from collections.abc import Iterator

from contracts.places import FillWindow

MOST_SHIFT_MINUTES = 120
DAY_MINUTES = 24 * 60
_TIME_RE = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_DAY = datetime.timedelta(days=1)


class WindowError(ValueError):
    """The window cannot be resolved: the message says which field and why."""


def parse_time(text: str) -> datetime.time:
    """`HH:MM`. Raises WindowError."""
    match = _TIME_RE.fullmatch(text)
    if match is None:
        raise WindowError(f"{text!r} is not a time of day as HH:MM")
    return datetime.time(int(match[1]), int(match[2]))


def check(window: FillWindow) -> tuple[str, ...]:
    """One line for everything that is wrong with a window."""
    wrong: list[str] = []
    for name, text in (("start", window.start), ("end", window.end)):
        if _TIME_RE.fullmatch(text) is None:
            wrong.append(f"window.{name}: {text!r} is not a time of day as HH:MM")
    if not _is_zone(window.timezone):
        wrong.append(f"window.timezone: {window.timezone!r} is not a time zone of the IANA database")
    if window.rate_bps <= 0:
        wrong.append("window.rate_bps: must be above 0")
    if window.volume_bytes < 0:
        wrong.append("window.volume_bytes: must not be negative")
    if abs(window.shift_minutes) > MOST_SHIFT_MINUTES:
        wrong.append(f"window.shift_minutes: must lie between -{MOST_SHIFT_MINUTES} and {MOST_SHIFT_MINUTES}")
    return tuple(wrong)


def resolve(window: FillWindow, now: float) -> tuple[float, float]:
    """(opens_at, closes_at) of the window that is open at `now`, else of the next one. Raises WindowError."""
    for opens_at, closes_at in _around(window, now):
        if now < closes_at:
            return opens_at, closes_at
    raise WindowError(f"the window {window.start}-{window.end} in {window.timezone} never opens")


def last_closed(window: FillWindow, now: float) -> tuple[float, float]:
    """(opens_at, closes_at) of the newest window that has closed by `now`. Raises WindowError."""
    closed = [one for one in _around(window, now) if one[1] <= now]
    if not closed:
        raise WindowError(f"the window {window.start}-{window.end} in {window.timezone} never closed")
    return closed[-1]


def _around(window: FillWindow, now: float) -> Iterator[tuple[float, float]]:
    """The windows of the days around `now` in their order; a day whose gap swallows its window has none."""
    zone = _zone(window.timezone)
    start, end = _shifted(window.start, window.shift_minutes), _shifted(window.end, window.shift_minutes)
    today = datetime.datetime.fromtimestamp(now, zone).date()
    for offset in (-3, -2, -1, 0, 1, 2):
        day = today + offset * _DAY
        opens_at = _instant(day, start, zone)
        closes_at = _instant(day + _DAY if end <= start else day, end, zone)
        if opens_at < closes_at:
            yield opens_at, closes_at


def _shifted(text: str, minutes: int) -> datetime.time:
    time = parse_time(text)
    hours, rest = divmod((time.hour * 60 + time.minute + minutes) % DAY_MINUTES, 60)
    return datetime.time(hours, rest)


def _instant(day: datetime.date, time: datetime.time, zone: datetime.tzinfo) -> float:
    """The instant of a wall-clock time; a time inside a gap counts as the moment the gap ends."""
    local = datetime.datetime.combine(day, time, zone)
    shown = datetime.datetime.fromtimestamp(local.timestamp(), zone)
    if shown.replace(tzinfo=None) == local.replace(tzinfo=None):
        return local.timestamp()
    before, after = local.replace(fold=1).utcoffset(), local.utcoffset()
    assert before is not None
    assert after is not None
    gap = abs((after - before).total_seconds())
    low, high = local.timestamp() - 2 * gap, local.timestamp() + 2 * gap
    return _transition(low, high, zone)


def _transition(low: float, high: float, zone: datetime.tzinfo) -> float:
    """The whole second in (low, high] at which the zone's offset changes."""
    offset = datetime.datetime.fromtimestamp(low, zone).utcoffset()
    first, last = int(low), int(high)
    while last - first > 1:
        middle = (first + last) // 2
        if datetime.datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            first = middle
        else:
            last = middle
    return float(last)


def _zone(name: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise WindowError(f"{name!r} is not a time zone of the IANA database") from error


def _is_zone(name: str) -> bool:
    try:
        _zone(name)
    except WindowError:
        return False
    return True
