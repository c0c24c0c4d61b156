"""What one disk's writer keeps: ids, space, the policy, and how extents leave. The lower half of `disk_writer`.

Laws.
1. Order of an eviction: index delete → commit → unlink → dead id published. The space counts until no worker holds the file.
2. Ids are never reused: they come from ranges that the index reserved before the first of them is used.
3. An error of `fdatasync` or of the index takes the disk out: nothing after it can be trusted (the kernel may have dropped the pages).
   No space and a read-only filesystem are values: serve, do not store.

Foreign errors are mapped once, in `_writing`. Looking (`find`, `holdings`, `space`) never waits for somebody who is writing.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

import lmdb

from oca.store.batching import Batch
from oca.store.board import Board, DiskState
from oca.store.dead import DeadExtents
from oca.store.disks import DiskSettings, StoreSettings, reserve_bytes
from oca.store.errors import DiskFailed, NoSpace, NoSpaceReason, StoreError
from oca.store.extents import ExtentRecord, ExtentSpec, extent_name, index_key, key_hash, pack_record, split_index_key
from oca.store.holdings import HeldExtent, Holdings
from oca.store.index import META_NEXT_ID, Changes, IndexWriter, Table
from oca.store.marks import Marks, id_low
from oca.store.migration import Migration
from oca.store.purge import PurgeMode, PurgeRules
from oca.store.slots import Slots
from oca.store.space import Space
from oca.store.syscalls import Syscalls
from oca.store.trailer import allocated_bytes
from policies.admission import AdmissionName, AdmissionRule, make_admission
from policies.classes import Asked, Classed
from policies.eviction import Policy, PolicyName, apply_marks, make_policy

ID_RANGE = 4096
"""Ids reserved by one index commit."""
FULL_S = 5.0
"""How long a filesystem that refused space counts as full, whatever it says."""


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
    """It had a bad block; the good ones moved, or all went where there was no room for that."""
    MOVED = "moved"
    """Its blocks moved to a new extent before more could be written (a version without digest after an unclean stop)."""
    EMPTY = "empty"
    """Its writer left before a block was written."""
    RELOCATED = "relocated"
    """It lives on another disk now."""
    MISSING = "missing"
    """The index promised a file that is not there, or not at its length."""


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


class DiskLedger:
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
        self.policy: Classed[bytes] = _make_policy(settings, parts.disk.quota_bytes)
        self.gone: Counter[Gone] = Counter()
        self.blocks_written = 0
        self.scrubbed_blocks = 0
        self.bad_blocks = 0
        """Found by scrubs, and where somebody could not read."""
        self.commits = 0
        self.failure: str | None = None
        """Why the disk was taken out, in words."""
        self.read_only = False
        self.draining = parts.disk.draining
        """It takes nothing new; what is there is served, and completed."""
        self.rules = PurgeRules()
        self.refuses: Callable[[str, int], bool] = lambda _key, _epoch: False
        """Whether bytes of a key that were asked for in an epoch come too late to be stored (`oca.store.purging`)."""
        self.epoch = 0
        self.heard: Callable[[list[tuple[bytes, int]]], None] | None = None
        """Told which contents were used how often, with the access marks."""
        self.unclean_before = 0
        """Extents with lower ids were there when a keeper stopped uncleanly."""
        self._extent_bytes = settings.extent_bytes
        self._short_life_s = settings.short_life_s
        self._board = parts.board
        self._dead = parts.dead
        self._now = parts.now
        self._lock = threading.RLock()
        self._dirty: dict[int, HeldExtent] = {}
        self._new_folders: set[str] = set()
        self._index_full = False
        self._reserves = reserve_bytes(parts.disk.quota_bytes, settings)
        self._full_until = -math.inf
        self._batch_number = 0
        self._next_id = 0
        self._reserved_id = 0
        self._inserted = 0
        """Extents since the marks were heard."""
        self._migration: Migration | None = None

    # -- ids and failures ------------------------------------------------------------------------------------------

    def start_ids(self, first: int, batch_number: int) -> None:
        """Ids start at `first`, the end of the ranges that earlier keepers reserved."""
        self._next_id = self._reserved_id = first
        self._batch_number = batch_number

    def clock(self) -> float:
        """Seconds since the epoch."""
        return self._now()

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

    # -- space -----------------------------------------------------------------------------------------------------

    def make_room(self, needed: int, pinned: bool = False) -> Room:
        """Evict what the policy gives until an extent of `needed` bytes fits, or say why they do not. Raises DiskFailed, NoSpace(INDEX_FULL)."""
        with self._writing():
            return self._make_room(needed, pinned)

    def _make_room(self, length: int, pinned: bool = False) -> Room:
        size = allocated_bytes(length)
        refusal = self.space.refusal(size, pinned)
        if refusal is not None:
            return Room(False, 0, 0, refusal)
        victims = self._victims(self.space.to_evict(size))
        if victims is None:
            return Room(False, 0, 0, NoSpaceReason.DISK_FULL if self.space.is_squeezed else NoSpaceReason.QUOTA)
        freed = sum(victim.size for victim in victims)
        self._remove(victims, Gone.SPACE)
        self.reap()
        ready = self.space.fits(size)
        return Room(ready, len(victims), freed, None if ready else NoSpaceReason.DEAD_HELD)

    def _ensure_room(self, length: int, pinned: bool) -> None:
        """Room for a new extent of `length` bytes. Raises NoSpace."""
        if self.read_only:
            raise NoSpace(NoSpaceReason.READ_ONLY, length)
        if self._now() < self._full_until and self.space.to_evict(allocated_bytes(length)):
            raise NoSpace(NoSpaceReason.DISK_FULL, length)  # what left a moment ago did not help
        if self._index_full:
            self._evict_for_index()
        room = self._make_room(length, pinned)
        if not room.ready:
            raise NoSpace(room.reason or NoSpaceReason.QUOTA, length)

    def _victims(self, need: int) -> list[HeldExtent] | None:
        """Extents that nobody writes, worth at least `need` bytes; None when there are not enough of them."""
        if need <= 0:
            return []
        self._hear_marks()
        self.policy.resize(max(0, self.space.limit_bytes - self.space.pinned_bytes - self._reserves[1]))
        chosen = [self._identified(identity) for identity in self.policy.victims(need, self._is_busy)]
        if sum(extent.size for extent in chosen) >= need:
            return chosen
        for extent in chosen:
            self.policy.on_insert(extent.identity, extent.size)
        return None

    def _identified(self, identity: bytes) -> HeldExtent:
        extent = self.holdings.find(*split_index_key(identity))
        assert extent is not None, "the policy knows only what is here"
        return extent

    def _is_busy(self, identity: bytes) -> bool:
        return self._identified(identity).busy

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
        victims = self._victims(self.space.to_evict_ahead(*self._reserves))
        if victims:
            self._remove(victims, Gone.SPACE)

    # -- a filesystem that has less than the quota -----------------------------------------------------------------

    def look_at_space(self) -> None:
        """Ask the filesystem what it has left, and evict ahead by that. Raises DiskFailed, NoSpace."""
        with self._writing():
            if self._now() < self._full_until:
                return  # it said "full" whatever it says it has left (a quota of its own)
            self.space.look(self.syscalls.free_bytes(self.path))
            if self.space.is_squeezed:
                self._evict_ahead()

    @contextlib.contextmanager
    def _making_way(self, length: int) -> Iterator[None]:
        """The filesystem refused what the quota promises: what is here is the limit, so that one extent makes way for the next.

        Raises NoSpace(DISK_FULL) when that was tried a moment ago: who else writes there takes what we free. When it does not help now, the limit
        is forgotten again, because the filesystem may be full of something else than bytes.
        """
        if self._now() < self._full_until:
            raise NoSpace(NoSpaceReason.DISK_FULL, length)
        before = self.space.filesystem_bytes
        self.space.look(0)
        try:
            yield
        except (OSError, NoSpace) as error:
            self._full_until = self._now() + FULL_S
            if not isinstance(error, NoSpace) or error.reason is not NoSpaceReason.DEAD_HELD:
                self.space.filesystem_bytes = before
            raise

    @property
    def room_bytes(self) -> int:
        """What may come from another disk without anything being evicted for it."""
        return max(0, self.space.free_bytes - self._reserves[0])

    def reap(self) -> int:
        """Count as free what no worker holds any more; how many bytes."""
        with self._lock:
            released = self._dead.settle(self.number)
            self.space.release(released)
            return released

    def cancel(self, extent: HeldExtent, pinned: bool) -> None:
        """An extent that came into no table leaves without a trace: nobody can have opened it."""
        with self._lock:
            self.slots.give_back(extent.slot)
            self.space.kill(extent.size, pinned)
            self.space.release(extent.size)
            with contextlib.suppress(OSError):  # a leftover is collected as an orphan
                self.syscalls.close(extent.fd)
                self.syscalls.unlink(self.path_of(extent.extent_id))

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

    def remove_unchanged(self, extent: HeldExtent, bits: int, reason: Gone) -> bool:
        """Remove it unless somebody writes it or it has other blocks than `bits`. False: it stays."""
        with self._writing():
            if extent.gone or extent.busy or extent.bits != bits:
                return False
            return self._remove([extent], reason) == 1

    def hold(self, extent: HeldExtent) -> bool:
        """Keep an extent that nobody writes from being evicted, until `let_go`. False when it left or is being written."""
        with self._lock:
            if extent.gone or extent.busy:
                return False
            extent.users += 1
            return True

    def let_go(self, extent: HeldExtent) -> None:
        with self._lock:
            extent.users -= 1
            self._close_idle(extent)

    def _keep(self, extents: list[HeldExtent]) -> None:
        """They could not leave: the policy knows them again."""
        for extent in extents:
            if extent.object.plan is None and extent.identity not in self.policy:
                self.policy.on_insert(extent.identity, extent.size)

    def _bury(self, extent: HeldExtent) -> None:
        size = extent.size
        self._dirty.pop(extent.extent_id, None)
        if self.holdings.find(extent.object.hashed, extent.number) is extent:  # and not what it was moved to
            self.policy.remove(extent.identity)
        self.holdings.remove_extent(extent)
        self.slots.give_back(extent.slot)
        self.space.kill(size, extent.object.plan is not None)
        self._close_idle(extent)
        self.unlink(extent.extent_id, size)

    def unlink(self, extent_id: int, held_bytes: int) -> None:
        """Unlink and tell the workers. A file that is gone already is fine."""
        with contextlib.suppress(FileNotFoundError):
            self.syscalls.unlink(self.path_of(extent_id))
        self._dead.bury(self.number, extent_id, held_bytes)

    def collect_orphan(self, extent_id: int, size: int) -> bool:
        """Unlink a file that the index does not know; False when it left meanwhile. Raises DiskFailed, NoSpace(READ_ONLY)."""
        with self._writing():
            try:
                self.syscalls.unlink(self.path_of(extent_id))
            except FileNotFoundError:
                return False
            self.space.add(size, pinned=False)
            self.space.kill(size, pinned=False)
            self._dead.bury(self.number, extent_id, size)
            return True

    def size_of(self, extent_id: int) -> int | None:
        """Bytes of an extent's file; None when there is none. Raises DiskFailed."""
        try:
            return os.stat(self.path_of(extent_id)).st_size
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.take_out(f"extent {extent_id:x}: {error}") from error

    def list_extents(self, folder: int) -> list[tuple[str, int]]:
        """(name, size) of each file in one of the 256 folders. Raises DiskFailed. Nobody waits for it."""
        try:
            return self.syscalls.list_folder(f"{self.path}/extents/{folder:02x}")
        except OSError as error:
            raise self.take_out(f"{error.strerror or error}") from error

    def _close_idle(self, extent: HeldExtent) -> None:
        if extent.fd >= 0 and (extent.gone or not extent.busy):
            fd, extent.fd = extent.fd, -1
            with contextlib.suppress(OSError):  # what counts was synced, and the descriptor is gone either way
                self.syscalls.close(fd)

    def begin_migration(self) -> None:
        """Before anything is written: an older format is raised first. Raises NoSpace, DiskFailed."""
        with self._writing():
            self._migration = Migration(self.index)

    @property
    def is_migrating(self) -> bool:
        """Rows of an older format wait to be rewritten."""
        return self._migration is not None and self._migration.pending and self.failure is None

    def migrate_some(self, max_rows: int) -> int:
        """One short step of the migration; how many rows were passed. Raises NoSpace(INDEX_FULL), DiskFailed."""
        with self._writing():
            return self._migration.some(max_rows) if self._migration is not None else 0

    def renew(self, key: str, version: bytes, epoch: int) -> int:
        """What is here of this version was found to be current in `epoch`: no older purge forbids it any more. How many extents.

        Raises NoSpace (nothing changed), DiskFailed.
        """
        with self._writing():
            owner = self.holdings.objects.get(key_hash(key))
            if owner is None or owner.version != version:
                return 0
            older = {
                extent: extent.stored_epoch
                for extent in owner.extents.values()
                if extent.stored_epoch < epoch and self.rules.judge(key, extent.stored_epoch) is not PurgeMode.HARD
            }
            changes = Changes()
            for extent in older:
                extent.stored_epoch = epoch
                if not extent.fresh:
                    record = extent.record(self.number, durable=True)
                    changes.put(Table.EXTENTS, index_key(owner.hashed, extent.number), pack_record(record))
            try:
                self.index.commit(changes)
            except lmdb.Error:
                for extent, before in older.items():
                    extent.stored_epoch = before
                raise
            return len(older)

    def commit_changes(self, changes: Changes) -> None:
        """Commit rows that belong to the whole store (purge rules). Raises NoSpace(INDEX_FULL), DiskFailed."""
        with self._writing():
            self.index.commit(changes)

    # -- marks -----------------------------------------------------------------------------------------------------

    def collect_marks(self, epoch: int) -> int:
        """Hand the access marks to the policy, oldest first; how many extents were used. `epoch` is the current one."""
        with self._lock:
            accesses: list[tuple[bytes, int, int]] = []
            for mark in self.marks.collect():
                extent_id = self.slots.owner(mark.slot)
                if extent_id is None:
                    continue
                if id_low(extent_id) != mark.extent_id_low:
                    self.marks.assign(mark.slot, extent_id)
                    continue
                extent = self.holdings.extents.get(extent_id)
                if extent is not None:
                    accesses.append((extent.identity, mark.hits, epoch - _age(epoch, mark.epoch)))
            apply_marks(self.policy, accesses)
            if self.heard is not None:
                self.heard([(identity, hits) for identity, hits, _ in accesses])
            self._inserted = 0
            return len(accesses)

    def _hear_marks(self) -> None:
        """Before somebody has to go: what was used since, unless hardly anything came in since that was heard.

        So that a hit counts within a sixty-fourth of the disk's turnover, however fast that is, and a new extent costs a fixed share of a scan.
        """
        if self._inserted > len(self.policy) // 64:
            self.collect_marks(int(self._now()))

    def _teach_policy(self, extent: HeldExtent, spec: ExtentSpec) -> None:
        """A new extent came for a client or a fill, and no plan pins it."""
        asked = Asked(
            index_key(key_hash(spec.asked_for), extent.number) if spec.asked_for else extent.identity,
            extent.object.file_size,
            spec.lifetime_s is not None and spec.lifetime_s < self._short_life_s,
        )
        self.policy.on_insert(extent.identity, extent.size, asked)
        self._inserted += 1


def _age(epoch: int, low: int) -> int:
    """Seconds since a mark's epoch, of which only the low 16 bits are known; a worker's clock may be a little ahead."""
    age = (epoch - low) & 0xFFFF
    return age if age < 0x8000 else 0


def _make_policy(settings: StoreSettings, quota_bytes: int) -> Classed[bytes]:
    rule = AdmissionRule(
        AdmissionName(settings.admission),
        settings.admission_max_share,
        settings.admission_remembered,
        settings.admission_requests,
        settings.admission_usual_bytes,
    )
    lasting: Policy[bytes] = make_policy(PolicyName(settings.policy), quota_bytes)
    return Classed(lasting, make_admission(rule, quota_bytes), settings.passing_share, quota_bytes)
