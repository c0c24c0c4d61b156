"""What one disk holds, as its keeper knows it: objects with their extents, in memory, and the packed form of an object.

The index is the truth on disk; this is the same plus what was written and is not durable yet. Pure.

Object (little endian): format u8, flags u8, file size u64, stored at f64, version 32 bytes, key length u16, plan length u16,
key, plan. Flags as in `extents`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from contracts.digests import BLOCK_BYTES
from oca.store import blocks
from oca.store.extents import DIGEST, PINNED, ExtentRecord, extent_length, index_key, key_hash
from oca.store.trailer import allocated_bytes

FORMAT = 1
_HEAD = struct.Struct("<BBQd32sHH")


class HeldExtent:
    """One extent file. `bits` are durable blocks, `pending` written ones that the index does not promise yet."""

    __slots__ = (
        "bits",
        "extent_id",
        "fd",
        "fresh",
        "gone",
        "length",
        "number",
        "object",
        "pending",
        "slot",
        "stored_at",
        "stored_epoch",
        "users",
    )

    def __init__(
        self, owner: HeldObject, extent_id: int, number: int, length: int, slot: int, epoch: int, stored_at: float
    ) -> None:
        self.object = owner
        self.extent_id = extent_id
        self.number = number
        self.length = length
        self.slot = slot
        self.stored_epoch = epoch
        self.stored_at = stored_at
        self.bits = 0
        self.pending = 0
        self.fd = -1
        self.users = 0
        self.fresh = True
        """Not in the index yet."""
        self.gone = False

    @property
    def identity(self) -> bytes:
        """Its name for eviction: the same again when its content comes back under another id."""
        return index_key(self.object.hashed, self.number)

    @property
    def block_count(self) -> int:
        return blocks.count_blocks(self.length)

    @property
    def size(self) -> int:
        """What its file takes on the disk."""
        return allocated_bytes(self.length)

    @property
    def present(self) -> int:
        return self.bits | self.pending

    @property
    def complete(self) -> bool:
        return self.present == blocks.full(self.block_count)

    @property
    def busy(self) -> bool:
        return self.users > 0 or self.pending != 0

    def record(self, disk: int, durable: bool) -> ExtentRecord:
        """As a look-up would show it; with `durable` False the announced blocks are in it."""
        owner = self.object
        flags = (PINNED if owner.plan is not None else 0) | (DIGEST if owner.digest_version else 0)
        return ExtentRecord(
            disk,
            self.extent_id,
            self.number,
            owner.version,
            owner.file_size,
            self.length,
            self.bits if durable else self.present,
            owner.header,
            self.slot,
            flags,
            self.stored_epoch,
            self.stored_at,
        )


class HeldObject:
    """One version of one file, with those of its extents that live on this disk."""

    __slots__ = (
        "digest_version",
        "extents",
        "file_size",
        "hashed",
        "header",
        "key",
        "plan",
        "recorded",
        "stored_at",
        "version",
    )

    def __init__(
        self,
        key: str,
        version: bytes,
        file_size: int,
        header: bytes,
        plan: str | None,
        digest_version: bool,
        stored_at: float,
    ) -> None:
        self.key = key
        self.hashed = key_hash(key)
        self.version = version
        self.file_size = file_size
        self.header = header
        self.plan = plan
        self.digest_version = digest_version
        self.stored_at = stored_at
        self.extents: dict[int, HeldExtent] = {}
        self.recorded = False
        """Its row is in the index as it is here."""


@dataclass(frozen=True, slots=True)
class HeldFile:
    """One object as reports see it, over all disks. `present_bytes` counts durable and announced blocks."""

    key: str
    version: bytes
    file_size: int
    present_bytes: int
    allocated_bytes: int
    plan: str | None
    stored_at: float

    @property
    def complete(self) -> bool:
        return self.present_bytes == self.file_size


def present_bytes(extent: HeldExtent) -> int:
    """Bytes of the extent's present blocks; the last block may be shorter."""
    last = blocks.count_blocks(extent.length) - 1
    short = BLOCK_BYTES - blocks.block_length(extent.length, last)
    return extent.present.bit_count() * BLOCK_BYTES - (short if extent.present >> last & 1 else 0)


def pack_object(held: HeldObject) -> bytes:
    key, plan = held.key.encode(), (held.plan or "").encode()
    flags = (PINNED if held.plan is not None else 0) | (DIGEST if held.digest_version else 0)
    head = _HEAD.pack(FORMAT, flags, held.file_size, held.stored_at, held.version, len(key), len(plan))
    return head + key + plan


def unpack_object(value: bytes) -> HeldObject | None:
    """The object without extents and header, or None when its format is not ours."""
    if len(value) < _HEAD.size or value[0] != FORMAT:
        return None
    _, flags, file_size, stored_at, version, key_length, plan_length = _HEAD.unpack_from(value)
    key_end = _HEAD.size + key_length
    key = value[_HEAD.size : key_end].decode()
    plan = value[key_end : key_end + plan_length].decode() if flags & PINNED else None
    held = HeldObject(key, version, file_size, b"", plan, bool(flags & DIGEST), stored_at)
    held.recorded = True
    return held


class Holdings:
    """The tables of one disk. Reading them from another thread is safe: every step is one dict operation."""

    def __init__(self, extent_bytes: int) -> None:
        self._extent_bytes = extent_bytes
        self.objects: dict[bytes, HeldObject] = {}
        self.extents: dict[int, HeldExtent] = {}

    def find(self, hashed: bytes, number: int) -> HeldExtent | None:
        held = self.objects.get(hashed)
        return held.extents.get(number) if held is not None else None

    def add_object(self, held: HeldObject) -> None:
        self.objects[held.hashed] = held

    def add_extent(
        self, owner: HeldObject, extent_id: int, number: int, slot: int, epoch: int, stored_at: float
    ) -> HeldExtent:
        length = extent_length(owner.file_size, number, self._extent_bytes)
        extent = HeldExtent(owner, extent_id, number, length, slot, epoch, stored_at)
        owner.extents[number] = extent
        self.extents[extent_id] = extent
        return extent

    def load_extent(self, owner: HeldObject, record: ExtentRecord) -> HeldExtent:
        """An extent that the index promises. The object takes over the header block."""
        extent = self.add_extent(
            owner, record.extent_id, record.extent_number, record.slot, record.stored_epoch, record.stored_at
        )
        extent.bits = record.bits
        extent.fresh = False
        owner.header = owner.header if owner.header == record.header else record.header
        return extent

    def remove_extent(self, extent: HeldExtent) -> bool:
        """Forget an extent; True when its object has none left and was forgotten too."""
        extent.gone = True
        del self.extents[extent.extent_id]
        owner = extent.object
        if owner.extents.get(extent.number) is extent:
            del owner.extents[extent.number]
        if owner.extents or self.objects.get(owner.hashed) is not owner:
            return False
        del self.objects[owner.hashed]
        return True
