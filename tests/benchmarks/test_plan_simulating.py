"""The Fill instance is read whole, and its rows say what they were made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from benchmarks.plan import studies
from benchmarks.plan.simulating import INSTANCE, Instance, scenario_of
from fill_planner.simulator.scenario import Strategy


def test_the_instance_is_the_text_of_the_design() -> None:
    instance = msgspec.yaml.decode(INSTANCE.read_bytes(), type=Instance)
    scenario = scenario_of(instance)
    assert (scenario.days, len(scenario.seeds)) == (28, 5)
    demand, site = scenario.demand, scenario.sites[0]
    assert (demand.titles * len(demand.renditions), demand.views_per_day) == (20_000, 200_000)
    assert (demand.slope, demand.new_week_share) == (-0.83, 0.36)
    assert (len(scenario.sites), site.count, site.boxes) == (1, 1, 2)
    assert site.disk_bytes(1e12) == 10**11
    assert Strategy.LRU in scenario.strategies
    assert len(scenario_of(instance, 1).seeds) == 1


def test_an_instance_with_a_word_that_nobody_reads_is_refused() -> None:
    text = INSTANCE.read_text() + "colour: red\n"
    with pytest.raises(msgspec.ValidationError, match="colour"):
        msgspec.yaml.decode(text, type=Instance)


@pytest.mark.parametrize("path", sorted((studies.STUDIES / "scenarios").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_scenario_of_the_studies_is_one_and_is_run(path: Path) -> None:
    found = studies.scenario(path.stem, 0)
    assert studies.scenario(path.stem, 1).seeds == found.seeds[:1]
    assert path.stem in studies.SECTIONS
    assert path.name in (studies.STUDIES / "README.md").read_text(encoding="utf-8")


def test_the_one_site_of_the_studies_is_the_fill_instance() -> None:
    given = scenario_of(msgspec.yaml.decode(INSTANCE.read_bytes(), type=Instance))
    study = studies.scenario("one-site", 0)
    assert replace(study, name=given.name, strategies=given.strategies, sites=given.sites) == given
    assert replace(study.sites[0], name=given.sites[0].name, disk=given.sites[0].disk) == given.sites[0]
