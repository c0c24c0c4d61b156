"""Preconditions (RFC 9110 §13), evaluated in the order of §13.2.2 against one selected representation that exists.

Validators: a strong entity tag, and the date of last modification. A date that cannot be parsed is as if it were not there
(§13.1.3, §13.1.4; two header lines make two dates, which are none); an unparsable tag list matches nothing.
"""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime
from enum import Enum

_TAG = re.compile(rb'(W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?:,[ \t]*)*')
_BEFORE_TAGS = re.compile(rb"[ \t]*(?:,[ \t]*)*")
_MONTHS = {
    name: number
    for number, name in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), 1
    )
}
_TIME = rb"(\d{2}):(\d{2}):(\d{2})"
_IMF = re.compile(rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d{2}) ([A-Z][a-z]{2}) (\d{4}) " + _TIME + rb" GMT")
_RFC850 = re.compile(
    rb"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (\d{2})-([A-Z][a-z]{2})-(\d{2}) " + _TIME + rb" GMT"
)
_ASCTIME = re.compile(rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) ([A-Z][a-z]{2}) ([ \d]\d) " + _TIME + rb" (\d{4})")
_STRONG_AFTER_S = 60.0


class Verdict(Enum):
    PROCEED = "proceed"
    NOT_MODIFIED = "not-modified"
    FAILED = "failed"


CONDITIONAL = (b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since")


def evaluate(
    headers: dict[bytes, bytes],
    etag: bytes | None,
    modified_at: float | None,
    now: float,
    weak_etag: bytes | None = None,
) -> Verdict:
    """§13.2.2 steps 1 to 4 for GET and HEAD. `etag` strong, quoted; instants in seconds since the epoch.

    `weak_etag` is the opaque tag of a weak one: it matches in `If-None-Match` only.
    """
    if b"if-match" in headers:
        if not _match(headers[b"if-match"], etag, weak=False):
            return Verdict.FAILED
    elif b"if-unmodified-since" in headers and modified_at is not None:
        since = parse_date(headers[b"if-unmodified-since"], now)
        if since is not None and modified_at > since:
            return Verdict.FAILED
    if b"if-none-match" in headers:
        if _match(headers[b"if-none-match"], etag or weak_etag, weak=True):
            return Verdict.NOT_MODIFIED
    elif b"if-modified-since" in headers and modified_at is not None:
        since = parse_date(headers[b"if-modified-since"], now)
        if since is not None and modified_at <= since:
            return Verdict.NOT_MODIFIED
    return Verdict.PROCEED


def range_applies(headers: dict[bytes, bytes], etag: bytes | None, modified_at: float | None, now: float) -> bool:
    """`If-Range` (§13.1.5): True when the Range header may be honoured. Tags compare strongly, dates exactly.

    A date counts as a strong validator only when it lies a minute before now (§8.8.2.2).
    """
    value = headers.get(b"if-range")
    if value is None:
        return True
    if value.startswith((b'"', b"W/")):
        return etag is not None and value == etag
    at = parse_date(value, now)
    return at is not None and modified_at is not None and at == modified_at and now - modified_at >= _STRONG_AFTER_S


def _match(value: bytes, etag: bytes | None, *, weak: bool) -> bool:
    if value.strip() == b"*":
        return True
    opening = _BEFORE_TAGS.match(value)
    position = opening.end() if opening is not None else 0
    found = False
    while position < len(value):
        match = _TAG.match(value, position)
        if match is None:
            return False
        if match[2] == etag and (weak or not match[1]):
            found = True
        position = match.end()
        if position < len(value) and b"," not in match[0][len(match[1] or b"") + len(match[2]) :]:
            return False
    return found


def parse_date(value: bytes, now: float) -> float | None:
    """An HTTP-date in any of its three forms (§5.6.7), or None. `now` places the two-digit years of RFC 850."""
    if match := _IMF.fullmatch(value):
        return _instant(int(match[3]), match[2], match[1], match[4], match[5], match[6])
    if match := _ASCTIME.fullmatch(value):
        return _instant(int(match[6]), match[1], match[2], match[3], match[4], match[5])
    if match := _RFC850.fullmatch(value):
        return _nearest(match, datetime.fromtimestamp(now, UTC))
    return None


def _nearest(match: re.Match[bytes], today: datetime) -> float | None:
    """Two digits of a year: what would lie more than 50 years ahead is of the century before (§5.6.7)."""
    day, month, digits, *clock = match.groups()
    year = today.year - today.year % 100 + int(digits)
    horizon = (today.year + 50, today.month, today.day, today.hour, today.minute, today.second)
    if (year, _MONTHS.get(month, 0), int(day), *(int(part) for part in clock)) > horizon:
        year -= 100
    return _instant(year, month, day, clock[0], clock[1], clock[2])


def _instant(year: int, month: bytes, day: bytes, hour: bytes, minute: bytes, second: bytes) -> float | None:
    number = _MONTHS.get(month)
    if number is None or year < 1900 or not 1 <= int(day) <= calendar.monthrange(year, number)[1]:
        return None
    if int(hour) > 23 or int(minute) > 59 or int(second) > 60:
        return None
    return float(calendar.timegm((year, number, int(day), int(hour), int(minute), int(second))))
