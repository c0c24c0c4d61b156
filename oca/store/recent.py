"""What the last batches made durable, so that an unclean stop costs a few reads instead of trust. Pure; the format is final.

A disk may say that a write is durable before it is. With every batch, the index gets a row that names its blocks; rows older than
`KEPT_BATCHES` go in the same transaction. After an unclean stop the keeper reads those blocks and compares
them with their checksums before the disk is served from.

Row: per extent the index key (24 bytes), extent id u64, bitmap length u16 (little endian), bitmap.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from oca.store.extents import KEY_HASH_BYTES

KEPT_BATCHES = 8
_HEAD = struct.Struct(f"<{KEY_HASH_BYTES + 4}sQH")


@dataclass(frozen=True, slots=True)
class RecentBlocks:
    packed_key: bytes
    extent_id: int
    bits: int


def pack_recent(entries: list[RecentBlocks]) -> bytes:
    parts: list[bytes] = []
    for entry in entries:
        bitmap = entry.bits.to_bytes((entry.bits.bit_length() + 7) // 8, "little")
        parts += (_HEAD.pack(entry.packed_key, entry.extent_id, len(bitmap)), bitmap)
    return b"".join(parts)


def unpack_recent(value: bytes) -> list[RecentBlocks]:
    found: list[RecentBlocks] = []
    at = 0
    while at + _HEAD.size <= len(value):
        packed_key, extent_id, length = _HEAD.unpack_from(value, at)
        at += _HEAD.size
        found.append(RecentBlocks(packed_key, extent_id, int.from_bytes(value[at : at + length], "little")))
        at += length
    return found
