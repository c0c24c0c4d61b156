"""The end of a licence: the title leaves every plan and is purged from every appliance.

Laws: each end is carried out once, also when it came while the control plane was away; an end that moves is another end. First the plans let
go, then the purge is ordered, so that no appliance fetches what it has just removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
        """Ends what is due, all of it at once: the plans that stand are told anew once."""
        if due := self.due():
            await self._end(due)

    def due(self) -> tuple[str, ...]:
        """Titles whose licence has ended, and nothing was done about it yet."""
        now = self._desk.calendar.wall_s()
        ends = self._desk.registry.licence_ends
        return tuple(sorted(t for t, at in ends.items() if at <= now and self._carried_out.get(t) != at))

    async def _end(self, titles: Sequence[str]) -> None:
        desk = self._desk
        async with desk.alone():
            ends = {title: desk.registry.licence_ends[title] for title in titles if title in desk.registry.licence_ends}
            if not ends:
                return
            changed = await self._let_go(ends)
            for title_id, ends_at in ends.items():
                text = f"title:{title_id}"
                purge = TriggerRequest(TriggerType.PURGE, Selection.TAG, text, "its licence has ended")
                async with desk.archive() as session:
                    written = await self._triggers.write(session, purge, WHO)
                    await wish_archive.note_ended(session, title_id, ends_at)
                self._triggers.tell(written.trigger)
                self._carried_out[title_id] = ends_at
                get_logger("control_plane.licences").info(
                    "licence-ended", title=title_id, appliances=changed, trigger=written.trigger.number
                )

    async def _let_go(self, titles: Iterable[str]) -> int:
        """Plans that stand lose the titles' files; how many appliances that concerns."""
        registry = self._desk.registry
        prefixes = tuple(cache_key(MEDIA_SERVICE, f"/media/{title_id}/") for title_id in titles)
        told: dict[str, AppliancePlan] = {}
        sites = []
        for site_id in registry.sites:
            mine = [box.standing for box in registry.at_site(site_id) if box.standing is not None]
            gone = frozenset(key for plan in mine for key in plan.pins if key.startswith(prefixes))
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
