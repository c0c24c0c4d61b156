"""`lowtide fill-planner simulate`: reads a scenario, runs it, prints what plans and caches would have served."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console

from chassis.config import load
from chassis.errors import ConfigError
from fill_planner.simulator.scenario import Scenario

if TYPE_CHECKING:
    from fill_planner.simulator.run import Outcome

ENV_PREFIX = "LOWTIDE_SCENARIO_"
_WIDE = 150
"""Columns of a table that goes into a file."""


def simulate(
    scenario: Annotated[Path, typer.Argument(help="YAML: demand, sites, days, what is compared (docs/simulator.md)")],
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            "--what-if", help="also with this change: disk=40TB, boxes=2, window=4h, rate=2Gbps, SITE.disk=5%"
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="only the first so many seeds; 0: all", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="print the figures as JSON")] = False,
    plot: Annotated[Path | None, typer.Option(help="draw upstream by hour of the day into this SVG file")] = None,
    plot_days: Annotated[Path | None, typer.Option(help="draw the share inside by day into this SVG file")] = None,
) -> None:
    """Compare plan, caches and both on a demand, with the real forecast and placement in the loop.

    Exit code 2 when the scenario, a change or a recording is wrong: all that is wrong with a scenario is said at once.
    """
    from fill_planner.simulator.telling import changes_table, inside_plot, report, table, upstream_plot
    from fill_planner.simulator.whatif import changed

    read = _scenario(scenario, seeds)
    try:
        variants = [(words, changed(read, words)) for words in what_if or ()]
        outcome = _run(read)
        found = report(outcome)
        after = [(words, report(_run(variant))) for words, variant in variants]
    except ValueError as error:
        typer.echo(f"{scenario}: {error}", err=True)
        raise typer.Exit(2) from None
    if as_json:
        shown = {"before": found, "after": dict(after)} if after else found
        typer.echo(msgspec.json.format(msgspec.json.encode(shown), indent=2).decode())
    else:
        console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDE)
        console.print(table(found))
        if after:
            console.print(changes_table(found, after))
    for path, draw in ((plot, upstream_plot), (plot_days, inside_plot)):
        if path is not None:
            _write(path, draw(outcome))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        typer.echo(f"{path}: cannot be written: {error.strerror}", err=True)
        raise typer.Exit(1) from None


def _scenario(path: Path, seeds: int) -> Scenario:
    try:
        found = load(Scenario, path, env_prefix=ENV_PREFIX, environ=os.environ)
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    return replace(found, seeds=found.seeds[:seeds]) if seeds else found


def _run(scenario: Scenario) -> Outcome:
    from fill_planner.simulator import regions
    from fill_planner.simulator.recorded import load as load_recording
    from fill_planner.simulator.run import simulate as run

    console = Console(stderr=True)
    with console.status("simulating") as status:
        if scenario.fluid:
            return regions.simulate(scenario, status.update)
        given = load_recording(scenario.recorded) if scenario.recorded is not None else None
        return run(scenario, given, status.update)
