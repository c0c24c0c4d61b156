"""The replay of one site: every byte is either inside or outside, no disk holds more than it has, and why a byte came from outside is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fill_planner.simulator.demand import Requests
from fill_planner.simulator.planning import Reports, Wanted
from fill_planner.simulator.replay import CAUSES, RULES, Cause, Course, SiteReplay, SiteWorld, replay, site_world
from fill_planner.simulator.scenario import Outage, SiteSpec, Strategy
from fill_planner.simulator.shape import Bools
from policies.admission import AdmissionName
from policies.eviction import PolicyName, make_policy
from policies.replay import replay as replay_trace
from policies.trace import collect

ONE_BOX = SiteSpec(boxes=1, disk="3", cache_share=0.0)
ADMISSIONS = list(AdmissionName)
OUTSIDE = {cause: CAUSES.index(cause) for cause in Cause}


class FixedPlan:
    """Always wants the same files on the same boxes, and notes what it was told."""

    def __init__(self, pins: Sequence[Sequence[int]], files: int) -> None:
        self.pins = np.zeros((len(pins), files), dtype=np.bool_)
        for box, rows in enumerate(pins):
            self.pins[box, list(rows)] = True
        self.told: list[tuple[int, Reports]] = []

    def plan(self, hour: int, reports: Reports, pinned: Bools, present: Bools) -> Wanted:
        self.told.append((hour, reports))
        return Wanted(
            self.pins, tuple(np.flatnonzero(row & ~held) for row, held in zip(self.pins, present, strict=True))
        )


def unit_world(site: SiteSpec, files: int, hours: int, outages: Sequence[Outage] = ()) -> SiteWorld:
    return site_world(np.ones(files), site, site.disk_bytes(files), hours, outages, 0)


def hours_of(*hours: Sequence[int]) -> list[Requests]:
    return [np.array(hour, dtype=np.int64) for hour in hours]


def outside(course: Course, cause: Cause) -> float:
    return float(course.outside[:, OUTSIDE[cause]].sum())


def test_lru_of_two_files_misses_exactly_what_lru_of_two_files_misses() -> None:
    world = unit_world(replace(ONE_BOX, disk="2"), 3, 2)
    course = replay(world, RULES[Strategy.LRU], hours_of([0, 1, 0, 2], [0, 1]))
    assert course.inside.tolist() == [1.0, 1.0]
    assert outside(course, Cause.CONTENT) == 4.0
    assert course.replaced.tolist() == [1, 1]
    assert course.upstream.tolist() == [3.0, 1.0]


@pytest.mark.parametrize("strategy", [Strategy.LRU, Strategy.S3FIFO])
def test_a_cache_misses_what_the_policies_room_says_it_misses(strategy: Strategy) -> None:
    rng = np.random.default_rng(5)
    sizes = rng.integers(1, 50, 200).astype(np.float64)
    asked = np.minimum(rng.zipf(1.3, 20_000) - 1, 199)
    world = site_world(sizes, replace(ONE_BOX, disk="1000"), 1000, 1, (), 0)
    course = replay(world, RULES[strategy], [asked])
    name = PolicyName(strategy.value)
    trace = collect((0, int(row), int(sizes[row])) for row in asked)
    misses, tally = replay_trace(trace, make_policy(name, 1000), 1000)
    assert outside(course, Cause.CONTENT) == tally.missed_bytes
    assert course.inside.sum() / (course.inside.sum() + tally.missed_bytes) == pytest.approx(1 - misses.bytes)


def test_what_is_pinned_is_inside_from_the_hour_in_which_it_is_filled() -> None:
    site = replace(ONE_BOX, window_opens_hour=0, window_hours=2, fill_gbps=8e-9 / 3600)
    plan = FixedPlan([[0, 1]], 3)
    asked = [*hours_of(*[[2]] * 24), *hours_of([0, 1, 2], [0, 1, 2], [0, 1, 2])]
    course = replay(unit_world(site, 3, 27), RULES[Strategy.PLAN], asked, plan)
    assert course.filled[24:].tolist() == [1.0, 1.0, 0.0]
    assert course.inside[24:].tolist() == [1.0, 2.0, 2.0]
    assert [hour for hour, _ in plan.told] == [24]
    assert plan.told[0][1].views[:, 0].tolist() == [0.0, 0.0, 24.0]


def test_a_window_that_closes_and_a_volume_that_is_used_up_leave_the_rest_for_another_night() -> None:
    site = replace(ONE_BOX, disk="10", window_opens_hour=0, window_hours=3, fill_gbps=8e-9 / 3600)
    asked = hours_of(*[[0]] * 72)
    slow = replay(unit_world(site, 10, 72), RULES[Strategy.PLAN], asked, FixedPlan([range(5)], 10))
    assert (slow.filled[24:48].sum(), slow.filled[48:].sum()) == (3.0, 2.0)
    capped = replace(site, fill_gbps=1.0, fill_tb=2e-12)
    little = replay(unit_world(capped, 10, 72), RULES[Strategy.PLAN], asked, FixedPlan([range(5)], 10))
    assert (little.filled[24:48].sum(), little.filled[48:].sum()) == (2.0, 2.0)


def test_a_second_copy_comes_from_the_box_beside_and_not_from_outside() -> None:
    site = SiteSpec(boxes=2, disk="4", window_opens_hour=0)
    course = replay(unit_world(site, 4, 25), RULES[Strategy.PLAN], hours_of(*[[3]] * 25), FixedPlan([[0], [0]], 4))
    assert (course.filled.sum(), course.copied.sum()) == (1.0, 1.0)


def test_what_the_cache_has_is_pinned_without_being_fetched_again() -> None:
    site = replace(ONE_BOX, window_opens_hour=0)
    course = replay(unit_world(site, 3, 25), RULES[Strategy.PLAN_LRU], hours_of(*[[0]] * 25), FixedPlan([[0]], 3))
    assert course.filled.sum() == 0.0
    assert outside(course, Cause.CONTENT) == 1.0


def test_a_box_that_is_away_makes_health_misses_of_what_it_holds() -> None:
    site = SiteSpec(name="s", boxes=2, disk="4", window_opens_hour=0)
    plan = FixedPlan([[0, 1], [1]], 4)
    away = Outage("s", 0, 30, 2)
    asked = [*hours_of(*[[3]] * 30), *hours_of([0, 1, 2], [], [0, 1])]
    course = replay(unit_world(site, 4, 33, (away,)), RULES[Strategy.PLAN], asked, plan)
    assert course.outside[30].tolist() == [1.0, 1.0, 0.0]
    assert course.inside[30] == 1.0
    assert course.inside[32] == 2.0


def test_a_site_without_any_box_up_serves_nothing_and_calls_it_other() -> None:
    site = SiteSpec(name="s", boxes=1, disk="4")
    course = replay(unit_world(site, 4, 2, (Outage("s", 0, 0, 1),)), RULES[Strategy.LRU], hours_of([0, 1], [0]))
    assert course.outside.tolist() == [[0.0, 0.0, 2.0], [1.0, 0.0, 0.0]]


def test_what_the_boxes_cannot_send_is_a_health_miss() -> None:
    site = replace(ONE_BOX, egress_gbps=2 * 8e-9 / 3600)
    course = replay(unit_world(site, 3, 1), RULES[Strategy.LRU], hours_of([0, 0, 0, 0, 0]))
    assert course.inside[0] == pytest.approx(2.0)
    assert course.outside[0].tolist() == pytest.approx([1.0, 2.0, 0.0])


def test_boxes_that_do_not_know_of_each_other_hold_the_same_twice() -> None:
    rng = np.random.default_rng(2)
    asked = [np.minimum(rng.zipf(1.2, 5_000) - 1, 99) for _ in range(4)]
    world = unit_world(SiteSpec(boxes=2, disk="20"), 100, 4)
    shared, split = (replay(world, RULES[one], asked) for one in (Strategy.LRU, Strategy.SPLIT_LRU))
    assert shared.inside.sum() > split.inside.sum()


@settings(max_examples=40)
@given(st.data())
def test_every_byte_is_inside_or_outside_and_no_disk_is_overfull(data: st.DataObject) -> None:
    files = data.draw(st.integers(3, 12))
    boxes = data.draw(st.integers(1, 3))
    sizes = np.array(data.draw(st.lists(st.integers(1, 9), min_size=files, max_size=files)), dtype=np.float64)
    disk = data.draw(st.integers(boxes, 60))
    site = SiteSpec(name="s", boxes=boxes, disk=str(max(1, disk)), window_opens_hour=1, window_hours=3)
    outages = [
        Outage("s", data.draw(st.integers(0, boxes - 1)), data.draw(st.integers(0, 40)), data.draw(st.integers(1, 9)))
        for _ in range(data.draw(st.integers(0, 2)))
    ]
    hours = 52
    asked = [np.array(data.draw(st.lists(st.integers(0, files - 1), max_size=6)), dtype=np.int64) for _ in range(hours)]
    world = site_world(sizes, site, disk, hours, outages, 0)
    pins: list[list[int]] = []
    for _ in range(boxes):
        room, rows = world.box_bytes, []
        for row in data.draw(st.permutations(range(files))):
            if sizes[row] <= room:
                rows.append(row)
                room -= int(sizes[row])
        pins.append(rows)
    strategy = data.draw(st.sampled_from(list(Strategy)))
    rules = RULES[strategy]
    run = SiteReplay(
        world, rules, FixedPlan(pins, files) if rules.planned else None, data.draw(st.sampled_from(ADMISSIONS))
    )
    for hour, requests in enumerate(asked):
        run.hour(hour, requests)
        for box in range(boxes):
            assert run.held_bytes(box) <= world.box_bytes
    course = run.course()
    demanded = np.array([sizes[requests].sum() for requests in asked])
    assert course.inside + course.outside.sum(axis=1) == pytest.approx(demanded)
    assert (course.inside >= 0).all()
