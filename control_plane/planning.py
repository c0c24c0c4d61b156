"""Makes plans: every night at a set time, and when an operator asks. One at a time; the planner runs on a thread."""

from __future__ import annotations

import asyncio

import msgspec

from chassis.logs import get_logger
from contracts.plans import PlacementExplanation, PlanSummary
from control_plane import plans
from control_plane.archive import catalogue as catalogue_archive
from control_plane.archive import plans as plan_archive
from control_plane.archive import reports as report_archive
from control_plane.config import Plans
from control_plane.desk import Desk
from control_plane.errors import conflict, unknown
from control_plane.health import STARTUP_GRACE_S
from fill_planner.config import PlannerSettings
from fill_planner.plan import Plan, make_plan
from fill_planner.snapshot import PlanningSnapshot

LONGEST_SLEEP_S = 60.0
"""The wall clock may be set meanwhile: it is looked at again at least this often."""


class Planning:
    """The one who makes plans."""

    def __init__(self, desk: Desk, settings: Plans, planner: PlannerSettings) -> None:
        self._desk = desk
        self._settings = settings
        self._planner = planner
        self._one_plan = asyncio.Lock()

    async def make(self) -> PlanSummary:
        """A plan from the record as it is now: stored, in force, every appliance nudged.

        Raises ProblemError CONFLICT when there is no origin to fill from.
        """
        async with self._one_plan:
            began_s = self._desk.clock.monotonic_s()
            plan = await asyncio.to_thread(make_plan, await self.snapshot(), self._planner)
            await self._put_in_force(plan)
            took_s = self._desk.clock.monotonic_s() - began_s
        self._desk.metrics.plan_seconds.observe(took_s)
        self._desk.metrics.plan_number.set(plan.summary.number)
        get_logger("control_plane.planning").info(
            "plan-made",
            plan=plan.summary.number,
            orders=plan.summary.orders,
            bytes_to_fill=plan.summary.bytes_to_fill,
            placed=plan.summary.placed_files,
            unplaced=plan.summary.unplaced_files,
            seconds=round(took_s, 3),
        )
        return plan.summary

    async def explain(self, key: str, site_id: str, cluster: str | None) -> PlacementExplanation:
        """Why the file is (not) at the site by the plan in force, with the bytes served and filled since it was made.

        Served bytes count from the beginning of the hour in which the plan was made: traffic is known by the hour. Raises
        ProblemError NOT_FOUND.
        """
        summary = self._desk.registry.plan
        if summary is None:
            raise unknown("plan yet that could explain", key)
        async with self._desk.database.read() as session:
            found = await plan_archive.explanation(session, summary.number, key, site_id, cluster)
            if found is None:
                raise unknown(f"placement at site {site_id!r} in plan {summary.number} of", key)
            boxes = [
                box.id
                for box in self._desk.registry.at_site(site_id)
                if box.registration.manifest_cluster == found.manifest_cluster
            ]
            served = await report_archive.served_since(session, key, boxes, summary.created_at)
            filled = await report_archive.filled_since(session, key, boxes, summary.created_at)
        return _with_outcome(found, served, filled)

    async def run(self) -> None:
        """Background task: tonight's plan, every night; at once when the last night's was missed."""
        if not self._settings.at:
            return
        if self._missed():
            await self._desk.clock.sleep(STARTUP_GRACE_S)
            await self._make_tonight()
        due = plans.next_due(self._settings.at, self._desk.calendar.wall_s())
        while True:
            left_s = due - self._desk.calendar.wall_s()
            if left_s > 0:
                await self._desk.calendar.sleep(min(left_s, LONGEST_SLEEP_S))
                continue
            await self._make_tonight()
            due = plans.next_due(self._settings.at, self._desk.calendar.wall_s())

    def _missed(self) -> bool:
        summary = self._desk.registry.plan
        return summary is not None and summary.created_at < plans.last_due(
            self._settings.at, self._desk.calendar.wall_s()
        )

    async def _make_tonight(self) -> None:
        """A night without an origin or an appliance has nothing to plan."""
        if not self._desk.registry.origins or not self._desk.registry.boxes:
            get_logger("control_plane.planning").warning("plan-skipped", why="no origin or no appliance")
            return
        await self.make()
        before = self._desk.calendar.wall_s() - self._settings.traffic_days * plans.DAY_S
        async with self._desk.alone(), self._desk.archive() as session:
            await report_archive.forget(session, before)

    async def snapshot(self) -> PlanningSnapshot:
        """What a plan made now would be made from. Raises ProblemError CONFLICT when there is no origin to fill from."""
        desk = self._desk
        origin = next(iter(desk.registry.origins.values()), None)
        if origin is None:
            raise conflict("no origin has registered yet, so there is nothing to fill from; start the origin")
        now = desk.calendar.wall_s()
        async with desk.database.read() as session:
            number = await plan_archive.next_number(session)
            files = await catalogue_archive.for_planning(session)
            since = now - self._planner.history_days * plans.DAY_S
            traffic = await report_archive.traffic_by_site(session, since)
        return plans.snapshot(desk.registry, traffic, files, origin, number, now)

    async def _put_in_force(self, plan: Plan) -> None:
        desk = self._desk
        async with desk.alone():
            async with desk.archive() as session:
                await plan_archive.store(session, plan, self._settings.keep)
            desk.registry.plan = plan.summary
            for item in plan.appliances:
                box = desk.registry.boxes.get(item.appliance_id)
                if box is not None:
                    desk.tell(desk.registry.set_plan(box, item))
            desk.nudge_all()


def _with_outcome(found: PlacementExplanation, served: int, filled: int) -> PlacementExplanation:
    return msgspec.structs.replace(found, served_bytes=served, filled_bytes=filled)
