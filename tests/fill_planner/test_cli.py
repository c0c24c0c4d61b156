"""The planner's commands, offline from a file."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from fill_planner.cli import app
from fill_planner.explaining import lines
from fill_planner.plan import Plan, PlanningSnapshot, make_plan
from tests.fill_planner.worlds import zipf_world


@pytest.fixture
def snapshot_file(tmp_path: Path) -> Path:
    path = tmp_path / "snapshot.json"
    path.write_bytes(msgspec.json.encode(zipf_world(1, titles=5)))
    return path


def test_plan_prints_each_appliance_and_writes_the_whole_plan(snapshot_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "plan.json"
    result = CliRunner().invoke(app, ["plan", str(snapshot_file), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert all(name in result.stdout for name in ("a1", "a2", "b1", "expected from inside"))
    assert len(msgspec.json.decode(out.read_bytes(), type=Plan).appliances) == 3


def test_explain_says_one_sentence_per_file_and_cluster(snapshot_file: Path) -> None:
    result = CliRunner().invoke(app, ["explain", str(snapshot_file), "--key", "title-0/hd/v-360.mp4"])
    assert result.exit_code == 0, result.output
    assert len(result.stdout.strip().splitlines()) == 2
    one_site = CliRunner().invoke(app, ["explain", str(snapshot_file), "--key", "title-0/hd/v-360.mp4", "--site", "b"])
    assert one_site.stdout.startswith("b/main ")


def test_an_explanation_says_the_band_of_the_forecast_and_why_this_model(snapshot_file: Path) -> None:
    plan = make_plan(msgspec.json.decode(snapshot_file.read_bytes(), type=PlanningSnapshot))
    known = [one for one in plan.explanations if one.forecast_low_bytes is not None]
    assert known
    for one in known:
        assert one.forecast_low_bytes is not None
        assert one.forecast_high_bytes is not None
        assert 0 <= one.forecast_low_bytes <= one.forecast_high_bytes
        assert one.forecast_model in one.forecast_why
    said = "\n".join(lines(known[0]))
    assert "four days of five between" in said
    assert f"because: {known[0].forecast_why}" in said


def test_a_file_that_is_no_snapshot_is_named_with_what_is_wrong(tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text('{"number": "one"}')
    result = CliRunner().invoke(app, ["plan", str(bad)])
    assert result.exit_code == 2
    assert "bad.json: is not a planning snapshot" in result.stderr
    missing = CliRunner().invoke(app, ["plan", str(tmp_path / "missing.json")])
    assert (missing.exit_code, "cannot be read" in missing.stderr) == (2, True)


def test_an_unknown_file_is_said_to_be_unknown(snapshot_file: Path) -> None:
    result = CliRunner().invoke(app, ["explain", str(snapshot_file), "--key", "nothing"])
    assert (result.exit_code, "no file of the snapshot" in result.stderr) == (1, True)


def test_other_weights_come_from_a_file_and_the_environment(
    snapshot_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def orders(*more: str) -> str:
        out = tmp_path / "plan.json"
        result = CliRunner().invoke(app, ["plan", str(snapshot_file), "--out", str(out), *more])
        assert result.exit_code == 0, result.output
        return out.read_text()

    usual = orders()
    config = tmp_path / "planner.yaml"
    config.write_text("churn_cost: 1000000.0\n")
    dear = orders("--config", str(config))
    assert dear != usual
    monkeypatch.setenv("LOWTIDE_FILL_PLANNER_CHURN_COST", "1000000.0")
    assert orders() == dear
