"""Life, health, codes, windows, reports and the change stream decide right, without a clock."""

from __future__ import annotations

import datetime
import re
import zoneinfo
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.enrolment import PeerKind
from contracts.places import ApplianceRegistration, ApplianceState, FillWindow, Site
from contracts.reports import DiskFacts, FillState, Heartbeat, Holding, OrderProgress, Purpose, Source
from contracts.world import Change
from control_plane import enrolment, health, ingestion, lifecycle, plans, windows
from control_plane.changes import KEPT_LINES, NUMBERS_PER_START, ChangeLog
from control_plane.health import Pulse, SuspectReason
from control_plane.ingestion import Arrival, Reported, judge
from control_plane.lifecycle import LifeEvent, TurnUpFailure, WrongState
from control_plane.overview import Sums, inside_share, overview
from control_plane.registry import Registry
from control_plane.upstreams import parents
from tests.control_plane.plane import ORIGIN, report

GOOD = Heartbeat(1, 0.2)


# --- life


def test_the_life_of_an_appliance_follows_the_table_from_enrolment_to_retirement() -> None:
    state = ApplianceState.ENROLLING
    for event, wanted in (
        (LifeEvent.ENROLLED, ApplianceState.BURN_IN),
        (LifeEvent.TURNED_UP, ApplianceState.LIVE),
        (LifeEvent.ASKED_DRAINING, ApplianceState.DRAINING),
        (LifeEvent.EMPTIED, ApplianceState.DRAINED),
        (LifeEvent.ASKED_MAINTENANCE, ApplianceState.MAINTENANCE),
        (LifeEvent.ASKED_RETIRED, ApplianceState.RETIRED),
    ):
        found = lifecycle.after(state, event)
        assert found is wanted
        state = found


def test_nothing_leads_out_of_retirement() -> None:
    assert [row for row in lifecycle.TABLE if row[0] is ApplianceState.RETIRED] == []


def test_every_state_but_the_first_is_reached_by_some_row() -> None:
    assert set(lifecycle.TABLE.values()) == set(ApplianceState) - {ApplianceState.ENROLLING}


def test_a_refused_change_says_what_could_be_asked_instead() -> None:
    with pytest.raises(
        WrongState, match=r"live cannot become maintenance; from here it can be asked for draining or retired"
    ):
        lifecycle.asked(ApplianceState.LIVE, ApplianceState.MAINTENANCE)


def test_an_operator_cannot_skip_burn_in() -> None:
    with pytest.raises(WrongState):
        lifecycle.asked(ApplianceState.BURN_IN, ApplianceState.LIVE)


def test_asking_for_the_present_state_changes_nothing() -> None:
    assert lifecycle.asked(ApplianceState.LIVE, ApplianceState.LIVE) is ApplianceState.LIVE


def test_burn_in_names_everything_that_is_missing() -> None:
    bad = report(score=0.49, disks=(DiskFacts("/d", 10, 0, 0, healthy=False),), player_urls=())
    assert lifecycle.turn_up(bad) == tuple(TurnUpFailure)
    assert lifecycle.turn_up(report(score=0.5)) == ()


def test_the_page_of_the_control_plane_shows_the_table_as_it_is() -> None:
    page = (Path(__file__).parents[2] / "docs" / "control-plane.md").read_text(encoding="utf-8")
    shown = re.findall(r"^    (\S+) --> (\S+): (\S+)$", page, re.MULTILINE)
    rows = {(state.value, after.value, event.value) for (state, event), after in lifecycle.TABLE.items()}
    assert {tuple(part.replace("_", "-") for part in row) for row in shown} == rows


# --- health


def beaten(pulse: Pulse, *instants_s: float) -> Pulse:
    for now_s in instants_s:
        pulse = health.beat(pulse, GOOD, now_s)
    return pulse


def test_an_appliance_is_believed_after_two_beats_on_its_stream() -> None:
    one = beaten(health.opened(Pulse()), 0.0)
    assert one.suspect is SuspectReason.NEVER_HEARD
    assert beaten(one, 1.0).suspect is None


def test_silence_makes_a_suspect_within_four_and_a_half_seconds_and_not_after_three_missed_beats() -> None:
    pulse = beaten(health.opened(Pulse()), 0.0, 1.0)
    assert health.waited(pulse, 1.0 + 3.9).suspect is None
    assert health.waited(pulse, 1.0 + 4.5 - 0.25).suspect is SuspectReason.BEATS_MISSED


def test_a_broken_stream_makes_a_suspect_at_once_and_a_suspect_keeps_its_first_reason() -> None:
    pulse = beaten(health.opened(Pulse()), 0.0, 1.0)
    gone = health.broken(pulse)
    assert gone.suspect is SuspectReason.STREAM_BROKEN
    assert not gone.connected
    silent = health.waited(pulse, 9.0)
    assert health.broken(silent).suspect is SuspectReason.BEATS_MISSED


def test_a_suspect_that_beats_again_needs_two_beats_even_on_the_same_stream() -> None:
    silent = health.waited(beaten(health.opened(Pulse()), 0.0, 1.0), 9.0)
    assert beaten(silent, 9.1).suspect is not None
    assert beaten(silent, 9.1, 10.1).suspect is None


def test_after_a_start_what_was_believed_stands_for_the_grace_time_only() -> None:
    pulse = health.believed(0.9, (), 100.0)
    assert health.waited(pulse, 100.0 + health.STARTUP_GRACE_S - 0.1).suspect is None
    late = health.waited(pulse, 100.0 + health.STARTUP_GRACE_S)
    assert late.suspect is SuspectReason.SILENT_SINCE_START


def test_a_score_falls_at_once_and_rises_only_when_two_reports_say_so() -> None:
    pulse = health.reported(Pulse(), 1.0, ())
    assert pulse.score == 1.0
    low = health.reported(pulse, 0.3, ("disk",))
    assert (low.score, low.reasons) == (0.3, ("disk",))
    once = health.reported(low, 0.9, ())
    assert once.score == 0.3
    assert health.reported(once, 0.9, ()).score == 0.9


def test_a_score_that_wobbles_is_not_told() -> None:
    pulse = health.reported(Pulse(), 0.8, ("warm",))
    pulse = health.reported(health.reported(pulse, 0.8, ("warm",)), 0.8, ("warm",))
    for score in (0.78, 0.82, 0.79, 0.83):
        pulse = health.reported(pulse, score, ("warm",))
    assert pulse.score == 0.8


@given(st.lists(st.tuples(st.sampled_from(["beat", "open", "break", "wait"]), st.floats(0.0, 5.0)), max_size=40))
def test_whoever_is_believed_was_heard_within_the_limit(events: list[tuple[str, float]]) -> None:
    pulse, now_s, last_beat_s = Pulse(), 0.0, -1.0
    for kind, passed_s in events:
        now_s += passed_s
        pulse = health.waited(pulse, now_s)
        if kind == "beat" and pulse.connected:
            pulse, last_beat_s = health.beat(pulse, GOOD, now_s), now_s
        elif kind == "open":
            pulse = health.opened(pulse)
        elif kind == "break":
            pulse = health.broken(pulse)
        if pulse.suspect is None:
            assert pulse.connected
            assert now_s - last_beat_s <= health.SILENCE_S


# --- codes


def test_a_secret_has_26_letters_and_is_kept_only_as_a_hash() -> None:
    secret = enrolment.secret_of(bytes(range(16)))
    assert len(secret) == 26
    assert secret not in enrolment.hash_of(secret)
    assert enrolment.hash_of(f" {secret.lower()} ") == enrolment.hash_of(secret)


def test_a_code_opens_once_and_only_in_its_time() -> None:
    code = enrolment.Code("h", PeerKind.SERVICE, "x", expires_at=100.0)
    assert enrolment.refusal(code, 99.9) is None
    assert enrolment.refusal(code, 100.0) is enrolment.CodeRefusal.EXPIRED
    assert enrolment.refusal(used(code, 50.0), 60.0) is enrolment.CodeRefusal.USED
    assert enrolment.refusal(None, 0.0) is enrolment.CodeRefusal.UNKNOWN


def used(code: enrolment.Code, used_at: float) -> enrolment.Code:
    return enrolment.Code(code.hash, code.kind, code.name, code.expires_at, used_at)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "box-1.example.net", "localhost"])
def test_addresses_that_a_certificate_may_carry(address: str) -> None:
    assert enrolment.wrong_addresses((address,)) == ()


@pytest.mark.parametrize("address", ["", "0.0.0.0", "*.example.net", "a b", "-x.net", "exa_mple", "127.0.0.1:80"])
def test_addresses_that_no_certificate_carries(address: str) -> None:
    assert len(enrolment.wrong_addresses((address,))) == 1


# --- windows


def at(zone: str, year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> float:
    return datetime.datetime(year, month, day, hour, minute, tzinfo=zoneinfo.ZoneInfo(zone)).timestamp()


def test_a_window_that_is_open_now_is_the_current_one_and_a_closed_one_is_the_next() -> None:
    window = FillWindow("02:00", "14:00", "Europe/Berlin")
    opens, closes = at("Europe/Berlin", 2026, 1, 10, 2), at("Europe/Berlin", 2026, 1, 10, 14)
    assert windows.resolve(window, opens) == (opens, closes)
    assert windows.resolve(window, closes - 1) == (opens, closes)
    assert windows.resolve(window, closes) == (opens + 86400, closes + 86400)
    assert windows.resolve(window, opens - 1) == (opens, closes)


def test_a_window_across_midnight_belongs_to_the_evening_it_opened_in() -> None:
    window = FillWindow("22:00", "06:00", "UTC")
    opened = at("UTC", 2026, 3, 1, 22)
    assert windows.resolve(window, at("UTC", 2026, 3, 2, 5, 59)) == (opened, opened + 8 * 3600)
    assert windows.resolve(window, at("UTC", 2026, 3, 2, 6)) == (opened + 86400, opened + 86400 + 8 * 3600)


def test_equal_ends_mean_the_whole_day() -> None:
    opens, closes = windows.resolve(FillWindow("00:00", "00:00", "UTC"), at("UTC", 2026, 3, 2, 5))
    assert (opens, closes - opens) == (at("UTC", 2026, 3, 2), 86400)


def test_a_window_whose_opening_daylight_saving_skips_opens_when_the_gap_ends() -> None:
    """Berlin, 29 March 2026: 02:00 jumps to 03:00."""
    window = FillWindow("02:30", "06:00", "Europe/Berlin")
    opens, closes = windows.resolve(window, at("Europe/Berlin", 2026, 3, 29, 1))
    assert opens == at("Europe/Berlin", 2026, 3, 29, 3)
    assert closes - opens == 3 * 3600


def test_a_window_in_the_night_of_the_doubled_hour_is_an_hour_longer() -> None:
    window = FillWindow("01:00", "05:00", "Europe/Berlin")
    opens, closes = windows.resolve(window, at("Europe/Berlin", 2026, 10, 25, 0))
    assert closes - opens == 5 * 3600


def test_a_window_that_lies_wholly_in_the_gap_is_left_out_that_day() -> None:
    window = FillWindow("02:00", "02:45", "Europe/Berlin")
    opens, _ = windows.resolve(window, at("Europe/Berlin", 2026, 3, 29, 1))
    assert opens == at("Europe/Berlin", 2026, 3, 30, 2)


@given(
    st.integers(0, 1439),
    st.integers(0, 1439),
    st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia"]),
    st.floats(1_700_000_000, 1_900_000_000),
)
def test_a_window_never_closes_before_now_and_never_opens_two_days_off(
    start: int, end: int, zone: str, now: float
) -> None:
    window = FillWindow(f"{start // 60:02}:{start % 60:02}", f"{end // 60:02}:{end % 60:02}", zone)
    opens, closes = windows.resolve(window, now)
    assert opens < closes
    assert now < closes
    assert opens - now < 2 * 86400 + 7200


def test_a_wrong_window_is_told_all_at_once() -> None:
    wrong = windows.check(FillWindow("24:00", "6", "Mars/Olympus", 0, -1))
    assert [line.partition(":")[0] for line in wrong] == [
        "window.start",
        "window.end",
        "window.timezone",
        "window.rate_bps",
        "window.volume_bytes",
    ]


def test_the_next_plan_is_due_at_the_set_time_of_day() -> None:
    now = at("UTC", 2026, 5, 1, 0, 59)
    assert plans.next_due("01:00", now) == now + 60
    assert plans.next_due("01:00", now + 60) == now + 60 + 86400
    assert plans.last_due("01:00", now) == now + 60 - 86400


# --- reports


def test_a_repeated_report_does_not_count_twice() -> None:
    first = judge(Reported(), report(1, holdings_full=True))
    assert (first.arrival, first.counts, first.want_full_holdings) == (Arrival.NEW, True, False)
    again = judge(first.after, report(1, holdings_full=True))
    assert (again.arrival, again.counts, again.stored_sequence) == (Arrival.REPEATED, False, 1)


def test_the_full_list_is_asked_for_until_it_comes_and_again_after_a_gap() -> None:
    unknown = judge(Reported(), report(1))
    assert unknown.want_full_holdings
    full = judge(unknown.after, report(2, holdings_full=True))
    assert not full.want_full_holdings
    assert not judge(full.after, report(3)).want_full_holdings
    assert judge(full.after, report(5)).want_full_holdings


def test_a_new_boot_starts_over_and_its_list_is_asked_for() -> None:
    known = judge(Reported(), report(7, holdings_full=True)).after
    other = judge(known, report(1, boot_id="boot-2", started_at=2000.0))
    assert (other.arrival, other.present, other.want_full_holdings) == (Arrival.NEW, True, True)


def test_what_an_earlier_boot_left_counts_but_does_not_speak_of_the_present() -> None:
    known = judge(Reported(), report(3, boot_id="boot-2", started_at=2000.0, holdings_full=True)).after
    late = judge(known, report(9))
    assert (late.arrival, late.counts, late.present) == (Arrival.LATE, True, False)
    assert late.after.newest == "boot-2"
    assert late.after.holdings_known
    assert not judge(late.after, report(9)).counts


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 6)), max_size=60))
def test_each_boot_and_sequence_counts_at_most_once_and_never_goes_back(arrivals: list[tuple[int, int]]) -> None:
    known, counted = Reported(), set()
    for boot, sequence in arrivals:
        judgement = judge(known, report(sequence, boot_id=str(boot), started_at=float(boot)))
        if judgement.counts:
            assert (boot, sequence) not in counted
            counted.add((boot, sequence))
            assert judgement.stored_sequence == sequence
        known = judgement.after


def test_numbers_that_cannot_be_true_are_refused_by_name() -> None:
    wrong = ingestion.wrong_numbers(report(client_bytes=-1, disks=(DiskFacts("/d", 2**60, 0, 0),)))
    assert [line.partition(":")[0] for line in wrong] == ["client_bytes", "disks[0].quota_bytes"]


# --- the registry and what is told


def registry_with(*box_ids: str, site: Site | None = None) -> Registry:
    registry = Registry()
    registry.put_site(site or Site("a", "A", "isp", "DE"))
    for box_id in box_ids:
        registry.put_box(ApplianceRegistration(box_id, "a", "a"))
    return registry


def took(registry: Registry, box_id: str, given: object) -> tuple[Change, ...]:
    assert isinstance(given, type(report()))
    box = registry.boxes[box_id]
    return registry.take_report(box, judge(box.reported, given), given, 5.0)


def test_a_first_report_tells_addresses_health_and_the_whole_list() -> None:
    registry = registry_with("a1")
    held = Holding("k", 5, 10, False)
    told = took(registry, "a1", report(1, holdings=(held,), holdings_full=True))
    assert [change.appliance is not None for change in told] == [True, False, False]
    assert told[1].health is not None
    assert told[2].holdings is not None
    assert (told[2].holdings.full, told[2].holdings.held) == (True, (held,))


def test_later_reports_tell_only_what_changed() -> None:
    registry = registry_with("a1")
    took(registry, "a1", report(1, holdings=(Holding("k", 5, 10, False),), holdings_full=True))
    assert took(registry, "a1", report(2)) == ()
    told = took(registry, "a1", report(3, holdings=(Holding("l", 1, 1, True),), dropped=("k",)))
    assert len(told) == 1
    assert told[0].holdings is not None
    assert (told[0].holdings.full, told[0].holdings.dropped) == (False, ("k",))
    assert set(registry.boxes["a1"].held) == {"l"}


def test_progress_of_orders_and_shares_of_sources_are_summed_for_the_page() -> None:
    registry = registry_with("a1")
    took(registry, "a1", report(1, orders=(OrderProgress("o", "k", FillState.FILLING, 3, 10),)))
    sums = {
        "a1": Sums(
            {
                (Source.HIT, Purpose.CLIENT): (6, 600),
                (Source.PEER, Purpose.CLIENT): (1, 200),
                (Source.ORIGIN, Purpose.CLIENT): (1, 200),
                (Source.ORIGIN, Purpose.FILL): (1, 5000),
                (Source.PEER, Purpose.PEERING): (1, 7),
            },
            8,
            1000,
        )
    }
    found = overview(registry, sums, 7, 10.0)
    assert found.sites[0].inside_share == 0.8
    assert [row.fill_bytes for row in found.served] == [0, 0, 0, 5000]
    assert found.appliances[0].report_age_s == 5.0
    assert inside_share(()) is None


def test_upstreams_are_peers_of_the_cluster_then_of_the_site_then_tiers_then_the_origin() -> None:
    registry = registry_with("a1", "a2", "a3")
    registry.put_site(Site("t", "T", "isp", "DE", is_tier=True))
    registry.put_site(Site("u", "U", "isp", "DE"))
    for box_id, site_id, cluster in (("a0", "a", "other"), ("t1", "t", "t"), ("u1", "u", "u")):
        registry.put_box(ApplianceRegistration(box_id, site_id, cluster))
    registry.put_origin(ORIGIN)
    for box in registry.boxes.values():
        took(registry, box.id, report(1, peer_url=f"https://{box.id}"))
        registry.set_state(box, ApplianceState.LIVE)
        registry.change_pulse(box, lambda pulse: beaten(health.opened(pulse), 0.0, 1.0))
    registry.change_pulse(registry.boxes["a3"], health.broken)
    found = parents(registry, registry.boxes["a1"])
    assert [source.name for source in found] == ["a2", "a0", "t1", "origin"]
    assert [source.kind.value for source in found] == ["peer", "peer", "tier", "origin"]


# --- the change stream


def lines_of(raw: bytes) -> list[Change]:
    return [msgspec.json.decode(line, type=Change) for line in raw.splitlines()]


def test_a_reader_gets_the_snapshot_then_its_end_then_changes_without_a_gap() -> None:
    log = ChangeLog(starts=3)
    registry = registry_with("a1")
    log.publish((Change(0, site_gone="x"),))
    subscription = log.subscribe(registry.snapshot(), lambda: None)
    log.publish(registry.put_site(Site("b", "B", "isp", "NO")))
    found = lines_of(subscription.take())
    kinds = [
        next(name for name in Change.__struct_fields__[1:] if getattr(change, name) not in (None, False))
        for change in found
    ]
    assert kinds == ["site", "appliance", "health", "digest", "snapshot_complete", "site"]
    first = 3 * NUMBERS_PER_START + 1
    assert [change.number for change in found] == [first] * 5 + [first + 1]


def test_a_reader_that_does_not_keep_up_is_dropped_and_nobody_else() -> None:
    log = ChangeLog(starts=1, queue_lines=3)
    woken: list[str] = []
    slow = log.subscribe((), lambda: woken.append("slow"))
    quick = log.subscribe((), lambda: woken.append("quick"))
    for number in range(5):
        log.publish((Change(0, site_gone=str(number)),))
        assert quick.take()
    assert slow.dropped
    assert slow.take() == b""
    assert not quick.dropped
    assert log.readers == 1
    assert woken.count("quick") == 5


def test_a_reader_that_comes_back_goes_on_where_it_was_as_long_as_all_that_came_since_is_kept() -> None:
    log = ChangeLog(starts=1)
    log.publish(Change(0, site_gone=str(number)) for number in range(5))
    for missing in range(6):
        after = log.number - missing
        first, *missed = lines_of(log.subscribe((), lambda: None, after).take())
        assert (first.resumed, first.number) == (True, after)
        assert [change.number for change in missed] == list(range(after + 1, log.number + 1))
    for never in (0, 5, log.number - 6, log.number + 1):
        (only,) = lines_of(log.subscribe((), lambda: None, never).take())
        assert (only.snapshot_complete, only.resumed) == (True, False), never
    log.publish(Change(0, site_gone=str(number)) for number in range(KEPT_LINES))
    (only,) = lines_of(log.subscribe((), lambda: None, log.number - KEPT_LINES - 1).take())
    assert only.snapshot_complete
    assert lines_of(log.subscribe((), lambda: None, log.number - KEPT_LINES).take(1))[0].resumed


def test_numbers_grow_over_a_restart() -> None:
    before, after = ChangeLog(1), ChangeLog(2)
    before.publish(Change(0, tick=True) for _ in range(100))
    assert after.number > before.number


def test_after_a_start_only_those_who_still_reported_at_the_end_are_believed() -> None:
    registry = registry_with("a1", "a2", "a3")
    for box_id, now in (("a1", 1000.0), ("a2", 900.0)):
        box = registry.boxes[box_id]
        registry.take_report(box, judge(box.reported, report(1)), report(1), now)
    registry.believe(0.0)
    assert [box.id for box in registry.boxes.values() if box.pulse.suspect is None] == ["a1"]
