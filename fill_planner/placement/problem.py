"""The problem of placement as arrays: n units, B boxes, one night (docs/placement.md).

    maximise   Σ y[f,b]  +  Σ secured[f] · s[f]  −  churn · Σ missing[f,b] · x[f,b]
    where      x[f,b] ∈ {0, 1}: box b holds unit f;  y[f,b]: bytes of f that b serves in the peak hour
               y[f,b] ≤ share[f,b] · x[f,b]                     one copy may load its box so far
               Σb y[f,b] ≤ peak[f] · u[f],  u[f] + s[f] ≤ Σb x[f,b],  s[f] ≤ u[f],  u, s ∈ {0, 1}
               Σ{b of one failure domain} x[f,b] ≤ 1
               Σf disk[f] · x[f,b] ≤ space[b],  Σf y[f,b] ≤ egress[b],  Σ missing[f,b] · x[f,b] ≤ fill_bytes
               x[f,b] = 0 where f is not allowed

`s[f]` is 1 when a second failure domain holds f, and `secured[f]` what that is worth: the whole peak of a unit of the
head, `outage_share` of it for others. The head are the units with the most bytes per byte, as many as two copies of each
have room for in `second_copy_share` of the space. All amounts are bytes, of the peak hour where it is demand.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fill_planner.config import PlannerSettings

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
MOST_BOXES_EXACT = 10


@dataclass(frozen=True, slots=True)
class Boxes:
    """Arrays of length B."""

    space: Floats
    egress: Floats
    """Bytes that the link carries in an hour."""
    domain: Ints
    """Failure domains, numbered from 0."""

    @property
    def domains(self) -> int:
        return int(self.domain.max()) + 1 if self.domain.size else 0


@dataclass(frozen=True)
class Problem:
    """One cluster on one night. `missing` and `affinity` are n × B, the rest of length n."""

    size: Floats
    disk: Floats
    peak: Floats
    missing: Floats
    """Bytes to fetch until the box holds the unit whole."""
    affinity: Floats
    """Preference among boxes that are equal otherwise: 0 to 1 by hashing, and 1 more where the unit is or was to be."""
    allowed: Flags
    required: Flags
    boxes: Boxes
    fill_bytes: float
    peak_share: float
    settings: PlannerSettings

    def __len__(self) -> int:
        return len(self.size)

    @property
    def churn(self) -> float:
        """Bytes of the peak hour that a fetched byte must earn."""
        return self.settings.churn_cost * self.peak_share

    @cached_property
    def wanted(self) -> Flags:
        """Units that may have a copy at all."""
        return self.allowed & (self.required | (self.peak > 0))

    @cached_property
    def density(self) -> Floats:
        """Bytes of the peak hour per byte of disk."""
        found: Floats = self.peak / np.maximum(self.disk, 1.0)
        return found

    @cached_property
    def head(self) -> Flags:
        """Units whose second copy is worth as much as the first. Without a second failure domain there is none."""
        head = np.zeros(len(self), dtype=np.bool_)
        room = self._head_bytes()
        density = np.where(self.allowed, self.density, 0.0)
        rows = np.flatnonzero((density > 0) & (density >= density_that_fills(density, self.disk, room)))
        if room <= 0 or not rows.size:
            return head
        rows = rows[np.argsort(-self.density[rows], kind="stable")]
        head[rows[np.cumsum(self.disk[rows]) <= room]] = True
        return head

    def _head_bytes(self) -> float:
        """Two copies on different domains fit when the largest domain does not have to hold both."""
        space = self.boxes.space
        if self.boxes.domains < 2:
            return 0.0
        by_domain = np.bincount(self.boxes.domain, weights=space)
        return float(min(self.settings.second_copy_share * space.sum(), space.sum() - by_domain.max()))

    @cached_property
    def secured(self) -> Floats:
        """What a second copy is worth, beside what it serves itself."""
        found: Floats = self.peak * np.where(self.head, 1.0, self.settings.outage_share)
        return found

    def share(self, rows: Ints | slice) -> Floats:
        """Bytes of the peak hour that one copy on each box may serve of each unit: rows × B.

        `load_share` of the link, or the box's part of the demand where that is more: held in every failure domain, all is served.
        """
        egress = self.boxes.egress
        total = egress.sum() * self.boxes.domains / max(1, egress.size)
        part = egress / total if total > 0 else np.zeros_like(egress)
        peak = self.peak[rows][:, None]
        found: Floats = np.minimum(peak, np.maximum(self.settings.load_share * egress, peak * part))
        return found


def density_that_fills(density: Floats, disk: Floats, room: float) -> float:
    """A density at and above which at least `room` bytes lie, and not many more; 0 where all together are less.

    A count by the leading bits of the float, which are in the order of the numbers: sorting a million takes ten times as long.
    """
    bucket = density.astype(np.float32).view(np.int32) >> 12
    above = np.cumsum(np.bincount(bucket, weights=disk * (density > 0))[::-1])
    at = int(np.searchsorted(above, room))
    if at >= len(above):
        return 0.0
    lowest = np.array([(len(above) - 1 - at) << 12], dtype=np.int32).view(np.float32)
    # Rounded to the shorter float a density may lie a little above itself.
    return float(lowest[0]) * (1.0 - 1e-6)


@dataclass(frozen=True, slots=True)
class Worth:
    """The objective and its parts, bytes of the peak hour."""

    served: float
    secured: float
    churn: float

    @property
    def total(self) -> float:
        return self.served + self.secured - self.churn


def worth(problem: Problem, placed: Flags) -> Worth:
    """What `placed` (n × B) is worth, by the best division of the demand among the copies.

    What each copy may serve are the sides of a polymatroid, so the most that fits the links is the least, over all sets T of
    boxes, of what T's copies could serve and what the other boxes' links carry (Edmonds 1970). Beyond `MOST_BOXES_EXACT`
    boxes only the sets that follow the boxes' load are tried, and the answer is from above.
    """
    rows = np.flatnonzero(placed.any(axis=1))
    share = np.where(placed[rows], problem.share(rows), 0.0)
    peak = problem.peak[rows]
    egress = problem.boxes.egress
    served = min(
        float(np.minimum(peak, share[:, tight].sum(axis=1)).sum() + egress.sum() - egress[tight].sum())
        for tight in _sets(share.sum(axis=0), egress)
    )
    twice = placed[rows].sum(axis=1) >= 2
    return Worth(
        served=served,
        secured=float(problem.secured[rows][twice].sum()),
        churn=problem.churn * fetched_bytes(problem, placed),
    )


def fetched_bytes(problem: Problem, placed: Flags) -> float:
    """Bytes that must be fetched for `placed`."""
    return float(problem.missing[placed].sum())


def _sets(load: Floats, egress: Floats) -> list[list[int]]:
    count = len(egress)
    if count <= MOST_BOXES_EXACT:
        return [list(chosen) for size in range(count + 1) for chosen in combinations(range(count), size)]
    by_load = np.argsort(load / np.maximum(egress, 1.0), kind="stable").tolist()
    return [by_load[:size] for size in range(count + 1)]
