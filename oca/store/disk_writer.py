"""The writing side of one disk: create, write, commit, evict, pin. The keeper is its only user.

Laws.
1. Order of a write: block bytes → `fdatasync` of the extent (and of its folder, when it is new) → index commit. Between the first and the
   last step a block is announced and served, and promised to nobody who comes after a crash.
2. Order of an eviction: index delete → commit → unlink → dead id published. The space counts until no worker holds the file.
3. An extent is created at its final length, gets its missing blocks written once and is unlinked. A bad block is
   not repaired: the good ones move to a new extent under a new id.
4. Ids are never reused: they come from ranges that the index reserved before the first of them is used.
5. An error of `fdatasync` or of the index takes the disk out: nothing after it can be trusted (the kernel may have dropped the pages).

Calls are synchronous and thread-safe. Looking (`find`, `holdings`, `space`) never waits for one that is writing.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

import lmdb

from contracts.digests import BLOCK_BYTES, block_digest
from oca.store import checksums
from oca.store.batching import Batch
from oca.store.blocks import block_length, members
from oca.store.board import Board, DiskState
from oca.store.dead import DeadExtents
from oca.store.disks import DiskSettings, StoreSettings, reserve_bytes
from oca.store.errors import DiskFailed, ExtentGone, NoSpace, NoSpaceReason, StoreError, WrongBlock
from oca.store.extents import ExtentRecord, ExtentSpec, extent_length, extent_name, index_key, key_hash, pack_record
from oca.store.holdings import HeldExtent, HeldObject, Holdings, pack_object
from oca.store.index import META_BATCH, META_CLEAN, META_NEXT_ID, Changes, IndexWriter, Table
from oca.store.marks import Marks, id_low
from oca.store.purge import PurgeRules
from oca.store.recent import KEPT_BATCHES, RecentBlocks, pack_recent
from oca.store.slots import Slots
from oca.store.space import Space, allocated
from oca.store.syscalls import Syscalls
from policies.eviction import Policy, PolicyName, apply_marks, make_policy

ID_RANGE = 4096
"""Ids reserved by one index commit."""


class Gone(Enum):
    """Why an extent left; the value is the log word and the counter's label."""

    SPACE = "space"
    """Evicted by the policy to make room."""
    REPLACED = "replaced"
    """A newer version of the file took its place."""
    PURGED = "purged"
    DROPPED = "dropped"
    """By order."""
    QUARANTINED = "quarantined"
    """It had a bad block; the good ones moved."""
    EMPTY = "empty"
    """Its writer left before a block was written."""
    MISSING = "missing"
    """The index promised a file that is not there, or not at its length."""


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


@dataclass(frozen=True, slots=True)
class Room:
    """Whether `needed` bytes fit now. Not ready with reason DEAD_HELD: ask again after the workers polled."""

    ready: bool
    evicted_extents: int
    evicted_bytes: int
    reason: NoSpaceReason | None = None


@dataclass(frozen=True, slots=True)
class WriterParts:
    """What a disk's writer is built from; `writer.StoreWriter` is the composition root."""

    number: int
    settings: StoreSettings
    index: IndexWriter
    board: Board
    dead: DeadExtents
    syscalls: Syscalls
    now: Callable[[], float]

    @property
    def disk(self) -> DiskSettings:
        return self.settings.disks[self.number]


class DiskWriter:
    def __init__(self, parts: WriterParts) -> None:
        settings = parts.settings
        self.number = parts.number
        self.path = parts.disk.path
        self.index = parts.index
        self.syscalls = parts.syscalls
        self.holdings = Holdings(settings.extent_bytes)
        self.space = Space(parts.disk.quota_bytes, settings.cache_share)
        self.batch = Batch(settings.batch_blocks, settings.batch_age_s)
        self.slots = Slots(parts.board.shape.marks_per_disk)
        self.marks = Marks(parts.board.marks(parts.number))
        self.policy: Policy[int] = make_policy(PolicyName(settings.policy), parts.disk.quota_bytes)
        self.gone: Counter[Gone] = Counter()
        self.blocks_written = 0
        self.commits = 0
        self.failure: str | None = None
        """Why the disk was taken out, in words."""
        self.read_only = False
        self.rules = PurgeRules()
        self.epoch = 0
        self.unclean_before = 0
        """Extents with lower ids were there when a keeper stopped uncleanly."""
        self._extent_bytes = settings.extent_bytes
        self._board = parts.board
        self._dead = parts.dead
        self._now = parts.now
        self._lock = threading.RLock()
        self._dirty: dict[int, HeldExtent] = {}
        self._new_folders: set[str] = set()
        self._index_full = False
        self._reserve_bytes = reserve_bytes(parts.disk.quota_bytes, settings)
        self._batch_number = 0
        self._next_id = 0
        self._reserved_id = 0

    # -- ids and failures ------------------------------------------------------------------------------------------

    def start_ids(self, first: int, batch_number: int) -> None:
        """Ids start at `first`, the end of the ranges that earlier keepers reserved."""
        self._next_id = self._reserved_id = first
        self._batch_number = batch_number

    @property
    def next_id(self) -> int:
        return self._next_id

    def _new_id(self) -> int:
        if self._next_id >= self._reserved_id:
            changes = Changes()
            changes.number(META_NEXT_ID, self._next_id + ID_RANGE)
            self.index.commit(changes)
            self._reserved_id = self._next_id + ID_RANGE
        extent_id = self._next_id
        self._next_id += 1
        return extent_id

    def take_out(self, what: str) -> DiskFailed:
        """Mark the disk as failed for everybody; gives the error to raise."""
        if self.failure is None:
            self.failure = what
            self._board.set_disk_state(self.number, DiskState.FAILED)
        return DiskFailed(self.path, self.failure)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """The disk's lock, with foreign errors mapped once: no space and read-only are values, the rest is a failed disk."""
        with self._lock:
            if self.failure is not None:
                raise DiskFailed(self.path, self.failure)
            try:
                yield
            except StoreError:
                raise
            except lmdb.MapFullError as error:
                self._index_full = True
                raise NoSpace(NoSpaceReason.INDEX_FULL) from error
            except lmdb.Error as error:
                if error.code == errno.EROFS:
                    self.read_only = True
                    raise NoSpace(NoSpaceReason.READ_ONLY) from error
                raise self.take_out(f"index: {error}") from error
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise NoSpace(NoSpaceReason.DISK_FULL) from error
                if error.errno == errno.EROFS:
                    self.read_only = True
                    raise NoSpace(NoSpaceReason.READ_ONLY) from error
                raise self.take_out(f"{error.strerror or error}") from error

    def path_of(self, extent_id: int) -> str:
        return f"{self.path}/{extent_name(extent_id)}"

    # -- looking ---------------------------------------------------------------------------------------------------

    def find(self, hashed: bytes, extent_number: int) -> ExtentRecord | None:
        """Durable and announced blocks merged; None when nothing of the extent is here."""
        held = self.holdings.find(hashed, extent_number)
        return held.record(self.number, durable=False) if held is not None else None

    # -- extents and blocks ----------------------------------------------------------------------------------------

    def open_extent(self, spec: ExtentSpec) -> HeldExtent:
        """Continue the extent where it is held, else create it, evicting what the policy gives for it.

        The handle is not evicted until `close_extent`. Another version of the key, or one that a purge forbids, is removed first.
        Raises NoSpace (retry DEAD_HELD within a second), DiskFailed, ValueError (extent outside the file).
        """
        length = extent_length(spec.file_size, spec.extent_number, self._extent_bytes)
        with self._writing():
            owner = self._current_object(spec)
            if owner is not None and spec.plan is not None and owner.plan != spec.plan:
                self._pin(owner, spec.plan)
            extent = self._continued(owner, spec.extent_number) if owner is not None else None
            if extent is None:
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
        return self.replace(extent, extent.bits)

    def close_extent(self, extent: HeldExtent) -> None:
        """The writer is done with it; its file is closed once its blocks are durable. An extent without a block leaves."""
        with self._lock:
            extent.users -= 1
            if not extent.users and extent.fresh and not extent.present and not extent.gone and self.failure is None:
                with self._writing():
                    self._remove([extent], Gone.EMPTY)
            self._close_idle(extent)

    def _close_idle(self, extent: HeldExtent) -> None:
        if extent.fd >= 0 and (extent.gone or not extent.busy):
            fd, extent.fd = extent.fd, -1
            with contextlib.suppress(
                OSError
            ):  # nothing is lost: what counts was synced, and the descriptor is gone either way
                self.syscalls.close(fd)

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
        plan = spec.plan if owner is None or owner.plan is None else owner.plan
        size = allocated(length)
        self._ensure_room(size, plan is not None)
        extent_id, fd = self._allocate_file(length)
        now = self._now()
        if owner is None:
            owner = HeldObject(spec.key, spec.version, spec.file_size, spec.header, spec.plan, spec.digest_version, now)
            self.holdings.add_object(owner)
        slot = self.slots.take(extent_id)
        self.marks.assign(slot, extent_id)
        epoch = self.epoch if spec.epoch is None else spec.epoch
        extent = self.holdings.add_extent(owner, extent_id, spec.extent_number, slot, epoch, now)
        extent.fd = fd
        self.space.add(size, owner.plan is not None)
        if owner.plan is None:
            self.policy.on_insert(extent_id, size)
        return extent

    def _allocate_file(self, length: int) -> tuple[int, int]:
        """(id, descriptor) of a new file at its final length; on failure nothing of it stays. A name that is taken is passed over."""
        while True:
            extent_id = self._new_id()
            path = self.path_of(extent_id)
            try:
                fd = self.syscalls.create(path)
                break
            except FileExistsError:
                continue
        try:
            self.syscalls.allocate(fd, length)
        except OSError:
            self.syscalls.close(fd)
            self.syscalls.unlink(path)
            raise
        self._new_folders.add(path.rsplit("/", 1)[0])
        return extent_id, fd

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
                self.syscalls.write(extent.fd, memoryview(data), block * BLOCK_BYTES)
                extent.digests[block] = checksums.check_of(digest)
                extent.pending |= 1 << block
                self._dirty[extent.extent_id] = extent
                self.batch.add(self._now())
                self.blocks_written += 1
        return self.announcement(extent, block)

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
        )

    def read_block(self, extent: HeldExtent, block: int) -> bytes:
        """The bytes as they lie on the disk, unverified; fewer (or none) when the file is short or not there. Raises DiskFailed."""
        with self._writing():
            if extent.fd >= 0:
                return self.syscalls.read(extent.fd, block_length(extent.length, block), block * BLOCK_BYTES)
            try:
                fd = self.syscalls.open(self.path_of(extent.extent_id))
            except FileNotFoundError:
                return b""
            try:
                return self.syscalls.read(fd, block_length(extent.length, block), block * BLOCK_BYTES)
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
            key = checksums.row_key(extent.extent_id)
            old = None if extent.fresh else self.index.get(Table.CHECKSUMS, key)
            changes.put(Table.CHECKSUMS, key, checksums.merge_row(old, extent.digests, extent.block_count))
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
            extent.digests.clear()
            extent.fresh = False
            extent.object.recorded = True
            self._close_idle(extent)
        self._dirty.clear()
        self.batch.clear()
        self._batch_number += 1
        self.commits += 1
        self._index_full = self.index.nearly_full()
        return done

    # -- space -----------------------------------------------------------------------------------------------------

    def make_room(self, needed: int, pinned: bool = False) -> Room:
        """Evict what the policy gives until `needed` bytes fit, or say why they do not. Raises DiskFailed, NoSpace(INDEX_FULL)."""
        with self._writing():
            return self._make_room(allocated(needed), pinned)

    def _make_room(self, size: int, pinned: bool) -> Room:
        refusal = self.space.refusal(size, pinned)
        if refusal is not None:
            return Room(False, 0, 0, refusal)
        victims = self._victims(self.space.to_evict(size))
        if victims is None:
            return Room(False, 0, 0, NoSpaceReason.QUOTA)
        freed = sum(allocated(victim.length) for victim in victims)
        self._remove(victims, Gone.SPACE)
        self.reap()
        ready = self.space.fits(size)
        return Room(ready, len(victims), freed, None if ready else NoSpaceReason.DEAD_HELD)

    def _ensure_room(self, size: int, pinned: bool) -> None:
        if self.read_only:
            raise NoSpace(NoSpaceReason.READ_ONLY, size)
        if self._index_full:
            self._evict_for_index()
        room = self._make_room(size, pinned)
        if not room.ready:
            raise NoSpace(room.reason or NoSpaceReason.QUOTA, size)

    def _victims(self, need: int) -> list[HeldExtent] | None:
        """Extents that nobody writes, worth at least `need` bytes; None when there are not enough of them."""
        chosen: list[HeldExtent] = []
        spared: list[HeldExtent] = []
        while need > 0:
            candidates = [self.holdings.extents[extent_id] for extent_id in self.policy.victims(need)]
            if not candidates:
                break
            for extent in candidates:
                if extent.busy:
                    spared.append(extent)
                else:
                    chosen.append(extent)
                    need -= allocated(extent.length)
        for extent in spared if need <= 0 else spared + chosen:
            self.policy.on_insert(extent.extent_id, allocated(extent.length))
        return chosen if need <= 0 else None

    def _evict_for_index(self) -> None:
        """The index is nearly full: two out for one in. Pages empty slowly (LMDB merges them at a quarter), records at once.

        In small commits, because every page that a commit touches is copied. Raises NoSpace.
        """
        for _ in range(2):
            victims = self._victims(1)
            if not victims:
                raise NoSpace(NoSpaceReason.INDEX_FULL)
            self._remove(victims, Gone.SPACE)

    def _evict_ahead(self) -> None:
        """Keep the reserve free, so that the next extent need not wait until workers let go of what it replaces."""
        victims = self._victims(self.space.to_evict(self._reserve_bytes))
        if victims:
            self._remove(victims, Gone.SPACE)

    def reap(self) -> int:
        """Count as free what no worker holds any more; how many bytes."""
        with self._lock:
            released = self._dead.settle(self.number)
            self.space.release(released)
            return released

    # -- leaving ---------------------------------------------------------------------------------------------------

    def drop(self, key: str, reason: Gone = Gone.DROPPED) -> int:
        """Remove every extent of a key here, pinned or not; how many."""
        with self._writing():
            owner = self.holdings.objects.get(key_hash(key))
            return self._remove(list(owner.extents.values()), reason) if owner is not None else 0

    def remove(self, extents: Iterable[HeldExtent], reason: Gone) -> int:
        with self._writing():
            return self._remove([extent for extent in extents if not extent.gone], reason)

    def _remove(self, extents: list[HeldExtent], reason: Gone) -> int:
        """Law 2: index delete → commit → unlink → publish."""
        if not extents:
            return 0
        changes = Changes()
        leaving = Counter(extent.object.hashed for extent in extents)
        for extent in extents:
            if not extent.fresh:
                changes.delete(Table.EXTENTS, index_key(extent.object.hashed, extent.number))
                changes.delete(Table.CHECKSUMS, checksums.row_key(extent.extent_id))
            if extent.object.recorded and leaving[extent.object.hashed] == len(extent.object.extents):
                changes.delete(Table.OBJECTS, extent.object.hashed)
        try:
            self.index.commit(changes)
        except lmdb.Error:
            self._keep(extents)
            raise
        for extent in extents:
            self._bury(extent)
        self.gone[reason] += len(extents)
        return len(extents)

    def _keep(self, extents: list[HeldExtent]) -> None:
        """They could not leave: the policy knows them again."""
        for extent in extents:
            if extent.object.plan is None and extent.extent_id not in self.policy:
                self.policy.on_insert(extent.extent_id, allocated(extent.length))

    def _bury(self, extent: HeldExtent) -> None:
        size = allocated(extent.length)
        self._dirty.pop(extent.extent_id, None)
        self.holdings.remove_extent(extent)
        self.policy.remove(extent.extent_id)
        self.slots.give_back(extent.slot)
        self.space.kill(size, extent.object.plan is not None)
        self._close_idle(extent)
        self.unlink(extent.extent_id, size)

    def unlink(self, extent_id: int, held_bytes: int) -> None:
        """Unlink and tell the workers. A file that is gone already is fine."""
        with contextlib.suppress(FileNotFoundError):
            self.syscalls.unlink(self.path_of(extent_id))
        self._dead.bury(self.number, extent_id, held_bytes)

    def collect_orphan(self, extent_id: int, size: int) -> None:
        """Unlink a file that the index does not know. Raises DiskFailed, NoSpace(READ_ONLY)."""
        with self._writing():
            self.space.add(size, pinned=False)
            self.space.kill(size, pinned=False)
            self.unlink(extent_id, size)

    def replace(self, extent: HeldExtent, good_bits: int) -> HeldExtent | None:
        """Law 3: move the good blocks to a new extent and let the old one go; None when none is good. Raises like writing."""
        with self._writing():
            if extent.gone:
                return None
            if not good_bits:
                self._remove([extent], Gone.QUARANTINED)
                return None
            self._room_to_move(extent)
            extent_id, fd = self._allocate_file(extent.length)
            slot = self.slots.take(extent_id)
            try:
                return self._swap(extent, extent_id, slot, fd, self._copy_blocks(extent, fd, good_bits))
            except (OSError, StoreError, lmdb.Error):
                self.slots.give_back(slot)
                self.syscalls.close(fd)
                self.syscalls.unlink(self.path_of(extent_id))
                raise

    def _room_to_move(self, extent: HeldExtent) -> None:
        """A copy counts beside its original until the workers let go of that. Raises NoSpace."""
        extent.users += 1
        try:
            room = self._make_room(allocated(extent.length), pinned=False)
        finally:
            extent.users -= 1
        if not room.ready:
            raise NoSpace(room.reason or NoSpaceReason.QUOTA, extent.length)

    def _copy_blocks(self, source: HeldExtent, target_fd: int, bits: int) -> dict[int, bytes]:
        checks: dict[int, bytes] = {}
        for block in members(bits):
            data = self.read_block(source, block)
            self.syscalls.write(target_fd, memoryview(data), block * BLOCK_BYTES)
            checks[block] = checksums.check_of_data(data)
        return checks

    def _swap(self, old: HeldExtent, extent_id: int, slot: int, fd: int, checks: dict[int, bytes]) -> HeldExtent:
        """The copy takes the old extent's place in one commit; then the old file goes."""
        owner, size = old.object, allocated(old.length)
        self.marks.assign(slot, extent_id)
        new = HeldExtent(owner, extent_id, old.number, old.length, slot, old.stored_epoch, old.stored_at)
        new.fd, new.digests = fd, checks
        new.pending = sum(1 << block for block in checks)
        self._sync([new])
        changes = self._batch_changes([new])
        changes.delete(Table.CHECKSUMS, checksums.row_key(old.extent_id))
        self.index.commit(changes)
        self.holdings.extents[extent_id] = new
        owner.extents[old.number] = new
        self._settle_batch_of(new)
        self.space.add(size, owner.plan is not None)
        if owner.plan is None:
            self.policy.on_insert(extent_id, size)
        self._bury(old)
        self.gone[Gone.QUARANTINED] += 1
        return new

    def _settle_batch_of(self, extent: HeldExtent) -> None:
        extent.bits, extent.pending, extent.fresh = extent.pending, 0, False
        extent.digests = {}
        extent.object.recorded = True
        self._batch_number += 1
        self._close_idle(extent)

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
        size = sum(allocated(extent.length) for extent in owner.extents.values())
        if owner.plan is None and self.space.pinned_bytes + size > self.space.pinned_limit_bytes:
            raise NoSpace(NoSpaceReason.PINNED_QUOTA, size)
        before = owner.plan
        self._set_plan(owner, plan)
        if before is None:
            self.space.pin(size)
            for extent in owner.extents.values():
                self.policy.remove(extent.extent_id)

    def unpin(self, key: str) -> bool:
        """The plan lets go: it may be evicted from now on. False when it was not pinned here."""
        with self._writing():
            owner = self.holdings.objects.get(key_hash(key))
            if owner is None or owner.plan is None:
                return False
            self._set_plan(owner, None)
            for extent in owner.extents.values():
                self.space.unpin(allocated(extent.length))
                self.policy.on_insert(extent.extent_id, allocated(extent.length))
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

    # -- the index as such -----------------------------------------------------------------------------------------

    def commit_changes(self, changes: Changes) -> None:
        """Commit rows that belong to the whole store (purge rules). Raises NoSpace(INDEX_FULL), DiskFailed."""
        with self._writing():
            self.index.commit(changes)

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

    # -- marks -----------------------------------------------------------------------------------------------------

    def collect_marks(self, epoch: int) -> int:
        """Hand the access marks to the policy, oldest first; how many extents were used. `epoch` is the current one."""
        with self._lock:
            accesses: list[tuple[int, int, int]] = []
            for mark in self.marks.collect():
                extent_id = self.slots.owner(mark.slot)
                if extent_id is None:
                    continue
                if id_low(extent_id) != mark.extent_id_low:
                    self.marks.assign(mark.slot, extent_id)
                    continue
                age = (epoch - mark.epoch) & 0xFFFF
                accesses.append((extent_id, mark.hits, epoch - age))
            apply_marks(self.policy, accesses)
            return len(accesses)
