"""The disks of a store and how they come and go: opened and recovered at the start, joined, drained and detached while others serve.

The lower half of `writer`, which is what a keeper uses. A call here that opens or closes a disk blocks; what changes the line-up itself
(`attach`, `use`, `drain`, `detach`) is for the loop's thread, replaces the tables whole, and takes no time.

A disk joins in four steps: `open_disk` (in a thread: lock, recover, forget what was purged or replaced while it was away), `attach`
(it is served from and looked into), then, when every worker has said that it looks there, `use`: new extents may go there. It leaves by
`drain` (nothing new), moves, and `detach`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import lmdb

from oca.store.arranging import Arrangement
from oca.store.board import Board, DiskState
from oca.store.dead import DeadExtents
from oca.store.disk_writer import DiskWriter, Gone, WriterParts
from oca.store.disks import (
    DiskDescription,
    DiskSettings,
    StoreSettings,
    check_identity,
    lock_disk,
    place_of,
    prepare_disk,
)
from oca.store.errors import DiskBusy, DiskFailed, NoSpace, NotADisk
from oca.store.index import META_BATCH, META_CLEAN, META_NEXT_ID, Changes, IndexWriter, Table
from oca.store.ledger import ID_RANGE
from oca.store.purging import Purges
from oca.store.recovery import Recovery, load, verify_recent
from oca.store.scrub import Scrub
from oca.store.strays import Strays
from oca.store.syscalls import RealSyscalls, Syscalls


@dataclass(frozen=True, slots=True)
class Joining:
    """A disk that was opened and recovered, and takes part from `StoreWriter.attach` on."""

    number: int
    settings: DiskSettings
    description: DiskDescription
    lock: int
    writer: DiskWriter
    recovery: Recovery


class Lineup:
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
        syscalls: Syscalls,
    ) -> None:
        self.settings = settings
        self.disks = disks
        """Writers by disk number; also those that were taken out since."""
        self.unavailable = unavailable
        """Disks that could not be opened at all, and why."""
        self.recovered: dict[int, Recovery] = {}
        self.board = board
        self._dead = dead
        self._locks = locks
        self._now = now
        self._syscalls = syscalls
        self.uuids = {number: description.uuid for number, description in descriptions.items()}
        """Which disk it is that has a number."""
        places = {n: place_of(n, settings.disks[n], description) for n, description in descriptions.items()}
        self.arrangement = Arrangement(board, places)
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
    ) -> Self:
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
            if disk.removed:
                continue
            try:
                descriptions[number] = prepare_disk(disk, settings)
                check_identity(disk, descriptions[number])
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
            raise next(iter(failures.values()))
        reasons = {number: str(error) for number, error in failures.items()}
        store = cls(settings, board, dead, disks, descriptions, locks, reasons, now, calls)
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
        for disk in self._live():
            with contextlib.suppress(DiskFailed, NoSpace):
                self._forget_replaced(disk)

    def _recover(self, disk: DiskWriter, joins: bool = False) -> Recovery:
        try:
            return self._recover_disk(disk, joins)
        except (OSError, lmdb.Error) as error:
            raise disk.take_out(f"recovery: {error}") from error

    def _recover_disk(self, disk: DiskWriter, joins: bool) -> Recovery:
        """One that `joins` while others serve may hold what was replaced meanwhile: it is served from when that is gone."""
        index = disk.index
        index.reader_check()
        disk.begin_migration()
        clean = index.number(META_CLEAN) == 1
        first_id = index.number(META_NEXT_ID)
        disk.start_ids(first_id, index.number(META_BATCH))
        if clean:
            if not joins and not self.purges.is_behind(disk):
                self.board.set_disk_state(disk.number, DiskState.READY)
            changes = Changes()
            changes.number(META_CLEAN, 0)
            index.commit(changes)
        else:
            disk.unclean_before = first_id
            if not joins and self.board.disk_state(disk.number) != DiskState.READY:
                self.board.set_disk_state(disk.number, DiskState.RECOVERING)
            self._dead.flush(disk.number)
        unreadable = load(disk, self.settings.extent_bytes)
        read, bad = (0, 0) if clean else verify_recent(disk)
        self.purges.level(disk)
        if joins:
            self._forget_replaced(disk)
            self._forget_pulled(disk)
        self.board.set_disk_state(disk.number, DiskState.READY)
        strays = self._strays[disk.number] = Strays(disk, first_id)
        if not clean:
            with contextlib.suppress(NoSpace):  # read-only: nothing is written either
                strays.collect_recent(ID_RANGE)
        return Recovery(clean, len(disk.holdings.extents), unreadable, read, bad)

    # -- disks that come and go ------------------------------------------------------------------------------------

    def open_disk(self, number: int, disk: DiskSettings) -> Joining:
        """Lock, prepare and recover one more disk, or one that was detached; blocking. Nobody sees it before `attach`, but workers serve from it.

        Raises DiskBusy, NotADisk, FormatTooNew, OSError, lmdb.Error, DiskFailed; then nothing stays open.
        """
        known = self.settings.disks
        settings = replace(self.settings, disks=(*known[:number], disk, *known[number + 1 :]))
        description = prepare_disk(disk, settings)
        check_identity(disk, description)
        lock = lock_disk(disk.path)
        try:
            index = IndexWriter.open(os.path.join(disk.path, "index"), description.map_bytes)
        except BaseException:
            os.close(lock)
            raise
        parts = WriterParts(number, settings, index, self.board, self._dead, self._syscalls, self._now)
        writer = DiskWriter(parts)
        writer.space.dead_bytes += self._dead.held_bytes(number)
        try:
            recovery = self._recover(writer, joins=True)
        except BaseException:
            index.close()
            os.close(lock)
            raise
        return Joining(number, disk, description, lock, writer, recovery)

    def _forget_replaced(self, disk: DiskWriter) -> None:
        """Files that were stored anew on the other disks while it was away."""
        others = [other for other in self._live() if other is not disk]
        for owner in list(disk.holdings.objects.values()) if others else ():
            theirs = [other.holdings.objects.get(owner.hashed) for other in others]
            if any(it is not None and it.version != owner.version and it.stored_at > owner.stored_at for it in theirs):
                disk.remove(list(owner.extents.values()), Gone.REPLACED)

    def _forget_pulled(self, disk: DiskWriter) -> None:
        """Rows that were written anew on the other disks while it was away."""
        changes = Changes()
        for page in disk.index.scan(Table.PULLED):
            for hashed, _ in page:
                if any(other.index.get_pulled(hashed) is not None for other in self._live()):
                    changes.delete(Table.PULLED, hashed)
        disk.index.commit(changes)

    def attach(self, joining: Joining) -> None:
        """It takes part, but nothing new before `use`."""
        number, disk = joining.number, joining.writer
        known = self.settings.disks
        self.settings = replace(self.settings, disks=(*known[:number], joining.settings, *known[number + 1 :]))
        self._locks[number] = joining.lock
        self._scrubs[number] = Scrub(disk)
        self.uuids[number] = joining.description.uuid
        self.recovered[number] = joining.recovery
        self.unavailable.pop(number, None)
        place = place_of(number, joining.settings, joining.description)
        self.arrangement.places = {**self.arrangement.places, number: replace(place, writable=False)}
        self.disks = {**self.disks, number: disk}  # a new one: others may be going through the old one
        self.purges.load(self._live())
        self.arrangement.changed()

    def use(self, number: int) -> None:
        """New extents may go to the disk: every worker looks there."""
        self._set_writable(number, True)

    def drain(self, number: int) -> None:
        """No new extents go to the disk."""
        self._set_writable(number, False)

    def _set_writable(self, number: int, writable: bool) -> None:
        places = self.arrangement.places
        self.arrangement.places = {**places, number: replace(places[number], writable=writable)}
        disk = self.disks.get(number)
        if disk is not None:
            disk.draining = not writable

    def detach(self, number: int, why: str) -> DiskWriter | None:
        """The disk takes part no more; `close_detached` it when no call to it is under way. None when it does not take part."""
        self.unavailable[number] = why
        self.recovered.pop(number, None)
        self._strays.pop(number, None)
        disk = self.disks.get(number)
        self.disks = {n: other for n, other in self.disks.items() if n != number}
        self.arrangement.places = {n: place for n, place in self.arrangement.places.items() if n != number}
        self.board.set_disk_state(number, DiskState.FAILED)
        self.arrangement.changed()
        return disk

    def close_detached(self, disk: DiskWriter) -> None:
        """Blocking: leave it clean where it is sound, and let go of it."""
        with contextlib.suppress(DiskFailed, NoSpace):  # it stays marked unclean, which is the truth
            disk.finish()
        disk.index.close()
        os.close(self._locks.pop(disk.number))

    def close(self) -> None:
        """Commit what is written, leave the clean mark, let go of the locks. A failed disk gets no mark."""
        for disk in self.disks.values():
            with contextlib.suppress(DiskFailed, NoSpace):  # it stays marked unclean, which is the truth
                disk.finish()
        _let_go(self.disks, self._locks)

    def _live(self) -> list[DiskWriter]:
        return [disk for disk in self.disks.values() if disk.failure is None]


def _let_go(disks: dict[int, DiskWriter], locks: dict[int, int]) -> None:
    for disk in disks.values():
        disk.index.close()
    for lock in locks.values():
        os.close(lock)
    locks.clear()
