"""A run as one HTML page: buffer, picture and requests by host over time, with what was done meanwhile. Pure.

No script, no network, nothing beside it.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from html import escape

from tests.browser.observations import PRESSED, Observed
from tests.browser.run_result import RunResult, Span, Verdict, seeks_of, stalls_of

LEFT, WIDTH = 150.0, 1000.0
BUFFER_PX, HEIGHT_PX, LANE_PX, MARK_PX = 120.0, 30.0, 26.0, 16.0
LONGEST_LABEL = 70
STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --faint: #8a97a6; --good: #2a7fb8; --bad: #c8372d; --buffer: #9fc5de; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #dfe6ee; --faint: #77879a; --good: #5aa9dd; --bad: #ef6a5e; --buffer: #2c5573; --paper: #12181f; } }
body { font: 14px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
svg { width: 100%; height: auto; } svg text { font-size: 11px; fill: var(--ink); } .faint { fill: var(--faint); }
.buffer { fill: var(--buffer); } .good { fill: var(--good); } .bad { fill: var(--bad); } .stall { fill: var(--bad); opacity: .35; }
.seek { fill: var(--faint); opacity: .25; } .mark { stroke: var(--ink); stroke-dasharray: 2 3; } .axis { stroke: var(--faint); }
.told { fill: none; stroke: var(--ink); } dt { color: var(--faint); } dl { display: grid; grid-template-columns: max-content auto; gap: .1rem 1rem; }
.broke { color: var(--bad); }
"""


def draw(result: RunResult, seen: Observed) -> str:
    """The page. Raises LookupError when play was never pressed."""
    facts = "".join(f"<dt>{escape(word)}</dt><dd>{escape(value)}</dd>" for word, value in _facts(result))
    verdict = "; ".join(f"{reason.value}: {words}" for reason, words in result.why) or Verdict.HELD.value
    mood = "" if result.verdict is Verdict.HELD else ' class="broke"'
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(result.run)}</title><style>{STYLE}</style>'
        f"<h1>{escape(result.run)}</h1><p{mood}>{escape(verdict)}</p>{_Chart(result, seen).svg()}<dl>{facts}</dl></html>\n"
    )


def _facts(result: RunResult) -> Iterable[tuple[str, str]]:
    yield "Player", f"{result.player} {result.version}"
    yield "Startup", "no picture" if result.startup_s is None else f"{result.startup_s:.2f} s"
    yield "Played", f"{result.played_s:.1f} of {result.watched_s:.1f} s"
    yield (
        "Stalls",
        f"{result.stalls.count}, {result.stalls.seconds:.2f} s; longest still {result.stalls.longest_still_s:.2f} s",
    )
    yield "Seeks", f"{result.seeks.count}, longest {result.seeks.longest_s:.2f} s"
    yield "Switches", f"{result.switches.quality} of quality, {result.switches.pathway} of pathway"
    yield "Preflights", str(result.preflights)
    for host, use in result.hosts.items():
        failed = f", {use.failed} failed" if use.failed else ""
        yield (
            host,
            f"{use.requests} requests{failed}, {use.bytes / 1e6:.2f} MB, {use.first_s:.1f} to {use.last_s:.1f} s",
        )
    for left in result.departures:
        most = "" if left.within_s is None else f"; at most {left.within_s:.1f}"
        yield f"{left.host} left", f"asked for {left.asked_for_s:.1f} s after {left.mark!r}{most}"
    for told in result.steering:
        clones = f", clones {told.clones}" if told.clones else ""
        yield (
            f"Steering at {told.at_s:.1f} s",
            f"{told.status}, TTL {told.ttl_s:.0f} s, {' > '.join(told.priority)}{clones}",
        )


class _Chart:
    """Rows from top to bottom: marks, buffer, height of the picture, a lane for each host, steering, the clock."""

    def __init__(self, result: RunResult, seen: Observed) -> None:
        self.result, self.seen = result, seen
        self.pressed_ms = seen.marked_ms(PRESSED)
        self.scale = (WIDTH - LEFT) / max(seen.page.ended_ms - self.pressed_ms, 1.0)
        self.hosts = list(result.hosts)
        self.top = MARK_PX * (len(result.moments) + 1)

    def svg(self) -> str:
        lanes = self.top + BUFFER_PX + HEIGHT_PX
        bottom = lanes + LANE_PX * (len(self.hosts) + 1)
        parts = [*self._buffer(), *self._heights(), *self._lanes(lanes), *self._told(bottom - LANE_PX)]
        parts += [*self._bands(bottom), *self._marks(bottom), *self._clock(bottom)]
        return f'<svg viewBox="0 0 {WIDTH:.0f} {bottom + 24:.0f}" role="img">{"".join(parts)}</svg>'

    def _x(self, at_ms: float) -> float:
        return LEFT + max(at_ms - self.pressed_ms, 0.0) * self.scale

    def _buffer(self) -> Iterable[str]:
        samples = [sample for sample in self.seen.page.samples if sample.at_ms >= self.pressed_ms]
        most_s = max((sample.buffer_s for sample in samples), default=0.0) or 1.0
        floor = self.top + BUFFER_PX
        points = [f"{self._x(s.at_ms):.1f},{floor - s.buffer_s / most_s * (BUFFER_PX - 10):.1f}" for s in samples]
        if points:
            ends = f"{self._x(samples[-1].at_ms):.1f},{floor} {self._x(samples[0].at_ms):.1f},{floor}"
            yield f'<polygon class="buffer" points="{" ".join(points)} {ends}"/>'
        yield _words(0, self.top + 14, "Buffer")
        yield _words(0, self.top + 28, f"up to {most_s:.0f} s", "faint")

    def _heights(self) -> Iterable[str]:
        y = self.top + BUFFER_PX
        yield _words(0, y + 18, "Picture")
        shown = 0
        for frame in self.seen.page.frames:
            if frame.shown_ms >= self.pressed_ms and frame.height != shown:
                shown = frame.height
                yield _words(self._x(frame.shown_ms), y + 18, f"{shown}p")

    def _lanes(self, top: float) -> Iterable[str]:
        for row, host in enumerate(self.hosts):
            y = top + row * LANE_PX
            yield _words(0, y + 16, host)
            for answer in self.seen.page.answers:
                if answer.host == host:
                    x = self._x(answer.asked_ms)
                    width = max(self._x(answer.answered_ms) - x, 1.5)
                    kind = "good" if answer.is_good else "bad"
                    title = f"{answer.file} {answer.status} {answer.body_bytes} B, {self.seen.pathway_of(answer)}"
                    yield f'<rect class="{kind}" x="{x:.1f}" y="{y + 6:.0f}" width="{width:.1f}" height="14"><title>{escape(title)}</title></rect>'

    def _told(self, y: float) -> Iterable[str]:
        yield _words(0, y + 16, "steering")
        for told in self.seen.steered:
            title = f"{told.status}, TTL {told.ttl_s:.0f} s: {' > '.join(told.priority)}"
            kind = "told" if told.status == 200 else "bad"
            yield f'<circle class="{kind}" cx="{self._x(told.at_ms):.1f}" cy="{y + 12:.0f}" r="4"><title>{escape(title)}</title></circle>'

    def _bands(self, bottom: float) -> Iterable[str]:
        seeks = seeks_of(self.seen.page)
        yield from self._spans("seek", seeks, bottom)
        yield from self._spans("stall", stalls_of(self.seen.page, seeks), bottom)

    def _spans(self, kind: str, spans: Sequence[Span], bottom: float) -> Iterable[str]:
        for span in spans:
            x = self._x(span.begins_ms)
            width = max(self._x(span.ends_ms) - x, 2.0)
            yield f'<rect class="{kind}" x="{x:.1f}" y="{self.top:.0f}" width="{width:.1f}" height="{bottom - self.top:.0f}"/>'

    def _marks(self, bottom: float) -> Iterable[str]:
        for row, moment in enumerate(self.result.moments):
            x, y = LEFT + moment.at_s * 1000 * self.scale, MARK_PX * (row + 1)
            yield f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{y:.0f}" y2="{bottom:.0f}"/>'
            anchor = ' text-anchor="end"' if x > WIDTH - 200 else ""
            yield f'<text x="{x:.1f}" y="{y - 2:.0f}"{anchor}>{escape(moment.what[:LONGEST_LABEL])}</text>'

    def _clock(self, y: float) -> Iterable[str]:
        yield f'<line class="axis" x1="{LEFT}" x2="{WIDTH}" y1="{y:.0f}" y2="{y:.0f}"/>'
        for at_s in range(0, int(self.result.watched_s) + 1, _step_s(self.result.watched_s)):
            yield _words(LEFT + at_s * 1000 * self.scale, y + 16, str(datetime.timedelta(seconds=at_s))[2:], "faint")


def _step_s(length_s: float) -> int:
    return next((step for step in (5, 10, 20, 30, 60) if length_s / step <= 12), 120)


def _words(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
