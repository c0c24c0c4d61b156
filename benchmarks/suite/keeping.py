"""What a run leaves out and an earlier one found: its rows stay, with the words where they come from. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from benchmarks.serve.rows import Results, Row

Prefixes = Mapping[str, tuple[str, ...]]
"""By section, in the order of the page: what the names of its rows begin with."""


class Kept(NamedTuple):
    """Of sections that were not measured now: their rows, when and by which command they were made, and which were left out then."""

    rows: list[Row]
    conditions: dict[str, str]
    left_out: dict[str, str]


def kept(before: Results, prefixes: Prefixes, measured: Collection[str]) -> Kept:
    """What stays of an earlier run. Of a section without rows nothing does."""
    found = Kept([], {}, {})
    for section, begins in prefixes.items():
        if section in measured:
            continue
        rows = [row for row in before.rows if row.name.startswith(begins)]
        if rows:
            found.rows.extend(rows)
            name = f"rows of {section}"
            found.conditions[name] = before.conditions.get(name, f"kept from {before.date}, `{before.command}`")
            found.left_out.update({row: why for row, why in before.left_out.items() if row.startswith(begins)})
    return found


def place(row: Row, prefixes: Prefixes) -> int:
    """Sections stand in their order whichever was measured last; what belongs to none stands behind them."""
    return next(
        (number for number, begins in enumerate(prefixes.values()) if row.name.startswith(begins)), len(prefixes)
    )
