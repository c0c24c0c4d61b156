"""Boosted regression trees for an error that is absolute but for the smallest, in numpy.

Friedman's gradient boosting with Huber's loss (Annals of Statistics 29, 2001, algorithm "M_TreeBoost") over histograms: each round grows
one tree of fixed depth on the clipped residuals, and gives each leaf the weighted median of what is left in it and the mean of the
clipped rest, shrunk by `rate` and by how little weight the leaf has. Features are cut once into bins by quantiles; bin 0 holds the
unknown (NaN).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fill_planner.popularity import Floats, Ints

Bins = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Boosting:
    """How trees are grown. Shares are of rows and features looked at per tree; `leaf_pull` is in mean row weights.

    `reach` is how far, in medians of what is left, a row pulls by its distance; beyond it pulls by its side only.
    """

    rounds: int = 250
    depth: int = 5
    rate: float = 0.06
    bins: int = 24
    row_share: float = 0.7
    feature_share: float = 0.4
    leaf_pull: float = 4.0
    least_rows: int = 12
    reach: float = 0.5


@dataclass(frozen=True, slots=True)
class _Tree:
    """A full binary tree in level order: node n has the children 2n+1 and 2n+2; bins up to `cut` go left."""

    feature: Ints
    cut: Ints
    leaves: Floats


@dataclass(frozen=True, slots=True)
class Forest:
    """Fitted trees."""

    edges: tuple[Floats, ...]
    start: float
    trees: tuple[_Tree, ...]
    depth: int

    def predict(self, features: Floats) -> Floats:
        """One value per row."""
        binned = _binned(features, self.edges)
        total = np.full(features.shape[0], self.start)
        for tree in self.trees:
            total += tree.leaves[_leaf_of(tree, binned, self.depth)]
        return total


def fit(features: Floats, target: Floats, weight: Floats, settings: Boosting, rng: np.random.Generator) -> Forest:
    """Trees that make the weighted error of the prediction small. Weights are positive; at least one row is needed."""
    edges = _edges(features, settings.bins)
    binned = _binned(features, edges)
    weight = weight / weight.mean()
    start = weighted_median(target, weight)
    left = target - start
    trees = []
    for _ in range(settings.rounds):
        rows = np.flatnonzero(rng.random(len(target)) < settings.row_share)
        columns = np.flatnonzero(rng.random(features.shape[1]) < settings.feature_share)
        if len(rows) < 2 * settings.least_rows or len(columns) == 0:
            continue
        tree = _grow(binned, left, weight, rows, columns, settings)
        left = left - tree.leaves[_leaf_of(tree, binned, settings.depth)]
        trees.append(tree)
    return Forest(edges, start, tuple(trees), settings.depth)


def weighted_median(values: Floats, weight: Floats) -> float:
    """The least value at which half of the weight is reached; 0 of nothing."""
    if len(values) == 0:
        return 0.0
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weight[order])
    return float(values[order[np.searchsorted(reached, reached[-1] / 2)]])


def _edges(features: Floats, bins: int) -> tuple[Floats, ...]:
    """Per feature the upper bounds of its bins, from quantiles of what is known."""
    found = []
    for column in features.T:
        known = column[np.isfinite(column)]
        steps = np.linspace(0, 1, bins + 1)[1:-1]
        found.append(np.unique(np.quantile(known, steps)) if len(known) else np.zeros(0))
    return tuple(found)


def _binned(features: Floats, edges: tuple[Floats, ...]) -> Bins:
    """Features × rows."""
    binned = np.zeros(features.T.shape, dtype=np.uint8)
    for row, (column, bounds) in enumerate(zip(features.T, edges, strict=True)):
        binned[row] = np.where(np.isfinite(column), 1 + np.searchsorted(bounds, column, side="left"), 0)
    return binned


def _grow(binned: Bins, left: Floats, weight: Floats, rows: Ints, columns: Ints, settings: Boosting) -> _Tree:
    inner = 2**settings.depth - 1
    feature = np.zeros(inner, dtype=np.int64)
    cut = np.full(inner, 255, dtype=np.int64)
    seen = binned[np.ix_(columns, rows)].astype(np.int64)
    reach = settings.reach * weighted_median(np.abs(left[rows]), weight[rows])
    push = np.clip(left[rows] / max(reach, 1e-12), -1.0, 1.0) * weight[rows]
    mass = weight[rows]
    node = np.zeros(len(rows), dtype=np.int64)
    width = settings.bins + 2
    for level in range(settings.depth):
        nodes = 2**level
        cells = ((node * len(columns))[None, :] + np.arange(len(columns))[:, None]) * width + seen
        flat, size = cells.ravel(), nodes * len(columns) * width
        shape = (nodes, len(columns), width)
        pushes = np.bincount(flat, np.broadcast_to(push, cells.shape).ravel(), size).reshape(shape).cumsum(axis=2)
        masses = np.bincount(flat, np.broadcast_to(mass, cells.shape).ravel(), size).reshape(shape).cumsum(axis=2)
        counts = np.bincount(flat, minlength=size).reshape(shape).cumsum(axis=2)
        gain = _gain(pushes, masses, counts, settings)
        best = gain.reshape(nodes, -1).argmax(axis=1)
        useful = gain.reshape(nodes, -1)[np.arange(nodes), best] > 0
        where = np.arange(nodes) + nodes - 1
        feature[where] = np.where(useful, columns[best // width], 0)
        cut[where] = np.where(useful, best % width, 255)
        chosen = np.where(useful, best // width, 0)
        goes_right = seen[chosen[node], np.arange(len(rows))] > cut[where][node]
        node = 2 * node + goes_right
    return _Tree(feature, cut, _leaves(node, left[rows], mass, settings, reach))


def _gain(pushes: Floats, masses: Floats, counts: Ints, settings: Boosting) -> Floats:
    """What a split after each bin gains in the sum of squared pushes per mass; 0 where a side is too small."""
    pull = settings.leaf_pull
    push, mass, count = pushes[..., -1:], masses[..., -1:], counts[..., -1:]
    split = pushes**2 / (masses + pull) + (push - pushes) ** 2 / (mass - masses + pull) - push**2 / (mass + pull)
    allowed = (counts >= settings.least_rows) & (count - counts >= settings.least_rows)
    return np.where(allowed, split, 0.0)


def _leaves(node: Ints, left: Floats, mass: Floats, settings: Boosting, reach: float) -> Floats:
    """Per leaf the weighted median of what is left and the mean of the clipped rest, shrunk."""
    leaves = np.zeros(2**settings.depth)
    order = np.argsort(left, kind="stable")
    of = node[order]
    for leaf in range(len(leaves)):
        inside = order[of == leaf]
        if len(inside):
            reached = np.cumsum(mass[inside])
            median = left[inside[np.searchsorted(reached, reached[-1] / 2)]]
            beyond = float((np.clip(left[inside] - median, -reach, reach) * mass[inside]).sum()) / reached[-1]
            leaves[leaf] = settings.rate * (median + beyond) * reached[-1] / (reached[-1] + settings.leaf_pull)
    return leaves


def _leaf_of(tree: _Tree, binned: Bins, depth: int) -> Ints:
    rows = np.arange(binned.shape[1])
    node = np.zeros(binned.shape[1], dtype=np.int64)
    for _ in range(depth):
        goes_right = binned[tree.feature[node], rows] > tree.cut[node]
        node = 2 * node + 1 + goes_right
    return np.asarray(node - (2**depth - 1), dtype=np.int64)
