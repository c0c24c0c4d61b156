"""Instances of placement, drawn from a description (the files in benchmarks/instances, whose README has the words).

Drawing is numpy's `default_rng(seed)`: the same description and seed give the same arrays everywhere.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Literal

import msgspec
import numpy as np

from fill_planner.config import PlannerSettings
from fill_planner.placement.problem import Boxes, Floats, Ints, Problem


class Sizes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes per unit: lognormal, cut at both ends."""

    law: Literal["lognormal"]
    median_bytes: float
    sigma: float
    least_bytes: float
    most_bytes: float

    def draw(self, rng: np.random.Generator, count: int) -> Floats:
        drawn = self.median_bytes * np.exp(rng.normal(0.0, self.sigma, count))
        return np.asarray(np.clip(drawn, self.least_bytes, self.most_bytes).round())


class Views(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Views per day by rank: in proportion to (rank + shift)^−exponent."""

    law: Literal["mandelbrot-zipf"]
    exponent: float
    shift: float
    per_day: float

    def by_rank(self, count: int) -> Floats:
        weights = (np.arange(1, count + 1) + self.shift) ** -self.exponent
        return np.asarray(self.per_day * weights / weights.sum())


class BoxesOf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`count` equal boxes; shares of all bytes and of the peak hour's."""

    count: int
    disk_share: float
    egress_share: float
    domains: int | None = None


class Held(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What lies there from a yesterday whose views were today's × exp(N(0, σ))."""

    drift_sigma: float


class PlacementInstance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="placement", tag_field="kind"):
    """A description of one manifest cluster on one night."""

    seeds: tuple[int, ...]
    units: int
    sizes: Sizes
    views: Views
    peak_share: float
    boxes: tuple[BoxesOf, ...]
    held: Held | None = None
    volume_share: float | None = None
    settings: dict[str, float] = {}


def read_instance(words: object) -> PlacementInstance:
    """An instance from what its YAML file holds. Raises ValueError that says what is wrong."""
    instance = msgspec.convert(words, PlacementInstance)
    known = {field.name for field in fields(PlannerSettings)}
    if unknown := sorted(set(instance.settings) - known):
        raise ValueError(f"the planner has no settings named {', '.join(unknown)}")
    if not instance.seeds or instance.units < 1 or not instance.boxes:
        raise ValueError("an instance needs seeds, units and boxes")
    return instance


def draw(instance: PlacementInstance, seed: int) -> Problem:
    """One problem."""
    rng = np.random.default_rng(seed)
    count = instance.units
    size = instance.sizes.draw(rng, count)
    views = rng.permutation(instance.views.by_rank(count))
    peak = views * size * instance.peak_share
    boxes = _boxes(instance.boxes, float(size.sum()), float(peak.sum()))
    missing = np.repeat(size[:, None], len(boxes.space), axis=1)
    # A draw of its own: what decides between equals is no part of the description.
    affinity = np.random.default_rng([seed, 1]).random(missing.shape)
    if instance.held is not None:
        yesterday = views * np.exp(rng.normal(0.0, instance.held.drift_sigma, count))
        holder = rng.choice(len(boxes.space), size=count, p=boxes.space / boxes.space.sum())
        lies = _held(yesterday, size, holder, boxes.space)
        missing[lies, holder[lies]] = 0.0
        affinity[lies, holder[lies]] += 1.0
    return Problem(
        size=size,
        disk=size,
        peak=peak,
        missing=missing,
        affinity=affinity,
        allowed=np.ones(count, dtype=np.bool_),
        required=np.zeros(count, dtype=np.bool_),
        boxes=boxes,
        fill_bytes=np.inf if instance.volume_share is None else float(boxes.space.sum() * instance.volume_share),
        peak_share=instance.peak_share,
        settings=replace(PlannerSettings(), **instance.settings),  # type: ignore[arg-type]
    )


def _boxes(kinds: tuple[BoxesOf, ...], total_bytes: float, peak_bytes: float) -> Boxes:
    space: list[float] = []
    egress: list[float] = []
    domain: list[int] = []
    for kind in kinds:
        first = max(domain, default=-1) + 1
        space += [float(int(total_bytes * kind.disk_share))] * kind.count
        egress += [peak_bytes * kind.egress_share] * kind.count
        domain += [first + number % (kind.domains or kind.count) for number in range(kind.count)]
    return Boxes(np.array(space), np.array(egress), np.array(domain, dtype=np.int64))


def _held(yesterday: Floats, size: Floats, holder: Ints, space: Floats) -> Ints:
    """The units that yesterday's demand put on their holders, by views, each holder until it is full."""
    lies: list[Ints] = []
    for box in range(len(space)):
        its = np.flatnonzero(holder == box)
        its = its[np.argsort(-yesterday[its], kind="stable")]
        lies.append(its[np.cumsum(size[its]) <= space[box]])
    return np.concatenate(lies)
