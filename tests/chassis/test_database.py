"""The database: transactions, durability settings, schema numbers."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import MetaData, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chassis.database import Database
from chassis.errors import DatabaseError


class Base(DeclarativeBase):
    metadata = MetaData()


class Counter(Base):
    __tablename__ = "counter"
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int]


async def test_what_was_committed_is_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "state" / "a.db"
    async with Database.open(path, Base.metadata, schema_version=1) as database:
        async with database.write() as session:
            session.add(Counter(name="a", value=1))
        assert await database.check()
    async with Database.open(path, Base.metadata, schema_version=1, durable=True) as database:
        async with database.read() as session:
            assert (await session.scalars(select(Counter.value))).all() == [1]
            pragmas = [
                (await session.execute(text(f"PRAGMA {name}"))).scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            ]
    assert pragmas == ["wal", 2, 1, 10000]


async def test_only_the_owner_reads_a_database_also_one_that_others_could_read(tmp_path: Path) -> None:
    new, old = tmp_path / "new.db", tmp_path / "old.db"
    with closing(sqlite3.connect(old)) as made:
        made.execute("PRAGMA user_version")
    old.touch()
    old.chmod(0o644)
    for path in (new, old):
        async with Database.open(path, Base.metadata, schema_version=1) as database:
            async with database.write() as session:
                session.add(Counter(name="a", value=1))
            modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.glob(f"{path.name}*")}
            assert len(modes) == 3, "WAL and its index lie beside it"
            assert set(modes.values()) == {0o600}


async def test_a_block_that_raises_changes_nothing(tmp_path: Path) -> None:
    async with Database.open(tmp_path / "a.db", Base.metadata, schema_version=1) as database:

        async def twice() -> None:
            async with database.write() as session:
                session.add(Counter(name="a", value=1))
                await session.flush()
                await session.execute(text("INSERT INTO counter VALUES ('a', 2)"))

        with pytest.raises(IntegrityError):
            await twice()
        async with database.read() as session:
            assert (await session.scalars(select(Counter))).all() == []


async def test_many_writers_at_once_lose_no_increment(tmp_path: Path) -> None:
    async with Database.open(tmp_path / "a.db", Base.metadata, schema_version=1) as database:
        async with database.write() as session:
            session.add(Counter(name="a", value=0))

        async def increment() -> None:
            async with database.write() as session:
                row = await session.get_one(Counter, "a")
                await asyncio.sleep(0)
                row.value += 1

        await asyncio.gather(*(increment() for _ in range(30)))
        async with database.read() as session:
            assert (await session.get_one(Counter, "a")).value == 30


async def test_a_reader_sees_one_state_while_another_writes(tmp_path: Path) -> None:
    async with Database.open(tmp_path / "a.db", Base.metadata, schema_version=1) as database:
        async with database.read() as reader:
            before = (await reader.scalars(select(Counter.name))).all()
            async with database.write() as writer:
                writer.add(Counter(name="a", value=1))
            assert (await reader.scalars(select(Counter.name))).all() == before == []


@pytest.mark.parametrize(("written", "wanted", "said"), [(2, 1, "newer version"), (1, 2, "cannot convert")])
async def test_another_schema_number_is_refused_in_words(tmp_path: Path, written: int, wanted: int, said: str) -> None:
    path = tmp_path / "a.db"
    async with Database.open(path, Base.metadata, schema_version=written):
        pass
    with pytest.raises(DatabaseError, match=said):
        async with Database.open(path, Base.metadata, schema_version=wanted):
            pass
    assert sqlite3.connect(path).execute("PRAGMA user_version").fetchone() == (written,)


async def test_a_file_that_is_no_database_is_told_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"this is not a database, whatever its name says" * 100)
    with pytest.raises(DatabaseError, match=r"a\.db"):
        async with Database.open(path, Base.metadata, schema_version=1):
            pass


async def test_a_table_that_came_since_is_made_in_a_file_of_the_same_schema(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with Database.open(path, MetaData(), schema_version=1):
        pass
    async with Database.open(path, Base.metadata, schema_version=1) as database, database.write() as session:
        session.add(Counter(name="a", value=1))
