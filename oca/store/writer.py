"""The store as its keeper sees it: every disk's writer, placement over them, and what concerns all at once.

The composition root of the writing side. Calls that write belong into the disk's thread (`disk` below names a `DiskWriter`); a call here
that touches several disks does so one after the other and passes over those that were taken out.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import lmdb

from oca.store.board import Board, DiskState
from oca.store.dead import DeadExtents
from oca.store.disk_writer import DiskWriter, Gone, WriterParts
from oca.store.disks import DiskDescription, StoreSettings, lock_disk, place_of, prepare_disk
from oca.store.errors import DiskBusy, DiskFailed, NoSpace, NotADisk
from oca.store.extents import ExtentRecord, key_hash
from oca.store.holdings import HeldFile, HeldObject, present_bytes
from oca.store.index import (
    META_BATCH,
    META_CLEAN,
    META_NEXT_ID,
    Changes,
    IndexStatistics,
    IndexWriter,
    Table,
)
from oca.store.placement import best_writable
from oca.store.pulled import PulledObject, pack_pulled, unpack_pulled
from oca.store.purge import PurgeKind, PurgeMode, PurgeOrder, PurgeRule
from oca.store.purging import Purges
from oca.store.recovery import Recovery, load, verify_recent
from oca.store.scrub import Scrub, Scrubbed
from oca.store.strays import Strays
from oca.store.syscalls import RealSyscalls, Syscalls


@dataclass(frozen=True, slots=True)
class DiskStatistics:
    """One disk now. Counters run since the keeper opened it."""

    number: int
    path: str
    failure: str | None
    quota_bytes: int
    limit_bytes: int
    """The quota, or less where the filesystem cannot hold as much."""
    live_bytes: int
    pinned_bytes: int
    dead_bytes: int
    extents: int
    objects: int
    unsynced_blocks: int
    blocks_written: int
    commits: int
    gone: dict[Gone, int]
    scrub_bad_blocks: int
    index: IndexStatistics | None
    """None once the disk was taken out."""

    @property
    def used_bytes(self) -> int:
        return self.live_bytes + self.dead_bytes


class StoreWriter:
    def __init__(
        self,
        settings: StoreSettings,
        board: Board,
        dead: DeadExtents,
        disks: dict[int, DiskWriter],
        descriptions: dict[int, DiskDescription],
        locks: dict[int, int],
        unavailable: dict[int, str],
        now: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.disks = disks
        """Writers by disk number; also those that were taken out since."""
        self.unavailable = unavailable
        """Disks that could not be opened at all, and why."""
        self.recovered: dict[int, Recovery] = {}
        self._board = board
        self._dead = dead
        self._locks = locks
        self._now = now
        self._places = {n: place_of(n, settings.disks[n], description) for n, description in descriptions.items()}
        self._scrubs = {number: Scrub(disk) for number, disk in disks.items()}
        self.purges = Purges(board, now)
        self._strays: dict[int, Strays] = {}

    @classmethod
    def open(
        cls,
        settings: StoreSettings,
        board: Board,
        now: Callable[[], float],
        syscalls: Syscalls | None = None,
    ) -> StoreWriter:
        """Lock, prepare and recover every disk; blocking, at most some seconds per million extents.

        A disk that cannot be opened is left out (`unavailable`, FAILED on the board). Raises DiskBusy when another keeper holds one,
        and the first disk's NotADisk, FormatTooNew, OSError or lmdb.Error when none is left.
        """
        calls = syscalls or RealSyscalls()
        dead = DeadExtents(board)
        disks: dict[int, DiskWriter] = {}
        descriptions: dict[int, DiskDescription] = {}
        locks: dict[int, int] = {}
        failures: dict[int, NotADisk | OSError | lmdb.Error] = {}
        for number, disk in enumerate(settings.disks):
            try:
                descriptions[number] = prepare_disk(disk, settings)
                locks[number] = lock_disk(disk.path)
                index = IndexWriter.open(os.path.join(disk.path, "index"), descriptions[number].map_bytes)
            except DiskBusy:
                _let_go(disks, locks)
                raise
            except (NotADisk, OSError, lmdb.Error) as error:
                failures[number] = error
                descriptions.pop(number, None)
                board.set_disk_state(number, DiskState.FAILED)
                continue
            parts = WriterParts(number, settings, index, board, dead, calls, now)
            disks[number] = DiskWriter(parts)
        if not disks:
            _let_go(disks, locks)
            raise failures[0]
        reasons = {number: str(error) for number, error in failures.items()}
        store = cls(settings, board, dead, disks, descriptions, locks, reasons, now)
        store._start()
        return store

    def _start(self) -> None:
        for number, size in self._dead.adopt().items():
            if number in self.disks:
                self.disks[number].space.dead_bytes += size
        self.purges.load(self._live())
        for disk in self.disks.values():
            with contextlib.suppress(DiskFailed, NoSpace):  # its state and statistics say so; the others go on
                self.recovered[disk.number] = self._recover(disk)

    def _recover(self, disk: DiskWriter) -> Recovery:
        try:
            return self._recover_disk(disk)
        except (OSError, lmdb.Error) as error:
            raise disk.take_out(f"recovery: {error}") from error

    def _recover_disk(self, disk: DiskWriter) -> Recovery:
        index = disk.index
        index.reader_check()
        disk.begin_migration()
        clean = index.number(META_CLEAN) == 1
        first_id = index.number(META_NEXT_ID)
        disk.start_ids(first_id, index.number(META_BATCH))
        if clean:
            if not self.purges.is_behind(disk):
                self._board.set_disk_state(disk.number, DiskState.READY)
            changes = Changes()
            changes.number(META_CLEAN, 0)
            index.commit(changes)
        else:
            disk.unclean_before = first_id
            if self._board.disk_state(disk.number) != DiskState.READY:
                self._board.set_disk_state(disk.number, DiskState.RECOVERING)
            self._dead.flush(disk.number)
        unreadable = load(disk, self.settings.extent_bytes)
        read, bad = (0, 0) if clean else verify_recent(disk)
        self.purges.level(disk)
        self._board.set_disk_state(disk.number, DiskState.READY)
        self._strays[disk.number] = Strays(disk, first_id)
        return Recovery(clean, len(disk.holdings.extents), unreadable, read, bad)

    # -- placement and looking -------------------------------------------------------------------------------------

    def place(self, hashed: bytes, extent_number: int) -> DiskWriter | None:
        """The disk that has the extent, else the one it would go to; None when no disk takes writes."""
        for disk in self.disks.values():
            if disk.failure is None and disk.holdings.find(hashed, extent_number) is not None:
                return disk
        places = [self._places[disk.number] for disk in self.disks.values() if disk.failure is None]
        number = best_writable(places, hashed, extent_number)
        return None if number is None else self.disks[number]

    def find(self, hashed: bytes, extent_number: int) -> ExtentRecord | None:
        """Durable and announced blocks merged, from whichever disk has the extent."""
        for disk in self.disks.values():
            if disk.failure is None:
                record = disk.find(hashed, extent_number)
                if record is not None:
                    return record
        return None

    # -- pulled objects --------------------------------------------------------------------------------------------

    def pulled(self, hashed: bytes) -> PulledObject | None:
        """What is recorded under the hash of a service key."""
        for disk in self._live():
            value = disk.index.get_pulled(hashed)
            if value is not None and (found := unpack_pulled(value)) is not None:
                return found
        return None

    def put_pulled(self, rows: Mapping[bytes, PulledObject]) -> None:
        """Record objects by the hash of their key, durably; one without variants is forgotten. Raises NoSpace, DiskFailed.

        A row lies where its first extent would, and nowhere else. What was asked for before a purge that names it is as the purge leaves it.
        """
        live = self._live()
        changes = {disk.number: Changes() for disk in live}
        places = [self._places[disk.number] for disk in live]
        for hashed, wanted in rows.items():
            self.purges.bury(live, self.pulled(hashed))
            found = self.purges.late(wanted)
            best = best_writable(places, hashed, 0) if found.variants else None
            for disk in live:
                if disk.number == best:
                    changes[disk.number].put(Table.PULLED, hashed, pack_pulled(found))
                elif disk.index.get_pulled(hashed) is not None:
                    changes[disk.number].delete(Table.PULLED, hashed)
        for disk in live:
            if changes[disk.number].items:
                disk.commit_changes(changes[disk.number])

    def scan_pulled(self) -> Iterator[list[PulledObject]]:
        """All rows of all disks, in pages."""
        for disk in self._live():
            for page in disk.index.scan(Table.PULLED):
                yield [found for _, value in page if (found := unpack_pulled(value)) is not None]

    def _live(self) -> list[DiskWriter]:
        return [disk for disk in self.disks.values() if disk.failure is None]

    def holdings(self) -> Iterator[HeldFile]:
        """Every object over all disks, one line each; taken from a copy, so that it may be slow."""
        merged: dict[bytes, list[HeldObject]] = {}
        for disk in self._live():
            for held in list(disk.holdings.objects.values()):
                merged.setdefault(held.hashed, []).append(held)
        for parts in merged.values():
            yield _as_file(parts)

    def held(self, key: str) -> HeldFile | None:
        """One object over all disks."""
        hashed = key_hash(key)
        parts = [disk.holdings.objects[hashed] for disk in self._live() if hashed in disk.holdings.objects]
        return _as_file(parts) if parts else None

    # -- what concerns all disks -----------------------------------------------------------------------------------

    def pin(self, key: str, plan: str) -> bool:
        """False when nothing of the key is here. Raises NoSpace(PINNED_QUOTA)."""
        return any([disk.pin(key, plan) for disk in self._live()])

    def unpin(self, key: str) -> bool:
        return any([disk.unpin(key) for disk in self._live()])

    def drop(self, key: str, reason: Gone = Gone.DROPPED) -> int:
        """Remove all of a key; how many extents."""
        return sum(disk.drop(key, reason) for disk in self._live())

    def reap(self) -> int:
        """Every 250 ms: bytes of unlinked extents that no worker holds any more are free again."""
        return sum(disk.reap() for disk in self._live())

    def collect_marks(self, epoch: int) -> int:
        """Every few seconds: what was used since, handed to the policies; how many extents."""
        return sum(disk.collect_marks(epoch) for disk in self._live())

    def scrub_some(self, max_blocks: int) -> dict[int, Scrubbed]:
        """At idle: verify the next extents of every disk."""
        return {disk.number: self._scrubs[disk.number].some(max_blocks) for disk in self._live()}

    def collect_strays(self, max_files: int) -> bool:
        """A bounded step on every disk (one folder, or `max_files` unlinked); False when every sweep has ended."""
        for disk in self._live():
            strays = self._strays.get(disk.number)
            if strays is not None:
                strays.some(max_files)
                if not strays.pending:
                    self._swept(disk.number, self._strays.pop(disk.number))
        return any(disk.number in self._strays for disk in self._live())

    def _swept(self, number: int, strays: Strays) -> None:
        self.recovered[number] = replace(
            self.recovered[number], orphans=strays.orphans, missing=strays.missing, strangers=strays.strangers
        )

    def look_at_space(self) -> None:
        """Every few seconds: what the filesystems really have; where that is less than the quota, extents make way ahead of need."""
        for disk in self._live():
            disk.look_at_space()

    def migrate_some(self, max_rows: int) -> bool:
        """A bounded step on every disk whose index has rows of an older format; True while there is more to do."""
        for disk in self._live():
            if disk.is_migrating:
                disk.migrate_some(max_rows)
        return any(disk.is_migrating for disk in self._live())

    def reader_check(self) -> int:
        """At every worker's death and every 10 s: free the index slots of killed readers."""
        return sum(disk.index.reader_check() for disk in self._live())

    # -- purge -----------------------------------------------------------------------------------------------------

    @property
    def rules(self) -> tuple[PurgeRule, ...]:
        """Rules that were not swept yet."""
        return self.purges.live

    def purge(self, kind: PurgeKind, text: str = "", mode: PurgeMode = PurgeMode.HARD) -> PurgeRule:
        """One order; see `order`."""
        return self.order((PurgeOrder(kind, text, mode),))[0]

    def order(self, orders: Sequence[PurgeOrder]) -> tuple[PurgeRule, ...]:
        """Forbid what is stored now and matches; one index transaction per disk for all of them, then the shared epoch is raised.

        Workers obey within one poll; `purge_acknowledged` says when all do, `sweep` then deletes. Raises DiskFailed when no disk is left.
        """
        return self.purges.order(self._live(), orders)

    def purge_acknowledged(self, rule: PurgeRule) -> bool:
        """True when every live worker judges by this rule."""
        return self.purges.is_obeyed(rule)

    def sweep(self, rule: PurgeRule) -> int:
        """Delete what the rule still forbids and retire it; how many extents. Call when it is acknowledged. Raises NoSpace: it stays."""
        return self.purges.sweep(self._live(), rule)

    def renew(self, key: str, version: bytes, epoch: int) -> int:
        """This version was found to be current in `epoch`, behind a soft purge: it may be served again. How many extents."""
        return sum(disk.renew(key, version, epoch) for disk in self._live())

    # -- figures and the end ---------------------------------------------------------------------------------------

    @property
    def dead_outstanding(self) -> int:
        """Dead ids that some worker may still hold."""
        return self._dead.outstanding

    def statistics(self) -> tuple[DiskStatistics, ...]:
        return tuple(self._statistics_of(disk) for disk in self.disks.values())

    def _statistics_of(self, disk: DiskWriter) -> DiskStatistics:
        space = disk.space
        return DiskStatistics(
            disk.number,
            disk.path,
            disk.failure,
            space.quota_bytes,
            space.limit_bytes,
            space.live_bytes,
            space.pinned_bytes,
            space.dead_bytes,
            len(disk.holdings.extents),
            len(disk.holdings.objects),
            disk.batch.blocks,
            disk.blocks_written,
            disk.commits,
            dict(disk.gone),
            self._scrubs[disk.number].bad_blocks,
            disk.index.statistics() if disk.failure is None else None,
        )

    def close(self) -> None:
        """Commit what is written, leave the clean mark, let go of the locks. A failed disk gets no mark."""
        for disk in self.disks.values():
            with contextlib.suppress(DiskFailed, NoSpace):  # it stays marked unclean, which is the truth
                disk.finish()
        _let_go(self.disks, self._locks)


def _let_go(disks: dict[int, DiskWriter], locks: dict[int, int]) -> None:
    for disk in disks.values():
        disk.index.close()
    for lock in locks.values():
        os.close(lock)
    locks.clear()


def _as_file(parts: list[HeldObject]) -> HeldFile:
    """Merge what several disks hold of one key; of two versions (one disk missed a change) the newer counts."""
    newest = max(parts, key=lambda part: part.stored_at)
    extents = [e for part in parts if part.version == newest.version for e in list(part.extents.values())]
    plans = {part.plan for part in parts} - {None}
    return HeldFile(
        newest.key,
        newest.version,
        newest.file_size,
        sum(present_bytes(extent) for extent in extents),
        sum(extent.size for extent in extents),
        next(iter(plans), None),
        min(part.stored_at for part in parts),
    )
