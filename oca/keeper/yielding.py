"""When a fill makes way for viewers, and how far. Pure; `now` is a clock that does not jump.

Laws
- A fill halves its rate each second while viewers need the link or the disks, down to `LEAST_SHARE` of what it may, and comes back by a tenth a second
  once nothing is near its limit: quickly out of the way, slowly back (additive increase, multiplicative decrease; Chiu and Jain 1989).
- Between calm and strain it stays as it is, so that it does not swing.
- It never stops: an order that is due before a release would starve.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

LOOK_S = 1.0
LEAST_SHARE = 1 / 16
STEP_UP = 0.1
EGRESS_FULL = 0.9
"""Share of the egress cap that workers use."""
WRITE_LATE_S = 0.25
"""A block is on its way into a page cache and its disk's thread for so long: reads of viewers wait behind it, too."""
CALM = 0.7
"""Below this share of both limits a fill comes back."""


class Strain(Enum):
    """Why a fill yields (log word = value)."""

    EGRESS = "egress"
    """Workers send nearly all that they may."""
    SHEDDING = "shedding"
    """A worker takes no new sessions."""
    DISK = "disk"
    """Writes take long: the disks are busy."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What viewers need of the box now. `egress_share` of the cap, 0 where there is none; `write_s` is what writing a block takes now;
    slow disks are no strain while nobody is served."""

    egress_share: float
    shedding: Collection[str]
    write_s: float
    is_serving: bool


def strain_of(demand: Demand) -> Strain | None:
    if demand.shedding:
        return Strain.SHEDDING
    if demand.egress_share >= EGRESS_FULL:
        return Strain.EGRESS
    return Strain.DISK if demand.is_serving and demand.write_s >= WRITE_LATE_S else None


def is_calm(demand: Demand) -> bool:
    disks_rest = not demand.is_serving or demand.write_s < CALM * WRITE_LATE_S
    return disks_rest and demand.egress_share < CALM * EGRESS_FULL and not demand.shedding


@dataclass(slots=True)
class Yielding:
    """The share of its rate that a fill may use, and why it is not all."""

    share: float = 1.0
    why: Strain | None = None
    _looked_at: float | None = None

    def look(self, demand: Demand, now: float) -> bool:
        """Judge once per `LOOK_S`; whether the share changed."""
        if self._looked_at is not None and now - self._looked_at < LOOK_S:
            return False
        self._looked_at = now
        before = self.share
        strain = strain_of(demand)
        if strain is not None:
            self.why = strain
            self.share = max(LEAST_SHARE, self.share / 2)
        elif is_calm(demand):
            self.share = min(1.0, self.share + STEP_UP)
        if self.share == 1.0:
            self.why = None
        return self.share != before


def limit_bps(plan_bps: int, share: float, lately_bps: float) -> int:
    """The rate of a fill that may use `share` of the plan's; 0 is none. A plan without a rate yields from what came lately."""
    if share == 1.0:
        return plan_bps
    most = plan_bps or max(lately_bps, 1.0)
    return max(1, int(most * share))
