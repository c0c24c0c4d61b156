"""The calendar over a clock: it sleeps by its own time, and both agree where there is no laboratory."""

from __future__ import annotations

import asyncio

import pytest

from chassis.calendar import Calendar
from chassis.clock import VirtualClock
from contracts.labtime import LabTime

BEGAN = 1_767_225_600.0
DAY_S = 86_400.0


async def test_a_day_of_the_calendar_is_slept_in_seconds_of_the_machine() -> None:
    clock = VirtualClock(BEGAN)
    calendar = Calendar(clock, LabTime(1000.0, BEGAN, BEGAN - 10 * DAY_S))
    began = calendar.wall_s()
    sleeping = asyncio.create_task(calendar.sleep(DAY_S))
    await clock.advance(86.3)
    assert not sleeping.done()
    await clock.advance(0.2)
    assert sleeping.done()
    assert calendar.wall_s() - began == pytest.approx(86_500.0)


async def test_who_sleeps_past_the_end_of_the_laboratory_sleeps_the_rest_in_real_time() -> None:
    clock = VirtualClock(BEGAN)
    lab = LabTime(11.0, BEGAN, BEGAN - 100.0)
    calendar = Calendar(clock, lab)
    sleeping = asyncio.create_task(calendar.sleep(140.0))
    await clock.advance(lab.meets_at - BEGAN)
    assert (calendar.wall_s(), calendar.speed) == (clock.wall_s(), 1.0)
    await clock.advance(29.0)
    assert not sleeping.done()
    await clock.advance(2.0)
    assert sleeping.done()


async def test_without_a_laboratory_the_calendar_shows_and_sleeps_as_the_clock() -> None:
    clock = VirtualClock(BEGAN)
    calendar = Calendar(clock)
    sleeping = asyncio.create_task(calendar.sleep(10.0))
    await clock.advance(10.0)
    assert sleeping.done()
    assert (calendar.wall_s(), calendar.speed) == (clock.wall_s(), 1.0)


def test_an_instant_of_the_calendar_is_told_as_the_machine_will_have_it() -> None:
    lab = LabTime(1000.0, BEGAN, BEGAN - 10 * DAY_S)
    assert Calendar(VirtualClock(BEGAN), lab).machine_s(lab.starts_at + DAY_S) == pytest.approx(BEGAN + 86.4)
    assert Calendar(VirtualClock(BEGAN), lab).machine_s(lab.meets_at + 5.0) == lab.meets_at + 5.0
    assert Calendar(VirtualClock(BEGAN)).machine_s(BEGAN + 5.0) == BEGAN + 5.0
