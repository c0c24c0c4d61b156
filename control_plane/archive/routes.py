"""Sources of routes with all they said, and the policies of sites."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.routes import Route, RoutePolicy, SourceKind
from control_plane import records
from control_plane.routes.sessions import Source

ROWS_AT_ONCE = 5_000


class SourceRecord(msgspec.Struct, frozen=True):
    """What a source is, beside its routes."""

    kind: SourceKind
    name: str
    peer: str = ""
    peer_as: int = 0
    detail: str = ""


async def sources(session: AsyncSession) -> list[Source]:
    """All, unjudged, with what they said."""
    found: dict[str, Source] = {}
    for row in await session.execute(select(records.route_sources).order_by(records.route_sources.c.id)):
        its = msgspec.json.decode(row.document, type=SourceRecord)
        found[row.id] = Source(
            row.id,
            row.site_id,
            its.kind,
            its.name,
            row.appliance_id or "",
            peer=its.peer,
            peer_as=its.peer_as,
            detail=its.detail,
        )
    decode = msgspec.json.Decoder(Route).decode
    for row in await session.execute(select(records.heard_routes)):
        found[row.source_id].heard[row.cidr] = decode(row.document)
    return list(found.values())


async def put_source(session: AsyncSession, source: Source) -> None:
    table = records.route_sources
    record = SourceRecord(source.kind, source.name, source.peer, source.peer_as, source.detail)
    values = {
        "site_id": source.site_id,
        "appliance_id": source.appliance_id or None,
        "document": msgspec.json.encode(record),
    }
    statement = insert(table).values(id=source.id, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=[table.c.id], set_=values))


async def change(session: AsyncSession, source_id: str, put: Mapping[str, Route], drop: Iterable[str]) -> None:
    """The routes of a source that is there. What is dropped and put is put."""
    table = records.heard_routes
    await _drop(session, source_id, drop)
    statement = insert(table)
    statement = statement.on_conflict_do_update(
        index_elements=[table.c.source_id, table.c.cidr], set_={"document": statement.excluded.document}
    )
    for part in batched(put.items(), ROWS_AT_ONCE):
        rows = [{"source_id": source_id, "cidr": cidr, "document": msgspec.json.encode(one)} for cidr, one in part]
        await session.execute(statement, rows)


def batched(items: Iterable[tuple[str, Route]], count: int) -> Iterator[list[tuple[str, Route]]]:
    """At most `count` at a time: the loop does other work between them."""
    rest = iter(items)
    while part := list(islice(rest, count)):
        yield part


async def forget_routes(session: AsyncSession, source_id: str) -> None:
    await session.execute(delete(records.heard_routes).where(records.heard_routes.c.source_id == source_id))


async def drop_source(session: AsyncSession, source_id: str) -> None:
    await session.execute(delete(records.route_sources).where(records.route_sources.c.id == source_id))


async def policies(session: AsyncSession) -> dict[tuple[str, str], RoutePolicy]:
    rows = await session.execute(select(records.route_policies))
    return {(row.site_id, row.source): msgspec.json.decode(row.document, type=RoutePolicy) for row in rows}


async def put_policy(session: AsyncSession, site_id: str, source: str, policy: RoutePolicy | None) -> None:
    """None takes it away."""
    table = records.route_policies
    if policy is None:
        await session.execute(delete(table).where((table.c.site_id == site_id) & (table.c.source == source)))
        return
    values = {"document": msgspec.json.encode(policy)}
    statement = insert(table).values(site_id=site_id, source=source, **values)
    keys = [table.c.site_id, table.c.source]
    await session.execute(statement.on_conflict_do_update(index_elements=keys, set_=values))


async def _drop(session: AsyncSession, source_id: str, cidrs: Iterable[str]) -> None:
    table = records.heard_routes
    gone = list(cidrs)
    for start in range(0, len(gone), 500):
        part = gone[start : start + 500]
        await session.execute(delete(table).where((table.c.source_id == source_id) & table.c.cidr.in_(part)))
