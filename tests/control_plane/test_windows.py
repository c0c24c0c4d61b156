"""Fill windows by the wall clock of the site: gaps, doubled hours, windows across midnight, windows that are shifted."""

from __future__ import annotations

import datetime
import zoneinfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.places import FillWindow
from control_plane import windows

ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Africa/Casablanca",
    "America/St_Johns",
    "Pacific/Chatham",
)
YEAR = (datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).timestamp(), 366 * 86400.0)


def at(zone: str, text: str, fold: int = 0) -> float:
    """The instant of a wall-clock time as YYYY-MM-DD HH:MM."""
    moment = datetime.datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=zoneinfo.ZoneInfo(zone), fold=fold)
    return moment.timestamp()


def shown(zone: str, instant: float) -> str:
    return datetime.datetime.fromtimestamp(instant, zoneinfo.ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")


@pytest.mark.parametrize(
    ("zone", "start", "end", "asked", "opens", "hours"),
    [
        # Berlin, 29 March: 02:00 → 03:00; 25 October: 03:00 → 02:00.
        ("Europe/Berlin", "01:00", "05:00", "2026-03-29 00:30", "2026-03-29 01:00", 3.0),
        ("Europe/Berlin", "02:30", "05:00", "2026-03-29 00:30", "2026-03-29 03:00", 2.0),
        ("Europe/Berlin", "22:00", "02:30", "2026-03-28 21:00", "2026-03-28 22:00", 4.0),
        ("Europe/Berlin", "22:00", "06:00", "2026-10-24 21:00", "2026-10-24 22:00", 9.0),
        ("Europe/Berlin", "22:00", "02:30", "2026-10-24 21:00", "2026-10-24 22:00", 4.5),
        # New York, 8 March and 1 November.
        ("America/New_York", "02:00", "14:00", "2026-03-08 00:00", "2026-03-08 03:00", 11.0),
        ("America/New_York", "01:30", "02:30", "2026-11-01 00:00", "2026-11-01 01:30", 2.0),
        ("America/New_York", "23:00", "23:00", "2026-11-01 00:00", "2026-10-31 23:00", 25.0),
        # Lord Howe moves by half an hour: 4 October 02:00 → 02:30; 5 April 02:00 → 01:30.
        ("Australia/Lord_Howe", "02:15", "05:00", "2026-10-04 00:00", "2026-10-04 02:30", 2.5),
        ("Australia/Lord_Howe", "01:00", "03:00", "2026-04-05 00:00", "2026-04-05 01:00", 2.5),
        # Kolkata never moves.
        ("Asia/Kolkata", "23:30", "05:30", "2026-03-29 00:00", "2026-03-28 23:30", 6.0),
        # Casablanca goes back for Ramadan (15 February 03:00 → 02:00) and forth after it (22 March 02:00 → 03:00).
        ("Africa/Casablanca", "01:00", "04:00", "2026-02-15 00:00", "2026-02-15 01:00", 4.0),
        ("Africa/Casablanca", "02:30", "06:00", "2026-03-22 00:00", "2026-03-22 03:00", 3.0),
    ],
)
def test_a_window_on_a_day_that_the_clocks_change(
    zone: str, start: str, end: str, asked: str, opens: str, hours: float
) -> None:
    opened, closed = windows.resolve(FillWindow(start, end, zone), at(zone, asked))
    assert shown(zone, opened) == opens
    assert (closed - opened) / 3600 == hours


def test_a_window_that_lies_in_the_gap_is_left_out_that_day_in_a_half_hour_zone_too() -> None:
    window = FillWindow("02:05", "02:25", "Australia/Lord_Howe")
    opened, _ = windows.resolve(window, at("Australia/Lord_Howe", "2026-10-04 00:00"))
    assert shown("Australia/Lord_Howe", opened) == "2026-10-05 02:05"


@pytest.mark.parametrize(
    ("shift", "opens", "closes"),
    [
        (0, "2026-05-10 02:00", "2026-05-10 14:00"),
        (120, "2026-05-10 04:00", "2026-05-10 16:00"),
        (-120, "2026-05-10 00:00", "2026-05-10 12:00"),
    ],
)
def test_an_isp_may_move_the_window_by_two_hours(shift: int, opens: str, closes: str) -> None:
    window = FillWindow("02:00", "14:00", "Asia/Kolkata", shift_minutes=shift)
    found = windows.resolve(window, at("Asia/Kolkata", "2026-05-09 23:59"))
    assert [shown("Asia/Kolkata", one) for one in found] == [opens, closes]


def test_a_window_that_is_shifted_over_midnight_stays_as_long_as_it_is() -> None:
    window = FillWindow("01:00", "05:00", "UTC", shift_minutes=-90)
    opened, closed = windows.resolve(window, at("UTC", "2026-05-10 01:00"))
    assert (shown("UTC", opened), shown("UTC", closed)) == ("2026-05-09 23:30", "2026-05-10 03:30")


def test_a_shift_of_more_than_two_hours_is_refused() -> None:
    assert windows.check(FillWindow(shift_minutes=120)) == ()
    assert windows.check(FillWindow(shift_minutes=-121)) == ("window.shift_minutes: must lie between -120 and 120",)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 1439),
    st.integers(0, 1439),
    st.sampled_from(ZONES),
    st.integers(-120, 120),
    st.floats(YEAR[0], YEAR[0] + YEAR[1]),
)
def test_windows_follow_each_other_without_overlap_and_the_last_closed_is_the_one_before_the_next(
    start: int, end: int, zone: str, shift: int, now: float
) -> None:
    window = FillWindow(f"{start // 60:02}:{start % 60:02}", f"{end // 60:02}:{end % 60:02}", zone, shift_minutes=shift)
    opened, closed = windows.resolve(window, now)
    assert opened < closed
    assert now < closed
    assert closed - opened <= 25 * 3600
    assert windows.resolve(window, opened) == (opened, closed)
    after = windows.resolve(window, closed)
    assert after[0] >= closed
    assert windows.last_closed(window, closed) == (opened, closed)
    before = windows.last_closed(window, now)
    assert before[1] <= now
    assert before[1] <= opened
    assert windows.resolve(window, before[1]) == (opened, closed)
