"""A made-up catalogue: titles with what they are worth to viewers (the generator's secret), their files, and what a release calendar tells. Pure.

Two kinds of titles. The *back catalogue* is asked for by the law of `shape` and does not age. *Releases* come in weekly cohorts of equal size; each cohort
gets the same share of all views, spread over its titles by the same law, and fades with one half-life. In the steady state the titles in their
first seven days hold `new_week_share` of the views. What a release will be worth is partly told by its genre, language and franchise, the rest is surprise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fill_planner.simulator.scenario import Demand
from fill_planner.simulator.shape import (
    WEEK,
    Floats,
    Ints,
    exponent_for,
    first_week_fraction,
    mandelbrot_zipf,
)

GENRES = ("drama", "comedy", "crime", "kids", "documentary", "reality", "horror", "romance")
LANGUAGES = ("en", "es", "ko", "de", "hi")
KINDS = ("film", "season")
RELEASE_HOUR = 8
OLDEST_HALF_LIVES = 6
"""Cohorts older than this have next to nothing left and are part of the back catalogue."""
RELEASED_LONG_AGO = -1.0e6
FRANCHISES = 40
NO_FRANCHISE = -1


@dataclass(frozen=True, slots=True)
class Announced:
    """The release calendar and the catalogue's metadata, by title: all that a planner may know of a title beside reports.

    `release_hour` counts from the beginning of the run; long-known titles have a large negative one. Indices name `GENRES`, `LANGUAGES`, `KINDS`.
    """

    release_hour: Floats
    genre: Ints
    language: Ints
    kind: Ints
    franchise: Ints
    title_of_file: Ints
    rendition_of_file: Ints
    size_bytes: Floats
    """By file."""

    @property
    def files(self) -> int:
        return len(self.size_bytes)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """`worth` is by title: of a release its share of all views of a week's cohort, of others their share of the back catalogue's views."""

    announced: Announced
    worth: Floats
    is_release: Ints
    """Rows of the releases among the titles; the others are the back catalogue."""
    releases_part: float
    """Part of all views that goes to releases of any age, in the steady state."""
    rendition_share: Floats

    @property
    def total_bytes(self) -> float:
        return float(self.announced.size_bytes.sum())


def law(demand: Demand, count: int) -> Floats:
    """Weights of `count` titles by rank, of the scenario's law."""
    first, last = demand.slope_ranks
    return mandelbrot_zipf(count, exponent_for(demand.slope, first, last, demand.shift), demand.shift)


def cohorts_of(demand: Demand, days: int) -> range:
    """Weeks, counted from the beginning of the run, whose releases still matter or are yet to come."""
    before = math.ceil(OLDEST_HALF_LIVES * demand.half_life_days / WEEK)
    return range(-before, math.ceil(days / WEEK) + 1)


def make_catalogue(demand: Demand, days: int, rng: np.random.Generator) -> Catalogue:
    """A catalogue for a run of `days`. Raises ValueError when so many titles would be releases that no back catalogue is left."""
    cohorts = cohorts_of(demand, days)
    each = max(1, round(demand.releases_share * demand.titles))
    releases = each * len(cohorts)
    if releases >= demand.titles:
        raise ValueError(
            f"demand.titles: {demand.titles} titles leave no back catalogue beside {releases} releases; "
            "give more titles or a smaller releases_share"
        )
    titles = demand.titles
    genre = rng.integers(len(GENRES), size=titles)
    language = rng.integers(len(LANGUAGES), size=titles)
    kind = rng.integers(len(KINDS), size=titles)
    franchise = np.where(rng.random(titles) < 0.3, rng.integers(FRANCHISES, size=titles), NO_FRANCHISE)
    told = (
        rng.normal(0.0, 0.5, len(GENRES))[genre]
        + rng.normal(0.0, 0.5, len(LANGUAGES))[language]
        + np.where(franchise >= 0, rng.normal(0.5, 0.7, FRANCHISES)[franchise], 0.0)
    )
    release_hour = np.full(titles, RELEASED_LONG_AGO)
    rows = rng.permutation(titles)[:releases]
    release_hour[rows] = _release_hours(cohorts, each, rng)
    worth = _worth(demand, rows.reshape(len(cohorts), each), told, rng)
    runtime_s = 60.0 * demand.runtime_minutes * np.exp(rng.normal(0.0, demand.size_spread, titles))
    files = demand.renditions * demand.episodes
    bytes_per_s = np.array([rendition.mbps * 1e6 / 8 for rendition in files])
    share = np.array([rendition.views_share for rendition in files])
    count = len(files)
    announced = Announced(
        release_hour=release_hour,
        genre=genre,
        language=language,
        kind=kind,
        franchise=franchise,
        title_of_file=np.repeat(np.arange(titles), count),
        rendition_of_file=np.tile(np.arange(count) % len(demand.renditions), titles),
        size_bytes=np.maximum(1.0, np.floor((runtime_s[:, None] * bytes_per_s[None, :]).ravel())),
    )
    return Catalogue(
        announced=announced,
        worth=worth,
        is_release=np.sort(rows),
        releases_part=min(0.95, demand.new_week_share / first_week_fraction(demand.half_life_days)),
        rendition_share=share / share.sum(),
    )


def _release_hours(cohorts: range, each: int, rng: np.random.Generator) -> Floats:
    """Cohort by cohort; days of the week as they come, at one hour."""
    weeks = np.repeat(np.array(cohorts, dtype=np.float64), each)
    days = weeks * WEEK + rng.integers(WEEK, size=len(weeks))
    return np.asarray(days * 24.0 + RELEASE_HOUR, dtype=np.float64)


def _worth(demand: Demand, cohorts: Ints, told: Floats, rng: np.random.Generator) -> Floats:
    """Every cohort is a stratified sample of the law, handed to its titles by what is told of them and by surprise."""
    worth = np.zeros(demand.titles)
    releases, each = cohorts.size, cohorts.shape[1]
    fine = law(demand, releases)
    for rows in cohorts:
        strata = (np.arange(each) + rng.random(each)) * (releases / each)
        weights = fine[np.minimum(strata.astype(np.int64), releases - 1)]
        score = told[rows] + demand.surprise * rng.normal(size=each)
        worth[rows[np.argsort(-score, kind="stable")]] = weights / weights.sum()
    back = np.setdiff1d(np.arange(demand.titles), cohorts.ravel())
    score = told[back] + max(demand.surprise, 1.0) * rng.normal(size=len(back))
    worth[back[np.argsort(-score, kind="stable")]] = law(demand, len(back))
    return worth
