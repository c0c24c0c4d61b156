"""What a worker does with the store: look up, open, mark, judge. Never writes a disk, never waits for one.

A look-up costs one LMDB read transaction per disk asked and never raises: what cannot be read is a miss. The hot disks are asked
before the cold ones, of each class as many of the best ranks as hold extents (the board's `reach`: one, two while disks are added or
drained). A disk is served from when its index was closed cleanly or a keeper has recovered it (`DiskState.READY`), and never while it
is FAILED. Disks come and go while it serves: `follow`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import lmdb

from oca.store.board import PULSE_EPOCH, PULSE_HEAD, PULSE_REACH, PULSE_STATES, Board, DiskState
from oca.store.descriptors import Descriptor, DescriptorCache, NotOpened
from oca.store.disks import DiskDescription, DiskSettings, StoreSettings, check_identity, place_of, read_description
from oca.store.errors import NotADisk
from oca.store.extents import ExtentRecord, index_key, unpack_record
from oca.store.index import META_CLEAN, META_EPOCH, IndexReader, Table
from oca.store.marks import Marks
from oca.store.placement import Place, by_class, ranked
from oca.store.pulled import PulledObject, PulledVariant, unpack_pulled
from oca.store.purge import PurgeMode, PurgeRule, PurgeRules, unpack_rule

_FAILED = int(DiskState.FAILED)
_READY = int(DiskState.READY)


class LookupFailure(Enum):
    """Why a disk could not be asked; the look-up is a miss. The value is the log word."""

    READERS_FULL = "readers-full"
    INDEX_ERROR = "index-error"
    UNKNOWN_FORMAT = "unknown-format"


@dataclass(frozen=True, slots=True)
class ReaderStatistics:
    open_files: int
    dying_files: int
    files_opened: int
    not_opened: dict[NotOpened, int]
    lookup_failures: dict[LookupFailure, int]


class _DiskReader:
    """One disk as a worker sees it."""

    __slots__ = ("borrowed", "clean", "description", "index", "life", "marks", "number")

    def __init__(
        self, number: int, life: int, description: DiskDescription, index: IndexReader, marks: Marks, borrowed: bool
    ) -> None:
        self.number = number
        self.life = life
        self.description = description
        self.index = index
        self.marks = marks
        self.borrowed = borrowed
        self.clean = index.number(META_CLEAN) == 1
        """Closed cleanly, and it missed no purge: it is served from before a keeper has looked at it."""


class StoreReader:
    """One per process, opened after exec and never across a fork."""

    def __init__(
        self,
        settings: StoreSettings,
        board: Board,
        slot: int,
        disks: dict[int, _DiskReader],
        unavailable: dict[int, str],
    ) -> None:
        self._board = board
        self._disks = disks
        self.unavailable = unavailable
        """Disks that could not be opened, by number, and why: their share is misses."""
        self._states = board.states()
        self._pulse = board.pulse()
        self._head_seen = -1
        self._epoch_seen = -1
        self._extent_bytes = settings.extent_bytes
        self._line = board.line(slot)
        self._line.attach(os.getpid(), board.head)
        self._groups: tuple[tuple[Place, ...], ...] = ()
        self._only: _DiskReader | None = None
        self._arrange(settings)
        self._rules = PurgeRules()
        self._failures: Counter[LookupFailure] = Counter()
        self.descriptors = DescriptorCache(
            [disk.path for disk in settings.disks], board, self._line, settings.descriptors
        )
        self._load_rules()

    @classmethod
    def open(
        cls, settings: StoreSettings, board: Board, slot: int, shared: Mapping[int, IndexReader] | None = None
    ) -> StoreReader:
        """Open every disk's index and take the worker's slot.

        `shared` are indexes by disk number that this process has open already (LMDB allows one opening per process); they stay open.
        A disk that cannot be opened is left out; raises its NotADisk, FormatTooNew, lmdb.Error or OSError only when none is left.
        """
        disks: dict[int, _DiskReader] = {}
        failures: dict[int, NotADisk | lmdb.Error | OSError] = {}
        for number, disk in enumerate(settings.disks):
            if disk.removed:
                continue
            try:
                disks[number] = _open_disk(number, disk, board, shared)
            except (NotADisk, lmdb.Error, OSError) as error:
                failures[number] = error
        if not disks:
            raise next(iter(failures.values()))
        return cls(settings, board, slot, disks, {number: str(error) for number, error in failures.items()})

    def follow(self, settings: StoreSettings, generation: int, shared: Mapping[int, IndexReader] | None = None) -> None:
        """Look up by these disks from now on, and say so on the board. Call it in one turn of the loop, between requests.

        What was opened of a disk that left or comes back anew is closed as soon as nobody uses it. A disk that cannot be opened is
        left out, as at the start. A keeper puts nothing on a disk before every worker has said that it looks there.
        """
        for number, disk in enumerate(settings.disks):
            known = self._disks.get(number)
            if known is not None and (disk.removed or known.life != disk.life):
                if disk.removed:  # one that comes back has its files flushed by the keeper, which counts their space
                    self.descriptors.flush(number)
                del self._disks[number]
                if not known.borrowed:
                    known.index.close()
                known = None
            if known is None and not disk.removed:
                try:
                    self._disks[number] = _open_disk(number, disk, self._board, shared)
                    self.unavailable.pop(number, None)
                except (NotADisk, lmdb.Error, OSError) as error:
                    self.unavailable[number] = str(error)
        self.descriptors.paths = ["" if disk.removed else disk.path for disk in settings.disks]
        self._arrange(settings)
        self._load_rules()
        self._line.roster = generation

    def _arrange(self, settings: StoreSettings) -> None:
        places = [
            place_of(number, settings.disks[number], disk.description) for number, disk in sorted(self._disks.items())
        ]
        self._groups = by_class(places)
        several = sum(not disk.removed for disk in settings.disks) > 1
        self._only = None if several or not places else self._disks[places[0].disk]

    def knows(self, number: int, life: int) -> bool:
        """Whether the disk of this number is open, as it is in this life."""
        disk = self._disks.get(number)
        return disk is not None and disk.life == life

    @property
    def roster(self) -> int:
        """The generation of the roster that the supervisor wrote last: `follow` it when it is another than `followed`."""
        return self._board.roster

    @property
    def followed(self) -> int:
        return self._line.roster

    def lookup(self, hashed: bytes, extent_number: int) -> ExtentRecord | None:
        """What the index says of an extent, or None (absent, disk not served from, disk unreadable)."""
        if self._only is not None:
            return self._ask(self._only, hashed, extent_number)
        reach = self._pulse[PULSE_REACH]
        for places in self._groups:
            tries = reach or len(places)
            for number in ranked(places, hashed, extent_number):
                if self._states[number] == _FAILED:
                    continue
                record = self._ask(self._disks[number], hashed, extent_number)
                if record is not None:
                    return record
                tries -= 1
                if not tries:
                    break
        return None

    def lookup_pulled(self, hashed: bytes) -> PulledObject | None:
        """What the index says of a pulled object by the hash of its service key, or None (absent, or not to be read)."""
        for places in self._groups:
            for number in ranked(places, hashed, 0):
                state = self._states[number]
                disk = self._disks[number]
                if state != _READY and (state == _FAILED or not disk.clean):
                    continue
                try:
                    value = disk.index.get_pulled(hashed)
                except lmdb.Error:
                    self._failures[LookupFailure.INDEX_ERROR] += 1
                    continue
                if value is not None and (found := unpack_pulled(value)) is not None:
                    return found
        return None

    def judge_pulled(self, key: str, variant: PulledVariant) -> PurgeMode | None:
        """Whether a purge forbids serving this variant of a service key."""
        verdict = self._rules.judge(key, variant.epoch, variant.tags)
        return PurgeMode.SOFT if verdict is None and variant.stale else verdict

    def recall(self, place: bytes) -> Descriptor | None:
        """The open extent that was remembered for an index key: what the look-up would say now, at a tenth of its cost.

        A record is true as long as its extent lives (only blocks may have come since), and deaths, purges and failed disks are told on
        the board: when anything was told since the last poll, that is heard first. Valid in this turn of the loop only.
        """
        pulse = self._pulse
        if pulse[PULSE_HEAD] != self._head_seen or pulse[PULSE_EPOCH] != self._epoch_seen:
            self.poll()
            if pulse[PULSE_HEAD] != self._head_seen:
                return None  # more has died than can be said to be still in use
        held = self.descriptors.recall(place)
        if held is None or pulse[PULSE_STATES + held.disk] == _FAILED:
            return None
        return held

    def remember(self, place: bytes, record: ExtentRecord) -> Descriptor | None:
        """Open the extent of a record that was looked up in this turn, for `recall`; None when it cannot be opened."""
        held = self.descriptors.acquire(record.disk, record.extent_id, record.length)
        if held is not None:
            self.descriptors.remember(place, held, record)
            self.descriptors.release(held)
            if held.place is None:  # more files are busy than may be open: it was closed at once
                return None
        return held

    def _ask(self, disk: _DiskReader, hashed: bytes, extent_number: int) -> ExtentRecord | None:
        state = self._states[disk.number]
        if state != _READY and (state == _FAILED or not disk.clean):
            return None
        try:
            value = disk.index.get_extent(index_key(hashed, extent_number))
        except lmdb.ReadersFullError:
            self._failures[LookupFailure.READERS_FULL] += 1
            return None
        except lmdb.Error:
            self._failures[LookupFailure.INDEX_ERROR] += 1
            return None
        if value is None:
            return None
        record = unpack_record(value, disk.number, extent_number, self._extent_bytes)
        if record is None:
            self._failures[LookupFailure.UNKNOWN_FORMAT] += 1
        return record

    def touch(self, record: ExtentRecord, epoch: int) -> None:
        """Mark the extent as used in the coarse epoch (any counter of seconds or more; its low 16 bits are kept)."""
        disk = self._disks.get(record.disk)
        if disk is not None:  # it may have left since the record was looked up
            disk.marks.touch(record.slot, record.extent_id, epoch)

    def touch_extent(self, disk: int, slot: int, extent_id: int, epoch: int) -> None:
        """The same for an announced extent that has no record yet, maybe on a disk that the keeper could open and this worker not."""
        if disk in self._disks:
            self._disks[disk].marks.touch(slot, extent_id, epoch)

    def judge(self, key: str, record: ExtentRecord, held: Descriptor | None = None) -> PurgeMode | None:
        """Whether a purge forbids serving this record. `held` remembers that it was judged clean."""
        newest = self._rules.newest
        if record.stored_epoch >= newest or (held is not None and held.clean_epoch >= newest):
            return None
        verdict = self._rules.judge(key, record.stored_epoch)
        if verdict is None and held is not None:
            held.clean_epoch = newest
        return verdict

    @property
    def purge_epoch(self) -> int:
        """The purge that this reader judges by, as it has published."""
        return self._line.epoch

    def judge_epoch(self, key: str, stored_epoch: int) -> PurgeMode | None:
        """The same for what has no record yet."""
        return self._rules.judge(key, stored_epoch)

    def poll(self) -> None:
        """Every 250 ms, and when the keeper says that somebody purged: close what died, load new purge rules, publish what was seen."""
        self.descriptors.poll()
        if self._board.purge_epoch != self._line.epoch:
            self._load_rules()
            self.descriptors.forget_records()
        self._head_seen = self._line.position
        self._epoch_seen = self._line.epoch

    def _load_rules(self) -> None:
        """Nothing is published while the rules of a disk that is served from cannot be read: the purge stays unacknowledged."""
        epoch = self._board.purge_epoch
        rules: list[PurgeRule] = []
        reached: dict[int, int] = {}
        unreadable = False
        for disk in self._disks.values():
            if self._states[disk.number] == _FAILED:
                continue
            try:
                rules += [unpack_rule(int.from_bytes(n, "big"), value) for n, value in disk.index.items(Table.PURGE)]
                reached[disk.number] = disk.index.number(META_EPOCH)
            except lmdb.Error:
                self._failures[LookupFailure.INDEX_ERROR] += 1
                unreadable = True
        newest = max((epoch, *reached.values()))
        for number, known in reached.items():
            # One that was away while somebody purged is the keeper's to bring level first.
            self._disks[number].clean &= known >= newest
        self._rules = PurgeRules(rules)
        if not unreadable:
            self._line.epoch = epoch

    def statistics(self) -> ReaderStatistics:
        cache = self.descriptors
        return ReaderStatistics(len(cache), cache.dying, cache.opened, dict(cache.not_opened), dict(self._failures))

    def close(self) -> None:
        """Give up the slot and close all that is idle."""
        self.descriptors.close()
        self._line.clear()
        for disk in self._disks.values():
            if not disk.borrowed:
                disk.index.close()


def _open_disk(number: int, disk: DiskSettings, board: Board, shared: Mapping[int, IndexReader] | None) -> _DiskReader:
    """Raises NotADisk, FormatTooNew, lmdb.Error, OSError."""
    description = read_description(disk.path)
    check_identity(disk, description)
    borrowed = shared.get(number) if shared else None
    index = borrowed or IndexReader.open(os.path.join(disk.path, "index"), description.map_bytes)
    return _DiskReader(number, disk.life, description, index, Marks(board.marks(number)), borrowed is not None)
