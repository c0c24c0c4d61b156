"""Rows of sections that a run leaves out: what an earlier run found of them stays, with the words where it comes from. Pure."""

from __future__ import annotations

from collections.abc import Collection

from benchmarks.serve.rows import Results, Row

PREFIXES = {
    "scale": ("plan/time-s", "plan/memory-gib", "plan/growth/"),
    "gap": ("plan/gap",),
    "forecast": ("plan/wape-", "plan/band"),
    "simulate": ("plan/inside-gain", "plan/peak-upstream"),
    "fill": ("fill/",),
}
"""By section, what the names of its rows begin with."""


def kept(before: Results, measured: Collection[str]) -> tuple[list[Row], dict[str, str]]:
    """(rows of sections that were not measured now, conditions that say when and by which command they were)."""
    rows: list[Row] = []
    said: dict[str, str] = {}
    for section, prefixes in PREFIXES.items():
        if section in measured:
            continue
        found = [row for row in before.rows if row.name.startswith(prefixes)]
        if found:
            rows += found
            name = f"rows of {section}"
            said[name] = before.conditions.get(name, f"kept from {before.date}, `{before.command}`")
    return rows, said
