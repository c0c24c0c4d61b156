"""Triggers, who has to hear of them, and how far each appliance is."""

from __future__ import annotations

import msgspec
from sqlalchemy import delete, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.triggers import Acknowledgement, Trigger
from control_plane import records


async def load(session: AsyncSession) -> tuple[Trigger, ...]:
    """Those that are kept, in their order."""
    rows = await session.execute(select(records.triggers.c.document).order_by(records.triggers.c.number))
    return tuple(msgspec.json.decode(row.document, type=Trigger) for row in rows)


async def add(session: AsyncSession, trigger: Trigger, operator: str, reason: str, addressed: list[str]) -> None:
    values = {
        "number": trigger.number,
        "operator": operator,
        "reason": reason,
        "document": msgspec.json.encode(trigger),
    }
    await session.execute(insert(records.triggers).values(**values))
    if addressed:
        rows = [{"number": trigger.number, "appliance_id": box_id, "at": None} for box_id in addressed]
        await session.execute(insert(records.trigger_acknowledgements), rows)


async def forget(session: AsyncSession, up_to: int) -> None:
    """The newest is always kept: its number is the last that was given."""
    await session.execute(delete(records.triggers).where(records.triggers.c.number <= up_to))


async def positions(session: AsyncSession) -> dict[str, int]:
    """Appliance → all triggers up to this number are applied there."""
    rows = await session.execute(select(records.trigger_positions))
    return {row.appliance_id: row.number for row in rows}


async def acknowledge(session: AsyncSession, box_id: str, number: int, now: float) -> None:
    table = records.trigger_positions
    statement = insert(table).values(appliance_id=box_id, number=number)
    await session.execute(
        statement.on_conflict_do_update(index_elements=[table.c.appliance_id], set_={"number": number})
    )
    acks = records.trigger_acknowledgements
    mine = (acks.c.appliance_id == box_id) & (acks.c.number <= number) & acks.c.at.is_(None)
    await session.execute(update(acks).where(mine).values(at=now))


async def listed(
    session: AsyncSession, *, limit: int = 1, number: int | None = None
) -> list[tuple[Trigger, str, str, tuple[Acknowledgement, ...]]]:
    """(trigger, operator, reason, who had to hear of it), newest first; only `number` where one is named."""
    table, acks = records.triggers, records.trigger_acknowledgements
    wanted = select(table).order_by(table.c.number.desc()).limit(limit)
    if number is not None:
        wanted = wanted.where(table.c.number == number)
    rows = list(await session.execute(wanted))
    heard: dict[int, list[Acknowledgement]] = {row.number: [] for row in rows}
    chosen = select(acks).where(acks.c.number.in_(list(heard))).order_by(acks.c.appliance_id)
    for ack in await session.execute(chosen):
        heard[ack.number].append(Acknowledgement(ack.appliance_id, ack.at))
    return [
        (msgspec.json.decode(row.document, type=Trigger), row.operator, row.reason, tuple(heard[row.number]))
        for row in rows
    ]
