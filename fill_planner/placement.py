"""Placement: which groups a manifest cluster holds, how often, and on which appliance (DESIGN §4.3).

Greedy by value per byte of disk. The value of a copy is what it is expected to serve on the next day that would otherwise
come from far, minus `churn_cost` × the bytes that must be fetched for it:

- first copy: the group's expected bytes;
- second copy, on another failure domain: the expected bytes while the first holder is away (`outage_share`), plus what
  exceeds the first holder's fair share of its egress at the peak hour (`load_share`). The head, as far as
  `second_copy_share` of the space reaches, has its second copy at the value of its first.

Laws: no appliance is filled beyond its space; what must be fetched stays within the cluster's fill budget; what is held
is preferred, then the box that rendezvous hashing (weighted by disk) names; so a snapshot whose demand did not change
gives the same placement once it is filled. Not covered: egress as a limit of its own, more than two copies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from contracts.plans import Reason
from contracts.rendezvous import ranked
from fill_planner.config import PlannerSettings


@dataclass(frozen=True, slots=True)
class Day:
    """The time that a plan is made for, as instants: from the closing of the window for a day."""

    from_t: float
    until_t: float


ANY_DAY = Day(-inf, inf)


@dataclass(frozen=True, slots=True)
class Unit:
    """A group at a cluster. `disk_bytes` is what it takes on a disk, rounded up by the caller."""

    group: str
    size_bytes: int
    disk_bytes: int
    expected_bytes: float
    licensed: bool = True
    required: bool = False
    """An operator wants it there whatever it is worth."""
    forbidden: bool = False
    """An operator wants it nowhere here. Over `required`: who says never is right."""
    from_t: float = -inf
    until_t: float = inf
    """Instants between which it may be shown here: the licence and pins by date. Outside it is not placed."""

    @property
    def density(self) -> float:
        """Expected bytes of the next day per byte."""
        return self.expected_bytes / max(1, self.size_bytes)

    def allowed(self, day: Day) -> bool:
        """True when it may be placed for `day`: some of it lies in the unit's own time."""
        return self.licensed and not self.forbidden and self.from_t < day.until_t and day.from_t < self.until_t


@dataclass(frozen=True, slots=True)
class Box:
    """An appliance as placement sees it. `present` is group → bytes held, `pinned` what the last plan put there."""

    id: str
    domain: str
    space_bytes: int
    egress_bps: float
    present: Mapping[str, int] = field(default_factory=dict)
    pinned: frozenset[str] = frozenset()

    def missing(self, unit: Unit) -> int:
        return max(0, unit.size_bytes - self.present.get(unit.group, 0))


@dataclass(frozen=True, slots=True)
class Copy:
    box_id: str
    missing_bytes: int
    value: float
    """Expected bytes of the next day per byte of disk that this copy adds, before churn."""
    reason: Reason


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one group goes; without copies, `reason` says why not."""

    unit: Unit
    rank: int
    """1 is the group with the most expected bytes per byte."""
    copies: tuple[Copy, ...]
    reason: Reason


@dataclass(frozen=True, slots=True)
class _Candidate:
    """One copy that may be placed: sorted by worth, the required ones first."""

    worth: float
    value: float
    number: int
    unit: Unit
    is_head: bool

    @property
    def order(self) -> tuple[bool, float, int, str]:
        return (not self.unit.required, -self.worth, self.number, self.unit.group)


def place(
    units: Sequence[Unit],
    boxes: Sequence[Box],
    fill_bytes: int,
    peak_share: float,
    settings: PlannerSettings,
    day: Day = ANY_DAY,
) -> tuple[Placement, ...]:
    """One Placement per unit, best first. `fill_bytes` is what the cluster may fetch in the window."""
    allowed = [unit for unit in units if unit.allowed(day)]
    state = _State(boxes, fill_bytes, settings, day)
    by_density = sorted(units, key=lambda unit: (-unit.density, unit.group))
    head = _head([unit for unit in by_density if unit.allowed(day)], boxes, settings)
    candidates = [
        candidate
        for unit in allowed
        if unit.required or unit.expected_bytes > 0
        for candidate in _candidates(unit, boxes, unit.group in head, peak_share, settings)
    ]
    for candidate in sorted(candidates, key=lambda c: c.order):
        state.place(candidate)
    return tuple(state.placement(unit, rank) for rank, unit in enumerate(by_density, start=1))


def _head(by_density: Sequence[Unit], boxes: Sequence[Box], settings: PlannerSettings) -> set[str]:
    """The groups whose second copy has its place reserved. Without a second failure domain there is no head."""
    if len({box.domain for box in boxes}) < 2:
        return set()
    left = settings.second_copy_share * sum(box.space_bytes for box in boxes)
    head: set[str] = set()
    for unit in by_density:
        if unit.expected_bytes > 0 and unit.disk_bytes <= left:
            left -= unit.disk_bytes
            head.add(unit.group)
    return head


def _candidates(
    unit: Unit, boxes: Sequence[Box], is_head: bool, peak_share: float, settings: PlannerSettings
) -> Iterator[_Candidate]:
    missing = sorted(box.missing(unit) for box in boxes)
    size = max(1, unit.size_bytes)
    values = (unit.density, _second_value(unit, boxes, peak_share, settings))
    copies = min(2, len({box.domain for box in boxes}))
    for number in range(copies):
        value = unit.density if is_head else values[number]
        worth = value - settings.churn_cost * missing[number] / size
        yield _Candidate(worth=worth, value=values[number], number=number, unit=unit, is_head=is_head)


def _second_value(unit: Unit, boxes: Sequence[Box], peak_share: float, settings: PlannerSettings) -> float:
    """Expected bytes per byte that only a second copy would serve."""
    peak_bps = unit.expected_bytes * peak_share * 8 / 3600
    fair_bps = settings.load_share * min(box.egress_bps for box in boxes)
    beyond = max(0.0, 1.0 - fair_bps / peak_bps) if peak_bps > 0 else 0.0
    return unit.density * min(1.0, settings.outage_share + beyond)


class _State:
    """Space and budget while the candidates pass by."""

    def __init__(self, boxes: Sequence[Box], fill_bytes: int, settings: PlannerSettings, day: Day) -> None:
        self._boxes = {box.id: box for box in boxes}
        self._weights = [(box.id, float(box.space_bytes)) for box in boxes]
        self._free = {box.id: box.space_bytes for box in boxes}
        self._budget = fill_bytes
        self._settings = settings
        self._day = day
        self._copies: dict[str, list[Copy]] = {}
        self._refused: dict[str, Reason] = {}

    def place(self, candidate: _Candidate) -> None:
        unit = candidate.unit
        copies = self._copies.setdefault(unit.group, [])
        if candidate.number > len(copies):
            return
        taken = {self._boxes[copy.box_id].domain for copy in copies}
        reason = Reason.DISK_FULL
        for box in self._preferred(unit):
            if box.domain in taken or self._free[box.id] < unit.disk_bytes:
                continue
            missing = box.missing(unit)
            if missing > self._budget:
                reason = Reason.WINDOW_FULL
                continue
            if not self._earns_filling(candidate, missing):
                reason = Reason.NO_DEMAND if reason is Reason.DISK_FULL else reason
                continue
            self._free[box.id] -= unit.disk_bytes
            self._budget -= missing
            copies.append(Copy(box.id, missing, candidate.value, _copy_reason(candidate, missing)))
            return
        if candidate.number == 0:
            self._refused[unit.group] = reason

    def placement(self, unit: Unit, rank: int) -> Placement:
        copies = tuple(self._copies.get(unit.group, ()))
        if not copies:
            return Placement(unit, rank, (), self._why_not(unit))
        if unit.required:
            return Placement(unit, rank, copies, Reason.PINNED)
        if all(copy.missing_bytes == 0 for copy in copies):
            return Placement(unit, rank, copies, Reason.KEPT)
        return Placement(unit, rank, copies, Reason.SECOND_COPY if len(copies) > 1 else Reason.POPULAR)

    def _why_not(self, unit: Unit) -> Reason:
        if unit.forbidden:
            return Reason.FORBIDDEN
        if not unit.allowed(self._day):
            return Reason.NOT_LICENSED
        return self._refused.get(unit.group, Reason.NO_DEMAND)

    def _earns_filling(self, candidate: _Candidate, missing: int) -> bool:
        if missing == 0 or candidate.unit.required:
            return True
        value = candidate.unit.density if candidate.is_head else candidate.value
        return value > self._settings.churn_cost * missing / max(1, candidate.unit.size_bytes)

    def _preferred(self, unit: Unit) -> list[Box]:
        """Boxes that hold it or were told to, then the others, each in rendezvous order."""
        boxes = [self._boxes[box_id] for box_id in ranked(unit.group, self._weights)]
        return sorted(boxes, key=lambda box: not (unit.group in box.pinned or box.present.get(unit.group)))


def _copy_reason(candidate: _Candidate, missing: int) -> Reason:
    if candidate.unit.required:
        return Reason.PINNED
    if missing == 0:
        return Reason.KEPT
    return Reason.SECOND_COPY if candidate.number else Reason.POPULAR
