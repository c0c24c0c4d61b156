"""Order among the appliances of a cluster: rendezvous hashing with bounded loads.

Holders are equal in what they have, so a client's address spreads the sessions of one group over them. Those that do not
hold it are ordered by the group alone: the misses for one file go to one box of the cluster, and its second request is a hit.
A box whose load is more than `load_factor` × the mean of its cluster goes behind the others of its kind (bounded loads,
Mirrokni et al. 2018, on reported instead of counted load); below `BUSY_FROM` nobody is crowded enough for that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import floor

from contracts.rendezvous import score

BUSY_FROM = 0.3
CAPACITY_STEPS = 4


@dataclass(frozen=True, slots=True)
class Member:
    """One appliance of a cluster for one group. `kind` is 0 for a holder, 1 for one that is planned to hold it, 2 else."""

    id: str
    kind: int
    weight: float
    load: float


def remaining_weight(egress_bps: float, load: float) -> float:
    """What is left of an appliance's egress, in coarse steps so that not every report moves clients; never nothing."""
    left = floor((1.0 - min(1.0, max(0.0, load))) * CAPACITY_STEPS + 1e-9) / CAPACITY_STEPS
    return egress_bps * max(1 / (2 * CAPACITY_STEPS), left)


def ordered(group: str, client: str, members: Iterable[Member], load_factor: float) -> list[Member]:
    """Best first. Deterministic; when one leaves, the others keep their order unless the bound moves."""
    boxes = list(members)
    if not boxes:
        return []
    bound = max(BUSY_FROM, load_factor * sum(box.load for box in boxes) / len(boxes))

    def key(box: Member) -> tuple[int, bool, float, str]:
        name = group if box.kind == 2 else f"{group}\0{client}"
        return (box.kind, box.load > bound, -score(name, box.id, box.weight), box.id)

    return sorted(boxes, key=key)
