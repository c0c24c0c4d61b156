"""What can be sent now: blocks that the index shows, and blocks that the keeper announced ahead of it.

An answer fixes its version at the first look-up; from then on an extent of another version is as good as absent. A look-up
happens when the sender gets there, not before, so that a long answer survives eviction and refilling behind its back.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from contracts.digests import BLOCK_BYTES
from oca.link.messages import Ready
from oca.store import blocks
from oca.store.descriptors import Descriptor
from oca.store.extents import ExtentRecord
from oca.store.purge import PurgeMode

MAX_ANNOUNCED = 4096


class OpenFiles(Protocol):
    """What of `oca.store.descriptors` is used here."""

    def acquire(self, disk: int, extent_id: int, length: int) -> Descriptor | None: ...

    def release(self, held: Descriptor) -> None: ...


class Store(Protocol):
    """What of `oca.store.reader` is used here."""

    @property
    def descriptors(self) -> OpenFiles: ...

    @property
    def purge_epoch(self) -> int: ...

    def lookup(self, hashed: bytes, extent_number: int) -> ExtentRecord | None: ...

    def recall(self, place: bytes) -> Descriptor | None: ...

    def remember(self, place: bytes, record: ExtentRecord) -> Descriptor | None: ...

    def touch(self, record: ExtentRecord, epoch: int) -> None: ...

    def touch_extent(self, disk: int, slot: int, extent_id: int, epoch: int) -> None: ...

    def judge(self, key: str, record: ExtentRecord, held: Descriptor | None = None) -> PurgeMode | None: ...

    def judge_epoch(self, key: str, stored_epoch: int) -> PurgeMode | None: ...


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable state of one object: what an answer is made from."""

    key: str
    hashed: bytes
    version: bytes
    size: int
    asked: tuple[tuple[bytes, bytes], ...] = ()
    """Request fields with which what is missing of a pulled version is asked for."""


class Held:
    """Bytes `start` … `start + length` of an open extent file, contiguous and whole. `release` it."""

    __slots__ = ("descriptor", "disk", "fd", "length", "start")

    def __init__(self, descriptor: Descriptor, start: int, length: int) -> None:
        self.descriptor = descriptor
        self.disk = descriptor.disk
        self.fd = descriptor.fd
        self.start = start
        self.length = length


@dataclass(frozen=True, slots=True)
class Missing:
    """Blocks first … last (inclusive, object numbering) of one extent that are not here."""

    first: int
    last: int


class _Announced:
    __slots__ = ("bits", "disk", "epoch", "extent_id", "length", "size", "slot", "version")

    def __init__(self, ready: Ready, length: int) -> None:
        self.disk = ready.disk
        self.extent_id = ready.extent_id
        self.version = ready.version
        self.size = ready.size_bytes
        self.slot = ready.mark_slot
        self.length = length
        self.epoch = ready.stored_epoch
        self.bits = 0


class Announcements:
    """Bounded: the oldest go first; what is forgotten is asked for again."""

    def __init__(self, extent_bytes: int, limit: int = MAX_ANNOUNCED) -> None:
        self._extent_bytes = extent_bytes
        self._blocks = extent_bytes // BLOCK_BYTES
        self._limit = limit
        self._known: OrderedDict[tuple[str, int], _Announced] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def add(self, key: str, ready: Ready) -> None:
        name = (key, ready.extent_number)
        found = self._known.get(name)
        if found is None or (found.disk, found.extent_id, found.version, found.epoch) != (
            ready.disk,
            ready.extent_id,
            ready.version,
            ready.stored_epoch,
        ):
            start = ready.extent_number * self._extent_bytes
            found = self._known[name] = _Announced(ready, min(self._extent_bytes, ready.size_bytes - start))
        self._known.move_to_end(name)
        first = ready.first_block - ready.extent_number * self._blocks
        found.bits |= ((1 << (ready.last_block - ready.first_block + 1)) - 1) << first
        if len(self._known) > self._limit:
            self._known.popitem(last=False)

    def get(self, key: str, extent_number: int, version: bytes) -> _Announced | None:
        found = self._known.get((key, extent_number))
        return found if found is not None and found.version == version else None

    def last_said(self, key: str, extent_number: int) -> tuple[bytes, int] | None:
        """Version and size of the object as an extent of it was announced last."""
        found = self._known.get((key, extent_number))
        return (found.version, found.size) if found is not None else None

    def forget(self, key: str, extent_number: int) -> None:
        self._known.pop((key, extent_number), None)


class Holdings:
    """The look-up of a worker. `epoch` of the access marks is set by the worker's clock."""

    def __init__(self, store: Store, extent_bytes: int) -> None:
        self._store = store
        self._files = store.descriptors
        self.extent_bytes = self._extent_bytes = extent_bytes
        self.announcements = Announcements(extent_bytes)
        self.epoch = 0

    @property
    def purge_epoch(self) -> int:
        """Another one than when a piece was found: it is to be found again."""
        return self._store.purge_epoch

    def find(self, key: str, hashed: bytes, near: int) -> ExtentRecord | None:
        """A record of the object from which an answer can be planned: of the extent at byte `near`, else its first."""
        number = near // self._extent_bytes
        record = self._store.lookup(hashed, number)
        if record is None and number:
            record = self._store.lookup(hashed, 0)
        if record is None or self._store.judge(key, record) is not None:
            return None
        return record

    def holds(self, wanted: Version, first: int, last: int) -> bool:
        """True when every block of bytes first … last is here now."""
        at = first
        while at <= last:
            piece = self.piece(wanted, at, last)
            if isinstance(piece, Missing):
                return False
            at += piece.length
            self.release(piece)
        return True

    def piece(
        self, wanted: Version, at: int, last: int, known: ExtentRecord | None = None, waited: bool = False
    ) -> Held | Missing:
        """The longest run of bytes from `at`, at most to `last` and within one extent, or the run of blocks that is missing.

        `known` is a record that was looked up in this very turn of the loop; it saves a look-up where it is the right one. What was
        `waited` for was stored for this request and is not used again by it: eviction would take everything new for popular.
        """
        number, inside = divmod(at, self._extent_bytes)
        base = number * self._extent_bytes
        end = min(last - base, self._extent_bytes - 1)
        first_block, last_block = inside // BLOCK_BYTES, end // BLOCK_BYTES
        record = known
        if record is None or record.extent_number != number:
            record = self._store.lookup(wanted.hashed, number)
        bits = 0
        if record is not None and record.version == wanted.version and record.file_size == wanted.size:
            held = self._from_index(wanted, record, inside, end, waited)
            if held is not None:
                return held
            bits = record.bits if self._store.judge(wanted.key, record) is None else 0
        if self.announcements:
            announced = self.announcements.get(wanted.key, number, wanted.version)
            if announced is not None and announced.size == wanted.size:
                held = self._from_announcement(wanted.key, number, announced, inside, end, waited)
                if held is not None:
                    return held
                bits |= announced.bits if self._store.judge_epoch(wanted.key, announced.epoch) is None else 0
                if record is not None and announced.bits & ~record.bits == 0:
                    self.announcements.forget(wanted.key, number)
        # The first is missing whatever the maps say: its file could not be opened.
        absent = blocks.full(last_block - first_block + 1) & ~(bits >> first_block) | 1
        length = _ones(absent)
        whole = number * (self._extent_bytes // BLOCK_BYTES) + first_block
        return Missing(whole, whole + length - 1)

    def open_extent(self, key: str, hashed: bytes, number: int, place: bytes) -> Descriptor | None:
        """An extent's open file with its `record`, judged clean of purges. Valid in this turn of the loop, unless `Held` is made of it."""
        held = self._store.recall(place)
        if held is not None:
            return held
        return self.reopen_extent(key, hashed, number, place)

    def reopen_extent(self, key: str, hashed: bytes, number: int, place: bytes) -> Descriptor | None:
        """The same, with what the index says now: blocks may have come since the record was remembered."""
        record = self._store.lookup(hashed, number)
        if record is None or self._store.judge(key, record) is not None:
            return None
        return self._store.remember(place, record)

    def run(self, held: Descriptor, inside: int, length: int) -> Held:
        """The longest run of bytes from `inside`, at most `length`, of what `open_extent` gave in this turn; `release` it."""
        assert held.record is not None, "an open extent has a record"
        held.users += 1
        end = min(inside + length, held.record.length) - 1
        return _held(held, inside, end, _ones(held.record.bits >> (inside // BLOCK_BYTES)))

    def touch(self, record: ExtentRecord) -> None:
        self._store.touch(record, self.epoch)

    def release(self, held: Held) -> None:
        self._files.release(held.descriptor)

    def _from_index(self, wanted: Version, record: ExtentRecord, inside: int, end: int, waited: bool) -> Held | None:
        run = _ones(record.bits >> (inside // BLOCK_BYTES))
        if not run:
            return None
        descriptor = self._files.acquire(record.disk, record.extent_id, record.length)
        if descriptor is None:
            return None
        if self._store.judge(wanted.key, record, descriptor) is not None:
            self._files.release(descriptor)
            return None
        if not waited:
            self._store.touch(record, self.epoch)
        return _held(descriptor, inside, end, run)

    def _from_announcement(
        self, key: str, number: int, announced: _Announced, inside: int, end: int, waited: bool
    ) -> Held | None:
        run = _ones(announced.bits >> (inside // BLOCK_BYTES))
        if not run:
            return None
        if self._store.judge_epoch(key, announced.epoch) is not None:
            self.announcements.forget(key, number)
            return None
        descriptor = self._files.acquire(announced.disk, announced.extent_id, announced.length)
        if descriptor is None:
            self.announcements.forget(key, number)
            return None
        descriptor.proven |= announced.bits  # the keeper has verified and written them a moment ago
        if not waited:
            self._store.touch_extent(announced.disk, announced.slot, announced.extent_id, self.epoch)
        return _held(descriptor, inside, end, run)


def _held(descriptor: Descriptor, inside: int, end: int, run: int) -> Held:
    stop = min(end + 1, (inside // BLOCK_BYTES + run) * BLOCK_BYTES)
    return Held(descriptor, inside, stop - inside)


def _ones(bits: int) -> int:
    """How many of the lowest bits are set, without a gap."""
    return (~bits & (bits + 1)).bit_length() - 1
