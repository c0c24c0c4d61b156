"""Generated demand has the shape of the public figures it is fitted to, and is the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from fill_planner.simulator.catalogue import Catalogue, make_catalogue
from fill_planner.simulator.demand import SiteDemand, drawn, site_demand
from fill_planner.simulator.scenario import Demand, Rendition
from fill_planner.simulator.shape import (
    daily_curve,
    decay,
    exponent_for,
    first_week_fraction,
    loglog_slope,
    mandelbrot_zipf,
    week_factor,
)

DAYS = 14


def world(demand: Demand, seed: int = 1, days: int = DAYS) -> tuple[Catalogue, SiteDemand]:
    catalogue = make_catalogue(demand, days, np.random.default_rng(seed))
    return catalogue, site_demand(catalogue, demand, days, 1.0, np.random.default_rng(seed + 1))


def test_the_law_has_the_slope_that_was_asked_for() -> None:
    for shift in (0.0, 50.0, 300.0):
        weights = mandelbrot_zipf(20_000, exponent_for(-0.83, 10, 2000, shift), shift)
        assert loglog_slope(weights, 10, 2000) == pytest.approx(-0.83, abs=1e-9)
    assert exponent_for(-0.83, 10, 2000, 0.0) == pytest.approx(0.83)
    with pytest.raises(ValueError, match="no line"):
        exponent_for(-0.83, 10, 10, 0.0)


def test_titles_in_their_first_seven_days_hold_their_share_of_a_weeks_views() -> None:
    demand = Demand(titles=4000, new_week_share=0.36, taste=0.0, daily_noise=0.0)
    catalogue, truth = world(demand)
    new = total = 0.0
    for hour in range(0, DAYS * 24):
        shares = truth.title_shares(hour) * truth.total(hour)
        age = hour + 0.5 - catalogue.announced.release_hour
        new += float(shares[(age >= 0) & (age < 7 * 24)].sum())
        total += float(shares.sum())
    assert new / total == pytest.approx(0.36, abs=0.02)


def test_half_a_year_of_views_has_the_slope_of_the_engagement_report() -> None:
    demand = Demand(taste=0.0, daily_noise=0.0)
    days = 182
    _, truth = world(demand, days=days)
    views = np.zeros(demand.titles)
    for day in range(days):
        views += truth.title_shares(day * 24 + 20)
    assert loglog_slope(views, 10, 2000) == pytest.approx(-0.83, abs=0.12)


def test_nobody_asks_for_what_is_not_released_yet() -> None:
    catalogue, truth = world(Demand(titles=500))
    early = catalogue.announced.release_hour > 5 * 24
    assert early.any()
    assert truth.title_shares(5 * 24)[early].max() == 0.0
    asked = np.concatenate(list(drawn(truth, 5 * 24, np.random.default_rng(9))))
    assert not np.isin(asked, np.flatnonzero(early)).any()


def test_a_release_loses_half_in_its_half_life_and_all_views_add_up_to_one() -> None:
    at = decay(np.array([-0.1, 0.0, 7.0, 14.0]), 7.0)
    assert at[0] == 0.0
    assert (at[2] / at[1], at[3] / at[1]) == (pytest.approx(0.5), pytest.approx(0.25))
    fine = decay(np.arange(0, 400, 0.01), 7.0).sum() * 0.01
    assert fine == pytest.approx(1.0, abs=0.001)
    assert first_week_fraction(7.0) == 0.5


def test_hours_and_weekdays_move_views_and_keep_their_sum() -> None:
    assert daily_curve(()).sum() == pytest.approx(1.0)
    assert daily_curve((1.0, *[0.0] * 22, 3.0))[23] == 0.75
    week = [week_factor(day, 1.5) for day in range(7)]
    assert sum(week) == pytest.approx(7.0)
    assert week[5] / week[0] == pytest.approx(1.5)


def test_requests_of_an_hour_follow_the_expected_views() -> None:
    demand = Demand(titles=300, views_per_day=1e6)
    _, truth = world(demand)
    asked = truth.draw(20, np.random.default_rng(3))
    expected = truth.expected(20)
    assert len(asked) == pytest.approx(truth.total(20), rel=0.02)
    top = np.argsort(-expected)[:20]
    seen = np.bincount(asked, minlength=len(expected))[top]
    assert np.abs(seen - expected[top]).max() < 6 * np.sqrt(expected[top].max())


def test_renditions_share_a_titles_views_and_are_files_of_their_own_size() -> None:
    demand = Demand(titles=300, renditions=(Rendition("low", 1.0, 1.0), Rendition("high", 4.0, 3.0)))
    catalogue, truth = world(demand)
    expected = truth.expected(30).reshape(300, 2)
    sizes = catalogue.announced.size_bytes.reshape(300, 2)
    assert expected[:, 1] == pytest.approx(3 * expected[:, 0])
    assert sizes[:, 1] / sizes[:, 0] == pytest.approx(4.0, rel=1e-6)


def test_the_same_seed_gives_the_same_demand_and_another_one_another() -> None:
    def some(seed: int) -> list[int]:
        _, truth = world(Demand(titles=300, views_per_day=2000), seed)
        return [int(asked.sum()) for asked in drawn(truth, 48, np.random.default_rng(seed))]

    assert some(1) == some(1)
    assert some(1) != some(2)


def test_a_catalogue_of_nothing_but_releases_is_refused_with_words() -> None:
    with pytest.raises(ValueError, match="no back catalogue beside"):
        make_catalogue(Demand(titles=100, releases_share=0.1), 56, np.random.default_rng(1))
