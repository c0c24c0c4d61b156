"""Moving an extent from one disk to another: copy, verify, commit there, delete here.

Laws.
1. At every moment the index of one disk promises the extent: the copy is durable and committed before the original goes. A crash in
   between leaves two right copies; `merge` them later.
2. Every block is compared with its check bytes as it is read, past the page cache: what a worker finds in memory it takes for proven. A bad
   one is not copied and leaves with the original.
3. What somebody writes is not moved; what was written meanwhile keeps the original where it is.
4. What a purge forbids is not moved, it leaves.

Both disks' calls are thread-safe; a move runs in a thread of its own, so that neither disk's writes wait for all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from contracts.digests import block_digest
from oca.store import blocks
from oca.store.disk_writer import DiskWriter, Gone
from oca.store.errors import ExtentGone, NoSpace, StoreError
from oca.store.extents import ExtentSpec
from oca.store.holdings import HeldExtent
from oca.store.purge import PurgeMode
from oca.store.trailer import is_good


class MoveReason(Enum):
    """Why an extent moves; the value is the log word and the counter's label."""

    DRAIN = "drain"
    """Its disk takes nothing new and is to be emptied."""
    DUPLICATE = "duplicate"
    """It is on a better disk too: a disk came back, or a move was interrupted."""
    PROMOTE = "promote"
    """It is used much: to a hot disk."""
    DEMOTE = "demote"
    """It is used little: to a cold disk."""


class MoveEnd(Enum):
    """How a move ended; the value is the log word and the counter's label."""

    MOVED = "moved"
    MERGED = "merged"
    """The other disk had it: it got what it lacked."""
    GONE = "gone"
    """It had left, or the other disk has a newer version of its file."""
    BUSY = "busy"
    """Somebody writes it: it stays, to be tried again."""
    PURGED = "purged"
    NO_ROOM = "no-room"
    """The other disk has no room for it now."""
    BAD = "bad"
    """No block of it was good."""


@dataclass(frozen=True, slots=True)
class Moved:
    """`bytes_moved` were written to the other disk; `bad_blocks` were left behind."""

    end: MoveEnd
    bytes_moved: int = 0
    bad_blocks: int = 0


def move_extent(source: DiskWriter, target: DiskWriter, extent_id: int, *, evict: bool) -> Moved:
    """Move one extent now; `evict` lets the target make room by its policy. Raises DiskFailed of either disk, nothing is lost by it."""
    extent = source.holdings.extents.get(extent_id)
    if extent is None or extent.gone:
        return Moved(MoveEnd.GONE)
    if source.rules.judge(extent.object.key, extent.stored_epoch) is PurgeMode.HARD:
        source.remove([extent], Gone.PURGED)
        return Moved(MoveEnd.PURGED)
    if not source.hold(extent):
        return Moved(MoveEnd.BUSY)
    bits = extent.bits
    try:
        outcome = Moved(MoveEnd.GONE) if _is_outdated(extent, target) else _copy(source, target, extent, bits, evict)
    except NoSpace:
        return Moved(MoveEnd.NO_ROOM)
    finally:
        source.let_go(extent)
    if outcome.end is MoveEnd.BUSY:
        return outcome
    if outcome.end in (MoveEnd.MOVED, MoveEnd.MERGED):
        _same_pin(extent, target)
    reason = Gone.REPLACED if outcome.end is MoveEnd.GONE else Gone.RELOCATED
    if outcome.end is MoveEnd.BAD:
        reason = Gone.QUARANTINED
    try:
        left = source.remove_unchanged(extent, bits, reason)
    except NoSpace:  # it cannot be deleted from a read-only disk: two right copies
        left = False
    return outcome if left else Moved(MoveEnd.BUSY, outcome.bytes_moved)


def _is_outdated(extent: HeldExtent, target: DiskWriter) -> bool:
    """The target has a newer version of the file."""
    theirs = target.holdings.objects.get(extent.object.hashed)
    ours = extent.object
    return theirs is not None and theirs.version != ours.version and theirs.stored_at > ours.stored_at


def _same_pin(extent: HeldExtent, target: DiskWriter) -> None:
    """A plan may have taken or let go of it while it was copied; from now on it finds both."""
    ours, theirs = extent.object, target.holdings.objects.get(extent.object.hashed)
    if theirs is None or (ours.plan is None) == (theirs.plan is None):
        return
    if ours.plan is None:
        target.unpin(ours.key)
    else:
        target.pin(ours.key, ours.plan)


def _copy(source: DiskWriter, target: DiskWriter, extent: HeldExtent, bits: int, evict: bool) -> Moved:
    owner = extent.object
    spec = ExtentSpec(
        owner.key,
        owner.version,
        owner.file_size,
        extent.number,
        owner.header,
        owner.plan,
        extent.stored_epoch,
        owner.digest_version,
    )
    coming = target.expect(spec, extent.stored_at, evict=evict)
    if coming is None:
        return _merge(source, target, extent, bits, spec)
    try:
        bad = 0
        checks = source.read_checks(extent)
        for block in blocks.members(bits):
            data = source.read_block(extent, block, past_cache=True)
            if is_good(data, checks, block):
                target.fill(coming, block, data)
            else:
                bad += 1
    except (StoreError, OSError):
        target.cancel(coming, owner.plan is not None)
        raise
    if not coming.pending:
        target.cancel(coming, owner.plan is not None)
        return Moved(MoveEnd.BAD, 0, bad)
    copied = coming.size
    if not target.welcome(coming, spec):
        return Moved(MoveEnd.BUSY)
    return Moved(MoveEnd.MOVED, copied, bad)


def _merge(source: DiskWriter, target: DiskWriter, extent: HeldExtent, bits: int, spec: ExtentSpec) -> Moved:
    """The target has the extent: it gets the good blocks it lacks, durably."""
    try:
        theirs = target.open_extent(spec)
    except ExtentGone:  # it left just now, and the target drains
        return Moved(MoveEnd.BUSY)
    copied = bad = 0
    try:
        lacking = bits & ~theirs.present
        checks = source.read_checks(extent) if lacking else b""
        for block in blocks.members(lacking):
            data = source.read_block(extent, block, past_cache=True)
            if is_good(data, checks, block):
                target.write_block(theirs, block, data, block_digest(data), verified=True)
                copied += len(data)
            else:
                bad += 1
    finally:
        target.close_extent(theirs)
    target.commit_batch()
    return Moved(MoveEnd.MERGED, copied, bad)
