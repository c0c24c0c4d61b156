"""A scenario: demand, sites, days, outages, and what is compared on it. Pure values; `fill_planner.cli` reads them from YAML.

Units are in the names; a disk is text (`40TB` for the whole site, or `10%` of the catalogue's bytes). Hours of the day are those of the site.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt, MinLen
from typing_extensions import Doc

from fill_planner.config import PlannerSettings
from policies.admission import AdmissionName
from policies.comparison import parse_sizes

DAY_HOURS = 24


class Strategy(Enum):
    """What is compared. The value is the word in scenarios and tables."""

    PLAN = "plan"
    LRU = "lru"
    S3FIFO = "s3fifo"
    PLAN_LRU = "plan+lru"
    PLAN_S3FIFO = "plan+s3fifo"
    WEEKLY_TOP = "weekly-top"
    """Once a week the most viewed files of the week before, and no cache."""
    WEEKLY_TOP_LRU = "weekly-top+lru"
    SPLIT_LRU = "split-lru"
    """LRU on boxes that do not know of each other: each session goes to one of them, so that each box caches everything."""


class Source(Enum):
    """Where the demand comes from."""

    CSV = "csv"
    ORACLE = "oracle"
    ACCESS_LOG = "access-log"


@dataclass(frozen=True, slots=True)
class Rendition:
    """One file per title. `views_share` are relative weights."""

    name: Annotated[str, MinLen(1), Doc("name of the rendition")]
    mbps: Annotated[float, Gt(0), Doc("bit rate in Mbit/s")]
    views_share: Annotated[float, Gt(0), Doc("relative share of a title's views")]


LADDER = (
    Rendition("v-240", 0.3, 2.0),
    Rendition("v-360", 0.6, 3.0),
    Rendition("v-480", 1.0, 6.0),
    Rendition("v-540", 1.75, 8.0),
    Rendition("v-720", 3.0, 20.0),
    Rendition("v-1080", 5.8, 55.0),
    Rendition("v-2160", 16.0, 6.0),
)
WHOLE = (Rendition("file", 5.0, 1.0),)


@dataclass(frozen=True, slots=True)
class Demand:
    """Generated demand. Defaults follow the public engagement report of the second half of 2023 and the weekly lists."""

    titles: Annotated[int, Ge(10), Doc("titles in the catalogue, those included that are released during the run")] = (
        20_000
    )
    views_per_day: Annotated[float, Gt(0), Doc("views of files on a mean day, at one site of weight 1")] = 200_000
    renditions: Annotated[tuple[Rendition, ...], MinLen(1), Doc("renditions of each title")] = WHOLE
    episodes: Annotated[int, Ge(1), Doc("files of each title in each rendition, which share its views evenly")] = 1
    slope: Annotated[float, Lt(0), Doc("slope of popularity over rank on log-log axes")] = -0.83
    slope_ranks: Annotated[tuple[int, int], Doc("first and last rank of the line that has the slope")] = (10, 2000)
    shift: Annotated[
        float, Ge(0), Doc("Mandelbrot–Zipf: weight of a rank is (rank + shift) to the power that gives the slope")
    ] = 50.0
    new_week_share: Annotated[float, Ge(0), Le(0.49), Doc("share of views on titles in their first seven days")] = 0.36
    half_life_days: Annotated[float, Gt(0), Doc("days in which a release loses half of its views")] = 7.0
    releases_share: Annotated[float, Gt(0), Le(0.1), Doc("share of the titles that is released each week")] = 0.01
    surprise: Annotated[float, Ge(0), Doc("spread (log) of what no calendar tells of a release's rank")] = 0.6
    taste: Annotated[float, Ge(0), Doc("spread (log) of a title's views from site to site")] = 0.3
    daily_noise: Annotated[float, Ge(0), Doc("spread (log) of a title's views from day to day")] = 0.15
    weekend: Annotated[float, Gt(0), Doc("views on a Saturday or Sunday, relative to other days")] = 1.2
    runtime_minutes: Annotated[float, Gt(0), Doc("median runtime of a file")] = 60.0
    size_spread: Annotated[float, Ge(0), Doc("spread (log) of runtimes")] = 0.5
    hours: Annotated[tuple[float, ...], Doc("relative views of the 24 hours of a day; empty: a residential curve")] = ()

    def __post_init__(self) -> None:
        wrong = []
        if self.hours and len(self.hours) != DAY_HOURS:
            wrong.append(f"hours: 24 numbers are needed, not {len(self.hours)}")
        if self.hours and (min(self.hours) < 0 or sum(self.hours) <= 0):
            wrong.append("hours: none may be negative, and not all 0")
        if not 1 <= self.slope_ranks[0] < self.slope_ranks[1]:
            wrong.append("slope_ranks: the first has to be at least 1 and below the last")
        if wrong:
            raise ValueError("; ".join(wrong))


@dataclass(frozen=True, slots=True)
class Recorded:
    """Demand from a file instead of generated."""

    source: Annotated[
        Source, Doc("csv and oracle: traces as `lowtide oca simulate` reads them; access-log: Parquet or JSON lines")
    ]
    path: Annotated[str, MinLen(1), Doc("the file")]


@dataclass(frozen=True, slots=True)
class SiteSpec:
    """One site, or `count` sites alike whose tastes differ."""

    name: Annotated[str, MinLen(1), Doc("name in tables")] = "site"
    count: Annotated[int, Ge(1), Doc("how many such sites")] = 1
    weight: Annotated[float, Gt(0), Doc("its views, relative to `demand.views_per_day`")] = 1.0
    weight_spread: Annotated[float, Ge(0), Doc("spread (log) of the audiences of its `count` sites; with `fluid`")] = (
        0.0
    )
    boxes: Annotated[int, Ge(1), Le(64), Doc("appliances, equal ones")] = 2
    disk: Annotated[str, Doc("disk of all its boxes together: bytes (40TB) or a share of the catalogue (10%)")] = "10%"
    cache_share: Annotated[float, Ge(0), Le(1), Doc("share of the disk that plans leave to the cache")] = 0.1
    egress_gbps: Annotated[float, Gt(0), Doc("what one box can send, Gbit/s")] = 1000.0
    window_opens_hour: Annotated[int, Ge(0), Le(23), Doc("hour of the day at which the fill window opens")] = 2
    window_hours: Annotated[int, Ge(1), Le(24), Doc("length of the fill window")] = 12
    fill_gbps: Annotated[float, Gt(0), Doc("fill rate of the whole site, Gbit/s")] = 10.0
    fill_tb: Annotated[float, Gt(0), Doc("bytes filled per window, at most, TB")] = 1000.0

    def __post_init__(self) -> None:
        parse_sizes([self.disk])

    def disk_bytes(self, catalogue_bytes: float) -> int:
        return parse_sizes([self.disk])[0].of(int(catalogue_bytes))


@dataclass(frozen=True, slots=True)
class Outage:
    """A box that is away for some hours, counted from the end of the warm-up."""

    site: Annotated[str, Doc("name of the site")]
    box: Annotated[int, Ge(0), Doc("which of its boxes, from 0")]
    from_hour: Annotated[int, Ge(0), Doc("first hour")]
    hours: Annotated[int, Ge(1), Doc("how many")]


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that `run.simulate` and `regions.simulate` look at."""

    name: Annotated[str, MinLen(1), Doc("title of tables and plots")] = "scenario"
    days: Annotated[int, Ge(1), Le(366), Doc("days that are counted")] = 28
    warm_up_days: Annotated[int, Ge(1), Le(90), Doc("days before, in which caches fill and reports gather")] = 7
    seeds: Annotated[tuple[int, ...], MinLen(1), Doc("one run each")] = (1, 2, 3, 4, 5)
    demand: Demand = field(default_factory=Demand)
    recorded: Recorded | None = None
    sites: Annotated[tuple[SiteSpec, ...], MinLen(1), Doc("the sites")] = (SiteSpec(),)
    outages: Annotated[tuple[Outage, ...], Doc("boxes that are away")] = ()
    strategies: Annotated[tuple[Strategy, ...], MinLen(1), Doc("what is compared")] = (
        Strategy.PLAN,
        Strategy.LRU,
        Strategy.S3FIFO,
        Strategy.PLAN_LRU,
    )
    weekly_top: Annotated[int, Ge(1), Doc("files that `weekly-top` fetches each week")] = 100
    with_optimum: Annotated[bool, Doc("also what nobody can beat who knows the future")] = True
    admission: Annotated[AdmissionName, Doc("what the cache beside a plan lets in to stay")] = AdmissionName.ALL
    fluid: Annotated[bool, Doc("expected values by classes of files instead of single requests")] = False
    planner: PlannerSettings = field(default_factory=PlannerSettings)

    def __post_init__(self) -> None:
        wrong = problems(self)
        if wrong:
            raise ValueError("; ".join(wrong))

    @property
    def total_days(self) -> int:
        return self.warm_up_days + self.days


def problems(scenario: Scenario) -> list[str]:
    """What does not fit together, in words; empty when all is well."""
    found = []
    names = [site.name for site in scenario.sites]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        found.append(f"sites: two have one name: {', '.join(doubled)}")
    boxes = {site.name: site.boxes for site in scenario.sites}
    for at, outage in enumerate(scenario.outages):
        found += _outage_problems(at, outage, boxes, scenario.days)
    if len(set(scenario.seeds)) != len(scenario.seeds):
        found.append("seeds: the same seed twice is the same run twice")
    if scenario.fluid and scenario.recorded is not None:
        found.append("fluid: needs generated demand, and `recorded` names a file")
    if scenario.fluid and scenario.outages:
        found.append("fluid: knows no outages; leave out `outages` or `fluid`")
    return found


def _outage_problems(at: int, outage: Outage, boxes: dict[str, int], days: int) -> Sequence[str]:
    if outage.site not in boxes:
        return [f"outages[{at}].site: no site is called {outage.site!r}"]
    found = []
    if outage.box >= boxes[outage.site]:
        found.append(f"outages[{at}].box: {outage.site} has boxes 0 to {boxes[outage.site] - 1}")
    if outage.from_hour >= days * DAY_HOURS:
        found.append(f"outages[{at}].from_hour: the run ends after {days * DAY_HOURS} hours")
    return found
