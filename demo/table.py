"""What the demo prints at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from rich.console import Console
from rich.table import Table

from contracts.plans import PlacementExplanation
from demo.measures import Check, SiteFill, SiteServing, by_source, inside_share
from player.playing import PlayReport

SERVING_NOTE = (
    "Requests of hits are the players'; those to peers, tiers and the origin are the appliances' own, in vain ones included. "
    "With the plan one appliance lost its power for a while; without it none did."
)


def mebibytes(count: float) -> str:
    return f"{count / (1 << 20):,.1f} MiB"


def serving_table(planned: Sequence[SiteServing], unplanned: Sequence[SiteServing]) -> Table:
    """Where the evening's bytes came from, beside the same requests without a plan."""
    table = Table(title="Served to players, by source", title_justify="left", caption=SERVING_NOTE)
    table.add_column("source")
    for name in ("requests", "bytes", "requests, no plan", "bytes, no plan"):
        table.add_column(name, justify="right")
    beside = {row.source: row for row in by_source(unplanned)}
    for row in by_source(planned):
        other = beside.get(row.source)
        table.add_row(
            row.source,
            f"{row.requests:,}",
            mebibytes(row.bytes),
            f"{other.requests:,}" if other else "0",
            mebibytes(other.bytes) if other else "0",
        )
    table.add_section()
    for with_plan, without in zip(planned, unplanned, strict=True):
        table.add_row(
            f"inside, site {with_plan.site_id}", "", f"{with_plan.inside_share:.1%}", "", f"{without.inside_share:.1%}"
        )
    table.add_row("inside, all", "", f"{inside_share(planned):.1%}", "", f"{inside_share(unplanned):.1%}", style="bold")
    return table


def fill_table(fills: Sequence[SiteFill]) -> Table:
    table = Table(title="Filled before the evening", title_justify="left")
    table.add_column("site")
    for name in (
        "from outside",
        "of that from a tier",
        "from the peer beside it",
        "unique bytes held",
        "outside / unique",
    ):
        table.add_column(name, justify="right")
    for fill in fills:
        ratio = fill.outside_bytes / fill.unique_bytes if fill.unique_bytes else 0.0
        table.add_row(
            fill.site_id,
            mebibytes(fill.outside_bytes),
            mebibytes(fill.tier_bytes),
            mebibytes(fill.near_bytes),
            mebibytes(fill.unique_bytes),
            f"{ratio:.3f}",
        )
    return table


def play_table(plays: Sequence[PlayReport], rate: float) -> Table:
    table = Table(title=f"{len(plays)} plays ({rate:g} media seconds per second)", title_justify="left")
    for name in ("", "median", "worst"):
        table.add_column(name, justify="right" if name else "left")
    startups = [play.startup_s for play in plays]
    table.add_row("startup time", f"{median(startups) * 1000:.0f} ms", f"{max(startups) * 1000:.0f} ms")
    table.add_row("switches per play", f"{median(p.switches for p in plays):g}", f"{max(p.switches for p in plays)}")
    table.add_row("stalls per play", f"{median(p.stalls for p in plays):g}", f"{max(p.stalls for p in plays)}")
    table.add_row(
        "time stalled", f"{median(p.stalled_s for p in plays):.2f} s", f"{max(p.stalled_s for p in plays):.2f} s"
    )
    proven = sum(play.checked_bytes for play in plays)
    table.add_row("bytes proven by digests", "", mebibytes(proven))
    return table


def time_table(times: Mapping[str, float]) -> Table:
    table = Table(title="Time per stage", title_justify="left")
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    for name, seconds in times.items():
        table.add_row(name, f"{seconds:.1f}")
    table.add_row("all", f"{sum(times.values()):.1f}", style="bold")
    return table


def print_explanations(console: Console, explanations: Sequence[PlacementExplanation]) -> None:
    console.print("[bold]The plan, explained for three files[/bold]")
    for found in explanations:
        console.print(f"  {found.key.partition('|')[2]} at site {found.site_id}: {found.sentence}")


def print_checks(console: Console, found: Sequence[Check]) -> None:
    console.print("[bold]Checks[/bold]")
    for check in found:
        mark = "[green]holds[/green]" if check.holds else "[red]FAILS[/red]"
        console.print(f"  {mark}  {check.name}: {check.sentence}")
