"""After an unclean stop: what is promised is right, what is doubtful is verified, what is unknown is collected."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from contracts.digests import BLOCK_BYTES
from oca.store.board import DiskState
from oca.store.disk_writer import Gone
from oca.store.errors import DiskFailed
from oca.store.extents import ExtentSpec, extent_name, index_key, key_hash
from oca.store.index import Changes, Table
from oca.store.recent import KEPT_BATCHES
from oca.store.scrub import examine_extent
from oca.store.syscalls import RealSyscalls
from oca.store.trailer import allocated_bytes
from oca.store.writer import StoreWriter
from tests.oca.store.harness import (
    EIO,
    ENOSPC,
    FULL,
    HEADER,
    MIB,
    FailingSyscalls,
    ForgetfulSyscalls,
    StoreLab,
    VolatileFolders,
    make_file,
    promised_bytes_are_right,
    read_extent,
    spoil,
)

FILM = make_file("vod|/media/film/hd/v-720.mp4", 3 * MIB)


def _path_of(lab: StoreLab, writer: StoreWriter, extent_number: int) -> Path:
    record = writer.find(key_hash(FILM.key), extent_number)
    assert record is not None
    return lab.disk_path() / extent_name(record.extent_id)


def test_committed_blocks_survive_a_power_cut_and_uncommitted_ones_were_never_promised(tmp_path: Path) -> None:
    calls = ForgetfulSyscalls()
    lab = StoreLab(tmp_path, syscalls=calls)
    writer = lab.open_writer()
    lab.write(writer, FILM, 0, [0, 1])
    lab.commit(writer)
    lab.write(writer, FILM, 0, [2])
    lab.write(writer, FILM, 1, [0])
    lab.crash(writer)
    assert calls.power_cut() == 5, "a head, two blocks and their checks"
    lab.board = lab.new_board()
    writer, reader = lab.open_writer(), lab.open_reader()
    recovery = writer.recovered[0]
    assert (recovery.clean, recovery.verified_blocks, recovery.bad_blocks, recovery.orphans) == (False, 2, 0, 1)
    assert promised_bytes_are_right(lab, reader, FILM) == 2
    assert len(lab.extent_files()) == 1
    lab.store(writer, FILM)
    assert promised_bytes_are_right(lab, reader, FILM) == 12


def test_names_that_a_power_cut_takes_back_cost_nothing_that_was_promised(tmp_path: Path) -> None:
    """A new file may vanish and an unlinked one be back, as long as its folder was not synced."""
    calls = VolatileFolders()
    lab = StoreLab(tmp_path, syscalls=calls)
    writer = lab.open_writer()
    lab.store(writer, FILM)
    lab.write(writer, make_file("vod|/media/new", MIB), 0, [0])
    dropped = make_file("vod|/media/dropped", MIB)
    lab.store(writer, dropped)
    lab.write(writer, make_file("vod|/media/newer", MIB), 0, [0])
    assert len(lab.extent_files()) == 6
    writer.drop(dropped.key)
    assert len(lab.extent_files()) == 5
    lab.crash(writer)
    calls.power_cut()
    assert len(lab.extent_files()) == 5, "the newest vanished, the dropped one is back"
    lab.board = lab.new_board()
    writer, reader = lab.open_writer(), lab.open_reader()
    recovery = writer.recovered[0]
    assert (recovery.bad_blocks, recovery.missing, recovery.orphans) == (0, 0, 1)
    assert promised_bytes_are_right(lab, reader, FILM) == 12
    assert promised_bytes_are_right(lab, reader, make_file("vod|/media/new", MIB)) == 1, (
        "its folder was synced before the index named it"
    )
    assert promised_bytes_are_right(lab, reader, dropped) == 0
    assert len(lab.extent_files()) == 4


def test_a_power_cut_during_the_sync_finds_nothing_promised(tmp_path: Path) -> None:
    calls = ForgetfulSyscalls()
    lab = StoreLab(tmp_path, syscalls=calls)
    writer = lab.open_writer()
    lab.write(writer, FILM, 0, [0, 1])
    calls.fail["sync"] = EIO
    with pytest.raises(DiskFailed):
        lab.commit(writer)
    lab.crash(writer)
    assert calls.power_cut() == 5
    calls.fail.clear()
    lab.board = lab.new_board()
    writer, reader = lab.open_writer(), lab.open_reader()
    recovery = writer.recovered[0]
    assert (recovery.extents, recovery.verified_blocks, recovery.orphans) == (0, 0, 1), "blocks first, then the index"
    assert promised_bytes_are_right(lab, reader, FILM) == 0


def test_a_disk_that_lied_about_its_last_batches_is_found_out_before_it_is_served(tmp_path: Path) -> None:
    calls = ForgetfulSyscalls(lying=True)
    lab = StoreLab(tmp_path, syscalls=calls)
    writer = lab.open_writer()
    lab.write(writer, FILM, 0, [0, 1, 2, 3])
    lab.commit(writer)
    calls.lying = False
    lab.write(writer, FILM, 1, [1, 3])
    lab.commit(writer)
    lab.crash(writer)
    assert calls.power_cut() == 9
    lab.board = lab.new_board()
    early = lab.open_reader(1)
    assert promised_bytes_are_right(lab, early, FILM) == 0, "nothing is served before the keeper has looked"
    early.close()
    writer, reader = lab.open_writer(), lab.open_reader()
    recovery = writer.recovered[0]
    assert (recovery.verified_blocks, recovery.bad_blocks) == (6, 4)
    assert lab.board.disk_state(0) is DiskState.READY
    assert promised_bytes_are_right(lab, reader, FILM) == 2


def test_one_bad_block_moves_the_good_ones_to_a_new_extent(lab: StoreLab) -> None:
    writer = lab.open_writer()
    lab.store(writer, FILM, plan="tonight")
    path = _path_of(lab, writer, 1)
    lab.crash(writer)
    spoil(path, 2 * BLOCK_BYTES + 5)
    lab.board = lab.new_board()
    writer, reader = lab.open_writer(), lab.open_reader()
    assert (writer.recovered[0].verified_blocks, writer.recovered[0].bad_blocks) == (12, 1)
    record = reader.lookup(key_hash(FILM.key), 1)
    assert record is not None
    assert record.missing(0, 3) == [(2, 2)]
    assert record.pinned
    assert not path.exists(), "the old file was unlinked, not repaired"
    assert promised_bytes_are_right(lab, reader, FILM) == 11
    assert writer.disks[0].gone == {Gone.QUARANTINED: 1}
    assert writer.disks[0].space.pinned_bytes == 3 * FULL
    writer.close()
    writer = lab.open_writer()
    assert writer.recovered[0].orphans == 0
    lab.store(writer, FILM, plan="tonight")
    assert promised_bytes_are_right(lab, lab.open_reader(), FILM) == 12


def test_only_the_last_batches_are_verified(tmp_path: Path) -> None:
    lab = StoreLab(tmp_path, quota_bytes=64 * MIB)
    writer = lab.open_writer()
    for n in range(KEPT_BATCHES * 2):
        lab.store(writer, make_file(f"vod|/media/{n}", BLOCK_BYTES))
    lab.crash(writer)
    assert lab.open_writer().recovered[0].verified_blocks == KEPT_BATCHES


def test_a_keeper_that_is_killed_alone_does_not_stop_the_hits(lab: StoreLab) -> None:
    writer = lab.open_writer()
    lab.store(writer, FILM)
    assert lab.board.disk_state(0) is DiskState.READY
    lab.crash(writer)
    assert lab.board.disk_state(0) is DiskState.READY, "the page cache survives a process: hits go on"
    reader = lab.open_reader()
    assert promised_bytes_are_right(lab, reader, FILM) == 12


def test_orphans_are_collected_young_ids_spared_and_strangers_left_alone(lab: StoreLab) -> None:
    writer = lab.open_writer()
    lab.store(writer, FILM)
    folder = lab.disk_path() / "extents" / "00"
    orphan = lab.disk_path() / extent_name(0x0300)
    orphan.write_bytes(b"x" * 5000)
    young = lab.disk_path() / extent_name(0xFFFF_FF00)
    young.write_bytes(b"y")
    stranger = folder / "notes.txt"
    stranger.write_text("an operator was here")
    misplaced = folder / f"{0x0301:016x}"
    misplaced.write_text("right name, wrong folder")
    lab.crash(writer)
    writer = lab.open_writer()
    recovery = writer.recovered[0]
    assert (recovery.orphans, recovery.missing, recovery.strangers) == (1, 0, 2)
    assert not orphan.exists()
    assert young.exists()
    assert stranger.exists()
    assert misplaced.exists()
    assert writer.disks[0].space.dead_bytes == 8192, "a worker might still hold it"
    assert writer.reap() == 8192


def test_what_a_killed_keeper_created_last_is_gone_before_anything_is_written(lab: StoreLab) -> None:
    writer = lab.open_writer()
    lab.store(writer, FILM)
    promised = len(lab.extent_files())
    lab.write(writer, make_file("vod|/media/lost", 2 * MIB), 0, [0])
    lab.write(writer, make_file("vod|/media/lost", 2 * MIB), 1, [0])
    assert len(lab.extent_files()) == promised + 2
    lab.crash(writer)
    writer = lab.open_writer(sweep=False)
    assert len(lab.extent_files()) == promised
    space = writer.disks[0].space
    assert space.used_bytes == (promised + 2) * allocated_bytes(MIB), "until no worker holds the lost ones"
    writer.reap()
    assert space.used_bytes == promised * allocated_bytes(MIB)


def test_orphans_are_collected_a_few_at_a_time_while_the_disk_is_in_service(lab: StoreLab) -> None:
    writer = lab.open_writer()
    lab.store(writer, FILM)
    lab.crash(writer)
    writer = lab.open_writer()
    lab.store(writer, make_file("vod|/media/later", 10_000))  # so that the ids below are not the last ones
    writer.drop("vod|/media/later")
    orphans = [lab.disk_path() / extent_name(0x0300 + n * 0x100) for n in range(10)]
    for path in orphans:
        path.write_bytes(b"x" * 5000)
    lab.crash(writer)
    writer, reader = lab.open_writer(sweep=False), lab.open_reader()
    assert lab.board.disk_state(0) is DiskState.READY
    assert promised_bytes_are_right(lab, reader, FILM) == 12, "served before a folder was looked at"
    left, unlinked_at_once, steps = 10, [], 0
    while writer.collect_strays(3):
        steps += 1
        now = sum(path.exists() for path in orphans)
        unlinked_at_once.append(left - now)
        left = now
        if steps == 2:
            lab.store(writer, make_file("vod|/media/meanwhile", 2 * MIB))
            writer.drop(FILM.key)
    assert max(unlinked_at_once) == 3
    assert left == 0
    assert writer.recovered[0].orphans == 10, "what left meanwhile is none"
    assert promised_bytes_are_right(lab, reader, make_file("vod|/media/meanwhile", 2 * MIB)) == 8
    reader.poll()
    writer.reap()
    assert writer.disks[0].space.dead_bytes == 0
    assert writer.disks[0].space.live_bytes == 2 * FULL


def test_a_name_that_is_taken_costs_an_id_and_not_the_disk(lab: StoreLab) -> None:
    writer = lab.open_writer()
    taken = lab.disk_path() / extent_name(writer.disks[0].next_id)
    taken.write_bytes(b"from another life")
    lab.store(writer, FILM)
    assert promised_bytes_are_right(lab, lab.open_reader(), FILM) == 12
    assert taken.read_bytes() == b"from another life"


def test_a_record_without_its_file_or_with_another_length_is_deleted(lab: StoreLab) -> None:
    writer = lab.open_writer()
    lab.store(writer, FILM)
    _path_of(lab, writer, 0).unlink()
    os.truncate(_path_of(lab, writer, 1), 100)
    writer.close()
    writer, reader = lab.open_writer(), lab.open_reader()
    assert writer.recovered[0].missing == 2
    assert promised_bytes_are_right(lab, reader, FILM) == 4
    assert len(lab.extent_files()) == 1
    assert writer.disks[0].space.live_bytes == FULL
    lab.store(writer, FILM)
    assert promised_bytes_are_right(lab, reader, FILM) == 12


def test_a_missing_file_after_an_unclean_stop_is_no_broken_disk(lab: StoreLab) -> None:
    writer = lab.open_writer()
    lab.store(writer, FILM)
    path = _path_of(lab, writer, 0)
    lab.crash(writer)
    path.unlink()
    writer, reader = lab.open_writer(), lab.open_reader()
    assert writer.disks[0].failure is None
    assert promised_bytes_are_right(lab, reader, FILM) == 8


def test_workers_close_what_a_dead_keeper_may_have_unlinked(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader()
    lab.store(writer, FILM)
    assert read_extent(reader, FILM.key, 0, 0, 0) is not None
    assert len(reader.descriptors) == 1
    lab.crash(writer)
    lab.open_writer()
    reader.descriptors.poll()
    assert len(reader.descriptors) == 0


def test_without_content_digest_promised_blocks_move_before_more_are_written(lab: StoreLab) -> None:
    """A killed keeper may have written other bytes that a worker still sends; validators do not make them equal."""
    writer = lab.open_writer()
    spec = ExtentSpec("web|/page", b"v" * 32, MIB, 0, HEADER, digest_version=False)
    data, digest = FILM.block(0, 0, MIB)
    disk = writer.disks[0]
    extent = disk.open_extent(spec)
    disk.write_block(extent, 0, data, digest)
    lab.commit(writer)
    lab.crash(writer)
    writer = lab.open_writer()
    again = writer.disks[0].open_extent(spec)
    assert again.extent_id != extent.extent_id
    assert (again.bits, writer.disks[0].read_block(again, 0)) == (1, data)
    writer.disks[0].close_extent(again)
    assert writer.disks[0].open_extent(spec) is again, "moved once"
    assert len(lab.extent_files()) == 1


def test_an_unreadable_record_is_dropped_and_the_rest_is_served(lab: StoreLab) -> None:
    writer = lab.open_writer()
    lab.store(writer, FILM)
    changes = Changes()
    changes.put(Table.EXTENTS, index_key(key_hash(FILM.key), 1), b"\x63 of another world")
    writer.disks[0].commit_changes(changes)
    writer.close()
    writer, reader = lab.open_writer(), lab.open_reader()
    assert (writer.recovered[0].unreadable_records, writer.recovered[0].orphans) == (1, 1)
    assert promised_bytes_are_right(lab, reader, FILM) == 8


def test_scrub_finds_a_rotten_block_and_takes_it_out_of_service(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader()
    lab.store(writer, FILM)
    assert writer.scrub_some(5)[0].blocks == 8, "whole extents"
    spoil(_path_of(lab, writer, 2), 100)
    done = writer.scrub_some(100)[0]
    assert (done.extents, done.blocks, done.bad_blocks) == (1, 4, 1)
    assert promised_bytes_are_right(lab, reader, FILM) == 11
    assert writer.statistics()[0].scrub_bad_blocks == 1
    again = writer.scrub_some(100)[0]
    assert (again.blocks, again.bad_blocks) == (11, 0), "a new round, and the moved blocks are good"
    lab.store(writer, FILM)
    assert promised_bytes_are_right(lab, reader, FILM) == 12


def test_scrub_drops_the_extent_when_there_is_no_room_to_move_its_good_blocks(tmp_path: Path) -> None:
    calls = FailingSyscalls()
    lab = StoreLab(tmp_path, syscalls=calls)
    writer, reader = lab.open_writer(), lab.open_reader()
    lab.store(writer, FILM)
    spoil(_path_of(lab, writer, 0), 100)
    calls.fail["allocate"] = ENOSPC
    assert writer.scrub_some(100)[0].bad_blocks == 1
    assert promised_bytes_are_right(lab, reader, FILM) == 8
    assert len(lab.extent_files()) == 2


def test_an_extent_that_somebody_could_not_read_is_judged_at_once(tmp_path: Path) -> None:
    calls = FailingSyscalls()
    lab = StoreLab(tmp_path, syscalls=calls)
    writer, reader = lab.open_writer(), lab.open_reader()
    lab.store(writer, FILM)
    disk = writer.disks[0]
    rotten, cut, sound = sorted(disk.holdings.extents)
    assert examine_extent(disk, sound) == 0, "who could not read it was wrong"
    assert examine_extent(disk, 12345) == 0, "it left meanwhile"
    spoil(lab.disk_path() / extent_name(rotten), 100)
    os.truncate(lab.disk_path() / extent_name(cut), 0)
    assert examine_extent(disk, rotten) == 1
    assert examine_extent(disk, cut) == 4, "nothing is left of it"
    assert promised_bytes_are_right(lab, reader, FILM) == 7
    lab.store(writer, FILM)
    assert promised_bytes_are_right(lab, reader, FILM) == 12, "what is bad is a miss, and comes again"
    calls.fail["read"] = EIO
    with pytest.raises(DiskFailed, match="Input/output error"):
        examine_extent(disk, sound)
    assert lab.board.disk_state(0) is DiskState.FAILED


def test_a_read_error_during_scrub_takes_the_disk_out(tmp_path: Path) -> None:
    calls = FailingSyscalls()
    lab = StoreLab(tmp_path, syscalls=calls)
    writer = lab.open_writer()
    lab.store(writer, FILM)
    calls.fail["read"] = EIO
    with pytest.raises(Exception, match="Input/output error"):
        writer.scrub_some(1)
    assert lab.board.disk_state(0) is DiskState.FAILED


def test_scrub_goes_on_where_the_last_keeper_was(tmp_path: Path) -> None:
    lab = StoreLab(tmp_path, quota_bytes=200 * MIB, index_map_bytes=4 * MIB)
    writer = lab.open_writer()
    for n in range(150):
        lab.store(writer, make_file(f"vod|/media/{n}", BLOCK_BYTES))
    for _ in range(100):
        writer.scrub_some(1)
    assert writer.statistics()[0].scrub.extents_passed == 100
    lab.crash(writer)
    writer = lab.open_writer()
    again = writer.scrub_some(1000)[0]
    assert again.extents == 150 - 64, "the place is noted every 64 extents"
    assert writer.statistics()[0].scrub.ended_at == int(lab.clock.now)


def test_reading_past_the_cache_gives_what_reading_gives(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * 10_000)
    calls = RealSyscalls()
    assert calls.read_past_cache(str(path), 4096, 4096) == b"a" * 4096
    assert calls.read_past_cache(str(path), 5000, 8192) == b"a" * 1808, "to the end of the file"
    assert calls.read_past_cache(str(path), 10_000, 0) == b"a" * 10_000
    with pytest.raises(FileNotFoundError):
        calls.read_past_cache(str(tmp_path / "absent"), 10, 0)
