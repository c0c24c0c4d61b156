"""What playback decides, purely: entitlement, streams, positions, fading counts, whose address."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from chassis.clients import client_address
from companions.auth.attempts import AttemptKey, Attempts
from companions.auth.refreshing import RefreshRecord, RefreshVerdict, judge
from companions.bounded import Bounded
from companions.catalog.titles import details_of
from companions.playback.entitlement import Refusal, Stream, playable, renewal_plan_refusal, stream_refusal
from companions.playback.popularity import Decayed, played, ranked, value_at
from companions.playback.positions import clamped, is_finished, resume_at
from companions.playback.sessions import Session, beat_refusal
from contracts.members import MemberPlan
from contracts.problems import ProblemCode
from contracts.viewing import Position
from tests.companions.lab import ladder, make_title

TRUSTED = (ipaddress.ip_network("10.0.0.0/8"),)
HALF = 100.0


def _stream(device: str, seen_at: float = 0.0) -> Stream:
    return Stream(f"s-{device}", device, "tide", seen_at)


def _session(plan: MemberPlan, seen_at: float = 0.0, **more: object) -> Session:
    facts: dict[str, object] = {
        "id": "s-tv",
        "account_id": "a",
        "profile_id": "p",
        "title_id": "tide",
        "device_id": "tv",
        "region": "DE",
        "plan": plan.word,
        "tiers": plan.tiers,
        "routes": (),
        "duration_s": 60.0,
        "site_id": "",
        "started_at": 0.0,
        "seen_at": seen_at,
        "expires_at": 1000.0,
        **more,
    }
    return Session(**facts)  # type: ignore[arg-type]


def test_a_plan_keeps_the_renditions_of_its_tiers() -> None:
    details = details_of(make_title())
    for plan, wanted in (
        (MemberPlan.BASIC, ["v-360", "a-und-96k"]),
        (MemberPlan.STANDARD, ["v-360", "v-1080", "a-und-96k"]),
    ):
        kept = playable(details, plan)
        assert not isinstance(kept, Refusal)
        assert [rendition.id for rendition in kept] == wanted


def test_a_session_is_renewed_only_while_the_plan_includes_all_that_its_manifest_shows() -> None:
    tiers = MemberPlan.STANDARD.tiers
    assert renewal_plan_refusal(tiers, MemberPlan.PREMIUM) is None
    assert renewal_plan_refusal(tiers, MemberPlan.STANDARD) is None
    refusal = renewal_plan_refusal(tiers, MemberPlan.BASIC)
    assert refusal is not None
    assert refusal.code is ProblemCode.NOT_ENTITLED


def test_a_title_without_a_picture_in_the_plan_is_refused() -> None:
    only_best = tuple(r for r in ladder("tide") if r.tier in ("uhd", "base"))
    refusal = playable(details_of(make_title(renditions=only_best)), MemberPlan.STANDARD)
    assert isinstance(refusal, Refusal)
    assert refusal.code is ProblemCode.NOT_ENTITLED


@given(st.sampled_from(MemberPlan), st.lists(st.sampled_from("abcdef"), unique=True), st.sampled_from("abcdef"))
def test_never_more_devices_than_the_plan_has_streams(plan: MemberPlan, running: list[str], device: str) -> None:
    streams = [_stream(name) for name in running]
    refusal = stream_refusal(plan, streams, device, 5.0)
    others = [name for name in running if name != device]
    assert (refusal is None) == (len(others) < plan.streams)
    if refusal is not None:
        assert [line.partition(":")[0] for line in refusal.lines] == others


def test_a_player_that_was_silent_goes_on_when_a_stream_is_left_and_stops_when_none_is() -> None:
    session = _session(MemberPlan.BASIC)
    assert beat_refusal(session, [], ttl_s=30.0, now=100.0) == ""
    assert beat_refusal(session, [_stream("phone", 90.0)], ttl_s=30.0, now=100.0) == "too-many-streams"
    assert beat_refusal(session, [_stream("phone", 20.0)], ttl_s=30.0, now=30.0) == ""


def test_an_ended_or_expired_session_stops_the_player() -> None:
    assert beat_refusal(_session(MemberPlan.BASIC, ended_at=1.0, end_reason="stopped"), [], 30.0, 2.0) == "stopped"
    assert beat_refusal(_session(MemberPlan.BASIC, seen_at=999.0), [], 30.0, 1000.0) == "expired"


def test_a_title_is_resumed_where_it_was_left_and_begun_again_after_its_end() -> None:
    assert resume_at(None) == 0.0
    assert resume_at(Position("tide", 31.5, 60.0, 0.0, finished=False)) == 31.5
    assert resume_at(Position("tide", 59.0, 60.0, 0.0, finished=True)) == 0.0


@given(st.floats(allow_nan=False), st.floats(0.001, 1e6))
def test_positions_lie_inside_the_title(position_s: float, duration_s: float) -> None:
    assert 0.0 <= clamped(position_s, duration_s) <= duration_s
    assert is_finished(duration_s, duration_s)
    assert not is_finished(duration_s * 0.9, duration_s)


def test_a_play_counts_half_after_the_half_life() -> None:
    assert value_at(Decayed(8.0, 0.0), HALF, HALF) == 4.0
    assert value_at(Decayed(8.0, 50.0), 0.0, HALF) == 8.0


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=20))
def test_a_fading_count_is_the_sum_of_its_fading_plays(times: list[float]) -> None:
    times.sort()
    count = None
    for at in times:
        count = played(count, at, HALF)
    assert count is not None
    wanted = sum(2.0 ** (-(1000.0 - at) / HALF) for at in times)
    assert abs(value_at(count, 1000.0, HALF) - wanted) < 1e-6


def test_titles_played_lately_rank_before_titles_played_once_upon_a_time() -> None:
    counts = [("old", Decayed(10.0, 0.0)), ("new", Decayed(2.0, 1000.0)), ("also", Decayed(2.0, 1000.0))]
    assert [count.title_id for count in ranked(counts, 1000.0, HALF, 2)] == ["also", "new"]


def test_forwarded_addresses_are_believed_as_far_as_they_come_from_our_own_proxies() -> None:
    assert client_address("203.0.113.9", ["198.51.100.1"], TRUSTED) == "203.0.113.9"
    assert client_address("10.0.0.1", ["198.51.100.1"], TRUSTED) == "198.51.100.1"
    assert client_address("10.0.0.1", ["1.1.1.1, 198.51.100.1", "10.0.0.7"], TRUSTED) == "198.51.100.1"
    assert client_address("10.0.0.1", ["198.51.100.1, nonsense"], TRUSTED) == "10.0.0.1"
    assert client_address("::ffff:203.0.113.9", [], ()) == "203.0.113.9"
    assert client_address(None, ["198.51.100.1"], TRUSTED) == "0.0.0.0"


@given(st.text(max_size=40), st.lists(st.text(max_size=40), max_size=4))
def test_whatever_a_header_says_the_client_has_an_address(peer: str, forwarded: list[str]) -> None:
    ipaddress.ip_address(client_address(peer, forwarded, TRUSTED))


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30))
def test_never_more_failures_in_a_window_than_the_limit(times: list[float]) -> None:
    attempts, key, taken = Attempts(window_s=10.0), AttemptKey("account", "ann", 3), []
    for now in sorted(times):
        if attempts.wait_s((key,), now) <= 0:
            attempts.begin((key,), now)
            taken.append(now)
    assert all(later - earlier >= 10.0 for earlier, later in zip(taken, taken[3:], strict=False))


def test_an_attempt_refused_now_is_taken_after_the_wait_it_was_told() -> None:
    attempts, key = Attempts(window_s=10.0), AttemptKey("account", "ann", 2)
    attempts.begin((key,), 0.0)
    attempts.begin((key,), 4.0)
    assert attempts.wait_s((key,), 5.0) == 5.0
    assert attempts.wait_s((key,), 10.0) == 0.0


def test_a_refresh_token_is_judged_by_the_worst_that_is_known_of_it() -> None:
    def record(spent: float | None = None, ended: float | None = None) -> RefreshRecord:
        return RefreshRecord("d", "f", "a", 100.0, spent, ended)

    assert judge(None, 0.0) is RefreshVerdict.UNKNOWN
    assert judge(record(), 99.0) is RefreshVerdict.ROTATE
    assert judge(record(), 100.0) is RefreshVerdict.EXPIRED
    assert judge(record(spent=1.0), 99.0) is RefreshVerdict.REUSED
    assert judge(record(spent=1.0, ended=2.0), 99.0) is RefreshVerdict.REVOKED


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans())), st.integers(1, 4))
def test_a_bounded_table_keeps_what_was_used_last(steps: list[tuple[int, bool]], limit: int) -> None:
    table: Bounded[int, int] = Bounded(limit)
    used: list[int] = []
    for key, writes in steps:
        if writes:
            table.put(key, key)
        if writes or key in used[-limit:]:
            used = [other for other in used if other != key] + [key]
        assert (table.get(key) == key) == (key in used[-limit:])
        used = used[-limit:]
        assert len(table) == len(used)
