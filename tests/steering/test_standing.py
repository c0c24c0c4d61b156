"""Loads between two reports, hysteresis, slow start and reservations, by simulated time."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.world import Choice, GroupRanking, Ranking, Why
from steering.candidates import Rules, Scene
from steering.ranking import rank, rank_in
from steering.reservations import ReservationRules, Reservations
from steering.standing import RAMP_FLOOR, STEPS, LoadRules, Memory, Standing, left_of, remember
from steering.world import World
from tests.steering.worlds import asking, box, holds, key, origin, site, suspect, well, world

RULES = LoadRules()
BOXES = tuple(f"a{n}" for n in range(4))


def cluster(loads: dict[str, float], *more: object) -> World:
    changes = [site("a", "10.0.0.0/8"), origin(), *(box(name, "a") for name in BOXES)]
    changes += [well(name, load=loads.get(name, 0.5)) for name in BOXES]
    return world([*changes, *more])  # type: ignore[list-item]


def looked(worlds: list[World], step_s: float = 1.0, rules: LoadRules = RULES) -> Memory:
    memory = Memory()
    for at, one in enumerate(worlds):
        memory = remember(memory, one, {}, at * step_s, rules)
    return memory


def test_a_box_over_the_bound_is_crowded_until_it_is_well_below() -> None:
    def is_crowded(*loads: float) -> bool:
        return looked([cluster({"a0": load}) for load in loads]).standings["a0"].crowded

    # The mean is (0.5 × 3 + load) / 4, the bound 1.2 times that: 0.643 is on it.
    assert not is_crowded(0.64)
    assert is_crowded(0.65)
    assert is_crowded(0.65, 0.63)
    assert not is_crowded(0.65, 0.55)


def test_nobody_is_crowded_while_all_are_nearly_idle() -> None:
    assert not looked([cluster({"a0": 0.25, "a1": 0.0, "a2": 0.0, "a3": 0.0})]).standings["a0"].crowded


def test_a_full_box_is_full_until_it_has_fallen_by_the_margin() -> None:
    def is_full(*loads: float) -> bool:
        return looked([cluster({"a0": load}) for load in loads]).standings["a0"].full

    assert [is_full(0.84), is_full(0.85), is_full(0.85, 0.81), is_full(0.85, 0.79)] == [False, True, True, False]


@given(st.floats(0, 1.2), st.floats(-0.4, 0.4))
def test_what_is_left_moves_only_when_the_load_has_moved_by_half_a_step(load: float, by: float) -> None:
    first = left_of(load, None)
    then = left_of(load + by, first)
    moved = abs(min(1.0, max(0.0, load + by)) - min(1.0, load))
    assert 0 < then <= 1
    if then == first:
        assert moved <= 2.0 / STEPS
    else:
        assert moved > 0.5 / STEPS - 1e-9


def test_standings_that_did_not_change_are_the_same_objects() -> None:
    before = looked([cluster({})])
    after = remember(before, cluster({"a1": 0.9}), {}, 1.0, RULES)
    assert after.standings["a0"] is before.standings["a0"]
    assert after.standings["a1"] != before.standings["a1"]


def test_who_comes_back_starts_slowly_and_who_was_there_from_the_beginning_does_not() -> None:
    away, back = cluster({}, suspect("a0")), cluster({})
    memory = remember(remember(Memory(), away, {}, 0.0, RULES), back, {}, 100.0, RULES)
    assert memory.standings["a0"].ramp == RAMP_FLOOR
    assert memory.standings["a1"].ramp == 1.0
    ramps = [
        remember(memory, back, {}, 100.0 + after_s, RULES).standings["a0"].ramp for after_s in (15, 30, 59, 60, 600)
    ]
    assert ramps == [0.25, 0.5, pytest.approx(59 / 60), 1.0, 1.0]
    again = remember(remember(memory, away, {}, 110.0, RULES), back, {}, 120.0, RULES)
    assert again.standings["a0"].ramp == RAMP_FLOOR


def test_a_box_that_starts_slowly_gets_its_share_of_plays_and_gives_back_none() -> None:
    it = cluster({}, *(holds(name, key()) for name in BOXES))

    def firsts(ramp: float) -> dict[str, str]:
        standings = {name: Standing(ramp=ramp if name == "a0" else 1.0) for name in BOXES}
        scene = Scene(it, Rules(), standings)
        clients = [f"10.{n // 250}.0.{n % 250}" for n in range(2000)]
        return {client: rank_in(scene, asking(client)).groups[0].choices[0].appliance_id for client in clients}

    few, some, all_of_it = firsts(0.1), firsts(0.5), firsts(1.0)
    shares = [Counter(found.values())["a0"] / 2000 for found in (few, some, all_of_it)]
    assert 0.02 < shares[0] < 0.05
    assert 0.11 < shares[1] < 0.18
    assert 0.22 < shares[2] < 0.28
    assert all(all_of_it[client] == first for client, first in some.items() if first == "a0"), "only towards it"


def test_a_full_holder_goes_behind_one_that_must_fetch_and_before_the_origin() -> None:
    it = cluster({"a0": 0.9}, holds("a0", key()))
    choices = rank(it, asking("10.0.0.1", count=4)).groups[0].choices
    assert [choice.why for choice in choices[:3]] == [Why.RENDEZVOUS] * 3
    assert (choices[3].appliance_id, choices[3].why) == ("a0", Why.NEARLY_FULL)
    assert choices[4].why is Why.ORIGIN


def answered(*firsts: str) -> Ranking:
    groups = tuple(GroupRanking(f"g{n}", (Choice(first, "a", "", Why.HOLDS),)) for n, first in enumerate(firsts))
    return Ranking(1, "", "a", groups)


TENTH = ReservationRules(play_bps=1e9, fade_s=20.0)
"""A play takes a tenth of a box."""


def test_a_play_counts_from_the_moment_it_is_handed_out_in_equal_parts_for_its_groups() -> None:
    it = cluster({})
    given = Reservations(TENTH, 0.0)
    given.give(answered("a0"))
    given.give(answered("a1", "a1", "a2", ""))
    found = given.fold(it.appliances, it.health, 0.0)
    assert found == {"a0": pytest.approx(0.1), "a1": pytest.approx(0.05), "a2": pytest.approx(0.025)}
    assert remember(Memory(), it, found, 0.0, RULES).standings["a0"].load == pytest.approx(0.6)


def test_what_reports_show_is_reserved_no_longer_and_a_falling_report_takes_nothing() -> None:
    given = Reservations(TENTH, 0.0)
    before = cluster({})
    given.fold(before.appliances, before.health, 0.0)
    for _ in range(3):
        given.give(answered("a0"))
    assert given.fold(before.appliances, before.health, 0.0)["a0"] == pytest.approx(0.3)
    risen = cluster({"a0": 0.7})
    assert given.fold(risen.appliances, risen.health, 0.0)["a0"] == pytest.approx(0.1)
    fallen = cluster({"a0": 0.4})
    assert given.fold(fallen.appliances, fallen.health, 0.0)["a0"] == pytest.approx(0.1)
    assert "a0" not in given.fold(risen.appliances, risen.health, 0.0)


def test_what_no_report_ever_shows_fades() -> None:
    it = cluster({})
    given = Reservations(TENTH, 0.0)
    given.give(answered("a0"))
    given.fold(it.appliances, it.health, 0.0)
    found = [given.fold(it.appliances, it.health, at_s).get("a0", 0.0) for at_s in (20.0, 40.0, 300.0)]
    assert found == [pytest.approx(0.0368, abs=1e-3), pytest.approx(0.0135, abs=1e-3), 0.0]


def test_several_processes_count_their_own_for_the_others_too_and_the_gone_for_nobody() -> None:
    it = cluster({})
    given = Reservations(ReservationRules(1e9, 20.0, processes=3), 0.0)
    given.give(answered("a0"))
    given.give(answered("never-was"))
    assert given.fold(it.appliances, it.health, 0.0) == {"a0": pytest.approx(0.3)}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_a_burst_between_two_reports_stays_within_the_bound(seed: int) -> None:
    """200 plays of half a percent each, no report in between: without reservations one title's plays fill two boxes."""
    rng = random.Random(seed)
    holders = rng.sample(BOXES, 2)
    it = cluster(dict.fromkeys(BOXES, 0.5), *(holds(name, key()) for name in holders))
    given, memory, now_s = Reservations(ReservationRules(5e7, 1000.0), 0.0), Memory(), 0.0
    for n in range(200):
        if n % 5 == 0:
            now_s += 0.25
            memory = remember(memory, it, given.fold(it.appliances, it.health, now_s), now_s, RULES)
        client = f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(256)}"
        given.give(rank(it, asking(client), Rules(), memory.standings))
    loads = remember(memory, it, given.fold(it.appliances, it.health, now_s), now_s, RULES).standings
    assert max(standing.load for standing in loads.values()) < RULES.spill_from + 0.03
