"""Extents: names, keys and the record that one look-up gives. Pure; the format of record and name is final.

Index key: `key_hash` (BLAKE3 of the cache key, 20 bytes) + extent number (u32, big endian), so that the extents of a
file are neighbours. Record (little endian): format u8, flags u8, block count u16, mark slot u32, extent id u64, file size
u64, stored epoch u64, stored at f64 (seconds since the Unix epoch), version 32 bytes, bitmap length u16, header length
u16, bitmap, header block. A reader that meets another format byte treats the record as absent.

File name: `extents/XX/ID` with the id in 16 hex digits and XX its last two, so that consecutive ids spread over folders.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from blake3 import blake3

from oca.store import blocks

FORMAT = 1
KEY_HASH_BYTES = 20
VERSION_BYTES = 32

PINNED = 1
DIGEST = 2
"""The version is a content digest: whoever fetches it again gets the same bytes."""
COMPLETE = 4

_HEAD = struct.Struct("<BBHIQQQd32sHH")
_NUMBER = struct.Struct(">I")


def key_hash(key: str) -> bytes:
    """The 20 bytes that stand for a cache key in the index."""
    return blake3(key.encode()).digest(KEY_HASH_BYTES)


def index_key(hashed: bytes, extent_number: int) -> bytes:
    return hashed + _NUMBER.pack(extent_number)


def split_index_key(packed: bytes) -> tuple[bytes, int]:
    return packed[:KEY_HASH_BYTES], int.from_bytes(packed[KEY_HASH_BYTES:], "big")


def extent_name(extent_id: int) -> str:
    """Path of the extent's file below the disk's folder."""
    return f"extents/{extent_id & 0xFF:02x}/{extent_id:016x}"


def extent_length(file_size: int, extent_number: int, extent_bytes: int) -> int:
    """Bytes of the file that lie in this extent. Raises ValueError for an extent outside the file."""
    start = extent_number * extent_bytes
    if not 0 <= start < file_size:
        raise ValueError(f"extent {extent_number} lies outside a file of {file_size} bytes")
    return min(extent_bytes, file_size - start)


def extent_count(file_size: int, extent_bytes: int) -> int:
    return -(-file_size // extent_bytes)


@dataclass(frozen=True, slots=True)
class ExtentSpec:
    """What a keeper wants to store: one extent of one version of one file.

    `header` is the header block served with it (CRLF-terminated lines). `plan` pins it. `epoch` is the purge epoch that
    was current when the fetch began (None: now), so that a purge beats a fetch that was under way. `digest_version` is
    False for versions made from validators. `lifetime_s` is how long it will be of use (None: for good); `asked_for` is what
    clients ask for where the key says more than that (a version): admission remembers it by this.
    """

    key: str
    version: bytes
    file_size: int
    extent_number: int
    header: bytes
    plan: str | None = None
    epoch: int | None = None
    digest_version: bool = True
    lifetime_s: float | None = None
    asked_for: str = ""


class ExtentRecord:
    """What the index says of one extent; plain values, valid for ever, true at the moment of the look-up."""

    __slots__ = (
        "bits",
        "block_count",
        "disk",
        "extent_id",
        "extent_number",
        "file_size",
        "flags",
        "header",
        "length",
        "slot",
        "stored_at",
        "stored_epoch",
        "version",
    )

    def __init__(
        self,
        disk: int,
        extent_id: int,
        extent_number: int,
        version: bytes,
        file_size: int,
        length: int,
        bits: int,
        header: bytes,
        slot: int = 0,
        flags: int = 0,
        stored_epoch: int = 0,
        stored_at: float = 0.0,
    ) -> None:
        self.disk = disk
        self.extent_id = extent_id
        self.extent_number = extent_number
        self.version = version
        self.file_size = file_size
        self.length = length
        self.block_count = blocks.count_blocks(length)
        self.bits = bits
        self.header = header
        self.slot = slot
        self.flags = flags
        self.stored_epoch = stored_epoch
        self.stored_at = stored_at

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExtentRecord):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        present = f"{self.bits.bit_count()}/{self.block_count}"
        return f"<extent {self.extent_id:x} on disk {self.disk}: number {self.extent_number}, {present} blocks>"

    @property
    def pinned(self) -> bool:
        return bool(self.flags & PINNED)

    @property
    def complete(self) -> bool:
        return self.bits == blocks.full(self.block_count)

    def has_blocks(self, first: int, last: int) -> bool:
        """True when all blocks first … last (inclusive, counted inside the extent) are present."""
        wanted = ((1 << (last - first + 1)) - 1) << first
        return self.bits & wanted == wanted

    def missing(self, first: int, last: int) -> list[tuple[int, int]]:
        """The absent blocks of first … last as inclusive runs."""
        return blocks.runs(blocks.mask(first, last) & ~self.bits)


def pack_record(record: ExtentRecord) -> bytes:
    bitmap = blocks.to_bytes(record.bits, record.block_count)
    flags = record.flags | COMPLETE if record.complete else record.flags & ~COMPLETE
    head = _HEAD.pack(
        FORMAT,
        flags,
        record.block_count,
        record.slot,
        record.extent_id,
        record.file_size,
        record.stored_epoch,
        record.stored_at,
        record.version,
        len(bitmap),
        len(record.header),
    )
    return head + bitmap + record.header


def unpack_record(value: bytes, disk: int, extent_number: int, extent_bytes: int) -> ExtentRecord | None:
    """The record in `value`, or None when its format is not ours."""
    if len(value) < _HEAD.size or value[0] != FORMAT:
        return None
    _, flags, _, slot, extent_id, file_size, epoch, stored_at, version, bitmap_len, header_len = _HEAD.unpack_from(
        value
    )
    end = _HEAD.size + bitmap_len
    start = extent_number * extent_bytes
    return ExtentRecord(
        disk,
        extent_id,
        extent_number,
        version,
        file_size,
        min(extent_bytes, file_size - start),
        int.from_bytes(value[_HEAD.size : end], "little"),
        value[end : end + header_len],
        slot,
        flags,
        epoch,
        stored_at,
    )
