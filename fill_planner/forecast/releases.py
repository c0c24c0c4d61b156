"""Demand of files that nobody has viewed yet: taken from what is most like them, and fading while nobody comes.

In order: files of the same kind of the same title; the first days of other new files of that kind at the site; the
setting `release_views`. Only files younger than `new_for_days` get it: an older file without traffic had its chance.

A file that came out less than a day ago has shown the hours of a night, perhaps, and no evening: what was seen of it is the least that
is expected, and tells nothing of its title or of other releases yet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from contracts.catalogue import FileKind
from fill_planner.config import PlannerSettings
from fill_planner.forecast.choice import Forecast
from fill_planner.popularity import DAY_S, DailyPopularity
from fill_planner.snapshot import CatalogueFile

SAME_TITLE = "release-same-title"
OTHER_RELEASES = "release-median"
ASSUMED = "release-assumed"
BORROWED = "other-sites"
FIRST_DAY = 1.0
"""Days before which a file has had no evening yet."""


def with_releases(
    found: Forecast,
    history: DailyPopularity,
    files: Sequence[CatalogueFile],
    now: float,
    settings: PlannerSettings,
) -> Forecast:
    """The forecast with priors where a new file has no views, or no whole day. Files with a day of views are left as they are."""
    views = found.views.copy()
    models = list(found.models)
    ages_days = [max(0.0, (now - file.published_at) / DAY_S) for file in files]
    viewed: NDArray[np.bool_] = np.asarray(history.views.any(axis=1))
    told = viewed & (np.array(ages_days) >= FIRST_DAY) & (history.start < history.days)
    by_title, by_kind = _seen(found, history, files, told)
    for row in np.flatnonzero(~told).tolist():
        file, age_days = files[row], ages_days[row]
        if age_days >= settings.new_for_days:
            continue
        if titled := by_title.get((file.title_id, file.kind)):
            prior, model = float(np.median(titled)), SAME_TITLE
        elif others := by_kind.get(file.kind):
            prior, model = float(np.median(others)), OTHER_RELEASES
        else:
            prior, model = settings.release_views, ASSUMED
        expected = prior * (1.0 - age_days / settings.new_for_days)
        if expected > views[row] or not viewed[row]:
            views[row], models[row] = expected, model
    return replace(found, views=views, models=tuple(models))


def borrowed(others: Sequence[Forecast], files: int, settings: PlannerSettings) -> Forecast:
    """The forecast of a site that has never reported: the mean of other sites, or the same demand for every file."""
    if others:
        mean = np.mean([other.views for other in others], axis=0)
        return Forecast(views=mean, models=(BORROWED,) * files, site_error=None)
    return Forecast(views=np.full(files, settings.release_views), models=(ASSUMED,) * files, site_error=None)


def _seen(
    found: Forecast, history: DailyPopularity, files: Sequence[CatalogueFile], told: NDArray[np.bool_]
) -> tuple[dict[tuple[str, FileKind], list[float]], dict[FileKind, list[float]]]:
    """(forecast views by title and kind, first-day views by kind of files that came out inside the history), of the rows in `told`."""
    by_title: dict[tuple[str, FileKind], list[float]] = defaultdict(list)
    by_kind: dict[FileKind, list[float]] = defaultdict(list)
    for row in np.flatnonzero(told).tolist():
        file = files[row]
        by_title[(file.title_id, file.kind)].append(float(found.views[row]))
        if history.start[row] > 0:
            by_kind[file.kind].append(float(history.views[row, history.start[row]]))
    return by_title, by_kind
