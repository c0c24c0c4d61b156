"""Titles in the database: a row of what lists are filtered and ordered by, the details as one document, the words.

The inverted index is an ordinary table, so that it works on every engine that the relational port has: a search is a range
scan per word (`word >= prefix and word < end`), weighted by where the word stands.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import (
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    and_,
    case,
    delete,
    func,
    insert,
    or_,
    select,
)
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database
from companions.catalog.paging import Place
from companions.catalog.titles import details_of, summary_of
from companions.catalog.words import after, fold, index_words
from contracts.catalogue import Title, TitleDetails, TitleDigests, TitleSummary

SCHEMA_VERSION = 1
METADATA = MetaData()
TITLES = Table(
    "titles",
    METADATA,
    Column("id", String(128), primary_key=True),
    Column("published_at", Float, nullable=False),
    Column("regions", Text, nullable=False),
    Column("starts_at", Float),
    Column("ends_at", Float),
    Column("summary", LargeBinary, nullable=False),
    Column("details", LargeBinary, nullable=False),
    Column("digests", LargeBinary, nullable=False),
    Index("titles_by_age", "published_at", "id"),
)
GENRES = Table(
    "title_genres",
    METADATA,
    Column("genre", String(64), primary_key=True),
    Column("title_id", ForeignKey("titles.id", ondelete="CASCADE"), primary_key=True, index=True),
)
WORDS = Table(
    "title_words",
    METADATA,
    Column("word", String(64), primary_key=True),
    Column("title_id", ForeignKey("titles.id", ondelete="CASCADE"), primary_key=True, index=True),
    Column("weight", Integer, nullable=False),
)


class Records:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, title: Title) -> bool:
        """Stores a title whole, in place of an earlier one of its id. True when it is new."""
        details = details_of(title)
        licence = title.facts.licence
        row = {
            "id": title.facts.id,
            "published_at": title.published_at,
            "regions": _regions_text(licence.regions),
            "starts_at": licence.starts_at,
            "ends_at": licence.ends_at,
            "summary": msgspec.json.encode(summary_of(details)),
            "details": msgspec.json.encode(details),
            "digests": msgspec.json.encode(TitleDigests(tuple(file.digests for file in title.files))),
        }
        genres = sorted({fold(genre) for genre in title.facts.genres})
        words = index_words(title.facts)
        async with self._database.write() as session:
            known = await _remove(session, title.facts.id)
            await session.execute(insert(TITLES).values(row))
            if genres:
                await session.execute(insert(GENRES), [{"genre": g, "title_id": title.facts.id} for g in genres])
            if words:
                rows = [{"word": word, "title_id": title.facts.id, "weight": weight} for word, weight in words.items()]
                await session.execute(insert(WORDS), rows)
        return not known

    async def remove(self, title_id: str) -> bool:
        """False when there was none."""
        async with self._database.write() as session:
            return await _remove(session, title_id)

    async def details(self, title_id: str) -> TitleDetails | None:
        async with self._database.read() as session:
            raw = (await session.execute(select(TITLES.c.details).where(TITLES.c.id == title_id))).scalar()
        return msgspec.json.decode(raw, type=TitleDetails) if raw is not None else None

    async def digests(self, title_id: str) -> TitleDigests | None:
        async with self._database.read() as session:
            raw = (await session.execute(select(TITLES.c.digests).where(TITLES.c.id == title_id))).scalar()
        return msgspec.json.decode(raw, type=TitleDigests) if raw is not None else None

    async def listed(
        self, region: str, now: float, *, genre: str, after_place: Place | None, limit: int
    ) -> tuple[list[TitleSummary], Place | None]:
        """A page of what the region may see, newest first, and the place where the next one begins (None at the end)."""
        wanted = select(TITLES.c.id, TITLES.c.published_at, TITLES.c.summary).where(_shown(region, now))
        if genre:
            wanted = wanted.join(GENRES, GENRES.c.title_id == TITLES.c.id).where(GENRES.c.genre == fold(genre))
        if after_place is not None:
            older = TITLES.c.published_at < after_place.published_at
            same = and_(TITLES.c.published_at == after_place.published_at, TITLES.c.id > after_place.title_id)
            wanted = wanted.where(or_(older, same))
        wanted = wanted.order_by(TITLES.c.published_at.desc(), TITLES.c.id).limit(limit + 1)
        async with self._database.read() as session:
            rows = (await session.execute(wanted)).all()
        more = len(rows) > limit
        rows = rows[:limit]
        next_place = Place(rows[-1].published_at, rows[-1].id) if more else None
        return [msgspec.json.decode(row.summary, type=TitleSummary) for row in rows], next_place

    async def found(self, region: str, now: float, words: tuple[str, ...], limit: int) -> list[TitleSummary]:
        """Titles that have every word (each may be the beginning of one), best first."""
        if not words:
            return []
        score: ColumnElement[int] | None = None
        wanted = select(TITLES.c.summary).where(_shown(region, now))
        for number, word in enumerate(words):
            in_range = (WORDS.c.word >= word) & (WORDS.c.word < after(word))
            whole_first = case((WORDS.c.word == word, WORDS.c.weight * 2), else_=WORDS.c.weight * 2 - 1)
            hits = (
                select(WORDS.c.title_id, func.max(whole_first).label("weight"))
                .where(in_range)
                .group_by(WORDS.c.title_id)
                .subquery(f"w{number}")
            )
            wanted = wanted.join(hits, hits.c.title_id == TITLES.c.id)
            score = hits.c.weight if score is None else score + hits.c.weight
        assert score is not None
        wanted = wanted.order_by(score.desc(), TITLES.c.published_at.desc(), TITLES.c.id).limit(limit)
        async with self._database.read() as session:
            rows = (await session.execute(wanted)).scalars().all()
        return [msgspec.json.decode(raw, type=TitleSummary) for raw in rows]

    async def count(self) -> int:
        async with self._database.read() as session:
            return int((await session.execute(select(func.count()).select_from(TITLES))).scalar_one())


def _shown(region: str, now: float) -> ColumnElement[bool]:
    """The licence as SQL (contracts.catalogue.Licence.allows)."""
    here = or_(TITLES.c.regions == "", func.instr(TITLES.c.regions, f"|{region}|") > 0)
    begun = or_(TITLES.c.starts_at.is_(None), TITLES.c.starts_at <= now)
    going = or_(TITLES.c.ends_at.is_(None), TITLES.c.ends_at > now)
    return and_(here, begun, going)


def _regions_text(regions: tuple[str, ...]) -> str:
    return f"|{'|'.join(regions)}|" if regions else ""


async def _remove(session: AsyncSession, title_id: str) -> bool:
    """True when there was one."""
    for table in (WORDS, GENRES):
        await session.execute(delete(table).where(table.c.title_id == title_id))
    gone = await session.execute(delete(TITLES).where(TITLES.c.id == title_id).returning(TITLES.c.id))
    return gone.first() is not None
