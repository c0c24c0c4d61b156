"""Popularity and forecast: what traffic says about tomorrow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fill_planner.config import PlannerSettings
from fill_planner.demand import site_demands
from fill_planner.forecast.choice import MODELS, UNTESTED, forecast
from fill_planner.forecast.models import LastValue, Smoothed, WeekdaySmoothed, next_day
from fill_planner.forecast.releases import ASSUMED, BORROWED, OTHER_RELEASES, SAME_TITLE
from fill_planner.plan import CatalogueFile, HourlySeries
from fill_planner.popularity import DAY_S, DailyPopularity, Floats, daily_popularity
from tests.fill_planner.worlds import HOUR, MB, NOW, file, site, steady

END = int(NOW) // HOUR * HOUR
SETTINGS = PlannerSettings()


def history(rows: list[list[float]], start: list[int] | None = None) -> DailyPopularity:
    views = np.array(rows, dtype=np.float64)
    return DailyPopularity(views, np.array(start or [0] * len(rows), dtype=np.int64), 1 / 24)


def test_views_are_bytes_over_size_and_the_newest_day_ends_now() -> None:
    video = file("t", "v", MB)
    hours = (END - 47 * HOUR, END - 24 * HOUR, END - 23 * HOUR, END)
    found = daily_popularity([video], {video.key: HourlySeries(hours, (MB, MB, 3 * MB, MB))}, NOW, 28)
    assert found.views.tolist() == [[2.0, 4.0]]


def test_an_oldest_day_that_is_not_whole_is_left_out() -> None:
    video = file("t", "v", MB)
    series = HourlySeries((END - 30 * HOUR, END), (MB, MB))
    assert daily_popularity([video], {video.key: series}, NOW, 28).views.tolist() == [[1.0]]


def test_hours_of_the_future_and_unknown_files_say_nothing() -> None:
    video = file("t", "v", MB)
    traffic = {
        video.key: HourlySeries((END, END + HOUR), (MB, 9 * MB)),
        "vod|/media/gone/hd/v.mp4": HourlySeries((END,), (1,)),
    }
    found = daily_popularity([video], traffic, NOW, 28)
    assert found.views.tolist() == [[1.0]]


def test_no_traffic_has_no_days() -> None:
    assert daily_popularity([file("t", "v", MB)], {}, NOW, 28).days == 0


def test_the_busiest_hour_is_known() -> None:
    video = file("t", "v", MB)
    series = HourlySeries((END - 2 * HOUR, END - HOUR, END), (MB, 2 * MB, MB))
    assert daily_popularity([video], {video.key: series}, NOW, 28).peak_share == 0.5


def test_days_before_a_file_was_out_are_not_counted_as_failures() -> None:
    old, new = file("old", "v", MB), file("new", "v", MB, published_at=NOW - 2.5 * DAY_S)
    found = daily_popularity([old, new], {old.key: steady(3, MB), new.key: steady(8, MB, days=2)}, NOW, 28)
    assert found.start.tolist() == [0, 5]


@settings(max_examples=40, deadline=None)
@given(arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 30)), elements=st.floats(0, 1e6)))
@example(np.array([[1e-300, 0.0, 0.0]]))
def test_every_model_gives_a_finite_number_that_is_not_negative(views: Floats) -> None:
    past = DailyPopularity(views, np.zeros(views.shape[0], dtype=np.int64), 1 / 24)
    for model in MODELS:
        if model.min_days <= views.shape[1]:
            guess = next_day(model, past)
            assert np.isfinite(guess).all()
            assert (guess >= 0).all()


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 1e6), st.integers(14, 30))
def test_every_model_repeats_what_never_changes(views_a_day: float, days: int) -> None:
    past = history([[views_a_day] * days])
    for model in MODELS:
        assert next_day(model, past).tolist() == [pytest.approx(views_a_day)]


def test_a_week_that_repeats_is_seen_by_the_weekday_model_only() -> None:
    week = [1.0, 1.0, 1.0, 1.0, 5.0, 9.0, 9.0]
    assert next_day(WeekdaySmoothed(0.3), history([week * 3])).tolist() == [pytest.approx(1.0)]
    assert next_day(Smoothed(0.3), history([week * 3]))[0] > 4.0
    chosen = forecast(history([week * 3, [2 * v for v in week * 3]]), np.ones(2))
    assert set(chosen.models) == {"weekday-smoothed-0.3"}
    assert chosen.site_error == pytest.approx(0.0, abs=1e-9)


def test_noise_around_a_level_is_smoothed_and_a_trend_is_followed() -> None:
    rng = np.random.default_rng(1)
    noisy = forecast(
        DailyPopularity(rng.uniform(50, 150, (200, 10)), np.zeros(200, dtype=np.int64), 1 / 24), np.ones(200)
    )
    assert set(noisy.models) == {"smoothed-0.2"}
    rising = forecast(history([[10.0 * day for day in range(1, 11)]]), np.ones(1))
    assert rising.models == ("last-value",)
    assert rising.views.tolist() == [100.0]


def test_the_error_of_a_site_is_weighted_by_bytes() -> None:
    flat, jumpy = [10.0] * 9, [0.0, 20.0] * 4 + [0.0]
    light = forecast(history([flat, jumpy]), np.array([1e9, 1.0]))
    heavy = forecast(history([flat, jumpy]), np.array([1.0, 1e9]))
    assert light.site_error is not None
    assert heavy.site_error is not None
    assert light.site_error < 0.01 < heavy.site_error


def test_too_short_a_history_is_forecast_without_a_claim_to_have_been_tested() -> None:
    found = forecast(history([[4.0, 8.0]]), np.ones(1))
    assert (found.models, found.views.tolist(), found.site_error) == ((UNTESTED.name,), [6.0], None)


def test_a_file_not_out_yet_is_forecast_by_nobody() -> None:
    assert next_day(LastValue(), history([[0.0, 0.0]], [2])).tolist() == [0.0]
    assert forecast(history([[5.0] * 8, [0.0] * 8], [0, 8]), np.ones(2)).models[1] == "none"


def _models(files: list[CatalogueFile], traffic: dict[str, HourlySeries]) -> list[tuple[str, float]]:
    demand = site_demands([site("a", traffic)], files, NOW, SETTINGS)["a"]
    return [(model, value / MB) for model, value in zip(demand.models, demand.expected_bytes.tolist(), strict=True)]


def test_a_new_rendition_is_expected_to_be_viewed_like_its_title() -> None:
    known, new = file("t", "v-360", MB), file("t", "v-720", MB, published_at=NOW)
    model, views = _models([known, new], {known.key: steady(6, MB)})[1]
    assert model == SAME_TITLE
    assert views == pytest.approx(6.0)


def test_a_new_title_is_expected_to_start_like_other_new_titles() -> None:
    earlier = file("earlier", "v", MB, published_at=NOW - 3.5 * DAY_S)
    old, new = file("old", "v", MB), file("new", "v", MB, published_at=NOW)
    first_day_four = HourlySeries((END - 2 * DAY_S, END - DAY_S, END), (4 * MB, 3 * MB, 2 * MB))
    model, views = _models([old, earlier, new], {old.key: steady(50, MB), earlier.key: first_day_four})[2]
    assert model == OTHER_RELEASES
    assert views == pytest.approx(4.0)


def test_the_prior_fades_while_nobody_comes_and_ends() -> None:
    old = file("old", "v", MB)
    aged = [file(f"t{age}", "v", MB, published_at=NOW - age * DAY_S) for age in (0, 3.5, 7, 30)]
    found = _models([old, *aged], {old.key: steady(50, MB, days=40)})
    assert [value for _, value in found[1:]] == [pytest.approx(1.0), pytest.approx(0.5), 0.0, 0.0]
    assert [model for model, _ in found[1:3]] == [ASSUMED, ASSUMED]


def test_a_silent_site_borrows_from_its_region_before_it_borrows_from_all() -> None:
    video = file("t", "v", MB)
    near, far = site("near", {video.key: steady(2, MB)}), site("far", {video.key: steady(20, MB)}, region="DE")
    demand = site_demands([near, far, site("silent", {})], [video], NOW, SETTINGS)["silent"]
    assert (demand.models, demand.expected_bytes.tolist()) == ((BORROWED,), [pytest.approx(2 * MB)])
    lonely = site_demands([far, site("silent", {})], [video], NOW, SETTINGS)["silent"]
    assert lonely.expected_bytes.tolist() == [pytest.approx(20 * MB)]


def test_where_nothing_was_ever_seen_every_file_is_expected_alike() -> None:
    videos = [file("a", "v", MB), file("b", "v", 2 * MB)]
    demand = site_demands([site("first", {})], videos, NOW, SETTINGS)["first"]
    assert demand.expected_bytes.tolist() == [MB, 2 * MB]


def _daily(views: list[float], outage: tuple[int, int] | None = None) -> HourlySeries:
    """Views spread evenly over the hours of each day, the newest last; hours of the outage (from, to before `END`) without any."""
    hours = [END - 3600 * back for back in reversed(range(24 * len(views)))]
    lost = range(END - 3600 * outage[0], END - 3600 * outage[1] + 1, 3600) if outage else range(0)
    kept = [(hour, int(views[at // 24] * MB / 24)) for at, hour in enumerate(hours) if hour not in lost]
    return HourlySeries(tuple(hour for hour, _ in kept), tuple(amount for _, amount in kept))


def _silent(outage: tuple[int, int]) -> tuple[int, ...]:
    return tuple(range(END - 3600 * outage[0], END - 3600 * outage[1] + 1, 3600))


@pytest.mark.parametrize("outage", [(40, 31), (10, 3), (60, 20)])
def test_a_gap_in_the_reports_is_no_zero_demand(outage: tuple[int, int]) -> None:
    video = file("t", "v", MB)
    traffic = {video.key: _daily([24.0] * 8, outage)}
    told = daily_popularity([video], traffic, NOW, 28, _silent(outage))
    for day in range(told.days):
        assert not told.is_known(day) or told.views[0, day] == pytest.approx(24.0, rel=0.02)
    demand = site_demands([site("a", traffic, silent=_silent(outage))], [video], NOW, SETTINGS)["a"]
    assert demand.expected_bytes[0] == pytest.approx(24.0 * MB, rel=0.02)
    untold = daily_popularity([video], traffic, NOW, 28)
    assert untold.views.min() < 20.0


def test_a_day_with_less_than_a_quarter_reported_is_unknown() -> None:
    video = file("t", "v", MB)
    gap = (47, 28)
    found = daily_popularity([video], {video.key: _daily([24.0] * 5, gap)}, NOW, 28, _silent(gap))
    assert [found.is_known(day) for day in range(5)] == [True, True, True, False, True]
    assert found.views[0, 3] == 0.0


def test_a_silent_appliance_whose_clients_others_served_hides_nothing() -> None:
    video = file("t", "v", MB)
    found = daily_popularity([video], {video.key: _daily([24.0] * 4)}, NOW, 28, _silent((40, 20)))
    assert found.views.tolist() == [pytest.approx([24.0] * 4, rel=0.01)]


def test_a_first_day_counts_from_the_hour_the_file_came_out() -> None:
    old, new = file("old", "v", MB), file("new", "v", MB, published_at=END + 3600 - 1.5 * DAY_S)
    hours = tuple(END - 3600 * back for back in reversed(range(36)))
    traffic = {old.key: _daily([240.0] * 5), new.key: HourlySeries(hours, (int(MB),) * 36)}
    found = daily_popularity([old, new], traffic, NOW, 28)
    assert found.start.tolist() == [0, 3]
    assert found.views[1, 3:].tolist() == [pytest.approx(24.0, rel=0.01), pytest.approx(24.0, rel=0.01)]


def test_the_last_hours_of_a_first_day_say_nothing_of_the_day() -> None:
    old, new = file("old", "v", MB), file("new", "v", MB, published_at=END + 3600 - 1.1 * DAY_S)
    hours = tuple(END - 3600 * back for back in reversed(range(26)))
    traffic = {old.key: _daily([240.0] * 5), new.key: HourlySeries(hours, (int(MB),) * 26)}
    assert daily_popularity([old, new], traffic, NOW, 28).start.tolist() == [0, 4]


def test_files_of_a_title_and_of_a_rendition_are_known_as_such() -> None:
    files = [file("a", "v-360", MB), file("a", "v-720", MB), file("b", "v-360", MB)]
    groups = daily_popularity(files, {}, NOW, 28).groups
    assert groups is not None
    assert (groups.title.tolist(), groups.mix.tolist()) == ([0, 0, 1], [0, 1, 0])


def test_a_site_is_forecast_with_what_its_region_saw() -> None:
    videos = [file(f"t{n}", "v", MB) for n in range(30)]
    rich = {video.key: _daily([float(n + 1)] * 10) for n, video in enumerate(videos)}
    poor = {video.key: _daily([float((n * 7) % 30) / 30] * 10) for n, video in enumerate(videos)}
    near = site_demands([site("rich", rich), site("poor", poor)], videos, NOW, SETTINGS)["poor"]
    assert near.forecast is not None
    assert "pooled" in {score.name for score in near.forecast.scores}
    assert near.low_bytes is not None
    assert near.high_bytes is not None
    assert (near.low_bytes <= near.expected_bytes).all()
    assert (near.expected_bytes <= near.high_bytes).all()
