"""`RESULTS.md` of steering from its results, and the bars that they are held against (DESIGN §8, issue "Steering"). Pure."""

from __future__ import annotations

from benchmarks.serve.rows import Plain, Results, Row

AT_MOST: dict[str, tuple[float, float]] = {
    "steer/decision-us": (100, 40),
    "steer/world-memory-gib": (1, 1),
    "steer/hottest": (1.25, 1.1),
    "steer/moved": (1.2, 1.2),
    "steer/distinct": (1.3, 1.3),
    "steer/content-misses": (1, 1),
    "steer/dead-box-s": (10, 4),
    "play/first-frame-s": (1, 0.5),
    "play/stalls": (0, 0),
    "play/broken-off": (0, 0),
}
"""(bar, stretch)."""
AT_LEAST: dict[str, tuple[float, float]] = {"steer/requests-per-s": (3000, 6000), "steer/holders": (0.95, 0.98)}


def verdict(row: Row) -> str:
    """How a row stands against its bar."""
    if row.name in AT_MOST:
        bar, stretch = AT_MOST[row.name]
        return "stretch" if row.ours <= stretch else "bar" if row.ours <= bar else "missed"
    if row.name in AT_LEAST:
        bar, stretch = AT_LEAST[row.name]
        return "stretch" if row.ours >= stretch else "bar" if row.ours >= bar else "missed"
    return "no bar"


def render(results: Results) -> str:
    """The page, made from nothing but the results."""
    parts = [
        "# What steering costs and how well it spreads",
        "Made by `make bench-steer` from `results.json`; do not edit. Rows, bars and stretches are those of the design (§8) and of its issue.",
        f"- machine: {results.machine}\n- date: {results.date}\n- command: `{results.command}`",
        "## Conditions",
        "\n".join(f"- {name}: {text}" for name, text in results.conditions.items()),
        "## Rows",
        _table(results.rows),
        "## What they are made of",
        "Each line is one round.",
        "\n".join(_facts(results.rows)) or "No rows.",
        "## Left out",
        "\n".join(f"- `{name}`: {why}" for name, why in results.left_out.items()) or "Nothing.",
    ]
    return "\n\n".join(parts) + "\n"


def _table(rows: tuple[Row, ...]) -> str:
    lines = ["| row | value | unit | bar | stretch | verdict |", "|---|---|---|---|---|---|"]
    for row in rows:
        sign, limits = ("≤", AT_MOST[row.name]) if row.name in AT_MOST else ("≥", AT_LEAST.get(row.name))
        bars = [f"{sign} {limit:g}" for limit in limits] if limits else ["–", "–"]
        lines.append(f"| `{row.name}` | {row.ours:.4g} | {row.unit} | {bars[0]} | {bars[1]} | {verdict(row)} |")
    return "\n".join(lines)


def _facts(rows: tuple[Row, ...]) -> list[str]:
    return [
        f"- `{row.name}` {one.value:.4g}: " + ", ".join(f"{name} {value:.4g}" for name, value in one.facts.items())
        for row in rows
        for one in row.rounds
        if isinstance(one, Plain)
    ]
