"""`plan/wape-2025`, `plan/band`: one-week errors on Netflix's weekly lists, by the model that was chosen on the weeks to the end of 2024.

The weeks of 2025 are scored with the settings in the code; `lowtide fill-planner evaluate` prints the same figures and more.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.serve.rows import Plain, Row, plain
from fill_planner.evaluate_cli import CHOSEN_BY
from fill_planner.toplists.evaluation import Evaluation, Method, TooShort, evaluate
from fill_planner.toplists.lists import BadLists, day_of, parse, week_of
from fill_planner.toplists.scores import ALL

LAST_WEEK = "2025-12-28"
METHOD = Method(horizons=(1,))


def rows(top10: Path, say: Callable[[str], None], method: Method = METHOD) -> list[Row]:
    """Both rows from the file of weekly lists. Raises OSError, and RuntimeError when the file does not hold what is needed."""
    try:
        entries = parse(top10.read_text(encoding="utf-8"))
        found = evaluate(entries, week_of(day_of(CHOSEN_BY)), week_of(day_of(LAST_WEEK)), method)
    except (BadLists, TooShort, UnicodeDecodeError) as error:
        raise RuntimeError(f"{top10.name}: {error}") from error
    made = list(_rows(found))
    for row in made:
        say(f"  {row.name}: {row.ours:.3f} {row.unit}")
    return made


def _rows(found: Evaluation) -> tuple[Row, Row]:
    best = found.of_chosen(1)
    if best.wape is None or best.coverage is None:
        raise RuntimeError("no entry is in the same list in two weeks that follow each other")
    models = {score.model: score.wape for score in found.scores if (score.list_name, score.age) == (ALL, ALL)}
    facts = {f"WAPE of {name}": wape for name, wape in models.items() if wape is not None}
    count = {"entries": float(best.rows)}
    return (
        plain("plan/wape-2025", "sum |error| / sum of hours, one week ahead", [Plain(best.wape, facts | count)]),
        plain("plan/band", "share of outcomes inside the 80 % band", [Plain(best.coverage, count)]),
    )
