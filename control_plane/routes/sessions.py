"""One source of routes: what it says, what of it stands, and when it is not believed (DESIGN §5).

Laws
- A change is taken only on top of the state that is known; anything else asks for the whole table.
- More prefixes than the policy's maximum: nothing of the report is taken, the last good routes stand.
- More than STORM_FACTOR tables of changes within STORM_WINDOW_S is a storm: announcements are taken, withdrawals wait until no
  change came for CALM_S. A prefix too many sends viewers to an appliance that is up; one too few sends them across the border.
- A session that is lost keeps its routes for a while (`hold_s`), so that a reset moves nobody; then they are withdrawn.
- A source that says nothing keeps what it has: whether its appliance lives is the heartbeat's business.

Instants are monotonic seconds; `since` alone is seconds since the epoch, for people.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from contracts.routes import Route, RoutePolicy, RouteReport, SourceKind, SourceState
from control_plane.routes.admission import Judged, Refused

STORM_FACTOR = 3
STORM_FLOOR = 1_000
"""Prefixes: smaller tables may change this much STORM_FACTOR times."""
STORM_WINDOW_S = 60.0
CALM_S = 60.0


class Arrival(Enum):
    """What a report was (log word = value)."""

    TAKEN = "taken"
    STORM = "storm"
    """Taken but for its withdrawals."""
    OVER_MAXIMUM = "over-maximum"
    OUT_OF_STEP = "out-of-step"
    LOST = "session-lost"


@dataclass(slots=True)
class Source:
    """A source as the book has it. `heard` is all it says, `taken` what stands of it by canonical prefix."""

    id: str
    site_id: str
    kind: SourceKind
    name: str
    appliance_id: str = ""
    policy: RoutePolicy = field(default_factory=RoutePolicy)
    state: SourceState = SourceState.UP
    since: float = 0.0
    peer: str = ""
    peer_as: int = 0
    detail: str = ""
    token: str = ""
    """Names the state of `heard`, as the source does; empty when only a whole table can follow."""
    heard: dict[str, Route] = field(default_factory=dict)
    taken: dict[str, Route] = field(default_factory=dict)
    refused: dict[str, Refused] = field(default_factory=dict)
    lost_at_s: float | None = None
    changed_at_s: float = 0.0
    churn: deque[tuple[float, int]] = field(default_factory=deque)
    """(when, how many prefixes changed), within STORM_WINDOW_S."""

    @property
    def guessed(self) -> bool:
        return self.kind is SourceKind.GEO


@dataclass(frozen=True, slots=True)
class Step:
    """What a report does to its source: `put` and `drop` by the key of `heard`."""

    arrival: Arrival
    put: Mapping[str, Route] = field(default_factory=dict)
    drop: frozenset[str] = frozenset()
    size: int = 0
    """Prefixes the source would have."""


def step_of(source: Source, report: RouteReport, now_s: float) -> Step:
    """Changes nothing."""
    if not report.up:
        return Step(Arrival.LOST)
    if report.after and report.after != source.token:
        return Step(Arrival.OUT_OF_STEP)
    return step_to(source, report.announced, report.withdrawn, whole=not report.after, now_s=now_s)


def step_to(source: Source, announced: Iterable[Route], withdrawn: Iterable[str], *, whole: bool, now_s: float) -> Step:
    """As `step_of`, for what was said; `whole` when `announced` is all there is."""
    heard = source.heard
    said = {canonical(route.cidr): route for route in announced}
    put = {cidr: route for cidr, route in said.items() if heard.get(cidr) != route}
    gone = heard.keys() - said.keys() if whole else {canonical(cidr) for cidr in withdrawn} - said.keys()
    drop = frozenset(gone & heard.keys())
    size = len(heard) - len(drop) + len(put.keys() - heard.keys())
    if size > source.policy.maximum:
        return Step(Arrival.OVER_MAXIMUM, size=size)
    changed = len(put) + len(drop)
    recent = changed + sum(count for at_s, count in source.churn if now_s - at_s <= STORM_WINDOW_S)
    is_bgp = source.kind is SourceKind.BGP
    is_storm = is_bgp and recent > STORM_FACTOR * max(STORM_FLOOR, size, len(heard))
    calm = source.state is not SourceState.FLAPPING or now_s - source.changed_at_s >= CALM_S
    return Step(Arrival.STORM if is_storm or not calm else Arrival.TAKEN, put, drop, size)


def take(source: Source, step: Step, judged: Judged, report_state: str, now_s: float, now: float) -> set[str]:
    """Applies a step that is TAKEN or STORM; `judged` are its `put`. Gives the prefixes whose standing may have changed."""
    touched: set[str] = set()
    if step.arrival is Arrival.TAKEN and source.state is SourceState.FLAPPING:
        touched |= drop_stale(source)
    for cidr, route in step.put.items():
        source.heard[cidr] = route
        source.refused.pop(cidr, None)
        if source.taken.pop(cidr, None) is not None:
            touched.add(cidr)
    for cidr in step.drop:
        del source.heard[cidr]
        source.refused.pop(cidr, None)
        if step.arrival is Arrival.TAKEN and source.taken.pop(cidr, None) is not None:
            touched.add(cidr)
    source.taken.update(judged.taken)
    source.refused.update(judged.refused)
    touched |= judged.taken.keys()
    _note_churn(source, len(step.put) + len(step.drop), now_s)
    source.token = report_state
    source.lost_at_s = None
    turn(source, SourceState.FLAPPING if step.arrival is Arrival.STORM else SourceState.UP, now)
    return touched


def rejudge(source: Source, judged: Judged) -> set[str]:
    """All of `heard` was judged anew (another policy, another RPKI list). Gives the prefixes that may have changed."""
    before = source.taken
    source.taken, source.refused = dict(judged.taken), dict(judged.refused)
    return {cidr for cidr in before.keys() | judged.taken.keys() if before.get(cidr) != judged.taken.get(cidr)}


def lose(source: Source, report: RouteReport, now_s: float, now: float) -> None:
    """The session is down; nothing is withdrawn yet."""
    source.token = ""
    source.detail = report.detail
    if source.lost_at_s is None and source.state is not SourceState.DOWN:
        source.lost_at_s = now_s
        turn(source, SourceState.HELD, now)


def over(source: Source, now: float) -> None:
    """It said more than it may; only a whole table can follow."""
    source.token = ""
    source.lost_at_s = None
    turn(source, SourceState.OVER_MAXIMUM, now)


def is_gone(source: Source, hold_s: float, now_s: float) -> bool:
    """Its session is lost for so long that its routes go."""
    return source.lost_at_s is not None and now_s - source.lost_at_s >= hold_s


def is_ending(source: Source, hold_s: float, now_s: float) -> bool:
    """`pass_time` would change something."""
    calm = source.state is SourceState.FLAPPING and now_s - source.changed_at_s >= CALM_S
    return calm or is_gone(source, hold_s, now_s)


def pass_time(source: Source, hold_s: float, now_s: float, now: float) -> set[str]:
    """What waiting did: a lost session's routes go, a storm that is over ends. Gives the prefixes whose standing changed."""
    if is_gone(source, hold_s, now_s):
        source.lost_at_s = None
        touched = set(source.taken)
        for table in (source.heard, source.taken, source.refused):
            table.clear()
        turn(source, SourceState.DOWN, now)
        return touched
    if source.state is SourceState.FLAPPING and now_s - source.changed_at_s >= CALM_S:
        turn(source, SourceState.UP, now)
        return drop_stale(source)
    return set()


def drop_stale(source: Source) -> set[str]:
    """What stands only because of a storm goes: it was withdrawn."""
    stale = source.taken.keys() - source.heard.keys()
    for cidr in stale:
        del source.taken[cidr]
    return set(stale)


def turn(source: Source, state: SourceState, now: float) -> None:
    if source.state is not state:
        source.state, source.since = state, now


def canonical(cidr: str) -> str:
    """The prefix as everybody writes it; what is none stays as it is."""
    try:
        return str(ipaddress.ip_network(cidr))
    except ValueError:
        return cidr


def _note_churn(source: Source, changed: int, now_s: float) -> None:
    if changed:
        source.changed_at_s = now_s
        source.churn.append((now_s, changed))
    while source.churn and now_s - source.churn[0][0] > STORM_WINDOW_S:
        source.churn.popleft()
