"""The results as JSON, as a page with a table, and as a plot. Pure: texts come out."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from benchmarks.cycle.days import Day, Law, plateau

WIDTH, HEIGHT, MARGIN = 640, 360, 48
COLOURS = {"plan + cache": "#2f855a", "LRU": "#b3541e", "ideal LRU": "#a0aec0"}
MB = 1e6
BAR_POINTS, STRETCH_POINTS = 8.0, 12.0
"""DESIGN §8, `plan/inside-gain`; judged on the plateau (the last three days)."""


class Results(msgspec.Struct, frozen=True):
    """`results.json`."""

    machine: str
    date: str
    command: str
    setting: dict[str, float | int | str]
    days: tuple[Day, ...]
    laws: tuple[Law, ...]
    load_1m: tuple[float, float]
    """Load of the machine at the beginning and at the end."""
    late_s: float
    """The latest that any view began, in seconds of the machine."""
    complaints: tuple[str, ...] = ()


def encode(results: Results) -> bytes:
    return msgspec.json.format(msgspec.json.encode(results), indent=1)


def table(days: Sequence[Day]) -> str:
    """Markdown: a row per day."""
    head = (
        "| day | inside, plan + cache | inside, LRU | gain, points | ideal LRU | delivered per site, MB | filled from origin + tier / peer, MB "
        "| outside / unique | orders done / failed / open of all | held, plan + cache / LRU |"
    )
    lines = [head, "|---|" + "---:|" * 9]
    for day in days:
        ours, theirs = day.planned, day.pulled
        far = ours.fill_bytes.get("origin", 0) + ours.fill_bytes.get("tier", 0)
        ratio = "–" if ours.outside_per_unique is None else f"{ours.outside_per_unique:.3f}"
        lines.append(
            f"| {day.day + 1} | {ours.inside_share:.1%} | {theirs.inside_share:.1%} | {day.gain:+.1f} | {day.ideal_share:.1%} "
            f"| {ours.delivered_bytes / MB:.0f} | {far / MB:.1f} / {ours.fill_bytes.get('peer', 0) / MB:.1f} | {ratio} "
            f"| {ours.done} / {ours.failed} / {ours.open} of {ours.orders} | {ours.held_share:.0%} / {theirs.held_share:.0%} |"
        )
    return "\n".join(lines)


def page(results: Results) -> str:
    """`benchmarks/plan/CYCLE.md`."""
    ours, theirs, gain = plateau(results.days)
    standing = (
        f"at or above the stretch of {STRETCH_POINTS:g}"
        if gain >= STRETCH_POINTS
        else f"at or above the bar of {BAR_POINTS:g}"
        if gain >= BAR_POINTS
        else f"below the bar of {BAR_POINTS:g}"
    )
    facts = ", ".join(f"{name} {value}" for name, value in results.setting.items())
    return "\n".join(
        [
            "# The nightly cycle by itself",
            "",
            "Made by `make cycle` ([what it is](../../docs/fill-cycle.md)). Four real appliances, a control plane, steering and an origin live through compressed days;",
            "both sites see the same views. Nothing but the control plane's schedule makes plans, nothing but the appliances' reports says what is popular.",
            "",
            f"- Machine: {results.machine}; {results.date}; load {results.load_1m[0]:.1f} at the beginning, {results.load_1m[1]:.1f} at the end; "
            f"the latest view began {results.late_s:.1f} s late.",
            f"- Command: `{results.command}`",
            f"- Setting: {facts}.",
            "",
            f"**Plateau (last three days): {ours:.1%} inside with the plan, {theirs:.1%} with LRU alone: {gain:+.1f} points, {standing}.** "
            "One run with one seed: no interval.",
            "",
            table(results.days),
            "",
            "![Share served inside by day](cycle.svg)",
            "",
            "| law | holds | figures |",
            "|---|---|---|",
            *(f"| {law.name} | {'yes' if law.holds else '**no**'} | {law.words} |" for law in results.laws),
            "",
        ]
    )


def plot(days: Sequence[Day]) -> str:
    """An SVG: share served inside by day, for both sites and the ideal LRU."""
    lines = {
        "plan + cache": [day.planned.inside_share for day in days],
        "LRU": [day.pulled.inside_share for day in days],
        "ideal LRU": [day.ideal_share for day in days],
    }
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{MARGIN}" y="20" font-size="13">Share of bytes served inside the site, by compressed day</text>',
    ]
    for percent in range(0, 101, 20):
        y = _y(percent / 100)
        parts.append(f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e2e8f0"/>')
        parts.append(f'<text x="{MARGIN - 8}" y="{y + 4:.1f}" text-anchor="end">{percent} %</text>')
    for number in range(len(days)):
        x = _x(number, len(days))
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{number + 1}</text>')
    for at, (name, shares) in enumerate(lines.items()):
        dashes = ' stroke-dasharray="5 4"' if name == "ideal LRU" else ""
        points = " ".join(f"{_x(number, len(days)):.1f},{_y(share):.1f}" for number, share in enumerate(shares))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"{dashes}/>')
        y, x0 = HEIGHT - MARGIN - 50 + 18 * at, WIDTH - MARGIN - 110
        stroke = f'stroke="{COLOURS[name]}" stroke-width="2"{dashes}'
        parts.append(f'<line x1="{x0}" x2="{x0 + 24}" y1="{y - 4}" y2="{y - 4}" {stroke}/>')
        parts.append(f'<text x="{x0 + 30}" y="{y}">{name}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _x(number: int, count: int) -> float:
    return MARGIN + (WIDTH - 2 * MARGIN) * (number + 0.5) / max(1, count)


def _y(share: float) -> float:
    return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * share
