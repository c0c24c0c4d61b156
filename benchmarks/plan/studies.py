"""`make study`: runs the scenarios of docs/studies/ and draws their plots. Minutes to hours on one core; `--only NAME` takes some, `--seeds N` the first seeds.

What it prints is what the pages quote.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from chassis.config import load
from fill_planner.simulator import regions
from fill_planner.simulator.plot import axis_of, lines
from fill_planner.simulator.run import Outcome
from fill_planner.simulator.run import simulate as simulate_requests
from fill_planner.simulator.scenario import Scenario, Strategy
from fill_planner.simulator.telling import CACHE_BOUND, inside_plot, report, table, upstream_plot

STUDIES = Path(__file__).parents[2] / "docs" / "studies"
REACH_DISKS = (0.05, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75)
REACH_SITES = 6
REACHING = (Strategy.LRU, Strategy.PLAN, Strategy.PLAN_LRU)
SITE_DISKS = (0.02, 0.05, 0.1, 0.2, 0.4)
Say = Callable[[str], None]


def scenario(name: str, seeds: int) -> Scenario:
    """A scenario of docs/studies/scenarios; `seeds` 0: all of its own."""
    found = load(Scenario, STUDIES / "scenarios" / f"{name}.yaml", env_prefix="LOWTIDE_SCENARIO_", environ=os.environ)
    return replace(found, seeds=found.seeds[:seeds]) if seeds else found


def simulate(given: Scenario, say: Say) -> Outcome:
    return regions.simulate(given, say) if given.fluid else simulate_requests(given, on_progress=say)


def plain(name: str) -> Callable[[Console, int, Say], None]:
    """A scenario as it is: its table, upstream by hour, share inside by day."""

    def study(console: Console, seeds: int, say: Say) -> None:
        found = simulate(scenario(name, seeds), say)
        console.print(table(report(found)))
        (STUDIES / f"{name}-upstream.svg").write_text(upstream_plot(found), encoding="utf-8")
        (STUDIES / f"{name}-inside.svg").write_text(inside_plot(found), encoding="utf-8")

    return study


def disks(console: Console, seeds: int, say: Say) -> None:
    """One site at several sizes of disk, one seed."""
    whole = replace(scenario("one-site", 1), strategies=(Strategy.LRU, Strategy.S3FIFO, Strategy.PLAN_S3FIFO))
    _sweep(console, whole, SITE_DISKS, "one-site-disks.svg", say)


def reach(console: Console, seeds: int, say: Say) -> None:
    """Which disk reaches 98 % inside: some of the thousand sites at many sizes."""
    whole = scenario("thousand-sites", 1)
    sites = (replace(whole.sites[0], count=REACH_SITES),)
    _sweep(console, replace(whole, sites=sites, strategies=REACHING, with_optimum=True), REACH_DISKS, "reach.svg", say)


def _sweep(console: Console, whole: Scenario, shares: tuple[float, ...], plot: str, say: Say) -> None:
    curves: dict[str, list[tuple[float, float]]] = {one.value: [] for one in whole.strategies}
    shown = Table(title=f"{whole.name}: share inside by disk")
    for heading in ("disk of a site", "TB", *curves, "best set of each day", CACHE_BOUND):
        shown.add_column(heading, justify="right")
    for share in shares:
        say(f"disk {share:.0%}")
        sites = tuple(replace(site, disk=f"{share:.6%}") for site in whole.sites)
        run = simulate(replace(whole, sites=sites), say).runs[0]
        for strategy in whole.strategies:
            curves[strategy.value].append((100 * share, run.figures[strategy].inside_share))
        bounds = run.bounds
        cells = [f"{points[-1][1]:.2%}" for points in curves.values()]
        cells.append(f"{bounds.best_days:.2%}" if bounds is not None else "–")
        cells.append(f"{bounds.cache:.2%}" if bounds is not None and bounds.cache is not None else "–")
        shown.add_row(f"{share:.0%}", f"{share * run.catalogue_bytes / 1e12:,.1f}", *cells)
    console.print(shown)
    x = axis_of("disk of a site, % of the catalogue's bytes", [0.0, 100 * max(shares)])
    drawn = lines(f"{whole.name}: share inside by disk", x, axis_of("share of bytes inside", [0.0, 1.0], True), curves)
    (STUDIES / plot).write_text(drawn, encoding="utf-8")


SECTIONS: dict[str, Callable[[Console, int, Say], None]] = {
    "hulu": plain("hulu"),
    "reach": reach,
    "thousand-sites": plain("thousand-sites"),
    "disks": disks,
    "one-site": plain("one-site"),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan.studies", description=__doc__)
    parser.add_argument("--only", action="append", choices=sorted(SECTIONS), help="may be given several times")
    parser.add_argument("--seeds", type=int, default=0, help="only the first so many seeds of each scenario")
    arguments = parser.parse_args()
    console = Console(width=150)
    for name, study in SECTIONS.items():
        if not arguments.only or name in arguments.only:
            study(console, arguments.seeds, _say)
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


if __name__ == "__main__":
    raise SystemExit(main())
