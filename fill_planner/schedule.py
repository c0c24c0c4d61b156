"""The window: what fits into it, how a site's caps are split among its appliances, and in which order each one fills.

First what an operator pinned, then releases by their date, then by value per byte; among equals of the first two, what waits for a neighbour
comes last.

Caps are the site's: rate and volume of all its appliances together. Everything ordered counts, also what a neighbour is
expected to give, because an order that escalates crosses the border after all. So the caps hold whatever happens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fill_planner.config import PlannerSettings
from fill_planner.snapshot import SiteWindow

PINNED = -math.inf


@dataclass(frozen=True, slots=True)
class WindowShare:
    """One appliance's part of its site's window. `opens_at` is never before the plan was made."""

    opens_at: float
    closes_at: float
    rate_bps: int
    volume_bytes: int

    @property
    def duration_s(self) -> float:
        return max(0.0, self.closes_at - self.opens_at)


@dataclass(frozen=True, slots=True)
class Task:
    """One group to be fetched into one appliance."""

    box_id: str
    group: str
    missing_bytes: int
    value: float
    follows: bool
    """True when it waits for a neighbour of its own site that is fetching the group."""
    due_at: float = math.inf
    """When players first see it, for a release; `PINNED` for what an operator wants there; never for the rest."""


def fill_budget(window: SiteWindow, now: float, settings: PlannerSettings) -> int:
    """Bytes that a site may be told to fetch in its window; 0 when the window is over."""
    duration_s = max(0.0, window.closes_at - max(now, window.opens_at))
    return max(0, min(window.volume_bytes, int(window.rate_bps / 8 * duration_s * settings.window_share)))


def split(window: SiteWindow, now: float, ordered_bytes: Mapping[str, int]) -> dict[str, WindowShare]:
    """Each appliance's share: what its orders need, and an equal part of the rest. The shares never exceed the caps."""
    opens_at = max(now, window.opens_at)
    duration_s = max(0.0, window.closes_at - opens_at)
    count = max(1, len(ordered_bytes))
    needs_bps = {box: wanted * 8 / duration_s if duration_s else 0.0 for box, wanted in ordered_bytes.items()}
    spare_bps = max(0.0, window.rate_bps - sum(needs_bps.values())) / count
    spare_bytes = max(0, window.volume_bytes - sum(ordered_bytes.values())) // count
    return {
        box: WindowShare(
            opens_at=opens_at,
            closes_at=window.closes_at,
            # 0 would mean "no cap" to an appliance.
            rate_bps=max(1, int(needs_bps[box] + spare_bps)),
            volume_bytes=wanted + spare_bytes,
        )
        for box, wanted in ordered_bytes.items()
    }


def sequence(tasks: Iterable[Task]) -> list[Task]:
    """The order of filling."""
    return sorted(tasks, key=lambda task: (task.due_at, task.follows, -task.value, task.group))


def ends_s(tasks: Iterable[Task], rate_bps: int) -> dict[str, float]:
    """Group → seconds after the opening at which it is expected to be whole, for one appliance's tasks in sequence."""
    done_s: dict[str, float] = {}
    so_far_bytes = 0
    for task in tasks:
        so_far_bytes += task.missing_bytes
        done_s[task.group] = so_far_bytes * 8 / max(1, rate_bps)
    return done_s
