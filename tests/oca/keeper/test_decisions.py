"""What the keeper decides, without a clock, a socket or a disk."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.plans import AppliancePlan, Order, RankedSource, Reason, SourceKind
from contracts.reports import OTHER_NETWORKS, FillState, Source
from oca.config import Appliance, ControlPlane, Disk, Listen, Serving, Store
from oca.keeper import reporting
from oca.keeper.app import dialled_addresses
from oca.keeper.filling import (
    LATER_AT_MOST_S,
    FillSchedule,
    Why,
    Window,
    askable,
    difference,
    next_source_at,
    window_at,
)
from oca.keeper.networks import Networks
from oca.keeper.reporting import Ailment, Changes, Condition, Ledger, score_of
from oca.keeper.sourcing import (
    BLAME_S,
    LONGEST_REST_S,
    Outcome,
    SourceMemory,
    outcome_of_status,
    split_run,
    worst_failure,
)
from oca.link.messages import FetchFailure
from oca.store.holdings import HeldFile

PEER = RankedSource(SourceKind.PEER, "a-2", "https://peer")
TIER = RankedSource(SourceKind.TIER, "b-1", "https://tier", after_s=30.0)
ORIGIN = RankedSource(SourceKind.ORIGIN, "origin", "https://origin", after_s=60.0)
ALL = (PEER, TIER, ORIGIN)
SIZE = 1_000_000


def order(name: str, priority: int = 0, sources: tuple[RankedSource, ...] = ALL) -> Order:
    return Order(name, f"vod|/media/{name}/hd/v.mp4", SIZE, "00" * 32, priority, sources, Reason.POPULAR, 1.0, 1.0)


def plan(*orders: Order, created_at: float = 0.0, volume: int = 0, number: int = 1) -> AppliancePlan:
    return AppliancePlan(number, "a-1", created_at, 100.0, 1000.0, 0, volume, tuple(o.key for o in orders), orders)


def held(key: str, pinned: bool) -> HeldFile:
    return HeldFile(key, b"\0" * 32, 10, 10, 4096, "plan" if pinned else None, 0.0)


# -- whom to ask -------------------------------------------------------------------------------------------------------


def test_sources_are_asked_as_ranked_until_they_fail() -> None:
    memory = SourceMemory()
    assert memory.ordered(ALL, "k", 0.0) == list(ALL)
    memory.note(PEER, "k", Outcome.UNREACHABLE, 0.0)
    assert memory.ordered(ALL, "k", 0.5) == [TIER, ORIGIN, PEER]
    assert memory.ordered(ALL, "other", 0.5) == [TIER, ORIGIN, PEER], "it rests for everything"
    assert memory.ordered(ALL, "k", 1.5) == list(ALL)


def test_a_source_that_stays_away_rests_longer_each_time_up_to_a_limit_and_is_forgiven_at_once() -> None:
    memory, now = SourceMemory(), 0.0
    rests = []
    for _ in range(8):
        memory.note(PEER, "k", Outcome.UNREACHABLE, now)
        began = now
        while memory.is_resting(PEER, now):
            now += 0.5
        rests.append(now - began)
    assert rests == sorted(rests)
    assert rests[0] == 1.0
    assert rests[-1] == LONGEST_REST_S
    memory.note(PEER, "k", Outcome.NOT_HELD, now)
    memory.note(PEER, "k", Outcome.UNREACHABLE, now)
    assert not memory.is_resting(PEER, now + 1.0)


def test_wrong_bytes_are_remembered_for_that_file_only_and_not_for_ever() -> None:
    memory = SourceMemory()
    memory.note(PEER, "k", Outcome.WRONG_BYTES, 0.0)
    assert memory.ordered(ALL, "k", 1.0)[-1] == PEER
    assert memory.ordered(ALL, "other", 1.0)[0] == PEER
    assert memory.ordered(ALL, "k", BLAME_S + 1.0)[0] == PEER


def test_who_sent_wrong_bytes_of_many_files_is_asked_last_for_all_of_them() -> None:
    memory = SourceMemory()
    for key in ("k1", "k2"):
        memory.note(PEER, key, Outcome.WRONG_BYTES, 0.0)
    assert memory.ordered(ALL, "other", 1.0)[0] == PEER
    memory.note(PEER, "k3", Outcome.WRONG_BYTES, 2.0)
    assert memory.ordered(ALL, "other", 3.0)[-1] == PEER
    assert memory.ordered(ALL, "other", BLAME_S + 1.0)[0] == PEER


@given(st.lists(st.tuples(st.sampled_from(ALL), st.sampled_from(list(Outcome)), st.floats(0, 1000))))
def test_nobody_is_ever_left_out(events: list[tuple[RankedSource, Outcome, float]]) -> None:
    memory = SourceMemory()
    for source, outcome, now in events:
        memory.note(source, "k", outcome, now)
    assert Counter(memory.ordered(ALL, "k", 500.0)) == Counter(ALL)


def test_a_status_means_what_the_kind_of_source_makes_of_it() -> None:
    assert outcome_of_status(206, SourceKind.PEER) is None
    assert outcome_of_status(504, SourceKind.PEER) is Outcome.NOT_HELD
    assert outcome_of_status(404, SourceKind.TIER) is Outcome.NOT_HELD
    assert outcome_of_status(404, SourceKind.ORIGIN) is Outcome.NOT_FOUND
    assert outcome_of_status(504, SourceKind.ORIGIN) is Outcome.ERROR
    assert outcome_of_status(508, SourceKind.PEER) is Outcome.LOOP
    assert outcome_of_status(503, SourceKind.ORIGIN) is Outcome.BUSY


def test_the_origins_word_counts_when_everybody_failed() -> None:
    outcomes = [(ORIGIN, Outcome.NOT_FOUND), (PEER, Outcome.UNREACHABLE)]
    assert worst_failure(outcomes) is FetchFailure.NOT_FOUND
    assert worst_failure([(PEER, Outcome.STALLED)]) is FetchFailure.UPSTREAM_TIMEOUT
    assert worst_failure([]) is FetchFailure.UPSTREAM_UNREACHABLE


@given(st.integers(0, 500), st.integers(0, 500), st.integers(1, 40))
def test_cuts_cover_a_run_once_and_two_askers_cut_at_the_same_places(first: int, length: int, longest: int) -> None:
    cuts = split_run(first, first + length, longest)
    assert [n for a, b in cuts for n in range(a, b + 1)] == list(range(first, first + length + 1))
    assert all(b - a < longest for a, b in cuts)
    assert all(a % longest == 0 for a, _ in cuts[1:])


# -- fills -------------------------------------------------------------------------------------------------------------


def test_a_source_may_be_asked_after_its_wait_from_the_opening_of_the_window() -> None:
    one = order("t")
    assert askable(plan(one), one, 100.0) == (PEER,)
    assert askable(plan(one), one, 130.0) == (PEER, TIER)
    assert askable(plan(one), one, 160.0) == ALL
    assert next_source_at(plan(one), one, 100.0) == 130.0
    assert next_source_at(plan(one), one, 160.0) is None


def test_a_plan_that_comes_late_does_not_send_everybody_to_the_origin_at_once() -> None:
    one = order("t")
    late = plan(one, created_at=800.0)
    assert askable(late, one, 800.0) == (PEER,)
    assert askable(late, one, 860.0) == ALL


def test_nothing_starts_outside_the_window_and_what_is_left_then_has_failed() -> None:
    schedule = FillSchedule(plan(order("t")))
    assert window_at(schedule.plan, 99.0) is Window.NOT_OPEN
    assert schedule.startable(99.0, 3) == []
    assert schedule.progress()[0].reason == "window-not-open"
    assert [o.id for o in schedule.startable(100.0, 3)] == ["t"]
    assert schedule.startable(1000.0, 3) == []
    assert (schedule.progress()[0].state, schedule.progress()[0].reason) == (FillState.FAILED, "window-closed")


def test_orders_start_by_priority_as_places_are_free() -> None:
    schedule = FillSchedule(plan(order("low", 2), order("high", 0), order("mid", 1)))
    first = schedule.startable(100.0, 2)
    assert [o.id for o in first] == ["high", "mid"]
    for one in first:
        schedule.started(one.id)
    assert schedule.startable(100.0, 2) == []
    schedule.done("high")
    assert [o.id for o in schedule.startable(100.0, 2)] == ["low"]


def test_an_order_that_nobody_holds_yet_gives_way_and_comes_back_soon_and_ever_more_slowly() -> None:
    schedule = FillSchedule(plan(order("waits", 0), order("next", 1)))
    now, waits = 100.0, []
    for _ in range(8):
        assert "waits" in {o.id for o in schedule.startable(now, 2)}
        schedule.started("waits")
        schedule.put_off("waits", Why.NOT_HELD, now)
        assert [o.id for o in schedule.startable(now, 1)] == ["next"]
        began = now
        while "waits" not in {o.id for o in schedule.startable(now, 2)}:
            now += 0.125
        waits.append(now - began)
    assert waits[0] == 0.5
    assert waits == sorted(waits)
    assert waits[-1] == 2.0
    schedule.moved("waits")
    schedule.put_off("waits", Why.NOT_HELD, now)
    assert schedule.orders["waits"].ready_at == now + 0.5


def test_an_order_that_nobody_gives_through_a_long_night_is_still_looked_after() -> None:
    schedule = FillSchedule(plan(order("t", sources=(PEER,))))
    for why in (Why.SOURCES_FAILED, Why.NOT_HELD):
        for _ in range(3000):
            schedule.started("t")
            schedule.put_off("t", why, 500.0)
            assert 500.0 < schedule.orders["t"].ready_at <= 500.0 + LATER_AT_MOST_S


def test_it_comes_back_at_once_when_one_more_source_may_be_asked() -> None:
    schedule = FillSchedule(plan(order("t")))
    schedule.started("t")
    schedule.put_off("t", Why.SOURCES_FAILED, 129.5)
    assert schedule.orders["t"].ready_at == 130.0


def test_an_order_whose_sources_all_wait_is_named_when_the_first_may_be_asked() -> None:
    one = order("t", sources=(TIER, ORIGIN))
    schedule = FillSchedule(plan(one))
    assert schedule.startable(100.0, 3) == []
    assert schedule.progress()[0].reason == "no-source-may-be-asked-yet"
    assert schedule.startable(129.9, 3) == []
    assert [o.id for o in schedule.startable(130.0, 3)] == ["t"]


def test_the_volume_cap_ends_what_waits() -> None:
    schedule = FillSchedule(plan(order("a"), order("b"), volume=SIZE // 2))
    schedule.started("a")
    schedule.filled("a", Source.ORIGIN, SIZE // 2)
    assert not schedule.may_go_on(200.0)
    assert schedule.startable(200.0, 3) == []
    assert schedule.orders["b"].progress().reason == "volume-used"
    assert FillSchedule(schedule.plan, used_bytes=SIZE // 2).startable(200.0, 3) == []


def test_the_volume_is_promised_block_by_block_and_never_passed() -> None:
    schedule = FillSchedule(plan(order("a"), order("b"), volume=1000))
    assert schedule.grant([400, 400, 400]) == 2, "the third block would not fit whole"
    assert schedule.grant([400]) == 0
    assert schedule.may_go_on(200.0), "what is promised may still be given back"
    schedule.filled("a", Source.PEER, 400)
    schedule.give_back(400)
    schedule.give_back(400)
    assert schedule.grant([400, 400]) == 1
    schedule.filled("a", Source.PEER, 400)
    schedule.give_back(400)
    assert schedule.grant([400]) == 0
    assert (schedule.used_bytes, schedule.spent_bytes) == (800, 800)
    assert not schedule.may_go_on(200.0), "no block has room any more"


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 400), st.booleans()), max_size=60), st.integers(1, 4000))
def test_what_is_spent_never_passes_the_volume(asks: list[tuple[int, int, bool]], volume: int) -> None:
    schedule = FillSchedule(plan(order("a"), volume=volume))
    for count, length, comes in asks:
        granted = schedule.grant([length] * count)
        assert schedule.spent_bytes <= volume
        if comes:
            schedule.filled("a", Source.TIER, granted * length)
        schedule.give_back(granted * length)
        assert schedule.used_bytes <= volume


def test_a_clock_that_is_set_back_makes_no_order_wait_for_the_time_it_was_put_off_at() -> None:
    schedule = FillSchedule(plan(order("t")))
    schedule.started("t")
    schedule.put_off("t", Why.SOURCES_FAILED, 900.0)
    assert schedule.startable(900.5, 3) == []
    assert [o.id for o in schedule.startable(200.0, 3)] == ["t"], "nobody waits until 901 again"


def test_what_a_wrong_clock_has_ended_goes_on_when_it_is_right_again() -> None:
    schedule = FillSchedule(plan(order("t")))
    assert schedule.startable(5000.0, 3) == []
    assert schedule.progress()[0].state is FillState.FAILED
    assert schedule.startable(50.0, 3) == [], "set back before the window"
    assert [o.id for o in schedule.startable(500.0, 3)] == ["t"]


def test_what_is_being_filled_says_when_it_yields() -> None:
    schedule = FillSchedule(plan(order("t"), order("u")))
    schedule.started("t")
    schedule.yielding = "disk"
    assert [o.reason for o in schedule.progress()] == ["yielding: disk", "queued"]


def test_a_new_plan_keeps_the_progress_of_orders_that_it_still_has_and_revives_failed_ones() -> None:
    first = FillSchedule(plan(order("kept"), order("gone"), order("failed")))
    first.started("kept")
    first.filled("kept", Source.PEER, 400)
    first.orders["failed"].state = FillState.FAILED
    second = FillSchedule(plan(order("kept"), order("failed"), number=2), earlier=first)
    assert set(second.orders) == {"kept", "failed"}
    assert second.orders["kept"].by_source == {"peer": 400}
    assert second.orders["kept"].state is FillState.FILLING
    assert second.orders["failed"].state is FillState.WAITING


def test_what_is_held_is_pinned_or_let_go_and_nothing_else_is_touched() -> None:
    files = [held("new", False), held("kept", True), held("left", True), held("passing", False)]
    change = difference(("new", "kept", "absent"), files)
    assert (change.pin, change.unpin) == (("new",), ("left",))


# -- reports -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20_000), st.integers(1, 9)), max_size=50))
def test_the_ledger_sums_by_file_and_hour_and_survives_the_disk(adds: list[tuple[str, int, int]]) -> None:
    ledger = Ledger()
    expected: Counter[tuple[str, int]] = Counter()
    for key, at, count in adds:
        ledger.add(key, float(at), 1, count)
        expected[key, at - at % 3600] += count
    again = Ledger(ledger.spool())
    rows = again.take_rows()
    assert {(row.key, row.hour): row.served_bytes for row in rows} == dict(expected)
    assert len(again) == 0


NETWORK_ADDS = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 30_000), st.integers(1, 9)), max_size=60)


@given(NETWORK_ADDS, st.integers(1, 4), st.integers(1, 4))
def test_networks_are_bounded_by_the_hour_and_their_sum_is_never_lost(
    adds: list[tuple[str, int, int]], most: int, hours: int
) -> None:
    ledger = Networks(max_networks=most, max_hours=hours)
    for network, at, count in adds:
        ledger.add(network, float(at), 1, count)
    ledger = Networks(ledger.rows(), most, hours)
    rows = ledger.take_rows()
    assert (sum(row.requests for row in rows), sum(row.served_bytes for row in rows)) == (
        len(adds),
        sum(count for _, _, count in adds),
    )
    told_apart = Counter(row.hour for row in rows if row.network != OTHER_NETWORKS)
    assert all(count <= most for count in told_apart.values())
    assert ledger.take_rows() == ()


def test_of_many_networks_those_with_most_bytes_are_told_apart() -> None:
    ledger = Networks(max_networks=2)
    for network, count in (("a", 1), ("b", 50), ("c", 2), ("d", 40), ("e", 3)):
        ledger.add(network, 10.0, 1, count)
    assert {row.network: row.served_bytes for row in ledger.take_rows()} == {"b": 50, "d": 40, OTHER_NETWORKS: 6}


def test_a_report_takes_the_oldest_hours_first() -> None:
    ledger = Networks(max_networks=4000)
    for hour in (2, 1):
        for number in range(3000):
            ledger.add(f"n{number}", hour * 3600.0, 1, 1)
    first, second = ledger.take_rows(), ledger.take_rows()
    assert ({row.hour for row in first}, {row.hour for row in second}) == ({3600}, {7200})


def test_a_full_ledger_gets_coarser_and_keeps_the_bytes_before_it_drops_the_oldest() -> None:
    ledger = Ledger()
    hours = reporting.MAX_ROWS // 1000 + 2
    for hour in range(hours):
        for number in range(1000):
            ledger.add(f"k{number}", hour * 3600.0, 1, 10)
    assert len(ledger) <= reporting.MAX_ROWS
    losses = dict(ledger.take_losses())
    assert losses["merged"] > 0
    assert "dropped" not in losses
    total = sum(row.served_bytes for row in ledger.spool().gathered)
    assert total == hours * 1000 * 10


def test_changes_are_what_differs_from_the_last_acknowledged_table() -> None:
    changes: Changes[str, int] = Changes()
    assert changes.difference({"a": 1, "b": 2}) == ([1, 2], [])
    assert changes.difference({"a": 1, "b": 3}) == ([1, 3], []), "nothing was acknowledged"
    changes.acknowledged()
    assert changes.difference({"a": 1, "c": 4}) == ([4], ["b"])
    assert changes.difference({"a": 1, "c": 4}) == ([4], ["b"]), "the answer was lost"
    changes.acknowledged()
    assert changes.difference({"a": 1, "c": 4}) == ([], [])
    changes.forgotten()
    assert changes.difference({"a": 1, "c": 4}) == ([1, 4], [])


def test_the_score_says_every_reason_and_costs_what_the_table_says() -> None:
    well = Condition(2, 2, 2, True, 1, 1, 0.1)
    assert score_of(well).value == 1.0
    assert score_of(well).reasons == ()
    ill = Condition(2, 2, 1, True, 1, 0, 0.1, index_locked=False)
    found = score_of(ill)
    assert found.ailments == (Ailment.DISK_TAKEN_OUT, Ailment.NO_PARENTS, Ailment.INDEX_NOT_LOCKED)
    assert found.value == 0.45
    shedding = score_of(Condition(2, 2, 2, True, 1, 1, 0.1, shedding=True))
    assert (shedding.value, shedding.ailments) == (1.0, (Ailment.SHEDDING,)), "the running sessions are served well"
    assert score_of(Condition(0, 1, 1, True, 1, 1, 0.0)).value == 0.0


@pytest.mark.parametrize(
    ("media", "hosts", "addresses"),
    [
        ("192.0.2.1", (), ("192.0.2.7", "192.0.2.1")),
        ("0.0.0.0", ("box.isp.example:8080",), ("192.0.2.7", "box.isp.example")),
        (
            "::",
            ("[2001:db8::1]", "[2001:db8::1]:8080", "box.isp.example"),
            ("192.0.2.7", "2001:db8::1", "box.isp.example"),
        ),
    ],
)
def test_a_certificate_carries_what_others_dial_and_no_wildcard(
    media: str, hosts: tuple[str, ...], addresses: tuple[str, ...]
) -> None:
    settings = Appliance(
        state_dir="state",
        store=Store((Disk("disk", 1 << 20),)),
        control_plane=ControlPlane("https://control.example"),
        serving=Serving(media=Listen(media, 80), peers=Listen("192.0.2.7", 443), hosts=hosts),
    )
    assert dialled_addresses(settings) == addresses
