"""The forecast's rows: made from a file of weekly lists, refused in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from benchmarks.plan.forecasting import METHOD, rows
from fill_planner.toplists.lists import week_of
from fill_planner.toplists.models import Decay, LastValue
from tests.fill_planner.toplists import FIRST_SUNDAY, generated, text


def test_the_rows_are_the_chosen_models_error_and_coverage_on_the_weeks_after_the_date(tmp_path: Path) -> None:
    weeks = week_of(date(2025, 2, 2)) - week_of(FIRST_SUNDAY) + 1
    path = tmp_path / "lists.tsv"
    path.write_text(text(generated(weeks, places=4)))
    said: list[str] = []
    wape, band = rows(path, said.append, replace(METHOD, models=(LastValue(), Decay())))
    assert (wape.name, band.name) == ("plan/wape-2025", "plan/band")
    facts = wape.rounds[0]
    assert wape.ours == min(facts.facts["WAPE of decay"], facts.facts["WAPE of last-value"])  # type: ignore[union-attr]
    assert 0.5 < band.ours <= 1.0
    assert len(said) == 2


def test_a_file_without_the_weeks_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "lists.tsv"
    path.write_text(text(generated(10)))
    with pytest.raises(RuntimeError, match=r"lists\.tsv: there is no week after"):
        rows(path, print)
    path.write_text("nothing")
    with pytest.raises(RuntimeError, match=r"lists\.tsv: line 1 must name the columns"):
        rows(path, print)
