"""Partial pooling: what a file's own few days say, drawn towards what its relatives say (file ← title × rendition mix × region).

Theory: linear empirical Bayes as actuaries use it (Bühlmann and Straub, 1970). A file's own mean m over n days is compared with an
expectation e from its relatives; the weight of its own is Z = τ² / (τ² + (φ / e + κ) / n), where φ / e + κ is how much daily views
scatter around a file's mean, relative to it squared (φ as counts do, κ as what all viewers of a file have in common), and τ² how much files
really differ from their expectation. All three are measured on the site's files, so that nothing is set by hand and scaling all views
scales the result. Where files do not differ more than chance explains, the own mean counts nothing.

The steps: at the region's other sites each file is drawn to its title's other files times the usual odds of its kind; at the site,
titles are drawn to the region's view times the site's share of it, then files to their title's. Without a region the first step is made
on the site itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fill_planner.popularity import DailyPopularity, Floats, Groups, Views

WINDOW_DAYS = 7
MOST_RATIO = 10.0
"""Where a file has so much more than is expected of it, more of the same says no more about how files differ."""
FADING = 0.75
"""What a day counts against the day after it."""


@dataclass(frozen=True, slots=True)
class Own:
    """What files' own days say: their mean views a day, how many days that is worth, and how days scatter (φ, κ)."""

    mean: Floats
    days: Floats
    scatter: float
    common: float = 0.0


@dataclass(frozen=True, slots=True)
class Pooled:
    """A file's last week and what its title, its rendition and its region make of it, each by how far it can be relied on."""

    name: str = "pooled"
    words: str = (
        "its last week and what its title, rendition and region make of it, each by how far it can be relied on"
    )
    min_days: int = 3

    def ahead(self, past: DailyPopularity, first: int) -> Views:
        found = np.zeros((past.views.shape[0], past.days - first + 1), dtype=past.views.dtype, order="F")
        for day in range(first, past.days + 1):
            here = own(past, past.views, day)
            expected = self._expected(past, here, day)
            level = credible(here, expected)
            found[:, day - first] = np.where(past.start < day, level, 0)
        return found

    def _expected(self, past: DailyPopularity, here: Own, day: int) -> Floats:
        """From the relatives; NaN where there are none."""
        if past.groups is None:
            return np.full(len(here.mean), np.nan)
        if past.around is None:
            return of_title(here, past.groups)
        there = own(past, past.around, day)
        region = credible(there, of_title(there, past.groups))
        both = (here.days > 0) & (region > 0)
        total = float(region[both].sum())
        if total <= 0:
            return of_title(here, past.groups)
        expected = region * (float(here.mean[both].sum()) / total)
        return expected * _of_titles(here, expected, past.groups)


def own(past: DailyPopularity, views: Views, day: int) -> Own:
    """The week before `day`, later days counting more; days before a file was out, and unknown ones, count nothing."""
    days = [d for d in range(max(0, day - WINDOW_DAYS), day) if past.is_known(d)]
    weight = np.array([FADING ** (day - 1 - d) for d in days])
    files = views.shape[0]
    sums, squares, weights, square_weights = (np.zeros(files) for _ in range(4))
    for d, counts in zip(days, weight.tolist(), strict=True):
        out = np.where(past.start <= d, counts, 0.0)
        seen = views[:, d].astype(np.float64)
        sums += out * seen
        squares += out * seen * seen
        weights += out
        square_weights += out * out
    mean = np.divide(sums, weights, out=np.zeros(files), where=weights > 0)
    effective = np.divide(weights * weights, square_weights, out=np.zeros(files), where=weights > 0)
    spread = np.divide(squares, weights, out=np.zeros(files), where=weights > 0) - mean * mean
    scatter, common = _scatter(mean, np.maximum(0.0, spread), effective)
    return Own(mean, effective, scatter, common)


def _scatter(mean: Floats, spread: Floats, days: Floats) -> tuple[float, float]:
    """(φ, κ) by medians: κ from the larger half of the files, whose counts are sure, φ from what κ leaves of the smaller half."""
    told = (days > 1.5) & (mean > 0)
    if not told.any():
        return 0.0, 0.0
    level = mean[told]
    variance = spread[told] * days[told] / (days[told] - 1.0)
    large = level >= np.median(level)
    # Divided first: the square of the mean of next to no views would be 0.
    common = float(np.median((np.sqrt(variance[large]) / level[large]) ** 2))
    small = ~large if (~large).any() else large
    left = np.maximum(0.0, variance[small] - common * level[small] ** 2)
    scatter = float(left.sum() / level[small].sum())
    return scatter, common


def of_title(seen: Own, groups: Groups) -> Floats:
    """What each file is expected to have by the other files of its title and the usual odds of its rendition against the rest.

    NaN where the title has no other file with views, or no title shows the odds.
    """
    present = seen.days > 0
    mean = np.where(present, seen.mean, 0.0)
    others = np.bincount(groups.title, mean)[groups.title] - mean
    others = np.where(others > 1e-9 * mean, others, 0.0)
    told = present & (others > 0)
    kinds = int(groups.mix.max(initial=0)) + 1
    above = np.bincount(groups.mix[told], mean[told], kinds)
    below = np.bincount(groups.mix[told], others[told], kinds)
    odds = np.divide(above, below, out=np.full(kinds, np.nan), where=below > 0)
    return np.where(others > 0, others * odds[groups.mix], np.nan)


def credible(seen: Own, expected: Floats) -> Floats:
    """The own mean drawn to what is expected; without own days the expectation, without expectation the own mean, else 0."""
    told = (seen.days > 0) & (expected > 0)
    bounded = np.minimum(seen.mean, MOST_RATIO * np.where(told, expected, 0.0))
    ratio = np.divide(bounded, expected, out=np.ones(len(expected)), where=told)
    chance = np.full(len(expected), np.inf)
    np.divide(seen.scatter, expected, out=chance, where=told & (expected > MOST_RATIO**-3 * seen.scatter))
    chance = np.divide(chance + seen.common, seen.days, out=chance, where=told)
    sure = np.where(told, 1.0 / (1.0 + chance), 0.0)
    total = float(sure.sum())
    differ = 0.0
    if total > 0:
        known = sure > 0
        excess = (ratio[known] - 1.0) ** 2 - chance[known] * ratio[known]
        differ = max(0.0, float((sure[known] * excess).sum()) / total)
    weight = np.where(chance > 0, differ / (differ + np.where(chance > 0, chance, 1.0)), 1.0)
    drawn = expected + weight * (seen.mean - expected)
    alone = np.where(seen.days > 0, seen.mean, np.where(np.isfinite(expected), expected, 0.0))
    return np.where(told, np.maximum(0.0, drawn), alone)


def _of_titles(here: Own, expected: Floats, groups: Groups) -> Floats:
    """Per file, how much more (or less) its title is watched at this site than the region makes of it."""
    present = (here.days > 0) & (expected > 0)
    count = int(groups.title.max(initial=0)) + 1
    mean = np.bincount(groups.title[present], here.mean[present], count).astype(np.float64)
    usual = np.bincount(groups.title[present], expected[present], count).astype(np.float64)
    files = np.bincount(groups.title[present], minlength=count)
    days = np.bincount(groups.title[present], here.days[present], count) / np.maximum(1, files)
    drawn = credible(Own(mean, days, here.scatter, here.common), usual)
    return np.divide(drawn, usual, out=np.ones(count), where=usual > 0)[groups.title]
