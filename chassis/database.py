"""SQLite by SQLAlchemy's async engine: one file per service, WAL, one writer at a time.

Laws: a write transaction takes the lock at its beginning (`BEGIN IMMEDIATE`), so that it never fails half-way because
somebody else wrote; inside one process writers queue on a lock instead of polling the file. The schema's number stands in
`PRAGMA user_version`: a new file gets all tables, a file of another number is refused in words.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, MetaData, event, text
from sqlalchemy.exc import DatabaseError as DriverError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from chassis.errors import DatabaseError

BUSY_TIMEOUT_S = 10.0
_WRITES = "begins_write"


class Database:
    """An open database. Get one by `Database.open`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._one_writer = asyncio.Lock()
        self._readers = async_sessionmaker(engine, expire_on_commit=False)
        self._writers = async_sessionmaker(engine.execution_options(**{_WRITES: True}), expire_on_commit=False)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, path: Path, metadata: MetaData, *, schema_version: int, durable: bool = False
    ) -> AsyncIterator[Database]:
        """Opens or makes the file. `durable` means every commit survives a power cut (synchronous=FULL); otherwise the last
        ones before a power cut may be lost, never the file. Only the owner reads it: records hold what people watch and the
        digests of their passwords. Raises DatabaseError in words."""
        path.parent.mkdir(parents=True, exist_ok=True)
        _own(path)
        engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
        _prepare(engine, durable=durable)
        try:
            try:
                await _ensure_schema(engine, metadata, schema_version, path)
            except DriverError as error:
                raise DatabaseError(f"{path}: cannot be used as a database: {error.orig}") from error
            yield cls(engine)
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session that sees one state of the file. Do not write with it."""
        async with self._readers() as session, session.begin():
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A session whose changes are committed at the end, or rolled back when the block raises."""
        async with self._one_writer, self._writers() as session, session.begin():
            yield session

    async def check(self) -> str:
        """For `/readyz`: raises when the file cannot be read."""
        async with self.read() as session:
            await session.execute(text("SELECT 1"))
        return "the database answers"


def _own(path: Path) -> None:
    """Mode 0600 before SQLite makes anything: its files beside the first take over the mode of that.

    A file that is there is never opened here: closing it would drop the locks that this process may hold on it.
    """
    try:
        if not path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        elif path.is_file() and path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except FileExistsError:
        return  # another process of ours was faster


def _prepare(engine: AsyncEngine, *, durable: bool) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout={int(BUSY_TIMEOUT_S * 1000)}",
            "journal_mode=WAL",
            f"synchronous={'FULL' if durable else 'NORMAL'}",
            "foreign_keys=ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def on_begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


async def _ensure_schema(engine: AsyncEngine, metadata: MetaData, wanted: int, path: Path) -> None:
    async with engine.execution_options(**{_WRITES: True}).begin() as connection:
        found = (await connection.execute(text("PRAGMA user_version"))).scalar_one()
        tables = (await connection.execute(text("SELECT count(*) FROM sqlite_master"))).scalar_one()
        if found == 0 and tables == 0:
            await connection.execute(text(f"PRAGMA user_version = {wanted:d}"))
            found = wanted
        if found == wanted:
            # Tables that came since, too: one more table changes no schema that an older version reads.
            await connection.run_sync(metadata.create_all)
            return
    if found > wanted:
        raise DatabaseError(
            f"{path}: was written by a newer version (schema {found}; this one knows {wanted}); install that version, "
            "or restore a copy from before the upgrade"
        )
    if found < wanted:
        raise DatabaseError(
            f"{path}: has schema {found}, this version needs {wanted} and cannot convert it; keep the old version, or move "
            "the file away to begin anew"
        )
