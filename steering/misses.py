"""Why bytes came from outside a site: the steering log joined with the access logs of its appliances. Pure.

A request is joined with the decision of its session (the last before it), and with the group of its file there. Bytes are *inside* when an
appliance of a site that announces the client's address served them from what it held. All others have one cause:

- content miss: no such appliance held the files when it was decided;
- health miss: some did, and none of them was a candidate with room;
- other: a candidate with room held them, and they came from elsewhere all the same (the player went on by itself, the file was gone by
  then, it was listed by mistake), or no decision is known for the session.

Plays are accounted the same way by the first choice of each of their groups: what steering meant to happen.
"""

from __future__ import annotations

import sys
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from contracts.decisions import BoxFacts, DecidedGroup, Decision
from contracts.instants import HOUR_CHARS
from contracts.plays import Cause
from contracts.urls import split_key
from contracts.world import Why

_HELD = {Why.HOLDS.value}


@dataclass(frozen=True, slots=True)
class Served:
    """One answer of one appliance: a line of its access log."""

    appliance_id: str
    time: str
    session: str
    path: str
    sent_bytes: int
    missed_bytes: int


@dataclass(slots=True)
class Account:
    """One site and hour. Bytes of players' requests and groups of plays, by cause."""

    requests: int = 0
    sent_bytes: dict[Cause, int] = field(default_factory=lambda: dict.fromkeys(Cause, 0))
    plays: dict[Cause, int] = field(default_factory=lambda: dict.fromkeys(Cause, 0))


Accounts = dict[tuple[str, str], Account]
"""By (site, hour such as `2026-11-21T09`). The site is that of the client; empty where nobody announces it or no decision is known."""


def account(decisions: Iterable[Decision], served: Iterable[Served]) -> Accounts:
    """All accounts, by site and hour."""
    found: Accounts = defaultdict(Account)
    known = _Sessions()
    for decision in decisions:
        known.add(decision)
        if decision.steered:
            continue  # the play was counted when it began
        plays = found[decision.site, decision.time[:HOUR_CHARS]].plays
        for group in decision.groups:
            plays[meant(decision, group)] += 1
    for one in served:
        asked = known.of(one)
        own = found[asked.site if asked else "", one.time[:HOUR_CHARS]]
        own.requests += 1
        for cause, count in _bytes_by_cause(asked, one):
            own.sent_bytes[cause] += count
    return dict(sorted(found.items()))


def meant(decision: Decision, group: DecidedGroup) -> Cause:
    """What the first choice of a group comes to."""
    return Cause.INSIDE if group.choices and group.choices[0][2] in _HELD else cause_of(decision, group)


def cause_of(decision: Decision, group: DecidedGroup) -> Cause:
    """Why a group's bytes come from outside, when they do."""
    if not group.holders:
        return Cause.CONTENT
    facts = {box.id: box for boxes in decision.boxes.values() for box in boxes}
    return Cause.OTHER if any(_could_serve(facts.get(name)) for name in group.holders) else Cause.HEALTH


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is needed of a decision: of a million lines little more than this can be held at once. `causes` are by the stem of a file's path."""

    time: str
    site: str
    own: frozenset[str]
    causes: Mapping[str, Cause]


class _Sessions:
    """What is kept of decisions, by session. Sets and maps that are equal are the same: sessions of one title at one site share them."""

    def __init__(self) -> None:
        self._of: dict[str, list[_Kept]] = defaultdict(list)
        self._own: dict[frozenset[str], frozenset[str]] = {}
        self._causes: dict[tuple[tuple[str, Cause], ...], Mapping[str, Cause]] = {}

    def add(self, decision: Decision) -> None:
        """Decisions come in any order; of one instant the later one counts."""
        if not decision.play:
            return
        own = frozenset(box.id for boxes in decision.boxes.values() for box in boxes)
        causes = _causes_of(decision)
        kept = _Kept(
            decision.time,
            sys.intern(decision.site),
            self._own.setdefault(own, own),
            self._causes.setdefault(tuple(causes.items()), causes),
        )
        insort(self._of[decision.play], kept, key=lambda one: one.time)

    def of(self, one: Served) -> _Kept | None:
        """The last decision before a request; the first where the clocks disagree; None where there is none."""
        its = self._of.get(one.session) if one.session else None
        if not its:
            return None
        return its[max(0, bisect_right(its, one.time, key=lambda kept: kept.time) - 1)]


def _bytes_by_cause(kept: _Kept | None, one: Served) -> Iterator[tuple[Cause, int]]:
    cause = kept.causes.get(_stem(one.path)) if kept else None
    if kept is None or cause is None:
        yield Cause.OTHER, one.sent_bytes
        return
    outside = min(one.missed_bytes, one.sent_bytes) if one.appliance_id in kept.own else one.sent_bytes
    yield Cause.INSIDE, one.sent_bytes - outside
    if outside:
        yield cause, outside


def _causes_of(decision: Decision) -> dict[str, Cause]:
    """Why bytes of a file come from outside, by its stem, which a playlist shares with its rendition; the first group of a stem counts."""
    found: dict[str, Cause] = {}
    for group in decision.groups:
        cause = cause_of(decision, group)
        for key in group.keys:
            found.setdefault(sys.intern(_stem(split_key(key)[1])), cause)
    return found


def _stem(path: str) -> str:
    return path.rpartition(".")[0] or path


def _could_serve(box: BoxFacts | None) -> bool:
    return box is not None and not box.problem and not box.full
