"""Figures of a run, and intervals over seeds. Pure.

Shares are of the bytes asked for. `peak_upstream_bps` is the busiest hour of the links into the sites, each site's own peak added up: what has to be bought.
Intervals are Student's t at 95 % over the seeds; with one seed there is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from fill_planner.simulator.replay import CAUSES, Cause, Course

_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
_T95_MANY = 2.0
"""Beyond the table the factor lies between 2.12 and 1.96."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One strategy in one run, all sites together, warm-up left out."""

    demand_bytes: float
    inside_share: float
    content_share: float
    health_share: float
    other_share: float
    filled_bytes: float
    """By plan, across the border."""
    copied_bytes: float
    """By plan, inside the site."""
    fetched_bytes: float
    """Everything that crossed the border: misses and fills."""
    replaced: float
    peak_upstream_bps: float


@dataclass(frozen=True, slots=True)
class Interval:
    """Mean over seeds and the half width of its 95 % interval; None with one seed."""

    mean: float
    half: float | None

    def words(self, factor: float = 1.0, digits: int = 1) -> str:
        shown = f"{self.mean * factor:,.{digits}f}"
        return shown if self.half is None else f"{shown} ± {self.half * factor:,.{digits}f}"


def figures_of(courses: Sequence[Course], counted_from: int) -> Figures:
    """The hours from `counted_from` on of all sites."""
    inside = sum(float(course.inside[counted_from:].sum()) for course in courses)
    causes = {
        cause: sum(float(course.outside[counted_from:, at].sum()) for course in courses)
        for at, cause in enumerate(CAUSES)
    }
    asked = inside + sum(causes.values())
    per = asked or 1.0
    filled = sum(float(course.filled[counted_from:].sum()) for course in courses)
    return Figures(
        demand_bytes=asked,
        inside_share=inside / per,
        content_share=causes[Cause.CONTENT] / per,
        health_share=causes[Cause.HEALTH] / per,
        other_share=causes[Cause.OTHER] / per,
        filled_bytes=filled,
        copied_bytes=sum(float(course.copied[counted_from:].sum()) for course in courses),
        fetched_bytes=sum(causes.values()) + filled,
        replaced=float(sum(int(course.replaced[counted_from:].sum()) for course in courses)),
        peak_upstream_bps=sum(float(course.upstream[counted_from:].max(initial=0.0)) for course in courses) * 8 / 3600,
    )


def interval(values: Sequence[float]) -> Interval:
    """Raises ValueError without values."""
    if not values:
        raise ValueError("no values, no interval")
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return Interval(mean, None)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    factor = _T95[count - 2] if count - 2 < len(_T95) else _T95_MANY
    return Interval(mean, factor * spread / math.sqrt(count))


def intervals(found: Sequence[Figures]) -> dict[str, Interval]:
    """Every figure by name."""
    return {one.name: interval([float(getattr(run, one.name)) for run in found]) for one in fields(Figures)}
