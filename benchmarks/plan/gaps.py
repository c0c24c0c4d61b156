"""`plan/gap/CLASS`: what the greedy placement misses to the bound of HiGHS, the worst of the seeds, and `plan/gap`, the worst of the classes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import yaml

from benchmarks.serve.rows import Plain, Row
from fill_planner.bound import gap
from fill_planner.placement.greedy import solve
from fill_planner.placement.instances import PlacementInstance, draw, read_instance

FOLDER = Path(__file__).parents[1] / "instances"
CLASSES = ("egress", "volume", "two-types", "copies", "churn")
UNIT = "part of the bound that the placement misses"


def rows(quick: bool, say: Callable[[str], None]) -> list[Row]:
    """A row for each class and one for the worst; quick: one seed of each, whose rows say so in their unit."""
    seeds = 1 if quick else 0
    made = [_row(name, seeds, say) for name in CLASSES]
    worst = max(made, key=lambda row: row.ours)
    unit = f"{UNIT}, the worst class" + (", one seed of each" if quick else "")
    return [Row("plan/gap", unit, worst.ours, None, None, worst.rounds), *made]


def instance_of(name: str) -> PlacementInstance:
    return read_instance(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))


def _row(name: str, seeds: int, say: Callable[[str], None]) -> Row:
    instance = instance_of(name)
    rounds = tuple(_round(instance, seed) for seed in instance.seeds[: seeds or None])
    worst = max(one.value for one in rounds)
    say(f"  {name}: {worst:.3%}")
    return Row(f"plan/gap/{name}", UNIT + (", one seed" if seeds else ", the worst seed"), worst, None, None, rounds)


def _round(instance: PlacementInstance, seed: int) -> Plain:
    problem = draw(instance, seed)
    began = time.process_time()
    solve(problem)
    greedy_s = time.process_time() - began
    began = time.process_time()
    found = gap(problem)
    facts = {
        "seed": float(seed),
        "greedy TB": found.greedy.total / 1e12,
        "bound TB": found.bound / 1e12,
        "served TB": found.greedy.served / 1e12,
        "greedy CPU s": greedy_s,
        "bound CPU s": time.process_time() - began - greedy_s,
    }
    return Plain(found.share, facts)
