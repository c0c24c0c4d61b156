"""Demand of files that nobody has viewed yet: taken from what is most like them, and fading while nobody comes; and campaigns.

In order: the other files of the same title (with the usual odds of the rendition); what the release calendar makes of titles that came out
at the site (`calendar`); the first days of other new files of that kind; the setting `release_views`. Only files younger than
`new_for_days` get it: an older file without traffic had its chance. A title's age counts from the day it is first shown.

A file that came out less than a day ago has shown the hours of a night, perhaps, and no evening: what was seen of it is the least that
is expected, and tells nothing of its title or of other releases yet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from contracts.catalogue import FileKind
from fill_planner.config import PlannerSettings
from fill_planner.forecast import calendar
from fill_planner.forecast.choice import Forecast, Why
from fill_planner.forecast.pooling import Own, of_title
from fill_planner.popularity import DAY_S, DailyPopularity, Flags, Floats, Ints
from fill_planner.snapshot import CatalogueFile

SAME_TITLE = "release-same-title"
CALENDAR = "release-calendar"
OTHER_RELEASES = "release-median"
ASSUMED = "release-assumed"
BORROWED = "other-sites"
TENTHS = 1.2816
"""Standard deviations of the normal distribution between its middle and its 10 % and 90 % quantiles."""
FIRST_DAY = 1.0
"""Days before which a file has had no evening yet."""
WIDE = (0.25, 4.0)
"""Multiples of a prior that has no uncertainty of its own."""
_SHOWN_DAYS = 7.0
"""Days back over which a running campaign is in the views already."""


def with_releases(
    found: Forecast,
    history: DailyPopularity,
    files: Sequence[CatalogueFile],
    now: float,
    settings: PlannerSettings,
) -> Forecast:
    """The forecast with priors where a new file has no views, or no whole day, and lifted by the campaigns of tomorrow."""
    views, models, why = found.views.copy(), list(found.models), list(found.why)
    low = views.copy() if found.low is None else found.low.copy()
    high = views.copy() if found.high is None else found.high.copy()
    viewed = np.asarray(history.views.any(axis=1), dtype=np.bool_)
    ages_days = np.array([_age_days(file, now) for file in files])
    told = viewed & (ages_days >= FIRST_DAY) & (history.start < history.days)
    unseen = np.flatnonzero(~told & (ages_days < settings.new_for_days)).tolist()
    seen = _Seen.of(found, history, files, told) if unseen else _Seen()
    priors = _calendar_priors(history, files, unseen, told)
    for row in unseen:
        prior = seen.of_title(row, files[row]) or priors.get(row) or seen.of_kind(files[row])
        model, middle, down, up = prior or (ASSUMED, settings.release_views, *_wide(settings.release_views))
        fading = 1.0 - ages_days[row] / settings.new_for_days
        if middle * fading > views[row] or not viewed[row]:
            views[row], low[row], high[row], models[row] = middle * fading, down * fading, up * fading, model
            if why:
                why[row] = Why.PRIOR
    lift = _lifts(files, viewed, now, settings)
    return replace(found, views=views * lift, models=tuple(models), low=low * lift, high=high * lift, why=tuple(why))


def borrowed(others: Sequence[Forecast], files: int, settings: PlannerSettings) -> Forecast:
    """The forecast of a site that has never reported: the mean of other sites, or the same demand for every file."""
    if others:
        mean = np.mean([other.views for other in others], axis=0)
        return Forecast(views=mean, models=(BORROWED,) * files, site_error=None)
    return Forecast(views=np.full(files, settings.release_views), models=(ASSUMED,) * files, site_error=None)


_Guess = tuple[str, float, float, float]
"""Model, middle, 10 % and 90 % quantile."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What files with views say: by title and kind, by kind of files that came out inside the history, and by rendition."""

    by_title: dict[tuple[str, FileKind], list[float]] = field(default_factory=dict)
    by_kind: dict[FileKind, list[float]] = field(default_factory=dict)
    by_rendition: Floats | None = None

    @classmethod
    def of(cls, found: Forecast, history: DailyPopularity, files: Sequence[CatalogueFile], told: Flags) -> _Seen:
        by_title: dict[tuple[str, FileKind], list[float]] = defaultdict(list)
        by_kind: dict[FileKind, list[float]] = defaultdict(list)
        for row in np.flatnonzero(told).tolist():
            file = files[row]
            by_title[(file.title_id, file.kind)].append(float(found.views[row]))
            if history.start[row] > 0:
                by_kind[file.kind].append(float(history.views[row, history.start[row]]))
        rendition = None
        if history.groups is not None:
            rendition = of_title(Own(found.views, told.astype(np.float64), 1.0), history.groups)
        return cls(by_title, by_kind, rendition)

    def of_title(self, row: int, file: CatalogueFile) -> _Guess | None:
        if self.by_rendition is not None and np.isfinite(self.by_rendition[row]):
            value = float(self.by_rendition[row])
            return SAME_TITLE, value, *_wide(value)
        if titled := self.by_title.get((file.title_id, file.kind)):
            value = float(np.median(titled))
            return SAME_TITLE, value, *_wide(value)
        return None

    def of_kind(self, file: CatalogueFile) -> _Guess | None:
        if others := self.by_kind.get(file.kind):
            low, middle, high = (float(value) for value in np.quantile(others, (0.1, 0.5, 0.9)))
            down, up = _wide(middle)
            return OTHER_RELEASES, middle, min(low, down), max(high, up)
        return None


def _calendar_priors(
    history: DailyPopularity, files: Sequence[CatalogueFile], unseen: Sequence[int], told: Flags
) -> dict[int, _Guess]:
    """By row; empty where fewer than `LEAST_TITLES` titles came out inside the history, or the calendar says nothing of a title."""
    groups = history.groups
    asked = [row for row in unseen if calendar.words_of(files[row])]
    if groups is None or not asked:
        return {}
    came_out = told & (history.start > 0)
    out = np.flatnonzero(came_out).astype(np.int64)
    first_day = history.views[out, history.start[out]].astype(np.float64)
    main = np.array([files[row].kind is FileKind.VIDEO for row in out.tolist()], dtype=np.bool_)
    titles = int(groups.title.max(initial=0)) + 1
    launch = np.bincount(groups.title[out], np.where(main, first_day, 0.0), titles).astype(np.float64)
    launched = np.flatnonzero(launch > 0)
    if len(launched) < calendar.LEAST_TITLES:
        return {}
    file_of = {int(groups.title[row]): files[row] for row in out.tolist()}
    share = _shares(history, out, first_day, launch)
    words = [calendar.words_of(file_of[title]) for title in launched.tolist()]
    found = calendar.prior(words, np.log(launch[launched]), [calendar.words_of(files[row]) for row in asked])
    priors: dict[int, _Guess] = {}
    for place, row in enumerate(asked):
        part = float(share[groups.mix[row]])
        if np.isfinite(part):
            at = [found.middle[place] + turn * TENTHS * found.spread[place] for turn in (0, -1, 1)]
            middle, low, high = (part * float(np.exp(value)) for value in at)
            priors[row] = CALENDAR, middle, low, high
    return priors


def _shares(history: DailyPopularity, out: Ints, first_day: Floats, launch: Floats) -> Floats:
    """Views of each rendition / views of the whole title on the first days of titles that have it; NaN where none has."""
    assert history.groups is not None
    title, mix = history.groups.title[out], history.groups.mix[out]
    kinds = int(history.groups.mix.max(initial=0)) + 1
    told = launch[title] > 0
    above = np.bincount(mix[told], first_day[told], kinds)
    below = np.bincount(mix[told], launch[title][told], kinds)
    return np.asarray(np.divide(above, below, out=np.full(kinds, np.nan), where=below > 0), dtype=np.float64)


def _lifts(files: Sequence[CatalogueFile], viewed: Flags, now: float, settings: PlannerSettings) -> Floats:
    """Per file, what tomorrow's campaigns make of its views; those that ran while it was viewed are in the views already."""
    lift = np.ones(len(files))
    for row, file in enumerate(files):
        if file.campaigns and settings.campaign_lift:
            lift[row] = 1.0 + settings.campaign_lift * _advertised(file, now, now + DAY_S)
            if viewed[row]:
                shown = _advertised(file, now - _SHOWN_DAYS * DAY_S, now)
                lift[row] /= 1.0 + settings.campaign_lift * shown
    return lift


def _advertised(file: CatalogueFile, begins: float, ends: float) -> float:
    """Reach of the campaigns between two instants, by the share of the time that they run."""
    return sum(
        one.reach * max(0.0, min(ends, one.ends_at) - max(begins, one.starts_at)) / (ends - begins)
        for one in file.campaigns
    )


def _age_days(file: CatalogueFile, now: float) -> float:
    return max(0.0, (now - file.shown_from) / DAY_S)


def _wide(value: float) -> tuple[float, float]:
    return value * WIDE[0], value * WIDE[1]
