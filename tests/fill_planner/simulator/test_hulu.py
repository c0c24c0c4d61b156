"""The published comparison (Krishnappa, Khemmarat, Gao & Zink, PAM 2011): prefetching a week's first hundred, LRU, and both, on generated demand.

There: prefetching gave 44 % hits with 10 GB and 100 downloads, LRU 55 % with 20 GB and 4,713 downloads, both 59 % with 4,439. What is held here is the shape.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from chassis.config import load
from fill_planner.simulator.run import simulate
from fill_planner.simulator.scenario import Scenario, Strategy

SCENARIO = Path(__file__).parents[3] / "docs" / "studies" / "scenarios" / "hulu.yaml"
PREFETCH, LRU, BOTH = Strategy.WEEKLY_TOP, Strategy.LRU, Strategy.WEEKLY_TOP_LRU


def test_prefetching_the_weekly_top_nearly_reaches_lru_with_few_downloads_and_both_beat_lru_with_fewer() -> None:
    scenario = load(Scenario, SCENARIO, env_prefix="LOWTIDE_NO_TEST_", environ=os.environ)
    scenario = replace(scenario, seeds=(1,), strategies=(PREFETCH, LRU, BOTH), with_optimum=False)
    figures = simulate(scenario).runs[0].figures
    inside = {strategy: one.inside_share for strategy, one in figures.items()}
    assert 0.3 < inside[PREFETCH] < inside[LRU] < inside[BOTH]
    assert inside[BOTH] - inside[LRU] > 0.02
    assert figures[PREFETCH].filled_bytes < 0.05 * figures[LRU].fetched_bytes
    assert figures[BOTH].fetched_bytes < 0.97 * figures[LRU].fetched_bytes
