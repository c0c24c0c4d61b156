"""The index of a disk: LMDB, one writer, readers in many processes.

Laws (each checked the hard way, REFERENCE §1): opened with locks, once per process, never across a fork; the map has its size from
creation and is never resized; a read transaction spans one look-up; values are copied out; `reader_check` frees what killed readers
left, or the file grows. Keys and values are the packed bytes of `extents`, `holdings` and `purge`; nothing is interpreted here.

Tables: `meta`, `extents` (index key → record), `objects` (key hash → object), `recent` (batch number u64 BE → what that batch made durable), `purge` (rule number u64 BE → rule),
`pulled` (hash of a service key → `pulled.PulledObject`; disks made before it was thought of get it from the first keeper that opens them).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import lmdb

from oca.store.errors import FormatTooNew, NotADisk
from oca.store.pinning import read_index

FORMAT = 1
MAX_READERS = 1024
NEARLY_FULL = 0.75
"""Share of the map above which extents only come in when others leave: deleting needs pages too (copy on write)."""


class Table(Enum):
    META = b"meta"
    EXTENTS = b"extents"
    OBJECTS = b"objects"
    RECENT = b"recent"
    PURGE = b"purge"
    PULLED = b"pulled"


META_FORMAT = b"format"
META_CLEAN = b"clean"
META_NEXT_ID = b"next-id"
META_EPOCH = b"purge-epoch"
META_BATCH = b"batch"


def _open(folder: str, map_bytes: int, readonly: bool, create: bool = False) -> lmdb.Environment:
    if not create:
        read_index(folder)
    return lmdb.open(
        folder,
        map_size=map_bytes,
        readonly=readonly,
        create=create,
        lock=True,
        readahead=False,
        max_readers=MAX_READERS,
        max_dbs=len(Table),
        max_spare_txns=2,
    )


def create_index(folder: str, map_bytes: int) -> None:
    """An empty index, allocated to its full map size so that no later page needs space or a bigger file."""
    with contextlib.closing(_open(folder, map_bytes, readonly=False, create=True)) as env:
        tables = {table: env.open_db(table.value) for table in Table}
        with env.begin(write=True) as txn:
            for name, number in ((META_FORMAT, FORMAT), (META_CLEAN, 1), (META_NEXT_ID, 1), (META_BATCH, 1)):
                txn.put(name, number.to_bytes(8, "big"), db=tables[Table.META])
    fd = os.open(os.path.join(folder, "data.mdb"), os.O_RDWR | os.O_CLOEXEC)
    try:
        os.posix_fallocate(fd, 0, map_bytes)
        os.fsync(fd)
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class IndexStatistics:
    used_bytes: int
    map_bytes: int
    readers: int
    last_transaction: int
    oldest_reader_transaction: int | None
    """None when no reader has a transaction open."""


class IndexReader:
    """A worker's view of one disk's index."""

    def __init__(self, env: lmdb.Environment) -> None:
        self._env = env
        self._tables: dict[Table, Any] = {
            table: env.open_db(table.value, create=False) for table in Table if table is not Table.PULLED
        }
        self.find_pulled()
        self._extents = self._tables[Table.EXTENTS]
        self._begin: Callable[..., Any] = env.begin

    @classmethod
    def open(cls, folder: str, map_bytes: int) -> IndexReader:
        """Raises NotADisk, FormatTooNew, lmdb.Error, or OSError where a page of it cannot be read."""
        return cls(_checked(_open(folder, map_bytes, readonly=True), folder))

    def get_extent(self, packed_key: bytes) -> bytes | None:
        """One look-up in its own read transaction; the value is a copy."""
        with self._begin(self._extents) as txn:
            value: bytes | None = txn.get(packed_key)
            return value

    def get(self, table: Table, key: bytes) -> bytes | None:
        with self._env.begin(self._tables[table]) as txn:
            return txn.get(key)

    def find_pulled(self) -> bool:
        """Whether there is a table of pulled objects; a worker may have opened the disk before it had one."""
        if Table.PULLED not in self._tables:
            with contextlib.suppress(lmdb.NotFoundError):
                self._tables[Table.PULLED] = self._env.open_db(Table.PULLED.value, create=False)
        return Table.PULLED in self._tables

    def get_pulled(self, hashed: bytes) -> bytes | None:
        """The row of a pulled object; a copy. Raises lmdb.Error."""
        return self.get(Table.PULLED, hashed) if self.find_pulled() else None

    def number(self, name: bytes) -> int:
        return int.from_bytes(self.get(Table.META, name) or b"", "big")

    def items(self, table: Table) -> list[tuple[bytes, bytes]]:
        """A copy of a small table (purge rules, recent batches)."""
        with self._env.begin(self._tables[table]) as txn, txn.cursor() as cursor:
            return list(cursor)

    def count(self, table: Table) -> int:
        """Rows of a table."""
        with self._env.begin() as txn:
            return int(txn.stat(self._tables[table])["entries"])

    def page(self, table: Table, after: bytes | None, at_most: int) -> list[tuple[bytes, bytes]]:
        """Rows behind `after` (None: from the first on) in the order of their keys, in one short transaction."""
        with self._env.begin(self._tables[table]) as txn, txn.cursor() as cursor:
            if after is None:
                found = cursor.first()
            else:
                found = cursor.set_range(after)
                if found and cursor.key() == after:
                    found = cursor.next()
            rows: list[tuple[bytes, bytes]] = []
            while found and len(rows) < at_most:
                rows.append(cursor.item())
                found = cursor.next()
            return rows

    def scan(self, table: Table, at_once: int = 4096) -> Iterator[list[tuple[bytes, bytes]]]:
        """A big table in pages, each in its own transaction, so that no long reader makes the file grow."""
        after: bytes | None = None
        while rows := self.page(table, after, at_once):
            after = rows[-1][0]
            yield rows

    def statistics(self) -> IndexStatistics:
        info = self._env.info()
        used = 0
        with self._env.begin() as txn:
            for handle in self._tables.values():
                stat = txn.stat(handle)
                used += stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
            page = txn.stat(self._extents)["psize"]
        return IndexStatistics(
            used * page, info["map_size"], info["num_readers"], info["last_txnid"], _oldest_reader(self._env.readers())
        )

    def close(self) -> None:
        self._env.close()


@dataclass(slots=True)
class Changes:
    """One write transaction to be: puts and deletes by table, applied in order."""

    items: list[tuple[Table, bytes, bytes | None]] = field(default_factory=list)

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        self.items.append((table, key, value))

    def delete(self, table: Table, key: bytes) -> None:
        self.items.append((table, key, None))

    def number(self, name: bytes, value: int) -> None:
        self.put(Table.META, name, value.to_bytes(8, "big"))


class IndexWriter(IndexReader):
    """The keeper's index: reads, and commits that are durable when they return."""

    @classmethod
    def open(cls, folder: str, map_bytes: int) -> IndexWriter:
        env = _checked(_open(folder, map_bytes, readonly=False), folder)
        env.open_db(Table.PULLED.value)
        return cls(env)

    def commit(self, changes: Changes) -> None:
        """All or nothing, synced. Raises lmdb.MapFullError (nothing changed) or another lmdb.Error."""
        with self._env.begin(write=True) as txn:
            for table, key, value in changes.items:
                if value is None:
                    txn.delete(key, db=self._tables[table])
                else:
                    txn.put(key, value, db=self._tables[table])

    def nearly_full(self) -> bool:
        statistics = self.statistics()
        return statistics.used_bytes > NEARLY_FULL * statistics.map_bytes

    def reader_check(self) -> int:
        """Free the slots of readers that were killed; how many."""
        return int(self._env.reader_check())


def _checked(env: lmdb.Environment, folder: str) -> lmdb.Environment:
    try:
        meta = env.open_db(Table.META.value, create=False)
        with env.begin(meta) as txn:
            found = int.from_bytes(txn.get(META_FORMAT) or b"", "big")
    except lmdb.NotFoundError:
        found = 0
    if 0 < found <= FORMAT:
        return env
    env.close()
    if found > FORMAT:
        raise FormatTooNew(folder, found, FORMAT)
    raise NotADisk(f"{folder} holds no Lowtide index: empty the folder to have it made anew")


def _oldest_reader(listing: str) -> int | None:
    """The lowest transaction in LMDB's reader listing (pid, thread, transaction id or "-")."""
    columns = (line.split() for line in listing.splitlines()[1:])
    ids = [int(row[-1]) for row in columns if row and row[-1].isdigit()]
    return min(ids, default=None)
