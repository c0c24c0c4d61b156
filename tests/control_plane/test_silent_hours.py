"""Hours in which an appliance reported nothing: known from the record, told to the planner."""

from __future__ import annotations

from pathlib import Path

from chassis.clock import VirtualClock
from contracts.reports import FileTraffic
from control_plane import records
from control_plane.archive import reports as report_archive
from control_plane.plans import silent_hours
from tests.control_plane.test_background import MIDNIGHT, desk_of, with_one_box

HOUR = 3600
NOW = 1_700_000_000.0
THIS_HOUR = int(NOW) // HOUR * HOUR


def _hours(*ago: int) -> frozenset[int]:
    return frozenset(THIS_HOUR - back * HOUR for back in ago)


def test_hours_between_reports_and_up_to_now_are_silent() -> None:
    served = {"a1": _hours(9, 8, 5, 4, 2)}
    assert silent_hours(served, ["a1"], NOW) == tuple(sorted(_hours(7, 6, 3, 1, 0)))


def test_an_appliance_that_left_is_silent_only_while_it_was_there() -> None:
    assert silent_hours({"gone": _hours(9, 7)}, [], NOW) == tuple(_hours(8))


def test_one_of_two_is_enough_and_before_the_first_report_nobody_is_silent() -> None:
    served = {"a1": _hours(*range(10)), "a2": _hours(3, 2, 0)}
    assert silent_hours(served, ["a1", "a2", "never"], NOW) == tuple(_hours(1))


async def test_the_record_knows_who_served_in_which_hour_and_imports_are_nobodys(tmp_path: Path) -> None:
    hour = int(MIDNIGHT) // HOUR * HOUR
    async with desk_of(tmp_path, VirtualClock(MIDNIGHT)) as desk:
        await with_one_box(desk)
        rows = (
            FileTraffic("k", hour - HOUR, 1, 1),
            FileTraffic("other", hour - HOUR, 1, 1),
            FileTraffic("k", hour, 1, 1),
        )
        async with desk.archive() as session:
            await report_archive.add_traffic(session, "a", "a1", rows)
            await report_archive.add_traffic(session, "a", records.IMPORTED, (FileTraffic("k", hour - 2 * HOUR, 1, 1),))
        async with desk.database.read() as session:
            assert await report_archive.hours_served(session, 0.0) == {"a": {"a1": frozenset({hour - HOUR, hour})}}
            assert await report_archive.hours_served(session, float(hour), ["a"]) == {"a": {"a1": frozenset({hour})}}
            assert await report_archive.hours_served(session, 0.0, ["b"]) == {}
