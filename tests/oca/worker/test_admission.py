"""Who is let in: sessions first, networks second; when new sessions are shed, and when no longer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oca.config import Capacity
from oca.http.reasons import Outcome, Pressure
from oca.link.seen import SEEN_MINUTES, TABLE_WORDS, SeenSessions
from oca.worker.admission import (
    CALM_S,
    OVER_S,
    Ceilings,
    Doors,
    Load,
    SharedNetworks,
    Shedding,
    decide,
    judge,
)

CEILINGS = Ceilings.of(Capacity(sessions=100, session_connections=4, network_connections=3), max_connections=1000)
QUIET = Load()
BUSY = {
    Pressure.LAG: Load(lag_s=0.3),
    Pressure.CONNECTIONS: Load(connections=950),
    Pressure.EGRESS: Load(egress_used=0.95),
    Pressure.DISK: Load(disk_queue=256),
    Pressure.SESSIONS: Load(sessions=100),
}


def seen_sessions() -> SeenSessions:
    return SeenSessions(memoryview(bytearray(TABLE_WORDS * 8)).cast("Q"))


def doors(seen: SeenSessions | None = None) -> Doors:
    return Doors(CEILINGS, seen or seen_sessions(), SharedNetworks(("100.64.0.0/10",)))


@pytest.mark.parametrize("pressure", list(Pressure))
def test_each_load_at_its_ceiling_for_long_enough_sheds_and_says_why(pressure: Pressure) -> None:
    state = judge(Shedding(), BUSY[pressure], CEILINGS, 10.0)
    assert state.why is None, "a moment is no overload"
    assert judge(state, BUSY[pressure], CEILINGS, 10.0 + OVER_S).why is pressure


def test_a_break_starts_the_wait_anew() -> None:
    state = judge(Shedding(), BUSY[Pressure.LAG], CEILINGS, 10.0)
    state = judge(state, QUIET, CEILINGS, 11.0)
    assert judge(state, BUSY[Pressure.LAG], CEILINGS, 10.0 + OVER_S).why is None


def test_shedding_ends_only_after_a_calm_time_well_below_the_ceiling() -> None:
    shedding = Shedding(Pressure.EGRESS)
    assert judge(shedding, Load(egress_used=0.9), CEILINGS, 10.0) == shedding, "just below is not calm"
    calming = judge(shedding, Load(egress_used=0.5), CEILINGS, 20.0)
    assert judge(calming, Load(egress_used=0.5), CEILINGS, 19.9 + CALM_S).why is Pressure.EGRESS
    assert judge(calming, Load(egress_used=0.5), CEILINGS, 20.0 + CALM_S) == Shedding()


def test_another_load_keeps_it_shedding() -> None:
    calming = judge(Shedding(Pressure.EGRESS), QUIET, CEILINGS, 20.0)
    again = judge(calming, BUSY[Pressure.DISK], CEILINGS, 21.0)
    assert judge(again, QUIET, CEILINGS, 20.0 + CALM_S).why is Pressure.EGRESS


@given(st.lists(st.tuples(st.floats(0, 1.2), st.floats(0.01, 3)), max_size=60))
def test_states_never_change_faster_than_the_two_times_allow(steps: list[tuple[float, float]]) -> None:
    state, now, changed = Shedding(), 100.0, 100.0
    for used, passed in steps:
        now += passed
        before, state = state, judge(state, Load(egress_used=used), CEILINGS, now)
        if (state.why is None) is not (before.why is None):
            assert now - changed >= (OVER_S if before.why is None else CALM_S)
            changed = now


def test_a_running_session_goes_on_whatever_the_load() -> None:
    assert decide(0, True, 5000, Pressure.LAG, CEILINGS) is None


def test_a_new_session_is_shed_with_a_503_that_counts_why() -> None:
    refusal = decide(0, False, 3, Pressure.DISK, CEILINGS)
    assert refusal is not None
    assert (refusal.outcome, refusal.outcome.status, refusal.pressure) == (Outcome.SHED, 503, Pressure.DISK)


def test_a_session_with_too_many_connections_is_refused_with_a_429_running_or_not() -> None:
    refusal = decide(4, True, 3, None, CEILINGS)
    assert refusal is not None
    assert (refusal.outcome.status, refusal.pressure) == (429, None)


def test_sessions_are_counted_once_however_many_connections_they_have() -> None:
    ours = doors()
    for _ in range(3):
        assert ours.enter("a", None) is None
    assert ours.enter("b", None) is None
    assert ours.sessions == 2
    for _ in range(3):
        ours.leave("a")
    assert ours.sessions == 1


def test_a_connection_that_changes_its_session_counts_for_the_new_one() -> None:
    ours = doors()
    ours.enter("a", None)
    ours.enter("b", "a")
    assert ours.sessions == 1
    ours.leave("b")
    assert ours.sessions == 0


def test_a_refused_connection_stays_where_it_was() -> None:
    ours = doors()
    ours.enter("a", None)
    ours.shedding = Shedding(Pressure.LAG)
    assert ours.enter("b", "a") is not None
    assert ours.sessions == 1
    ours.leave("a")


def test_the_sessions_of_other_workers_count_for_the_box() -> None:
    ours = doors()
    ours.elsewhere = 100
    refusal = ours.enter("new", None)
    assert refusal is not None
    assert refusal.pressure is Pressure.SESSIONS


def test_a_session_that_another_worker_has_seen_is_running_here_too() -> None:
    words = memoryview(bytearray(TABLE_WORDS * 8)).cast("Q")
    here, there = doors(SeenSessions(words)), doors(SeenSessions(words))
    there.enter("running", None)
    here.shedding = Shedding(Pressure.EGRESS)
    assert here.enter("running", None) is None
    assert here.enter("new", None) is not None


def test_a_session_is_remembered_for_minutes_and_then_forgotten() -> None:
    seen = seen_sessions()
    ours = doors(seen)
    ours.enter("a", None)
    seen.minute += 100
    ours.remember()
    ours.leave("a")
    seen.minute += SEEN_MINUTES
    assert seen.has("a")
    seen.minute += 1
    assert not seen.has("a")


def test_a_minute_that_began_elsewhere_first_hides_nobody() -> None:
    words = memoryview(bytearray(TABLE_WORDS * 8)).cast("Q")
    ahead, behind = SeenSessions(words), SeenSessions(words)
    ahead.minute, behind.minute = 0x10000, 0xFFFF
    ahead.mark("a")
    assert behind.has("a")


def test_ten_thousand_sessions_fit_with_few_losses_and_no_wrong_ones() -> None:
    seen = seen_sessions()
    for number in range(10_000):
        seen.mark(f"session-{number}")
    assert sum(seen.has(f"session-{number}") for number in range(10_000)) > 9_990
    assert not any(seen.has(f"other-{number}") for number in range(10_000))


def test_networks_are_counted_by_24_and_48_and_not_where_clients_share_addresses() -> None:
    shared = SharedNetworks(("100.64.0.0/10", "2001:db8:77::/48"))
    assert shared.counted("203.0.113.77") == "203.0.113.0/24"
    assert shared.counted("::ffff:203.0.113.77") == "203.0.113.0/24"
    assert shared.counted("2001:db8:1:2::9") == "2001:db8:1::/48"
    assert shared.counted("fe80::1%eth0") == "fe80::/48"
    assert shared.counted("100.72.3.4") is None
    assert shared.counted("2001:db8:77:1::9") is None
    assert shared.counted("") is None


def test_a_network_may_have_so_many_connections_and_gets_them_back_when_they_end() -> None:
    ours = doors()
    for _ in range(3):
        assert ours.knock("203.0.113.0/24") is None
    refusal = ours.knock("203.0.113.0/24")
    assert refusal is not None
    assert refusal.outcome is Outcome.NETWORK_CONNECTIONS
    assert ours.knock("203.0.114.0/24") is None
    ours.go("203.0.113.0/24")
    assert ours.knock("203.0.113.0/24") is None
    assert ours.knock(None) is None
    ours.go(None)


def test_prefixes_that_are_none_are_named_with_the_settings() -> None:
    with pytest.raises(ValueError, match=r"shared_networks: .*300\.0\.0\.0"):
        replace(Capacity(), shared_networks=("300.0.0.0/8",))
