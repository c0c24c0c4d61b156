"""What a simulation found, as a table, as JSON, as a plot. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from rich.table import Table

from fill_planner.explaining import words_of_bytes
from fill_planner.simulator.figures import Figures, Interval, interval, intervals
from fill_planner.simulator.plot import axis_of, lines
from fill_planner.simulator.run import Outcome
from fill_planner.simulator.scenario import Strategy

HEADINGS = (
    "strategy", "inside %", "content %", "health %", "other %", "filled", "fetched in all", "replacements", "peak upstream",
)  # fmt: skip


class Told(msgspec.Struct, frozen=True):
    """One strategy over all seeds. `bounds` have no row of their own but a name and a share."""

    name: str
    seeds: int
    figures: dict[str, Interval]


class Report(msgspec.Struct, frozen=True):
    """What `--json` prints."""

    scenario: str
    days: int
    seeds: tuple[int, ...]
    strategies: tuple[Told, ...]
    bounds: dict[str, Interval]
    catalogue_bytes: float
    disk_bytes: float


def report(outcome: Outcome) -> Report:
    """Intervals over the seeds of everything that was found."""
    runs = outcome.runs
    told = tuple(
        Told(strategy.value, len(runs), intervals([run.figures[strategy] for run in runs]))
        for strategy in outcome.scenario.strategies
    )
    known = [run.bounds for run in runs if run.bounds is not None]
    bounds: dict[str, Interval] = {}
    if known:
        named: dict[str, list[float | None]] = {
            CACHE_BOUND: [one.cache for one in known],
            FILLING_BOUND: [one.cache_and_fills for one in known],
            BEST_DAYS: [one.best_days for one in known],
        }
        worked_out = {name: [share for share in its if share is not None] for name, its in named.items()}
        bounds = {name: interval(its) for name, its in worked_out.items() if its}
    return Report(
        scenario=outcome.scenario.name,
        days=outcome.scenario.days,
        seeds=tuple(run.seed for run in runs),
        strategies=told,
        bounds=bounds,
        catalogue_bytes=interval([run.catalogue_bytes for run in runs]).mean,
        disk_bytes=interval([run.disk_bytes for run in runs]).mean,
    )


CACHE_BOUND = "optimum (any cache)"
FILLING_BOUND = "optimum (cache and as many fills)"
BEST_DAYS = "best set of each day"


def table(found: Report, title: str = "") -> Table:
    """For people: means with 95 % intervals."""
    many = "s" if len(found.seeds) > 1 else ""
    shown = Table(title=title or f"{found.scenario}: {found.days} days, {len(found.seeds)} seed{many}")
    for heading in HEADINGS:
        shown.add_column(heading, justify="left" if heading == HEADINGS[0] else "right")
    for told in found.strategies:
        shown.add_row(told.name, *_cells(told.figures))
    for name, share in found.bounds.items():
        shown.add_row(name, share.words(100), *("" for _ in HEADINGS[2:]))
    return shown


def _cells(of: Mapping[str, Interval]) -> tuple[str, ...]:
    return (
        of["inside_share"].words(100),
        of["content_share"].words(100),
        of["health_share"].words(100),
        of["other_share"].words(100),
        words_of_bytes(of["filled_bytes"].mean),
        words_of_bytes(of["fetched_bytes"].mean),
        f"{of['replaced'].mean:,.0f}",
        f"{of['peak_upstream_bps'].words(1e-9, 2)} Gb/s",
    )


def changes_table(before: Report, after: Sequence[tuple[str, Report]]) -> Table:
    """What each change does to each strategy: points inside, and the peak upstream link relative to before."""
    shown = Table(title=f"{before.scenario}: what if")
    for heading in ("change", "strategy", "inside %", "points", "peak upstream", "of before", "fetched in all"):
        shown.add_column(heading, justify="left" if heading in ("change", "strategy") else "right")
    for words, found in after:
        for then, now in zip(before.strategies, found.strategies, strict=True):
            inside = 100 * (now.figures["inside_share"].mean - then.figures["inside_share"].mean)
            peak, old = now.figures["peak_upstream_bps"], then.figures["peak_upstream_bps"]
            shown.add_row(
                words,
                now.name,
                now.figures["inside_share"].words(100),
                f"{inside:+.1f}",
                f"{peak.words(1e-9, 2)} Gb/s",
                f"× {peak.mean / old.mean:.2f}" if old.mean else "–",
                words_of_bytes(now.figures["fetched_bytes"].mean),
            )
    return shown


def upstream_plot(outcome: Outcome) -> str:
    """Upstream by hour of the day, mean over seeds, of every strategy."""
    curves = {
        strategy.value: [
            (float(hour), sum(run.upstream_by_hour[strategy][hour] for run in outcome.runs) / len(outcome.runs) / 1e9)
            for hour in range(24)
        ]
        for strategy in outcome.scenario.strategies
    }
    most = [value for points in curves.values() for _, value in points]
    x = axis_of("hour of the day", [0.0, 24.0])
    return lines(f"{outcome.scenario.name}: upstream", x, axis_of("Gbit/s", most), curves)


def inside_plot(outcome: Outcome) -> str:
    """Share served inside by day, mean over seeds, warm-up included."""
    curves = {strategy.value: _days(outcome, strategy) for strategy in outcome.scenario.strategies}
    days = max((len(points) for points in curves.values()), default=1)
    x = axis_of("day of the run, the warm-up included", [0.0, float(days)])
    y = axis_of("share of bytes served inside", [0.0, 1.0], percent=True)
    return lines(f"{outcome.scenario.name}: served inside", x, y, curves)


def _days(outcome: Outcome, strategy: Strategy) -> list[tuple[float, float]]:
    runs = [run.inside_by_day[strategy] for run in outcome.runs]
    return [(float(day), sum(run[day] for run in runs) / len(runs)) for day in range(min(map(len, runs)))]


def gain(better: Figures, worse: Figures) -> float:
    """Points of bytes served inside."""
    return 100 * (better.inside_share - worse.inside_share)
