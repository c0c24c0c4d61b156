"""Snapshots for tests: a small builder, and what a night of filling makes of a snapshot."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec

from contracts.catalogue import FileKind, Licence
from contracts.places import Appliance, ApplianceState, Site
from fill_planner.plan import (
    CatalogueFile,
    HourlySeries,
    Plan,
    PlanningAppliance,
    PlanningSite,
    PlanningSnapshot,
    SiteWindow,
)

NOW = 1_700_000_000.0
HOUR = 3600
MB = 1_000_000
ANYWHERE = Licence()
WIDE = SiteWindow(opens_at=NOW + HOUR, closes_at=NOW + 13 * HOUR, rate_bps=10_000_000_000, volume_bytes=10**15)


def file(
    title: str, rendition: str, size_bytes: int, licence: Licence = ANYWHERE, published_at: float = 0.0
) -> CatalogueFile:
    return CatalogueFile(
        key=f"vod|/media/{title}/hd/{rendition}.mp4",
        group=f"{title}/{rendition}",
        title_id=title,
        kind=FileKind.VIDEO,
        size_bytes=size_bytes,
        version=f"{title}-{rendition}",
        licence=licence,
        published_at=published_at,
    )


def playlist(of: CatalogueFile) -> CatalogueFile:
    return msgspec.structs.replace(
        of, key=of.key.replace(".mp4", ".m3u8"), kind=FileKind.PLAYLIST, size_bytes=2_000, version=f"{of.version}-list"
    )


def steady(views_a_day: float, size_bytes: int, days: int = 7) -> HourlySeries:
    """The same views every day, all in the hour of planning."""
    end = int(NOW) // HOUR * HOUR
    hours = tuple(end - day * 24 * HOUR for day in reversed(range(days)))
    # One hour more, so that the oldest day is whole.
    return HourlySeries((hours[0] - 23 * HOUR, *hours), (0, *(int(views_a_day * size_bytes) for _ in hours)))


def site(
    site_id: str,
    traffic: dict[str, HourlySeries],
    *,
    tier: bool = False,
    window: SiteWindow = WIDE,
    region: str = "CH",
    required: tuple[str, ...] = (),
    silent: tuple[int, ...] = (),
) -> PlanningSite:
    where = Site(site_id, site_id, f"isp-{site_id}", region, is_tier=tier)
    return PlanningSite(where, window, traffic, required, silent=silent)


def box(
    box_id: str,
    site_id: str,
    disk_bytes: int,
    *,
    held: dict[str, int] | None = None,
    pins: tuple[str, ...] = (),
    state: ApplianceState = ApplianceState.LIVE,
    cluster: str = "main",
    domain: str = "",
    suspect: bool = False,
) -> PlanningAppliance:
    appliance = Appliance(
        box_id, site_id, cluster, state, peer_url=f"https://{box_id}:8443", disk_bytes=disk_bytes, failure_domain=domain
    )
    return PlanningAppliance(appliance, held or {}, pins, suspect)


def snapshot(
    sites: Sequence[PlanningSite], boxes: Sequence[PlanningAppliance], files: Sequence[CatalogueFile], number: int = 1
) -> PlanningSnapshot:
    return PlanningSnapshot(number, NOW, tuple(sites), tuple(boxes), tuple(files), "origin", "https://origin:9443")


def filled(before: PlanningSnapshot, plan: Plan) -> PlanningSnapshot:
    """The next night, every order carried out and everything unpinned evicted; nothing else changed."""
    size = {file.key: file.size_bytes for file in before.files}
    pins = {its.appliance_id: its.pins for its in plan.appliances}
    boxes = tuple(
        msgspec.structs.replace(
            entry, held={key: size[key] for key in pins[entry.appliance.id]}, pins=pins[entry.appliance.id]
        )
        if entry.appliance.id in pins
        else entry
        for entry in before.appliances
    )
    return msgspec.structs.replace(before, number=before.number + 1, appliances=boxes)


def zipf_world(seed: int, *, titles: int = 40, disk_share: float = 0.4, window: SiteWindow = WIDE) -> PlanningSnapshot:
    """Site `a` (a tier, two boxes), site `b` (one box); a week of Zipf demand; each box may hold `disk_share` of all bytes."""
    rng = random.Random(seed)
    videos = [file(f"title-{n}", "v-360", rng.randint(MB, 20 * MB)) for n in range(titles)]
    files = [one for video in videos for one in (video, playlist(video))]
    total = sum(one.size_bytes for one in files)

    def traffic() -> dict[str, HourlySeries]:
        order = rng.sample(videos, len(videos))
        return {one.key: steady(1000 / (rank + 1) ** 0.9, one.size_bytes) for rank, one in enumerate(order)}

    disk = int(total * disk_share)
    return snapshot(
        [site("a", traffic(), tier=True, window=window), site("b", traffic(), window=window)],
        [box("a1", "a", disk), box("a2", "a", disk), box("b1", "b", disk)],
        files,
    )
