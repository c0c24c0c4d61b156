"""`RESULTS.md` from the results: what stands where, with the figures that the verdict was drawn from. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from benchmarks.serve.rows import BARS, Measured, Plain, Results, Round, Row, Verdict, ratios, standing


def render(results: Results) -> str:
    """The page, made from nothing but the results."""
    compared = [row for row in results.rows if row.peer is not None]
    alone = [row for row in results.rows if row.peer is None]
    parts = [
        "# What serving costs",
        "Made by `make bench-serve` from `results.json`; do not edit. Rows, bars and stretches are those of the design (§8).",
        f"- machine: {results.machine}\n- date: {results.date}\n- command: `{results.command}`",
        "## Conditions",
        "\n".join(f"- {name}: {text}" for name, text in results.conditions.items()),
        "## Server CPU per request, ours beside each peer",
        "Microseconds, user + system, medians of the rounds. The ratio is the median of the rounds' own ratios, with its range.",
        _table(
            ("row", "ours", "peer", "ratio (range)", "bar", "stretch", "verdict", "peer's configuration"),
            [_compared(row) for row in compared],
        ),
        "## Beside it: rate, latency, memory",
        "A closed loop of 32 connections, one core for the server and one for the client: the rate says how busy the slower of the two is. "
        "The last column is the time per request that the server's core did not idle, interrupts included, whoever was charged for them.",
        _table(("row", "server", "requests/s", "p50 ms", "p99 ms", "resident MiB", "core µs"), _beside(compared)),
        "## Ours alone",
        _table(("row", "value", "unit", "bar", "stretch", "verdict"), [_alone(row) for row in alone]),
        _facts(alone),
        "## Left out",
        "\n".join(f"- `{name}`: {why}" for name, why in results.left_out.items()) or "Nothing.",
    ]
    missed = [row for row in results.rows if standing(row)[1] is Verdict.MISSED]
    if missed:
        lines = [f"- `{row.name}`: {standing(row)[0]:.2f}, the bar is {BARS[row.name][0]:g}" for row in missed]
        parts += ["## Bars missed", "\n".join(lines), "Why, with profiles, and what was tried: [WHY.md](WHY.md)."]
    return "\n\n".join(part for part in parts if part) + "\n"


def _compared(row: Row) -> tuple[str, ...]:
    value, verdict = standing(row)
    found = ratios(row)
    ours = _split(row, lambda one: one.ours)
    peer = _split(row, lambda one: one.peer or one.ours)
    bar, stretch = (f"{number:g}" for number in BARS[row.name]) if row.name in BARS else ("–", "–")
    words = f"{row.peer_version}: {row.peer_configuration}"
    return (
        f"`{row.name}`",
        ours,
        peer,
        f"{value:.2f} ({min(found):.2f}–{max(found):.2f})",
        bar,
        stretch,
        verdict.value,
        words,
    )


def _split(row: Row, pick: Callable[[Round], Measured]) -> str:
    found = [pick(one) for one in row.rounds if isinstance(one, Round)]
    user, system = (
        statistics.median(part) for part in zip(*((one.user_us, one.system_us) for one in found), strict=True)
    )
    total = statistics.median(one.cpu_us for one in found)
    log = statistics.median(one.log_user_us + one.log_system_us for one in found)
    apart = f", {log:.0f} of it the log writer" if log else ""
    return f"{total:.0f} ({user:.0f} + {system:.0f}{apart})"


def _beside(rows: list[Row]) -> list[tuple[str, ...]]:
    lines = []
    for row in rows:
        rounds = [one for one in row.rounds if isinstance(one, Round)]
        for found in ([one.ours for one in rounds], [one.peer for one in rounds if one.peer is not None]):
            lines.append((f"`{row.name}`", found[0].server, *_middle(found)))
    return lines


def _middle(found: list[Measured]) -> tuple[str, ...]:
    return (
        f"{statistics.median(one.requests_per_s for one in found):.0f}",
        f"{statistics.median(one.p50_us for one in found) / 1000:.2f}",
        f"{statistics.median(one.p99_us for one in found) / 1000:.2f}",
        f"{statistics.median(one.resident_kib for one in found) / 1024:.0f}",
        f"{statistics.median(one.core_us for one in found):.0f}",
    )


def _alone(row: Row) -> tuple[str, ...]:
    value, verdict = standing(row)
    bar, stretch = BARS[row.name] if row.name in BARS else (float("nan"), float("nan"))
    return f"`{row.name}`", f"{value:.1f}", row.unit, f"{bar:g}", f"{stretch:g}", verdict.value


def _facts(rows: list[Row]) -> str:
    lines = []
    for row in rows:
        for one in row.rounds:
            if isinstance(one, Plain):
                words = ", ".join(f"{name} {value:g}" for name, value in one.facts.items())
                lines.append(f"- `{row.name}`: {words}")
    return "\n".join(lines)


def _table(heads: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    if not lines:
        return "No rows."
    rule = tuple("---" for _ in heads)
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, rule, *lines))
