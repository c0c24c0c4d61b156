"""One name through its life, without anybody who acts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.names import NameState, NameTrouble
from control_plane.names import states
from control_plane.names.states import Act, NameEvent, NameRecord, Patience

PATIENCE = Patience(settle_s=10.0, first_retry_s=60.0, longest_retry_s=3600.0)
DAY_S = 86400.0
WANTED = NameRecord("a1", "a1.cdn.test")


def issued(now: float = 0.0, *, chance: float = 0.0) -> NameRecord:
    record = states.requested(WANTED, "csr", ("192.0.2.1",), False, now)
    record = states.after(record, NameEvent.ORDERED, now)
    record = states.after(record, NameEvent.SEEN, now)
    return states.signed(record, "chain", now, now + 90 * DAY_S, now, chance)


def test_a_name_waits_for_the_box_then_is_ordered_published_validated_and_issued() -> None:
    assert states.next_step(WANTED, 0.0, PATIENCE).act is Act.WAIT
    record = states.requested(WANTED, "csr", ("192.0.2.1",), False, 5.0)
    assert (record.state, states.next_step(record, 5.0, PATIENCE).act) == (NameState.ORDERING, Act.ORDER)
    record = states.after(record, NameEvent.ORDERED, 6.0)
    step = states.next_step(record, 6.0, PATIENCE)
    assert (record.state, step.act, step.at) == (NameState.PUBLISHED, Act.VALIDATE, 16.0)
    record = states.after(record, NameEvent.SEEN, 17.0)
    assert (record.state, states.next_step(record, 17.0, PATIENCE).act) == (NameState.VALIDATED, Act.FINISH)
    record = states.signed(record, "chain", 17.0, 17.0 + 90 * DAY_S, 18.0, 0.0)
    assert (record.state, record.number, record.failures) == (NameState.ISSUED, 1, 0)


@given(chance=st.floats(0, 1, exclude_max=True), days=st.floats(0.001, 400))
def test_a_renewal_begins_after_two_thirds_of_the_life_and_well_before_its_end(chance: float, days: float) -> None:
    life_s = days * DAY_S
    record = states.signed(replace_state(NameState.VALIDATED), "chain", 0.0, life_s, 0.0, chance)
    assert 2 / 3 * life_s <= record.renew_at <= (2 / 3 + 1 / 30 + 1e-9) * life_s
    step = states.next_step(record, 0.0, PATIENCE)
    assert (step.act, step.at) == (Act.BEGIN, record.renew_at)
    assert states.begun(record, record.renew_at).state is NameState.RENEWING


@given(failures=st.integers(0, 60), chance=st.floats(0, 1, exclude_max=True))
def test_waits_after_failures_double_up_to_the_longest_and_never_end_the_tries(failures: int, chance: float) -> None:
    record = replace_state(NameState.ORDERING, failures=failures)
    after = states.failed(record, NameTrouble.CA_AWAY, "no answer", 100.0, PATIENCE, chance)
    full_s = min(3600.0, 60.0 * 2.0**failures)
    assert 0.75 * full_s <= after.retry_at - 100.0 <= full_s
    assert states.next_step(after, 100.0, PATIENCE) == states.Step(Act.BEGIN, after.retry_at)
    assert states.begun(after, after.retry_at).state is NameState.ORDERING


def test_a_failed_renewal_keeps_the_last_good_certificate_until_it_runs_out_itself() -> None:
    record = states.begun(issued(), 60 * DAY_S)
    record = states.failed(record, NameTrouble.RATE_LIMITED, "too many", 60 * DAY_S, PATIENCE, 0.0)
    assert states.is_good(record, 89 * DAY_S)
    assert states.trouble_of(record, 89 * DAY_S) is NameTrouble.RATE_LIMITED
    assert states.begun(record, record.retry_at).state is NameState.RENEWING
    assert not states.is_good(record, 90 * DAY_S)
    assert states.trouble_of(record, 90 * DAY_S) is NameTrouble.EXPIRED


@pytest.mark.parametrize("state", [NameState.PUBLISHED, NameState.VALIDATED])
def test_an_order_of_a_process_that_ended_is_made_anew(state: NameState) -> None:
    assert states.order_lost(replace_state(state), 1.0).state is NameState.ORDERING
    assert states.order_lost(replace_state(state, chain_pem="chain"), 1.0).state is NameState.RENEWING


@pytest.mark.parametrize("state", sorted(set(NameState) - {NameState.PUBLISHED, NameState.VALIDATED}, key=str))
def test_other_states_outlive_a_restart(state: NameState) -> None:
    record = replace_state(state)
    assert states.order_lost(record, 1.0) == record


def test_another_key_in_the_middle_of_an_order_begins_it_anew() -> None:
    record = states.requested(replace_state(NameState.VALIDATED), "another", ("192.0.2.1",), False, 1.0)
    assert (record.state, record.csr_pem) == (NameState.ORDERING, "another")


def test_another_key_of_a_box_with_a_certificate_waits_for_the_renewal() -> None:
    before = issued()
    after = states.requested(before, "another", ("192.0.2.1",), True, DAY_S)
    assert (after.state, after.csr_pem, after.renew_at) == (NameState.ISSUED, "another", before.renew_at)


def test_a_box_that_lost_its_key_gets_another_certificate_soon_but_not_every_moment() -> None:
    soon = states.requested(issued(), "another", ("192.0.2.1",), False, 5.0)
    assert soon.renew_at == states.ORDERED_AGAIN_AFTER_S
    late = states.requested(issued(), "another", ("192.0.2.1",), False, DAY_S)
    assert late.renew_at == DAY_S


def test_a_box_that_lost_its_certificate_while_a_newer_key_waits_does_not_wait_for_the_renewal() -> None:
    waits = states.requested(issued(), "newer", ("192.0.2.1",), True, DAY_S)
    lost = states.requested(waits, "newer", ("192.0.2.1",), False, 2 * DAY_S)
    assert (waits.renew_at, lost.renew_at) == (issued().renew_at, 2 * DAY_S)
    again = states.requested(lost, "newer", ("192.0.2.1",), False, 2 * DAY_S)
    assert again == lost


def test_a_box_that_has_not_installed_yet_what_was_signed_orders_nothing() -> None:
    assert states.requested(issued(), "csr", ("192.0.2.1",), False, DAY_S) == issued()


def test_one_new_key_after_another_in_the_middle_of_orders_fails_the_order_until_the_oldest_is_a_week_ago() -> None:
    record = replace_state(NameState.PUBLISHED)
    for number in range(5):
        record = states.requested(record, f"csr-{number}", ("192.0.2.1",), False, float(number))
        assert record.state is NameState.ORDERING
        record = states.after(record, NameEvent.ORDERED, float(number))
    record = states.requested(record, "csr-5", ("192.0.2.1",), False, 5.0)
    assert (record.state, record.trouble, record.csr_pem) == (NameState.FAILED, NameTrouble.KEYS, "csr-5")
    assert record.retry_at == 7 * DAY_S
    assert states.hurried(record, 6.0).retry_at == 6.0
    later = states.requested(states.begun(record, record.retry_at), "csr-6", ("192.0.2.1",), False, record.retry_at)
    assert (later.state, later.retry_at) == (NameState.FAILED, 7 * DAY_S + 1.0)


@settings(max_examples=40)
@given(every_s=st.integers(600, 40_000), settle_s=st.integers(0, 5_000))
def test_a_box_that_sends_a_new_key_whenever_it_can_gets_a_few_orders_a_week(every_s: int, settle_s: int) -> None:
    record, orders, weeks = issued(), 0, 2
    for number, now in enumerate(range(0, int(weeks * 7 * DAY_S), every_s)):
        record = states.requested(record, f"csr-{number}", ("192.0.2.1",), False, float(now))
        step = states.next_step(record, now, Patience(settle_s))
        if step.at > now:
            continue
        if step.act is Act.BEGIN:
            record = states.begun(record, now)
        if record.state in (NameState.ORDERING, NameState.RENEWING):
            orders += 1
            record = states.after(record, NameEvent.ORDERED, now)
        elif step.act is Act.VALIDATE:
            record = states.after(record, NameEvent.SEEN, now)
        elif step.act is Act.FINISH:
            record = states.signed(record, "chain", now, now + 90 * DAY_S, now, 0.0)
    assert 0 < orders <= 5 * weeks + 1


def test_other_addresses_change_nothing_else() -> None:
    before = issued()
    after = states.requested(before, "csr", ("192.0.2.9",), True, DAY_S)
    assert after.addresses == ("192.0.2.9",)
    assert after.renew_at == before.renew_at


def test_an_operator_can_hurry_what_waits_and_nothing_else() -> None:
    assert states.hurried(issued(), 7.0).renew_at == 7.0
    failed = states.failed(replace_state(NameState.ORDERING), NameTrouble.SLOW, "", 0.0, PATIENCE, 0.0)
    assert states.hurried(failed, 7.0).retry_at == 7.0
    assert states.hurried(replace_state(NameState.PUBLISHED), 7.0) == replace_state(NameState.PUBLISHED)


def test_from_every_state_with_a_request_there_is_a_way_to_a_certificate() -> None:
    reached = {NameState.ISSUED}
    for _ in NameState:
        reached |= {before for (before, _event), after in states.TABLE.items() if after in reached}
    assert reached == set(NameState)


def replace_state(state: NameState, *, failures: int = 0, chain_pem: str = "") -> NameRecord:
    return NameRecord("a1", "a1.cdn.test", state, csr_pem="csr", failures=failures, chain_pem=chain_pem)
