"""The store as its keeper sees it: every disk's writer, placement over them, and what concerns all at once.

The composition root of the writing side. Calls that write belong into the disk's thread (`disk` below names a `DiskWriter`); a call here
that touches several disks does so one after the other and passes over those that were taken out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from oca.store.disk_writer import DiskWriter, Gone
from oca.store.extents import ExtentRecord, key_hash
from oca.store.holdings import HeldFile, HeldObject, present_bytes
from oca.store.index import (
    Changes,
    IndexStatistics,
    Table,
)
from oca.store.lineup import Lineup
from oca.store.placement import DiskClass
from oca.store.pulled import PulledObject, PulledVariant, pack_pulled, unpack_pulled
from oca.store.purge import PurgeKind, PurgeMode, PurgeOrder, PurgeRule
from oca.store.scrub import Scrub, Scrubbed, ScrubProgress
from oca.store.strays import Strays
from policies.admission import Admission


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
    scrubbed_blocks: int
    scrub: ScrubProgress
    index: IndexStatistics | None
    """None once the disk was taken out."""
    passing_bytes: int = 0
    """Of the live ones, what goes first: not admitted, or short-lived."""
    admissions: dict[Admission, int] = field(default_factory=dict)
    read_only: bool = False

    @property
    def used_bytes(self) -> int:
        return self.live_bytes + self.dead_bytes


class StoreWriter(Lineup):
    # -- placement and looking -------------------------------------------------------------------------------------

    def place(self, hashed: bytes, extent_number: int, wanted: DiskClass | None = None) -> DiskWriter | None:
        """The disk that has the extent, else the one it would go to (of the wanted class where one takes it); None when no disk takes writes."""
        usable = [disk for disk in self.disks.values() if disk.failure is None and not disk.read_only]
        for disk in usable:
            if disk.holdings.find(hashed, extent_number) is not None:
                return disk
        number = self.arrangement.best(hashed, extent_number, [disk.number for disk in usable], wanted)
        return None if number is None else self.disks.get(number)

    def surveying(self) -> Iterable[list[tuple[int, int]]]:
        """`Arrangement.survey` over the disks that take part now."""
        return self.arrangement.survey(self._live())

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

    def judge_pulled(self, key: str, variant: PulledVariant) -> PurgeMode | None:
        """Whether a purge forbids serving this variant of a service key."""
        after = self.purges.late(PulledObject(key, (variant,)))
        if not after.variants:
            return PurgeMode.HARD
        return PurgeMode.SOFT if after.variants[0].stale else None

    def put_pulled(self, rows: Mapping[bytes, PulledObject]) -> None:
        """Record objects by the hash of their key, durably; one without variants is forgotten. Raises NoSpace, DiskFailed.

        A row lies where its first extent would, and nowhere else. What was asked for before a purge that names it is as the purge leaves it.
        """
        live = self._live()
        changes = {disk.number: Changes() for disk in live}
        usable = [disk.number for disk in live if not disk.read_only]
        for hashed, wanted in rows.items():
            self.purges.bury(live, self.pulled(hashed))
            found = self.purges.late(wanted)
            best = self.arrangement.best(hashed, 0, usable) if found.variants else None
            for disk in live:
                if disk.number == best:
                    changes[disk.number].put(Table.PULLED, hashed, pack_pulled(found))
                elif disk.index.get_pulled(hashed) is not None:
                    changes[disk.number].delete(Table.PULLED, hashed)
        for disk in live:
            if changes[disk.number].items:
                disk.commit_changes(changes[disk.number])

    def move_pulled(self, number: int) -> int:
        """The rows of pulled objects on a disk that drains go where they belong now; how many. Raises NoSpace, DiskFailed."""
        moved = 0
        disk = self.disks.get(number)
        for page in disk.index.scan(Table.PULLED) if disk is not None and disk.failure is None else ():
            rows = {hashed: found for hashed, value in page if (found := unpack_pulled(value)) is not None}
            self.put_pulled(rows)
            moved += len(rows)
        return moved

    def scan_pulled(self) -> Iterator[list[PulledObject]]:
        """All rows of all disks, in pages."""
        for disk in self._live():
            for page in disk.index.scan(Table.PULLED):
                yield [found for _, value in page if (found := unpack_pulled(value)) is not None]

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

    def scrubs_due(self, round_s: float) -> dict[int, Scrub]:
        """The scrubs at idle that are under way, or whose last round ended so long ago."""
        now = self._now()
        due: dict[int, Scrub] = {}
        for disk in self._live():
            scrub = self._scrubs[disk.number]
            found = scrub.progress
            if found.extents and (scrub.under_way or now - found.ended_at >= round_s):
                due[disk.number] = scrub
        return due

    def new_scrubs(self) -> dict[int, Scrub]:
        """A scrub of its own for every disk, from the first extent on, beside the one at idle."""
        return {disk.number: Scrub(disk, kept=False) for disk in self._live()}

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
            disk.bad_blocks,
            disk.scrubbed_blocks,
            self._scrubs[disk.number].progress,
            disk.index.statistics() if disk.failure is None else None,
            disk.policy.passing_bytes,
            dict(disk.policy.decided),
            disk.read_only,
        )


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
