"""The end of a licence: the title leaves every plan and is purged from every appliance.

Laws: each end is carried out once, also when it came while the control plane was away; an end that moves is another end. First the plans let
go, then the purge is ordered, so that no appliance fetches what it has just removed.
"""

from __future__ import annotations

from chassis.logs import get_logger
from contracts.plans import AppliancePlan, PlanCause, PlanSummary
from contracts.triggers import Selection, TriggerRequest, TriggerType
from contracts.urls import MEDIA_SERVICE, cache_key
from control_plane.archive import wishes as wish_archive
from control_plane.composing import without_keys
from control_plane.desk import Desk
from control_plane.planning import Planning
from control_plane.triggers import TriggerDesk

LOOK_S = 5.0
WHO = "control-plane"


class Licences:
    """Watches the ends of licences."""

    def __init__(self, desk: Desk, planning: Planning, triggers: TriggerDesk) -> None:
        self._desk = desk
        self._planning = planning
        self._triggers = triggers
        self._carried_out: dict[str, float] = {}

    async def load(self) -> None:
        async with self._desk.database.read() as session:
            self._carried_out = await wish_archive.ended_licences(session)

    async def watch(self) -> None:
        """Background task."""
        while True:
            await self.carry_out()
            await self._desk.clock.sleep(LOOK_S)

    async def carry_out(self) -> None:
        """Ends what is due."""
        for title_id in self.due():
            await self._end(title_id)

    def due(self) -> tuple[str, ...]:
        """Titles whose licence has ended, and nothing was done about it yet."""
        now = self._desk.calendar.wall_s()
        ends = self._desk.registry.licence_ends
        return tuple(sorted(t for t, at in ends.items() if at <= now and self._carried_out.get(t) != at))

    async def _end(self, title_id: str) -> None:
        desk = self._desk
        purge = TriggerRequest(TriggerType.PURGE, Selection.TAG, f"title:{title_id}", "its licence has ended")
        async with desk.alone():
            ends_at = desk.registry.licence_ends.get(title_id)
            if ends_at is None:
                return
            changed = await self._let_go(title_id)
            async with desk.archive() as session:
                written = await self._triggers.write(session, purge, WHO)
                await wish_archive.note_ended(session, title_id, ends_at)
            self._triggers.tell(written.trigger)
            self._carried_out[title_id] = ends_at
        get_logger("control_plane.licences").info(
            "licence-ended", title=title_id, appliances=changed, trigger=written.trigger.number
        )

    async def _let_go(self, title_id: str) -> int:
        """Plans that stand lose the title's files; how many appliances that concerns."""
        registry = self._desk.registry
        prefix = cache_key(MEDIA_SERVICE, f"/media/{title_id}/")
        told: dict[str, AppliancePlan] = {}
        sites = []
        for site_id in registry.sites:
            mine = [box.standing for box in registry.at_site(site_id) if box.standing is not None]
            gone = frozenset(key for plan in mine for key in plan.pins if key.startswith(prefix))
            if gone:
                telling = await self._planning.telling(site_id)
                told |= {plan.appliance_id: without_keys(plan, gone, telling) for plan in mine}
                sites.append(site_id)
        if told:
            orders = [order for plan in told.values() for order in plan.orders]
            summary = PlanSummary(
                number=max(plan.number for plan in told.values()),
                created_at=self._desk.calendar.wall_s(),
                appliances=len(told),
                orders=len(orders),
                bytes_to_fill=sum(order.size_bytes for order in orders),
                placed_files=0,
                unplaced_files=0,
                expected_inside_share=0.0,
                cause=PlanCause.LICENCE_ENDED,
                sites=tuple(sites),
            )
            await self._planning.tell(told, summary, stands=True)
        return len(told)
