"""Published titles, their files and the signed lists of their digests."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.catalogue import FileKind, PublishedFile, Title, TitleFacts
from contracts.overview import FileFact
from control_plane import records
from fill_planner.snapshot import CatalogueFile


@dataclass(frozen=True, slots=True)
class DigestRow:
    """The digests of a file as JSON, and their signature with the key that made it, once there is one."""

    document: bytes
    signed: str | None
    signed_by: str | None


async def versions(session: AsyncSession, keys: list[str]) -> dict[str, tuple[str, str]]:
    """Key → (title id, BLAKE3) of the files that are known already."""
    table = records.files
    statement = select(table.c.key, table.c.title_id, table.c.blake3).where(table.c.key.in_(keys))
    return {row.key: (row.title_id, row.blake3) for row in await session.execute(statement)}


async def put_title(session: AsyncSession, title: Title) -> None:
    """The title with exactly these files. Signatures of files that stay are kept."""
    table, file_table = records.titles, records.files
    values = {"facts": msgspec.json.encode(title.facts), "published_at": title.published_at}
    statement = insert(table).values(id=title.facts.id, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=[table.c.id], set_=values))
    kept = [file.key for file in title.files]
    await session.execute(
        delete(file_table).where(file_table.c.title_id == title.facts.id, file_table.c.key.not_in(kept))
    )
    for file in title.files:
        row = _file_row(title.facts.id, file)
        upsert = insert(file_table).values(key=file.key, **row)
        await session.execute(upsert.on_conflict_do_update(index_elements=[file_table.c.key], set_=row))


async def drop_title(session: AsyncSession, title_id: str) -> None:
    await session.execute(delete(records.titles).where(records.titles.c.id == title_id))


async def digests(session: AsyncSession, key: str) -> DigestRow | None:
    table = records.files
    statement = select(table.c.digests, table.c.signed, table.c.signed_by).where(table.c.key == key)
    row = (await session.execute(statement)).one_or_none()
    return DigestRow(row.digests, row.signed, row.signed_by) if row is not None else None


async def keep_signed(session: AsyncSession, key: str, document: bytes, signed: str, kid: str) -> None:
    """Keeps a signature, unless the digests changed meanwhile."""
    table = records.files
    await session.execute(
        update(table).where(table.c.key == key, table.c.digests == document).values(signed=signed, signed_by=kid)
    )


async def facts(session: AsyncSession, words: str, limit: int) -> tuple[FileFact, ...]:
    """Files in the order of their keys, those whose key contains `words`."""
    table = records.files
    statement = select(table).where(table.c.key.contains(words, autoescape=True)).order_by(table.c.key).limit(limit)
    return tuple(
        FileFact(row.key, row.title_id, row.tier, row.group, row.size_bytes, row.blake3)
        for row in await session.execute(statement)
    )


async def count_meant(session: AsyncSession, key: str, title_id: str) -> int:
    """How many published files a key, or else a title, stands for."""
    table = records.files
    mine = table.c.title_id == title_id if title_id else table.c.key == key
    return int((await session.execute(select(func.count()).select_from(table).where(mine))).scalar_one())


async def sizes(session: AsyncSession) -> dict[str, int]:
    """Bytes of every published file, by key."""
    rows = await session.execute(select(records.files.c.key, records.files.c.size_bytes))
    return {row.key: row.size_bytes for row in rows}


async def for_planning(session: AsyncSession) -> tuple[CatalogueFile, ...]:
    """Every file as the planner wants it, in the order of the keys."""
    titles: dict[str, tuple[TitleFacts, float]] = {}
    for row in await session.execute(select(records.titles)):
        titles[row.id] = (msgspec.json.decode(row.facts, type=TitleFacts), row.published_at)
    table = records.files
    columns = (table.c.key, table.c.group, table.c.title_id, table.c.kind, table.c.size_bytes, table.c.blake3)
    files = []
    for row in await session.execute(select(*columns).order_by(table.c.key)):
        facts, published_at = titles[row.title_id]
        files.append(
            CatalogueFile(
                key=row.key,
                group=row.group,
                title_id=row.title_id,
                kind=FileKind(row.kind),
                size_bytes=row.size_bytes,
                version=row.blake3,
                licence=facts.licence,
                published_at=published_at,
                available_from=facts.available_from,
                genres=facts.genres,
                language=facts.language,
                franchise=facts.franchise,
                campaigns=facts.campaigns,
            )
        )
    return tuple(files)


def _file_row(title_id: str, file: PublishedFile) -> dict[str, object]:
    return {
        "title_id": title_id,
        "kind": file.kind.value,
        "tier": file.tier,
        "group": file.group,
        "size_bytes": file.size_bytes,
        "blake3": file.digests.blake3,
        "digests": msgspec.json.encode(file.digests),
    }
