"""What operators said about placement: pins, prepositions, feeds; and which licences' ends have been carried out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

import msgspec
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.pins import FeedFacts, Pin, Preposition
from control_plane import records

FeedRow = tuple[str, int, float]
"""Key, hour, views."""
Series = dict[str, tuple[list[int], list[int]]]
"""Key → (hours, bytes)."""
ROWS_AT_ONCE = 10_000
"""A feed may have millions: the loop has other things to do between two pieces."""


async def add_pin(session: AsyncSession, pin: Pin) -> Pin:
    """The pin with its number; numbers are never given twice."""
    table = records.pins
    made = await session.execute(insert(table).values(document=b"").returning(table.c.number))
    numbered = msgspec.structs.replace(pin, number=int(made.scalar_one()))
    document = msgspec.json.encode(numbered)
    await session.execute(update(table).where(table.c.number == numbered.number).values(document=document))
    return numbered


async def pins(session: AsyncSession) -> tuple[Pin, ...]:
    """In the order in which they were made."""
    rows = await session.execute(select(records.pins.c.document).order_by(records.pins.c.number))
    return tuple(msgspec.json.decode(row.document, type=Pin) for row in rows)


async def drop_pin(session: AsyncSession, number: int) -> None:
    await session.execute(delete(records.pins).where(records.pins.c.number == number))


async def add_preposition(session: AsyncSession, preposition: Preposition) -> Preposition:
    """With its number."""
    table = records.prepositions
    values = {"until": preposition.wanted.until, "document": b""}
    made = await session.execute(insert(table).values(**values).returning(table.c.number))
    numbered = msgspec.structs.replace(preposition, number=int(made.scalar_one()))
    await put_preposition(session, numbered)
    return numbered


async def put_preposition(session: AsyncSession, preposition: Preposition) -> None:
    table = records.prepositions
    document = msgspec.json.encode(preposition)
    await session.execute(update(table).where(table.c.number == preposition.number).values(document=document))


async def prepositions(session: AsyncSession, after: float = 0.0) -> tuple[Preposition, ...]:
    """Those that end after an instant, in the order in which they were made."""
    table = records.prepositions
    rows = await session.execute(select(table.c.document).where(table.c.until > after).order_by(table.c.number))
    return tuple(msgspec.json.decode(row.document, type=Preposition) for row in rows)


async def forget_prepositions(session: AsyncSession, before: float) -> None:
    await session.execute(delete(records.prepositions).where(records.prepositions.c.until < before))


# --- licences that ended


async def ended_licences(session: AsyncSession) -> dict[str, float]:
    """Title → the end of its licence that was carried out."""
    rows = await session.execute(select(records.licence_ends))
    return {row.title_id: row.ends_at for row in rows}


async def note_ended(session: AsyncSession, title_id: str, ends_at: float) -> None:
    table = records.licence_ends
    statement = upsert(table).values(title_id=title_id, ends_at=ends_at)
    await session.execute(statement.on_conflict_do_update(index_elements=[table.c.title_id], set_={"ends_at": ends_at}))


# --- feeds


async def put_feed(session: AsyncSession, facts: FeedFacts, rows: Iterable[FeedRow]) -> None:
    """The feed with exactly these rows."""
    table = records.feeds
    await drop_feed(session, facts.name)
    await session.execute(insert(table).values(name=facts.name, document=msgspec.json.encode(facts)))
    left = iter(rows)
    while batch := list(islice(left, ROWS_AT_ONCE)):
        values = [{"feed": facts.name, "key": key, "hour": hour, "views": views} for key, hour, views in batch]
        await session.execute(insert(records.feed_rows), values)


async def feeds(session: AsyncSession) -> tuple[FeedFacts, ...]:
    rows = await session.execute(select(records.feeds.c.document).order_by(records.feeds.c.name))
    return tuple(msgspec.json.decode(row.document, type=FeedFacts) for row in rows)


async def drop_feed(session: AsyncSession, name: str) -> None:
    await session.execute(delete(records.feeds).where(records.feeds.c.name == name))


async def feed_traffic(session: AsyncSession, names: Sequence[str], since: float) -> dict[str, Series]:
    """Feed → series of the published files, views as bytes of the whole file."""
    table, files = records.feed_rows, records.files
    found: dict[str, Series] = {name: {} for name in names}
    amount = func.round(table.c.views * files.c.size_bytes)
    statement = (
        select(table.c.feed, table.c.key, table.c.hour, amount)
        .join(files, files.c.key == table.c.key)
        .where(table.c.feed.in_(names), table.c.hour >= since)
        .order_by(table.c.feed, table.c.key, table.c.hour)
    )
    for name, key, hour, served in await session.execute(statement):
        hours, amounts = found[name].setdefault(key, ([], []))
        hours.append(hour)
        amounts.append(int(served))
    return found
