"""Placement of one cluster by value per byte of disk, over whole arrays.

Every copy that would earn its fetching is a candidate. They are taken in the order of what they gain per byte of disk, the
required ones first; each goes to the box that it is worth most on (held there, else by affinity; where boxes differ or links
bind, by `pricing`), and to the next one where that has no room. So much for the rule. Carried out one candidate at a time it
would take hours for a million files at hundreds of sites; it is carried out on the longest run of candidates that all have
room where they want to be, which is nearly all of them, then on the longest run of those that are left, and so on. The
result is that of the rule.

Laws: no box is filled beyond its space, what must be fetched stays within `fill_bytes`, copies of a unit lie in distinct
failure domains, what is not allowed is nowhere. A candidate is refused only when no box has room for it beside what is
better per byte: so what was placed is placed again when nothing changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fill_planner.placement.pricing import Ladder, Prices, free_of_charge, ladder, leaning, prices
from fill_planner.placement.problem import Flags, Floats, Ints, Problem, density_that_fills, worth

RUNS = 400
"""Most runs. A run takes at least one candidate and usually most of those that fit; after these, gaps stay."""
MARGIN = 1.5
"""Candidates are looked for among the densest units that would fill the disks so many times, and what is held."""

BETTER = 0.005
"""Part of its worth by which a placement at new prices must be better than what lies there, before copies move for it."""


@dataclass(frozen=True, slots=True)
class Solution:
    """The copies that were placed, in the order of their worth. Arrays of one length; `unit` are rows of the problem."""

    unit: Ints
    box: Ints
    number: Ints
    """0 is the unit's first copy."""
    served: Floats
    """What the copy adds to what is served in the peak hour."""
    prices: Prices

    def placed(self, problem: Problem) -> Flags:
        flags = np.zeros(problem.missing.shape, dtype=np.bool_)
        flags[self.unit, self.box] = True
        return flags


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Copies that may be placed, best first. `row` is the unit's place in `rows`."""

    rows: Ints
    row: Ints
    number: Ints
    served: Floats
    preference: Floats
    """rows × B: the box with the most is wanted first."""


def solve(problem: Problem) -> Solution:
    """The placement of one cluster. Deterministic."""
    rows = _considered(problem)
    at = prices(problem, rows) if _needs_prices(problem, rows) else free_of_charge(problem)
    wanted = _candidates(problem, rows, at)
    must = problem.required[wanted.rows[wanted.row]] & (wanted.number == 0)
    fresh = _taken(problem, wanted, at, must)
    if not at.charged:
        return fresh
    stayed = _stayed(problem, wanted, at, must)
    value = worth(problem, fresh.placed(problem)).total
    better = value - worth(problem, stayed.placed(problem)).total
    return fresh if better > BETTER * abs(value) else stayed


def _stayed(problem: Problem, wanted: _Candidates, at: Prices, must: Flags) -> Solution:
    """What lies there stays where it is, then the others as usual."""
    lies = problem.missing[wanted.rows] == 0
    held = wanted.number < lies.sum(axis=1)[wanted.row]
    home = wanted.preference.max(axis=1)[:, None] + 1.0 + wanted.preference - wanted.preference.min(axis=1)[:, None]
    at_home = replace(wanted, preference=np.where(lies, home, wanted.preference))
    return _taken(problem, at_home, at, must, held)


def _taken(problem: Problem, wanted: _Candidates, at: Prices, *before: Flags) -> Solution:
    """The candidates that have room, those of `before` first, whatever the links carry, then the others as the links have room."""
    room = _Room(problem, wanted)
    left = np.ones(len(wanted.row), dtype=np.bool_)
    for chosen in before:
        room.take(np.flatnonzero(chosen & left), linked=False)
        left &= ~chosen
    room.take(np.flatnonzero(left), linked=True)
    left[np.concatenate([np.zeros(0, dtype=np.int64), *room.taken])] = False
    room.take(np.flatnonzero(left), linked=False)
    none = np.zeros(0, dtype=np.int64)
    taken, where = np.concatenate([none, *room.taken]), np.concatenate([none, *room.where])
    order = np.argsort(taken, kind="stable")
    taken = taken[order]
    return Solution(wanted.rows[wanted.row[taken]], where[order], wanted.number[taken], wanted.served[taken], at)


def _considered(problem: Problem) -> Ints:
    """Rows that may come to be placed: wanted, and held or dense enough."""
    wanted = problem.wanted
    room = MARGIN * float(problem.boxes.space.sum())
    if float(problem.disk[wanted].sum()) <= room:
        return np.flatnonzero(wanted)
    held = (problem.missing < problem.size[:, None]).any(axis=1)
    dense = problem.density >= density_that_fills(np.where(wanted, problem.density, 0.0), problem.disk, room)
    return np.flatnonzero(wanted & (held | problem.required | dense))


def _needs_prices(problem: Problem, rows: Ints) -> bool:
    """Boxes that differ, or links that bind when the densest units fill the disks."""
    boxes = problem.boxes
    if np.ptp(boxes.space) > 0 or np.ptp(boxes.egress) > 0:
        return True
    dense = rows[np.argsort(-problem.density[rows], kind="stable")]
    fits = np.cumsum(problem.disk[dense]) <= boxes.space.sum()
    return float(problem.peak[dense[fits]].sum()) > float(boxes.egress.sum())


def _candidates(problem: Problem, rows: Ints, at: Prices) -> _Candidates:
    found = ladder(problem, rows, at)
    disk = np.maximum(problem.disk[rows], 1.0)
    required = problem.required[rows]
    known = found.box >= 0
    # Without the prices of disk and link: a copy that earns its fetching may fill what is left, for the hours beside the peak.
    priced = problem.disk[rows][:, None] * at.disk[found.box] + found.served * at.egress[found.box]
    earns = known & (np.where(known, found.gain + priced, 0.0) > 0)
    earns[:, 0] |= required & known[:, 0]
    earns = np.logical_and.accumulate(earns, axis=1)
    per_byte = np.where(earns, found.gain / disk[:, None], -np.inf)
    per_byte = np.minimum.accumulate(per_byte, axis=1)
    row, number = np.nonzero(earns)
    must = required[row] & (number == 0)
    order = np.lexsort((number, row, -per_byte[row, number], ~must))
    row, number = row[order], number[order]
    return _Candidates(rows, row, number, found.served[row, number], _preference(problem, rows, at, found))


def _preference(problem: Problem, rows: Ints, at: Prices, planned: Ladder) -> Floats:
    """What each box is worth to a unit; the boxes of its ladder before all others, in its sequence."""
    cost = problem.disk[rows][:, None] * at.disk + (problem.churn + at.fill) * problem.missing[rows]
    found: Floats = problem.share(rows) * (1.0 - at.egress) - cost + leaning(problem, rows, at)
    if not at.charged:
        return found
    first = np.ptp(found, axis=1) + problem.peak[rows] + 1.0
    for number in range(planned.box.shape[1] - 1, -1, -1):
        its = np.flatnonzero(planned.box[:, number] >= 0)
        found[its, planned.box[its, number]] = first[its] * (2 + planned.box.shape[1] - number) + found[its].max(axis=1)
    return found


class _Room:
    """What is left of disks, links and volume while the candidates are taken."""

    def __init__(self, problem: Problem, wanted: _Candidates) -> None:
        boxes = problem.boxes
        self._wanted = wanted
        self._disk, self._missing = problem.disk[wanted.rows], problem.missing[wanted.rows]
        self._domain = boxes.domain
        self._free, self._link = boxes.space.copy(), boxes.egress.copy()
        self._budget = float(problem.fill_bytes)
        self._closed = np.zeros((len(wanted.rows), boxes.domains), dtype=np.bool_)
        self._copies = np.zeros(len(wanted.rows), dtype=np.int64)
        self.taken: list[Ints] = []
        self.where: list[Ints] = []

    def take(self, left: Ints, *, linked: bool) -> None:
        """Take of the candidates `left`, best first, what fits; with `linked` only where a link has room left in the peak hour."""
        for _ in range(RUNS):
            if not left.size:
                return
            box = self._wished(left, linked)
            left, box = left[box >= 0], box[box >= 0]
            end = self._run(left, box, linked)
            self._settle(left[:end], box[:end])
            left = left[end:]

    def _settle(self, run: Ints, box: Ints) -> None:
        row = self._wanted.row[run]
        self._free -= np.bincount(box, weights=self._disk[row], minlength=len(self._free))
        self._link -= np.bincount(box, weights=self._wanted.served[run], minlength=len(self._free))
        self._budget -= float(self._missing[row, box].sum())
        self._closed[row, self._domain[box]] = True
        np.add.at(self._copies, row, 1)
        self.taken.append(run)
        self.where.append(box)

    def _wished(self, left: Ints, linked: bool) -> Ints:
        """The box that each of `left` goes to if those before it do not fill it; −1 where none has room."""
        wanted = self._wanted
        box = np.full(len(left), -1, dtype=np.int64)
        row = wanted.row[left]
        turn = wanted.number[left] - self._copies[row]
        closed = self._closed
        before = np.ones(len(wanted.rows), dtype=np.bool_)
        last = int(turn.max())
        for now in range(last + 1):
            at = np.flatnonzero(turn == now)
            mine = row[at]
            fits = (self._disk[mine][:, None] <= self._free) & (self._missing[mine] <= self._budget)
            fits &= ~closed[mine][:, self._domain]
            # Without the copy before it there is none after it.
            fits &= before[mine][:, None]
            if linked:
                fits &= (self._link > 0) | (wanted.served[left[at]] <= 0)[:, None]
            best = np.where(fits, wanted.preference[mine], -np.inf).argmax(axis=1)
            good = fits[np.arange(len(mine)), best]
            box[at[good]] = best[good]
            before = np.zeros(len(wanted.rows), dtype=np.bool_)
            before[mine[good]] = True
            if now < last:
                closed = closed.copy()
                closed[mine[good], self._domain[best[good]]] = True
        return box

    def _run(self, left: Ints, box: Ints, linked: bool) -> int:
        """How many of `left`, from the first on, all fit where they want to be."""
        row = self._wanted.row[left]
        disk, served = self._disk[row], self._wanted.served[left]
        end = len(box)
        for number in range(len(self._free)):
            mine = np.flatnonzero(box == number)
            over = np.cumsum(disk[mine]) > self._free[number]
            if linked:
                over |= (np.cumsum(served[mine]) - served[mine] >= self._link[number]) & (served[mine] > 0)
            if over.any():
                end = min(end, int(mine[over.argmax()]))
        over = np.cumsum(self._missing[row, box]) > self._budget
        return min(end, int(over.argmax())) if over.any() else end
