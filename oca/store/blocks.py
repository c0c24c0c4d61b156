"""The algebra of blocks in an extent: presence bitmaps are plain integers, bit `b` is block `b`.

Pure. Ranges of blocks are inclusive pairs (first, last). An integer is the cheapest set that Python has: a range test
is one `and` and one comparison, whatever its length.
"""

from __future__ import annotations

from contracts.digests import BLOCK_BYTES


def count_blocks(length: int) -> int:
    """Blocks in `length` bytes; the last one may be shorter."""
    return -(-length // BLOCK_BYTES)


def block_length(length: int, block: int) -> int:
    """Bytes of block `block` in an extent of `length` bytes. Raises IndexError outside it."""
    if not 0 <= block < count_blocks(length):
        raise IndexError(f"block {block} of an extent of {length} bytes")
    return min(BLOCK_BYTES, length - block * BLOCK_BYTES)


def locate(file_block: int, blocks_per_extent: int) -> tuple[int, int]:
    """(extent number, block inside it) of a block counted from the start of the file."""
    return divmod(file_block, blocks_per_extent)


def mask(first: int, last: int) -> int:
    """The set {first … last}; empty when last < first."""
    return ((1 << (last - first + 1)) - 1) << first if last >= first else 0


def full(count: int) -> int:
    return (1 << count) - 1


def runs(bits: int) -> list[tuple[int, int]]:
    """The set as inclusive runs in rising order: `0b1011` → `[(0, 1), (3, 3)]`."""
    found: list[tuple[int, int]] = []
    position = 0
    while bits:
        gap = (bits & -bits).bit_length() - 1
        bits >>= gap
        length = (~bits & (bits + 1)).bit_length() - 1
        first = position + gap
        found.append((first, first + length - 1))
        bits >>= length
        position = first + length
    return found


def members(bits: int) -> list[int]:
    return [block for first, last in runs(bits) for block in range(first, last + 1)]


def to_bytes(bits: int, count: int) -> bytes:
    """`count` blocks packed eight to the byte, block 0 in the lowest bit of the first byte."""
    return bits.to_bytes((count + 7) // 8, "little")


def from_bytes(packed: bytes) -> int:
    return int.from_bytes(packed, "little")
