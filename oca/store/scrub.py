"""Scrub: read everything again at idle; a bad block is quarantined, counted, and never served again.

The keeper calls `some` in a disk's thread whenever that is idle; a position is kept, so that every extent has its turn. Blocks are
compared with the index's check bytes, so that no control plane is needed. What is missing afterwards is fetched like any miss.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass

from oca.store.disk_writer import DiskWriter
from oca.store.recovery import bad_bits, quarantine


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """What one call did. `rounds` grows when the last extent was passed."""

    extents: int
    blocks: int
    bad_blocks: int


def examine_extent(writer: DiskWriter, extent_id: int) -> int:
    """Verify one extent now, in the disk's thread; how many bad blocks were taken out of service. 0 when it is not held any more.

    Raises DiskFailed, NoSpace(READ_ONLY).
    """
    extent = writer.holdings.extents.get(extent_id)
    if extent is None or extent.gone:
        return 0
    bad = bad_bits(writer, extent, extent.bits)
    quarantine(writer, extent, bad)
    return bad.bit_count()


class Scrub:
    """A position in the extents of one disk, by id."""

    def __init__(self, writer: DiskWriter) -> None:
        self._writer = writer
        self._after = -1
        self.rounds = 0
        self.bad_blocks = 0

    def some(self, max_blocks: int) -> Scrubbed:
        """Verify whole extents until `max_blocks` are read or the end is reached. Raises DiskFailed, NoSpace(READ_ONLY)."""
        ids = sorted(self._writer.holdings.extents)
        extents = blocks = bad = 0
        for extent_id in ids[bisect.bisect_right(ids, self._after) :]:
            extent = self._writer.holdings.extents.get(extent_id)
            self._after = extent_id
            if extent is None or extent.gone:
                continue
            found = bad_bits(self._writer, extent, extent.bits)
            extents, blocks, bad = extents + 1, blocks + extent.bits.bit_count(), bad + found.bit_count()
            quarantine(self._writer, extent, found)
            if blocks >= max_blocks:
                break
        else:
            self._after = -1
            self.rounds += 1
        self.bad_blocks += bad
        return Scrubbed(extents, blocks, bad)
