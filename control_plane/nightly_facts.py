"""What a nightly report says, from what the record knows. Pure.

Laws: shares are of bytes; what players got past the appliances is in no figure; the forecast that is judged is the one that was made for the
day which ended with the window; lists are cut at `MOST`, counts are not.
"""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from contracts.nightly import FailedOrders, FileChange, ForecastPoint, NightlyReport, SourceHour
from contracts.places import Site
from contracts.plans import AppliancePlan, PlanSummary
from contracts.reports import FillState, OrderProgress, Purpose, Source

MOST = 20
MOST_POINTS = 400
MOST_EXAMPLES = 3
INSIDE = (Source.HIT, Source.PEER)
DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Expectation:
    """What plans thought of one file at a site."""

    key: str
    size_bytes: int
    forecast_bytes: float
    copies: int = 0


@dataclass(frozen=True, slots=True)
class Night:
    """Everything that a report is made from. `plan` is the one that the window carried out, `before` the one before it."""

    site: Site
    opens_at: float
    closes_at: float
    made_at: float
    plan: PlanSummary | None
    plans: Sequence[AppliancePlan]
    before: PlanSummary | None
    pins_before: Collection[str]
    expected: Sequence[Expectation]
    """By the plan before, for the day that has ended."""
    sizes: Mapping[str, int]
    hours: Sequence[SourceHour]
    served: Mapping[str, int]
    """Key → bytes in the day that has ended."""
    progress: Mapping[str, Sequence[OrderProgress]]
    """By appliance, of orders it reported on since the window opened."""


def day_of(closes_at: float, timezone: str) -> str:
    """The date at the site on which a window closed, as YYYY-MM-DD."""
    return datetime.datetime.fromtimestamp(closes_at, zoneinfo.ZoneInfo(timezone)).date().isoformat()


def report_of(night: Night) -> NightlyReport:
    """The report of a site's night."""
    site, window = night.site, night.site.window
    client = [row for row in night.hours if row.purpose is Purpose.CLIENT]
    ordered = {(plan.appliance_id, order.id) for plan in night.plans for order in plan.orders}
    states = {(box, one.order_id): one for box, many in night.progress.items() for one in many}
    mine = [states[name] for name in ordered if name in states]
    gained, lost = _changes(night)
    points = _points(night.expected, night.served)
    served = sum(night.served.values())
    error = sum(abs(point.forecast_bytes - point.served_bytes) for point in points)
    return NightlyReport(
        site_id=site.id,
        site_name=site.name,
        day=day_of(night.closes_at, window.timezone),
        timezone=window.timezone,
        opens_at=night.opens_at,
        closes_at=night.closes_at,
        made_at=night.made_at,
        plan_number=night.plan.number if night.plan else 0,
        plan_cause=night.plan.cause.value if night.plan else "",
        hours=tuple(night.hours),
        rate_bps=window.rate_bps,
        volume_bytes=window.volume_bytes,
        inside_share=_share(sum(row.bytes for row in client if row.source in INSIDE), sum(row.bytes for row in client)),
        expected_inside_share=_expected_share(night.expected),
        missed_requests=sum(row.requests for row in client if row.source is not Source.HIT),
        client_requests=sum(row.requests for row in client),
        orders=len(ordered),
        orders_done=sum(one.state is FillState.DONE for one in mine),
        orders_failed=sum(one.state is FillState.FAILED for one in mine),
        failures=_failures(night.progress, ordered),
        gained=tuple(gained[:MOST]),
        gained_files=len(gained),
        lost=tuple(lost[:MOST]),
        lost_files=len(lost),
        forecast_plan_number=night.before.number if night.before else 0,
        forecast_bytes=sum(one.forecast_bytes for one in night.expected),
        forecast_served_bytes=served,
        forecast_error=error / served if served and night.expected else None,
        points=points[:MOST_POINTS],
    )


def _expected_share(expected: Sequence[Expectation]) -> float | None:
    """Of this site alone; None where nothing was expected."""
    whole = sum(one.forecast_bytes for one in expected)
    return sum(one.forecast_bytes for one in expected if one.copies) / whole if whole > 0 else None


def _changes(night: Night) -> tuple[list[FileChange], list[FileChange]]:
    """(gained, most expected first; lost, most served first)."""
    forecast = {order.key: order.forecast_bytes for plan in night.plans for order in plan.orders}
    pins = {key for plan in night.plans for key in plan.pins}
    before = set(night.pins_before)

    def change(key: str) -> FileChange:
        return FileChange(key, night.sizes.get(key, 0), forecast.get(key, 0.0), night.served.get(key, 0))

    gained = sorted(map(change, pins - before), key=lambda c: (-c.forecast_bytes, c.key))
    lost = sorted(map(change, before - pins), key=lambda c: (-c.served_bytes, c.key)) if night.plans else []
    return gained, lost


def _points(expected: Iterable[Expectation], served: Mapping[str, int]) -> tuple[ForecastPoint, ...]:
    """Every file that was expected or served, the largest first."""
    forecast = {one.key: one.forecast_bytes for one in expected}
    points = (ForecastPoint(key, forecast.get(key, 0.0), served.get(key, 0)) for key in forecast.keys() | served.keys())
    return tuple(sorted(points, key=lambda p: (-max(p.forecast_bytes, p.served_bytes), p.key)))


def _failures(
    progress: Mapping[str, Sequence[OrderProgress]], ordered: Collection[tuple[str, str]]
) -> tuple[FailedOrders, ...]:
    """By the reason's log word, the most frequent first."""
    found: dict[str, list[str]] = {}
    for box, many in sorted(progress.items()):
        for one in many:
            if one.state is FillState.FAILED and (box, one.order_id) in ordered:
                word, _, detail = one.reason.partition(":")
                example = f"{box}: {one.key}" + (f" ({detail.strip()})" if detail.strip() else "")
                found.setdefault(word or "no reason given", []).append(example)
    rows = (FailedOrders(word, len(lines), tuple(lines[:MOST_EXAMPLES])) for word, lines in found.items())
    return tuple(sorted(rows, key=lambda row: (-row.orders, row.reason)))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
