"""Weekly lists: read, described without looking ahead, forecast, scored; and the command that does it."""

from __future__ import annotations

import datetime
import math
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from fill_planner.cli import app
from fill_planner.toplists import trees
from fill_planner.toplists.bands import Band, band, conformal
from fill_planner.toplists.comings import Coming, comings, drop_rates, expected
from fill_planner.toplists.evaluation import Evaluation, Method, TooShort, evaluate
from fill_planner.toplists.features import AT, examples
from fill_planner.toplists.lists import BadLists, last_day, parse, until, week_of
from fill_planner.toplists.models import Decay, LastValue, Regression, Trees, Weighting
from fill_planner.toplists.rolling import Rolling
from fill_planner.toplists.scores import ALL, score
from fill_planner.toplists.trees import Boosting, weighted_median
from tests.fill_planner.toplists import FIRST_SUNDAY, LISTS, entry, generated, text

WEEKS = 130
ENTRIES = generated(WEEKS)
FIRST = week_of(FIRST_SUNDAY)
LAST = FIRST + WEEKS - 1
SMALL = Boosting(rounds=40, depth=3)
QUICK = Method(models=(LastValue(), Decay(), Trees(SMALL, forests=1)), rolling=Rolling(refit_weeks=26), horizons=(1, 2))


def test_a_file_is_read_as_it_was_written_oldest_week_first() -> None:
    assert parse(text(ENTRIES)) == ENTRIES


@pytest.mark.parametrize("day", [FIRST_SUNDAY, datetime.date(2024, 12, 29)])
def test_a_week_is_numbered_by_the_sunday_on_which_it_ends(day: datetime.date) -> None:
    assert last_day(week_of(day)) == day
    assert week_of(day - datetime.timedelta(days=6)) == week_of(day)
    assert week_of(day + datetime.timedelta(days=1)) == week_of(day) + 1


def test_what_is_not_said_is_unknown() -> None:
    lines = text([entry(FIRST)]).splitlines()
    fields = lines[1].split("\t")
    fields[6:8] = ["", ""]
    found = parse("\n".join([lines[0], "\t".join(fields)]))[0]
    assert math.isnan(found.runtime_h)
    assert math.isnan(found.views)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        (0, "yesterday", "line 2: week 'yesterday' is not a date"),
        (0, "2021-07-05", "line 2: week 2021-07-05 is not a Sunday"),
        (2, "first", "line 2: weekly_rank 'first' is not a whole number"),
        (5, "many", "line 2: weekly_hours_viewed 'many' is not a number"),
        (5, "0", "line 2: weekly_hours_viewed must be above 0"),
        (5, "-3", "line 2: weekly_hours_viewed '-3' is not a count"),
        (6, "inf", "line 2: runtime 'inf' is not a count"),
        (8, "0", "line 2: cumulative_weeks_in_top_10 '0' is not a whole number from 1 on"),
    ],
)
def test_a_wrong_value_is_named_with_its_line(column: int, value: str, words: str) -> None:
    lines = text([entry(FIRST)]).splitlines()
    fields = lines[1].split("\t")
    fields[column] = value
    with pytest.raises(BadLists) as caught:
        parse("\n".join([lines[0], "\t".join(fields)]))
    assert words in str(caught.value)


def test_other_files_are_refused_in_words() -> None:
    with pytest.raises(BadLists, match="missing: weekly_hours_viewed, runtime"):
        parse("week\tcategory\tweekly_rank\tshow_title\tseason_title\n")
    with pytest.raises(BadLists, match="line 1 must name the columns"):
        parse("")
    with pytest.raises(BadLists, match="no entry"):
        parse(text([]))
    with pytest.raises(BadLists, match="line 2: 2 fields where the header names 9"):
        parse(text([]) + "a\tb\n")
    with pytest.raises(BadLists, match="line 3: 'Show' stands in this list and week already on line 2"):
        parse(text([entry(FIRST), entry(FIRST, rank=2)]))
    with pytest.raises(BadLists, match="and 4 more"):
        parse(text([]) + "a\n" * 9)


@settings(max_examples=12, deadline=None)
@given(st.integers(FIRST + 5, LAST - 1))
def test_later_weeks_change_no_feature(cut: int) -> None:
    whole, early = examples(ENTRIES), examples(until(ENTRIES, cut))
    assert np.array_equal(whole.features[whole.week <= cut], early.features, equal_nan=True)


def test_later_weeks_change_no_forecast_and_no_band() -> None:
    cut = LAST - 10
    models = (Decay(), Regression(), Trees(SMALL, forests=1))
    whole, early = examples(ENTRIES), examples(until(ENTRIES, cut))
    rolling = Rolling(refit_weeks=20)
    for name, log_ratio in rolling.forecasts(whole, models, 1, FIRST + 60, LAST - 1).items():
        other = rolling.forecasts(early, models, 1, FIRST + 60, LAST - 1)[name]
        kept = log_ratio[whole.week <= cut]
        assert np.isfinite(kept).any()
        assert np.array_equal(kept, other, equal_nan=True)
        low = band(whole, log_ratio, 1).low[whole.week <= cut]
        assert np.array_equal(low, band(early, other, 1).low, equal_nan=True)


def test_features_say_what_was_seen() -> None:
    rows = examples(
        [
            entry(FIRST, 1, "A", 100.0, 1),
            entry(FIRST, 2, "B", 50.0, 3),
            entry(FIRST + 1, 1, "A", 40.0, 2),
            entry(FIRST + 1, 2, "C", 10.0, 1),
        ]
    )
    second = rows.features[2]
    assert second[AT["ratio-1"]] == pytest.approx(math.log(0.4))
    assert math.isnan(second[AT["ratio-2"]])
    assert second[AT["hours-over-last"]] == pytest.approx(math.log(4.0))
    assert second[AT["hours-over-peak"]] == pytest.approx(math.log(0.4))
    assert second[AT["in-a-row"]] == pytest.approx(math.log(2))
    assert second[AT["new-entries-share"]] == pytest.approx(0.2)
    assert second[AT["list-change"]] == pytest.approx(math.log(50 / 150))
    assert rows.hours_then[0].tolist()[0] == 40.0
    assert math.isnan(rows.hours_then[1, 0])
    assert rows.published_then[:, 0].tolist() == [1, 1, 0, 0]


def test_earlier_seasons_say_how_their_weeks_went_only_once_they_did() -> None:
    name = LISTS[1]
    first = [
        entry(FIRST, 1, "S", 100.0, 1, name, "S: Season 1"),
        entry(FIRST + 1, 1, "S", 150.0, 2, name, "S: Season 1"),
        entry(FIRST + 1, 2, "S", 300.0, 1, name, "S: Season 2"),
    ]
    row = examples(first).features[2]
    assert row[AT["earlier-seasons-ratio"]] == pytest.approx(math.log(1.5))
    assert row[AT["earlier-seasons-start"]] == pytest.approx(math.log(3.0))
    assert row[AT["season-number"]] == 2.0
    at_once = examples([first[0], replace(first[2], week=FIRST)]).features[1]
    assert math.isnan(at_once[AT["earlier-seasons-ratio"]])


def test_decay_is_the_median_of_the_list_and_age() -> None:
    rows = examples(ENTRIES)
    known = np.flatnonzero(np.isfinite(rows.log_ratio(1)))
    chosen = rows.rows(known)
    target = rows.log_ratio(1)[known]
    fitted = Decay().fit(chosen, target, np.ones(len(known)))
    same = (chosen.list_index == 1) & (chosen.age == 2)
    assert fitted.log_ratio(chosen)[same][0] == pytest.approx(weighted_median(target[same], np.ones(same.sum())))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0.1, 10)), min_size=1, max_size=30))
def test_the_weighted_median_has_half_of_the_weight_on_either_side(pairs: list[tuple[float, float]]) -> None:
    values, weight = (np.array(column) for column in zip(*pairs, strict=True))
    median = weighted_median(values, weight)
    assert weight[values <= median].sum() >= weight.sum() / 2 - 1e-9
    assert weight[values >= median].sum() >= weight.sum() / 2 - 1e-9


def test_trees_learn_a_step_and_a_gap_in_the_knowledge() -> None:
    rng = np.random.default_rng(0)
    features = rng.uniform(0, 1, (2_000, 3))
    target = np.where(features[:, 0] > 0.5, 1.0, -1.0)
    unknown = rng.random(2_000) < 0.2
    features[unknown, 0] = np.nan
    target[unknown] = 3.0
    forest = trees.fit(features, target, np.ones(2_000), Boosting(rounds=120, depth=2, rate=0.2), rng)
    asked = np.array([[0.9, 0.5, 0.5], [0.1, 0.5, 0.5], [np.nan, 0.5, 0.5]])
    assert forest.predict(asked) == pytest.approx([1.0, -1.0, 3.0], abs=0.1)


def test_trees_and_regression_are_better_than_decay_where_titles_have_a_pace_of_their_own() -> None:
    found = evaluate(
        ENTRIES, LAST - 20, LAST, replace(QUICK, models=(LastValue(), Decay(), Regression(), Trees(SMALL, 1)))
    )
    errors = {model: found.of(model, 1).wape or math.inf for model in ("last-value", "decay", "regression", "trees")}
    assert errors["regression"] < errors["decay"] < errors["last-value"]
    assert errors["trees"] < errors["decay"]


def test_the_model_is_chosen_on_the_weeks_before_and_nothing_after_can_change_that() -> None:
    date = LAST - 20
    found = evaluate(ENTRIES, date, LAST, QUICK)
    shaken = tuple(replace(one, hours=one.hours * (1 + one.rank)) if one.week > date else one for one in ENTRIES)
    other = evaluate(shaken, date, LAST, QUICK)
    assert (other.chosen, other.choice) == (found.chosen, found.choice)
    assert other.scores != found.scores
    errors = {s.wape: s.model for s in found.choice if s.horizon == 1 and s.wape is not None}
    assert found.chosen[1] == errors[min(errors)]


def test_scores_are_what_their_names_say() -> None:
    guess, came = np.array([10.0, 20.0, np.nan, 5.0]), np.array([20.0, 20.0, 7.0, np.nan])
    bounds = Band(np.array([5.0, 21.0, 0.0, 0.0]), np.array([25.0, 30.0, 9.0, 9.0]))
    found = score(("m", 1, ALL, ALL), guess, bounds, came, np.ones(4, dtype=np.bool_))
    assert (found.rows, found.wape, found.coverage) == (2, 0.25, 0.5)
    lost = (0.1 * 15 + 0.9 * 1) + (0.5 * 10) + (0.1 * 5 + 0.1 * 10)
    assert found.pinball == pytest.approx(2 * lost / 3 / 40)
    empty = score(("m", 1, ALL, ALL), guess, bounds, came, np.zeros(4, dtype=np.bool_))
    assert (empty.rows, empty.wape) == (0, None)


def test_conformal_bounds_leave_a_tenth_on_either_side() -> None:
    assert conformal(np.arange(1.0, 100.0)) == (10.0, 90.0)


def test_bands_hold_about_four_weeks_of_five() -> None:
    found = evaluate(ENTRIES, LAST - 40, LAST, QUICK)
    assert 0.7 < (found.of("decay", 1).coverage or 0.0) < 0.9


def test_what_comes_in_is_told_apart_by_what_is_known_of_it() -> None:
    name = LISTS[1]
    rows = comings(
        [
            entry(FIRST, 1, "Old", 80.0, 1, name, "Old: Season 1"),
            entry(FIRST + 1, 1, "New", 50.0, 1, name),
            entry(FIRST + 2, 1, "Old", 40.0, 2, name, "Old: Season 1"),
            entry(FIRST + 2, 2, "Old", 90.0, 1, name, "Old: Season 2"),
            entry(FIRST + 3, 1, "Old", 30.0, 3, name, "Old: Season 1"),
        ]
    )
    assert rows.kind == (Coming.NEW, Coming.RETURNS, Coming.NEXT_SEASON)
    assert rows.base.tolist() == [1.0, 80.0, 80.0]
    assert rows.hours.tolist() == [50.0, 40.0, 90.0]


def test_new_entries_are_expected_by_what_came_before_them_only() -> None:
    rows = comings(ENTRIES)
    guess, bounds = expected(rows, LAST - 5, LAST)
    shaken = replace(rows, hours=np.where(rows.week >= LAST - 2, rows.hours * 50, rows.hours))
    other, _ = expected(shaken, LAST - 5, LAST)
    early = (rows.week >= LAST - 5) & (rows.week <= LAST - 2)
    assert guess[early].tolist() == other[early].tolist()
    assert (bounds.low[early] < guess[early]).all()


def test_low_ranks_are_expected_to_drop_out_more() -> None:
    rows = examples(ENTRIES)
    rate = drop_rates(rows, 1, LAST - 10, LAST, 4)
    rank = np.array([one.rank for one in rows.entries])
    asked = np.isfinite(rate)
    assert rate[asked & (rank == 8)].mean() > rate[asked & (rank == 1)].mean() + 0.2
    dropped = np.isnan(rows.hours_then[:, 0])
    counted = asked & (rows.published_then[:, 0] > 0)
    assert rate[counted].mean() == pytest.approx(dropped[counted].mean(), abs=0.1)


def test_rows_weigh_by_what_they_are_expected_to_be_and_fade_with_time() -> None:
    rows = examples(ENTRIES)
    known = np.flatnonzero(np.isfinite(rows.log_ratio(1)))
    chosen, target = rows.rows(known), rows.log_ratio(1)[known]
    even = Weighting(power=0.0, half_life_weeks=10.0).of(chosen, target, LAST)
    assert even[chosen.week == LAST - 20][0] == pytest.approx(even[chosen.week == LAST - 10][0] / 2)
    assert (
        Weighting(power=1.0, half_life_weeks=1e9).of(chosen, target, LAST).argmax()
        == (chosen.hours * np.exp(Decay().fit(chosen, target, np.ones(len(target))).log_ratio(chosen))).argmax()
    )


def test_too_few_weeks_are_said_to_be_too_few() -> None:
    with pytest.raises(TooShort, match="no week after"):
        evaluate(ENTRIES, LAST, LAST, QUICK)
    with pytest.raises(TooShort, match="too few weeks"):
        evaluate(until(ENTRIES, FIRST + 8), FIRST + 5, FIRST + 8, QUICK)


@pytest.fixture
def lists_file(tmp_path: Path) -> Path:
    path = tmp_path / "lists.tsv"
    path.write_text(text(ENTRIES))
    return path


def test_evaluate_prints_every_model_and_the_chosen_one(lists_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.json"
    date = last_day(LAST - 10).isoformat()
    few = ["--weeks-ahead", "1", "--refit-weeks", "30", "--out", str(out)]
    result = CliRunner().invoke(app, ["evaluate", "--top10", str(lists_file), "--until", date, *few])
    assert result.exit_code == 0, result.output
    assert all(
        word in result.stdout for word in ("last-value", "decay", "regression", "trees", "drop out", "80 % band")
    )
    found = msgspec.json.decode(out.read_bytes(), type=Evaluation)
    best = found.of_chosen(1)
    assert f"{best.model}: WAPE {best.wape:.3f}" in result.stdout
    assert {s.age for s in found.scores} == {"all", "1", "2", "3", "4-6", "7+"}


def test_a_rehearsal_reads_nothing_after_the_date(lists_file: Path, tmp_path: Path) -> None:
    date = LAST - 20
    later = [replace(one, hours=1.0) if one.week > date else one for one in ENTRIES]
    other = tmp_path / "other.tsv"
    other.write_text(text(later))
    few = [
        "--until",
        last_day(date).isoformat(),
        "--rehearse",
        "--weeks-ahead",
        "1",
        "--model",
        "decay",
        "--model",
        "regression",
    ]
    printed = [CliRunner().invoke(app, ["evaluate", "--top10", str(path), *few]) for path in (lists_file, other)]
    assert [one.exit_code for one in printed] == [0, 0], printed[0].output
    assert printed[0].stdout == printed[1].stdout


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe", "is not text in UTF-8"),
        (b"a,b\n1,2\n", "is no file of weekly top lists: line 1 must name the columns"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "bad.tsv"
    path.write_bytes(content)
    result = CliRunner().invoke(app, ["evaluate", "--top10", str(path)])
    assert (result.exit_code, words in result.stderr) == (2, True)


def test_a_missing_file_a_wrong_date_and_too_few_weeks_are_said(lists_file: Path, tmp_path: Path) -> None:
    missing = CliRunner().invoke(app, ["evaluate", "--top10", str(tmp_path / "none.tsv")])
    assert (missing.exit_code, "cannot be read" in missing.stderr) == (2, True)
    date = CliRunner().invoke(app, ["evaluate", "--top10", str(lists_file), "--until", "soon"])
    assert (date.exit_code, "'soon' is not a date" in date.stderr) == (2, True)
    model = CliRunner().invoke(app, ["evaluate", "--top10", str(lists_file), "--model", "magic"])
    assert (model.exit_code, "'magic' is none of last-value, decay, regression, trees" in model.stderr) == (2, True)
    short = CliRunner().invoke(app, ["evaluate", "--top10", str(lists_file), "--until", "2030-01-06"])
    assert (short.exit_code, "no week after the date" in short.stderr) == (2, True)
