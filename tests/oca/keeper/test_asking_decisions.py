"""What the keeper decides about asking again: circuits, the retry budget, when a first byte is late, which parent is first."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from contracts.plans import RankedSource, SourceKind
from oca.keeper.budget import RetryBudget
from oca.keeper.circuits import PROBE_S, Circuit, CircuitRules, Circuits, CircuitState
from oca.keeper.firstbytes import FirstBytes
from oca.keeper.sourcing import hedging, spread

RULES = CircuitRules(failures=3, window=10, share=0.5, first_s=2.0, longest_s=8.0)


def failing(circuit: Circuit, times: int, now: float) -> None:
    for _ in range(times):
        circuit.note(failed=True, now=now, draw=1.0)


def test_a_circuit_opens_after_failures_in_a_row_and_not_before() -> None:
    circuit = Circuit(RULES)
    failing(circuit, 2, 0.0)
    circuit.note(failed=False, now=0.0, draw=1.0)
    failing(circuit, 2, 0.0)
    assert circuit.admit(0.0)
    failing(circuit, 1, 0.0)
    assert circuit.state(0.0) is CircuitState.OPEN
    assert not circuit.admit(1.9)


def test_a_circuit_opens_when_a_share_of_the_last_requests_failed() -> None:
    circuit = Circuit(RULES)
    for number in range(9):
        circuit.note(failed=number % 2 == 1, now=0.0, draw=1.0)
    assert circuit.state(0.0) is CircuitState.CLOSED
    circuit.note(failed=True, now=0.0, draw=1.0)
    assert circuit.state(0.0) is CircuitState.OPEN


def test_a_half_open_circuit_lets_one_through_whose_end_decides() -> None:
    circuit = Circuit(RULES)
    failing(circuit, 3, 0.0)
    assert circuit.state(2.0) is CircuitState.HALF_OPEN
    assert circuit.admit(2.0)
    assert not circuit.admit(2.1), "one probe at a time"
    failing(circuit, 1, 2.5)
    assert circuit.state(6.4) is CircuitState.OPEN, "twice as long"
    assert circuit.admit(6.5)
    circuit.note(failed=False, now=6.6, draw=1.0)
    assert circuit.state(6.6) is CircuitState.CLOSED
    assert all(circuit.admit(6.6) for _ in range(3))
    failing(circuit, 3, 7.0)
    assert circuit.state(9.0) is CircuitState.HALF_OPEN, "a success sets the time back to the first"


def test_a_probe_that_never_ends_or_was_given_up_makes_way() -> None:
    circuit = Circuit(RULES)
    failing(circuit, 3, 0.0)
    assert circuit.admit(2.0)
    assert circuit.admit(2.0 + PROBE_S)
    circuit.spare()
    assert circuit.admit(2.1 + PROBE_S)


def test_an_open_circuit_stays_open_no_longer_than_the_limit_and_at_least_half_of_its_time() -> None:
    circuit, now = Circuit(RULES), 0.0
    failing(circuit, 3, now)
    for expected in (2.0, 4.0, 8.0, 8.0):
        assert circuit.state(now + expected - 0.01) is CircuitState.OPEN
        now += expected
        assert circuit.admit(now)
        failing(circuit, 1, now)
    early = Circuit(RULES)
    for _ in range(3):
        early.note(failed=True, now=0.0, draw=0.0)
    assert early.state(0.99) is CircuitState.OPEN
    assert early.state(1.0) is CircuitState.HALF_OPEN


def test_circuits_tell_of_changes_once_and_name_who_is_left_in_peace() -> None:
    circuits = Circuits(lambda: 1.0, RULES)
    changes = [circuits.note("a", failed=True, now=0.0) for _ in range(4)]
    assert changes == [None, None, CircuitState.OPEN, None]
    assert circuits.open_urls(0.0) == ["a"]
    assert circuits.admit("b", 0.0)
    assert circuits.note("a", failed=False, now=3.0) is CircuitState.CLOSED
    assert circuits.open_urls(3.0) == []


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 5)), max_size=80))
def test_a_parent_that_always_answers_from_now_on_is_asked_again(events: list[tuple[bool, float]]) -> None:
    circuit, now = Circuit(RULES), 0.0
    for failed, passed in events:
        now += passed
        if circuit.admit(now):
            circuit.note(failed=failed, now=now, draw=0.5)
    now += RULES.longest_s + PROBE_S
    assert circuit.admit(now)
    circuit.note(failed=False, now=now, draw=0.5)
    assert circuit.state(now) is CircuitState.CLOSED


@given(st.lists(st.sampled_from(["earn", "spend"]), max_size=300), st.floats(0, 1))
def test_further_requests_are_bounded_by_the_share_of_first_ones(steps: list[str], share: float) -> None:
    budget = RetryBudget(share, per_s=0.0, most=5.0)
    earned = spent = 0
    for step in steps:
        if step == "earn":
            budget.earn(0.0)
            earned += 1
        elif budget.spend(0.0):
            spent += 1
    assert spent <= 5 + share * earned + 1e-6


def test_a_quiet_appliance_can_always_try_again() -> None:
    budget = RetryBudget(0.0, per_s=2.0, most=3.0)
    assert [budget.spend(0.0) for _ in range(4)] == [True, True, True, False]
    assert budget.spend(0.5)
    assert not budget.spend(0.6)
    assert [budget.spend(100.0) for _ in range(4)] == [True, True, True, False], "what is earned is bounded"


def test_a_first_byte_is_late_when_most_have_come_by_then() -> None:
    times = FirstBytes()
    assert times.late_s("a", 0.25, 2.0) == 0.25
    for _ in range(50):
        times.note("a", 0.6)
    assert 0.6 <= times.late_s("a", 0.25, 2.0) < 0.7, "steady: soon after its usual time"
    for number in range(50):
        times.note("b", 0.2 if number % 2 else 1.0)
    assert times.late_s("b", 0.25, 2.0) > 1.2, "unsteady: later"
    assert times.late_s("b", 0.25, 0.5) == 0.5


def parents(*kinds: SourceKind) -> list[RankedSource]:
    return [RankedSource(kind, f"s{number}", f"https://s{number}") for number, kind in enumerate(kinds)]


def test_kinds_keep_their_order_and_one_kind_is_spread_over_objects() -> None:
    tiers = [SourceKind.TIER] * 4
    sources = parents(SourceKind.PEER, *tiers, SourceKind.ORIGIN)
    firsts: Counter[str] = Counter()
    for number in range(2000):
        order = spread(sources, f"vod|/media/{number}")
        assert [source.kind for source in order] == [source.kind for source in sources]
        firsts[order[1].name] += 1
    assert len(firsts) == 4
    assert max(firsts.values()) < 1.2 * 500


@given(st.integers(0, 500), st.integers(0, 3))
def test_a_parent_that_leaves_moves_only_its_own_objects(number: int, gone: int) -> None:
    sources = parents(*[SourceKind.TIER] * 4)
    before = spread(sources, f"k{number}")
    after = spread([source for source in sources if source is not sources[gone]], f"k{number}")
    assert after == [source for source in before if source is not sources[gone]]


def test_a_late_peer_has_a_near_one_beside_it_soon_and_a_far_one_late() -> None:
    assert hedging(SourceKind.PEER, 0.25, 1.0) == ((0.25, False), (1.0, True))
    assert hedging(SourceKind.PEER, 1.5, 1.0) == ((1.5, False), (1.5, True)), "never before what it usually takes"


def test_a_late_source_outside_the_site_has_anybody_beside_it_after_what_it_usually_takes() -> None:
    assert hedging(SourceKind.TIER, 0.25, 1.0) == ((0.25, True),)
    assert hedging(SourceKind.ORIGIN, 0.25, 1.0) == ((0.25, True),)
