"""The evaluation as tables for people: rows of words. Pure; the command line draws them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fill_planner.toplists.comings import Coming
from fill_planner.toplists.evaluation import AGES, Evaluation
from fill_planner.toplists.lists import last_day
from fill_planner.toplists.scores import ALL, Score

WORDS = frozenset({"model", "list", "week in the list", "what is known"})
"""Headings of columns that are no numbers."""


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(found: Evaluation) -> Iterator[Table]:
    """The choice, all models, the chosen models by list and by age, what came in, what dropped out."""
    errors = ("rows", "WAPE", "pinball", "in the 80 % band")
    yield Table(
        f"choice on the year to {last_day(found.chosen_by_week)}",
        ("weeks ahead", "model", *errors),
        tuple((str(s.horizon), _marked(found, s), *_errors(s)) for s in found.choice),
    )
    weeks = f"weeks {last_day(found.first_week)} to {last_day(found.last_week)}"
    yield Table(
        weeks,
        ("weeks ahead", "model", *errors),
        tuple(
            (str(s.horizon), _marked(found, s), *_errors(s)) for s in found.scores if (s.list_name, s.age) == (ALL, ALL)
        ),
    )
    for title, chosen in (
        ("by list", [s for s in found.scores if s.age == ALL and s.list_name != ALL]),
        ("by week in the list", [s for s in found.scores if s.list_name == ALL and s.age in AGES]),
    ):
        yield Table(
            f"{weeks}, {title}",
            ("weeks ahead", "model", title.removeprefix("by "), *errors),
            tuple(
                (str(s.horizon), _marked(found, s), s.list_name if s.age == ALL else s.age, *_errors(s)) for s in chosen
            ),
        )
    words = {kind.word: kind.words for kind in Coming} | {ALL: "all"}
    yield Table(
        f"{weeks}, titles that come in, one week ahead, by their own priors",
        ("list", "what is known", *errors),
        tuple((s.list_name, words[s.model], *_errors(s)) for s in found.new_entries),
    )
    yield Table(
        f"{weeks}, titles that drop out",
        ("weeks ahead", "rows", "dropped", "expected", "Brier score", "of a constant rate"),
        tuple(
            (
                str(d.horizon),
                str(d.rows),
                _share(d.dropped),
                _share(d.expected),
                _number(d.brier),
                _number(d.brier_of_constant),
            )
            for d in found.drops
        ),
    )


def sentence(found: Evaluation) -> str:
    """What counts: the chosen model at the shortest horizon."""
    horizon = min(found.chosen)
    best = found.of_chosen(horizon)
    weeks = "one week" if horizon == 1 else f"{horizon} weeks"
    errors = f"WAPE {_number(best.wape)} and {_share(best.coverage)} in the 80 % band"
    return f"{best.model}: {errors}, {weeks} ahead, over {best.rows} rows."


def _marked(found: Evaluation, one: Score) -> str:
    return f"{one.model} *" if found.chosen[one.horizon] == one.model else one.model


def _errors(one: Score) -> tuple[str, str, str, str]:
    return str(one.rows), _number(one.wape), _number(one.pinball), _share(one.coverage)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
