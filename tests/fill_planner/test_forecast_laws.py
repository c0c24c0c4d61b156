"""The laws every model and every forecast keeps, by properties; and what single models do, on small cases."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.catalogue import Campaign
from fill_planner.config import PlannerSettings
from fill_planner.demand import SiteDemand, site_demands
from fill_planner.forecast.bands import LEAST_SEEN, band
from fill_planner.forecast.calendar import prior
from fill_planner.forecast.choice import MODELS, Why, forecast
from fill_planner.forecast.models import OLDEST_AGE, Decay, Model, WeekdaySmoothed, next_day
from fill_planner.forecast.pooling import Own, Pooled, credible, of_title, own
from fill_planner.forecast.releases import CALENDAR
from fill_planner.popularity import DAY_S, DailyPopularity, Floats, Groups
from fill_planner.snapshot import CatalogueFile, HourlySeries
from tests.fill_planner.worlds import HOUR, MB, NOW, file, site, steady

SEEDS = st.integers(0, 10_000)
NAMED = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)


def _world(seed: int, files: int = 24, days: int = 21) -> DailyPopularity:
    """Files of titles in four renditions, with decaying and steady demand, some out later than the first day."""
    rng = np.random.default_rng(seed)
    title = np.arange(files) // 4
    start = np.repeat(rng.integers(0, days, files // 4) * (rng.random(files // 4) < 0.5), 4)
    age = np.maximum(0, np.arange(days)[None, :] - start[:, None])
    level = rng.uniform(1, 100, files // 4)[title] * np.array([1.0, 0.5, 0.2, 0.05])[np.arange(files) % 4]
    views = (
        level[:, None] * 0.9**age * rng.uniform(0.6, 1.4, (files, days)) * (np.arange(days)[None, :] >= start[:, None])
    )
    groups = Groups(title.astype(np.int64), (np.arange(files) % 4).astype(np.int64))
    around = views * rng.uniform(2, 4, views.shape)
    return DailyPopularity(
        views, start.astype(np.int64), 1 / 24, born=start.astype(np.int64), groups=groups, around=around
    )


def _scaled(past: DailyPopularity, factor: float) -> DailyPopularity:
    around = None if past.around is None else past.around * factor
    return replace(past, views=past.views * factor, around=around)


@NAMED
@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, later=st.integers(1, 6))
def test_later_days_change_no_earlier_forecast(model: Model, seed: int, later: int) -> None:
    past = _world(seed)
    first, cut = model.min_days, past.days - later
    other = _world(seed + 1)
    views, around = past.views.copy(), past.around
    views[:, cut:] = np.where(past.start[:, None] <= np.arange(cut, past.days)[None, :], other.views[:, cut:], 0)
    assert around is not None
    changed = replace(past, views=views, around=np.hstack([around[:, :cut], around[:, cut:] * 3.0]))
    kept = cut - first + 1
    assert np.allclose(model.ahead(past, first)[:, :kept], model.ahead(changed, first)[:, :kept], rtol=1e-9)


@NAMED
@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, factor=st.floats(1e-3, 1e3))
def test_a_scaled_history_is_forecast_scaled(model: Model, seed: int, factor: float) -> None:
    past = _world(seed)
    assert next_day(model, _scaled(past, factor)) == pytest.approx(next_day(model, past) * factor, rel=1e-6)


@NAMED
@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_the_forecast_of_a_day_is_the_same_asked_alone_or_with_others(model: Model, seed: int) -> None:
    past = _world(seed)
    assert model.ahead(past, model.min_days)[:, -1] == pytest.approx(next_day(model, past))


@NAMED
def test_unknown_days_do_not_lower_what_never_changes(model: Model) -> None:
    days = 22
    views = np.full((8, days), 10.0)
    known = np.ones(days, dtype=np.bool_)
    known[[3, 16, 20, 21]] = False
    views[:, ~known] = 0.0
    groups = Groups(np.arange(8) // 4, np.arange(8) % 4)
    past = DailyPopularity(views, np.zeros(8, dtype=np.int64), 1 / 24, known=known, groups=groups)
    assert next_day(model, past) == pytest.approx(np.full(8, 10.0))


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_the_forecast_lies_in_its_band_and_nothing_is_negative(seed: int) -> None:
    past = _world(seed)
    found = forecast(past, np.ones(24))
    assert found.low is not None
    assert found.high is not None
    assert (found.low >= 0).all()
    assert (found.low <= found.views).all()
    assert (found.views <= found.high).all()


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.floats(1e-2, 1e2))
def test_the_band_scales_with_the_views(seed: int, factor: float) -> None:
    past = _world(seed)
    one, other = forecast(past, np.ones(24)), forecast(_scaled(past, factor), np.ones(24))
    assert one.low is not None
    assert one.high is not None
    assert other.low == pytest.approx(one.low * factor, rel=1e-4, abs=1e-9)
    assert other.high == pytest.approx(one.high * factor, rel=1e-4, abs=1e-9)


def test_the_band_holds_four_days_of_five_of_what_comes_next() -> None:
    rng = np.random.default_rng(5)
    files, days = 3_000, 16
    level = rng.lognormal(3, 1.5, files)
    views = level[:, None] * rng.lognormal(0, 0.4, (files, days + 1))
    past = DailyPopularity(views[:, :days], np.zeros(files, dtype=np.int64), 1 / 24)
    found = forecast(past, np.ones(files))
    assert found.low is not None
    assert found.high is not None
    inside = (views[:, days] >= found.low) & (views[:, days] <= found.high)
    assert 0.75 < inside.mean() < 0.85


def test_where_nothing_was_forecast_the_band_is_what_came_all_the_same() -> None:
    guess = np.zeros((100, 1))
    seen = np.arange(100.0)[:, None]
    low, high = band(guess, seen, np.ones((100, 1), dtype=np.bool_), np.zeros(2))
    assert low.tolist() == [0.0, 0.0]
    assert high.tolist() == [90.0, 90.0]
    few = band(
        guess[: LEAST_SEEN - 1], seen[: LEAST_SEEN - 1], np.ones((LEAST_SEEN - 1, 1), dtype=np.bool_), np.zeros(1)
    )
    assert few[1].tolist() == [0.0]


def test_decay_follows_the_curve_that_earlier_releases_took() -> None:
    days, fall = 14, 0.8
    start = np.array([0, 2, 4, 11])
    age = np.arange(days)[None, :] - start[:, None]
    views = np.where(age >= 0, np.array([100.0, 60.0, 300.0, 50.0])[:, None] * fall ** np.maximum(0, age), 0.0)
    past = DailyPopularity(views, start, 1 / 24, born=start)
    assert next_day(Decay(pull=1e-9), past)[3] == pytest.approx(50.0 * fall**3, rel=1e-6)
    assert 50.0 * fall**3 < next_day(Decay(), past)[3] < 50.0 * fall**2


def test_what_is_old_keeps_its_level() -> None:
    past = DailyPopularity(
        np.full((2, 10), 7.0), np.zeros(2, dtype=np.int64), 1 / 24, born=np.full(2, -OLDEST_AGE, dtype=np.int64)
    )
    assert next_day(Decay(), past) == pytest.approx([7.0, 7.0])


def test_the_weekly_shape_moves_when_the_week_does() -> None:
    week, later = [1.0, 1, 1, 1, 1, 1, 8], [1.0, 1, 1, 1, 1, 1, 1]
    past = DailyPopularity(np.array([week * 2 + later * 6]), np.zeros(1, dtype=np.int64), 1 / 24)
    sunday = DailyPopularity(past.views[:, :-1], past.start, 1 / 24)
    assert next_day(WeekdaySmoothed(0.3), sunday)[0] < 2.5


def test_a_file_of_few_views_is_drawn_to_what_its_title_and_rendition_make_of_it() -> None:
    rng = np.random.default_rng(2)
    title, mix = np.repeat(np.arange(60), 3), np.tile(np.arange(3), 60)
    mean = rng.lognormal(2, 1, 60)[title] * np.array([1.0, 0.5, 0.1])[mix]
    views = rng.poisson(mean[:, None], (180, 9)).astype(np.float64)
    past = DailyPopularity(views[:, :8], np.zeros(180, dtype=np.int64), 1 / 24, groups=Groups(title, mix))
    small = mix == 2
    pooled, alone = next_day(Pooled(), past), own(past, past.views, 8).mean
    assert np.abs(pooled - mean)[small].sum() < 0.6 * np.abs(alone - mean)[small].sum()


def test_a_small_site_borrows_from_its_region() -> None:
    rng = np.random.default_rng(3)
    files = 200
    mean = rng.lognormal(0, 1.2, files)
    groups = Groups(np.arange(files), np.zeros(files, dtype=np.int64))
    views = rng.poisson(mean[:, None] * 0.3, (files, 8)).astype(np.float64)
    around = rng.poisson(mean[:, None] * 30, (files, 8)).astype(np.float64)
    lonely = DailyPopularity(views, np.zeros(files, dtype=np.int64), 1 / 24, groups=groups)
    truth = mean * 0.3
    error = np.abs(next_day(Pooled(), replace(lonely, around=around)) - truth).sum()
    assert error < 0.4 * np.abs(next_day(Pooled(), lonely) - truth).sum()


def test_files_that_differ_only_by_chance_are_forecast_alike_and_files_that_really_differ_are_not() -> None:
    expected = np.full(400, 10.0)
    rng = np.random.default_rng(4)
    by_chance = credible(Own(rng.poisson(70, 400) / 7.0, np.full(400, 7.0), 1.0), expected)
    really = credible(Own(np.tile([1.0, 19.0], 200), np.full(400, 7.0), 1.0), expected)
    assert by_chance.std() < 0.35
    assert really[:2] == pytest.approx([1.0, 19.0], abs=0.5)


def test_the_odds_of_a_rendition_are_those_of_other_titles() -> None:
    groups = Groups(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
    found = of_title(Own(np.array([10.0, 5.0, 40.0, 0.0]), np.array([7.0, 7.0, 7.0, 0.0]), 1.0), groups)
    assert found[3] == pytest.approx(40.0 * 5.0 / 10.0)


def test_a_young_file_takes_the_choice_of_files_of_its_age() -> None:
    rng = np.random.default_rng(6)
    days, old, new = 20, 40, 40
    steady: Floats = 10.0 * rng.uniform(0.5, 1.5, (old, days))
    start = rng.integers(1, days, new)
    age = np.arange(days)[None, :] - start[:, None]
    falling = np.where(age >= 0, 200.0 * 0.6 ** np.maximum(age, 0), 0.0)
    all_start = np.concatenate([np.zeros(old, dtype=np.int64), start])
    born = np.where(all_start == 0, -50, all_start)
    past = DailyPopularity(np.vstack([steady, falling]), all_start, 1 / 24, born=born)
    found = forecast(past, np.ones(old + new))
    young = [row for row in range(old, old + new) if 1 <= days - all_start[row] <= 3]
    assert {found.models[row] for row in young} == {"decay"}
    assert found.why[0] is Why.OWN_DAYS or found.models[0] == found.scores[0].name


def test_the_explanation_names_the_model_its_reason_and_how_wrong_each_was() -> None:
    found = forecast(_world(1), np.ones(24))
    words = found.explain(0)
    assert words.startswith(found.models[0])
    assert found.why[0].words in words
    assert all(score.name in words for score in found.scores)
    short = forecast(DailyPopularity(np.ones((1, 2)), np.zeros(1, dtype=np.int64), 1 / 24), np.ones(1))
    assert Why.UNTESTED.words in short.explain(0)


# -- what nobody has viewed yet ----------------------------------------------------------------------------------------


def _title(name: str, shown: float, language: str = "und", campaigns: tuple[Campaign, ...] = ()) -> CatalogueFile:
    made = file(name, "v-360", MB, published_at=shown)
    return msgspec.structs.replace(made, language=language, genres=("Drama",), campaigns=campaigns)


def _released(first_days: dict[str, tuple[float, str]]) -> tuple[list[CatalogueFile], dict[str, HourlySeries]]:
    """An old title, and titles (first day's views, language) that came out three days ago."""
    end = int(NOW) // HOUR * HOUR
    old = file("old", "v-360", MB)
    files, traffic = [old], {old.key: steady(5, MB, days=10)}
    for name, (views, language) in first_days.items():
        files.append(_title(name, end + HOUR - 3 * DAY_S, language))
        hours = tuple(end - back * DAY_S for back in (2, 1, 0))
        traffic[files[-1].key] = HourlySeries(hours, tuple(int(views * MB) for _ in hours))
    return files, traffic


def _expected(files: list[CatalogueFile], traffic: dict[str, HourlySeries]) -> tuple[SiteDemand, Floats]:
    demand = site_demands([site("a", traffic)], files, NOW, PlannerSettings())["a"]
    return demand, demand.expected_bytes / MB


def test_the_calendar_expects_of_a_title_what_titles_of_its_language_did() -> None:
    launches = {f"k{n}": (100.0 + n, "ko") for n in range(6)} | {f"d{n}": (4.0 + n / 10, "da") for n in range(6)}
    files, traffic = _released(launches)
    asked = [_title("new-ko", NOW, "ko"), _title("new-da", NOW, "da"), _title("new-xx", NOW, "xx")]
    demand, views = _expected(files + asked, traffic)
    assert demand.models[-3:] == (CALENDAR,) * 3
    assert views[-3] == pytest.approx(102, rel=0.25)
    assert views[-2] == pytest.approx(4.2, rel=0.25)
    assert views[-2] < views[-1] < views[-3]
    assert demand.low_bytes is not None
    assert demand.high_bytes is not None
    wide = demand.high_bytes / demand.low_bytes
    assert wide[-1] > 3
    assert demand.forecast is not None
    assert demand.forecast.why[-1] is Why.PRIOR


def test_a_title_is_new_from_the_day_it_is_shown_not_from_the_day_it_was_published() -> None:
    old = file("old", "v-360", MB)
    ahead = msgspec.structs.replace(file("new", "v-360", MB, published_at=NOW - 30 * DAY_S), available_from=NOW)
    _, views = _expected([old, ahead], {old.key: steady(5, MB)})
    assert views[1] == pytest.approx(PlannerSettings().release_views)


def test_a_campaign_lifts_a_title_while_it_runs_and_no_longer() -> None:
    def views(*campaigns: Campaign) -> float:
        one = _title("t", 0.0, campaigns=campaigns)
        return float(_expected([one], {one.key: steady(10, MB)})[1][0])

    lift = PlannerSettings().campaign_lift
    assert views() == pytest.approx(10)
    assert views(Campaign(NOW, NOW + DAY_S)) == pytest.approx(10 * (1 + lift))
    assert views(Campaign(NOW, NOW + DAY_S, reach=2.0)) == pytest.approx(10 * (1 + 2 * lift))
    assert views(Campaign(NOW - 7 * DAY_S, NOW + DAY_S)) == pytest.approx(10)
    assert views(Campaign(NOW - 7 * DAY_S, NOW)) == pytest.approx(10 / (1 + lift))
    assert views(Campaign(NOW + 2 * DAY_S, NOW + 9 * DAY_S)) == pytest.approx(10)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-3, 8), min_size=3, max_size=20), st.floats(-2, 2))
def test_the_prior_moves_with_the_launches_and_is_never_certain(levels: list[float], shift: float) -> None:
    words = [("language ko",) if n % 2 else ("language da", "genre drama") for n in range(len(levels))]
    asked = [("language ko",), (), ("language unheard",)]
    one, other = prior(words, np.array(levels), asked), prior(words, np.array(levels) + shift, asked)
    assert other.middle == pytest.approx(one.middle + shift, abs=1e-6)
    assert other.spread == pytest.approx(one.spread, rel=1e-6)
    assert (one.spread > 0.3).all()
    assert one.middle[2] == pytest.approx(one.middle[1])
