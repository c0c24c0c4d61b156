"""`lowtide fill-planner evaluate`: how wrong forecasts of weekly top lists are, from a file that anybody can download."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from fill_planner.toplists.evaluation import MODELS, Evaluation, Method, TooShort
from fill_planner.toplists.evaluation import evaluate as evaluated
from fill_planner.toplists.features import HORIZONS
from fill_planner.toplists.lists import BadLists, Entry, parse, week_of
from fill_planner.toplists.models import RatioModel
from fill_planner.toplists.report import WORDS, sentence, tables
from fill_planner.toplists.rolling import Rolling

CHOSEN_BY = "2024-12-29"
PAGE_WIDTH = 120
REHEARSED_WEEKS = 52
"""Weeks scored by a rehearsal."""


def evaluate(
    top10: Annotated[
        Path, typer.Option(help="tab-separated weekly lists, as Netflix publishes them (all-weeks-global.tsv)")
    ],
    until: Annotated[
        str, typer.Option(help="last Sunday up to which models are chosen; the weeks after it are scored")
    ] = CHOSEN_BY,
    rehearse: Annotated[
        bool, typer.Option(help="look at nothing after that Sunday: choose a year earlier, score the year up to it")
    ] = False,
    model: Annotated[list[str] | None, typer.Option(help="only these compete; may be repeated")] = None,
    weeks_ahead: Annotated[
        int, typer.Option(min=1, max=len(HORIZONS), help="forecast one to so many weeks ahead")
    ] = len(HORIZONS),
    refit_weeks: Annotated[int, typer.Option(min=1, help="weeks after which models are fitted anew")] = 8,
    seed: Annotated[int, typer.Option(help="of the chance in growing trees")] = 1,
    out: Annotated[Path | None, typer.Option(help="write all scores as JSON to this file")] = None,
) -> None:
    """Score forecasts of weekly lists, week after week, with what was known at each.

    Prints the errors of every model by weeks ahead, list and week in the list; a star marks the model that was chosen.
    """
    week = week_of(_date(until))
    last_week = week if rehearse else sys.maxsize
    method = Method(_models(model or []), Rolling(refit_weeks=refit_weeks, seed=seed), tuple(range(1, weeks_ahead + 1)))
    try:
        found = evaluated(_entries(top10), week - REHEARSED_WEEKS if rehearse else week, last_week, method)
    except TooShort as error:
        typer.echo(f"{top10}: {error} ({until})", err=True)
        raise typer.Exit(2) from None
    if out is not None:
        out.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))
    _print(found)


def _date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        typer.echo(f"--until {text!r} is not a date such as {CHOSEN_BY}", err=True)
        raise typer.Exit(2) from None


def _models(names: list[str]) -> tuple[RatioModel, ...]:
    """Those named, or all."""
    known = [model.name for model in MODELS]
    if strange := [name for name in names if name not in known]:
        typer.echo(f"--model: {strange[0]!r} is none of {', '.join(known)}", err=True)
        raise typer.Exit(2)
    return tuple(model for model in MODELS if not names or model.name in names)


def _entries(path: Path) -> tuple[Entry, ...]:
    """On a bad file, words on stderr and exit code 2."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        typer.echo(f"{path}: cannot be read: {error.strerror}", err=True)
    except UnicodeDecodeError:
        typer.echo(f"{path}: is not text in UTF-8", err=True)
    except BadLists as error:
        typer.echo(f"{path}: is no file of weekly top lists: {error}", err=True)
    raise typer.Exit(2)


def _print(found: Evaluation) -> None:
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else PAGE_WIDTH)
    for one in tables(found):
        table = Table(title=one.title, title_justify="left")
        for heading in one.headings:
            table.add_column(heading, justify="left" if heading in WORDS else "right")
        for row in one.rows:
            table.add_row(*row)
        console.print(table)
    typer.echo(sentence(found))
