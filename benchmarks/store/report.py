"""`RESULTS.md` of the store from its results, and the bars that they are held against (DESIGN §8). Pure."""

from __future__ import annotations

from benchmarks.serve.rows import Plain, Results, Row, Verdict, standing
from policies.eviction import PolicyName

BARS: dict[str, tuple[float, float]] = {
    "store/coalesce/fetches": (1, 1),
    "store/coalesce/wave": (1.5, 1.2),
    "store/coalesce/p50-ms": (5, 2),
    "store/first-hit-s": (1, 0.3),
    **{f"store/policy/{policy.value}": (0.5, 0.5) for policy in PolicyName},
    **{f"store/live/{policy.value}": (1.5, 1.5) for policy in PolicyName},
}
"""(bar, stretch)."""


def render(results: Results) -> str:
    """The page, made from nothing but the results."""
    parts = [
        "# What the store costs and holds",
        "Made by `make bench-store` from `results.json`; do not edit. Rows, bars and stretches are those of the design (§8); rows without a bar are for comparison.",
        f"- machine: {results.machine}\n- date: {results.date}\n- command: `{results.command}`",
        "## Conditions",
        "\n".join(f"- {name}: {text}" for name, text in results.conditions.items()),
        "## Rows",
        _table(("row", "value", "unit", "bar", "stretch", "verdict", "peer"), [_line(row) for row in results.rows]),
        "## What they are made of",
        "Each line is one round.",
        _facts(results.rows),
        "## Left out",
        "\n".join(f"- `{name}`: {why}" for name, why in results.left_out.items()) or "Nothing.",
    ]
    missed = [row for row in results.rows if standing(row, BARS)[1] is Verdict.MISSED]
    if missed:
        lines = [f"- `{row.name}`: {standing(row, BARS)[0]:.2f}, the bar is {BARS[row.name][0]:g}" for row in missed]
        parts += ["## Bars missed", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _line(row: Row) -> tuple[str, ...]:
    value, verdict = standing(row, BARS)
    bar, stretch = (f"{number:g}" for number in BARS[row.name]) if row.name in BARS else ("–", "–")
    peer = "–"
    if row.peer is not None and row.peer_value is not None:
        peer = f"{row.peer} {row.peer_version}: {row.peer_value:.4g}"
        peer += f" ({row.peer_configuration})" if row.peer_configuration else ""
    return f"`{row.name}`", f"{value:.4g}", row.unit, bar, stretch, verdict.value, peer


def _facts(rows: tuple[Row, ...]) -> str:
    lines = []
    for row in rows:
        for one in row.rounds:
            if isinstance(one, Plain):
                words = ", ".join(f"{name} {value:.4g}" for name, value in one.facts.items())
                lines.append(f"- `{row.name}` {one.value:.4g}: {words}")
    return "\n".join(lines) or "No rows."


def _table(heads: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    if not lines:
        return "No rows."
    rule = tuple("---" for _ in heads)
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, rule, *lines))
