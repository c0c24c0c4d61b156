"""`lowtide fill-planner simulate`: whole runs of small scenarios, and what is said of bad ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fill_planner.cli import app
from fill_planner.simulator.planning import NightlyPlanner, Reports
from fill_planner.simulator.recorded import from_log_rows, from_requests
from fill_planner.simulator.recorded import load as load_recording
from fill_planner.simulator.run import Outcome, simulate
from fill_planner.simulator.scenario import Demand, Recorded, Scenario, SiteSpec, Source, Strategy
from fill_planner.simulator.telling import inside_plot, report
from policies.traceformats import pack_oracle_general

SMALL = Scenario(
    name="small",
    days=4,
    warm_up_days=3,
    seeds=(1, 2),
    demand=Demand(titles=400, views_per_day=4000, slope_ranks=(5, 200), shift=5.0),
    sites=(SiteSpec(disk="10%", boxes=2),),
)


@pytest.fixture(scope="module")
def found() -> Outcome:
    return simulate(SMALL)


YAML = """
name: small
days: 3
warm_up_days: 2
seeds: [1]
demand: {titles: 300, views_per_day: 2000, slope_ranks: [5, 100], shift: 5}
sites: [{name: edge, disk: 10%, boxes: 1}]
strategies: [lru, plan+lru]
"""


def test_a_plan_with_a_cache_serves_more_inside_than_lru_and_nothing_beats_the_bound(found: Outcome) -> None:
    for run in found.runs:
        assert run.figures[Strategy.PLAN_LRU].inside_share > run.figures[Strategy.LRU].inside_share
        assert run.bounds is not None
        assert run.bounds.cache is not None
        assert run.bounds.cache_and_fills is not None
        caches = [run.figures[one].inside_share for one in (Strategy.LRU, Strategy.S3FIFO)]
        assert max(caches) <= run.bounds.cache
        assert max(one.inside_share for one in run.figures.values()) <= run.bounds.cache_and_fills
        assert run.figures[Strategy.PLAN].replaced < run.figures[Strategy.LRU].replaced


def test_the_same_scenario_gives_the_same_figures_again(found: Outcome) -> None:
    assert simulate(SMALL).runs == found.runs


def test_strategies_meet_the_same_demand_and_seeds_another(found: Outcome) -> None:
    first, second = found.runs
    assert len({round(one.demand_bytes) for one in first.figures.values()}) == 1
    assert first.figures[Strategy.LRU] != second.figures[Strategy.LRU]


def test_two_sites_add_up(found: Outcome) -> None:
    one = found.runs[0]
    two = simulate(replace(SMALL, seeds=(1,), sites=(SiteSpec(disk="10%", count=2),))).runs[0]
    ratio = two.figures[Strategy.LRU].demand_bytes / one.figures[Strategy.LRU].demand_bytes
    assert ratio == pytest.approx(2.0, rel=0.05)
    assert len(inside_plot(found).splitlines()) > 10


def test_the_planner_in_the_loop_does_not_see_the_future() -> None:
    """Reports of the same days give the same forecast whatever is asked for afterwards, and nothing that is not announced is planned."""
    from fill_planner.simulator.catalogue import make_catalogue

    announced = make_catalogue(SMALL.demand, 7, np.random.default_rng(1)).announced
    planner = NightlyPlanner(announced, SMALL.sites[0], 10**12, SMALL.planner)
    views = np.random.default_rng(2).poisson(3.0, (announced.files, 3)).astype(np.float64)
    views[announced.release_hour > 74] = 0.0
    expected = planner.expected_bytes(74, Reports(views, np.ones(24)))
    unknown = announced.release_hour[announced.title_of_file] > 74 + 36
    assert unknown.any()
    assert expected[unknown].max() == 0.0
    assert expected.max() > 0.0


def test_the_command_prints_a_table_a_change_and_a_plot(tmp_path: Path) -> None:
    scenario = tmp_path / "small.yaml"
    scenario.write_text(YAML)
    plot = tmp_path / "plot.svg"
    result = CliRunner().invoke(app, ["simulate", str(scenario), "--what-if", "disk=40%", "--plot", str(plot)])
    assert result.exit_code == 0, result.output
    assert all(word in result.stdout for word in ("plan+lru", "optimum", "disk=40%", "what if"))
    assert plot.read_text().startswith("<svg")


def test_the_command_prints_json(tmp_path: Path) -> None:
    scenario = tmp_path / "small.yaml"
    scenario.write_text(YAML)
    result = CliRunner().invoke(app, ["simulate", str(scenario), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [one["name"] for one in found["strategies"]] == ["lru", "plan+lru"]
    assert 0 < found["strategies"][0]["figures"]["inside_share"]["mean"] < 1


def test_a_bad_scenario_is_told_all_that_is_wrong_at_once(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("days: 0\ndemand: {titles: many, hours: [1, 2]}\nsites: [{boxes: 0, disk: large}]\ncolour: red\n")
    result = CliRunner().invoke(app, ["simulate", str(bad)])
    assert result.exit_code == 2
    for words in ("days", "demand.titles", "sites[0].boxes", "colour"):
        assert words in result.stderr
    bad.write_text("outages: [{site: nowhere, box: 0, from_hour: 1, hours: 1}]\nseeds: [1, 1]\n")
    result = CliRunner().invoke(app, ["simulate", str(bad)])
    assert result.exit_code == 2
    assert "no site is called 'nowhere'" in result.stderr
    assert "same seed twice" in result.stderr


def test_a_change_that_is_none_and_a_missing_recording_are_said_in_words(tmp_path: Path) -> None:
    scenario = tmp_path / "small.yaml"
    scenario.write_text(YAML)
    result = CliRunner().invoke(app, ["simulate", str(scenario), "--what-if", "colour=red"])
    assert (result.exit_code, "colour=red" in result.stderr) == (2, True)
    scenario.write_text(YAML + f"recorded: {{source: csv, path: {tmp_path / 'none.csv'}}}\n")
    result = CliRunner().invoke(app, ["simulate", str(scenario)])
    assert (result.exit_code, "cannot be read" in result.stderr) == (2, True)


def test_a_trace_is_replayed_hour_by_hour(tmp_path: Path) -> None:
    requests = [(hour * 3600 + at, at % 7, 100) for hour in range(100) for at in range(20)]
    given = from_requests(requests)
    assert len(given.requests) == 100
    assert sum(map(len, given.requests)) == 2000
    for name, text in (
        ("t.csv", "\n".join(f"{t},{k},{s}" for t, k, s in requests).encode()),
        ("t.bin", pack_oracle_general(requests)),
    ):
        (tmp_path / name).write_bytes(text)
        source = "csv" if name.endswith("csv") else "oracle"
        scenario = tmp_path / "trace.yaml"
        scenario.write_text(f"seeds: [1]\nwarm_up_days: 2\nrecorded: {{source: {source}, path: {tmp_path / name}}}\n")
        result = CliRunner().invoke(app, ["simulate", str(scenario), "--json"])
        assert result.exit_code == 0, result.output
    with pytest.raises(ValueError, match="too few"):
        from_requests(requests[:40])


def test_a_recording_that_is_all_warm_up_is_refused_with_words() -> None:
    given = from_requests([(hour * 3600, hour % 3, 100) for hour in range(100)])
    with pytest.raises(ValueError, match="warm_up_days: the recording has 100 hours"):
        simulate(replace(SMALL, warm_up_days=5), given)


def test_bytes_of_an_access_log_become_whole_views() -> None:
    rows = [(hour, "/media/a/hd/v.mp4", 60, 100) for hour in range(1000, 1050)]
    rows += [(1049, "/media/b/hd/v.mp4", 300, 100)]
    given = from_log_rows(rows)
    assert [len(hour) for hour in given.requests[16:21]] == [0, 1, 0, 1, 1], "hour 0 is a midnight"
    assert sum(map(len, given.requests)) == 30 + 3
    assert given.announced.size_bytes.tolist() == [100.0, 100.0]


def test_an_access_log_in_either_form_is_a_recording(tmp_path: Path) -> None:
    import duckdb

    lines = [
        {
            "time": f"2026-11-{day:02}T{hour:02}:10:00.000Z",
            "path": f"/media/t{hour % 5}/hd/v.mp4",
            "bytes": 1000,
            "cache": "hit",
        }
        for day in (1, 2, 3, 4)
        for hour in range(24)
    ]
    plain = tmp_path / "access.jsonl"
    plain.write_text("".join(json.dumps(line) + "\n" for line in lines))
    columns = tmp_path / "access.parquet"
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"COPY (SELECT * FROM read_json('{plain}')) TO '{columns}' (FORMAT parquet)")
    shown = []
    for path in (plain, columns):
        scenario = tmp_path / "log.yaml"
        scenario.write_text(
            f"seeds: [1]\nwarm_up_days: 2\nrecorded: {{source: access-log, path: {path}}}\nsites: [{{disk: 50%}}]\n"
        )
        result = CliRunner().invoke(app, ["simulate", str(scenario), "--json"])
        assert result.exit_code == 0, result.output
        shown.append(json.loads(result.stdout)["strategies"])
    assert shown[0] == shown[1]


def test_fills_of_peers_are_no_views_however_late_the_first_one_comes(tmp_path: Path) -> None:
    def line(second: int, **more: object) -> str:
        hour, minute = divmod(second // 60 % 1440, 60)
        time = f"2026-11-{1 + second // 86400:02}T{hour:02}:{minute:02}:{second % 60:02}.000Z"
        return json.dumps({"time": time, "path": "/media/t/hd/v.mp4", "bytes": 1000, "cache": "hit"} | more) + "\n"

    path = tmp_path / "access.jsonl"
    late = [line(200_000 + n, peer=True, path="/media/u/hd/v.mp4") for n in range(5)]
    path.write_text("".join([line(9 * n) for n in range(20_600)] + late))
    given = load_recording(Recorded(Source.ACCESS_LOG, str(path)))
    assert given.announced.size_bytes.tolist() == [1000.0]
    assert sum(map(len, given.requests)) == 20_600


def test_a_recording_says_the_days_that_it_has() -> None:
    given = from_requests([(hour * 3600, hour % 3, 100) for hour in range(100)])
    assert simulate(replace(SMALL, warm_up_days=2), given).scenario.days == 3


def test_intervals_of_a_report_are_over_its_seeds(found: Outcome) -> None:
    told = report(found)
    assert told.seeds == (1, 2)
    assert all(one.figures["inside_share"].half is not None for one in told.strategies)
