"""Placement: what operators and licences say is kept, whatever it is worth."""

from __future__ import annotations

import msgspec

from contracts.plans import Reason
from fill_planner.config import PlannerSettings
from fill_planner.placement import Box, Day, Unit, place

MB = 1_000_000
GBPS = 1_000_000_000
SETTINGS = PlannerSettings()
TODAY = Day(0.0, 86400.0)


def unit(name: str, expected: float, **more: object) -> Unit:
    return msgspec.convert(
        {"group": name, "size_bytes": 10 * MB, "disk_bytes": 10 * MB, "expected_bytes": expected * MB, **more}, Unit
    )


def box(name: str, space_mb: int) -> Box:
    return Box(name, name, space_mb * MB, GBPS)


def reasons(units: list[Unit], day: Day = TODAY) -> dict[str, Reason]:
    return {p.unit.group: p.reason for p in place(units, [box("a", 100)], 10**12, 0.1, SETTINGS, day)}


def test_never_is_said_by_an_operator_and_heard_over_always() -> None:
    found = reasons([unit("never", 1000, required=True, forbidden=True), unit("other", 1)])
    assert found == {"never": Reason.FORBIDDEN, "other": Reason.POPULAR}


def test_a_unit_is_placed_only_for_a_day_that_meets_its_own_time() -> None:
    times = {"over": (-10.0, 0.0), "soon": (86400.0, 9e9), "starts": (86399.0, 9e9), "ends": (-10.0, 1.0)}
    found = reasons([unit(name, 50, from_t=start, until_t=end) for name, (start, end) in times.items()])
    assert {name for name, reason in found.items() if reason is Reason.NOT_LICENSED} == {"over", "soon"}
