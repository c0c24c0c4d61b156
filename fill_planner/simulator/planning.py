"""The planner in the loop: the forecast and placement of `fill_planner`, fed with what a real night would know. Pure.

It sees reports of past days (views of every file, hour by hour, whoever served them), the release calendar, and what the boxes hold. It never sees the
generator: `replay` hands it counts of requests that were made. Files are known from the day before their release on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from contracts.catalogue import FileKind
from contracts.rendezvous import score
from fill_planner import schedule
from fill_planner.config import PlannerSettings
from fill_planner.forecast.choice import forecast
from fill_planner.forecast.releases import with_releases
from fill_planner.placement.greedy import solve
from fill_planner.placement.problem import Boxes, Problem
from fill_planner.popularity import HOUR_S, DailyPopularity
from fill_planner.simulator.catalogue import Announced
from fill_planner.simulator.scenario import DAY_HOURS, SiteSpec
from fill_planner.simulator.shape import Bools, Floats, Ints
from fill_planner.snapshot import CatalogueFile, SiteWindow

EPOCH_S = 1_700_006_400
"""The instant at which a run begins: a whole hour, and far enough from 0 for files that were released long ago."""
AHEAD_HOURS = 36
"""A file released within the window or on the day after it is planned for."""


@dataclass(frozen=True, slots=True)
class Reports:
    """What the sites have told: views by file and day (the newest day last, it ends with the hour of planning), and bytes by hour of the day."""

    views: Floats
    by_hour: Floats

    @property
    def peak_share(self) -> float:
        total = float(self.by_hour.sum())
        return float(self.by_hour.max()) / total if total > 0 else 1 / DAY_HOURS


@dataclass(frozen=True, slots=True)
class Wanted:
    """A plan: what each box is to hold (boxes × files), and what each is to fetch, the most valuable first."""

    pins: Bools
    fills: tuple[Ints, ...]


class Planner(Protocol):
    """Asked once a day, when the window opens. `pinned` and `present` are boxes × files."""

    def plan(self, hour: int, reports: Reports, pinned: Bools, present: Bools) -> Wanted: ...


class NightlyPlanner:
    """The real forecast and placement for one site. Forecasts are remembered by hour: strategies over one demand share the object."""

    def __init__(self, announced: Announced, site: SiteSpec, disk_bytes: int, settings: PlannerSettings) -> None:
        self._announced = announced
        self._site = site
        self._settings = settings
        self._space = int(disk_bytes / site.boxes * (1.0 - site.cache_share) * (1.0 - settings.store_overhead))
        self._files = catalogue_files(announced)
        self._hour_of_file = announced.release_hour[announced.title_of_file]
        self._hashed = hashed(announced.files, site.boxes)
        self._expected: dict[int, Floats] = {}

    def plan(self, hour: int, reports: Reports, pinned: Bools, present: Bools) -> Wanted:
        expected = self._expected.get(hour)
        if expected is None:
            expected = self._expected[hour] = self.expected_bytes(hour, reports)
        solution = solve(self._problem(hour, expected, reports.peak_share, pinned, present))
        pins = np.zeros_like(pinned)
        pins[solution.box, solution.unit] = True
        # Best first, and what comes from the box beside after all that does not (`schedule.sequence`).
        ordered = np.argsort(solution.number > 0, kind="stable")
        boxes, rows = solution.box[ordered], solution.unit[ordered]
        lacking = ~present[boxes, rows]
        return Wanted(pins, tuple(rows[(boxes == box) & lacking] for box in range(self._site.boxes)))

    def expected_bytes(self, hour: int, reports: Reports) -> Floats:
        """The forecast of the day after the window, by file, in bytes; 0 for what is not known yet."""
        known = np.flatnonzero(self._hour_of_file <= hour + AHEAD_HOURS)
        views = reports.views[known][:, -self._settings.history_days :]
        sizes = self._announced.size_bytes[known]
        history = DailyPopularity(views, self._start(known, hour, views), reports.peak_share)
        found = with_releases(
            forecast(history, sizes),
            history,
            [self._files[row] for row in known.tolist()],
            float(EPOCH_S + hour * HOUR_S),
            self._settings,
        )
        expected = np.zeros(self._announced.files)
        expected[known] = found.views * sizes
        return expected

    def _start(self, known: Ints, hour: int, views: Floats) -> Ints:
        """The first day of the history in which each file was out, whole."""
        days = views.shape[1]
        first_hour = hour - days * DAY_HOURS
        out = np.ceil((self._hour_of_file[known] - first_hour) / DAY_HOURS)
        seen = np.where(views.any(axis=1), (views > 0).argmax(axis=1), days)
        return np.asarray(np.minimum(np.clip(out, 0, days), seen), dtype=np.int64)

    def _problem(self, hour: int, expected: Floats, peak_share: float, pinned: Bools, present: Bools) -> Problem:
        sizes = self._announced.size_bytes
        boxes = self._site.boxes
        return Problem(
            size=sizes,
            disk=sizes,
            peak=expected * peak_share,
            missing=np.where(present.T, 0.0, sizes[:, None]),
            affinity=self._hashed + (pinned | present).T,
            allowed=np.ones(len(sizes), dtype=np.bool_),
            required=np.zeros(len(sizes), dtype=np.bool_),
            boxes=Boxes(
                space=np.full(boxes, float(self._space)),
                egress=np.full(boxes, self._site.egress_gbps * 1e9 * HOUR_S / 8),
                domain=np.arange(boxes),
            ),
            fill_bytes=float(
                schedule.fill_budget(window_of(self._site, hour), EPOCH_S + hour * HOUR_S, self._settings)
            ),
            peak_share=peak_share,
            settings=self._settings,
        )


def next_day(views: Floats, start: Ints, sizes: Floats, settings: PlannerSettings) -> Floats:
    """The planner's forecast of the day after `views` (files × days), in views; `start` is the first day each file was out."""
    history = DailyPopularity(views[:, -settings.history_days :], start, 1 / DAY_HOURS)
    return forecast(history, sizes).views


BOX = "box-"


def box_name(number: int) -> str:
    """What rendezvous hashing knows a box by, in plans and in `replay`."""
    return f"{BOX}{number}"


def file_name(number: int) -> str:
    """What rendezvous hashing knows a file by."""
    return f"f{number}"


def hashed(files: int, boxes: int) -> Floats:
    """Which box each file belongs on by rendezvous hashing (files × boxes): the higher the better, between 0 and 1."""
    scores = np.array([[score(file_name(row), box_name(box), 1.0) for box in range(boxes)] for row in range(files)])
    return np.asarray(scores / (1.0 + scores), dtype=np.float64)


def window_of(site: SiteSpec, hour: int) -> SiteWindow:
    """The window that opens at `hour` of the run."""
    opens_at = float(EPOCH_S + hour * HOUR_S)
    return SiteWindow(
        opens_at=opens_at,
        closes_at=opens_at + site.window_hours * HOUR_S,
        rate_bps=int(site.fill_gbps * 1e9),
        volume_bytes=int(site.fill_tb * 1e12),
    )


def catalogue_files(announced: Announced) -> list[CatalogueFile]:
    """The files as the planner's catalogue has them."""
    published = EPOCH_S + announced.release_hour * HOUR_S
    return [
        CatalogueFile(
            key=file_name(number),
            group=file_name(number),
            title_id=f"t{title}",
            kind=FileKind.VIDEO,
            size_bytes=int(size),
            version=file_name(number),
            published_at=max(0.0, float(published[title])),
        )
        for number, (title, size) in enumerate(
            zip(announced.title_of_file.tolist(), announced.size_bytes.tolist(), strict=True)
        )
    ]
