"""Makes plans: every night at a set time, when an operator asks, and anew for a site that lost an appliance or a disk.

One at a time; the planner runs on a thread. What is decided is decided in `fill_planner`, `pinning`, `losses` and `composing`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

import msgspec

from chassis.errors import ProblemError
from chassis.logs import get_logger
from contracts.instants import hour_of
from contracts.plans import AppliancePlan, PlacementExplanation, PlanCause, PlanSummary
from control_plane import composing, losses, plans
from control_plane.archive import accounts as account_archive
from control_plane.archive import catalogue as catalogue_archive
from control_plane.archive import plans as plan_archive
from control_plane.archive import reports as report_archive
from control_plane.archive import wishes as wish_archive
from control_plane.composing import Told
from control_plane.config import Plans
from control_plane.desk import Desk
from control_plane.errors import conflict, unknown
from control_plane.health import STARTUP_GRACE_S
from control_plane.losses import Doubt, Seen
from control_plane.registry import Box
from fill_planner.config import PlannerSettings
from fill_planner.plan import Plan, make_plan
from fill_planner.snapshot import PlanningSnapshot

LONGEST_SLEEP_S = 60.0
"""The wall clock may be set meanwhile: it is looked at again at least this often."""
LOOK_S = 5.0
"""How often sites are compared with what their plans were made for."""
RETRY_S = 60.0


class Planning:
    """The one who makes plans."""

    def __init__(self, desk: Desk, settings: Plans, planner: PlannerSettings) -> None:
        self._desk = desk
        self._settings = settings
        self._planner = planner
        self._one_plan = asyncio.Lock()
        self._suspect_since: dict[str, float] = {}
        self._doubts: dict[str, Doubt] = {}
        self._planned: dict[str, dict[str, Seen]] = {}
        self._followers: list[Callable[[Iterable[str]], None]] = []

    def when_in_force(self, follower: Callable[[Iterable[str]], None]) -> None:
        """`follower` hears of the sites of every plan that stands, after it is in force."""
        self._followers.append(follower)

    async def make(self, cause: PlanCause = PlanCause.ASKED, only: tuple[str, ...] = ()) -> PlanSummary:
        """A plan from the record as it is now, for all sites or `only` some: stored, in force, every appliance nudged.

        Raises ProblemError CONFLICT when there is no origin to fill from.
        """
        async with self._one_plan:
            began_s = self._desk.clock.monotonic_s()
            picture = await self.snapshot(cause, only)
            plan = await asyncio.to_thread(make_plan, picture, self._planner)
            plan = await self._put_in_force(plan)
            self._remember(picture)
            took_s = self._desk.clock.monotonic_s() - began_s
        self._desk.metrics.plan_seconds.observe(took_s)
        self._desk.metrics.plans.labels(cause.value).inc()
        get_logger("control_plane.planning").info(
            "plan-made",
            plan=plan.summary.number,
            cause=cause.value,
            sites=" ".join(only) or "all",
            orders=plan.summary.orders,
            bytes_to_fill=plan.summary.bytes_to_fill,
            placed=plan.summary.placed_files,
            unplaced=plan.summary.unplaced_files,
            seconds=round(took_s, 3),
        )
        return plan.summary

    async def explain(self, key: str, site_id: str, cluster: str | None) -> PlacementExplanation:
        """Why the file is (not) at the site by the plan in force there, with the bytes served and filled since it was made.

        Served bytes count from the beginning of the hour in which the plan was made: traffic is known by the hour. Raises
        ProblemError NOT_FOUND.
        """
        registry = self._desk.registry
        async with self._desk.database.read() as session:
            newest = await plan_archive.explaining(session, site_id)
            if newest is None:
                raise unknown("plan yet that could explain", key)
            found = await plan_archive.explanation(session, newest.number, key, site_id, cluster)
            if found is None:
                raise unknown(f"placement at site {site_id!r} in plan {newest.number} of", key)
            boxes = [
                box.id
                for box in registry.at_site(site_id)
                if box.registration.manifest_cluster == found.manifest_cluster
            ]
            served = await report_archive.served_since(session, key, boxes, newest.created_at)
            filled = await report_archive.filled_since(session, key, boxes, newest.created_at)
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

    async def watch(self) -> None:
        """Background task: sites that lost an appliance or a disk, or got one back, are planned anew after the patience."""
        while True:
            well = await self.plan_losses()
            await self._desk.clock.sleep(LOOK_S if well else RETRY_S)

    async def plan_losses(self) -> bool:
        """Plans anew what is due now; False when a site could not be planned."""
        well = True
        for site_id, cause in self.look().items():
            try:
                await self.make(cause, (site_id,))
            except ProblemError as error:
                well = False
                get_logger("control_plane.planning").warning(
                    "replan-failed", site=site_id, cause=cause.value, why=error.detail
                )
        return well

    def look(self) -> dict[str, PlanCause]:
        """Sites that are to be planned anew now, and why; call it again and again, it measures how long things last."""
        now_s = self._desk.clock.monotonic_s()
        filled = [box for box in self._desk.registry.boxes.values() if plans.is_filled(box)]
        suspects = {box.id for box in filled if box.pulse.suspect is not None}
        if losses.is_ours(len(suspects), len(filled)):
            if self._doubts:
                get_logger("control_plane.planning").warning("replan-withheld", suspects=len(suspects), of=len(filled))
            self._suspect_since = {}
            self._doubts = {}
            return {}
        self._suspect_since = {box_id: self._suspect_since.get(box_id, now_s) for box_id in suspects}
        planned: dict[str, list[Box]] = {site_id: [] for site_id in self._desk.registry.sites}
        for box in self._desk.registry.boxes.values():
            if box.standing is not None:
                planned[box.site_id].append(box)
        causes = {site_id: self._cause(site_id, boxes) for site_id, boxes in planned.items()}
        self._doubts = losses.doubts_after(self._doubts, causes, now_s)
        return losses.due(self._doubts, now_s, self._settings.replan_after_s)

    def _cause(self, site_id: str, planned: list[Box]) -> PlanCause | None:
        """By what was seen when the site was planned; after a start, by what is seen first."""
        baseline = self._planned.setdefault(site_id, {box.id: Seen(False, box.disk_bytes) for box in planned})
        now = {box.id: Seen(box.pulse.suspect is not None, box.disk_bytes) for box in planned if plans.is_filled(box)}
        stays = {box.id: baseline[box.id] for box in planned if box.id in baseline and plans.is_filled(box)}
        return losses.cause_of(stays, now)

    def _lost(self) -> frozenset[str]:
        """Appliances that have been suspect for the whole patience."""
        now_s = self._desk.clock.monotonic_s()
        patience_s = self._settings.replan_after_s
        return frozenset(box_id for box_id, since_s in self._suspect_since.items() if now_s - since_s >= patience_s)

    def _remember(self, picture: PlanningSnapshot) -> None:
        planned = picture.only or tuple(site.site.id for site in picture.sites)
        for site_id in planned:
            self._planned[site_id] = {
                entry.appliance.id: Seen(entry.lost, entry.appliance.disk_bytes)
                for entry in picture.appliances
                if entry.appliance.site_id == site_id
            }
            self._doubts.pop(site_id, None)

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
        await self.make(PlanCause.NIGHTLY)
        before = self._desk.calendar.wall_s() - self._settings.traffic_days * plans.DAY_S
        async with self._desk.alone(), self._desk.archive() as session:
            await report_archive.forget(session, before)
            await account_archive.forget(session, hour_of(before))
            await wish_archive.forget_prepositions(session, before)

    async def snapshot(
        self, cause: PlanCause = PlanCause.ASKED, only: tuple[str, ...] = (), *, demand: bool = True
    ) -> PlanningSnapshot:
        """What a plan made now would be made from; without `demand` as orders out of cycle need it.

        Raises ProblemError CONFLICT when there is no origin to fill from.
        """
        desk = self._desk
        origin = next(iter(desk.registry.origins.values()), None)
        if origin is None:
            raise conflict("no origin has registered yet, so there is nothing to fill from; start the origin")
        now = desk.calendar.wall_s()
        since = now - self._planner.history_days * plans.DAY_S
        wanted = plans.Wanted(cause, only, self._lost())
        async with desk.database.read() as session:
            number = await plan_archive.next_number(session)
            files = await catalogue_archive.for_planning(session)
            pins = await wish_archive.pins(session)
            used = {
                site_id: sum((await report_archive.fetched_since(session, site_id, opens_at)).values())
                for site_id, opens_at in plans.open_windows(desk.registry, now).items()
            }
            if not demand:
                heard = plans.Heard({}, {}, pins, used)
            else:
                sites = plans.heard_sites(desk.registry, only)
                traffic = await report_archive.traffic_by_site(session, since, sites)
                if sites is not None and not traffic:
                    # Nobody in the region was heard: it borrows from all others, as at night.
                    sites = None
                    traffic = await report_archive.traffic_by_site(session, since, sites)
                served = await report_archive.hours_served(session, since, sites)
                feeds = await wish_archive.feed_traffic(session, plans.feeds_named(desk.registry), since)
                heard = plans.Heard(traffic, feeds, pins, used, served)
        return plans.snapshot(desk.registry, heard, files, origin, number, now, wanted)

    async def _put_in_force(self, plan: Plan) -> Plan:
        """The plan as it was stored: under a later number where plans were told while this one was made."""
        desk = self._desk
        async with desk.alone():
            async with desk.archive() as session:
                plan = renumbered(plan, await plan_archive.next_number(session), desk.calendar.wall_s())
                await plan_archive.store(session, plan, self._settings.keep)
            if not plan.summary.sites:
                desk.registry.plan = plan.summary
                desk.metrics.plan_number.set(plan.summary.number)
            self._tell({item.appliance_id: item for item in plan.appliances}, stands=True)
        for follower in self._followers:
            follower(plan.summary.sites or tuple(desk.registry.sites))
        return plan

    async def telling(self, site_id: str) -> Told:
        """What plans that are composed now for a site need to know; inside `Desk.alone`."""
        desk, now = self._desk, self._desk.calendar.wall_s()
        standing = [box.standing for box in desk.registry.at_site(site_id) if box.standing is not None]
        opened = [max(p.window_opens_at, p.created_at) for p in standing if composing.is_open(p, now)]
        async with desk.database.read() as session:
            number = await plan_archive.next_number(session)
            used = await report_archive.fetched_since(session, site_id, min(opened)) if opened else {}
        return Told(number, now, desk.registry.sites[site_id].window.rate_bps, used)

    async def tell(self, told: Mapping[str, AppliancePlan], summary: PlanSummary, *, stands: bool) -> None:
        """Puts plans in force that were composed of others; inside `Desk.alone`, with the number that was next in it."""
        async with self._desk.archive() as session:
            await plan_archive.store(session, Plan(summary, tuple(told.values()), ()), self._settings.keep)
        self._desk.metrics.plans.labels(summary.cause.value).inc()
        self._tell(told, stands=stands)

    def _tell(self, told: Mapping[str, AppliancePlan], *, stands: bool) -> None:
        desk = self._desk
        for box_id, item in told.items():
            box = desk.registry.boxes.get(box_id)
            if box is not None:
                desk.tell(desk.registry.set_plan(box, item, stands=stands))
                desk.nudge(box_id)


def renumbered(plan: Plan, number: int, now: float) -> Plan:
    """The plan under the number that is free now. Appliances go by the later instant, so that a new number has a new one."""
    if number == plan.summary.number:
        return plan
    return Plan(
        msgspec.structs.replace(plan.summary, number=number, created_at=now),
        tuple(msgspec.structs.replace(one, number=number, created_at=now) for one in plan.appliances),
        tuple(msgspec.structs.replace(one, plan_number=number) for one in plan.explanations),
    )


def _with_outcome(found: PlacementExplanation, served: int, filled: int) -> PlacementExplanation:
    return msgspec.structs.replace(found, served_bytes=served, filled_bytes=filled)
