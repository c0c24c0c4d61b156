"""A disk with an index of a million extents, made in seconds: records packed and committed by the store's own code, files as hard links.

Every extent is a file of 1 KiB of its own, the costliest case: an object record beside each extent record. The disk is left as a
keeper that stopped in order leaves it.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from contracts.urls import MediaName
from oca.store.disks import DiskSettings, StoreSettings, prepare_disk
from oca.store.extents import DIGEST, ExtentRecord, extent_name, index_key, key_hash, pack_record
from oca.store.holdings import HeldObject, pack_object
from oca.store.index import META_NEXT_ID, Changes, IndexWriter, Table
from oca.store.marks import NO_SLOT
from oca.store.trailer import check_of_data, check_offset, file_length

FILE_BYTES = 1024
EXTENT_BYTES = 256 * 1024
RECORD_BYTES = 600
"""Budget of the index map per extent (DESIGN §3.2)."""
_LINKS = 50_000
"""Names of one inode; ext4 takes 65,000."""
_BATCH = 20_000
_STORED_AT = 1.7e9
_HEADER = (
    b'Content-Type: video/mp4\r\nETag: "b3-0123456789abcdef0123456789abcdef"\r\n'
    b"Cache-Control: public, max-age=31536000, immutable\r\n"
)


@dataclass(frozen=True, slots=True)
class Stocked:
    """Keys are 0 … extents - 1; `key_of` names them."""

    extents: int
    index_bytes: int


def settings_of(folder: Path, extents: int) -> StoreSettings:
    """One disk whose index map is as large as the budget allows, and whose marks suffice for all where the filesystem is that large."""
    map_bytes = -(-max(extents, 20_000) * RECORD_BYTES // (1 << 20)) << 20
    free_bytes = shutil.disk_usage(folder.parent).free
    disk = DiskSettings(str(folder), min(max(1 << 30, extents * EXTENT_BYTES // 4), free_bytes))
    return StoreSettings((disk,), EXTENT_BYTES, map_bytes, cache_share=1.0)


def key_of(number: int) -> str:
    return MediaName(f"t{number // 100}", "hd", f"v{number % 100}.mp4").key


def stock(settings: StoreSettings, extents: int, *, files: bool) -> Stocked:
    """Fill an empty disk; without `files` only the index is made, and a keeper would forget it all.

    It has to be empty: what is put in front of a key that is there leaves pages half full.
    """
    disk = settings.disks[0]
    description = prepare_disk(disk, settings)
    index = IndexWriter.open(os.path.join(disk.path, "index"), description.map_bytes)
    try:
        first_id = index.number(META_NEXT_ID)
        # In the order of the keys every page is written once and left full.
        order = sorted((key_hash(key_of(number)), number) for number in range(extents))
        for start in range(0, extents, _BATCH):
            changes = Changes()
            for hashed, number in order[start : start + _BATCH]:
                _put(changes, hashed, number, first_id + number)
            index.commit(changes)
        last = Changes()
        last.number(META_NEXT_ID, first_id + extents)
        index.commit(last)
        used = index.statistics().used_bytes
    finally:
        index.close()
    if files:
        _link_files(Path(disk.path), first_id, extents)
    return Stocked(extents, used)


def _put(changes: Changes, hashed: bytes, number: int, extent_id: int) -> None:
    version = hashed + bytes(12)
    held = HeldObject(key_of(number), version, FILE_BYTES, _HEADER, None, True, _STORED_AT)
    changes.put(Table.OBJECTS, hashed, pack_object(held))
    slot = NO_SLOT if number >= NO_SLOT else number
    record = ExtentRecord(0, extent_id, 0, version, FILE_BYTES, FILE_BYTES, 1, _HEADER, slot, DIGEST, 0, _STORED_AT)
    changes.put(Table.EXTENTS, index_key(hashed, 0), pack_record(record))


def _link_files(disk: Path, first_id: int, extents: int) -> None:
    """Names of a few files with right check bytes: recovery looks at names and lengths, scrubbing at blocks."""
    data = bytes(FILE_BYTES)
    for start in range(0, extents, _LINKS):
        seed = disk / f"seed-{start}"
        with seed.open("wb") as file:
            file.write(data)
            file.seek(check_offset(FILE_BYTES, 0))
            file.write(check_of_data(data))
            file.truncate(file_length(FILE_BYTES))
        for extent_id in range(first_id + start, first_id + min(extents, start + _LINKS)):
            os.link(seed, disk / extent_name(extent_id))
        seed.unlink()
