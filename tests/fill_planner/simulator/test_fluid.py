"""Expected values instead of requests: exact small cases, and how far off they are from single requests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill_planner.simulator import fluid, regions
from fill_planner.simulator.demand import Requests
from fill_planner.simulator.replay import RULES, replay, site_world
from fill_planner.simulator.run import simulate as simulate_requests
from fill_planner.simulator.scenario import Demand, Rendition, Scenario, SiteSpec, Strategy
from fill_planner.simulator.shape import daily_curve

SMALL = Scenario(
    name="fluid",
    days=6,
    warm_up_days=6,
    seeds=(1,),
    fluid=True,
    demand=Demand(
        titles=3000,
        views_per_day=30_000,
        renditions=(Rendition("one", 4.0, 1.0),),
        size_spread=0.0,
        taste=0.0,
        daily_noise=0.0,
    ),
    sites=(SiteSpec(disk="10%", boxes=1),),
    strategies=(Strategy.PLAN, Strategy.LRU, Strategy.PLAN_LRU),
)


def test_the_characteristic_time_fills_the_cache() -> None:
    views = np.array([100.0, 10.0, 1.0, 0.1])
    files = np.array([1.0, 10.0, 100.0, 1000.0])
    total = float((views * files).sum())
    past = fluid.Past(np.tile(views[:, None], 3), files)
    assert past.totals.tolist() == [total] * 3
    found = fluid.cached(past, 2, files, 50.0)
    assert float((found.there * files).sum()) == pytest.approx(50.0, rel=2e-3)
    assert (np.diff(found.there) < 0).all()


def test_requests_are_counted_back_from_noon_and_the_oldest_day_goes_on() -> None:
    past = fluid.Past(np.array([[2.0, 4.0]]), np.array([5.0]))
    assert past.totals.tolist() == [10.0, 20.0]
    assert past.asked_within(1, 5.0) == pytest.approx([1.0])
    assert past.asked_within(1, 15.0) == pytest.approx([2.0 + 1.0])
    assert past.asked_within(1, 45.0) == pytest.approx([2.0 + 2.0 + 5.0])


def test_a_cache_for_everything_holds_all_that_was_asked_for_and_one_of_nothing_nothing() -> None:
    past = fluid.Past(np.array([[3.0], [0.0]]), np.ones(2))
    assert fluid.cached(past, 0, np.ones(2), 2.0).there == pytest.approx([1.0, 0.0])
    assert fluid.cached(past, 0, np.ones(2), 0.0).there.tolist() == [0.0, 0.0]


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 50)), min_size=1, max_size=30), st.floats(0, 300))
def test_pins_fit_and_the_most_valuable_go_first(classes: list[tuple[float, float]], space: float) -> None:
    values, sizes = (np.array(column) for column in zip(*classes, strict=True))
    shares = fluid.pinned(values, sizes, space)
    assert ((shares >= 0) & (shares <= 1 + 1e-9)).all()
    assert float((shares * sizes).sum()) <= space + 1e-6
    for row in range(len(values)):
        if shares[row] < 1 - 1e-9 and values[row] > 0:
            assert (shares[values < values[row]] == 0).all()


def test_an_lru_of_files_with_a_steady_popularity_is_within_a_point_of_single_requests() -> None:
    rng = np.random.default_rng(3)
    weights = 1.0 / (np.arange(1, 2001) + 20.0)
    weights /= weights.sum()
    per_hour = 4000.0 * daily_curve(())
    hours: list[Requests] = [rng.choice(2000, rng.poisson(count), p=weights) for _ in range(8) for count in per_hour]
    sizes = np.ones(2000)
    world = site_world(sizes, SiteSpec(boxes=1, disk="200"), 200, len(hours), (), 0)
    course = replay(world, RULES[Strategy.LRU], hours)
    asked = course.inside[96:].sum() + course.outside[96:].sum()
    there = fluid.cached(fluid.Past(np.tile(weights[:, None] * 4000, 7), sizes), 6, sizes, 200.0).there
    assert float((weights * there).sum()) == pytest.approx(float(course.inside[96:].sum() / asked), abs=0.01)


@pytest.mark.parametrize("strategy", [Strategy.LRU, Strategy.PLAN_LRU, Strategy.PLAN])
def test_regions_are_within_two_points_of_single_requests_with_releases(strategy: Strategy) -> None:
    by_values = regions.simulate(replace(SMALL, strategies=(strategy,))).runs[0].figures[strategy]
    planner = replace(SMALL.planner, second_copy_share=0.0)
    scenario = replace(SMALL, fluid=False, strategies=(strategy,), with_optimum=False, planner=planner)
    by_requests = simulate_requests(scenario).runs[0].figures[strategy]
    assert by_values.inside_share == pytest.approx(by_requests.inside_share, abs=0.02)
    assert by_values.demand_bytes == pytest.approx(by_requests.demand_bytes, rel=0.05)


def test_the_plan_of_a_release_day_does_not_know_which_release_will_be_a_success() -> None:
    truth = regions.region_demand(SMALL.demand, SMALL.total_days)
    expected = regions.region_forecasts(truth, SMALL)
    day = 8
    coming = truth.first_day == day
    assert coming.any()
    assert np.ptp(truth.views[coming, day]) > 0
    assert np.ptp(expected[coming, day]) == pytest.approx(0.0)
    assert (expected[truth.first_day > day, day] == 0).all()


def test_a_forecast_of_a_region_does_not_see_the_future() -> None:
    truth = regions.region_demand(SMALL.demand, SMALL.total_days)
    other = replace(truth, views=np.where(np.arange(SMALL.total_days) >= 7, truth.views * 3.0, truth.views))
    same = regions.region_forecasts(truth, SMALL)[:, :8]
    assert regions.region_forecasts(other, SMALL)[:, :8] == pytest.approx(same)


def test_classes_add_up_to_the_catalogue_and_its_demand() -> None:
    demand = replace(SMALL.demand, renditions=(Rendition("low", 1.0, 1.0), Rendition("high", 3.0, 3.0)))
    truth = regions.region_demand(demand, 7)
    episodes = regions.region_demand(replace(demand, episodes=5), 7)
    assert (episodes.count.sum() / truth.count.sum(), episodes.views.sum() / truth.views.sum()) == pytest.approx(
        (5.0, 0.2)
    )
    assert truth.count.sum() == pytest.approx(2 * demand.titles)
    per_day = (truth.views * truth.count[:, None]).sum(axis=0)
    assert per_day.mean() == pytest.approx(demand.views_per_day, rel=0.001)
    low, high = truth.rendition == 0, truth.rendition == 1
    assert truth.views[high] == pytest.approx(3 * truth.views[low])


def test_sites_differ_in_audience_and_taste_and_the_same_seed_gives_the_same() -> None:
    scenario = replace(SMALL, demand=replace(SMALL.demand, taste=0.5), sites=(SiteSpec(count=3, weight_spread=0.8),))
    first, again = (regions.simulate(scenario).runs[0] for _ in range(2))
    assert first.figures == again.figures
    assert first.bounds is not None
    assert first.bounds.best_days >= first.figures[Strategy.PLAN].inside_share


def test_fluid_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="s3fifo"):
        regions.simulate(replace(SMALL, strategies=(Strategy.S3FIFO,)))
    with pytest.raises(ValueError, match="no back catalogue"):
        regions.region_demand(replace(SMALL.demand, releases_share=0.1), 60)
