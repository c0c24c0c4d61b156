"""What a keeper does with a disk before it writes: read the index, verify what an unclean stop leaves in doubt, collect strays.

After a clean stop the disk is served from at once and read in meanwhile. After an unclean one (the clean mark is missing), the blocks of the
last batches are read and compared with their check bytes first (`recent`); a bad one costs its extent a move. What index and folders do not
agree about is collected afterwards, in service (`strays`).
"""

from __future__ import annotations

from dataclasses import dataclass

from oca.store.blocks import members
from oca.store.disk_writer import DiskWriter, Gone
from oca.store.errors import NoSpace
from oca.store.extents import split_index_key, unpack_record
from oca.store.holdings import HeldExtent, unpack_object
from oca.store.index import Changes, Table
from oca.store.marks import NO_SLOT
from oca.store.recent import unpack_recent
from oca.store.trailer import is_good


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was found, for the log. `orphans`, `missing` and `strangers` are those of `strays`, 0 until its sweep has ended."""

    clean: bool
    extents: int
    unreadable_records: int = 0
    verified_blocks: int = 0
    bad_blocks: int = 0
    orphans: int = 0
    missing: int = 0
    strangers: int = 0


def load(writer: DiskWriter, extent_bytes: int) -> int:
    """Read the index into the writer's tables; how many records could not be read (they are deleted from it)."""
    for page in writer.index.scan(Table.OBJECTS):
        for _, value in page:
            held = unpack_object(value)
            if held is not None:
                writer.holdings.add_object(held)
    unreadable: list[bytes] = []
    for page in writer.index.scan(Table.EXTENTS):
        unreadable += [packed for packed, value in page if not _load_extent(writer, packed, value, extent_bytes)]
    changes = Changes()
    for packed in unreadable:
        changes.delete(Table.EXTENTS, packed)
    for hashed, held in list(writer.holdings.objects.items()):
        if not held.extents:
            del writer.holdings.objects[hashed]
            changes.delete(Table.OBJECTS, hashed)
    if changes.items:
        writer.index.commit(changes)
    _teach_policy(writer)
    return len(unreadable)


def _load_extent(writer: DiskWriter, packed: bytes, value: bytes, extent_bytes: int) -> bool:
    hashed, number = split_index_key(packed)
    owner = writer.holdings.objects.get(hashed)
    record = unpack_record(value, writer.number, number, extent_bytes)
    if owner is None or record is None or (record.version, record.file_size) != (owner.version, owner.file_size):
        return False
    extent = writer.holdings.load_extent(owner, record)
    if writer.slots.claim(extent.slot, extent.extent_id):
        writer.marks.adopt(extent.slot, extent.extent_id)
    else:
        extent.slot = NO_SLOT
    writer.space.add(extent.size, owner.plan is not None)
    return True


def _teach_policy(writer: DiskWriter) -> None:
    """Oldest first: before the first marks are collected, age is all that is known."""
    for extent in sorted(writer.holdings.extents.values(), key=lambda extent: (extent.stored_at, extent.extent_id)):
        if extent.object.plan is None:
            writer.policy.on_insert(extent.identity, extent.size)


def verify_recent(writer: DiskWriter) -> tuple[int, int]:
    """Read what the last batches made durable; (blocks read, bad ones). An extent with a bad block is replaced by its good ones.

    Raises DiskFailed.
    """
    doubtful: dict[int, int] = {}
    rows = writer.index.items(Table.RECENT)
    for _, value in rows:
        for entry in unpack_recent(value):
            doubtful[entry.extent_id] = doubtful.get(entry.extent_id, 0) | entry.bits
    read = bad = 0
    for extent_id, bits in doubtful.items():
        extent = writer.holdings.extents.get(extent_id)
        if extent is not None:
            found = bad_bits(writer, extent, bits & extent.bits)
            read += (bits & extent.bits).bit_count()
            bad += found.bit_count()
            quarantine(writer, extent, found)
    return read, bad


def bad_bits(writer: DiskWriter, extent: HeldExtent, bits: int) -> int:
    """Which of these durable blocks do not fit their check bytes in the trailer, or have none. Raises DiskFailed.

    Past the page cache where the filesystem can: what is in memory says nothing of the disk, and what would be brought there by this
    could be sent by workers before it was judged.
    """
    checks = writer.read_checks(extent) if bits else b""
    bad = 0
    for block in members(bits):
        if not is_good(writer.read_block(extent, block, past_cache=True), checks, block):
            bad |= 1 << block
    return bad


def quarantine(writer: DiskWriter, extent: HeldExtent, bad: int) -> HeldExtent | None:
    """Take bad blocks out of service: the good ones move to a new extent, or all goes where there is no room for that."""
    if not bad:
        return extent
    try:
        return writer.replace(extent, extent.bits & ~bad)
    except NoSpace:
        writer.remove([extent], Gone.QUARANTINED)
        return None
