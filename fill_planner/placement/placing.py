"""Placement of named groups on named boxes, each with its reason; the numbers are `greedy`'s."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contracts.plans import Reason
from contracts.rendezvous import score
from fill_planner.config import PlannerSettings
from fill_planner.placement.greedy import Solution, solve
from fill_planner.placement.problem import Boxes, Flags, Floats, Problem
from fill_planner.placement.units import ANY_DAY, Box, Copy, Day, Placement, Unit

HOUR_S = 3600


def place(
    units: Sequence[Unit],
    boxes: Sequence[Box],
    fill_bytes: int,
    peak_share: float,
    settings: PlannerSettings,
    day: Day = ANY_DAY,
) -> tuple[Placement, ...]:
    """One Placement per unit, best first. `fill_bytes` is what the cluster may fetch in the window for `day`.

    `peak_share` is the busiest hour's part of a day's demand. Pure and deterministic; the sequence of units and boxes does not matter.
    """
    units = sorted(units, key=lambda unit: (-unit.density, unit.group))
    boxes = sorted(boxes, key=lambda box: box.id)
    if not boxes:
        return tuple(Placement(unit, rank, (), Reason.DISK_FULL) for rank, unit in enumerate(units, start=1))
    problem = problem_of(units, boxes, fill_bytes, peak_share, settings, day)
    solution = solve(problem)
    copies = _copies(problem, units, boxes, solution)
    refused = _refusals(problem, solution)
    return tuple(
        Placement(unit, rank, tuple(its), _reason(unit, its, refused[row], day))
        for row, (rank, unit, its) in enumerate(zip(range(1, len(units) + 1), units, copies, strict=True))
    )


def problem_of(
    units: Sequence[Unit],
    boxes: Sequence[Box],
    fill_bytes: int,
    peak_share: float,
    settings: PlannerSettings,
    day: Day = ANY_DAY,
) -> Problem:
    """The arrays of named units and boxes, in their sequence."""
    domains = {name: number for number, name in enumerate(sorted({box.domain for box in boxes}))}
    size = np.array([unit.size_bytes for unit in units], dtype=np.float64)
    present = np.array([[box.present.get(unit.group, 0) for box in boxes] for unit in units], dtype=np.float64)
    present = present.reshape(len(units), len(boxes))
    return Problem(
        size=size,
        disk=np.array([unit.disk_bytes for unit in units], dtype=np.float64),
        peak=np.array([unit.expected_bytes for unit in units], dtype=np.float64) * peak_share,
        missing=np.maximum(0.0, size[:, None] - present),
        affinity=_affinity(units, boxes),
        allowed=np.array([unit.allowed(day) for unit in units], dtype=np.bool_),
        required=np.array([unit.required for unit in units], dtype=np.bool_),
        boxes=Boxes(
            space=np.array([max(0, box.space_bytes) for box in boxes], dtype=np.float64),
            egress=np.array([box.egress_bps * HOUR_S / 8 for box in boxes], dtype=np.float64),
            domain=np.array([domains[box.domain] for box in boxes], dtype=np.int64),
        ),
        fill_bytes=float(fill_bytes),
        peak_share=peak_share,
        settings=settings,
    )


def _affinity(units: Sequence[Unit], boxes: Sequence[Box]) -> Floats:
    """Rendezvous hashing weighted by disk, and 1 more where the unit is or was told to be."""
    found = np.zeros((len(units), len(boxes)))
    if len(boxes) == 1:
        return found
    mean = max(1.0, sum(box.space_bytes for box in boxes) / len(boxes))
    for column, box in enumerate(boxes):
        weight = box.space_bytes / mean
        for row, unit in enumerate(units):
            drawn = score(unit.group, box.id, weight)
            # Of two scores the higher stays the higher.
            found[row, column] = drawn / (1.0 + drawn)
            if unit.group in box.pinned or box.present.get(unit.group):
                found[row, column] += 1.0
    return found


def _copies(problem: Problem, units: Sequence[Unit], boxes: Sequence[Box], solution: Solution) -> list[list[Copy]]:
    copies: list[list[Copy]] = [[] for _ in units]
    for row, column, number, served in zip(
        solution.unit.tolist(), solution.box.tolist(), solution.number.tolist(), solution.served.tolist(), strict=True
    ):
        unit = units[row]
        missing = int(problem.missing[row, column])
        adds = served / problem.peak[row] if problem.peak[row] > 0 else 0.0
        if number == 1:
            adds = min(1.0, adds + problem.settings.outage_share)
        copies[row].append(Copy(boxes[column].id, missing, unit.density * adds, _copy_reason(unit, number, missing)))
    return copies


def _copy_reason(unit: Unit, number: int, missing: int) -> Reason:
    if unit.required:
        return Reason.PINNED
    if missing == 0:
        return Reason.KEPT
    return Reason.SECOND_COPY if number else Reason.POPULAR


def _reason(unit: Unit, copies: Sequence[Copy], refused: Reason, day: Day) -> Reason:
    if unit.forbidden:
        return Reason.FORBIDDEN
    if not unit.allowed(day):
        return Reason.NOT_LICENSED
    if not copies:
        return refused
    if unit.required:
        return Reason.PINNED
    if all(copy.missing_bytes == 0 for copy in copies):
        return Reason.KEPT
    return Reason.SECOND_COPY if len(copies) > 1 else Reason.POPULAR


def _refusals(problem: Problem, solution: Solution) -> list[Reason]:
    """Why each unit has no copy, for those that have none.

    A unit that would have had room, or been worth more than the least that was placed, is refused by the window.
    """
    placed = solution.placed(problem)
    earns = (problem.share(slice(None)) - problem.churn * problem.missing > 0).any(axis=1) | problem.required
    free = problem.boxes.space - np.where(placed, problem.disk[:, None], 0.0).sum(axis=0)
    left = problem.fill_bytes - float(problem.missing[placed].sum())
    least = _least_density(problem, placed)
    late = ((problem.missing > left) & ((problem.disk[:, None] <= free) | (problem.density > least)[:, None])).any(
        axis=1
    )
    return [
        Reason.NO_DEMAND if not wanted or not worth_it else Reason.WINDOW_FULL if too_late else Reason.DISK_FULL
        for wanted, worth_it, too_late in zip(
            problem.wanted.tolist(), earns.tolist(), late.tolist(), strict=True
        )
    ]  # fmt: skip


def _least_density(problem: Problem, placed: Flags) -> float:
    """The least bytes per byte among what was placed without being required."""
    chosen = placed.any(axis=1) & ~problem.required
    return float(problem.density[chosen].min()) if chosen.any() else float("inf")
