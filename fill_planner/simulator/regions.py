"""Many sites by expected values: classes of files instead of files, days instead of requests. Pure.

For what is too large for single requests: 1,000 sites and a million files over a month. Files are gathered into *classes* of one group of taste, one rendition, one step of popularity
and one day of release (`RegionDemand`). Each site has an audience of its own size and a taste by group. All sites are planned from the region's reports: the
planner's own forecast over the views of past days, and the site's share of each group as it was reported. A release has no history before its first day; its prior is the mean
first day of earlier releases in the same rendition, so that a plan holds all releases of a day or none: which of them will be a success it cannot know.
What is worth most per byte is pinned (`fluid.pinned`), the rest of the disk is an LRU cache (`fluid.cached`).

Left out, beside what `fluid` leaves out: noise of reports (a region has thousands of views of each file that matters), limits of filling, second copies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fill_planner.simulator import fluid
from fill_planner.simulator.catalogue import RELEASE_HOUR, cohorts_of, law
from fill_planner.simulator.figures import Figures
from fill_planner.simulator.planning import next_day
from fill_planner.simulator.run import Bounds, Outcome, SeedRun, silent, sites_of
from fill_planner.simulator.scenario import DAY_HOURS, Demand, Scenario, SiteSpec, Strategy
from fill_planner.simulator.shape import WEEK, Floats, Ints, daily_curve, decay, first_week_fraction, week_factor

GROUPS = 3
"""Groups of taste."""
BACK_STEPS = 32
RELEASE_STEPS = 5
BEST = "best"


@dataclass(frozen=True, slots=True)
class RegionDemand:
    """The truth of a region, at a site of weight 1 and mean taste: `views` of one file by class and day, `count` files of `size` bytes in each class."""

    views: Floats
    count: Floats
    size: Floats
    group: Ints
    rendition: Ints
    first_day: Ints
    """The day of release, −1 for what was always there."""

    @property
    def class_bytes(self) -> Floats:
        return np.asarray(self.count * self.size, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class _Steps:
    """Classes of titles before renditions: titles in each, share of all views per title and day."""

    count: Floats
    worth: Floats
    release: Floats
    """Hour of release; NaN for the back catalogue."""


def region_demand(demand: Demand, days: int) -> RegionDemand:
    """The scenario's demand in classes: no chance in it."""
    steps = _steps(demand, days)
    part = min(0.95, demand.new_week_share / first_week_fraction(demand.half_life_days))
    is_back = np.isnan(steps.release)
    views = np.empty((len(steps.count), days))
    for day in range(days):
        shares = steps.worth * np.where(is_back, 1.0 - part, part * WEEK * _faded(steps.release, day, demand))
        shares = np.where(np.isnan(shares), 0.0, shares)
        total = float((shares * steps.count).sum())
        views[:, day] = shares / total * demand.views_per_day * week_factor(day, demand.weekend)
    share = np.array([one.views_share for one in demand.renditions])
    share = share / share.sum()
    spread = np.exp(demand.size_spread**2 / 2)
    size = np.array([one.mbps * 1e6 / 8 for one in demand.renditions]) * 60.0 * demand.runtime_minutes * spread
    many = len(share)
    first = np.where(is_back, -1, np.floor(np.nan_to_num(steps.release) / DAY_HOURS)).astype(np.int64)
    titles = len(steps.count)
    by_group = np.tile(np.repeat(np.arange(GROUPS), many), titles)
    return RegionDemand(
        views=np.kron(views / demand.episodes, np.tile(share, GROUPS)[:, None]),
        count=np.repeat(steps.count / GROUPS, GROUPS * many) * demand.episodes,
        size=np.tile(size, titles * GROUPS),
        group=by_group,
        rendition=np.tile(np.arange(many), titles * GROUPS),
        first_day=np.repeat(first, GROUPS * many),
    )


def _faded(release: Floats, day: int, demand: Demand) -> Floats:
    """Mean over the day's views of what is left of each release."""
    curve = daily_curve(demand.hours)
    faded = np.zeros_like(release)
    for hour in range(DAY_HOURS):
        age = (day * DAY_HOURS + hour + 0.5 - release) / DAY_HOURS
        faded += curve[hour] * decay(np.where(np.isnan(age), -1.0, age), demand.half_life_days)
    return faded


def _steps(demand: Demand, days: int) -> _Steps:
    cohorts = cohorts_of(demand, days)
    each = max(1, round(demand.releases_share * demand.titles))
    back = demand.titles - each * len(cohorts)
    if back <= 0:
        raise ValueError(
            f"demand.titles: {demand.titles} titles leave no back catalogue beside {each * len(cohorts)} releases; "
            "give more titles or a smaller releases_share"
        )
    counts, worths = _binned(law(demand, back), BACK_STEPS)
    count, worth = [counts], [worths]
    release = [np.full(len(counts), np.nan)]
    # As single catalogues have it: every cohort is a sample of the law over all releases.
    sample, weights = _binned(law(demand, each * len(cohorts)), RELEASE_STEPS)
    sample = sample / len(cohorts)
    weights = weights / float((sample * weights).sum())
    for week in cohorts:
        for weekday in range(WEEK):
            count.append(sample / WEEK)
            worth.append(weights)
            release.append(np.full(len(sample), (week * WEEK + weekday) * float(DAY_HOURS) + RELEASE_HOUR))
    return _Steps(np.concatenate(count), np.concatenate(worth), np.concatenate(release))


def _binned(weights: Floats, steps: int) -> tuple[Floats, Floats]:
    """(titles, mean weight) by steps of rank, even in its logarithm."""
    edges = np.unique(np.round(np.geomspace(1, len(weights) + 1, steps + 1)).astype(np.int64)) - 1
    counts = np.diff(edges).astype(np.float64)
    return counts, np.add.reduceat(weights, edges[:-1]) / counts


def simulate(scenario: Scenario, on_progress: Callable[[str], None] = silent) -> Outcome:
    """Every seed: sites of other sizes and tastes. Raises ValueError where classes and strategies do not fit together."""
    unknown = [one.value for one in scenario.strategies if one not in (Strategy.PLAN, Strategy.LRU, Strategy.PLAN_LRU)]
    if unknown:
        raise ValueError(f"strategies: fluid knows plan, lru and plan+lru, not {', '.join(unknown)}")
    truth = region_demand(scenario.demand, scenario.total_days)
    forecasts = region_forecasts(truth, scenario)
    return Outcome(scenario, tuple(_seed(scenario, seed, truth, forecasts, on_progress) for seed in scenario.seeds))


def region_forecasts(truth: RegionDemand, scenario: Scenario) -> Floats:
    """What the planner expects of one file by class and day, from the days before only; the first day expects nothing."""
    expected = np.zeros_like(truth.views)
    for day in range(1, truth.views.shape[1]):
        seen = truth.views[:, max(0, day - scenario.planner.history_days) : day]
        start = np.clip(truth.first_day - (day - seen.shape[1]), 0, seen.shape[1])
        expected[:, day] = next_day(seen, start, truth.class_bytes, scenario.planner)
        coming = truth.first_day == day
        expected[coming, day] = _prior(truth, day)[truth.rendition[coming]]
    return expected


def _prior(truth: RegionDemand, day: int) -> Floats:
    """Mean views of earlier releases on their first day, by rendition."""
    known = (truth.first_day >= 0) & (truth.first_day < day)
    many = int(truth.rendition.max()) + 1
    rows = np.flatnonzero(known)
    views = truth.views[rows, truth.first_day[rows]] * truth.count[rows]
    sums = np.bincount(truth.rendition[rows], weights=views, minlength=many)
    files = np.bincount(truth.rendition[rows], weights=truth.count[rows], minlength=many)
    return np.asarray(sums / np.maximum(files, 1e-12), dtype=np.float64)


def _seed(
    scenario: Scenario, seed: int, truth: RegionDemand, forecasts: Floats, on_progress: Callable[[str], None]
) -> SeedRun:
    rng = np.random.default_rng([seed, 7])
    courses: dict[str, list[_SiteDays]] = {name: [] for name in (*(one.value for one in scenario.strategies), BEST)}
    disks = 0.0
    sites = list(sites_of(scenario))
    for number, site in enumerate(sites):
        on_progress(f"seed {seed}, site {number + 1} of {len(sites)}")
        taste = np.exp(rng.normal(0.0, scenario.demand.taste, GROUPS))
        audience = site.weight * float(np.exp(rng.normal(0.0, site.weight_spread) - site.weight_spread**2 / 2))
        disk = site.disk_bytes(float(truth.class_bytes.sum()))
        disks += disk
        for strategy in scenario.strategies:
            courses[strategy.value].append(site_days(truth, forecasts, site, strategy, disk, taste, audience))
        courses[BEST].append(site_days(truth, truth.views, site, Strategy.PLAN, disk, taste, audience))
    after = scenario.warm_up_days
    curve = daily_curve(scenario.demand.hours)
    best = _figures(courses.pop(BEST), after, curve)
    return SeedRun(
        seed=seed,
        figures={one: _figures(courses[one.value], after, curve) for one in scenario.strategies},
        bounds=Bounds(None, None, best.inside_share) if scenario.with_optimum else None,
        catalogue_bytes=float(truth.class_bytes.sum()),
        disk_bytes=disks,
        inside_by_day={one: _inside_by_day(courses[one.value]) for one in scenario.strategies},
        upstream_by_hour={one: _upstream(courses[one.value], after, curve) for one in scenario.strategies},
    )


@dataclass(frozen=True, slots=True)
class _SiteDays:
    """One strategy at one site, by day, in bytes."""

    asked: Floats
    inside: Floats
    filled: Floats
    replaced: Floats
    site: SiteSpec


def site_days(
    truth: RegionDemand,
    expected: Floats,
    site: SiteSpec,
    strategy: Strategy,
    disk: float,
    taste: Floats,
    audience: float,
) -> _SiteDays:
    """One strategy at one site. `expected` (classes × days) is what plans go by."""
    days = truth.views.shape[1]
    liked = taste[truth.group]
    scale = audience * _normal(truth, liked)
    past = fluid.Past(truth.views * liked[:, None] * scale[None, :], truth.count)
    space = {Strategy.PLAN: disk, Strategy.PLAN_LRU: disk * (1.0 - site.cache_share), Strategy.LRU: 0.0}[strategy]
    class_bytes = truth.class_bytes
    pins, there, span = np.zeros(len(class_bytes)), np.zeros(len(class_bytes)), 0.0
    asked, inside, filled, replaced = np.zeros(days), np.zeros(days), np.zeros(days), np.zeros(days)
    for day in range(days):
        if space:
            wanted = fluid.pinned(expected[:, day] * liked, class_bytes, space)
            fresh = np.maximum(0.0, wanted - pins) * (1.0 - there)
            filled[day] = float((fresh * class_bytes).sum())
            replaced[day] = float((np.maximum(0.0, pins - wanted) * truth.count).sum())
            pins = wanted
        if strategy is not Strategy.PLAN:
            rest = class_bytes * (1.0 - pins)
            found = fluid.cached(past, day, rest, disk - float(class_bytes @ pins), span)
            there, span = found.there, found.span
            replaced[day] += float((past.views(day) * truth.count * (1.0 - pins) * (1.0 - there)).sum())
        held = pins + (1.0 - pins) * there
        asked[day] = float((past.views(day) * class_bytes).sum())
        inside[day] = float((past.views(day) * class_bytes * held).sum())
    return _SiteDays(asked, inside, filled, replaced, site)


def _normal(truth: RegionDemand, liked: Floats) -> Floats:
    """What keeps a site's views at its audience whatever its taste, by day."""
    plain = (truth.views * truth.count[:, None]).sum(axis=0)
    return np.asarray(plain / (truth.views * (truth.count * liked)[:, None]).sum(axis=0), dtype=np.float64)


def _hourly(found: _SiteDays, day: int, curve: Floats) -> Floats:
    """Bytes across the border in each hour of a day."""
    hours = (np.arange(DAY_HOURS) - found.site.window_opens_hour) % DAY_HOURS
    open_ = hours < found.site.window_hours
    return np.asarray((found.asked[day] - found.inside[day]) * curve + open_ * found.filled[day] / open_.sum())


def _figures(found: list[_SiteDays], after: int, curve: Floats) -> Figures:
    asked = sum(float(one.asked[after:].sum()) for one in found)
    inside = sum(float(one.inside[after:].sum()) for one in found)
    filled = sum(float(one.filled[after:].sum()) for one in found)
    peaks = [max(float(_hourly(one, day, curve).max()) for day in range(after, len(one.asked))) for one in found]
    return Figures(
        demand_bytes=asked,
        inside_share=inside / (asked or 1.0),
        content_share=1.0 - inside / (asked or 1.0),
        health_share=0.0,
        other_share=0.0,
        filled_bytes=filled,
        copied_bytes=0.0,
        fetched_bytes=asked - inside + filled,
        replaced=sum(float(one.replaced[after:].sum()) for one in found),
        peak_upstream_bps=sum(peaks) * 8 / 3600,
    )


def _inside_by_day(found: list[_SiteDays]) -> tuple[float, ...]:
    asked: Floats = np.sum([one.asked for one in found], axis=0)
    inside: Floats = np.sum([one.inside for one in found], axis=0)
    return tuple((inside / np.maximum(asked, 1e-9)).tolist())


def _upstream(found: list[_SiteDays], after: int, curve: Floats) -> tuple[float, ...]:
    days = [_hourly(one, day, curve) for one in found for day in range(after, len(one.asked))]
    mean: Floats = np.sum(days, axis=0) / max(1, len(days)) * len(found)
    return tuple((mean * 8 / 3600).tolist())
