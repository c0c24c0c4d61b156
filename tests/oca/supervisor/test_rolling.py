"""Successors in the slot table and a rolling restart over it, with a clock that is a number."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oca.supervisor.rolling import Rolling, Turn
from oca.supervisor.slots import (
    EARLY_S,
    RETRY_S,
    SUCCESSOR_S,
    Action,
    Adopt,
    Kill,
    Release,
    Retire,
    SlotPhase,
    Slots,
    Start,
)


def serving(count: int) -> Slots:
    slots = Slots(count, leave_s=100.0)
    slots.start()
    for line in range(count):
        slots.ready(line, 0.0)
    return slots


def test_a_successor_takes_over_after_it_has_been_ready_for_a_while() -> None:
    slots = serving(2)
    assert slots.replace(0, 10.0) == [Start(0, 2)]
    assert slots.ready(2, 11.0) == []
    assert slots.tick(11.0 + EARLY_S - 0.01) == [], "a worker that dies at once must not be the only one"
    assert slots.line_of(0) == 0
    assert slots.tick(11.0 + EARLY_S) == [Retire(0)]
    assert slots.line_of(0) == 2
    assert slots.sentence() == "2 of 2 workers serve; an earlier worker 0 finishes its connections"
    assert not slots.slots[0].is_replaceable, "both lines are in use"
    assert slots.is_leaving(0)
    assert slots.died(0, 40.0) == []
    assert slots.replace(0, 41.0) == [Start(0, 0)], "the line is free again"


def test_a_successor_that_dies_changes_nothing() -> None:
    slots = serving(2)
    slots.replace(0, 10.0)
    slots.ready(2, 11.0)
    assert slots.died(2, 11.1) == []
    assert (slots.line_of(0), slots.slots[0].phase, slots.slots[0].early_deaths) == (0, SlotPhase.READY, 0)
    assert slots.tick(100.0) == []


def test_a_successor_that_is_never_ready_is_killed() -> None:
    slots = serving(1)
    slots.replace(0, 10.0)
    assert slots.tick(10.0 + SUCCESSOR_S - 0.1) == []
    assert slots.tick(10.0 + SUCCESSOR_S) == [Kill(1)]
    assert slots.died(1, 31.0) == []
    assert slots.slots[0].is_replaceable


def test_when_the_old_worker_dies_its_successor_is_the_worker() -> None:
    slots = serving(2)
    slots.replace(0, 10.0)
    assert slots.died(0, 10.5) == [Adopt(1, 0)], "nobody else is started"
    assert (slots.line_of(0), slots.slots[0].phase) == (2, SlotPhase.STARTING)
    assert slots.ready(2, 11.0) == [Release(1, 0)]
    assert slots.slots[0].phase is SlotPhase.READY
    assert slots.died(2, 50.0) == [Start(0, 2), Adopt(1, 0)]


def test_what_the_old_worker_did_for_others_its_successor_does() -> None:
    slots = Slots(2)
    slots.start()
    slots.ready(0, 0.0)
    assert [slots.died(1, 0.1) for _ in range(3)] == [[Start(1, 1), Adopt(0, 1)], [Start(1, 1)], []]
    slots.replace(0, 1.0)
    slots.ready(2, 2.0)
    assert slots.tick(2.0 + EARLY_S) == [Adopt(0, 1), Retire(0)], "by the new line, as `line_of` says"
    assert slots.line_of(0) == 2
    assert slots.tick(0.1 + RETRY_S) == [Start(1, 1)]
    assert slots.ready(1, 12.0) == [Release(0, 1)]


def test_a_leaver_that_never_ends_is_killed() -> None:
    slots = serving(1)
    slots.replace(0, 1.0)
    slots.ready(1, 2.0)
    slots.tick(3.0)
    assert slots.tick(102.9) == []
    assert slots.tick(103.0) == [Kill(0)]


def test_slots_are_replaced_one_after_the_other() -> None:
    slots = serving(2)
    rolling = Rolling(2)
    assert rolling.step(slots, 1.0) == [Start(0, 2)]
    assert rolling.turns == [Turn.STARTING, Turn.WAITING]
    assert rolling.step(slots, 1.1) == []
    slots.ready(2, 2.0)
    assert rolling.step(slots, 2.1) == []
    slots.tick(3.0)
    assert rolling.step(slots, 3.0) == [Start(1, 3)]
    assert rolling.turns == [Turn.REPLACED, Turn.STARTING]
    slots.ready(3, 4.0)
    slots.tick(5.0)
    assert rolling.step(slots, 5.0) == []
    assert (rolling.has_ended, rolling.succeeded) == (True, True)


def test_a_restart_ends_at_the_first_worker_that_cannot_serve() -> None:
    slots = serving(3)
    rolling = Rolling(3)
    rolling.step(slots, 1.0)
    slots.died(3, 1.5)
    assert rolling.step(slots, 1.6) == []
    assert rolling.turns == [Turn.FAILED, Turn.UNTOUCHED, Turn.UNTOUCHED]
    assert (rolling.has_ended, rolling.succeeded) == (True, False)
    assert rolling.step(slots, 2.0) == []


def test_a_second_restart_waits_for_the_leavers_of_the_first() -> None:
    slots = serving(1)
    for rolling, line in ((Rolling(1), 1), (Rolling(1), 0)):
        assert rolling.step(slots, 10.0) == [Start(0, line)]
        slots.ready(line, 11.0)
        slots.tick(12.0)
        rolling.step(slots, 12.0)
        assert rolling.succeeded
        third = Rolling(1)
        assert third.step(slots, 13.0) == []
        assert third.turns == [Turn.CLEARING]
        slots.died(1 - line, 14.0)


def test_a_slot_that_rests_has_nobody_to_replace() -> None:
    slots = serving(2)
    for _ in range(3):
        slots.died(1, 0.1)
    rolling = Rolling(2)
    rolling.step(slots, 1.0)
    slots.ready(2, 2.0)
    slots.tick(3.0)
    rolling.step(slots, 3.0)
    assert rolling.turns == [Turn.REPLACED, Turn.VACANT]
    assert rolling.succeeded


EVENTS = st.tuples(st.sampled_from(("ready", "dies", "restart", "wait")), st.integers(0, 7), st.floats(0.0, 12.0))


@given(st.integers(1, 4), st.lists(EVENTS, max_size=80))
def test_whatever_happens_in_a_restart_a_slot_has_at_most_two_lives_and_never_none_for_nothing(
    count: int, events: list[tuple[str, int, float]]
) -> None:
    slots = Slots(count, leave_s=30.0)
    living: set[int] = set()
    retired: set[int] = set()
    rolling: Rolling | None = None
    now = 0.0

    def act(actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Start(slot, line):
                    assert line not in living, "a line names one life"
                    assert line % count == slot
                    living.add(line)
                case Retire(line):
                    assert line in living
                    assert slots.line_of(line % count) in living - retired, "first the new one serves"
                    retired.add(line)
                case Kill(line):
                    living.discard(line)
                    retired.discard(line)
                    act(slots.died(line, now))
                case Adopt(by, _):
                    assert slots.line_of(by) in living

    act(slots.start())
    for event, number, passes in events:
        now += passes
        act(slots.tick(now))
        if rolling is not None:
            act(rolling.step(slots, now))
        line = number % (2 * count)
        if event == "ready" and line in living - retired:
            act(slots.ready(line, now))
        elif event == "dies" and line in living:
            living.discard(line)
            retired.discard(line)
            act(slots.died(line, now))
        elif event == "restart" and (rolling is None or rolling.has_ended):
            rolling = Rolling(count)
        for position, slot in enumerate(slots.slots):
            lives = {line for line in living if line % count == position}
            assert len(lives) <= 2
            if slot.phase in (SlotPhase.STARTING, SlotPhase.READY):
                assert slot.line in lives - retired
            assert retired & lives == ({slot.leaver.line} if slot.leaver is not None else set())
