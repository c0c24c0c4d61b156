"""Plots as inline SVG: text in, text out. They take their colours from the page (`--hit`, `--peer`, `--tier`, `--origin`, `--ink`, `--faint`, `--rule`).

Every plot has a title that says in words what it shows, for those who do not see it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640.0, 240.0
LEFT, RIGHT, TOP, BOTTOM = 72.0, 12.0, 14.0, 34.0
INNER_W, INNER_H = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
DOT = 3.0


@dataclass(frozen=True, slots=True)
class Layer:
    """One series of a stack: a value per bar."""

    name: str
    colour: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Band:
    """Bars from `first` up to, not including, `last` (fractions count) have a background."""

    first: float
    last: float


def stacked_bars(
    title: str,
    labels: Sequence[str],
    layers: Sequence[Layer],
    *,
    band: Band | None = None,
    limit: float | None = None,
    limit_name: str = "",
) -> str:
    """Bytes per bar, the first layer at the bottom; a limit is a dashed line. An empty label leaves the bar without one."""
    count = max(1, len(labels))
    tops = [sum(layer.values[place] for layer in layers) for place in range(len(labels))]
    ticks = nice_ticks(max([*tops, limit or 0.0]))
    scale = INNER_H / ticks[-1]
    width = INNER_W / count
    parts = [_grid(ticks, scale)]
    if band is not None:
        parts.insert(0, _rect(LEFT + band.first * width, TOP, (band.last - band.first) * width, INNER_H, "band"))
    for place, label in enumerate(labels):
        x, y = LEFT + place * width, TOP + INNER_H
        for layer in layers:
            height = layer.values[place] * scale
            if height > 0:
                y -= height
                parts.append(_rect(x + width * 0.12, y, width * 0.76, height, "", layer.colour))
        if label:
            parts.append(_text(x + width / 2, HEIGHT - BOTTOM + 16, label, "middle"))
    if limit is not None and limit > 0:
        y = TOP + INNER_H - limit * scale
        parts.append(f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(WIDTH - RIGHT, y - 4, limit_name, "end"))
    return _svg(title, parts)


def scatter(title: str, points: Sequence[tuple[float, float, str]], x_name: str, y_name: str) -> str:
    """(x, y, name) in bytes, both axes logarithmic, with the line of equals. What is 0 lies on the axis."""
    largest = max((max(x, y) for x, y, _ in points), default=0.0)
    top = max(3, math.ceil(math.log10(largest))) if largest > 0 else 3
    low = max(0, top - 6)
    parts = []
    for power in range(low, top + 1):
        share = (power - low) / (top - low)
        x, y = LEFT + share * INNER_W, TOP + INNER_H - share * INNER_H
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(LEFT - 6, y + 4, size_words(10.0**power), "end"))
        if power > low:
            parts.append(_text(x, HEIGHT - BOTTOM + 16, size_words(10.0**power), "end" if power == top else "middle"))
    parts.append(f'<line class="limit" x1="{LEFT}" y1="{TOP + INNER_H}" x2="{WIDTH - RIGHT}" y2="{TOP}"/>')
    for x, y, name in points:
        cx, cy = LEFT + _log_share(x, low, top) * INNER_W, TOP + INNER_H - _log_share(y, low, top) * INNER_H
        said = f"{name}: {x_name} {size_words(x)}, {y_name} {size_words(y)}"
        parts.append(f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="{DOT}"><title>{escape(said)}</title></circle>')
    parts.append(_text(WIDTH - RIGHT, HEIGHT - 4, f"{x_name} →", "end"))
    parts.append(_text(LEFT + 4, TOP + 4, f"↑ {y_name}", "start"))
    return _svg(title, parts)


def nice_ticks(largest: float, wanted: int = 4) -> tuple[float, ...]:
    """From 0 in equal, round steps to at least `largest` (bytes: less than one is none)."""
    if not 1 <= largest < math.inf:
        return (0.0, 1.0)
    raw = largest / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in STEPS if factor * power >= raw * (1 - 1e-9))
    count = math.ceil(largest / step * (1 - 1e-9))
    return tuple(step * place for place in range(max(1, count) + 1))


def size_words(count: float) -> str:
    """A size for an axis, in powers of 1,000 and at most three digits."""
    value, unit = float(count), UNITS[0]
    for unit in UNITS:
        if value < 999.5 or unit == UNITS[-1]:
            break
        value /= 1000
    return f"{value:.3g} {unit}"


def _log_share(value: float, low: int, top: int) -> float:
    if value <= 0:
        return 0.0
    return min(1.0, max(0.0, (math.log10(value) - low) / (top - low)))


def _grid(ticks: Sequence[float], scale: float) -> str:
    lines = []
    for tick in ticks:
        y = TOP + INNER_H - tick * scale
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(_text(LEFT - 6, y + 4, size_words(tick), "end"))
    return "".join(lines)


def _rect(x: float, y: float, width: float, height: float, kind: str, colour: str = "") -> str:
    look = f' class="{kind}"' if kind else f' style="fill:{colour}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"{look}/>'


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _svg(title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg role="img" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" preserveAspectRatio="xMidYMid meet">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
