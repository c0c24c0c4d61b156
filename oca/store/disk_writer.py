"""The writing side of one disk: create, write, commit, move, pin. The keeper is its only user; `ledger` is its lower half.

Laws.
1. Order of a write: block bytes → `fdatasync` of the extent (and of its folder, when it is new) → index commit. Between the first and the
   last step a block is announced and served, and promised to nobody who comes after a crash.
2. An extent is created at its final length, gets its missing blocks written once and is unlinked. A bad block is
   not repaired: the good ones move to a new extent under a new id.

Calls are synchronous and thread-safe; run them in the disk's thread.
"""

from __future__ import annotations

import contextlib
import errno
import math
from dataclasses import dataclass

import lmdb

from contracts.digests import BLOCK_BYTES, block_digest
from oca.store import trailer
from oca.store.blocks import block_length, members
from oca.store.errors import ExtentGone, NoSpace, NoSpaceReason, Purged, StoreError, WrongBlock
from oca.store.extents import ExtentSpec, extent_length, index_key, key_hash, pack_record
from oca.store.holdings import HeldExtent, HeldObject, pack_object
from oca.store.index import META_BATCH, META_CLEAN, META_NEXT_ID, Changes, Table
from oca.store.ledger import DiskLedger, Gone, Room, WriterParts
from oca.store.purge import PurgeMode
from oca.store.recent import KEPT_BATCHES, RecentBlocks, pack_recent
from oca.store.trailer import allocated_bytes

__all__ = ["Announcement", "DiskWriter", "Gone", "Room", "WriterParts"]


@dataclass(frozen=True, slots=True)
class Announcement:
    """A block that lies whole and verified in an extent file; durable with the next commit."""

    disk: int
    extent_id: int
    extent_number: int
    block: int
    version: bytes
    file_size: int
    length: int
    slot: int
    header: bytes
    stored_epoch: int


class DiskWriter(DiskLedger):
    # -- extents and blocks ----------------------------------------------------------------------------------------

    def open_extent(self, spec: ExtentSpec) -> HeldExtent:
        """Continue the extent where it is held, else create it, evicting what the policy gives for it.

        The handle is not evicted until `close_extent`. Another version of the key, or one that a purge forbids, is removed first.
        Raises NoSpace (retry DEAD_HELD within a second), Purged (a purge came after `spec.epoch`), DiskFailed, ExtentGone (the disk drains: place
        it again), ValueError (extent outside the file).
        """
        length = extent_length(spec.file_size, spec.extent_number, self._extent_bytes)
        with self._writing():
            if spec.epoch is not None and self.refuses(spec.key, spec.epoch):
                raise Purged(f"{spec.key} was purged after what is to be stored was asked for (epoch {spec.epoch})")
            owner = self._current_object(spec)
            if owner is not None and spec.plan is not None and owner.plan != spec.plan:
                self._pin(owner, spec.plan)
            extent = self._continued(owner, spec.extent_number) if owner is not None else None
            if extent is None:
                if self.draining:
                    raise ExtentGone(f"disk {self.path} takes nothing new")
                extent = self._create(spec, owner, length)
            elif extent.fd < 0:
                extent.fd = self.syscalls.open(self.path_of(extent.extent_id))
            extent.users += 1
            return extent

    def _continued(self, owner: HeldObject, number: int) -> HeldExtent | None:
        """The extent that is here, safe to write its missing blocks into.

        A keeper that was killed may have written blocks that the index never promised; workers may still send them. For a
        digest version the same bytes come again. For any other, what is promised moves to a new extent first.
        """
        extent = owner.extents.get(number)
        if extent is None or owner.digest_version or extent.complete or extent.extent_id >= self.unclean_before:
            return extent
        return self.replace(extent, extent.bits, Gone.MOVED)

    def close_extent(self, extent: HeldExtent) -> None:
        """The writer is done with it; its file is closed once its blocks are durable. An extent without a block leaves."""
        with self._lock:
            extent.users -= 1
            if not extent.users and extent.fresh and not extent.present and not extent.gone and self.failure is None:
                with self._writing():
                    self._remove([extent], Gone.EMPTY)
            self._close_idle(extent)

    def _current_object(self, spec: ExtentSpec) -> HeldObject | None:
        """The object of this key and version; what contradicts the spec or a purge rule is removed."""
        owner = self.holdings.objects.get(key_hash(spec.key))
        if owner is None:
            return None
        if owner.version != spec.version or owner.file_size != spec.file_size:
            self._remove(list(owner.extents.values()), Gone.REPLACED)
        else:
            purged = [e for e in owner.extents.values() if self.rules.judge(owner.key, e.stored_epoch) is not None]
            self._remove(purged, Gone.PURGED)
        return self.holdings.objects.get(owner.hashed)

    def _create(self, spec: ExtentSpec, owner: HeldObject | None, length: int) -> HeldExtent:
        pinned = (spec.plan if owner is None else owner.plan) is not None
        self._ensure_room(length, pinned)
        now = self._now()
        if owner is None or self.holdings.objects.get(owner.hashed) is not owner:
            owner = HeldObject(spec.key, spec.version, spec.file_size, spec.header, spec.plan, spec.digest_version, now)
        extent_id, fd = self._allocate_or_make_way(owner, spec.extent_number, length, pinned)
        self.holdings.add_object(owner)
        slot = self.slots.take(extent_id)
        self.marks.assign(slot, extent_id)
        epoch = self.epoch if spec.epoch is None else spec.epoch
        extent = self.holdings.add_extent(owner, extent_id, spec.extent_number, slot, epoch, now)
        extent.fd = fd
        self.space.add(extent.size, pinned)
        if not pinned:
            self._teach_policy(extent, spec)
        return extent

    def _allocate_or_make_way(self, owner: HeldObject, number: int, length: int, pinned: bool) -> tuple[int, int]:
        """Where the filesystem has less than the quota promises, the policy's victims make room for the extent once."""
        try:
            made = self._allocate_file(owner, number, length)
            self._full_until = -math.inf
            return made
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
        with self._making_way(length):
            self._ensure_room(length, pinned)
            return self._allocate_file(owner, number, length)

    def _allocate_file(self, owner: HeldObject, number: int, length: int) -> tuple[int, int]:
        """(id, descriptor) of a new file at its final length, with its trailer's head; on failure nothing of it stays."""
        extent_id, fd = self._create_file()
        path = self.path_of(extent_id)
        head = trailer.pack_head(extent_id, owner.hashed, number, owner.file_size, owner.version)
        try:
            self.syscalls.allocate(fd, trailer.file_length(length))
            self.syscalls.write(fd, memoryview(head), trailer.trailer_offset(length))
        except OSError:
            self.syscalls.close(fd)
            self.syscalls.unlink(path)
            raise
        self._new_folders.add(path.rsplit("/", 1)[0])
        return extent_id, fd

    def _create_file(self) -> tuple[int, int]:
        """A file under a new id. A name that is taken (it came from elsewhere) is passed over."""
        while True:
            extent_id = self._new_id()
            with contextlib.suppress(FileExistsError):
                return extent_id, self.syscalls.create(self.path_of(extent_id))

    def write_block(
        self,
        extent: HeldExtent,
        block: int,
        data: bytes | bytearray | memoryview,
        digest: bytes,
        verified: bool = False,
    ) -> Announcement:
        """Write a missing block once (one that is there stays as it is) and say where it can be served from.

        `digest` is the block's BLAKE3 (32 bytes); it is checked here unless the caller did (`verified`). Raises WrongBlock,
        ExtentGone, NoSpace, DiskFailed, IndexError (no such block).
        """
        if len(data) != block_length(extent.length, block):
            raise WrongBlock(f"block {block} has {len(data)} bytes, not {block_length(extent.length, block)}")
        if not verified and block_digest(data) != digest:
            raise WrongBlock(f"block {block} of extent {extent.number} of {extent.object.key} has another digest")
        with self._writing():
            if extent.gone:
                raise ExtentGone(f"extent {extent.extent_id:x} left while it was written")
            if not extent.present >> block & 1:
                if extent.fd < 0:
                    extent.fd = self.syscalls.open(self.path_of(extent.extent_id))
                self._write(extent, block, data, trailer.check_of(digest))
                self._dirty[extent.extent_id] = extent
                self.batch.add(self._now())
                self.blocks_written += 1
        return self.announcement(extent, block)

    def _write(self, extent: HeldExtent, block: int, data: bytes | bytearray | memoryview, check: bytes) -> None:
        self.syscalls.write(extent.fd, memoryview(data), block * BLOCK_BYTES)
        self.syscalls.write(extent.fd, memoryview(check), trailer.check_offset(extent.length, block))
        extent.pending |= 1 << block

    def announcement(self, extent: HeldExtent, block: int) -> Announcement:
        owner = extent.object
        return Announcement(
            self.number,
            extent.extent_id,
            extent.number,
            block,
            owner.version,
            owner.file_size,
            extent.length,
            extent.slot,
            owner.header,
            extent.stored_epoch,
        )

    def read_block(self, extent: HeldExtent, block: int, past_cache: bool = False) -> bytes:
        """The bytes, unverified; fewer (or none) when the file is short or not there. `past_cache`: as they lie on the disk. Raises DiskFailed."""
        length, offset = block_length(extent.length, block), block * BLOCK_BYTES
        return self._read_past_cache(extent, length, offset) if past_cache else self._read(extent, length, offset)

    def _read_past_cache(self, extent: HeldExtent, length: int, offset: int) -> bytes:
        """Nobody who writes waits for it."""
        try:
            return self.syscalls.read_past_cache(self.path_of(extent.extent_id), length, offset)
        except FileNotFoundError:
            self.list_extents(extent.extent_id & 0xFF)  # as in `_read`
            return b""
        except OSError as error:
            raise self.take_out(f"{error.strerror or error}") from error

    def read_checks(self, extent: HeldExtent) -> bytes:
        """The check bytes of all its blocks, as `trailer.is_good` takes them. Raises DiskFailed."""
        return self._read(extent, trailer.checks_length(extent.length), trailer.check_offset(extent.length, 0))

    def _read(self, extent: HeldExtent, length: int, offset: int) -> bytes:
        with self._writing():
            if extent.fd >= 0:
                return self.syscalls.read(extent.fd, length, offset)
            try:
                fd = self.syscalls.open(self.path_of(extent.extent_id))
            except FileNotFoundError:
                # A disk that was unmounted has no folder either: that error takes it out, instead of extent after extent.
                self.syscalls.list_folder(self.path_of(extent.extent_id).rpartition("/")[0])
                return b""
            try:
                return self.syscalls.read(fd, length, offset)
            finally:
                self.syscalls.close(fd)

    # -- durability ------------------------------------------------------------------------------------------------

    def batch_due(self, now: float) -> bool:
        return self.batch.due(now)

    def commit_batch(self) -> int:
        """Make what was written durable and let the index promise it: law 1. How many blocks.

        Raises DiskFailed; NoSpace(INDEX_FULL) keeps the blocks announced and tries again with the next batch.
        """
        with self._writing():
            dirty = list(self._dirty.values())
            if not dirty:
                self.batch.clear()
                return 0
            self._sync(dirty)
            try:
                self.index.commit(self._batch_changes(dirty))
            except lmdb.MapFullError:
                self._index_full = True
                self._evict_for_index()
                self.index.commit(self._batch_changes(dirty))
            done = self._settle_batch(dirty)
            self._evict_ahead()
            return done

    def _sync(self, dirty: list[HeldExtent]) -> None:
        try:
            for extent in dirty:
                self.syscalls.sync(extent.fd)
            for folder in sorted(self._new_folders):
                self.syscalls.sync_folder(folder)
        except OSError as error:
            # Whatever the error number: pages that failed to be written may be dropped and look clean to a second try.
            raise self.take_out(f"sync failed: {error.strerror or error}") from error
        self._new_folders.clear()

    def _batch_changes(self, dirty: list[HeldExtent]) -> Changes:
        changes = Changes()
        recent: list[RecentBlocks] = []
        for extent in dirty:
            packed = index_key(extent.object.hashed, extent.number)
            changes.put(Table.EXTENTS, packed, pack_record(extent.record(self.number, durable=False)))
            recent.append(RecentBlocks(packed, extent.extent_id, extent.pending))
            if not extent.object.recorded:
                changes.put(Table.OBJECTS, extent.object.hashed, pack_object(extent.object))
        changes.put(Table.RECENT, self._batch_number.to_bytes(8, "big"), pack_recent(recent))
        if self._batch_number > KEPT_BATCHES:
            changes.delete(Table.RECENT, (self._batch_number - KEPT_BATCHES).to_bytes(8, "big"))
        changes.number(META_BATCH, self._batch_number + 1)
        return changes

    def _settle_batch(self, dirty: list[HeldExtent]) -> int:
        done = 0
        for extent in dirty:
            done += extent.pending.bit_count()
            extent.bits |= extent.pending
            extent.pending = 0
            extent.fresh = False
            extent.object.recorded = True
            self._close_idle(extent)
        self._dirty.clear()
        self.batch.clear()
        self._batch_number += 1
        self.commits += 1
        self._index_full = self.index.nearly_full()
        return done

    # -- moving ----------------------------------------------------------------------------------------------------

    def replace(self, extent: HeldExtent, good_bits: int, reason: Gone = Gone.QUARANTINED) -> HeldExtent | None:
        """Law 2: move the good blocks to a new extent and let the old one go; None when none is good.

        Raises NoSpace (nothing changed) and DiskFailed.
        """
        with self._writing():
            if extent.gone:
                return None
            if not good_bits:
                self._remove([extent], reason)
                return None
            self._room_to_move(extent)
            new = self._copied(extent, good_bits)
            self._swap_in(new, extent)
            self.gone[reason] += 1
            return new

    def _room_to_move(self, extent: HeldExtent) -> None:
        """A copy counts beside its original until the workers let go of that. Raises NoSpace."""
        extent.users += 1
        try:
            room = self._make_room(extent.length)
        finally:
            extent.users -= 1
        if not room.ready:
            raise NoSpace(room.reason or NoSpaceReason.QUOTA, extent.size)

    def _copied(self, old: HeldExtent, bits: int) -> HeldExtent:
        """A new extent with these blocks, durable and in the index in the place of the old one; on failure nothing of it stays.

        Each is compared once more as it is copied: a bad read must not be given check bytes that fit it.
        """
        checks = self.read_checks(old)
        extent_id, fd = self._allocate_file(old.object, old.number, old.length)
        slot = self.slots.take(extent_id)
        new = HeldExtent(old.object, extent_id, old.number, old.length, slot, old.stored_epoch, old.stored_at)
        new.fd = fd
        try:
            for block in members(bits):
                data = self.read_block(old, block, past_cache=True)
                if trailer.is_good(data, checks, block):
                    self._write(new, block, data, trailer.check_of_data(data))
            self._sync([new])
            self.index.commit(self._batch_changes([new]))
        except (OSError, StoreError, lmdb.Error):
            self.slots.give_back(slot)
            with contextlib.suppress(OSError):  # the first error counts; a leftover is collected as an orphan
                self.syscalls.close(fd)
                self.syscalls.unlink(self.path_of(extent_id))
            raise
        return new

    def _swap_in(self, new: HeldExtent, old: HeldExtent) -> None:
        """The index has the copy already: the tables follow, then the old file goes."""
        pinned = new.object.plan is not None
        self.space.add(new.size, pinned)
        self._settle_in(new, pinned)
        self._bury(old)

    # -- coming from another disk ----------------------------------------------------------------------------------

    def expect(self, spec: ExtentSpec, stored_at: float, *, evict: bool) -> HeldExtent | None:
        """Room and a file for an extent that comes from another disk: its space counts, and no table has it before `welcome`.

        None when the extent is here already. Raises NoSpace (without `evict` also where room could be made), DiskFailed.
        """
        length = extent_length(spec.file_size, spec.extent_number, self._extent_bytes)
        with self._writing():
            owner = self._current_object(spec)
            if owner is not None and spec.extent_number in owner.extents:
                return None
            pinned = spec.plan is not None
            if not evict and self.space.to_evict(allocated_bytes(length) + self._reserves[0]):
                raise NoSpace(NoSpaceReason.QUOTA, length)
            self._ensure_room(length, pinned)
            coming = HeldObject(
                spec.key, spec.version, spec.file_size, spec.header, spec.plan, spec.digest_version, stored_at
            )
            extent_id, fd = self._allocate_file(coming, spec.extent_number, length)
            slot = self.slots.take(extent_id)
            extent = HeldExtent(coming, extent_id, spec.extent_number, length, slot, spec.epoch or 0, stored_at)
            extent.fd = fd
            self.space.add(extent.size, pinned)
            return extent

    def fill(self, coming: HeldExtent, block: int, data: bytes) -> None:
        """Write a block of an extent that `expect` gave. Its bytes were verified by the caller. Raises NoSpace, DiskFailed."""
        with self._writing():
            self._write(coming, block, data, trailer.check_of_data(data))

    def welcome(self, coming: HeldExtent, spec: ExtentSpec) -> bool:
        """Make it durable, then let the index promise it: law 1. False when it came too late (it is here, or purged): nothing stays.

        Raises DiskFailed, and NoSpace(INDEX_FULL), after which nothing stays either.
        """
        pinned = spec.plan is not None
        with self._writing():
            self._sync([coming])
            owner = self._current_object(spec)
            is_late = owner is not None and coming.number in owner.extents
            if is_late or self.rules.judge(spec.key, coming.stored_epoch) is PurgeMode.HARD:
                self.cancel(coming, pinned)
                return False
            if owner is not None:
                coming.object = owner
            try:
                self.index.commit(self._batch_changes([coming]))
            except lmdb.Error:
                self.cancel(coming, pinned)
                raise
            self._settle_in(coming, pinned)
            return True

    def _settle_in(self, new: HeldExtent, pinned: bool) -> None:
        """The index has it: the tables follow. Its object here may be pinned otherwise than it came."""
        owner = new.object
        self.holdings.add_object(owner)
        self.marks.assign(new.slot, new.extent_id)
        new.bits, new.pending, new.fresh = new.pending, 0, False
        owner.recorded = True
        self._batch_number += 1
        self.holdings.extents[new.extent_id] = new
        owner.extents[new.number] = new
        if pinned != (owner.plan is not None):
            (self.space.unpin if pinned else self.space.pin)(new.size)
        if owner.plan is None and new.identity not in self.policy:
            self.policy.on_insert(new.identity, new.size)
        self._close_idle(new)

    # -- pins ------------------------------------------------------------------------------------------------------

    def pin(self, key: str, plan: str) -> bool:
        """What is here of the key is no victim from now on. False when nothing is. Raises NoSpace(PINNED_QUOTA), DiskFailed."""
        with self._writing():
            owner = self.holdings.objects.get(key_hash(key))
            if owner is None:
                return False
            if owner.plan != plan:
                self._pin(owner, plan)
            return True

    def _pin(self, owner: HeldObject, plan: str) -> None:
        size = sum(extent.size for extent in owner.extents.values())
        if owner.plan is None and self.space.pinned_bytes + size > self.space.pinned_limit_bytes:
            raise NoSpace(NoSpaceReason.PINNED_QUOTA, size)
        before = owner.plan
        self._set_plan(owner, plan)
        if before is None:
            self.space.pin(size)
            for extent in owner.extents.values():
                self.policy.remove(extent.identity)

    def unpin(self, key: str) -> bool:
        """The plan lets go: it may be evicted from now on. False when it was not pinned here."""
        with self._writing():
            owner = self.holdings.objects.get(key_hash(key))
            if owner is None or owner.plan is None:
                return False
            self._set_plan(owner, None)
            for extent in owner.extents.values():
                self.space.unpin(extent.size)
                self.policy.on_insert(extent.identity, extent.size)
            return True

    def _set_plan(self, owner: HeldObject, plan: str | None) -> None:
        before, owner.plan = owner.plan, plan
        changes = Changes()
        if owner.recorded:
            changes.put(Table.OBJECTS, owner.hashed, pack_object(owner))
        if (before is None) != (plan is None):
            for extent in owner.extents.values():
                if not extent.fresh:
                    record = extent.record(self.number, durable=True)
                    changes.put(Table.EXTENTS, index_key(owner.hashed, extent.number), pack_record(record))
        try:
            self.index.commit(changes)
        except lmdb.Error:
            owner.plan = before
            raise

    # -- the end ---------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Commit what is written, drop extents without a block, leave the clean mark. Raises DiskFailed, NoSpace."""
        with self._writing():
            empty = [extent for extent in self.holdings.extents.values() if not extent.present]
            self._remove(empty, Gone.EMPTY)
            self.commit_batch()
            changes = Changes()
            changes.number(META_NEXT_ID, self._next_id)
            changes.number(META_CLEAN, 1)
            self.index.commit(changes)
            for extent in self.holdings.extents.values():
                extent.users = 0
                self._close_idle(extent)
