"""When what a plan was made for is no more: an appliance that stays away, a disk that is gone, one that is back. Pure.

Laws
- A site is planned anew when it has differed from what its plan was made for during all of the patience; who comes and goes within it changes nothing.
- When more than half of all appliances, and at least `MANY`, are suspect at the same time, it is rather the record that has lost them: nothing is planned anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from contracts.plans import PlanCause

MANY = 3
GRAVEST_FIRST = (PlanCause.APPLIANCE_LOST, PlanCause.DISK_LOST, PlanCause.APPLIANCE_BACK)
GROWN_OR_SHRUNK = 0.01
"""Space that comes and goes for reasons of its own (a quota of a file system's free space), as a share."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One appliance as a plan looks at it."""

    lost: bool
    space_bytes: int


@dataclass(frozen=True, slots=True)
class Doubt:
    """A site differs from its plan, since an instant of the monotonic clock."""

    cause: PlanCause
    since_s: float


def cause_of(planned: Mapping[str, Seen], now: Mapping[str, Seen]) -> PlanCause | None:
    """What about a site differs from what its plan was made for; the gravest. Appliances that are new wait for the night."""
    causes: set[PlanCause] = set()
    for box_id, before in planned.items():
        after = now.get(box_id)
        if after is None or (after.lost and not before.lost):
            causes.add(PlanCause.APPLIANCE_LOST)
        elif before.lost and not after.lost:
            causes.add(PlanCause.APPLIANCE_BACK)
        elif not after.lost and after.space_bytes < before.space_bytes * (1 - GROWN_OR_SHRUNK):
            causes.add(PlanCause.DISK_LOST)
    return next((cause for cause in GRAVEST_FIRST if cause in causes), None)


def doubts_after(doubts: Mapping[str, Doubt], causes: Mapping[str, PlanCause | None], now_s: float) -> dict[str, Doubt]:
    """Sites that differ now, each since it began to; another cause does not begin anew."""
    return {
        site_id: Doubt(cause, doubts[site_id].since_s if site_id in doubts else now_s)
        for site_id, cause in causes.items()
        if cause is not None
    }


def due(doubts: Mapping[str, Doubt], now_s: float, patience_s: float) -> dict[str, PlanCause]:
    """Sites that are to be planned anew now."""
    return {site_id: doubt.cause for site_id, doubt in doubts.items() if now_s - doubt.since_s >= patience_s}


def is_ours(suspects: int, appliances: int) -> bool:
    """True when so many are suspect that it is presumed to be the record's own trouble."""
    return suspects >= MANY and suspects * 2 > appliances
