"""A scenario from beginning to end, request by request: every seed, every site, every strategy. Pure: seeds in, figures out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fill_planner.simulator.catalogue import Announced, Catalogue, make_catalogue
from fill_planner.simulator.demand import Requests, drawn, site_demand
from fill_planner.simulator.figures import Figures, figures_of
from fill_planner.simulator.optimum import best_days, cache_bound
from fill_planner.simulator.planning import NightlyPlanner, Planner
from fill_planner.simulator.replay import RULES, Course, SiteWorld, replay, site_world
from fill_planner.simulator.scenario import DAY_HOURS, Scenario, SiteSpec, Strategy
from fill_planner.simulator.shape import Floats
from fill_planner.simulator.weekly import WeeklyTop

_CATALOGUE, _TASTE, _REQUESTS = range(3)
Progress = Callable[[str], None]


def silent(words: str) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a perfect foresight could serve inside, as shares of the bytes asked for."""

    cache: float | None
    """No cache beats it. None where it was not worked out, as for `cache_and_fills`."""
    cache_and_fills: float | None
    """Nothing that fills as many bytes as the plan with a cache beats it."""
    best_days: float
    """A plan that knows each day's demand the evening before, without a cache."""


@dataclass(frozen=True, slots=True)
class SeedRun:
    seed: int
    figures: dict[Strategy, Figures]
    bounds: Bounds | None
    catalogue_bytes: float
    disk_bytes: float
    inside_by_day: dict[Strategy, tuple[float, ...]]
    """Shares, warm-up included."""
    upstream_by_hour: dict[Strategy, tuple[float, ...]]
    """Mean bit/s of all sites together by hour of the day, warm-up left out."""


@dataclass(frozen=True, slots=True)
class Outcome:
    scenario: Scenario
    runs: tuple[SeedRun, ...]


@dataclass(frozen=True, slots=True)
class Given:
    """Recorded demand of one site: what was asked for in each hour, and what is known of the files."""

    announced: Announced
    requests: tuple[Requests, ...]


def simulate(scenario: Scenario, given: Given | None = None, on_progress: Progress = silent) -> Outcome:
    """All runs, one after the other. With `given` demand there is one run, of its hours.

    Raises ValueError where the catalogue and the scenario do not fit together.
    """
    if given is not None:
        hours = len(given.requests)
        scenario = replace(scenario, days=max(1, -(-hours // DAY_HOURS) - scenario.warm_up_days))
        return Outcome(scenario, (_seed_run(scenario, 0, given, on_progress),))
    return Outcome(scenario, tuple(_seed_run(scenario, seed, None, on_progress) for seed in scenario.seeds))


@dataclass(frozen=True, slots=True)
class _SiteRun:
    """All strategies at one site; bounds in bytes of the counted hours, 0 where they were not asked for."""

    courses: dict[Strategy, Course]
    catalogue_bytes: float
    disk_bytes: int
    asked: float = 0.0
    cache: float = 0.0
    best_days: float = 0.0


def _seed_run(scenario: Scenario, seed: int, given: Given | None, on_progress: Progress) -> SeedRun:
    counted_from = scenario.warm_up_days * DAY_HOURS
    sites = list(_site_runs(scenario, seed, given, counted_from, on_progress))
    courses = {one: [site.courses[one] for site in sites] for one in scenario.strategies}
    figures = {one: figures_of(its, counted_from) for one, its in courses.items()}
    return SeedRun(
        seed=seed,
        figures=figures,
        bounds=_bounds(sites, figures) if scenario.with_optimum else None,
        catalogue_bytes=sites[0].catalogue_bytes,
        disk_bytes=float(sum(site.disk_bytes for site in sites)),
        inside_by_day={one: _by_day(its) for one, its in courses.items()},
        upstream_by_hour={one: _by_hour(its, counted_from) for one, its in courses.items()},
    )


def _site_runs(
    scenario: Scenario, seed: int, given: Given | None, counted_from: int, on_progress: Progress
) -> Iterator[_SiteRun]:
    announced, catalogue = _announced(scenario, seed, given)
    for number, site in enumerate(sites_of(scenario)):
        requests = given.requests if given is not None else _drawn(scenario, catalogue, site, seed, number)
        if len(requests) <= counted_from:
            raise ValueError(
                f"warm_up_days: the recording has {len(requests)} hours, and none is left after {counted_from}"
            )
        say = _prefixed(on_progress, f"seed {seed}, {site.name}")
        yield _site_run(scenario, site, announced, requests, say)


def _site_run(
    scenario: Scenario, site: SiteSpec, announced: Announced, requests: Sequence[Requests], say: Progress
) -> _SiteRun:
    """Every strategy over the same requests."""
    counted_from = scenario.warm_up_days * DAY_HOURS
    sizes = announced.size_bytes
    disk = site.disk_bytes(float(sizes.sum()))
    world = site_world(sizes, site, disk, len(requests), scenario.outages, counted_from)
    nightly = NightlyPlanner(announced, site, disk, scenario.planner)
    courses = {}
    for strategy in scenario.strategies:
        say(strategy.value)
        rules = RULES[strategy]
        planner = _weekly(scenario, world) if rules.weekly else nightly
        courses[strategy] = replay(world, rules, requests, planner, scenario.admission)
    if not scenario.with_optimum:
        return _SiteRun(courses, float(sizes.sum()), disk)
    say("optimum")
    return _SiteRun(
        courses,
        float(sizes.sum()),
        disk,
        asked=sum(float(sizes[hour].sum()) for hour in requests[counted_from:]),
        cache=cache_bound(requests, sizes, disk, counted_from),
        best_days=best_days(requests, sizes, disk, counted_from, site.window_opens_hour),
    )


def _bounds(sites: Sequence[_SiteRun], figures: Mapping[Strategy, Figures]) -> Bounds:
    asked = sum(site.asked for site in sites) or 1.0
    cache = sum(site.cache for site in sites)
    filled = max((one.filled_bytes for one in figures.values()), default=0.0)
    best = sum(site.best_days for site in sites)
    return Bounds(cache / asked, min(1.0, (cache + filled) / asked), best / asked)


def _announced(scenario: Scenario, seed: int, given: Given | None) -> tuple[Announced, Catalogue | None]:
    if given is not None:
        return given.announced, None
    catalogue = make_catalogue(scenario.demand, scenario.total_days, _rng(seed, _CATALOGUE))
    return catalogue.announced, catalogue


def _prefixed(on_progress: Progress, before: str) -> Progress:
    return lambda words: on_progress(f"{before}: {words}")


def sites_of(scenario: Scenario) -> Iterator[SiteSpec]:
    """Every site by itself; those of one `SiteSpec` are alike."""
    for site in scenario.sites:
        for _ in range(site.count):
            yield site


def _weekly(scenario: Scenario, world: SiteWorld) -> Planner:
    space = world.box_bytes * (1.0 - world.site.cache_share)
    return WeeklyTop(scenario.weekly_top, world.sizes, world.homes, space)


def _drawn(scenario: Scenario, catalogue: Catalogue | None, site: SiteSpec, seed: int, number: int) -> list[Requests]:
    assert catalogue is not None
    taste = _rng(seed, _TASTE, number)
    truth = site_demand(catalogue, scenario.demand, scenario.total_days, site.weight, taste)
    return list(drawn(truth, scenario.total_days * DAY_HOURS, _rng(seed, _REQUESTS, number)))


def _rng(*parts: int) -> np.random.Generator:
    return np.random.default_rng(list(parts))


def _by_day(courses: Sequence[Course]) -> tuple[float, ...]:
    inside: Floats = np.sum([course.inside for course in courses], axis=0)
    outside: Floats = np.sum([course.outside.sum(axis=1) for course in courses], axis=0)
    days = -(-len(inside) // DAY_HOURS)
    shares = []
    for day in range(days):
        hours = slice(day * DAY_HOURS, (day + 1) * DAY_HOURS)
        asked = float(inside[hours].sum() + outside[hours].sum())
        shares.append(float(inside[hours].sum()) / asked if asked else 0.0)
    return tuple(shares)


def _by_hour(courses: Sequence[Course], counted_from: int) -> tuple[float, ...]:
    upstream: Floats = np.sum([course.upstream for course in courses], axis=0)[counted_from:]
    at = (np.arange(len(upstream)) + counted_from) % DAY_HOURS
    sums = np.bincount(at, weights=upstream, minlength=DAY_HOURS)
    counts = np.maximum(1, np.bincount(at, minlength=DAY_HOURS))
    return tuple((sums / counts * 8 / 3600).tolist())
