"""Whom to ask for blocks, and what an answer means. Pure.

Laws: sources are asked in the order the control plane gave; one that sent wrong bytes for a file is asked for that file last
for a while, one that cannot be reached is asked last for everything, with growing times. Nobody is left out here: the
worst source is better than none, because a wrong byte cannot pass the digests. (Who fails again and again is left in peace for a
moment: `oca.keeper.circuits`.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from contracts.plans import RankedSource, SourceKind
from contracts.rendezvous import score
from contracts.reports import Source
from oca.link.messages import FetchFailure

BLAME_S = 300.0
BLAMED_FILES = 3
"""A source that sent wrong bytes of so many files within that time is asked last for all."""
FIRST_REST_S = 1.0
LONGEST_REST_S = 30.0
RUN_BLOCKS = 16
"""Blocks asked for in one upstream request at most: 4 MiB."""


class Outcome(Enum):
    """How one request to one source ended: (log word, what a client hears when it was the last)."""

    DONE = ("done", None)
    NOT_HELD = ("not-held", FetchFailure.UPSTREAM_UNREACHABLE)
    """A peer or tier that does not have it (504 to only-if-cached, or 404)."""
    NOT_FOUND = ("not-found", FetchFailure.NOT_FOUND)
    """The origin says that there is no such file."""
    REFUSED = ("refused", FetchFailure.UPSTREAM_ERROR)
    ERROR = ("error", FetchFailure.UPSTREAM_ERROR)
    BUSY = ("busy", FetchFailure.UPSTREAM_UNREACHABLE)
    UNREACHABLE = ("unreachable", FetchFailure.UPSTREAM_UNREACHABLE)
    FIRST_BYTE_LATE = ("first-byte-late", FetchFailure.UPSTREAM_TIMEOUT)
    STALLED = ("stalled", FetchFailure.UPSTREAM_TIMEOUT)
    TOO_SLOW = ("too-slow", FetchFailure.UPSTREAM_TIMEOUT)
    """It kept sending, but a request may take only so long."""
    TRUNCATED = ("truncated", FetchFailure.UPSTREAM_ERROR)
    RANGE_IGNORED = ("range-ignored", FetchFailure.UPSTREAM_ERROR)
    OTHER_SIZE = ("other-size", FetchFailure.VERSION_CHANGED)
    WRONG_BYTES = ("wrong-bytes", FetchFailure.WRONG_BYTES)
    LOOP = ("loop", FetchFailure.LOOP)
    OVERTAKEN = ("overtaken", None)
    """It was the last by far, and another source was given what it still owed."""
    CIRCUIT_OPEN = ("circuit-open", FetchFailure.UPSTREAM_UNREACHABLE)
    """It failed again and again, and was not asked."""

    def __init__(self, word: str, failure: FetchFailure | None) -> None:
        self.word = word
        self.failure = failure


_RESTS = frozenset({Outcome.UNREACHABLE, Outcome.FIRST_BYTE_LATE, Outcome.STALLED, Outcome.BUSY, Outcome.TOO_SLOW})
FAULTS = _RESTS | {Outcome.ERROR, Outcome.TRUNCATED}
"""What speaks against a source itself, whatever was asked of it."""
_BLAMED = frozenset({Outcome.WRONG_BYTES, Outcome.OTHER_SIZE, Outcome.RANGE_IGNORED})

SOURCE_OF_KIND = {SourceKind.PEER: Source.PEER, SourceKind.TIER: Source.TIER, SourceKind.ORIGIN: Source.ORIGIN}


def outcome_of_status(status: int, kind: SourceKind) -> Outcome | None:
    """What a status other than 200 and 206 means; None for those two."""
    if status in (200, 206):
        return None
    if status == 508:
        return Outcome.LOOP
    if status in (404, 410, 504) and kind is not SourceKind.ORIGIN:
        return Outcome.NOT_HELD
    if status in (404, 410):
        return Outcome.NOT_FOUND
    if status in (401, 403, 421):
        return Outcome.REFUSED
    if status == 416:
        return Outcome.OTHER_SIZE
    return Outcome.BUSY if status in (429, 503) else Outcome.ERROR


@dataclass(slots=True)
class _Rest:
    until: float
    length_s: float


@dataclass(slots=True)
class SourceMemory:
    """What is remembered of sources by URL: who rests, and who is blamed for which file."""

    _rests: dict[str, _Rest] = field(default_factory=dict)
    _blamed: dict[tuple[str, str], float] = field(default_factory=dict)

    def note(self, source: RankedSource, key: str, outcome: Outcome, now: float) -> None:
        """Learn from how a request ended."""
        if outcome in _RESTS:
            before = self._rests.get(source.url)
            length = min(LONGEST_REST_S, before.length_s * 2) if before else FIRST_REST_S
            self._rests[source.url] = _Rest(now + length, length)
            return
        self._rests.pop(source.url, None)
        if outcome in _BLAMED:
            self._blamed = {pair: until for pair, until in self._blamed.items() if until > now}
            self._blamed[(source.url, key)] = now + BLAME_S

    def is_blamed(self, source: RankedSource, key: str, now: float) -> bool:
        """It sent wrong bytes of this file lately, or of many files."""
        if self._blamed.get((source.url, key), 0.0) > now:
            return True
        return sum(url == source.url and until > now for (url, _), until in self._blamed.items()) >= BLAMED_FILES

    def blamed(self, now: float) -> list[tuple[str, str]]:
        """(URL, key) of those that sent wrong bytes lately."""
        return sorted(pair for pair, until in self._blamed.items() if until > now)

    def is_resting(self, source: RankedSource, now: float) -> bool:
        rest = self._rests.get(source.url)
        return rest is not None and rest.until > now

    def ordered(self, sources: Sequence[RankedSource], key: str, now: float) -> list[RankedSource]:
        """The same sources: as ranked, then those that rest, then the blamed ones."""
        return sorted(sources, key=lambda source: (self.is_blamed(source, key, now), self.is_resting(source, now)))


def spread(sources: Sequence[RankedSource], key: str) -> list[RankedSource]:
    """The same sources: kinds in the order in which they first come, those of one kind by rendezvous of the object.

    So a miss of one object goes to the same tier from every appliance, and all tiers get their share.
    """
    kinds = list(dict.fromkeys(source.kind for source in sources))
    return sorted(sources, key=lambda source: (kinds.index(source.kind), -score(key, source.url, 1.0)))


def hedging(kind: SourceKind, usual_s: float, far_s: float) -> tuple[tuple[float, bool], ...]:
    """After how many seconds without a first byte another source is asked beside one of this `kind`: (seconds, outside the site too).

    `usual_s` is what its answers take at most as a rule. A peer that is only slow costs nothing at the border: another near one is asked then, and one
    outside the site only after `far_s`.
    """
    if kind is not SourceKind.PEER:
        return ((usual_s, True),)
    return ((usual_s, False), (max(usual_s, far_s), True))


def split_run(first: int, last: int, longest: int = RUN_BLOCKS) -> list[tuple[int, int]]:
    """Blocks first … last (inclusive) cut at multiples of `longest`, so that two askers make the same cuts."""
    cuts: list[tuple[int, int]] = []
    while first <= last:
        end = min(last, first - first % longest + longest - 1)
        cuts.append((first, end))
        first = end + 1
    return cuts


def worst_failure(outcomes: Sequence[tuple[RankedSource, Outcome]]) -> FetchFailure:
    """What a client hears when every source failed: the origin's word where it spoke, else the last one's."""
    for source, outcome in reversed(outcomes):
        if source.kind is SourceKind.ORIGIN and outcome.failure is not None:
            return outcome.failure
    for _, outcome in reversed(outcomes):
        if outcome.failure is not None:
            return outcome.failure
    return FetchFailure.UPSTREAM_UNREACHABLE
