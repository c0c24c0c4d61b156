"""Misses by site and hour: what operators joined from logs, and the bytes that appliances reported."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.instants import hour_of
from contracts.plays import HourAccount
from contracts.reports import Purpose, Source
from control_plane import records
from control_plane.site_hours import Place


async def put(session: AsyncSession, accounts: Iterable[HourAccount]) -> None:
    """Each takes the place of that of the same site and hour."""
    table = records.accounts
    values = [{"site": one.site, "hour": one.hour, "document": msgspec.json.encode(one)} for one in accounts]
    if values:
        statement = insert(table)
        keys = list(table.primary_key)
        replaced = {"document": statement.excluded.document}
        await session.execute(statement.on_conflict_do_update(index_elements=keys, set_=replaced), values)


async def since(session: AsyncSession, hour: str, site: str | None = None) -> list[HourAccount]:
    """From an hour on, of all sites or of one."""
    table = records.accounts
    here = table.c.hour >= hour
    statement = select(table.c.document).where(here if site is None else here & (table.c.site == site))
    rows = (await session.execute(statement)).scalars().all()
    return await asyncio.to_thread(_decoded, rows)


async def forget(session: AsyncSession, before: str) -> None:
    """Accounts of hours before."""
    await session.execute(delete(records.accounts).where(records.accounts.c.hour < before))


async def served_since(session: AsyncSession, from_s: float, site: str | None = None) -> dict[Place, dict[Source, int]]:
    """Bytes for players by source, from the hour of `from_s` on."""
    table = records.source_hours
    here = (table.c.hour >= from_s - from_s % 3600) & (table.c.purpose == Purpose.CLIENT.value)
    statement = (
        select(table.c.site_id, table.c.hour, table.c.source, func.sum(table.c.bytes))
        .where(here if site is None else here & (table.c.site_id == site))
        .group_by(table.c.site_id, table.c.hour, table.c.source)
    )
    rows = (await session.execute(statement)).all()
    return await asyncio.to_thread(_by_place, rows)


def _decoded(rows: Iterable[bytes]) -> list[HourAccount]:
    decoder = msgspec.json.Decoder(HourAccount)
    return [decoder.decode(row) for row in rows]


def _by_place(rows: Iterable[Sequence[Any]]) -> dict[Place, dict[Source, int]]:
    found: dict[Place, dict[Source, int]] = {}
    names: dict[float, str] = {}
    for site_id, hour, source, amount in rows:
        name = names.get(hour) or names.setdefault(hour, hour_of(hour))
        found.setdefault((site_id, name), {})[Source(source)] = int(amount)
    return found
