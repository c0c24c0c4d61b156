"""A scenario from beginning to end, request by request: every seed, every site, every strategy. Pure: seeds in, figures out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

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
        return Outcome(scenario, (_seed_run(scenario, 0, given, on_progress),))
    return Outcome(scenario, tuple(_seed_run(scenario, seed, None, on_progress) for seed in scenario.seeds))


def _seed_run(scenario: Scenario, seed: int, given: Given | None, on_progress: Progress) -> SeedRun:
    counted_from = scenario.warm_up_days * DAY_HOURS
    hours = scenario.total_days * DAY_HOURS if given is None else len(given.requests)
    catalogue = None
    if given is None:
        catalogue = make_catalogue(scenario.demand, scenario.total_days, _rng(seed, _CATALOGUE))
        announced = catalogue.announced
    else:
        announced = given.announced
    total_bytes = float(announced.size_bytes.sum())
    courses: dict[Strategy, list[Course]] = {strategy: [] for strategy in scenario.strategies}
    requested, best, bound, disks = 0.0, 0.0, 0.0, 0.0
    for number, site in enumerate(sites_of(scenario)):
        disk = site.disk_bytes(total_bytes)
        disks += disk
        requests = list(given.requests) if given is not None else _drawn(scenario, catalogue, site, seed, number, hours)
        world = site_world(announced.size_bytes, site, disk, hours, scenario.outages, counted_from)
        nightly = NightlyPlanner(announced, site, disk, scenario.planner)
        for strategy in scenario.strategies:
            on_progress(f"seed {seed}, {site.name}: {strategy.value}")
            rules = RULES[strategy]
            planner = _weekly(scenario, world) if rules.weekly else nightly
            courses[strategy].append(replay(world, rules, requests, planner, scenario.admission))
        if scenario.with_optimum:
            on_progress(f"seed {seed}, {site.name}: optimum")
            requested += sum(float(announced.size_bytes[hour].sum()) for hour in requests[counted_from:])
            bound += cache_bound(requests, announced.size_bytes, disk, counted_from)
            best += best_days(requests, announced.size_bytes, disk, counted_from, site.window_opens_hour)
    figures = {strategy: figures_of(its, counted_from) for strategy, its in courses.items()}
    bounds = None
    if scenario.with_optimum:
        filled = max((one.filled_bytes for one in figures.values()), default=0.0)
        per = requested or 1.0
        bounds = Bounds(bound / per, min(1.0, (bound + filled) / per), best / per)
    return SeedRun(
        seed=seed,
        figures=figures,
        bounds=bounds,
        catalogue_bytes=total_bytes,
        disk_bytes=disks,
        inside_by_day={strategy: _by_day(its) for strategy, its in courses.items()},
        upstream_by_hour={strategy: _by_hour(its, counted_from) for strategy, its in courses.items()},
    )


def sites_of(scenario: Scenario) -> Iterator[SiteSpec]:
    """Every site by itself; those of one `SiteSpec` are alike."""
    for site in scenario.sites:
        for _ in range(site.count):
            yield site


def _weekly(scenario: Scenario, world: SiteWorld) -> Planner:
    space = world.box_bytes * (1.0 - world.site.cache_share)
    return WeeklyTop(scenario.weekly_top, world.sizes, world.homes, space)


def _drawn(
    scenario: Scenario, catalogue: Catalogue | None, site: SiteSpec, seed: int, number: int, hours: int
) -> list[Requests]:
    assert catalogue is not None
    taste = _rng(seed, _TASTE, number)
    truth = site_demand(catalogue, scenario.demand, scenario.total_days, site.weight, taste)
    return list(drawn(truth, hours, _rng(seed, _REQUESTS, number)))


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
