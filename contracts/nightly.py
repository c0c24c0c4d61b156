"""The nightly report of a site: what its fill window moved, and what the day that ended with it served from inside."""

from __future__ import annotations

import msgspec

from contracts.reports import Purpose, Source


class SourceHour(msgspec.Struct, frozen=True, array_like=True):
    """Requests and bytes of a site's appliances in one hour (seconds since the Epoch, floored to 3600)."""

    hour: int
    source: Source
    purpose: Purpose
    requests: int
    bytes: int


class FileChange(msgspec.Struct, frozen=True):
    """A file that the plan put at the site, or let go. Bytes: expected of the next day, and served in the day before."""

    key: str
    size_bytes: int
    forecast_bytes: float
    served_bytes: int


class ForecastPoint(msgspec.Struct, frozen=True, array_like=True):
    """One file: what the plan before expected of the day, and what was served of it."""

    key: str
    forecast_bytes: float
    served_bytes: int


class FailedOrders(msgspec.Struct, frozen=True):
    """Orders that failed for one reason (the log word of the appliance), with at most three examples."""

    reason: str
    orders: int
    examples: tuple[str, ...]


class NightlyReport(msgspec.Struct, frozen=True):
    """`GET /v1/reports/nightly/SITE/DAY`. `day` is the date at the site on which the window closed.

    `hours` cover the day up to the closing. Served bytes by file are known by the hour. Shares are of bytes, 0..1; None where
    nothing was served or expected.
    """

    site_id: str
    site_name: str
    day: str
    timezone: str
    opens_at: float
    closes_at: float
    made_at: float
    plan_number: int
    plan_cause: str
    hours: tuple[SourceHour, ...]
    rate_bps: int
    volume_bytes: int
    inside_share: float | None
    expected_inside_share: float | None
    missed_requests: int
    """Players' requests for which the appliances had to ask somebody."""
    client_requests: int
    orders: int
    orders_done: int
    orders_failed: int
    failures: tuple[FailedOrders, ...]
    gained: tuple[FileChange, ...]
    gained_files: int
    lost: tuple[FileChange, ...]
    lost_files: int
    forecast_plan_number: int
    forecast_bytes: float
    forecast_served_bytes: int
    forecast_error: float | None
    """Sum of the files' absolute errors / bytes served (WAPE)."""
    points: tuple[ForecastPoint, ...]
    """The files with most bytes, expected or served."""


class NightlyEntry(msgspec.Struct, frozen=True):
    """One report in the list."""

    site_id: str
    day: str
    closes_at: float
    inside_share: float | None
    filled_bytes: int
    orders_failed: int


class NightlyList(msgspec.Struct, frozen=True):
    """`GET /v1/reports/nightly`: the newest first."""

    reports: tuple[NightlyEntry, ...]
