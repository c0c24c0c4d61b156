"""Demand hour by hour: expected views of every file at a site, and requests drawn from them. Pure; the generator's side.

Views of an hour are the day's mean × the weekday × the hour's share, divided among titles by their worth, their age, the site's taste and the day's noise;
files take their rendition's share. Drawn counts are Poisson, and each request is independent of the others (the independent reference model within an hour).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fill_planner.simulator.catalogue import Catalogue
from fill_planner.simulator.scenario import DAY_HOURS, Demand
from fill_planner.simulator.shape import Floats, daily_curve, decay, week_factor

Requests = NDArray[np.int64]
"""File numbers in the order of time."""


@dataclass(frozen=True, slots=True)
class SiteDemand:
    """The truth of one site. `taste` and `noise` (days × titles, or one row of ones) multiply each title's views."""

    catalogue: Catalogue
    demand: Demand
    weight: float
    taste: Floats
    noise: Floats

    def total(self, hour: int) -> float:
        """Expected views of the hour."""
        curve = daily_curve(self.demand.hours)
        day, of_day = divmod(hour, DAY_HOURS)
        mean = self.demand.views_per_day * self.weight
        return mean * week_factor(day, self.demand.weekend) * float(curve[of_day])

    def title_shares(self, hour: int) -> Floats:
        """Each title's share of the hour's views."""
        known = self.catalogue
        age_days = (hour + 0.5 - known.announced.release_hour[known.is_release]) / DAY_HOURS
        part = known.releases_part
        shares = known.worth * (1.0 - part)
        faded = decay(age_days, self.demand.half_life_days)
        # One cohort a week: seven days' worth of views come in with each.
        shares[known.is_release] = known.worth[known.is_release] * part * 7.0 * faded
        shares = shares * self.taste * self.noise[(hour // DAY_HOURS) % len(self.noise)]
        return np.asarray(shares / shares.sum(), dtype=np.float64)

    def expected(self, hour: int) -> Floats:
        """Expected views of each file in the hour."""
        shares = self.title_shares(hour)[:, None] * self.catalogue.rendition_share[None, :]
        return np.asarray(shares.ravel() * self.total(hour), dtype=np.float64)

    def draw(self, hour: int, rng: np.random.Generator) -> Requests:
        """The hour's requests."""
        cumulated = np.cumsum(self.expected(hour))
        count = int(rng.poisson(cumulated[-1]))
        at = np.searchsorted(cumulated, rng.random(count) * cumulated[-1], side="right")
        return np.asarray(np.minimum(at, len(cumulated) - 1), dtype=np.int64)


def site_demand(catalogue: Catalogue, demand: Demand, days: int, weight: float, rng: np.random.Generator) -> SiteDemand:
    """A site with a taste and days of its own."""
    titles = len(catalogue.worth)
    noise = np.exp(rng.normal(0.0, demand.daily_noise, (days, titles))) if demand.daily_noise else np.ones((1, titles))
    taste = np.exp(rng.normal(0.0, demand.taste, titles)) if demand.taste else np.ones(titles)
    return SiteDemand(catalogue, demand, weight, taste, noise)


def drawn(truth: SiteDemand, hours: int, rng: np.random.Generator) -> Iterator[Requests]:
    """The requests of every hour of the run, one hour after the other."""
    for hour in range(hours):
        yield truth.draw(hour, rng)
