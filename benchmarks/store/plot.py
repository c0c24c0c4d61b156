"""`python -m benchmarks.store.plot`: draws docs/eviction.svg, objects missed over the size of the cache, per policy and beside the optimum."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path

from benchmarks.store.policies import LAWS, SEED
from policies.comparison import Comparison, Size, Wanted, compare
from policies.trace import collect, zipf

SHARES = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
WIDTH, HEIGHT, MARGIN = 640, 380, 48
COLOURS = {"lru": "#b3541e", "sieve": "#2b6cb0", "s3fifo": "#2f855a", "belady": "#4a5568", "bound": "#a0aec0"}
TARGET = Path(__file__).parents[2] / "docs" / "eviction.svg"


def curves(found: Comparison) -> dict[str, list[tuple[float, float]]]:
    """(share of the footprint, share of requests missed) by policy."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for size in found.sizes:
        shown = [(one.policy, one.object_miss_ratio) for one in size.policies]
        if size.belady is not None:
            shown.append((size.belady.policy, size.belady.object_miss_ratio))
        if size.bound_object_miss_ratio is not None:
            shown.append(("bound", size.bound_object_miss_ratio))
        for name, ratio in shown:
            lines.setdefault(name, []).append((size.share_of_footprint, ratio))
    return lines


def draw(lines: dict[str, list[tuple[float, float]]], title: str) -> str:
    """An SVG with a logarithmic axis of sizes."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{MARGIN}" y="20" font-size="13">{title}</text>',
    ]
    for percent in range(0, 101, 20):
        y = _y(percent / 100)
        parts.append(f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e2e8f0"/>')
        parts.append(f'<text x="{MARGIN - 8}" y="{y + 4:.1f}" text-anchor="end">{percent} %</text>')
    for share in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5):
        parts.append(f'<text x="{_x(share):.1f}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{share:.0%}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">size, of all bytes</text>')
    for at, (name, points) in enumerate(lines.items()):
        colour = COLOURS[name]
        dashes = ' stroke-dasharray="5 4"' if name in ("belady", "bound") else ""
        parts.append(f'<polyline points="{_points(points)}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>')
        y = 52 + 18 * at
        x = WIDTH - MARGIN - 90
        parts.append(
            f'<line x1="{x}" x2="{x + 24}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" stroke-width="2"{dashes}/>'
        )
        parts.append(f'<text x="{x + 30}" y="{y}">{name}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_x(share):.1f},{_y(ratio):.1f}" for share, ratio in points)


def _x(share: float) -> float:
    along = math.log(share / SHARES[0]) / math.log(SHARES[-1] / SHARES[0])
    return MARGIN + along * (WIDTH - 2 * MARGIN)


def _y(ratio: float) -> float:
    return HEIGHT - MARGIN - ratio * (HEIGHT - 2 * MARGIN)


def main() -> None:
    name = "zipf 0.8 with drift, 1 kB to 1 MB"
    trace = collect(zipf(LAWS[name], 300_000, random.Random(SEED).random))
    found = compare(trace, Wanted(tuple(Size(share=share) for share in SHARES)))
    TARGET.write_text(draw(curves(found), f"Objects missed, {len(trace):,} requests, {name}"))


if __name__ == "__main__":
    main()
