"""The playback clock and the choice of rendition, on a clock of our own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from player.adaptation import PANIC_S, SAFETY, Throughput, choose
from player.timeline import Timeline

LADDER = (300_000, 700_000, 1_500_000)


def test_playing_moves_at_the_rate_and_stops_where_media_ends() -> None:
    clock = Timeline(0.0, rate=4.0)
    clock.appended(8.0, now=100.0)
    clock.start(now=100.0)
    assert clock.buffer_s(101.0) == pytest.approx(4.0)
    assert clock.buffer_s(103.0) == 0.0
    assert (clock.position_s, clock.stalls) == (8.0, 1)


def test_reaching_the_end_is_no_stall() -> None:
    clock = Timeline(0.0, rate=1.0, ends_at_s=4.0)
    clock.appended(4.0, now=0.0)
    clock.start(now=0.0)
    assert clock.buffer_s(9.0) == 0.0
    assert (clock.position_s, clock.stalls) == (4.0, 0)


def test_a_stall_lasts_from_running_dry_to_the_next_segment() -> None:
    clock = Timeline(0.0, rate=1.0)
    clock.appended(4.0, now=0.0)
    clock.start(now=0.0)
    clock.appended(8.0, now=5.5)
    assert clock.stalled_s == pytest.approx(1.5)
    assert clock.buffer_s(6.5) == pytest.approx(3.0)
    assert clock.stalls == 1


def test_a_stall_that_lasts_to_the_end_counts_its_seconds_once() -> None:
    clock = Timeline(0.0, rate=1.0)
    clock.appended(4.0, now=0.0)
    clock.start(now=0.0)
    clock.close(now=10.0)
    clock.close(now=12.0)
    assert clock.stalled_s == pytest.approx(6.0)
    assert (clock.position_s, clock.stalls) == (4.0, 1)


def test_a_viewer_who_left_does_not_run_dry() -> None:
    clock = Timeline(0.0, rate=1.0)
    clock.appended(4.0, now=0.0)
    clock.start(now=0.0)
    clock.close(now=1.0)
    clock.advance(now=9.0)
    assert (clock.position_s, clock.stalls, clock.stalled_s) == (1.0, 0, 0.0)


def test_resuming_starts_with_an_empty_buffer_at_the_position() -> None:
    clock = Timeline(30.0, rate=1.0)
    assert clock.buffer_s(5.0) == 0.0
    clock.appended(36.0, now=6.0)
    clock.start(6.0)
    assert clock.wait_s(4.0, now=6.0) == pytest.approx(2.0)


def test_the_first_choice_without_an_estimate_is_the_lowest() -> None:
    assert choose(LADDER, 0.0, 0.0, None) == 0


def test_an_up_switch_is_one_rung_and_needs_a_calm_buffer() -> None:
    assert choose(LADDER, 1e9, buffer_s=10.0, current=1) == 2
    assert choose(LADDER, 1e9, buffer_s=4.0, current=1) == 1
    assert choose(LADDER, 1e9, buffer_s=4.0, current=0) == 1


def test_an_almost_empty_buffer_takes_the_lowest_rung() -> None:
    assert choose(LADDER, 1e9, buffer_s=PANIC_S / 2, current=2) == 0


@given(st.floats(1e3, 1e9), st.floats(PANIC_S, 60.0), st.integers(0, 2))
def test_what_is_chosen_is_affordable_or_the_lowest(bps: float, buffer_s: float, current: int) -> None:
    rung = choose(LADDER, bps, buffer_s, current)
    assert rung == 0 or LADDER[rung] <= bps * SAFETY or (rung == current and LADDER[current] <= bps * SAFETY)


def test_the_estimate_of_a_steady_rate_is_that_rate_from_the_first_sample() -> None:
    seen = Throughput().with_download(125_000, 1.0)
    assert seen.bps == pytest.approx(1e6)
    for _ in range(20):
        seen = seen.with_download(125_000, 1.0)
    assert seen.bps == pytest.approx(1e6)
