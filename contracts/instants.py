"""Instants as logs and messages write them."""

from __future__ import annotations

from datetime import UTC, datetime

HOUR_CHARS = len("2026-11-21T09")
_YEARS = range(1970, 9999)


def instant(wall_s: float) -> str:
    """UTC, RFC 3339 with milliseconds, such as `2026-11-21T09:34:36.123Z`: texts that sort by time."""
    return datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def hour_of(wall_s: float) -> str:
    """The hour of an instant, such as `2026-11-21T09`."""
    return instant(wall_s)[:HOUR_CHARS]


def seconds_of(text: str) -> float:
    """Seconds since the Epoch of an ISO 8601 instant, in UTC where it names no zone. Raises ValueError in words."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no instant such as 2026-11-21T09:30:00Z") from error
    if found.year not in _YEARS:
        raise ValueError(f"{text!r} is not of the years {_YEARS.start} to {_YEARS.stop - 1}")
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
