"""Stage two: a week of demand, tonight's plan, and the fills until everything ordered is there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from contracts.overview import Overview
from contracts.plans import PlacementExplanation, PlanSummary, Reason
from demo.footage import Report
from demo.operator import Operator

POLL_S = 0.4


class NotFilled(Exception):
    """Orders failed, or the fills did not end in time."""


async def fill(
    operator: Operator, appliances: Sequence[str], within_s: float, report: Report
) -> tuple[PlanSummary, Overview]:
    """Makes the plan and returns when every order of these appliances is done. Raises NotFilled."""
    plan = await operator.make_plan()
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        overview = await operator.overview()
        ours = [entry for entry in overview.appliances if entry.appliance.id in appliances]
        working = [entry for entry in ours if entry.reported_plan_number == plan.number]
        done = sum(entry.fill.bytes_done for entry in working)
        total = sum(entry.fill.bytes_total for entry in ours) or 1
        report(f"{done / 1e6:.1f} of {total / 1e6:.1f} MB", done / total)
        failures = [reason for entry in ours for reason in entry.fill.failures]
        if len(working) == len(appliances) and all(entry.fill.done == entry.fill.orders for entry in ours):
            return plan, overview
        if asyncio.get_running_loop().time() > deadline:
            raise NotFilled(
                f"after {within_s:.0f} s {done:,} of {total:,} bytes are filled; {failures or 'no failures'}"
            )
        await asyncio.sleep(POLL_S)


async def explanations(operator: Operator, keys: Sequence[str], sites: Sequence[str]) -> list[PlacementExplanation]:
    return [await operator.explain(key, site) for site in sites for key in keys]


def three_of(found: Sequence[PlacementExplanation]) -> list[PlacementExplanation]:
    """One file kept twice, one kept once, one left out: the most telling of each."""
    big = sorted(found, key=lambda e: -e.forecast_bytes)
    twice = [e for e in big if e.copies > 1]
    once = [e for e in big if e.copies == 1]
    left_out = [e for e in big if not e.appliances and e.reason in (Reason.DISK_FULL, Reason.WINDOW_FULL)]
    return [group[0] for group in (twice, once, left_out) if group]
