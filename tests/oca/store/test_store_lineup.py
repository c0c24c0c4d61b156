"""Disks that join, drain, leave and come back while others serve; extents that move between them."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from uuid import UUID

import pytest

from oca.store.arranging import Arrangement
from oca.store.disk_writer import DiskWriter, Gone
from oca.store.disks import DiskSettings, StoreSettings, prepare_disk
from oca.store.errors import DiskFailed, ExtentGone
from oca.store.extents import extent_name, key_hash
from oca.store.lineup import Joining
from oca.store.moving import MoveEnd, move_extent
from oca.store.placement import DiskClass, Place, best_writable, by_class, class_of_new, rank_of
from oca.store.purge import PurgeKind
from oca.store.reader import StoreReader
from oca.store.scrub import examine_extent
from oca.store.writer import StoreWriter
from tests.oca.store.harness import (
    EIO,
    MIB,
    FailingSyscalls,
    MadeFile,
    StoreLab,
    make_file,
    promised_bytes_are_right,
    spoil,
)

FILES = [make_file(f"vod|/media/{i}", 2 * MIB) for i in range(8)]
BLOCKS = 8
"""Of each file."""


def small_lab(folder: Path, disks: int = 2, **changes: object) -> StoreLab:
    return StoreLab(folder, disks=disks, spare_disks=2, quota_bytes=64 * MIB, **changes)  # type: ignore[arg-type]


def with_disk(lab: StoreLab, writer: StoreWriter, number: int, **changes: object) -> StoreSettings:
    """The settings with one more disk, or another state of one that is known."""
    known = writer.settings.disks
    one = known[number] if number < len(known) else DiskSettings(str(lab.disk_path(number)), lab.quota_bytes)
    one = dataclasses.replace(one, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(writer.settings, disks=(*known[:number], one, *known[number + 1 :]))


def join(lab: StoreLab, writer: StoreWriter, reader: StoreReader, number: int, **changes: object) -> Joining:
    """As keeper and workers do it, in their order."""
    settings = with_disk(lab, writer, number, **changes)
    if not Path(settings.disks[number].path).exists():
        prepare_disk(settings.disks[number], settings, lambda: UUID(int=number + 1))
    joining = writer.open_disk(number, settings.disks[number])
    writer.attach(joining)
    reader.follow(settings, lab.board.roster + 1, {n: disk.index for n, disk in writer.disks.items()})
    writer.use(number)
    return joining


def stocked(lab: StoreLab) -> tuple[StoreWriter, StoreReader]:
    writer, reader = lab.open_writer(), lab.open_reader()
    for file in FILES:
        lab.store(writer, file)
    return writer, reader


def all_right(lab: StoreLab, reader: StoreReader, files: list[MadeFile] = FILES) -> bool:
    return sum(promised_bytes_are_right(lab, reader, file) for file in files) == BLOCKS * len(files)


def empty(writer: StoreWriter, number: int) -> list[MoveEnd]:
    """Move everything off a disk, as the keeper's mover does."""
    ends: list[MoveEnd] = []
    disk = writer.disks[number]
    for extent_id, extent in list(disk.holdings.extents.items()):
        target = writer.arrangement.best(
            extent.object.hashed,
            extent.number,
            [n for n in writer.disks if n != number and not writer.disks[n].failure],
        )
        assert target is not None
        ends.append(move_extent(disk, writer.disks[target], extent_id, evict=True).end)
    return ends


def survey(writer: StoreWriter) -> list[tuple[int, int]]:
    return [worse for step in writer.surveying() for worse in step]


def some_extent(disk: DiskWriter) -> int:
    return next(iter(disk.holdings.extents))


def test_a_disk_that_joins_makes_no_hit_a_miss(tmp_path: Path) -> None:
    lab = small_lab(tmp_path)
    writer, reader = stocked(lab)
    survey(writer)
    assert lab.board.reach == 1
    join(lab, writer, reader, 2)
    assert all_right(lab, reader)
    survey(writer)
    assert lab.board.reach == 2, "what the new disk won of the others' share lies in the second rank"
    assert all_right(lab, reader)
    more = [make_file(f"vod|/more/{i}", 2 * MIB) for i in range(8)]
    for file in more:
        lab.store(writer, file)
    assert writer.disks[2].holdings.extents, "new extents go to the new disk too"
    assert all_right(lab, reader, FILES + more)


def test_nothing_new_goes_to_a_disk_before_it_is_used(tmp_path: Path) -> None:
    lab = small_lab(tmp_path, disks=1)
    writer, _ = stocked(lab)
    settings = with_disk(lab, writer, 1, weight=1000.0)
    writer.attach(writer.open_disk(1, settings.disks[1]))
    lab.store(writer, make_file("vod|/more", 4 * MIB))
    assert not writer.disks[1].holdings.extents
    writer.use(1)
    lab.store(writer, make_file("vod|/still-more", 4 * MIB))
    assert len(writer.disks[1].holdings.extents) == 4


def test_a_drained_disk_is_empty_and_everything_is_where_look_up_finds_it(tmp_path: Path) -> None:
    lab = small_lab(tmp_path, disks=3)
    writer, reader = stocked(lab)
    survey(writer)
    writer.drain(1)
    reader.follow(with_disk(lab, writer, 1, draining=True), 1)
    assert all_right(lab, reader)
    assert set(empty(writer, 1)) == {MoveEnd.MOVED}
    assert all_right(lab, reader), "between the moves and the removal"
    assert lab.extent_files(1) == {}
    disk = writer.detach(1, "removed")
    assert disk is not None
    reader.follow(with_disk(lab, writer, 1, removed=True), 2)
    writer.close_detached(disk)
    assert all_right(lab, reader)
    for _ in range(2):  # what was placed shortly before the first one counts with it
        survey(writer)
    assert lab.board.reach == 1
    assert all_right(lab, reader)


def test_pinned_files_stay_pinned_on_the_disk_they_move_to(tmp_path: Path) -> None:
    lab = small_lab(tmp_path)
    writer, reader = lab.open_writer(), lab.open_reader()
    for file in FILES:
        lab.store(writer, file, plan="plan")
    held = sum(disk.space.pinned_bytes for disk in writer.disks.values())
    writer.drain(0)
    empty(writer, 0)
    assert writer.disks[1].space.pinned_bytes == held
    assert writer.disks[0].space.pinned_bytes == 0
    assert all(file.plan == "plan" for file in writer.holdings())
    writer.unpin(FILES[0].key)
    assert writer.disks[1].space.pinned_bytes == held * 7 // 8
    assert all_right(lab, reader)


def test_a_draining_disk_takes_no_new_extent_even_from_who_had_placed_it_before(tmp_path: Path) -> None:
    lab = small_lab(tmp_path)
    writer, _ = stocked(lab)
    disk = writer.disks[0]
    writer.drain(0)
    with pytest.raises(ExtentGone):
        disk.open_extent(make_file("vod|/late", MIB).spec(0))


def test_an_extent_that_is_written_is_not_moved(tmp_path: Path) -> None:
    lab = small_lab(tmp_path)
    writer, reader = lab.open_writer(), lab.open_reader()
    file = FILES[0]
    disk = lab.place(writer, file, 0)
    other = writer.disks[1 - disk.number]
    extent = disk.open_extent(file.spec(0))
    disk.write_block(extent, 0, *file.block(0, 0, MIB))
    assert move_extent(disk, other, extent.extent_id, evict=True).end is MoveEnd.BUSY
    disk.close_extent(extent)
    assert move_extent(disk, other, extent.extent_id, evict=True).end is MoveEnd.BUSY, "not durable yet"
    lab.commit(writer)
    assert move_extent(disk, other, extent.extent_id, evict=True).end is MoveEnd.MOVED
    assert promised_bytes_are_right(lab, reader, file) == 1


def test_a_block_that_is_bad_is_not_copied(tmp_path: Path) -> None:
    lab = small_lab(tmp_path)
    writer, reader = stocked(lab)
    disk, other = writer.disks[0], writer.disks[1]
    extent = disk.holdings.extents[some_extent(disk)]
    spoil(lab.disk_path(0) / extent_name(extent.extent_id), 262_144)
    moved = move_extent(disk, other, extent.extent_id, evict=True)
    assert (moved.end, moved.bad_blocks) == (MoveEnd.MOVED, 1)
    record = reader.lookup(extent.object.hashed, extent.number)
    assert record is not None
    assert record.bits == 0b1101
    assert sum(promised_bytes_are_right(lab, reader, file) for file in FILES) == BLOCKS * len(FILES) - 1


@pytest.mark.parametrize("call", ["create", "allocate", "write", "sync", "unlink"])
def test_a_move_that_fails_loses_nothing(tmp_path: Path, call: str) -> None:
    calls = FailingSyscalls()
    lab = small_lab(tmp_path, syscalls=calls)
    writer, reader = stocked(lab)
    disk, other = writer.disks[0], writer.disks[1]
    calls.fail[call] = EIO
    with pytest.raises(DiskFailed):
        move_extent(disk, other, some_extent(disk), evict=True)
    calls.fail.clear()
    failed = [found for found in (disk, other) if found.failure is not None]
    assert len(failed) == 1
    left = disk if failed == [other] else other
    for file in FILES:
        promised_bytes_are_right(lab, reader, file)
    for extent in left.holdings.extents.values():
        assert reader.lookup(extent.object.hashed, extent.number) is not None


def test_a_copy_that_a_crash_left_on_both_disks_is_merged(tmp_path: Path) -> None:
    """The crash fell between the commit there and the deletion here."""
    calls = FailingSyscalls()
    lab = small_lab(tmp_path, syscalls=calls)
    writer, reader = stocked(lab)
    disk, other = writer.disks[0], writer.disks[1]
    extent = disk.holdings.extents[some_extent(disk)]
    spec = FILES[[file.key for file in FILES].index(extent.object.key)].spec(extent.number)
    coming = other.expect(spec, extent.stored_at, evict=True)
    assert coming is not None
    other.fill(coming, 0, disk.read_block(extent, 0))
    assert other.welcome(coming, spec)
    lab.crash(writer)
    reader.close()
    lab.readers.clear()
    writer, reader = lab.open_writer(), lab.open_reader()
    found = survey(writer)
    assert [number for number, _ in found] in ([0], [1]), "one of the two is the worse copy"
    number, extent_id = found[0]
    assert move_extent(writer.disks[number], writer.disks[1 - number], extent_id, evict=True).end is MoveEnd.MERGED
    assert survey(writer) == []
    assert all_right(lab, reader)


def test_a_disk_that_comes_back_brings_nothing_that_was_purged_while_it_was_away(tmp_path: Path) -> None:
    lab = small_lab(tmp_path)
    writer, reader = stocked(lab)
    writer.disks[1].take_out("pulled out by hand")
    rule = writer.purge(PurgeKind.OBJECT, FILES[0].key)
    reader.poll()
    writer.sweep(rule)
    failed = writer.detach(1, "out")
    assert failed is not None
    writer.close_detached(failed)
    join(lab, writer, reader, 1, life=1)
    assert all(reader.lookup(key_hash(FILES[0].key), number) is None for number in range(2))
    assert lab.board.disk_state(1).name == "READY"


def test_a_disk_that_comes_back_brings_all_that_nobody_touched_meanwhile(tmp_path: Path) -> None:
    lab = small_lab(tmp_path)
    writer, reader = stocked(lab)
    survey(writer)
    writer.disks[1].take_out("pulled out by hand")
    for file in FILES[:4]:
        lab.store(writer, file)
    failed = writer.detach(1, "out")
    assert failed is not None
    writer.close_detached(failed)
    join(lab, writer, reader, 1, life=1)
    assert all_right(lab, reader)
    for number, extent_id in survey(writer):
        assert move_extent(writer.disks[number], writer.disks[1 - number], extent_id, evict=True).end is MoveEnd.MERGED
    assert survey(writer) == []
    assert all_right(lab, reader)
    for disk in writer.disks.values():
        assert disk.space.live_bytes == sum(e.size for e in disk.holdings.extents.values())


def test_a_disk_that_comes_back_brings_no_older_version(tmp_path: Path) -> None:
    lab = small_lab(tmp_path)
    writer, reader = stocked(lab)
    writer.disks[1].take_out("pulled out by hand")
    lab.clock.now += 10
    newer = make_file(FILES[0].key, 2 * MIB, seed=1)
    lab.store(writer, newer)
    failed = writer.detach(1, "out")
    assert failed is not None
    writer.close_detached(failed)
    join(lab, writer, reader, 1, life=1)
    assert promised_bytes_are_right(lab, reader, newer) == BLOCKS


def test_space_that_workers_hold_of_a_disk_that_comes_back_counts(tmp_path: Path) -> None:
    lab = small_lab(tmp_path)
    writer, reader = stocked(lab)
    disk = writer.disks[1]
    extent = disk.holdings.extents[some_extent(disk)]
    held = reader.descriptors.acquire(1, extent.extent_id, extent.length)
    assert held is not None
    disk.remove([extent], Gone.DROPPED)
    reader.poll()
    disk.take_out("pulled out by hand")
    failed = writer.detach(1, "out")
    assert failed is not None
    writer.close_detached(failed)
    join(lab, writer, reader, 1, life=1)
    reader.poll()
    writer.reap()
    assert writer.disks[1].space.dead_bytes == extent.size
    reader.descriptors.release(held)
    writer.reap()
    assert writer.disks[1].space.dead_bytes == 0


def test_a_read_only_disk_serves_and_what_is_new_goes_to_the_next_rank(tmp_path: Path) -> None:
    lab = small_lab(tmp_path)
    writer, reader = stocked(lab)
    survey(writer)
    writer.disks[0].read_only = True
    more = [make_file(f"vod|/more/{i}", 2 * MIB) for i in range(8)]
    there = len(writer.disks[0].holdings.extents)
    for file in more:
        lab.store(writer, file)
    assert len(writer.disks[0].holdings.extents) == there
    assert all_right(lab, reader, FILES + more)


def test_small_files_go_to_a_hot_disk_and_planned_and_large_ones_to_a_cold_one() -> None:
    assert class_of_new(False, 1000) is DiskClass.HOT
    assert class_of_new(True, 1000) is DiskClass.COLD
    assert class_of_new(False, 100 * MIB) is DiskClass.COLD
    places = [Place(0, 1, 1.0), Place(1, 2, 1.0, disk_class=DiskClass.HOT)]
    hashed = key_hash("a")
    assert best_writable(places, hashed, 0, DiskClass.HOT) == 1
    assert best_writable(places, hashed, 0, DiskClass.COLD) == 0
    assert best_writable(places[:1], hashed, 0, DiskClass.HOT) == 0, "where there is none, the other does"
    assert [[place.disk for place in group] for group in by_class(places)] == [[1], [0]]
    assert rank_of(places, hashed, 0, 0) == rank_of(places, hashed, 0, 1) == 0


def test_what_is_placed_while_a_survey_runs_stays_in_reach(tmp_path: Path) -> None:
    lab = small_lab(tmp_path, disks=3)
    writer, _ = stocked(lab)
    arrangement: Arrangement = writer.arrangement
    running = arrangement.survey(writer.disks.values())
    next(iter(running))
    hashed = key_hash("late")
    worst = min(arrangement.places, key=lambda n: -rank_of(tuple(arrangement.places.values()), hashed, 0, n))
    arrangement.note(hashed, 0, worst)
    for _ in running:
        pass
    assert lab.board.reach == 3


def test_files_of_a_disk_that_left_are_closed_when_their_users_let_go(tmp_path: Path) -> None:
    lab = small_lab(tmp_path)
    writer, reader = stocked(lab)
    extent = writer.disks[1].holdings.extents[some_extent(writer.disks[1])]
    held = reader.descriptors.acquire(1, extent.extent_id, extent.length)
    assert held is not None
    disk = writer.detach(1, "removed")
    assert disk is not None
    reader.follow(with_disk(lab, writer, 1, removed=True), 1)
    writer.close_detached(disk)
    os.fstat(held.fd)
    reader.descriptors.release(held)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(held.fd)
    assert reader.descriptors.dying == 0


def test_a_disk_that_was_unmounted_loses_nothing_to_who_looks_for_its_files(tmp_path: Path) -> None:
    lab = small_lab(tmp_path)
    writer, _ = stocked(lab)
    disk = writer.disks[1]
    held = len(disk.holdings.extents)
    lab.disk_path(1).rename(tmp_path / "away")
    with pytest.raises(DiskFailed):
        examine_extent(disk, some_extent(disk))
    assert len(disk.holdings.extents) == held
