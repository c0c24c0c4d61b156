"""How far from the optimum a placement can be: the problem of `placement.problem` handed to HiGHS.

The linear relaxation bounds every placement from above; where a problem is small the integer one is solved and the bound is
the optimum. Objective and limits are those that the greedy is judged by: `worth` of a solution and the bound are in the same
bytes of the peak hour. HiGHS: Huangfu & Hall, Parallelizing the dual revised simplex method, 2018.
"""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np

from fill_planner.placement.greedy import solve
from fill_planner.placement.problem import Floats, Ints, Problem, Worth, worth

MILP_UNITS = 60
"""Up to so many units × boxes the integer problem is solved."""


class NotSolved(Exception):
    """HiGHS ended without an optimum; the text is its own."""


@dataclass(frozen=True, slots=True)
class Gap:
    """The greedy's worth beside the bound, bytes of the peak hour."""

    greedy: Worth
    bound: float
    exact: bool
    """True when the bound is the optimum of the integer problem."""

    @property
    def share(self) -> float:
        """What is missing to the bound, as a part of it; 0 where nothing can be gained."""
        return max(0.0, self.bound - self.greedy.total) / self.bound if self.bound > 0 else 0.0


def gap(problem: Problem, *, exact: bool | None = None) -> Gap:
    """The greedy and the bound on one problem. `exact` None: the integer problem where it is small. Raises NotSolved."""
    whole = problem.missing.size <= MILP_UNITS if exact is None else exact
    placed = solve(problem).placed(problem)
    return Gap(worth(problem, placed), upper_bound(problem, exact=whole), whole)


@dataclass(slots=True)
class _Rows:
    """Constraints in coordinates, collected."""

    row: list[Ints]
    column: list[Ints]
    value: list[Floats]
    upper: list[Floats]
    lower: list[Floats]
    count: int = 0

    def add(self, row: Ints, column: Ints, value: Floats) -> None:
        """Coefficients of the rows that `close` counts next; `row` counts from the first of them."""
        self.row.append(row + self.count)
        self.column.append(column)
        self.value.append(value)

    def close(self, upper: Floats, lower: float = -np.inf) -> None:
        self.upper.append(upper)
        self.lower.append(np.full(len(upper), lower))
        self.count += len(upper)


def upper_bound(problem: Problem, *, exact: bool = False) -> float:
    """The optimum of the relaxation, or with `exact` of the integer problem. Raises NotSolved."""
    rows = np.flatnonzero(problem.wanted)
    if not rows.size or not len(problem.boxes.space):
        return 0.0
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("mip_rel_gap", 1e-9)
    # The interior point method takes seconds where the simplex takes minutes; its crossover ends in a vertex.
    solver.setOptionValue("solver", "ipm")
    solver.passModel(_model(problem, rows, exact))
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise NotSolved(f"HiGHS ended with {solver.modelStatusToString(solver.getModelStatus())}")
    return float(solver.getInfo().objective_function_value) * _scale(problem)


def _scale(problem: Problem) -> float:
    """Bytes per unit of the model: HiGHS' tolerances are absolute."""
    return max(1.0, float(problem.peak.max(initial=0.0)))


@dataclass(frozen=True, slots=True)
class _Columns:
    """Boxes, or boxes that are one to the relaxation, taken together. `share` and `missing` are of one of them: n × J."""

    share: Floats
    missing: Floats
    space: Floats
    egress: Floats
    most: Floats
    """Copies of a unit that they can hold."""
    together: list[Ints]
    """Columns of which one may hold a unit."""


def _columns(problem: Problem, rows: Ints, exact: bool) -> _Columns:
    """Failure domains of equal boxes that hold the same are joined: a solution spread evenly over them is as good as any."""
    boxes, share = problem.boxes, problem.share(rows)
    groups: dict[tuple[object, ...], list[Ints]] = {}
    for domain in range(boxes.domains):
        members = np.flatnonzero(boxes.domain == domain)
        kinds = {(boxes.space[b], boxes.egress[b], problem.missing[:, b].tobytes()) for b in members.tolist()}
        alike = len(kinds) == 1 and not exact
        groups.setdefault((*kinds.pop(), len(members)) if alike else (domain,), []).append(members)
    parts: list[tuple[Ints, int]] = []
    together: list[Ints] = []
    for key, domains in groups.items():
        if len(key) > 1:
            parts.append((np.concatenate(domains), len(domains)))
            continue
        for members in domains:
            together.append(np.arange(len(parts), len(parts) + len(members)))
            parts += [(members[at : at + 1], 1) for at in range(len(members))]
    first = np.array([members[0] for members, _ in parts])
    return _Columns(
        share=share[:, first],
        missing=problem.missing[rows][:, first],
        space=np.array([boxes.space[members].sum() for members, _ in parts]),
        egress=np.array([boxes.egress[members].sum() for members, _ in parts]),
        most=np.array([float(most) for _, most in parts]),
        together=[its for its in together if len(its) > 1],
    )


def _model(problem: Problem, rows: Ints, exact: bool) -> highspy.HighsLp:
    """Columns: x (n × J), y (n × J), u (n), s (n). Amounts are scaled to the largest."""
    boxes = _columns(problem, rows, exact)
    n, width = boxes.share.shape
    scale, disk_scale = _scale(problem), max(1.0, float(problem.disk[rows].max()))
    peak, secured = problem.peak[rows] / scale, problem.secured[rows] / scale
    unit, column = np.repeat(np.arange(n), width), np.tile(np.arange(width), n)
    cell, row = np.arange(n * width), np.arange(n)
    x, y, u, s = cell, n * width + cell, 2 * n * width + row, 2 * n * width + n + row
    ones, each = np.ones(n * width), np.ones(n)
    made = _Rows([], [], [], [], [])

    made.add(cell, y, ones)
    made.add(cell, x, -boxes.share.ravel() / scale)
    made.close(np.zeros(n * width))
    made.add(unit, y, ones)
    made.add(row, u, -peak)
    made.close(np.zeros(n))
    made.add(unit, x, -ones)
    made.add(row, u, each)
    made.add(row, s, each)
    made.close(np.zeros(n))
    made.add(row, s, each)
    made.add(row, u, -each)
    made.close(np.zeros(n))
    for members in boxes.together:
        inside = np.flatnonzero(np.isin(column, members))
        made.add(unit[inside], x[inside], np.ones(len(inside)))
        made.close(each)
    made.add(column, x, np.repeat(problem.disk[rows], width) / disk_scale)
    made.close(boxes.space / disk_scale)
    made.add(column, y, ones)
    made.close(boxes.egress / scale)
    if np.isfinite(problem.fill_bytes):
        made.add(np.zeros(n * width, dtype=np.int64), x, boxes.missing.ravel() / disk_scale)
        made.close(np.array([problem.fill_bytes / disk_scale]))
    must = np.flatnonzero(problem.required[rows])
    if must.size:
        chosen = np.isin(unit, must)
        made.add(np.searchsorted(must, unit[chosen]), x[chosen], np.ones(int(chosen.sum())))
        made.close(np.full(len(must), np.inf), lower=1.0)

    cost = np.concatenate([-problem.churn * boxes.missing.ravel() / scale, ones, np.zeros(n), secured])
    limits = np.concatenate([np.tile(boxes.most, n), np.full(n * width, np.inf), each, each])
    return _lp(made, cost, limits, np.concatenate([x, u, s]) if exact else None)


def _lp(made: _Rows, cost: Floats, limits: Floats, integer: Ints | None) -> highspy.HighsLp:
    row, column, value = np.concatenate(made.row), np.concatenate(made.column), np.concatenate(made.value)
    order = np.argsort(column, kind="stable")
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(cost), made.count
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = cost, np.zeros(len(cost)), limits
    lp.row_lower_, lp.row_upper_ = np.concatenate(made.lower), np.concatenate(made.upper)
    lp.sense_ = highspy.ObjSense.kMaximize
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = np.concatenate([[0], np.cumsum(np.bincount(column, minlength=len(cost)))]).astype(np.int32)
    lp.a_matrix_.index_ = row[order].astype(np.int32)
    lp.a_matrix_.value_ = value[order]
    if integer is not None:
        kinds = [highspy.HighsVarType.kContinuous] * len(cost)
        for at in integer.tolist():
            kinds[at] = highspy.HighsVarType.kInteger
        lp.integrality_ = kinds
    return lp
