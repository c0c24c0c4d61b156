"""Pacing: what players say, what they are given, and that nobody is held on a low rendition by it."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oca.config import Pacing
from oca.worker.pacing import LIFTED, PaceRules, differs, pace
from player.adaptation import Throughput, choose

RULES = PaceRules.of(Pacing())
assert RULES is not None
MBIT = 125_000


def said(payload: str) -> bytes:
    return b"CMCD=" + quote(payload, safe="").encode()


def paced(payload: str) -> int:
    assert RULES is not None
    found = {pace(form, RULES) for form in (said(payload), b"CMCD=" + payload.encode(), payload.encode())}
    assert len(found) == 1, f"encoded, not encoded and as a header mean different things: {found}"
    return found.pop()


def test_a_player_with_a_healthy_buffer_gets_one_and_a_half_of_what_it_can_use() -> None:
    assert paced('bl=21300,br=3200,ot=v,rtp=12000,sid="6e2fb550"') == 18 * MBIT


def test_the_best_rendition_on_offer_stays_within_reach_whatever_is_asked_for() -> None:
    assert paced("bl=60000,br=300,rtp=200,tb=16000") == 24 * MBIT


def test_nobody_is_paced_below_the_floor() -> None:
    assert paced("bl=21300,rtp=100,tb=300") == 8 * MBIT


@pytest.mark.parametrize(
    "payload",
    [
        "bl=21300,mtp=25000",
        "bl=2000,rtp=12000",
        "rtp=12000",
        "bl=21300,rtp=12000,su",
        "bl=21300,rtp=12000,su=?1",
        "bl=21300,rtp=12000,su,tb=6000",
        "bs,bl=21300,rtp=12000",
        "bl=21300,rtp=abc",
        "tbl=21300,rtp=12000",
        "",
    ],
)
def test_without_all_that_is_needed_the_pace_is_lifted(payload: str) -> None:
    assert paced(payload) == LIFTED


def test_what_looks_like_a_start_is_none() -> None:
    assert paced('bl=21300,cid="bs-sub",rtp=12000,su=?0') == 18 * MBIT
    assert paced("bl=21300,bsa=4,rtp=12000") == 18 * MBIT


def test_lists_of_version_two_are_read_by_their_first_number() -> None:
    assert paced("bl=(21300;v 9000;a),rtp=12000,tb=(16000;v 128;a)") == 24 * MBIT


@given(st.binary(max_size=300))
def test_whatever_comes_gives_a_rate(query: bytes) -> None:
    assert RULES is not None
    rate = pace(query, RULES)
    assert rate == LIFTED or rate >= RULES.floor


def test_what_a_player_measures_is_never_looked_at() -> None:
    assert paced("bl=21300,mtp=100,rtp=12000") == paced("bl=21300,mtp=90000,rtp=12000")


def test_switched_off_nobody_is_paced() -> None:
    assert PaceRules.of(Pacing(enabled=False)) is None


@pytest.mark.parametrize(
    ("now", "wanted", "worth"),
    [(0, 0, False), (0, 1000, True), (1000, 0, True), (1000, 1100, False), (1000, 1101, True), (1000, 899, True)],
)
def test_only_a_change_by_more_than_a_tenth_is_worth_a_system_call(now: int, wanted: int, worth: bool) -> None:
    assert differs(now, wanted) is worth


# A player that adapts by throughput: one download after another, a segment of `SEGMENT_S` seconds each.

SEGMENT_S = 4.0
LADDER = (400, 900, 1800, 3500, 7000, 16000)


def dash_rtp(kbits: int, buffer_s: float) -> int:
    """As dash.js says it: five times what would empty the buffer just in time, rounded to hundreds."""
    return round(5 * kbits * SEGMENT_S / max(buffer_s, 0.5) / 100) * 100


def wished_rtp(kbits: int, buffer_s: float) -> int:
    """As the standard means it: enough for the rendition above the one played."""
    above = [rung for rung in LADDER if rung > kbits]
    return 2 * (above[0] if above else kbits)


def play(
    link_kbits: Callable[[float], float],
    rtp: Callable[[int, float], int],
    *,
    says_top: bool = True,
    full_s: float = 30.0,
    for_s: float = 600.0,
) -> list[int]:
    """The renditions played (kbit/s). The link gives what it has at a moment; the pace takes what is above it."""
    assert RULES is not None
    at, buffer, measured = 0.0, 0.0, Throughput()
    rung: int | None = None
    played: list[int] = []
    while at < for_s:
        rung = choose([kbits * 1000 for kbits in LADDER], measured.bps, buffer, rung)
        kbits = LADDER[rung]
        payload = (
            f"bl={round(buffer * 10) * 100},br={kbits},mtp={round(measured.bps / 1e5) * 100},rtp={rtp(kbits, buffer)}"
        )
        payload += ",su" if buffer < 2 and not played else ""
        payload += f",tb={LADDER[-1]}" if says_top else ""
        rate = pace(said(payload), RULES)
        kbit_s = link_kbits(at) if rate == LIFTED else min(link_kbits(at), rate / 125)
        took = kbits * SEGMENT_S / kbit_s
        measured = measured.with_download(int(kbits * SEGMENT_S * 125), took)
        buffer = max(0.0, buffer - took) + SEGMENT_S
        at += took + max(0.0, buffer - full_s)
        buffer = min(buffer, full_s)
        played.append(kbits)
    return played


@pytest.mark.parametrize("full_s", [12.0, 30.0, 120.0])
def test_a_player_that_was_on_the_lowest_rung_gets_back_to_the_top_although_it_is_paced(full_s: float) -> None:
    def link(at: float) -> float:
        return 600.0 if 60 < at < 180 else 100_000.0

    played = play(link, dash_rtp, full_s=full_s)
    assert LADDER[0] in played[10:], "the bad minutes brought it down"
    assert played[-1] == LADDER[-1]


def test_a_player_that_asks_for_the_next_rung_climbs_without_saying_what_the_top_is() -> None:
    def link(at: float) -> float:
        return 600.0 if 60 < at < 180 else 100_000.0

    assert play(link, wished_rtp, says_top=False)[-1] == LADDER[-1]


def test_pacing_by_the_wish_alone_would_hold_a_player_with_a_long_buffer() -> None:
    """Why the best rendition on offer is part of the rate."""

    def link(at: float) -> float:
        return 600.0 if 60 < at < 180 else 100_000.0

    assert play(link, dash_rtp, says_top=False, full_s=120.0)[-1] < LADDER[-1]


@given(st.floats(500, 200_000), st.sampled_from((12.0, 30.0, 120.0)))
def test_on_a_steady_link_pacing_costs_no_rung(link_kbits: float, full_s: float) -> None:
    paced_end = play(lambda _at: link_kbits, dash_rtp, full_s=full_s)[-1]
    free_end = play(lambda _at: link_kbits, lambda _kbits, _buffer: 0, full_s=full_s, says_top=False)[-1]
    assert paced_end >= free_end or link_kbits < 600
