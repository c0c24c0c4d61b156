"""Triggers: numbered orders to every appliance, who has applied them, and who is behind (DESIGN §6; RFC 8007's words).

Laws
- Numbers have no gap and never repeat; a trigger that was told to anybody is in the archive.
- An appliance that has not applied a trigger `BEHIND_S` after it was made is no candidate until it has.
- Who has to hear of a trigger is fixed when it is made: every enrolled appliance that is not retired. Those that come later get it, too.
- `KEPT` triggers are kept; who missed more is told so, and purges everything.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from functools import partial

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.logs import get_logger
from contracts.places import ApplianceState
from contracts.triggers import (
    MAX_PER_ANSWER,
    MAX_TEXT,
    Acknowledgement,
    Selection,
    Trigger,
    TriggerList,
    TriggerRequest,
    Triggers,
    TriggersApplied,
    TriggerStatus,
    state_of,
)
from control_plane.archive import access as access_archive
from control_plane.archive import triggers as trigger_archive
from control_plane.desk import Desk
from control_plane.errors import contradiction, unknown
from control_plane.registry import Box

BEHIND_S = 60.0
LOOK_S = 1.0
KEPT = 10_000
PATIENCE_S = 86_400.0
"""After a day without an acknowledgement a trigger counts as failed; it is applied all the same when the appliance comes back."""


@dataclass(frozen=True, slots=True)
class Written:
    """A trigger in a transaction, and who has to hear of it."""

    trigger: Trigger
    addressed: tuple[str, ...]


class TriggerDesk:
    """In memory and in the archive; `watch` finds out who is behind."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._kept: list[Trigger] = []

    async def load(self) -> None:
        async with self._desk.database.read() as session:
            self._kept = list(await trigger_archive.load(session))
            positions = await trigger_archive.positions(session)
        registry = self._desk.registry
        registry.triggers_number = self._kept[-1].number if self._kept else 0
        for box_id, number in positions.items():
            if box_id in registry.boxes:
                registry.boxes[box_id].triggers_applied = number

    # -- appliances ------------------------------------------------------------------------------------------------

    def after(self, number: int) -> Triggers:
        """What an appliance that has applied all up to `number` has not applied yet."""
        kept = self._kept
        start = bisect_right(kept, number, key=lambda trigger: trigger.number)
        forgotten = kept[0].number - 1 if kept else 0
        return Triggers(self._desk.registry.triggers_number, tuple(kept[start : start + MAX_PER_ANSWER]), forgotten)

    async def acknowledge(self, box: Box, applied: TriggersApplied) -> None:
        """Raises ProblemError UNPROCESSABLE for a number that was never given."""
        if not 0 <= applied.number <= self._desk.registry.triggers_number:
            raise contradiction(
                (f"number: {applied.number} was never given; the newest is {self._desk.registry.triggers_number}",)
            )
        async with self._desk.alone():
            if applied.number != box.triggers_applied:
                async with self._desk.archive() as session:
                    await trigger_archive.acknowledge(session, box.id, applied.number, self._desk.clock.wall_s())
                box.triggers_applied = applied.number
            self._judge(box)

    # -- operators -------------------------------------------------------------------------------------------------

    async def make(self, wanted: TriggerRequest, operator: str) -> TriggerStatus:
        """A new trigger; every appliance is nudged. Raises ProblemError UNPROCESSABLE."""
        wrong = _wrong(wanted)
        if wrong:
            raise contradiction(wrong)
        async with self._desk.alone():
            async with self._desk.archive() as session:
                written = await self.write(session, wanted, operator)
            self.tell(written.trigger)
        acks = tuple(Acknowledgement(name, None) for name in written.addressed)
        return self._status(written.trigger, operator, wanted.reason, acks)

    async def write(self, session: AsyncSession, wanted: TriggerRequest, operator: str) -> Written:
        """A new trigger and its line in the audit log, in the transaction of what calls for it; inside `Desk.alone`. `tell` it when that is committed."""
        registry = self._desk.registry
        now = self._desk.clock.wall_s()
        trigger = Trigger(registry.triggers_number + 1, wanted.type, wanted.selection, wanted.text, now)
        addressed = [box.id for box in registry.boxes.values() if _must_hear(box)]
        await trigger_archive.add(session, trigger, operator, wanted.reason, addressed)
        await trigger_archive.forget(session, trigger.number - KEPT)
        detail = msgspec.json.encode(wanted).decode()
        await access_archive.note(session, now, operator, "trigger", str(trigger.number), detail)
        return Written(trigger, tuple(addressed))

    def tell(self, trigger: Trigger) -> None:
        """One that is in the archive; in the same `Desk.alone`, so that no other gets its number. Every appliance is nudged."""
        self._kept = [*(kept for kept in self._kept if kept.number > trigger.number - KEPT), trigger]
        self._desk.registry.triggers_number = trigger.number
        self._desk.metrics.triggers.set(trigger.number)
        self._desk.nudge_all()
        get_logger("control_plane.triggers").info(
            "trigger-made", number=trigger.number, type=trigger.type.value, selection=trigger.selection.value, text=trigger.text
        )  # fmt: skip

    async def status(self, number: int) -> TriggerStatus:
        """Raises ProblemError NOT_FOUND."""
        async with self._desk.database.read() as session:
            found = await trigger_archive.listed(session, number=number)
        if not found:
            raise unknown("trigger", str(number))
        return self._status(*found[0])

    async def listed(self, limit: int) -> TriggerList:
        """Newest first."""
        async with self._desk.database.read() as session:
            found = await trigger_archive.listed(session, limit=limit)
        return TriggerList(tuple(self._status(*one) for one in found))

    def _status(self, trigger: Trigger, operator: str, reason: str, acks: tuple[Acknowledgement, ...]) -> TriggerStatus:
        """Nobody waits for who has retired or is deleted."""
        boxes = self._desk.registry.boxes
        counted = tuple(
            ack
            for ack in acks
            if ack.at is not None or (ack.appliance_id in boxes and _must_hear(boxes[ack.appliance_id]))
        )
        age_s = self._desk.clock.wall_s() - trigger.created_at
        return TriggerStatus(trigger, state_of(counted, age_s, PATIENCE_S), operator, reason, counted)

    # -- who is behind ---------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Background task: who does not apply in time leaves the answers, and comes back when it has."""
        while True:
            for box in tuple(self._desk.registry.boxes.values()):
                self._judge(box)
            behind = sum(box.pulse.behind for box in self._desk.registry.boxes.values())
            self._desk.metrics.behind.set(behind)
            await self._desk.clock.sleep(LOOK_S)

    def _judge(self, box: Box) -> None:
        behind = is_behind(self._kept, box.triggers_applied, self._desk.clock.wall_s())
        if behind is not box.pulse.behind:
            get_logger("control_plane.triggers").info(
                "behind", appliance=box.id, behind=behind, at=box.triggers_applied
            )
            self._desk.change_pulse(box, partial(replace, behind=behind))


def is_behind(kept: list[Trigger], applied: int, now: float) -> bool:
    """Whether some trigger above `applied` was made `BEHIND_S` ago or earlier. `kept` in their order."""
    next_one = bisect_right(kept, applied, key=lambda trigger: trigger.number)
    return next_one < len(kept) and now - kept[next_one].created_at >= BEHIND_S


def _must_hear(box: Box) -> bool:
    return bool(box.serial) and box.state is not ApplianceState.RETIRED


def _wrong(wanted: TriggerRequest) -> tuple[str, ...]:
    text, selection = wanted.text, wanted.selection
    wrong: list[str] = []
    if selection is Selection.ALL and text:
        wrong.append("text: must be empty for all")
    if selection is not Selection.ALL and not 0 < len(text.encode()) <= MAX_TEXT:
        wrong.append(f"text: must be 1 to {MAX_TEXT} bytes")
    if selection in (Selection.OBJECT, Selection.PREFIX) and text and "|" not in text:
        wrong.append("text: a key begins with its delivery service: SERVICE|/path")
    return tuple(wrong)
