"""The end of an extent file: whose bytes these are, and check bytes of each block. Pure; the format is final.

An extent file is its data, padded to 4096 bytes, then a trailer: magic, extent id u64, key hash (20 bytes), extent number u32, file size
u64, version (32 bytes), padded to 96 bytes (little endian), then 8 bytes per block, zeros while the block is absent.

Check bytes are the first 8 of the block's BLAKE3. They cost nothing at writing (the digest is verified anyway) and tell rotten bytes from
good ones without the control plane; they are no protection against an adversary, who meets the full digest at the door. They lie
here and not in the index because the index is locked in memory: a kilobyte per full extent would triple it. A block and its check
become durable in one `fdatasync`. With the head, an extent can be recognised without its index.

No client gets a byte of it: what may be sent ends at the extent's length.
"""

from __future__ import annotations

import struct

from contracts.digests import block_digest
from oca.store.blocks import count_blocks

MAGIC = b"LTXTENT1"
PAGE = 4096
CHECK_BYTES = 8
_HEAD = struct.Struct("<8sQ20sIQ32s")
HEAD_BYTES = 96


def trailer_offset(length: int) -> int:
    """Where the trailer of an extent of `length` data bytes begins."""
    return -(-length // PAGE) * PAGE


def file_length(length: int) -> int:
    """Bytes of the whole file: data, padding, trailer."""
    return trailer_offset(length) + HEAD_BYTES + CHECK_BYTES * count_blocks(length)


def allocated_bytes(length: int) -> int:
    """What an extent of `length` data bytes takes on the disk, in whole pages."""
    return -(-file_length(length) // PAGE) * PAGE


def pack_head(extent_id: int, hashed: bytes, extent_number: int, file_size: int, version: bytes) -> bytes:
    return _HEAD.pack(MAGIC, extent_id, hashed, extent_number, file_size, version)


def check_offset(length: int, block: int) -> int:
    """Where the check bytes of a block lie in the file."""
    return trailer_offset(length) + HEAD_BYTES + CHECK_BYTES * block


def checks_length(length: int) -> int:
    return CHECK_BYTES * count_blocks(length)


def check_of(digest: bytes) -> bytes:
    """The check bytes of a block digest."""
    return digest[:CHECK_BYTES]


def check_of_data(data: bytes | bytearray | memoryview) -> bytes:
    return check_of(block_digest(data))


def is_good(data: bytes | bytearray | memoryview, checks: bytes | bytearray, block: int) -> bool:
    """Whether a block's bytes fit its check bytes; False when those are missing."""
    check = checks[CHECK_BYTES * block : CHECK_BYTES * (block + 1)]
    return len(check) == CHECK_BYTES and check == check_of_data(data)
