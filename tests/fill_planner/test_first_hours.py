"""What a release shows in its first hours is no day's demand: it never lowers what is expected of it, of its title or of others."""

from __future__ import annotations

import pytest

from contracts.catalogue import FileKind
from contracts.places import Site
from fill_planner.config import PlannerSettings
from fill_planner.demand import SiteDemand, site_demands
from fill_planner.forecast.releases import ASSUMED, OTHER_RELEASES
from fill_planner.snapshot import CatalogueFile, HourlySeries, PlanningSite, SiteWindow

DAY_S, HOUR_S = 86_400, 3_600
NOW = 1_767_225_600 + HOUR_S
"""One in the night."""
SIZE = 1_000_000
SETTINGS = PlannerSettings()


def file(name: str, published_at: float, title: str = "t") -> CatalogueFile:
    return CatalogueFile(
        f"vod|/media/{title}/hd/{name}", name, title, FileKind.VIDEO, SIZE, "v", published_at=published_at
    )


def watched(views_by_hours_ago: dict[int, int]) -> HourlySeries:
    hours = sorted(NOW - NOW % HOUR_S - ago * HOUR_S for ago in views_by_hours_ago)
    views = [views_by_hours_ago[(NOW - NOW % HOUR_S - hour) // HOUR_S] for hour in hours]
    return HourlySeries(tuple(hours), tuple(SIZE * one for one in views))


def every_hour(days: int, views: int = 1) -> HourlySeries:
    return watched({ago: views for ago in range(1, 24 * days)})


def demand(files: list[CatalogueFile], traffic: dict[str, HourlySeries]) -> SiteDemand:
    window = SiteWindow(NOW + HOUR_S, NOW + 9 * HOUR_S, 10**9, 10**12)
    keyed = {one.key: traffic[one.group] for one in files if one.group in traffic}
    site = PlanningSite(Site("s", "S", "isp", "DE"), window, keyed)
    return site_demands((site,), files, NOW, SETTINGS)["s"]


def views_of(found: SiteDemand, row: int) -> float:
    return float(found.expected_bytes[row]) / SIZE


OLD = file("old.mp4", NOW - 30 * DAY_S, "other")
EARLIER = file("earlier.mp4", NOW - 3 * DAY_S, "earlier")
"""A release of three days ago, viewed twenty-four times a day."""
FRESH = file("fresh.mp4", NOW - HOUR_S)
BESIDE = file("beside.mp4", NOW - HOUR_S)
HISTORY = {"old.mp4": every_hour(6), "earlier.mp4": every_hour(3)}


def test_an_hour_with_one_view_does_not_lower_what_is_expected_of_a_release() -> None:
    unseen = demand([OLD, EARLIER, FRESH], HISTORY)
    seen = demand([OLD, EARLIER, FRESH], {**HISTORY, "fresh.mp4": watched({1: 1})})
    assert views_of(unseen, 2) > 15
    assert views_of(seen, 2) == pytest.approx(views_of(unseen, 2))
    assert seen.models[2] == OTHER_RELEASES


def test_an_hour_with_more_views_than_were_expected_of_a_day_is_believed() -> None:
    found = demand([OLD, EARLIER, FRESH], {**HISTORY, "fresh.mp4": watched({1: 500})})
    assert views_of(found, 2) >= 500


def test_the_first_hours_of_one_file_say_nothing_of_another_of_its_title_or_of_other_releases() -> None:
    alone = demand([OLD, EARLIER, BESIDE], HISTORY)
    both = demand([OLD, EARLIER, BESIDE, FRESH], {**HISTORY, "fresh.mp4": watched({1: 1})})
    assert views_of(both, 2) == pytest.approx(views_of(alone, 2))


def test_after_its_first_day_a_release_speaks_for_itself() -> None:
    before = replace_published(FRESH, NOW - 2 * DAY_S)
    found = demand([OLD, EARLIER, before], {**HISTORY, "fresh.mp4": watched({40: 1})})
    assert views_of(found, 2) < 5


def test_without_any_other_release_the_first_hours_do_not_go_below_the_assumption() -> None:
    settings_views = SETTINGS.release_views
    found = demand([OLD, FRESH], {"old.mp4": every_hour(6)})
    assert found.models[1] == ASSUMED
    assert views_of(found, 1) == pytest.approx(settings_views * (1 - 1 / 24 / SETTINGS.new_for_days))


def replace_published(one: CatalogueFile, published_at: float) -> CatalogueFile:
    return CatalogueFile(
        one.key, one.group, one.title_id, one.kind, one.size_bytes, one.version, one.licence, published_at
    )
