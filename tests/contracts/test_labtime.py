"""Compressed time: where it begins, how fast it runs, where it ends, and that it stays on its machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.labtime import REAL_TIME, LabTime

DAY_S = 86_400.0
BEGAN = 1_767_225_600.0
WEEK = LabTime(speed=1000.0, began_at=BEGAN, starts_at=BEGAN - 10 * DAY_S)
LABS = st.builds(
    lambda speed, back_s: LabTime(speed, BEGAN, BEGAN - back_s),
    st.floats(1.001, 100_000.0),
    st.floats(1.0, 400 * DAY_S),
)
INSTANTS = st.floats(BEGAN - 10 * DAY_S, BEGAN + 400 * DAY_S)


def test_the_calendar_stands_still_until_the_laboratory_begins() -> None:
    assert WEEK.shown(BEGAN - 3600.0) == WEEK.shown(BEGAN) == BEGAN - 10 * DAY_S


def test_a_day_passes_in_a_thousandth_of_a_day() -> None:
    assert WEEK.shown(BEGAN + 86.4) - WEEK.shown(BEGAN) == pytest.approx(DAY_S)
    assert WEEK.speed_at(BEGAN + 86.4) == 1000.0


def test_where_lab_time_meets_the_present_it_becomes_the_present() -> None:
    assert WEEK.shown(WEEK.meets_at - 1e-3) == pytest.approx(WEEK.meets_at, abs=2.0)
    assert WEEK.shown(WEEK.meets_at + 5.0) == WEEK.meets_at + 5.0
    assert WEEK.speed_at(WEEK.meets_at) == 1.0


@given(LABS, INSTANTS, INSTANTS)
def test_the_calendar_never_goes_back_and_never_shows_the_future(lab: LabTime, one: float, other: float) -> None:
    first, second = sorted((one, other))
    assert lab.shown(first) <= lab.shown(second) + 1e-3
    if second >= BEGAN:
        assert lab.shown(second) <= second + 1e-3


@given(LABS, st.floats(BEGAN, BEGAN + 400 * DAY_S))
def test_when_the_calendar_shows_an_instant_can_be_told_ahead(lab: LabTime, machine_s: float) -> None:
    at = lab.shown(machine_s)
    assert lab.shown(lab.reached(at)) == pytest.approx(at, abs=0.1)


@given(INSTANTS)
def test_without_a_laboratory_the_calendar_is_the_machines_clock(machine_s: float) -> None:
    assert REAL_TIME.shown(machine_s) == REAL_TIME.reached(machine_s) == machine_s
    assert REAL_TIME.speed_at(machine_s) == 1.0


def test_a_laboratory_that_would_begin_in_its_own_future_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lab\.starts_at"):
        LabTime(speed=10.0, began_at=BEGAN, starts_at=BEGAN + 1.0)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "10.0.0.1", "control.example"])
def test_a_laboratory_that_others_could_reach_is_refused_with_the_setting_that_says_so(host: str) -> None:
    with pytest.raises(ValueError, match=r"http\.host"):
        WEEK.refuse_to_leave({"mtls.host": "127.0.0.1", "http.host": host})
    REAL_TIME.refuse_to_leave({"http.host": host})


def test_a_laboratory_on_loopback_is_taken() -> None:
    WEEK.refuse_to_leave({"http.host": "127.0.0.1", "serving.media.host": "127.2.0.11", "mtls.host": "::1"})
