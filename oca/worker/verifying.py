"""Blocks read from a disk are compared with their check bytes before a byte of them is sent: all of them, or a share (`store.verify_reads`).

Laws
- A worker sends nothing of a block that it has not proven since it opened the extent (`Descriptor.proven`): the first time, and whenever a window turns out not to
  be in memory, the disk's thread pool reads it, compares it and only then is it sent. What is proven and in memory costs one comparison of bits. A window is
  widened to whole blocks for it.
- What the keeper announces was verified and written a moment before, and counts as proven.

A block of 256 KiB takes 43 µs of that thread, which another thread may use meanwhile (the hash holds no lock); against the disk's own time for it that is little, so that the
share is 1 by default. What the share leaves out counts as proven.

A filesystem that cannot be asked what is in memory (tmpfs) is sent from as it is: scrub alone looks at it.
"""

from __future__ import annotations

import os
from typing import Protocol

from contracts.digests import BLOCK_BYTES
from oca.store import trailer
from oca.worker.reading import ShortFile, read_all


class BadBlock(Exception):
    """A block is not what was stored. Nothing of it was sent, and its pages were dropped from memory, so that nobody sends them."""


class ExtentFile(Protocol):
    """What of `oca.store.descriptors.Descriptor` is read."""

    fd: int
    length: int


class Share:
    """Chooses a share of all reads, evenly. Deterministic: of 4 reads at 0.25 it is the fourth."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._owed = 0.0

    def takes(self) -> bool:
        self._owed += self._share
        if self._owed < 1.0:
            return False
        self._owed -= 1.0
        return True


def blocks_of(offset: int, length: int) -> tuple[int, int]:
    """First and last block of a window, inclusive."""
    return offset // BLOCK_BYTES, (offset + length - 1) // BLOCK_BYTES


def mask_of(offset: int, length: int) -> int:
    """The bits of a window's blocks, as `Descriptor.proven` has them."""
    first, last = blocks_of(offset, length)
    return ((1 << (last - first + 1)) - 1) << first


def read_verified(file: ExtentFile, offset: int, length: int) -> bytearray:
    """Exactly these bytes, every block that they touch proven. Blocking. Raises BadBlock, ShortFile, OSError."""
    first, last = blocks_of(offset, length)
    start = first * BLOCK_BYTES
    end = min(file.length, (last + 1) * BLOCK_BYTES)
    if end < offset + length:
        raise ShortFile(f"a window ends behind the extent's {file.length} bytes")
    checks_at = trailer.check_offset(file.length, first)
    checks_end = trailer.check_offset(file.length, last + 1)
    if end == file.length:
        # The trailer follows: one read for both, so that a small file costs its disk no second turn.
        data = read_all(file.fd, start, checks_end - start)
        checks = data[checks_at - start :]
    else:
        data = read_all(file.fd, start, end - start)
        checks = read_all(file.fd, checks_at, checks_end - checks_at)
    with memoryview(data) as whole, whole[: end - start] as blocks:
        _prove(file, first, blocks, checks)
    del data[offset - start + length :]
    del data[: offset - start]
    return data


def _prove(file: ExtentFile, first: int, blocks: memoryview, checks: bytearray) -> None:
    for number in range(-(-len(blocks) // BLOCK_BYTES)):
        with blocks[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES] as block:
            good = trailer.is_good(block, checks, number)
        if not good:
            # All of the window: what stands behind the bad block was not looked at.
            os.posix_fadvise(file.fd, first * BLOCK_BYTES, len(blocks), os.POSIX_FADV_DONTNEED)
            raise BadBlock(f"block {first + number} is not what was stored")
