"""Moves that count: one session is one session, however often its state is brought back."""

from __future__ import annotations

from pathlib import Path

from chassis.clock import VirtualClock
from steering.config import DecisionLog
from steering.counted import CountedMoves
from steering.journal import MOST_MOVES, Journal

NOW = 1_763_000_000


def test_a_state_that_is_brought_back_counts_once() -> None:
    counted = CountedMoves(120)
    first = [counted.count("s-1", 0, NOW + n // 100) for n in range(2000)]
    assert first == [True] + [False] * 1999


def test_a_session_that_goes_on_counts_each_time_it_is_moved() -> None:
    counted = CountedMoves(120)
    assert counted.count("s-1", 0, NOW)
    assert counted.count("s-1", NOW, NOW + 10)
    assert not counted.count("s-1", NOW, NOW + 11), "the state before the last move, brought back"
    assert counted.count("s-1", NOW + 10, NOW + 20)


def test_a_page_that_is_loaded_anew_counts_again_when_the_window_is_over() -> None:
    counted = CountedMoves(120)
    assert [counted.count("s-1", 0, NOW + after) for after in (0, 119, 120)] == [True, False, True]


def test_sessions_do_not_count_for_each_other_and_old_ones_are_forgotten() -> None:
    counted = CountedMoves(120, most=3)
    assert all(counted.count(f"s-{n}", 0, NOW + n) for n in range(10))
    assert len(counted) == 3
    assert counted.count("late", 0, NOW + 500)
    assert len(counted) == 1


async def test_what_memory_has_of_a_session_is_bounded_and_begins_with_its_ranking(tmp_path: Path) -> None:
    journal = Journal(tmp_path, DecisionLog(), VirtualClock(NOW), lambda _n: None)
    journal.add("s-1", b"ranked\n")
    for n in range(1000):
        journal.move("s-1", f"move {n}\n".encode())
    known = await journal.history("s-1")
    assert (known[0], known[1], known[-1]) == (b"ranked\n", f"move {1000 - MOST_MOVES + 1}\n".encode(), b"move 999\n")
    assert len(known) == MOST_MOVES


async def test_a_session_that_is_moved_for_ever_takes_no_other_s_place_in_memory(tmp_path: Path) -> None:
    journal = Journal(tmp_path, DecisionLog(memory_bytes=100_000), VirtualClock(NOW), lambda _n: None)
    journal.add("other", b"ranked\n")
    journal.add("s-1", b"ranked\n")
    for _ in range(2000):
        journal.move("s-1", b"x" * 99 + b"\n")
    journal.add("last", b"y" * 79_900)
    assert await journal.history("other") == [b"ranked\n"], "nothing of it was written to a file yet"
