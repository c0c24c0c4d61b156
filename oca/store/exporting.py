"""What is held, for somebody outside: a list of files, or one file's bytes, each block verified. Reads as a worker does, beside a running appliance."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from contracts.digests import BLOCK_BYTES
from oca.store import trailer
from oca.store.blocks import block_length, count_blocks, runs
from oca.store.disks import read_description
from oca.store.errors import StoreError
from oca.store.extents import (
    ExtentRecord,
    extent_count,
    extent_name,
    index_key,
    key_hash,
    split_index_key,
    unpack_record,
)
from oca.store.holdings import HeldObject, unpack_object
from oca.store.index import IndexReader, Table

_TRIES = 3
"""An extent may be evicted, or moved, between look-up and open."""


class CannotExport(StoreError):
    """The object is not here as a whole, or not what was stored; the message says which blocks."""


@dataclass(slots=True)
class HeldRow:
    """One file over all disks; `blocks` are those that the indexes promise."""

    key: str
    version: str
    size_bytes: int
    blocks: int
    blocks_held: int
    bytes_held: int
    pinned: bool
    plan: str
    stored_at: float
    age_s: float
    disks: tuple[int, ...]

    def fields(self) -> dict[str, Any]:
        """In the order of the columns."""
        return {name: getattr(self, name) for name in COLUMNS}


COLUMNS = tuple(HeldRow.__dataclass_fields__)


@dataclass(slots=True)
class _Gathered:
    owner: HeldObject
    records: list[ExtentRecord] = field(default_factory=list)


class Exporter:
    """Over the disks of these folders, numbered by their position.

    Raises NotADisk, FormatTooNew, lmdb.Error or OSError when one cannot be opened.
    """

    def __init__(self, paths: list[str], shared: Mapping[int, IndexReader] | None = None) -> None:
        """`shared` are indexes that this process has open already; they stay open."""
        self._paths = paths
        self._shared = shared or {}
        self._indexes: list[IndexReader] = []
        self._extent_bytes = 0
        try:
            for number, path in enumerate(paths):
                description = read_description(path)
                self._extent_bytes = description.extent_bytes
                folder = os.path.join(path, "index")
                self._indexes.append(self._shared.get(number) or IndexReader.open(folder, description.map_bytes))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for number, index in enumerate(self._indexes):
            if number not in self._shared:
                index.close()

    def rows(self, now: float) -> Iterator[HeldRow]:
        """Every file, in the order of key hashes. Memory: one page of each disk."""
        streams = [_Stream(number, index, self._extent_bytes) for number, index in enumerate(self._indexes)]
        while hashed := min((stream.hashed for stream in streams if stream.hashed is not None), default=None):
            parts = [(stream.number, *stream.take()) for stream in streams if stream.hashed == hashed]
            if any(records for _, _, records in parts):
                yield _row(parts, now)

    def write(self, key: str, out: Callable[[bytes], object]) -> int:
        """Every byte of an object in order, each block compared with its check bytes before `out` gets it; how many bytes.

        Raises CannotExport; what was given to `out` before is right and to be thrown away.
        """
        hashed = key_hash(key)
        owners = [owner for index in self._indexes if (owner := _owner(index, hashed)) is not None]
        if not owners:
            raise CannotExport(f"nothing is held of {key}")
        newest = max(owners, key=lambda owner: owner.stored_at)
        for number in range(extent_count(newest.file_size, self._extent_bytes)):
            for data in self._extent(hashed, newest, number):
                out(data)
        return newest.file_size

    def _extent(self, hashed: bytes, owner: HeldObject, number: int) -> list[bytes]:
        for _ in range(_TRIES):
            for disk, index in enumerate(self._indexes):
                value = index.get_extent(index_key(hashed, number))
                record = unpack_record(value, disk, number, self._extent_bytes) if value is not None else None
                if record is None or record.version != owner.version:
                    continue
                if not record.complete:
                    missing = runs(~record.bits & ((1 << record.block_count) - 1))
                    raise CannotExport(f"extent {number} of {owner.key} lacks blocks {missing}")
                try:
                    return self._verified(record)
                except FileNotFoundError:
                    continue
        raise CannotExport(f"extent {number} of {owner.key} is not held")

    def _verified(self, record: ExtentRecord) -> list[bytes]:
        path = os.path.join(self._paths[record.disk], extent_name(record.extent_id))
        with open(path, "rb", buffering=0) as file:
            checks = os.pread(
                file.fileno(), trailer.checks_length(record.length), trailer.check_offset(record.length, 0)
            )
            blocks: list[bytes] = []
            for block in range(record.block_count):
                data = os.pread(file.fileno(), block_length(record.length, block), block * BLOCK_BYTES)
                if not trailer.is_good(data, checks, block):
                    raise CannotExport(f"block {block} of {extent_name(record.extent_id)} is not what was stored")
                blocks.append(data)
            return blocks


class _Stream:
    """One disk's objects with their extents, in the order of key hashes."""

    def __init__(self, number: int, index: IndexReader, extent_bytes: int) -> None:
        self.number = number
        self._index = index
        self._extent_bytes = extent_bytes
        self._rows = self._objects()
        self._next: tuple[bytes, HeldObject] | None = next(self._rows, None)

    @property
    def hashed(self) -> bytes | None:
        """Of the next object; None behind the last."""
        return self._next[0] if self._next is not None else None

    def take(self) -> tuple[HeldObject, list[ExtentRecord]]:
        assert self._next is not None, "there is one"
        hashed, owner = self._next
        self._next = next(self._rows, None)
        records: list[ExtentRecord] = []
        after: bytes | None = hashed
        # Extents of a file are neighbours, and their keys begin with its hash.
        while page := self._index.page(Table.EXTENTS, after, 256):
            for packed, value in page:
                theirs, number = split_index_key(packed)
                if theirs != hashed:
                    return owner, records
                record = unpack_record(value, self.number, number, self._extent_bytes)
                if record is not None:
                    records.append(record)
            after = page[-1][0]
        return owner, records

    def _objects(self) -> Iterator[tuple[bytes, HeldObject]]:
        after: bytes | None = None
        while page := self._index.page(Table.OBJECTS, after, 1024):
            after = page[-1][0]
            for hashed, value in page:
                owner = unpack_object(value)
                if owner is not None:
                    yield hashed, owner


def _owner(index: IndexReader, hashed: bytes) -> HeldObject | None:
    value = index.get(Table.OBJECTS, hashed)
    return unpack_object(value) if value is not None else None


def _row(parts: list[tuple[int, HeldObject, list[ExtentRecord]]], now: float) -> HeldRow:
    """Of two versions (one disk missed a change) the newer counts."""
    newest = max((owner for _, owner, _ in parts), key=lambda owner: owner.stored_at)
    records = [r for _, owner, found in parts if owner.version == newest.version for r in found]
    plan = next((owner.plan for _, owner, _ in parts if owner.plan is not None), None)
    return HeldRow(
        newest.key,
        newest.version.hex(),
        newest.file_size,
        count_blocks(newest.file_size),
        sum(record.bits.bit_count() for record in records),
        sum(_bytes_of(record) for record in records),
        plan is not None,
        plan or "",
        newest.stored_at,
        round(now - newest.stored_at, 3),
        tuple(sorted({record.disk for record in records})),
    )


def _bytes_of(record: ExtentRecord) -> int:
    last = record.block_count - 1
    short = BLOCK_BYTES - block_length(record.length, last)
    return record.bits.bit_count() * BLOCK_BYTES - (short if record.bits >> last & 1 else 0)
