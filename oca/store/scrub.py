"""Scrub: read everything again from the disks themselves; a bad block is quarantined, counted, and never served again.

The keeper calls `some` in a thread at idle, at the rate of `store.scrub_bytes_per_s`; the place is kept in the index, so that every extent has its turn
however often a keeper starts. Blocks are compared with the check bytes of their extent's trailer, so that no control plane is needed, and read
past the page cache: what is in memory says nothing about the disk, and what is read here is nothing that players want. What is missing afterwards is fetched like any miss.
"""

from __future__ import annotations

import bisect
import contextlib
from dataclasses import dataclass

from contracts.digests import BLOCK_BYTES
from oca.store.disk_writer import DiskWriter
from oca.store.errors import NoSpace
from oca.store.index import Changes
from oca.store.recovery import bad_bits, quarantine

META_AFTER = b"scrubbed-up-to"
META_ENDED = b"scrub-ended-at"
NOTED_EVERY = 64
"""Extents between two notes of the place."""


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """What one call did."""

    extents: int
    blocks: int
    bad_blocks: int

    @property
    def read_bytes(self) -> int:
        """At most: the last block of a file is shorter."""
        return self.blocks * BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class ScrubProgress:
    """Where a scrub is. Counts are of this object's life, a round ends when the last extent was passed."""

    rounds: int
    extents_passed: int
    """Of this round."""
    extents: int
    """That the disk has now."""
    blocks: int
    bad_blocks: int
    ended_at: float
    """When a round ended last, on this disk, whoever went it; seconds since the epoch, 0 for never."""

    @property
    def share(self) -> float:
        """Of this round, 0 to 1."""
        return min(1.0, self.extents_passed / self.extents) if self.extents else 1.0


def examine_extent(writer: DiskWriter, extent_id: int) -> int:
    """Verify one extent now, in the disk's thread; how many bad blocks were taken out of service. 0 when it is not held any more.

    Raises DiskFailed, NoSpace(READ_ONLY).
    """
    extent = writer.holdings.extents.get(extent_id)
    if extent is None or extent.gone:
        return 0
    bad = bad_bits(writer, extent, extent.bits)
    quarantine(writer, extent, bad)
    writer.bad_blocks += bad.bit_count()
    return bad.bit_count()


class Scrub:
    """A place in the extents of one disk, by id. With `kept` it begins where the last keeper was, else at the first extent."""

    def __init__(self, writer: DiskWriter, kept: bool = True) -> None:
        self._writer = writer
        self._kept = kept
        self._after = writer.index.number(META_AFTER) - 1 if kept else -1
        self._ended_at = float(writer.index.number(META_ENDED))
        self._unnoted = 0
        self._passed = 0
        self.rounds = 0
        self.blocks = 0
        self.bad_blocks = 0

    def some(self, max_blocks: int) -> Scrubbed:
        """Verify whole extents until `max_blocks` are read or the end is reached. Raises DiskFailed, NoSpace(READ_ONLY)."""
        ids = sorted(self._writer.holdings.extents)
        first = bisect.bisect_right(ids, self._after)
        extents = blocks = bad = 0
        for position in range(first, len(ids)):
            self._after = ids[position]
            self._passed = position + 1
            extent = self._writer.holdings.extents.get(ids[position])
            if extent is None:
                continue
            found = bad_bits(self._writer, extent, extent.bits)
            if extent.gone:  # evicted before, or while it was read
                continue
            extents, blocks, bad = extents + 1, blocks + extent.bits.bit_count(), bad + found.bit_count()
            quarantine(self._writer, extent, found)
            if blocks >= max_blocks:
                break
        else:
            self._after, self._passed = -1, 0
            self.rounds += 1
            self._ended_at = self._writer.clock()
        self.blocks += blocks
        self.bad_blocks += bad
        self._writer.scrubbed_blocks += blocks
        self._writer.bad_blocks += bad
        self._note(extents)
        return Scrubbed(extents, blocks, bad)

    def _note(self, extents: int) -> None:
        """A round that was ended, and now and then the place. Less would lose what was done, more would wake the disk."""
        self._unnoted += extents
        if self._after >= 0 and (not self._kept or self._unnoted < NOTED_EVERY):
            return
        self._unnoted = 0
        changes = Changes()
        if self._kept:
            changes.number(META_AFTER, self._after + 1)
        changes.number(META_ENDED, int(self._ended_at))
        with contextlib.suppress(NoSpace):  # read-only, or an index that is full: the place is not kept
            self._writer.commit_changes(changes)

    @property
    def under_way(self) -> bool:
        """In the middle of a round."""
        return self._after >= 0

    @property
    def progress(self) -> ScrubProgress:
        extents = len(self._writer.holdings.extents)
        return ScrubProgress(self.rounds, self._passed, extents, self.blocks, self.bad_blocks, self._ended_at)
