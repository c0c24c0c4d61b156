"""What placement is asked about and what it answers: groups of files, boxes, copies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from contracts.plans import Reason


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
