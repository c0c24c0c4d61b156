"""The slot table with a clock that is a number: who is started, who helps out, who is never given up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oca.supervisor.slots import (
    LONGEST_PAUSE_S,
    RETRY_S,
    Action,
    Adopt,
    Release,
    SlotPhase,
    Slots,
    Start,
    keeper_pause_s,
)


def ready_pair() -> Slots:
    slots = Slots(2)
    assert slots.start() == [Start(0, 0), Start(1, 1)]
    assert slots.ready(0, 1.0) == []
    assert slots.ready(1, 1.0) == []
    return slots


def test_a_worker_that_dies_after_serving_is_started_at_once_however_often() -> None:
    slots = ready_pair()
    now = 1.0
    for _ in range(10):
        now += 5.0
        assert slots.died(1, now) == [Start(1, 1), Adopt(0, 1)], "its players wait for nothing"
        assert slots.ready(1, now) == [Release(0, 1)]
    assert slots.slots[1].early_deaths == 0


def test_three_early_deaths_make_a_sibling_serve_the_slot() -> None:
    slots = ready_pair()
    assert slots.died(1, 1.2) == [Start(1, 1), Adopt(0, 1)], "within half a second of ready counts as early"
    assert slots.died(1, 1.3) == [Start(1, 1)]
    assert slots.died(1, 1.4) == []
    assert slots.slots[1].helper == 0
    assert slots.slots[1].phase is SlotPhase.RESTING
    assert slots.tick(1.4 + RETRY_S - 0.01) == []
    assert slots.tick(1.4 + RETRY_S) == [Start(1, 1)]
    assert slots.died(1, 12.0) == [], "it rests again after one more early death, and is still helped"
    assert slots.tick(12.0 + RETRY_S) == [Start(1, 1)]
    assert slots.ready(1, 23.0) == [Release(0, 1)]


def test_a_slot_whose_worker_is_killed_again_and_again_is_not_given_up() -> None:
    slots = ready_pair()
    assert slots.died(1, 1.1, killed=True) == [Start(1, 1), Adopt(0, 1)]
    assert slots.died(1, 1.2, killed=True) == [Start(1, 1)]
    assert slots.died(1, 1.3, killed=True) == []
    assert slots.slots[1].phase is SlotPhase.PAUSING
    assert slots.tick(1.3 + LONGEST_PAUSE_S) == [Start(1, 1)]
    assert slots.ready(1, 3.0) == [Release(0, 1)]


def test_the_last_live_slot_is_never_given_up() -> None:
    slots = Slots(1)
    slots.start()
    now = 0.0
    for death in range(12):
        actions = slots.died(0, now)
        assert slots.slots[0].phase is not SlotPhase.RESTING
        if death < 2:
            assert actions == [Start(0, 0)]
            continue
        assert actions == []
        now = slots.slots[0].try_at
        assert slots.tick(now) == [Start(0, 0)]
        assert now <= slots.slots[0].try_at + LONGEST_PAUSE_S


def test_when_the_helper_dies_another_takes_over_what_it_helped() -> None:
    slots = Slots(3)
    slots.start()
    for number in range(3):
        slots.ready(number, 1.0)
    assert slots.died(2, 1.1) == [Start(2, 2), Adopt(0, 2)]
    assert [slots.died(2, 1.1) for _ in range(2)] == [[Start(2, 2)], []]
    assert slots.died(0, 9.0) == [Start(0, 0), Adopt(1, 0), Adopt(1, 2)]
    assert slots.ready(0, 9.5) == [Release(1, 0)]


def test_a_resting_slot_is_taken_by_the_first_that_becomes_ready() -> None:
    slots = Slots(2)
    slots.start()
    for _ in range(3):
        actions = slots.died(1, 0.1)
    assert actions == [], "nobody serves yet"
    assert slots.ready(0, 0.5) == [Adopt(0, 1)]


def test_readiness_is_said_in_words() -> None:
    slots = ready_pair()
    assert slots.sentence() == "2 of 2 workers serve"
    for _ in range(3):
        slots.died(1, 1.1)
    assert slots.sentence() == (
        "1 of 2 workers serve; worker 1 is resting after 3 early deaths, its players are served by worker 0"
    )


def test_the_keeper_is_started_at_once_and_then_more_slowly() -> None:
    assert [keeper_pause_s(deaths) for deaths in (1, 2, 3, 4, 50)] == [0.0, 0.1, 0.2, 0.4, 5.0]


@given(st.integers(1, 4), st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.floats(0.0, 12.0)), max_size=60))
def test_whatever_happens_every_slot_is_served_or_being_started(
    count: int, events: list[tuple[bool, int, float]]
) -> None:
    slots = Slots(count)
    running = {action.slot for action in slots.start() if isinstance(action, Start)}
    helping: dict[int, int] = {}
    now = 0.0

    def act(actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Start(slot, _line):
                    assert slot not in running, "one worker per slot"
                    running.add(slot)
                case Adopt(by, slot):
                    assert slots.slots[by].phase is SlotPhase.READY
                    assert slot not in helping, "one helper per slot"
                    helping[slot] = by
                case Release(by, slot):
                    assert helping.pop(slot) == by

    for becomes_ready, number, passes in events:
        now += passes
        act(slots.tick(now))
        number %= count
        if number not in running:
            continue
        if becomes_ready:
            if slots.slots[number].phase is not SlotPhase.READY:
                act(slots.ready(number, now))
        else:
            running.discard(number)
            helping = {slot: by for slot, by in helping.items() if by != number}
            act(slots.died(number, now))
        served = any(slot.phase is SlotPhase.READY for slot in slots.slots)
        for position, slot in enumerate(slots.slots):
            assert position in running or slot.phase in (SlotPhase.RESTING, SlotPhase.PAUSING)
            if slot.phase is not SlotPhase.READY and slot.deaths and served:
                assert position in helping
        if not served:
            assert any(slot.phase is not SlotPhase.RESTING for slot in slots.slots) or count > 1
