"""`plan/inside-gain` and `plan/peak-upstream`: a plan with a cache beside pull-through LRU with the same disk, on the Fill instance (DESIGN §8).

LRU is the strongest there is: its two boxes share the files between them by rendezvous hashing, as our steering has it without a plan. The rows that end in `/separate` are against
boxes that do not know of each other, as behind a balancer that goes by session. A round is one seed. Facts have the shares of all, and what nobody can beat who knows the future.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from benchmarks.serve.rows import Plain, Row, plain
from fill_planner.config import PlannerSettings
from fill_planner.simulator.figures import Figures
from fill_planner.simulator.run import SeedRun, simulate
from fill_planner.simulator.scenario import Demand, Scenario, SiteSpec, Strategy

INSTANCE = Path(__file__).parents[1] / "instances" / "fill.yaml"
PLANNED = Strategy.PLAN_S3FIFO
BASELINES = {"": Strategy.LRU, "/separate": Strategy.SPLIT_LRU}
SECOND_COPIES = 0.02
"""Of the disk, for second copies of the very head: a box that goes away costs little of what is served, and the tail keeps its room."""
CACHE_SHARE = 0.05


class Views(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    law: Literal["mandelbrot-zipf"]
    slope: float
    slope_ranks: tuple[int, int]
    shift: float


class Instance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`fill.yaml`."""

    kind: Literal["fill"]
    seeds: Annotated[tuple[int, ...], msgspec.Meta(min_length=5)]
    days: int
    sites: Literal[1]
    boxes_per_site: int
    disk_share: float
    files: int
    views_per_day: float
    views: Views
    new_entries_share: float
    daily_curve: Literal["hourly"]
    forecast_sees: tuple[str, ...]


def scenario_of(instance: Instance, seeds: int = 0) -> Scenario:
    """The instance as the simulator reads it; what the instance leaves open has the simulator's defaults. `seeds` 0: all."""
    return Scenario(
        name="fill",
        days=instance.days,
        seeds=instance.seeds[:seeds] if seeds else instance.seeds,
        demand=Demand(
            titles=instance.files,
            views_per_day=instance.views_per_day,
            slope=instance.views.slope,
            slope_ranks=instance.views.slope_ranks,
            shift=instance.views.shift,
            new_week_share=instance.new_entries_share,
        ),
        sites=(SiteSpec(boxes=instance.boxes_per_site, disk=f"{instance.disk_share:.6%}", cache_share=CACHE_SHARE),),
        strategies=(Strategy.LRU, Strategy.SPLIT_LRU, Strategy.S3FIFO, PLANNED),
        planner=PlannerSettings(second_copy_share=SECOND_COPIES),
    )


def rows(quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Both rows against both baselines. `quick`: one seed, about two minutes."""
    instance = msgspec.yaml.decode(INSTANCE.read_bytes(), type=Instance)
    runs = simulate(scenario_of(instance, 1 if quick else 0), on_progress=say).runs
    made = []
    for ending, baseline in BASELINES.items():
        against = "LRU" if baseline is Strategy.LRU else "LRU of boxes that do not know of each other"
        gains = [Plain(_points(run, baseline), _facts(run)) for run in runs]
        peaks = [Plain(_ratio(run, baseline), _facts(run)) for run in runs]
        made.append(plain(f"plan/inside-gain{ending}", f"points of bytes inside, plan + cache over {against}", gains))
        made.append(plain(f"plan/peak-upstream{ending}", f"peak upstream link, plan + cache / {against}", peaks))
    return made


def _points(run: SeedRun, baseline: Strategy) -> float:
    return 100 * (run.figures[PLANNED].inside_share - run.figures[baseline].inside_share)


def _ratio(run: SeedRun, baseline: Strategy) -> float:
    return run.figures[PLANNED].peak_upstream_bps / run.figures[baseline].peak_upstream_bps


def _facts(run: SeedRun) -> dict[str, float]:
    facts = {"seed": float(run.seed)}
    for strategy, found in run.figures.items():
        facts |= _of(strategy.value, found)
    if run.bounds is not None:
        bounds = {
            "most inside of any cache %": run.bounds.cache,
            "most inside with as many fills %": run.bounds.cache_and_fills,
            "best set of each day, inside %": run.bounds.best_days,
        }
        facts |= {name: 100 * share for name, share in bounds.items() if share is not None}
    return facts


def _of(name: str, found: Figures) -> dict[str, float]:
    return {
        f"{name} inside %": 100 * found.inside_share,
        f"{name} peak upstream Gb/s": found.peak_upstream_bps / 1e9,
        f"{name} filled TB": found.filled_bytes / 1e12,
    }
