"""Prices: what a byte of each disk and of each link is worth, where boxes differ or links bind.

The limits are taken into the objective, each at a price (Lagrange); what is left falls apart into one small question per
unit: which copies are worth more than the disk, link and volume they take? `ladder` answers it, copy by copy, the best box
first. `prices` looks for the prices at which what is taken meets what is there, where the bound is least. Boxes of equal space
and link have one price.

Law: for any prices ≥ 0, `bound` is an upper bound of the objective of every placement (weak duality).
It may lie below the linear relaxation, for a unit's copies are not divided in it.
Not covered: the last unit. Prices are looked for on a sample, and `greedy` holds the limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fill_planner.placement.problem import Floats, Ints, Problem

SAMPLE = 6000
STEPS_PER_PRICE = 40
"""Most steps of the search, times the square of the number of prices."""
TOLERANCE = 5e-4
"""Of the bound: the search ends when it can fall no further than that."""
TIE = 1e-9
"""Affinity's weight beside a unit's peak: it decides between equals only."""
STAY = 0.05
"""Part of its peak that a copy counts more where it lies already, beyond churn: prices are found anew each night, and must not move what is as good."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Of a byte of disk and a byte of the link, by box, and of a byte fetched, beyond churn."""

    disk: Floats
    egress: Floats
    fill: float

    @property
    def charged(self) -> bool:
        return bool(self.fill or self.disk.any() or self.egress.any())


@dataclass(frozen=True, slots=True)
class Ladder:
    """The copies of some units, best first: rows × K, K the number of failure domains."""

    box: Ints
    """−1 where there is no further box."""
    served: Floats
    """What this copy adds to what is served."""
    gain: Floats
    """What it adds in all, less what it costs at the prices."""


@dataclass(frozen=True, slots=True)
class _Use:
    """What a sample takes at some prices, scaled to all."""

    disk: Floats
    egress: Floats
    fill: float


def free_of_charge(problem: Problem) -> Prices:
    zeros = np.zeros_like(problem.boxes.space)
    return Prices(zeros, zeros, 0.0)


def ladder(problem: Problem, rows: Ints, prices: Prices) -> Ladder:
    """The copies of `rows` in the sequence in which they would be made, whether they gain or not.

    One copy is the best one, two are the best pair, and each further one is the best beside those.
    """
    boxes = problem.boxes
    count, width = len(rows), boxes.domains
    peak = problem.peak[rows]
    share = problem.share(rows)
    net = 1.0 - prices.egress
    cost = _cost(problem, rows, prices) - leaning(problem, rows, prices)
    box = np.full((count, width), -1, dtype=np.int64)
    served, gain = np.zeros((count, width)), np.full((count, width), -np.inf)
    at = np.arange(count)
    alone = share * net - cost
    chosen = alone.argmax(axis=1)
    box[:, 0], served[:, 0], gain[:, 0] = chosen, share[at, chosen], alone[at, chosen]
    if width == 1:
        return Ladder(box, served, gain)
    pair = _best_pair(problem, rows, share, net, cost)
    swap = alone[at, pair.other] > alone[at, pair.one]
    both = pair.gain > gain[:, 0]
    box[both, 0] = np.where(swap, pair.other, pair.one)[both]
    served[both, 0] = np.where(swap, pair.served_other, pair.served_one)[both]
    gain[both, 0] = alone[at, box[:, 0]][both]
    box[:, 1] = np.where(swap, pair.one, pair.other)
    served[:, 1] = np.where(swap, pair.served_one, pair.served_other)
    gain[:, 1] = pair.gain - gain[:, 0]
    # The best single box may share a domain with what the best pair would add to it.
    clash = boxes.domain[box[:, 1]] == boxes.domain[box[:, 0]]
    box[clash, 1], served[clash, 1], gain[clash, 1] = -1, 0.0, -np.inf
    _further(problem, share, share * net - cost, peak, Ladder(box, served, gain))
    _pool(gain)
    return Ladder(box, served, gain)


def _cost(problem: Problem, rows: Ints, prices: Prices) -> Floats:
    found: Floats = problem.disk[rows][:, None] * prices.disk + (problem.churn + prices.fill) * problem.missing[rows]
    return found


@dataclass(frozen=True, slots=True)
class _Pair:
    """The best two boxes of each row. `gain` counts what the cost that was given counts."""

    one: Ints
    other: Ints
    served_one: Floats
    served_other: Floats
    gain: Floats


def _best_pair(problem: Problem, rows: Ints, share: Floats, net: Floats, cost: Floats) -> _Pair:
    """`net` is what of a served byte is left beside its link's price. The cheaper link serves first."""
    count = len(rows)
    peak, secured = problem.peak[rows], problem.secured[rows]
    one, other = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    served_one, served_other, gain = np.zeros(count), np.zeros(count), np.full(count, -np.inf)
    by_link = np.argsort(-net, kind="stable").tolist()
    domain = problem.boxes.domain
    for place, a in enumerate(by_link):
        for b in by_link[place + 1 :]:
            if domain[a] == domain[b]:
                continue
            rest = np.minimum(share[:, b], peak - share[:, a])
            value = share[:, a] * net[a] + rest * net[b] + secured - cost[:, a] - cost[:, b]
            better = value > gain
            gain = np.where(better, value, gain)
            one, other = np.where(better, a, one), np.where(better, b, other)
            served_one, served_other = np.where(better, share[:, a], served_one), np.where(better, rest, served_other)
    return _Pair(one, other, served_one, served_other, gain)


def _further(problem: Problem, share: Floats, alone: Floats, peak: Floats, made: Ladder) -> None:
    """Third copies and more, for what two cannot serve, written into `made`. `alone` is what a copy is worth by itself."""
    domain = problem.boxes.domain
    rest = peak - made.served[:, 0] - made.served[:, 1]
    live = np.flatnonzero((rest > 0) & (made.box[:, 1] >= 0))
    for number in range(2, made.box.shape[1]):
        if not live.size:
            return
        taken = np.zeros((live.size, len(domain)), dtype=np.bool_)
        for before in range(number):
            taken |= domain == domain[made.box[live, before]][:, None]
        best = np.where(taken, -np.inf, alone[live]).argmax(axis=1)
        part = np.minimum(1.0, rest[live] / np.maximum(share[live, best], 1e-9))
        made.box[live, number], made.served[live, number] = best, part * share[live, best]
        made.gain[live, number] = alone[live, best] - (1.0 - part) * share[live, best]
        rest[live] -= made.served[live, number]
        live = live[rest[live] > 0]


def leaning(problem: Problem, rows: Ints, prices: Prices) -> Floats:
    """What speaks for a box beside its worth: rows × B. Where nothing has a price, order alone keeps what lies where it lies."""
    affinity = problem.affinity[rows]
    weight = TIE * affinity + (STAY * (affinity >= 1.0) if prices.charged else 0.0)
    return np.asarray((problem.peak[rows][:, None] + 1.0) * weight)


def _pool(gain: Floats) -> None:
    """A second copy that gains more than the first is wanted together with it: both count their mean."""
    first, second = gain[:, 0], gain[:, 1]
    together = second > first
    mean = (first[together] + second[together]) / 2
    gain[together, 0] = mean
    gain[together, 1] = mean


def bound(problem: Problem, prices: Prices) -> float:
    """No placement is worth more than this: what all units gain at the prices, and what all limits cost.

    One copy and two are judged exactly; of three and more the best links and the cheapest disks are counted, also where those are
    different boxes.
    """
    rows = np.flatnonzero(problem.wanted)
    boxes = problem.boxes
    limits = float(prices.disk @ boxes.space + prices.egress @ boxes.egress)
    limits += prices.fill * problem.fill_bytes if prices.fill else 0.0
    if not rows.size:
        return limits
    net = 1.0 - prices.egress
    share, cost = problem.share(rows), _cost(problem, rows, prices)
    best = (share * net - cost).max(axis=1)
    if boxes.domains > 1:
        best = np.maximum(best, _best_pair(problem, rows, share, net, cost).gain)
    cheapest = np.stack([cost[:, boxes.domain == d].min(axis=1) for d in range(boxes.domains)], axis=1)
    cheapest = np.sort(cheapest, axis=1).cumsum(axis=1)
    most = -np.sort(-share * net, axis=1).cumsum(axis=1)
    at_best = problem.peak[rows] * net.max()
    for number in range(2, boxes.domains):
        best = np.maximum(best, np.minimum(at_best, most[:, number]) + problem.secured[rows] - cheapest[:, number])
    return limits + float(np.maximum(best, 0.0).sum())


def prices(problem: Problem, rows: Ints) -> Prices:
    """Prices at which `rows` take about what there is, so that `bound` over them is about least."""
    sample, weight = _sample(problem, rows)
    if not sample.size:
        return free_of_charge(problem)
    kinds = _kinds(problem)
    fills = bool(np.isfinite(problem.fill_bytes))
    top = _highest(problem, sample, weight, kinds, fills)

    def prices_of(point: Floats) -> Prices:
        disk, egress = np.zeros_like(problem.boxes.space), np.zeros_like(problem.boxes.space)
        for number, members in enumerate(kinds):
            disk[members] = point[number] * top[number]
            egress[members] = point[len(kinds) + number]
        return Prices(disk, egress, float(point[-1] * top[-1]) if fills else 0.0)

    def judged(point: Floats) -> tuple[float, Floats]:
        at = prices_of(point)
        gain, use = _use(problem, sample, weight, at)
        left = [problem.boxes.space - use.disk, problem.boxes.egress - use.egress]
        slope = [float(part[members].sum()) for part in left for members in kinds]
        value = gain + float(at.disk @ problem.boxes.space + at.egress @ problem.boxes.egress)
        if fills:
            slope.append(problem.fill_bytes - use.fill)
            value += at.fill * problem.fill_bytes
        return value, np.array(slope) * top

    return prices_of(_least(judged, len(top)))


def _highest(problem: Problem, sample: Ints, weight: float, kinds: list[Ints], fills: bool) -> Floats:
    """Above these no price lies: of a kind's disk twice what its half is worth at the dense end, of a link 1."""
    dense = sample[np.argsort(-problem.density[sample], kind="stable")]
    filled = np.cumsum(problem.disk[dense]) * weight
    tops = []
    for members in kinds:
        at = min(int(np.searchsorted(filled, problem.boxes.space[members].sum() / 2)), len(dense) - 1)
        tops.append(2.0 * float(problem.density[dense[at]]))
    tops += [1.0] * len(kinds)
    return np.array([*tops, 2.0 * float(problem.density[dense[0]])] if fills else tops)


def _least(judged: Callable[[Floats], tuple[float, Floats]], count: int) -> Floats:
    """The point of the unit cube where a convex function is about least, by the ellipsoid method with deep cuts.

    `judged` gives value and subgradient. The function has kinks wherever two boxes are worth the same to many units, at which
    descent along single prices stands still. Shor 1977; Bland, Goldfarb & Todd, The ellipsoid method: a survey, 1981.
    """
    centre = np.full(count, 0.5)
    shape = np.eye(count) * count / 4.0
    best, least = centre, np.inf
    for _ in range(STEPS_PER_PRICE * count * count):
        outside = np.maximum(-centre, centre - 1.0)
        worst = int(outside.argmax())
        if outside[worst] > 0:
            slope = np.zeros(count)
            slope[worst] = 1.0 if centre[worst] > 1.0 else -1.0
            depth = float(outside[worst])
        else:
            value, slope = judged(centre)
            if value < least:
                best, least = centre, value
            depth = value - least
        reach = math.sqrt(max(0.0, float(slope @ shape @ slope)))
        if reach == 0.0 or (outside[worst] <= 0 and reach <= TOLERANCE * abs(least)):
            break
        depth = min(depth / reach, 1.0 - 1e-9)
        along = shape @ slope / reach
        centre = centre - (1.0 + count * depth) / (count + 1.0) * along
        shrink = 2.0 * (1.0 + count * depth) / ((count + 1.0) * (1.0 + depth))
        shape = (shape - shrink * np.outer(along, along)) * (count**2 * (1.0 - depth**2) / (count**2 - 1.0))
    return best


def _sample(problem: Problem, rows: Ints) -> tuple[Ints, float]:
    """Every k-th of the rows by density, and what each stands for."""
    if len(rows) <= SAMPLE:
        return rows, 1.0
    by_density = rows[np.argsort(-problem.density[rows], kind="stable")]
    step = -(-len(rows) // SAMPLE)
    sample = by_density[step // 2 :: step]
    return sample, float(problem.disk[rows].sum() / max(1.0, problem.disk[sample].sum()))


def _kinds(problem: Problem) -> list[Ints]:
    """Boxes of equal space and link, together."""
    pairs = np.stack([problem.boxes.space, problem.boxes.egress], axis=1)
    _, kind = np.unique(pairs, axis=0, return_inverse=True)
    return [np.flatnonzero(kind.ravel() == number) for number in range(int(kind.max()) + 1)]


def _use(problem: Problem, sample: Ints, weight: float, at: Prices) -> tuple[float, _Use]:
    """(what a sample gains, what it takes), scaled to all."""
    found = ladder(problem, sample, at)
    known = np.isfinite(found.gain)
    total = np.where(known, found.gain, 0.0).cumsum(axis=1)
    total[~known] = -np.inf
    best = total.max(axis=1)
    copies = np.where((best > 0) | problem.required[sample], total.argmax(axis=1) + 1, 0)
    row, number = np.nonzero(known & (np.arange(found.box.shape[1]) < copies[:, None]))
    box = found.box[row, number]
    count = len(problem.boxes.space)
    disk = np.bincount(box, weights=problem.disk[sample[row]], minlength=count) * weight
    egress = np.bincount(box, weights=found.served[row, number], minlength=count) * weight
    fill = float(problem.missing[sample[row], box].sum()) * weight
    return float(best[copies > 0].sum()) * weight, _Use(np.asarray(disk), np.asarray(egress), fill)
