"""`RESULTS.md` of planning from its results, and the bars that they are held against (DESIGN §8). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.serve.rows import Plain, Results, Row, Verdict


@dataclass(frozen=True, slots=True)
class Bar:
    """Where a row should be: within `least` and `most`, and for the stretch likewise; None is no limit."""

    least: float | None = None
    most: float | None = None
    stretch_least: float | None = None
    stretch_most: float | None = None

    def verdict(self, value: float) -> Verdict:
        if not _within(value, self.least, self.most):
            return Verdict.MISSED
        return Verdict.STRETCH if _within(value, self.stretch_least, self.stretch_most) else Verdict.BAR


BARS = {
    "plan/time-s": Bar(most=600, stretch_most=120),
    "plan/memory-gib": Bar(most=8, stretch_most=8),
    "plan/gap": Bar(most=0.03, stretch_most=0.01),
    **{
        f"plan/gap/{name}": Bar(most=0.03, stretch_most=0.01)
        for name in ("egress", "volume", "two-types", "copies", "churn")
    },
    "plan/wape-2025": Bar(most=0.30, stretch_most=0.28),
    "plan/band": Bar(least=0.75, most=0.85, stretch_least=0.75, stretch_most=0.85),
    "plan/inside-gain": Bar(least=8, stretch_least=12),
    "plan/peak-upstream": Bar(most=0.5, stretch_most=0.3),
    "fill/cap-excess": Bar(most=1.05, stretch_most=1.05),
    "fill/outside": Bar(most=1.01, stretch_most=1.01),
}


def standing(row: Row) -> Verdict:
    bar = BARS.get(row.name)
    return Verdict.NO_BAR if bar is None else bar.verdict(row.ours)


def render(results: Results) -> str:
    """The page, made from nothing but the results."""
    parts = [
        "# What a plan costs and is worth",
        "Made by `make bench-plan` from `results.json`; do not edit. Rows, bars and stretches are those of the design (§8); rows without a bar are for comparison.",
        f"- machine: {results.machine}\n- date: {results.date}\n- command: `{results.command}`",
        "## Conditions",
        "\n".join(f"- {name}: {text}" for name, text in results.conditions.items()) or "None.",
        "## Rows",
        _table([_line(row) for row in results.rows]),
        "## What they are made of",
        "Each line is one round.",
        "\n".join(line for row in results.rows for line in _facts(row)) or "No rows.",
        "## Left out",
        "\n".join(f"- `{name}`: {why}" for name, why in results.left_out.items()) or "Nothing.",
    ]
    missed = [row for row in results.rows if standing(row) is Verdict.MISSED]
    if missed:
        lines = [f"- `{row.name}`: {row.ours:.4g}, the bar is {_words(BARS[row.name])[0]}" for row in missed]
        parts += ["## Bars missed", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _within(value: float, least: float | None, most: float | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)


def _words(bar: Bar) -> tuple[str, str]:
    return _range(bar.least, bar.most), _range(bar.stretch_least, bar.stretch_most)


def _range(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f"{least:g} to {most:g}"
    return f"≥ {least:g}" if least is not None else f"≤ {most:g}" if most is not None else "–"


def _line(row: Row) -> tuple[str, ...]:
    bar, stretch = _words(BARS[row.name]) if row.name in BARS else ("–", "–")
    peer = f"{row.peer}: {row.peer_value:.4g}" if row.peer is not None and row.peer_value is not None else "–"
    return f"`{row.name}`", f"{row.ours:.4g}", row.unit, bar, stretch, standing(row).value, peer


def _facts(row: Row) -> list[str]:
    return [
        f"- `{row.name}` {one.value:.4g}: " + ", ".join(f"{name} {value:.4g}" for name, value in one.facts.items())
        for one in row.rounds
        if isinstance(one, Plain)
    ]


def _table(lines: list[tuple[str, ...]]) -> str:
    heads = ("row", "value", "unit", "bar", "stretch", "verdict", "peer")
    if not lines:
        return "No rows."
    rule = tuple("---" for _ in heads)
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, rule, *lines))
