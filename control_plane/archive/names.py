"""Names of appliances, and what is published in their zone."""

from __future__ import annotations

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane import records
from control_plane.names.states import NameRecord
from control_plane.names.zone import Rrsets


async def names(session: AsyncSession) -> dict[str, NameRecord]:
    """By appliance."""
    rows = await session.execute(select(records.names).order_by(records.names.c.appliance_id))
    return {row.appliance_id: msgspec.json.decode(row.document, type=NameRecord) for row in rows}


async def put_name(session: AsyncSession, record: NameRecord) -> None:
    values = {"document": msgspec.json.encode(record)}
    statement = insert(records.names).values(appliance_id=record.appliance_id, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=[records.names.c.appliance_id], set_=values))


async def drop_name(session: AsyncSession, appliance_id: str) -> None:
    await session.execute(delete(records.names).where(records.names.c.appliance_id == appliance_id))


async def published(session: AsyncSession) -> dict[tuple[str, str], tuple[str, ...]]:
    """What may lie in the zone."""
    rows = await session.execute(select(records.zone_records))
    return {(row.owner, row.type): msgspec.json.decode(row.document, type=tuple[str, ...]) for row in rows}


async def replace_published(session: AsyncSession, rrsets: Rrsets) -> None:
    table = records.zone_records
    await session.execute(delete(table))
    rows = [
        {"owner": owner, "type": kind, "document": msgspec.json.encode(values)}
        for (owner, kind), values in rrsets.items()
    ]
    if rows:
        await session.execute(insert(table), rows)
