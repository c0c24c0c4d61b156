"""A keeper in a laboratory: windows and hours are those of the compressed calendar, everything else is the machine's."""

from __future__ import annotations

import time
from pathlib import Path

from contracts.labtime import LabTime
from contracts.plans import SourceKind
from contracts.reports import FillState
from oca.keeper.app import Keeper
from oca.link.messages import Served
from tests.oca.keeper.lab import MIB, keeper_lab, until

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


def states(keeper: Keeper) -> list[FillState]:
    return [order.state for order in keeper.filler.progress()]


async def test_a_night_of_months_ago_is_filled_when_the_calendar_reaches_its_window(tmp_path: Path) -> None:
    began = time.time()
    lab_time = LabTime(speed=7200.0, began_at=began, starts_at=began - 300 * DAY_S)
    async with keeper_lab(tmp_path, time=lab_time) as lab:
        file = lab.publish("t/hd/v.mp4", 2 * MIB)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
        opens_at = lab_time.shown(time.time() + 2.0)
        created_at, closes_at = lab_time.starts_at, opens_at + 4 * DAY_S
        order = lab.order(file, (origin, 0.0))
        lab.plan(1, order, created_at=created_at, window_opens_at=opens_at, window_closes_at=closes_at)
        keeper = await lab.start()
        await until(lambda: states(keeper) == [FillState.DONE])
        assert lab_time.shown(time.time()) >= opens_at
        assert origin.sent_bytes == len(file.data)


async def test_traffic_is_told_by_the_calendars_hours(tmp_path: Path) -> None:
    began = time.time()
    lab_time = LabTime(speed=2.0, began_at=began, starts_at=began - 100 * DAY_S)
    async with keeper_lab(tmp_path, time=lab_time) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        await lab.start()
        worker = await lab.worker()
        worker.send(Served(((file.key, 3, MIB),), (), 3, MIB, 0, 0, connections=1))
        await until(lambda: [row for report in lab.plane.reports for row in report.traffic])
        hours = {row.hour for report in lab.plane.reports for row in report.traffic}
        assert all(began - 100 * DAY_S - HOUR_S <= hour <= began - 99 * DAY_S for hour in hours)
        assert all(report.started_at >= began for report in lab.plane.reports), "a start is the machine's"
