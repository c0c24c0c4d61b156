"""Orders out of cycle: made when an operator asks, told beside the plan that stands, and taken back when they are over.

Laws
- What a site is told follows from its phase (`composing.Phase`); when that changes (an order comes or ends, a window opens or closes, a plan
  comes into force) it is told anew. While the control plane is away, appliances go on with what they were told last.
- A preposition that could order nothing at all is refused; one that could order some says what it could not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec

from chassis.logs import get_logger
from contracts.pins import Preposition, PrepositionList, PrepositionRequest, PrepositionStatus
from contracts.plans import AppliancePlan, PlanCause, PlanSummary
from contracts.reports import FillState
from control_plane import composing
from control_plane.archive import access as access_archive
from control_plane.archive import reports as report_archive
from control_plane.archive import wishes as wish_archive
from control_plane.composing import Phase, Told
from control_plane.desk import Desk
from control_plane.errors import conflict, contradiction, unknown
from control_plane.pinning import in_scope, keys_meant, wrong_preposition
from control_plane.planning import Planning
from control_plane.registry import Box
from fill_planner.config import PlannerSettings
from fill_planner.outofcycle import place_now

LOOK_S = 1.0


class Prepositions:
    """The orders out of cycle that are not over, and the phase of each site they concern."""

    def __init__(self, desk: Desk, planning: Planning, planner: PlannerSettings) -> None:
        self._desk = desk
        self._planning = planning
        self._planner = planner
        self._known: dict[int, Preposition] = {}
        self._phases: dict[str, Phase] = {}
        """Of the sites that are told something else than the plan that stands."""
        self._changed: set[str] = set()
        planning.when_in_force(self._changed.update)

    async def load(self) -> None:
        """What was active when the control plane stopped goes on; what ended meanwhile is taken back."""
        async with self._desk.database.read() as session:
            found = await wish_archive.prepositions(session, self._desk.calendar.wall_s())
        self._known = {one.number: one for one in found}
        self._changed = set(self._desk.registry.sites)
        self._count()

    async def make(self, wanted: PrepositionRequest, operator: str) -> PrepositionStatus:
        """Raises ProblemError: UNPROCESSABLE, NOT_FOUND for a file nobody published, CONFLICT when nothing could be ordered."""
        desk, now = self._desk, self._desk.calendar.wall_s()
        wrong = wrong_preposition(wanted, desk.registry.sites, now)
        if wrong:
            raise contradiction(wrong)
        sites = tuple(site.id for site in desk.registry.sites.values() if in_scope(wanted, site))
        picture = await self._planning.snapshot(PlanCause.PREPOSITION, sites, demand=False)
        by_title: dict[str, list[str]] = {}
        for file in picture.files:
            by_title.setdefault(file.title_id, []).append(file.key)
        keys = frozenset(keys_meant(wanted, {file.key for file in picture.files}, by_title))
        if not keys:
            raise unknown("published file or title", wanted.key or wanted.title_id)
        taken = self._taken()
        placed = await asyncio.to_thread(place_now, picture, keys, wanted.until, wanted.rate_bps, taken, self._planner)
        if not placed.orders:
            raise conflict("nothing could be ordered: " + "; ".join(placed.refused))
        async with desk.alone():
            async with desk.archive() as session:
                made = await wish_archive.add_preposition(
                    session, Preposition(0, wanted, operator, now, placed.orders, placed.held, placed.refused)
                )
                detail = msgspec.json.encode(wanted).decode()
                await access_archive.note(session, now, operator, "preposition", str(made.number), detail)
            self._known[made.number] = made
        get_logger("control_plane.prepositions").info(
            "preposition-made", number=made.number, orders=len(made.orders), held=made.held, refused=len(made.refused)
        )
        await self.settle()
        return await self._status(made)

    async def cancel(self, number: int, operator: str) -> PrepositionStatus:
        """Its orders end, its files are kept only where a plan says so. Raises ProblemError NOT_FOUND for one that is over."""
        desk, now = self._desk, self._desk.calendar.wall_s()
        async with desk.alone():
            known = self._known.get(number)
            if known is None or not composing.is_active(known, now):
                raise unknown("active preposition", str(number))
            ended = msgspec.structs.replace(known, cancelled_at=now)
            async with desk.archive() as session:
                await wish_archive.put_preposition(session, ended)
                await access_archive.note(session, now, operator, "cancel-preposition", str(number))
            self._known[number] = ended
        await self.settle()
        return await self._status(ended)

    async def listed(self) -> PrepositionList:
        """Those that are kept, newest first."""
        async with self._desk.database.read() as session:
            found = await wish_archive.prepositions(session)
        return PrepositionList(tuple([await self._status(one) for one in reversed(found)]))

    async def watch(self) -> None:
        """Background task: tells anew where the phase has changed."""
        while True:
            await self.settle()
            await self._desk.clock.sleep(LOOK_S)

    async def settle(self) -> None:
        """Every site is told what its phase asks for."""
        now = self._desk.calendar.wall_s()
        active = [one for one in self._known.values() if composing.is_active(one, now)]
        concerned = {self._site_of(placed.appliance_id) for one in active for placed in one.orders}
        for site_id in sorted((concerned | self._phases.keys() | self._changed) & self._desk.registry.sites.keys()):
            await self._settle(site_id, [one for one in active if self._concerns(one, site_id)])
        self._known = {number: one for number, one in self._known.items() if composing.is_active(one, now)}
        self._count()

    async def _settle(self, site_id: str, active: list[Preposition]) -> None:
        desk = self._desk
        async with desk.alone():
            now = desk.calendar.wall_s()
            boxes = desk.registry.at_site(site_id)
            standing = {box.id: box.standing for box in boxes if box.standing is not None}
            phase = composing.phase_of(standing.values(), active, now)
            if not active:
                if self._phases.pop(site_id, None) is not None or _is_told_otherwise(boxes):
                    await self._tell_standing(site_id, standing)
            elif self._phases.get(site_id) != phase:
                told = await self._planning.telling(site_id)
                plans = composing.compose(standing, (box.id for box in boxes), active, told)
                await self._tell(site_id, plans, PlanCause.PREPOSITION, told)
                self._phases[site_id] = phase
            self._changed.discard(site_id)

    async def _tell_standing(self, site_id: str, standing: dict[str, AppliancePlan]) -> None:
        told = await self._planning.telling(site_id)
        plans = {box_id: composing.again(plan, told) for box_id, plan in standing.items()}
        await self._tell(site_id, plans, PlanCause.PREPOSITION_OVER, told)

    async def _tell(self, site_id: str, plans: dict[str, AppliancePlan], cause: PlanCause, told: Told) -> None:
        if not plans:
            return
        orders = [order for plan in plans.values() for order in plan.orders]
        summary = PlanSummary(
            number=told.number,
            created_at=told.now,
            appliances=len(plans),
            orders=len(orders),
            bytes_to_fill=sum(order.size_bytes for order in orders),
            placed_files=0,
            unplaced_files=0,
            expected_inside_share=0.0,
            cause=cause,
            sites=(site_id,),
        )
        await self._planning.tell(plans, summary, stands=False)
        get_logger("control_plane.prepositions").info(
            "plan-composed", plan=told.number, site=site_id, cause=cause.value, orders=len(orders)
        )

    def _taken(self) -> dict[str, int]:
        """Room that active orders have on each appliance."""
        now = self._desk.calendar.wall_s()
        sizes = {
            (placed.appliance_id, placed.order.id): placed.order.size_bytes
            for one in self._known.values()
            if composing.is_active(one, now)
            for placed in one.orders
        }
        taken: dict[str, int] = {}
        for (box_id, _), size in sizes.items():
            taken[box_id] = taken.get(box_id, 0) + size
        return taken

    def _concerns(self, one: Preposition, site_id: str) -> bool:
        return any(self._site_of(placed.appliance_id) == site_id for placed in one.orders)

    def _site_of(self, box_id: str) -> str:
        box = self._desk.registry.boxes.get(box_id)
        return box.site_id if box is not None else ""

    async def _status(self, one: Preposition) -> PrepositionStatus:
        async with self._desk.database.read() as session:
            progress = await report_archive.progress_of(session, {placed.order.id for placed in one.orders})
        done = failed = bytes_done = 0
        for placed in one.orders:
            at = progress.get((placed.appliance_id, placed.order.id))
            if at is not None:
                done += at.state is FillState.DONE
                failed += at.state is FillState.FAILED
                bytes_done += min(at.bytes_done, placed.order.size_bytes)
        total = sum(placed.order.size_bytes for placed in one.orders)
        active = composing.is_active(one, self._desk.calendar.wall_s())
        return PrepositionStatus(one, active, done, failed, bytes_done, total)

    def _count(self) -> None:
        now = self._desk.calendar.wall_s()
        self._desk.metrics.prepositions.set(sum(composing.is_active(one, now) for one in self._known.values()))


def _is_told_otherwise(boxes: Iterable[Box]) -> bool:
    """True when somebody is told something else than the plan that stands."""
    return any(
        box.plan is not None and box.standing is not None and _told_words(box.plan) != _told_words(box.standing)
        for box in boxes
    )


def _told_words(plan: AppliancePlan) -> tuple[float, frozenset[str], frozenset[str]]:
    return plan.window_closes_at, frozenset(plan.pins), frozenset(order.id for order in plan.orders)
