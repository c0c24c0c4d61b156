"""Demand of files that nobody has viewed yet: taken from what is most like them, and fading while nobody comes.

In order: files of the same kind of the same title; the first days of other new files of that kind at the site; the
setting `release_views`. Only files younger than `new_for_days` get it: an older file without traffic had its chance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from contracts.catalogue import FileKind
from fill_planner.config import PlannerSettings
from fill_planner.forecast.choice import Forecast
from fill_planner.popularity import DAY_S, DailyPopularity
from fill_planner.snapshot import CatalogueFile

SAME_TITLE = "release-same-title"
OTHER_RELEASES = "release-median"
ASSUMED = "release-assumed"
BORROWED = "other-sites"


def with_releases(
    found: Forecast,
    history: DailyPopularity,
    files: Sequence[CatalogueFile],
    now: float,
    settings: PlannerSettings,
) -> Forecast:
    """The forecast with priors where a new file has no views. Files with views are left as they are."""
    views = found.views.copy()
    models = list(found.models)
    by_title, by_kind = _seen(found, history, files)
    unseen = ~history.views.any(axis=1)
    for row in np.flatnonzero(unseen).tolist():
        file = files[row]
        age_days = max(0.0, (now - file.published_at) / DAY_S)
        if age_days >= settings.new_for_days:
            continue
        if titled := by_title.get((file.title_id, file.kind)):
            prior, models[row] = float(np.median(titled)), SAME_TITLE
        elif others := by_kind.get(file.kind):
            prior, models[row] = float(np.median(others)), OTHER_RELEASES
        else:
            prior, models[row] = settings.release_views, ASSUMED
        views[row] = prior * (1.0 - age_days / settings.new_for_days)
    return replace(found, views=views, models=tuple(models))


def borrowed(others: Sequence[Forecast], files: int, settings: PlannerSettings) -> Forecast:
    """The forecast of a site that has never reported: the mean of other sites, or the same demand for every file."""
    if others:
        mean = np.mean([other.views for other in others], axis=0)
        return Forecast(views=mean, models=(BORROWED,) * files, site_error=None)
    return Forecast(views=np.full(files, settings.release_views), models=(ASSUMED,) * files, site_error=None)


def _seen(
    found: Forecast, history: DailyPopularity, files: Sequence[CatalogueFile]
) -> tuple[dict[tuple[str, FileKind], list[float]], dict[FileKind, list[float]]]:
    """(forecast views by title and kind, first-day views by kind of files that came out inside the history)."""
    by_title: dict[tuple[str, FileKind], list[float]] = defaultdict(list)
    by_kind: dict[FileKind, list[float]] = defaultdict(list)
    for row in np.flatnonzero(history.views.any(axis=1)).tolist():
        file = files[row]
        by_title[(file.title_id, file.kind)].append(float(found.views[row]))
        if history.start[row] > 0:
            by_kind[file.kind].append(float(history.views[row, history.start[row]]))
    return by_title, by_kind
