"""The store as the keeper's event loop sees it: writes in a thread per disk, durability behind them, space when it is needed.

Laws: the event loop never waits for a disk (looking up does not, `DiskWriter.find`); a block is announced when it is written,
durable when its batch is committed (≤ 64 blocks or 1 s); room that workers still hold is waited for, at most `HELD_PATIENCE_S`.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from chassis.clock import Clock
from chassis.logs import get_logger
from contracts.digests import FileDigests
from oca.http.keys import service_key, storage_key
from oca.keeper.errors import FetchFailed
from oca.keeper.pruning import strays, useless
from oca.link.messages import FetchFailure
from oca.store import blocks
from oca.store.disk_writer import Announcement, DiskWriter
from oca.store.errors import DiskFailed, ExtentGone, NoSpace, NoSpaceReason, Purged, StoreError
from oca.store.extents import ExtentSpec, extent_length, key_hash
from oca.store.holdings import HeldFile
from oca.store.placement import class_of_new
from oca.store.pulled import PulledObject, PulledVariant
from oca.store.purge import PurgeMode, PurgeOrder, PurgeRule
from oca.store.scrub import examine_extent
from oca.store.writer import StoreWriter

T = TypeVar("T")
PINNED_BY_PLAN = "plan"
"""The name under which the plan pins. One for all plans, so that a kept file costs no write each night."""
HELD_PATIENCE_S = 2.5
PRESS_EVERY_S = 0.7
TICK_S = 0.25
MARKS_EVERY_S = 5.0
READERS_EVERY_S = 10.0
EXAMINED_AT_MOST = 1024
"""Extents of one disk that wait to be looked at."""
NOTHING_TO_EVICT = (NoSpaceReason.QUOTA, NoSpaceReason.DISK_FULL)
"""A commit may help: extents with blocks that are not durable yet are no victims."""
SURVEY_PAUSE_S = 0.01
SPACE_EVERY_S = 2.0
WRITE_GAIN = 1 / 32
"""A batch that is made durable in between, one block in 64, must not look like a slow disk."""


class Storable(Protocol):
    """One version of one object, as far as storing it goes."""

    @property
    def key(self) -> str: ...

    @property
    def hashed(self) -> bytes: ...

    @property
    def version(self) -> bytes: ...

    @property
    def size_bytes(self) -> int: ...

    @property
    def header(self) -> bytes:
        """The header block that is stored with it."""

    @property
    def is_digested(self) -> bool:
        """True where `digest` is what was published; False where it is made from the bytes that came."""

    @property
    def lifetime_s(self) -> float | None:
        """How long it is of use from now on; None for as long as it is held."""

    @property
    def asked_for(self) -> str:
        """What clients ask for, the same for every version; "" where the key says just that."""

    def digest(self, block: int, data: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Facts:
    """A file as the signed digest list describes it, with the header block that is stored and served with it."""

    digests: FileDigests
    header: bytes
    hashed: bytes
    epoch: int = 0
    """The purge epoch in which the list was asked for: nothing that is verified by it may be newer."""
    stale: bool = False
    """A soft purge came after it, and the control plane cannot be asked: what is held is served, nothing is stored by it."""

    @property
    def lifetime_s(self) -> float | None:
        return None

    @property
    def asked_for(self) -> str:
        return ""

    @property
    def is_digested(self) -> bool:
        return True

    @property
    def key(self) -> str:
        return self.digests.key

    @property
    def version(self) -> bytes:
        return self.digests.version

    @property
    def size_bytes(self) -> int:
        return self.digests.size_bytes

    def digest(self, block: int, data: bytes) -> bytes:
        """What the block has to hash to."""
        return self.digests.block(block)


def facts_of(digests: FileDigests, epoch: int = 0, *, stale: bool = False) -> Facts:
    lines = (
        f"Content-Type: {digests.content_type}",
        f"ETag: {digests.etag}",
        "Cache-Control: public, max-age=31536000, immutable",
    )
    header = "".join(f"{line}\r\n" for line in lines).encode("latin-1", "replace")
    return Facts(digests, header, key_hash(digests.key), epoch, stale)


@dataclass(frozen=True, slots=True)
class Held:
    """Blocks first … last (inclusive, counted in the file) that lie verified in one extent file."""

    disk: int
    extent_id: int
    extent_number: int
    first: int
    last: int
    slot: int
    epoch: int
    """The purge epoch that workers judge them by."""


class Storing:
    def __init__(self, store: StoreWriter, extent_bytes: int, clock: Clock) -> None:
        self.store = store
        self.blocks_per_extent = blocks.count_blocks(extent_bytes)
        self._extent_bytes = extent_bytes
        self._clock = clock
        self._threads = {disk.number: ThreadPoolExecutor(1, f"disk-{disk.number}") for disk in store.disks.values()}
        self._housekeeping = ThreadPoolExecutor(1, "housekeeping")
        self._sweeping = ThreadPoolExecutor(1, "sweeping")
        self._committing: set[int] = set()
        self._commits: set[asyncio.Task[None]] = set()
        self._examining: dict[int, set[int]] = {}
        self._said_failed: set[int] = set()
        self.disk_failed: Callable[[DiskWriter], None] = lambda _disk: None
        """Told once of each disk that was taken out."""
        self._pressed_s: dict[int, float] = {}
        self.write_s = 0.0
        """What writing a block takes, waiting for its disk's thread included; smoothed."""
        self._log = get_logger("oca.keeper.storing")

    # -- looking ---------------------------------------------------------------------------------------------------

    def held(self, facts: Storable, first: int, last: int) -> list[Held]:
        """What is here of blocks first … last and not purged, in rising order; what was softly purged only by stale facts."""
        stale = isinstance(facts, Facts) and facts.stale
        found: list[Held] = []
        per = self.blocks_per_extent
        for number in range(first // per, last // per + 1):
            record = self.store.find(facts.hashed, number)
            if record is None or record.version != facts.version:
                continue
            epoch = record.stored_epoch
            purged = self.store.purges.rules.judge(facts.key, epoch)
            if purged is PurgeMode.HARD or (purged is PurgeMode.SOFT and not stale):
                continue
            epoch = epoch if purged is None else self.purge_epoch
            base = number * per
            wanted = blocks.mask(max(first - base, 0), min(last - base, per - 1))
            found += [
                Held(record.disk, record.extent_id, number, base + a, base + b, record.slot, epoch)
                for a, b in blocks.runs(record.bits & wanted)
            ]
        return found

    def missing(self, facts: Storable, first: int, last: int) -> list[tuple[int, int]]:
        """The absent blocks of first … last as inclusive runs."""
        bits = blocks.mask(0, last - first)
        for held in self.held(facts, first, last):
            bits &= ~blocks.mask(held.first - first, held.last - first)
        return [(first + a, first + b) for a, b in blocks.runs(bits)]

    def files(self) -> list[HeldFile]:
        """Media files; versions of pulled objects are no business of the control plane's."""
        return [file for file in self.store.holdings() if service_key(file.key) == file.key]

    def pulled(self, hashed: bytes) -> PulledObject | None:
        """The row of a pulled object by the hash of its service key."""
        return self.store.pulled(hashed)

    # -- writing ---------------------------------------------------------------------------------------------------

    @property
    def purge_epoch(self) -> int:
        """The epoch a fetch that begins now carries, so that a purge beats it."""
        return self.store.purges.epoch

    async def order(self, orders: Sequence[PurgeOrder]) -> tuple[PurgeRule, ...]:
        """Purge: in every index, then on the board. Raises DiskFailed when no disk is left."""
        return await self._keep_house(functools.partial(self.store.order, orders))

    async def sweep(self, rule: PurgeRule) -> int:
        """Remove what the rule still forbids; how many extents. Raises NoSpace: the rule stays."""
        return await asyncio.get_running_loop().run_in_executor(
            self._sweeping, functools.partial(self.store.sweep, rule)
        )

    def stale_files(self, rule: PurgeRule) -> list[str]:
        """Keys of media files that a soft rule names and nobody has found to be current since."""
        names = {
            extent.object.key
            for disk in self.store.disks.values()
            for extent in list(disk.holdings.extents.values())
            if rule.matches(extent.object.key, extent.stored_epoch)
        }
        return sorted(names)

    async def renew(self, facts: Facts) -> int:
        """What is held of this version was found to be current; how many extents turned from stale to fresh."""
        if facts.stale or self.store.purges.rules.judge(facts.key, 0) is None:
            return 0
        return await self._keep_house(functools.partial(self.store.renew, facts.key, facts.version, facts.epoch))

    async def write(
        self, facts: Storable, block: int, data: bytes, plan: str | None, *, must_pin: bool, epoch: int
    ) -> Held:
        """Verify and write one block, announced and not yet durable. `epoch` is `purge_epoch` when the fetch began.

        With `must_pin` False a plan that has no room for pins is no reason not to store. Raises WrongBlock, Purged (published
        files: ask for their digests again) and FetchFailed(NO_SPACE, VERSION_CHANGED: a pulled object was purged).
        """
        number, inside = blocks.locate(block, self.blocks_per_extent)
        until_s = self._clock.monotonic_s() + HELD_PATIENCE_S
        failed: set[int] = set()
        while True:
            size = facts.size_bytes
            disk = self.store.place(facts.hashed, number, class_of_new(plan is not None, size))
            if disk is None or disk.number in failed:
                raise FetchFailed(FetchFailure.NO_SPACE, "no disk takes writes")
            spec = ExtentSpec(facts.key, facts.version, size, number, facts.header, plan, epoch, facts.is_digested)
            spec = replace(spec, lifetime_s=facts.lifetime_s, asked_for=facts.asked_for)
            began_s = self._clock.monotonic_s()
            try:
                made = await self._in_disk(disk, functools.partial(_write, disk, spec, inside, data, facts, block))
            except NoSpace as error:
                if error.reason is NoSpaceReason.PINNED_QUOTA and plan is not None and not must_pin:
                    plan = None
                elif error.reason in NOTHING_TO_EVICT and disk.batch.blocks and self._clock.monotonic_s() < until_s:
                    await self._commit(disk)
                elif error.reason is NoSpaceReason.DEAD_HELD and self._clock.monotonic_s() < until_s:
                    await self._wait_for_held(disk, until_s)
                elif error.reason is NoSpaceReason.READ_ONLY:
                    failed.add(disk.number)  # from now on another one is chosen
                else:
                    raise FetchFailed(FetchFailure.NO_SPACE, str(error)) from error
            except ExtentGone:
                continue
            except Purged as error:
                if facts.is_digested:
                    raise
                raise FetchFailed(FetchFailure.VERSION_CHANGED, str(error)) from error
            except DiskFailed as error:
                self._disk_failed(disk, error)
                failed.add(disk.number)
            else:
                self.write_s += WRITE_GAIN * (self._clock.monotonic_s() - began_s - self.write_s)
                self._commit_when_due(disk)
                return Held(made.disk, made.extent_id, number, block, block, made.slot, made.stored_epoch)

    async def _wait_for_held(self, disk: DiskWriter, until_s: float) -> None:
        """Unlinked extents are still being sent. When they are not let go soon, idle ones make way for what those hold on to.

        Space of idle extents comes back within two polls, so that asking every `PRESS_EVERY_S` evicts only for what is really held.
        """
        await self._clock.sleep(TICK_S)
        await self._in_disk(disk, disk.reap)
        now_s = self._clock.monotonic_s()
        waited_s = HELD_PATIENCE_S - (until_s - now_s)
        if min(waited_s, now_s - self._pressed_s.get(disk.number, 0.0)) < PRESS_EVERY_S:
            return
        self._pressed_s[disk.number] = now_s
        await self._commit(disk)
        try:
            await self._in_disk(disk, functools.partial(disk.make_room, self._extent_bytes + disk.space.dead_bytes))
        except (NoSpace, DiskFailed) as error:
            self._log.debug("nothing-makes-way", disk=disk.path, detail=str(error))

    async def expect_room(self, facts: Storable, first: int, last: int, *, must_pin: bool) -> None:
        """Before anything is fetched: raises FetchFailed(NO_SPACE) when blocks first … last can surely not be kept.

        What must be pinned needs room for all its new extents together, because pins do not make way for each other; the rest
        needs it for the next one.
        """
        needed: dict[int, int] = {}
        for number in range(first // self.blocks_per_extent, last // self.blocks_per_extent + 1):
            disk = self.store.place(facts.hashed, number, class_of_new(must_pin, facts.size_bytes))
            if disk is None:
                raise FetchFailed(FetchFailure.NO_SPACE, "no disk takes writes")
            record = self.store.find(facts.hashed, number)
            if (record is None or record.version != facts.version) and (must_pin or not needed):
                length = extent_length(facts.size_bytes, number, self._extent_bytes)
                needed[disk.number] = needed.get(disk.number, 0) + length
        for number, length in needed.items():
            disk = self.store.disks[number]
            try:
                room = await self._in_disk(disk, functools.partial(disk.make_room, length, must_pin))
            except NoSpace as error:
                raise FetchFailed(FetchFailure.NO_SPACE, str(error)) from error
            except DiskFailed as error:
                self._disk_failed(disk, error)
                continue
            never = room.reason in (NoSpaceReason.PINNED_QUOTA, NoSpaceReason.NOT_ADMITTED, NoSpaceReason.READ_ONLY)
            if not room.ready and (never or (room.reason in NOTHING_TO_EVICT and not disk.batch.blocks)):
                assert room.reason is not None, "a room that is not ready has a reason"
                raise FetchFailed(FetchFailure.NO_SPACE, str(NoSpace(room.reason, length)))

    def purge_mode(self, key: str, variant: PulledVariant) -> PurgeMode | None:
        """Whether a purge, swept or not, forbids serving this variant of a service key."""
        return self.store.judge_pulled(key, variant)

    async def useless_pulled(self, now_s: float) -> tuple[list[tuple[str, bytes]], list[str]]:
        """(service key, version) of rows' variants that are of no more use, and keys of bytes that no row names."""
        return await self._keep_house(functools.partial(_useless_pulled, self.store, now_s))

    async def put_pulled(self, rows: Mapping[bytes, PulledObject]) -> None:
        """Durable, and seen by workers, when it returns. Raises NoSpace, DiskFailed."""
        await self._keep_house(functools.partial(self.store.put_pulled, rows))

    async def drop(self, key: str) -> None:
        """Remove what is here of a key. Raises DiskFailed."""
        await self._keep_house(functools.partial(self.store.drop, key))

    async def pin(self, key: str) -> None:
        """Raises NoSpace(PINNED_QUOTA), DiskFailed."""
        await self._keep_house(functools.partial(self.store.pin, key, PINNED_BY_PLAN))

    async def unpin(self, key: str) -> None:
        await self._keep_house(functools.partial(self.store.unpin, key))

    # -- keeping house ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Commits what is due, frees what workers let go, reads the access marks, checks readers, looks at space. Ends by cancellation."""
        every = {
            self.collect_marks: MARKS_EVERY_S,
            self.check_readers: READERS_EVERY_S,
            self.look_at_space: SPACE_EVERY_S,
        }
        due = {**every, self.collect_marks: 0.0, self.look_at_space: 0.0}
        while True:
            for disk in self.store.disks.values():
                self._commit_when_due(disk)
            await self._tolerant(self.store.reap)
            now_s = self._clock.monotonic_s()
            for task, at_s in due.items():
                if at_s <= now_s:
                    await task()
                    due[task] = now_s + every[task]
            await self._clock.sleep(TICK_S)

    async def collect_marks(self) -> None:
        await self._tolerant(functools.partial(self.store.collect_marks, int(self._clock.wall_s())))

    async def look_at_space(self) -> None:
        """A filesystem that has less than the quota promises is the limit."""
        await self._tolerant(self.store.look_at_space)

    async def check_readers(self) -> None:
        """Frees index reader slots of dead workers; also called when a worker leaves."""
        await self._tolerant(self.store.reader_check)

    @property
    def is_idle(self) -> bool:
        """Nothing is being written."""
        return not self._committing and all(disk.batch.since is None for disk in self.store.disks.values())

    async def examine(self, number: int, extent_id: int) -> None:
        """A worker could not read this extent, or found it bad: read it here, take out the disk or what is bad of the extent.

        One after the other on a disk; what comes meanwhile has its turn.
        """
        waiting = self._examining.get(number)
        if waiting is not None:
            if len(waiting) < EXAMINED_AT_MOST:
                waiting.add(extent_id)
            return
        waiting = self._examining[number] = {extent_id}
        try:
            while waiting:
                disk = self.store.disks.get(number)
                if disk is None or disk.failure is not None:
                    return
                await self._examine(disk, waiting.pop())
        finally:
            del self._examining[number]

    async def _examine(self, disk: DiskWriter, extent_id: int) -> None:
        try:
            found = await self._in_disk(disk, functools.partial(examine_extent, disk, extent_id))
        except DiskFailed as error:
            self._disk_failed(disk, error)
        except NoSpace as error:
            self._log.warning("bad-extent-stays", disk=disk.path, extent=f"{extent_id:x}", detail=str(error))
        else:
            self._log.info("examined", disk=disk.path, extent=f"{extent_id:x}", bad_blocks=found)

    async def close(self) -> None:
        """Waits for what is being written, then closes the disks cleanly."""
        await asyncio.gather(*self._commits, return_exceptions=True)
        for thread in self._threads.values():
            await asyncio.to_thread(thread.shutdown)
        await asyncio.to_thread(self._sweeping.shutdown)
        await self._keep_house(self.store.close)
        self._housekeeping.shutdown()

    def _commit_when_due(self, disk: DiskWriter) -> None:
        if disk.number in self._committing or disk.failure is not None or not disk.batch_due(self._clock.wall_s()):
            return
        self._committing.add(disk.number)
        task = asyncio.create_task(self._commit(disk))
        self._commits.add(task)
        task.add_done_callback(self._commits.discard)

    async def _commit(self, disk: DiskWriter) -> None:
        try:
            await self._in_disk(disk, disk.commit_batch)
        except DiskFailed as error:
            self._disk_failed(disk, error)
        except NoSpace as error:
            self._log.warning("commit-waits", disk=disk.path, detail=str(error))
        finally:
            self._committing.discard(disk.number)

    # -- disks that come and go ------------------------------------------------------------------------------------

    def joined(self, number: int) -> None:
        """A disk takes part from now on, or again."""
        if number not in self._threads:
            self._threads[number] = ThreadPoolExecutor(1, f"disk-{number}")
        self._said_failed.discard(number)

    def look_for_failures(self) -> None:
        """Disks that failed in housekeeping are said and told like those that failed in a write."""
        for disk in self.store.disks.values():
            if disk.failure is not None:
                self._disk_failed(disk, DiskFailed(disk.path, disk.failure))

    async def alone(self, disk: DiskWriter, call: Callable[[], T]) -> T:
        """In the disk's thread, while neither housekeeping nor sweeping does anything: for a disk that was detached."""

        def in_its_thread() -> T:
            return self._threads[disk.number].submit(call).result()

        return await self._keep_house(lambda: self._sweeping.submit(in_its_thread).result())

    async def survey(self) -> list[tuple[int, int]]:
        """Where extents lie (`Arrangement.survey`), in steps with pauses; the copies that another disk holds better."""
        worse: list[tuple[int, int]] = []
        steps = iter(self.store.surveying())
        loop = asyncio.get_running_loop()
        while (step := await loop.run_in_executor(None, next, steps, None)) is not None:
            worse += step
            await self._clock.sleep(SURVEY_PAUSE_S)
        return worse

    async def in_disk(self, disk: DiskWriter, call: Callable[[], T]) -> T:
        """In the disk's thread."""
        return await self._in_disk(disk, call)

    async def keep_house(self, call: Callable[[], T]) -> T:
        """In the thread of what concerns all disks."""
        return await self._keep_house(call)

    def _disk_failed(self, disk: DiskWriter, error: DiskFailed) -> None:
        if disk.number not in self._said_failed:
            self._said_failed.add(disk.number)
            self._log.error("disk-taken-out", disk=disk.path, detail=str(error))
            self.disk_failed(disk)

    async def _tolerant(self, call: Callable[[], object]) -> None:
        try:
            await self._keep_house(call)
        except StoreError as error:
            self._log.warning("housekeeping-failed", detail=str(error))

    async def _in_disk(self, disk: DiskWriter, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads[disk.number], call)

    async def _keep_house(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._housekeeping, call)


def _write(disk: DiskWriter, spec: ExtentSpec, inside: int, data: bytes, facts: Storable, block: int) -> Announcement:
    """In the disk's thread. The extent cannot be evicted between opening and the commit of what was written."""
    extent = disk.open_extent(spec)
    try:
        return disk.write_block(extent, inside, data, facts.digest(block, data), verified=not facts.is_digested)
    finally:
        disk.close_extent(extent)


def _useless_pulled(store: StoreWriter, now_s: float) -> tuple[list[tuple[str, bytes]], list[str]]:
    gone: list[tuple[str, bytes]] = []
    for page in store.scan_pulled():
        for row in page:
            for variant in row.variants:
                held = store.held(storage_key(row.key, variant.version)) is not None
                if useless(variant, held, now_s) is not None:
                    gone.append((row.key, variant.version))
    return gone, list(strays(store.holdings(), lambda key: store.pulled(key_hash(key)), now_s))
