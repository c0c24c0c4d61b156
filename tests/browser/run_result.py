"""The result of one play, computed from what was seen of it. Pure.

A **stall** is a time without a new picture, after the first `playing` of the video and outside a seek, while less than a second of
what follows was there. It begins with a `waiting` or with the last picture before a gap of half a second, and ends with the next
picture. The same while there was more to show is a **hitch**: the machine was too busy to show it, delivery had no part in it.
A **seek** begins with `seeking` and ends with the first picture behind its
`seeked`. `longest_still_s` is the longest time between two pictures that follow each other, outside seeks: a busy machine shows
in it too. A switch of **quality** is a picture of another height than the one before; a switch of **pathway** is a good answer
with pictures from another pathway than the last one, in the order of asking.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

import msgspec

from tests.browser.observations import PRESSED, Answered, Frame, Mark, Observed, Page, Steered

FORMAT = 2
STARVED_S = 1.0
GAP_MS = 500.0
VIDEO_FILES = "v-"


class Reason(Enum):
    """Why a run did not hold (log word = value)."""

    NO_PICTURE = "no-picture"
    STALLED = "stalled"
    STOOD_STILL = "stood-still"
    FELL_SHORT = "did-not-play-as-far"
    GAVE_UP = "player-gave-up"
    KEPT_ASKING = "kept-asking-whom-it-should-have-left"
    NEVER_THERE = "was-never-where-it-should-have-left"
    PREFLIGHTS = "too-many-preflights"
    UNFINISHED = "scenario-not-finished"


class Verdict(Enum):
    HELD = "held"
    BROKE = "broke"


class Stalls(msgspec.Struct, frozen=True):
    count: int
    seconds: float
    at_s: tuple[float, ...]
    """When each began, in seconds from the press."""
    hitches: int
    longest_still_s: float


class Seeks(msgspec.Struct, frozen=True):
    count: int
    longest_s: float


class Switches(msgspec.Struct, frozen=True):
    quality: int
    pathway: int


class HostUse(msgspec.Struct, frozen=True):
    """`failed` are answers from 400 on, and requests that ended without an answer: those that the player gave up, too."""

    requests: int
    failed: int
    bytes: int
    first_s: float
    last_s: float


class Departure(msgspec.Struct, frozen=True):
    """A host that was to be left from a mark on. `asked_for_s` is how long it was asked after it; 0 when not at all."""

    host: str
    mark: str
    within_s: float | None
    asked_for_s: float
    requests_before: int


class Moment(msgspec.Struct, frozen=True):
    at_s: float
    what: str


class SteeringAnswer(msgspec.Struct, frozen=True):
    at_s: float
    status: int
    ttl_s: float
    priority: tuple[str, ...]
    clones: dict[str, str]


class RunResult(msgspec.Struct, frozen=True):
    """Seconds count from the press of play where nothing else is said."""

    format: int
    run: str
    player: str
    version: str
    scenario: str
    seed: int
    startup_s: float | None
    """From the press to the first picture; None when there was none."""
    watched_s: float
    """From the press to the end of watching."""
    played_s: float
    """How far positions advanced, seeks left out."""
    stalls: Stalls
    seeks: Seeks
    switches: Switches
    heights: tuple[int, ...]
    hosts: dict[str, HostUse]
    departures: tuple[Departure, ...]
    steering: tuple[SteeringAnswer, ...]
    preflights: int
    errors: tuple[str, ...]
    moments: tuple[Moment, ...]
    verdict: Verdict
    why: tuple[tuple[Reason, str], ...]


@dataclass(frozen=True, slots=True)
class Leaving:
    """From `mark` on, `within_s` later, until `until` (a later mark; empty: the end), nobody asks `host` any more. With None it
    is only measured."""

    host: str
    mark: str
    within_s: float | None
    until: str = ""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a run has to hold."""

    stalls: int = 0
    still_s: float | None = 6.0
    played_s: float = 0.0
    leavings: tuple[Leaving, ...] = ()
    preflights: int | None = 0
    is_whole: bool = True
    """False when what the scenario waited for never came: no run holds that."""


@dataclass(frozen=True, slots=True)
class Name:
    """What was run. `seed` fixes the picture that was played."""

    scenario: str
    player: str
    version: str
    seed: int

    @property
    def run(self) -> str:
        return f"{self.scenario}-{self.player}"


@dataclass(frozen=True, slots=True)
class Span:
    """Instants in milliseconds of the page's clock."""

    begins_ms: float
    ends_ms: float

    @property
    def seconds(self) -> float:
        return (self.ends_ms - self.begins_ms) / 1000

    def touches(self, begins_ms: float, ends_ms: float) -> bool:
        return begins_ms < self.ends_ms and self.begins_ms < ends_ms


def result_of(name: Name, seen: Observed, bounds: Bounds) -> RunResult:
    """The whole result. Raises LookupError when a mark that it needs was never set."""
    page, pressed_ms = seen.page, seen.marked_ms(PRESSED)
    frames = [frame for frame in page.frames if frame.shown_ms >= pressed_ms]
    seeks = seeks_of(page)
    still = stills_of(page, seeks)
    stalls = [span for span in still if is_starved(page, span)]
    departures = tuple(_departure(seen, leaving) for leaving in bounds.leavings)
    made = RunResult(
        format=FORMAT,
        run=name.run,
        player=name.player,
        version=name.version,
        scenario=name.scenario,
        seed=name.seed,
        startup_s=(frames[0].shown_ms - pressed_ms) / 1000 if frames else None,
        watched_s=(page.ended_ms - pressed_ms) / 1000,
        played_s=_played_s(frames, seeks),
        stalls=Stalls(
            len(stalls),
            sum(stall.seconds for stall in stalls),
            tuple((stall.begins_ms - pressed_ms) / 1000 for stall in stalls),
            len(still) - len(stalls),
            _longest_still_s(frames, seeks, page.ended_ms),
        ),
        seeks=Seeks(len(seeks), max((seek.seconds for seek in seeks), default=0.0)),
        switches=Switches(_changes(frame.height for frame in frames), _pathway_changes(seen)),
        heights=tuple(sorted({frame.height for frame in frames})),
        hosts=_hosts(page.answers, pressed_ms),
        departures=departures,
        steering=tuple(_steering_answer(told, pressed_ms) for told in seen.steered),
        preflights=seen.preflights,
        errors=seen.failures,
        moments=tuple(_moment(mark, pressed_ms) for mark in page.marks if mark.what != PRESSED),
        verdict=Verdict.HELD,
        why=(),
    )
    why = judged(made, bounds)
    return msgspec.structs.replace(made, verdict=Verdict.BROKE if why else Verdict.HELD, why=why)


def judged(result: RunResult, bounds: Bounds) -> tuple[tuple[Reason, str], ...]:
    """Every bound that the run does not hold, with its figures; empty when it holds all."""
    if result.startup_s is None:
        return ((Reason.NO_PICTURE, f"none in {result.watched_s:.1f} s"),)
    why = [] if bounds.is_whole else [(Reason.UNFINISHED, f"left after {result.watched_s:.1f} s")]
    stalls = result.stalls
    if stalls.count > bounds.stalls:
        at = ", ".join(f"{at_s:.1f}" for at_s in stalls.at_s)
        why.append((Reason.STALLED, f"{stalls.count} times, {stalls.seconds:.2f} s in all, at {at} s"))
    if bounds.still_s is not None and stalls.longest_still_s > bounds.still_s:
        why.append((Reason.STOOD_STILL, f"no new picture for {stalls.longest_still_s:.1f} s"))
    if result.played_s < bounds.played_s:
        why.append((Reason.FELL_SHORT, f"{result.played_s:.1f} of {bounds.played_s:.1f} s"))
    why += [(Reason.GAVE_UP, error) for error in result.errors]
    why += [found for departure in result.departures for found in _judged_departure(departure)]
    if bounds.preflights is not None and result.preflights > bounds.preflights:
        why.append((Reason.PREFLIGHTS, f"{result.preflights}, not {bounds.preflights}"))
    return tuple(why)


def seeks_of(page: Page) -> list[Span]:
    """Jumps of the position; one that has no picture behind it lasts to the end."""
    spans: list[Span] = []
    begins_ms: float | None = None
    for event in page.events:
        if event.kind == "seeking" and begins_ms is None:
            begins_ms = event.at_ms
        elif event.kind == "seeked" and begins_ms is not None:
            spans.append(Span(begins_ms, _next_picture_ms(page, event.at_ms)))
            begins_ms = None
    return [*spans, Span(begins_ms, page.ended_ms)] if begins_ms is not None else spans


def stalls_of(page: Page, seeks: Sequence[Span]) -> list[Span]:
    """By the definition at the top."""
    return [span for span in stills_of(page, seeks) if is_starved(page, span)]


def stills_of(page: Page, seeks: Sequence[Span]) -> list[Span]:
    """Stalls and hitches, in the order of their beginnings; none touches another or a seek."""
    began_ms = next((event.at_ms for event in page.events if event.kind == "playing"), page.ended_ms)
    waits = [Span(event.at_ms, _next_picture_ms(page, event.at_ms)) for event in page.events if event.kind == "waiting"]
    shown = [*(frame.shown_ms for frame in page.frames), page.ended_ms]
    gaps = [Span(before, after) for before, after in itertools.pairwise(shown) if after - before > GAP_MS]
    spans: list[Span] = []
    for span in sorted((*waits, *gaps), key=lambda span: span.begins_ms):
        known = (*seeks, *spans)
        if span.begins_ms >= began_ms and not any(
            one.touches(span.begins_ms, span.ends_ms) or one.begins_ms == span.begins_ms for one in known
        ):
            spans.append(span)
    return spans


def is_starved(page: Page, span: Span) -> bool:
    """Whether there was too little to show at some time of it; where nobody looked, there was."""
    before = [sample for sample in page.samples if sample.at_ms <= span.begins_ms][-1:]
    seen = [*before, *(sample for sample in page.samples if span.begins_ms < sample.at_ms < span.ends_ms)]
    return min((sample.buffer_s for sample in seen), default=0.0) < STARVED_S


def _next_picture_ms(page: Page, after_ms: float) -> float:
    return next((frame.shown_ms for frame in page.frames if frame.shown_ms > after_ms), page.ended_ms)


def _played_s(frames: Sequence[Frame], seeks: Sequence[Span]) -> float:
    """Steps between pictures that follow each other, forwards only, none across a seek."""
    return sum(
        max(after.position_s - before.position_s, 0.0)
        for before, after in itertools.pairwise(frames)
        if not any(seek.touches(before.shown_ms, after.shown_ms) for seek in seeks)
    )


def _longest_still_s(frames: Sequence[Frame], seeks: Sequence[Span], ended_ms: float) -> float:
    if not frames:
        return 0.0
    shown = [*(frame.shown_ms for frame in frames), ended_ms]
    still = [
        after - before
        for before, after in itertools.pairwise(shown)
        if not any(seek.touches(before, after) for seek in seeks)
    ]
    return max(still, default=0.0) / 1000


def _changes(values: Iterable[object]) -> int:
    return sum(before != after for before, after in itertools.pairwise(values))


def _pathway_changes(seen: Observed) -> int:
    asked = sorted(seen.page.answers, key=lambda answer: answer.asked_ms)
    pictures = [
        answer for answer in asked if answer.is_good and answer.is_media and answer.file.startswith(VIDEO_FILES)
    ]
    return _changes(seen.pathway_of(answer) for answer in pictures)


def _hosts(answers: Sequence[Answered], pressed_ms: float) -> dict[str, HostUse]:
    found: dict[str, list[Answered]] = {}
    for answer in answers:
        found.setdefault(answer.host, []).append(answer)
    return {
        host: HostUse(
            requests=len(rows),
            failed=sum(not row.is_good for row in rows),
            bytes=sum(row.body_bytes for row in rows),
            first_s=(min(row.asked_ms for row in rows) - pressed_ms) / 1000,
            last_s=(max(row.asked_ms for row in rows) - pressed_ms) / 1000,
        )
        for host, rows in sorted(found.items())
    }


def _departure(seen: Observed, leaving: Leaving) -> Departure:
    from_ms = seen.marked_ms(leaving.mark)
    until_ms = seen.marked_ms(leaving.until) if leaving.until else seen.page.ended_ms
    asked = [answer.asked_ms for answer in seen.page.answers if answer.host == leaving.host]
    last_ms = max((at_ms for at_ms in asked if from_ms < at_ms < until_ms), default=from_ms)
    before = sum(at_ms <= from_ms for at_ms in asked)
    return Departure(leaving.host, leaving.mark, leaving.within_s, (last_ms - from_ms) / 1000, before)


def _judged_departure(departure: Departure) -> list[tuple[Reason, str]]:
    said = f"{departure.host} after {departure.mark!r}"
    if not departure.requests_before:
        return [(Reason.NEVER_THERE, said)]
    if departure.within_s is not None and departure.asked_for_s > departure.within_s:
        return [(Reason.KEPT_ASKING, f"{said}: for {departure.asked_for_s:.1f} s, not {departure.within_s:.1f}")]
    return []


def _steering_answer(told: Steered, pressed_ms: float) -> SteeringAnswer:
    at_s = (told.at_ms - pressed_ms) / 1000
    return SteeringAnswer(at_s, told.status, told.ttl_s, told.priority, told.clones)


def _moment(mark: Mark, pressed_ms: float) -> Moment:
    return Moment((mark.at_ms - pressed_ms) / 1000, mark.what)
