"""Check bytes of an extent's blocks: the first 8 bytes of each block's BLAKE3, so that scrub needs nobody. Pure; final format.

They cost nothing at writing (the digest is verified anyway) and tell rotten bytes from good ones; they are no
protection against an adversary, who meets the full digest at the door.

Row, keyed by the extent id (u64 big endian): format u8, then 8 bytes per block, zeros for absent ones.
"""

from __future__ import annotations

from collections.abc import Mapping

from contracts.digests import block_digest

FORMAT = 1
CHECK_BYTES = 8


def check_of(digest: bytes) -> bytes:
    """The check bytes of a block digest."""
    return digest[:CHECK_BYTES]


def check_of_data(data: bytes) -> bytes:
    return check_of(block_digest(data))


def row_key(extent_id: int) -> bytes:
    return extent_id.to_bytes(8, "big")


def merge_row(old: bytes | None, checks: Mapping[int, bytes], block_count: int) -> bytes:
    """The row with some blocks' check bytes put in."""
    row = bytearray(old if old else bytes([FORMAT]) + bytes(block_count * CHECK_BYTES))
    for block, check in checks.items():
        row[1 + block * CHECK_BYTES : 1 + (block + 1) * CHECK_BYTES] = check
    return bytes(row)


def check_in_row(row: bytes | None, block: int) -> bytes | None:
    """The check bytes of a block, or None when they are not known."""
    if not row or row[0] != FORMAT:
        return None
    check = row[1 + block * CHECK_BYTES : 1 + (block + 1) * CHECK_BYTES]
    return check if len(check) == CHECK_BYTES and any(check) else None
