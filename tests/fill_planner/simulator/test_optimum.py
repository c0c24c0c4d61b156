"""What nobody can beat: exact where it can be counted by hand, and above everything that was replayed."""

from __future__ import annotations

import numpy as np
import pytest

from fill_planner.simulator.optimum import best_days, cache_bound
from fill_planner.simulator.replay import RULES, replay, site_world
from fill_planner.simulator.scenario import SiteSpec, Strategy
from policies.belady import space_time_bound
from policies.trace import collect

UNIT = np.ones(4)


def test_a_disk_for_everything_serves_all_but_the_first_request_of_each_file() -> None:
    asked = [np.array([0, 1, 0, 1, 0])]
    assert cache_bound(asked, UNIT, 4.0) == 3.0


def test_a_small_disk_buys_the_shortest_intervals_first() -> None:
    # Intervals 2, 2 and 2 of one byte each: a disk of one byte over six requests has six to give.
    asked = [np.array([0, 1, 0, 1, 0, 2])]
    assert cache_bound(asked, UNIT, 1.0) == 3.0
    assert cache_bound(asked, UNIT, 0.5) == 0.0, "a file that is larger than the disk is on no disk"


def test_it_is_the_bound_of_the_policies_room() -> None:
    rng = np.random.default_rng(4)
    sizes = rng.integers(1, 30, 60).astype(np.float64)
    asked = rng.integers(0, 60, 3000)
    trace = collect((0, int(row), int(sizes[row])) for row in asked)
    for disk in (50, 200, 500):
        served = float(sizes[asked].sum()) * (1 - space_time_bound(trace, [disk])[0].bytes)
        assert cache_bound([asked], sizes, float(disk)) == pytest.approx(served)


def test_hours_before_the_counted_ones_are_free_and_not_counted() -> None:
    hours = [np.array([0, 1]), np.array([0, 1])]
    assert cache_bound(hours, UNIT, 4.0, counted_from=1) == 2.0


def test_no_cache_beats_the_bound() -> None:
    rng = np.random.default_rng(6)
    sizes = rng.integers(1, 20, 300).astype(np.float64)
    hours = [np.minimum(rng.zipf(1.2, 400) - 1, 299) for _ in range(30)]
    site = SiteSpec(boxes=1, disk="400")
    world = site_world(sizes, site, 400, len(hours), (), 0)
    bound = cache_bound(hours, sizes, 400.0, counted_from=10)
    for strategy in (Strategy.LRU, Strategy.S3FIFO):
        assert replay(world, RULES[strategy], hours).inside[10:].sum() <= bound


def test_the_best_set_of_a_day_is_the_most_asked_for_that_fits() -> None:
    day = [np.array([0, 0, 0, 1, 1, 2])] + [np.array([], dtype=np.int64)] * 23
    other = [np.array([3, 3, 2])] + [np.array([], dtype=np.int64)] * 23
    assert best_days([*day, *other], UNIT, 1.0, 0, 0) == 3.0 + 2.0
    assert best_days([*day, *other], np.array([2.0, 1.0, 1.0, 1.0]), 2.5, 0, 0) == 6.0 + 1.0 + 3.0
