"""The Fill instance is read whole, and its rows say what they were made of."""

from __future__ import annotations

import msgspec
import pytest

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
