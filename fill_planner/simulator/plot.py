"""Line plots as SVG text, without a library. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, MARGIN = 680, 400, 56
_COLOURS = ("#b3541e", "#2b6cb0", "#2f855a", "#6b46c1", "#b83280", "#4a5568", "#975a16", "#2c7a7b")
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Axis:
    """From `least` to `most`; `ticks` are labelled, `percent` as such."""

    words: str
    least: float
    most: float
    ticks: tuple[float, ...]
    percent: bool = False
    logarithmic: bool = False

    def part(self, value: float) -> float:
        """0 at `least`, 1 at `most`."""
        least, most, at = self.least, self.most, min(max(value, self.least), self.most)
        if self.logarithmic:
            least, most, at = math.log(least), math.log(most), math.log(at)
        return (at - least) / (most - least) if most > least else 0.0

    def label(self, value: float) -> str:
        return f"{value:.0%}" if self.percent else f"{value:,.12g}"


def axis_of(words: str, values: Sequence[float], percent: bool = False, from_zero: bool = True) -> Axis:
    """An axis that holds all values, with about five round ticks."""
    least = 0.0 if from_zero else min(values, default=0.0)
    most = max(values, default=1.0)
    if most <= least:
        most = least + 1.0
    rough = (most - least) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    first = math.floor(least / step)
    last = math.ceil(most / step - 1e-9)
    return Axis(words, first * step, last * step, tuple(number * step for number in range(first, last + 1)), percent)


def lines(title: str, x: Axis, y: Axis, curves: Mapping[str, Points]) -> str:
    """One polyline per curve, with a legend, in the order of the mapping."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{MARGIN}" y="22" font-size="14">{escape(title)}</text>',
    ]
    for tick in y.ticks:
        at = _y(y, tick)
        parts.append(f'<line x1="{MARGIN}" x2="{WIDTH - 20}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e2e8f0"/>')
        parts.append(f'<text x="{MARGIN - 8}" y="{at + 4:.1f}" text-anchor="end">{y.label(tick)}</text>')
    for tick in x.ticks:
        parts.append(
            f'<text x="{_x(x, tick):.1f}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{x.label(tick)}</text>'
        )
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 14}" text-anchor="middle">{escape(x.words)}</text>')
    parts.append(
        f'<text x="14" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 14 {HEIGHT / 2})">{escape(y.words)}</text>'
    )
    for number, (name, points) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        drawn = " ".join(f"{_x(x, a):.1f},{_y(y, b):.1f}" for a, b in points)
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>')
        left = MARGIN + 12 + 155 * (number % 4)
        top = 40 + 16 * (number // 4)
        parts.append(
            f'<line x1="{left}" x2="{left + 22}" y1="{top - 4}" y2="{top - 4}" stroke="{colour}" stroke-width="2"/>'
        )
        parts.append(f'<text x="{left + 28}" y="{top}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _x(axis: Axis, value: float) -> float:
    return MARGIN + axis.part(value) * (WIDTH - MARGIN - 20)


def _y(axis: Axis, value: float) -> float:
    return HEIGHT - MARGIN - axis.part(value) * (HEIGHT - 2 * MARGIN - 20)
