"""Is what a disk says of itself consistent: index ↔ files ↔ bitmaps ↔ trailers ↔ accounts. Looks, and changes nothing.

Reads the index as a worker does, in short transactions, so that an appliance may serve and write meanwhile. What looks wrong is looked at once more after a
while: an extent that was evicted, moved or committed between two looks is no finding. Files that nobody knows count when they are older than that while.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum

from contracts.digests import BLOCK_BYTES
from oca.store import trailer
from oca.store.blocks import block_length, count_blocks, full, members
from oca.store.disks import read_description
from oca.store.extents import ExtentRecord, extent_count, extent_name, split_index_key, unpack_record
from oca.store.holdings import HeldObject, unpack_object
from oca.store.index import META_CLEAN, META_FORMAT, META_NEXT_ID, IndexReader, Table
from oca.store.strays import FOLDERS, id_of
from oca.store.syscalls import RealSyscalls, Syscalls

PATIENCE_S = 3.0
"""A written block is in the index after a second or two."""
_PAGE = 1024


class Finding(Enum):
    """What is not as it should be: (log word, whether the store is wrong). What is not wrong is told and costs nothing but space."""

    UNREADABLE_ROW = ("unreadable-row", True)
    """A row of the index that this version cannot read."""
    NO_OBJECT = ("no-object", True)
    """An extent whose object is not in the index, or in another version or size there."""
    NO_EXTENT = ("no-extent", True)
    """An object without any extent."""
    OUTSIDE_FILE = ("outside-file", True)
    """An extent number, or blocks in the bitmap, behind the end of the file."""
    ID_TWICE = ("id-twice", True)
    """Two rows name the same file."""
    ID_NOT_GIVEN = ("id-not-given", True)
    """An id that no keeper has reserved: it could be given again."""
    NO_FILE = ("no-file", True)
    WRONG_LENGTH = ("wrong-length", True)
    FOREIGN_FILE = ("foreign-file", True)
    """The file's trailer names another extent, or is none."""
    NO_CHECK = ("no-check", True)
    """A block that the index promises and that has no check bytes."""
    BAD_BLOCK = ("bad-block", True)
    """A block that does not fit its check bytes."""
    UNREADABLE_FILE = ("unreadable-file", True)
    """The disk gave an error."""
    OVER_QUOTA = ("over-quota", True)
    ORPHAN = ("orphan", False)
    """A file that the index does not know; the keeper collects it after its next start."""
    STRANGER = ("stranger", False)
    """A name below `extents` that is none of ours."""

    def __init__(self, word: str, wrong: bool) -> None:
        self.word = word
        self.wrong = wrong


@dataclass(frozen=True, slots=True)
class Found:
    """One finding. `where` is the extent's file below the disk's folder, or the key of an object."""

    finding: Finding
    where: str
    detail: str = ""


@dataclass(slots=True)
class DiskCheck:
    """What one disk came to. `allocated_bytes` is what the accounts of a keeper would say, `taken_bytes` what the files take on the filesystem."""

    path: str
    format: int = 0
    clean: bool = False
    """Closed in order; not so while a keeper runs."""
    objects: int = 0
    extents: int = 0
    blocks: int = 0
    blocks_read: int = 0
    allocated_bytes: int = 0
    taken_bytes: int = 0
    quota_bytes: int = 0
    found: list[Found] = field(default_factory=list)

    @property
    def is_wrong(self) -> bool:
        return any(found.finding.wrong for found in self.found)


@dataclass(frozen=True, slots=True)
class _Row:
    key: bytes
    value: bytes


class DiskChecker:
    """Checks one disk. Raises NotADisk, FormatTooNew, lmdb.Error or OSError when it cannot be opened."""

    def __init__(
        self,
        path: str,
        quota_bytes: int,
        read_blocks: bool = True,
        syscalls: Syscalls | None = None,
        wait: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
        index: IndexReader | None = None,
    ) -> None:
        """`index`: the one that this process has open already (LMDB allows one opening per process); it stays open."""
        description = read_description(path)
        self._path = path
        self._quota_bytes = quota_bytes
        self._extent_bytes = description.extent_bytes
        self._read_blocks = read_blocks
        self._syscalls = syscalls or RealSyscalls()
        self._wait = wait
        self._now = now
        self._borrowed = index is not None
        self._index = index or IndexReader.open(os.path.join(path, "index"), description.map_bytes)

    def close(self) -> None:
        if not self._borrowed:
            self._index.close()

    def check(self, tell: Callable[[int, int], None] = lambda _done, _total: None) -> DiskCheck:
        """`tell(extents done, extents)` hears how far it is."""
        began = self._now()
        result = DiskCheck(self._path, quota_bytes=self._quota_bytes)
        result.format = self._index.number(META_FORMAT)
        result.clean = self._index.number(META_CLEAN) == 1
        suspects: list[_Row] = []
        ids: set[int] = set()
        owners: set[bytes] = set()
        total = self._index.count(Table.EXTENTS)
        for row in self._rows(Table.EXTENTS):
            record, found = self._judge(row)
            if record is not None:
                if record.extent_id in ids:
                    found.append(Found(Finding.ID_TWICE, extent_name(record.extent_id)))
                ids.add(record.extent_id)
                self._count(result, record)
            owners.add(split_index_key(row.key)[0])
            if found:
                suspects.append(row)
            result.extents += 1
            tell(result.extents, max(total, result.extents))
        lonely = [row for row in self._rows(Table.OBJECTS) if row.key not in owners]
        result.objects = self._index.count(Table.OBJECTS)
        unknown = self._unknown_files(ids, result)
        if suspects or lonely or unknown:
            self._wait(PATIENCE_S)
            self._look_again(result, suspects, lonely, unknown, began)
        if result.allocated_bytes > self._quota_bytes:
            detail = f"{result.allocated_bytes} bytes of extents, a quota of {self._quota_bytes}"
            result.found.append(Found(Finding.OVER_QUOTA, "", detail))
        return result

    def _rows(self, table: Table) -> Iterator[_Row]:
        after: bytes | None = None
        while page := self._index.page(table, after, _PAGE):
            after = page[-1][0]
            for key, value in page:
                yield _Row(key, value)

    def _count(self, result: DiskCheck, record: ExtentRecord) -> None:
        result.blocks += record.bits.bit_count()
        result.blocks_read += record.bits.bit_count() if self._read_blocks else 0
        result.allocated_bytes += trailer.allocated_bytes(record.length)
        try:
            result.taken_bytes += os.stat(self._file(record.extent_id)).st_blocks * 512
        except OSError:
            return  # told by `_judge`

    def _file(self, extent_id: int) -> str:
        return os.path.join(self._path, extent_name(extent_id))

    # -- one extent ------------------------------------------------------------------------------------------------

    def _judge(self, row: _Row) -> tuple[ExtentRecord | None, list[Found]]:
        """The record as far as it can be read, and what is wrong with it now."""
        hashed, number = split_index_key(row.key)
        record = unpack_record(row.value, 0, number, self._extent_bytes)
        if record is None:
            return None, [Found(Finding.UNREADABLE_ROW, row.key.hex(), f"format {row.value[:1].hex()}")]
        where = extent_name(record.extent_id)
        found = [Found(finding, where, detail) for finding, detail in self._of_the_row(hashed, record)]
        if not any(one.finding is Finding.OUTSIDE_FILE for one in found):
            found += [Found(finding, where, detail) for finding, detail in self._of_the_file(hashed, record)]
        return record, found

    def _of_the_row(self, hashed: bytes, record: ExtentRecord) -> Iterator[tuple[Finding, str]]:
        owner = self._owner(hashed)
        if owner is None:
            yield Finding.NO_OBJECT, "no such object"
        elif (owner.version, owner.file_size) != (record.version, record.file_size):
            yield Finding.NO_OBJECT, f"{owner.key} has another version or size"
        if record.extent_number >= extent_count(record.file_size, self._extent_bytes):
            yield Finding.OUTSIDE_FILE, f"extent {record.extent_number} of a file of {record.file_size} bytes"
        elif record.bits & ~full(count_blocks(record.length)):
            yield Finding.OUTSIDE_FILE, f"the bitmap has more than {record.block_count} blocks"
        if record.extent_id >= self._index.number(META_NEXT_ID):
            yield Finding.ID_NOT_GIVEN, f"{record.extent_id:x}"

    def _owner(self, hashed: bytes) -> HeldObject | None:
        value = self._index.get(Table.OBJECTS, hashed)
        return unpack_object(value) if value is not None else None

    def _of_the_file(self, hashed: bytes, record: ExtentRecord) -> Iterator[tuple[Finding, str]]:
        path = self._file(record.extent_id)
        try:
            size = os.stat(path).st_size
            if size != trailer.file_length(record.length):
                yield Finding.WRONG_LENGTH, f"{size} bytes, not {trailer.file_length(record.length)}"
                return
            end = self._syscalls.read_past_cache(
                path, size - trailer.trailer_offset(record.length), trailer.trailer_offset(record.length)
            )
            head = trailer.pack_head(record.extent_id, hashed, record.extent_number, record.file_size, record.version)
            if not end.startswith(head):
                yield Finding.FOREIGN_FILE, "its trailer names another extent, or none"
            checks = end[trailer.HEAD_BYTES :]
            for block in members(record.bits):
                yield from self._of_a_block(path, record, block, checks)
        except FileNotFoundError:
            yield Finding.NO_FILE, ""
        except OSError as error:
            yield Finding.UNREADABLE_FILE, error.strerror or str(error)

    def _of_a_block(self, path: str, record: ExtentRecord, block: int, checks: bytes) -> Iterator[tuple[Finding, str]]:
        if not any(checks[trailer.CHECK_BYTES * block : trailer.CHECK_BYTES * (block + 1)]):
            yield Finding.NO_CHECK, f"block {block}"
        elif self._read_blocks:
            length = block_length(record.length, block)
            data = self._syscalls.read_past_cache(path, length, block * BLOCK_BYTES)
            if not trailer.is_good(data, checks, block):
                yield Finding.BAD_BLOCK, f"block {block}"

    # -- files that nobody knows, and the second look ----------------------------------------------------------------

    def _unknown_files(self, ids: set[int], result: DiskCheck) -> list[int]:
        unknown: list[int] = []
        for folder in range(FOLDERS):
            for name, _size in self._syscalls.list_folder(os.path.join(self._path, "extents", f"{folder:02x}")):
                extent_id = id_of(name, folder)
                if extent_id is None:
                    result.found.append(Found(Finding.STRANGER, f"extents/{folder:02x}/{name}"))
                elif extent_id not in ids:
                    unknown.append(extent_id)
        return unknown

    def _look_again(
        self, result: DiskCheck, suspects: list[_Row], lonely: list[_Row], unknown: list[int], began: float
    ) -> None:
        seen: Counter[int] = Counter()
        owners: set[bytes] = set()
        for row in self._rows(Table.EXTENTS):
            record = unpack_record(row.value, 0, split_index_key(row.key)[1], self._extent_bytes)
            owners.add(split_index_key(row.key)[0])
            if record is not None:
                seen[record.extent_id] += 1
        for row in suspects:
            value = self._index.get(Table.EXTENTS, row.key)
            if value is not None:
                record, found = self._judge(replace(row, value=value))
                result.found += found
                if record is not None and seen[record.extent_id] > 1:
                    result.found.append(Found(Finding.ID_TWICE, extent_name(record.extent_id)))
        for row in lonely:
            if row.key not in owners and (value := self._index.get(Table.OBJECTS, row.key)) is not None:
                owner = unpack_object(value)
                result.found.append(Found(Finding.NO_EXTENT, owner.key if owner is not None else row.key.hex()))
        for extent_id in unknown:
            if not seen[extent_id] and self._older_than(extent_id, began):
                result.found.append(Found(Finding.ORPHAN, extent_name(extent_id)))

    def _older_than(self, extent_id: int, began: float) -> bool:
        """Made before the check began: what is being written now will be in the index."""
        try:
            return os.stat(self._file(extent_id)).st_mtime < began
        except OSError:
            return False
