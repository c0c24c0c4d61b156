"""Nightly reports: made of every site after its window has closed, kept for a while, shown as JSON and as a page."""

from __future__ import annotations

from chassis.logs import get_logger
from contracts.nightly import NightlyList, NightlyReport
from contracts.places import Site
from control_plane import windows
from control_plane.archive import catalogue as catalogue_archive
from control_plane.archive import nightly as nightly_archive
from control_plane.archive import plans as plan_archive
from control_plane.archive import reports as report_archive
from control_plane.config import Plans
from control_plane.desk import Desk
from control_plane.errors import unknown
from control_plane.nightly_facts import DAY_S, Expectation, Night, report_of

LOOK_S = 30.0
AFTER_S = 60.0
"""After the closing, so that the last reports of the appliances are in."""
STALE_S = DAY_S


class Nightly:
    """The one who writes the reports."""

    def __init__(self, desk: Desk, settings: Plans) -> None:
        self._desk = desk
        self._settings = settings
        self._newest: dict[str, float] = {}

    async def load(self) -> None:
        async with self._desk.database.read() as session:
            self._newest = await nightly_archive.newest(session)

    async def watch(self) -> None:
        """Background task. What closed more than a day ago, while nobody was here, is not reported on any more."""
        while True:
            await self.make_due()
            await self._desk.calendar.sleep(LOOK_S)

    async def make_due(self) -> None:
        """The reports of all windows that have closed and have none."""
        for site in tuple(self._desk.registry.sites.values()):
            now = self._desk.calendar.wall_s()
            closed = windows.last_closed(site.window, now - AFTER_S)
            if now - closed[1] < STALE_S and self._newest.get(site.id, 0.0) < closed[1]:
                await self.make(site, *closed)

    async def make(self, site: Site, opens_at: float, closes_at: float) -> NightlyReport:
        """The report of one window, in place of an earlier one of the same day."""
        desk = self._desk
        made = report_of(await self._night(site, opens_at, closes_at))
        async with desk.alone():
            if site.id not in desk.registry.sites:
                return made
            async with desk.archive() as session:
                await nightly_archive.put(session, made)
                await nightly_archive.forget(session, desk.calendar.wall_s() - self._settings.report_days * DAY_S)
            self._newest[site.id] = closes_at
        desk.metrics.nightly_reports.inc()
        get_logger("control_plane.nightly").info(
            "nightly-report", site=site.id, day=made.day, orders=made.orders, failed=made.orders_failed
        )
        return made

    async def listed(self) -> NightlyList:
        async with self._desk.database.read() as session:
            return NightlyList(await nightly_archive.listed(session))

    async def report(self, site_id: str, day: str) -> NightlyReport:
        """`day` as YYYY-MM-DD, or `latest`. Raises ProblemError NOT_FOUND."""
        async with self._desk.database.read() as session:
            if day == "latest":
                day = await nightly_archive.latest_day(session, site_id) or day
            found = await nightly_archive.report(session, site_id, day)
        if found is None:
            raise unknown(f"nightly report of site {site_id!r} for", day)
        return found

    async def _night(self, site: Site, opens_at: float, closes_at: float) -> Night:
        desk = self._desk
        boxes = [box.id for box in desk.registry.at_site(site.id)]
        day_began = closes_at - DAY_S
        async with desk.database.read() as session:
            plan = await plan_archive.explaining(session, site.id, closes_at)
            before = await plan_archive.explaining(session, site.id, day_began)
            plans = await nightly_archive.plans_of(session, plan.number, boxes) if plan else ()
            plans_before = await nightly_archive.plans_of(session, before.number, boxes) if before else ()
            expected = await nightly_archive.expected(session, before.number, site.id) if before else ()
            sizes = await catalogue_archive.sizes(session)
            return Night(
                site=site,
                opens_at=opens_at,
                closes_at=closes_at,
                made_at=desk.calendar.wall_s(),
                plan=plan,
                plans=plans,
                before=before,
                pins_before={key for one in plans_before for key in one.pins},
                expected=[Expectation(one.key, one.size_bytes, one.forecast_bytes, one.copies) for one in expected],
                sizes=sizes,
                hours=await report_archive.hours_by_source(session, site.id, day_began, closes_at),
                served=await nightly_archive.served_between(session, site.id, day_began, closes_at),
                progress=await nightly_archive.progress_since(session, boxes, opens_at),
            )
