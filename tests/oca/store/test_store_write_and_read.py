"""One disk, a keeper's writer and a worker's reader: what is written is found, what is refused leaves nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import lmdb
import pytest

from contracts.digests import BLOCK_BYTES
from oca.store.board import DiskState
from oca.store.disk_writer import Gone
from oca.store.disks import DESCRIPTION, DiskSettings, prepare_disk
from oca.store.errors import DiskBusy, DiskFailed, ExtentGone, FormatTooNew, NoSpaceReason, NotADisk, WrongBlock
from oca.store.extents import key_hash
from oca.store.index import IndexReader
from oca.store.marks import NO_SLOT
from oca.store.pinning import pin_index
from oca.store.trailer import file_length
from oca.store.writer import StoreWriter
from tests.oca.store.harness import (
    EIO,
    ENOSPC,
    EROFS,
    HEADER,
    MIB,
    FailingSyscalls,
    StoreLab,
    make_file,
    no_space_reason,
    promised_bytes_are_right,
    read_extent,
)

FILM = make_file("vod|/media/film/hd/v-720.mp4", 2 * MIB + 300_000)


def test_a_stored_file_is_found_block_by_block_with_its_header(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader()
    lab.store(writer, FILM)
    record = reader.lookup(key_hash(FILM.key), 2)
    assert record is not None
    assert (record.version, record.file_size, record.extent_number) == (FILM.version, len(FILM.data), 2)
    assert (record.length, record.block_count, record.header) == (300_000, 2, HEADER)
    assert record.complete
    assert not record.pinned
    assert promised_bytes_are_right(lab, reader, FILM) == 4 + 4 + 2
    assert reader.lookup(key_hash(FILM.key), 3) is None
    assert reader.lookup(key_hash("vod|/media/other"), 0) is None


def test_an_announced_block_can_be_read_before_the_index_promises_it(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader()
    said = lab.write(writer, FILM, 0, [2])[0]
    assert reader.lookup(key_hash(FILM.key), 0) is None
    held = reader.descriptors.acquire(said.disk, said.extent_id, said.length)
    assert held is not None
    assert os.pread(held.fd, BLOCK_BYTES, said.block * BLOCK_BYTES) == FILM.block(0, 2, MIB)[0]
    assert (said.version, said.header, said.file_size) == (FILM.version, HEADER, len(FILM.data))
    merged = writer.find(key_hash(FILM.key), 0)
    assert merged is not None
    assert merged.missing(0, 3) == [(0, 1), (3, 3)]
    assert lab.commit(writer) == 1
    record = reader.lookup(key_hash(FILM.key), 0)
    assert record is not None
    assert record.missing(0, 3) == [(0, 1), (3, 3)]
    assert not record.has_blocks(1, 2)
    assert record.has_blocks(2, 2)


def test_missing_blocks_go_into_the_same_extent_and_present_ones_are_written_once(tmp_path: Path) -> None:
    calls = FailingSyscalls()
    lab = StoreLab(tmp_path, syscalls=calls)
    writer = lab.open_writer()
    first = lab.write(writer, FILM, 0, [0])[0]
    lab.commit(writer)
    second = lab.write(writer, FILM, 0, [0, 1])
    assert {first.extent_id} == {said.extent_id for said in second}
    assert calls.calls["write"] == 1 + 2 * 2, "the head once, then each block and its check"
    assert calls.calls["create"] == 1


def test_an_extent_has_its_final_length_from_its_creation(lab: StoreLab) -> None:
    writer = lab.open_writer()
    lab.write(writer, FILM, 2, [0])
    lab.write(writer, FILM, 0, [0])
    assert sorted(lab.extent_files().values()) == [file_length(300_000), file_length(MIB)]
    for path in (lab.disk_path() / "extents").glob("*/*"):
        assert path.stat().st_blocks * 512 >= path.stat().st_size, "not allocated"


def test_wrong_bytes_are_never_written(lab: StoreLab) -> None:
    writer = lab.open_writer()
    disk = lab.place(writer, FILM, 0)
    extent = disk.open_extent(FILM.spec(0))
    data, digest = FILM.block(0, 1, MIB)
    with pytest.raises(WrongBlock):
        disk.write_block(extent, 1, data[:-1] + bytes([data[-1] ^ 1]), digest)
    with pytest.raises(WrongBlock):
        disk.write_block(extent, 1, data[:-1], digest)
    with pytest.raises(IndexError):
        disk.write_block(extent, 4, data, digest)
    assert disk.read_block(extent, 1) == bytes(BLOCK_BYTES)
    disk.close_extent(extent)
    assert lab.extent_files() == {}, "an extent without a block leaves with its writer"
    assert disk.gone == {Gone.EMPTY: 1}


def test_a_new_version_replaces_the_old_one_everywhere(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader()
    lab.store(writer, FILM)
    newer = make_file(FILM.key, len(FILM.data), seed=1)
    lab.write(writer, newer, 1, [0])
    assert reader.lookup(key_hash(FILM.key), 0) is None
    assert reader.lookup(key_hash(FILM.key), 1) is None, "the old version is gone before the new one is durable"
    lab.commit(writer)
    assert promised_bytes_are_right(lab, reader, newer) == 1
    assert writer.disks[0].gone[Gone.REPLACED] == 3


def test_a_clean_stop_keeps_everything_and_needs_no_verification(lab: StoreLab) -> None:
    writer = lab.open_writer()
    lab.store(writer, FILM, plan="tonight")
    used = writer.disks[0].space.used_bytes
    writer.close()
    lab.board = lab.new_board()
    early = lab.open_reader(1)
    assert promised_bytes_are_right(lab, early, FILM) == 10, (
        "a cleanly closed disk is served before its keeper is there"
    )
    early.close()
    writer = lab.open_writer()
    recovery = writer.recovered[0]
    assert (recovery.clean, recovery.extents, recovery.verified_blocks, recovery.orphans) == (True, 3, 0, 0)
    assert (writer.disks[0].space.used_bytes, writer.disks[0].space.pinned_bytes) == (used, used)
    held = writer.held(FILM.key)
    assert held is not None
    assert (held.plan, held.complete, held.present_bytes) == ("tonight", True, len(FILM.data))


def test_ids_are_never_used_twice_across_restarts(lab: StoreLab) -> None:
    seen: set[int] = set()
    for round_ in range(4):
        writer = lab.open_writer()
        for number in range(3):
            said = lab.write(writer, make_file(f"vod|/media/{round_}", 3 * MIB), number, [0])[0]
            assert said.extent_id not in seen
            seen.add(said.extent_id)
        writer.drop(f"vod|/media/{round_}")
        if round_ % 2:
            writer.close()
        else:
            lab.crash(writer)


def test_a_second_keeper_is_refused_and_the_first_goes_on(lab: StoreLab) -> None:
    writer = lab.open_writer()
    script_board = lab.new_board()
    with pytest.raises(DiskBusy, match="locked by another keeper"):
        StoreWriter.open(lab.settings, script_board, lab.clock)
    lab.store(writer, FILM)


def test_a_disk_of_a_newer_format_is_refused_and_not_touched(lab: StoreLab) -> None:
    lab.open_writer().close()
    path = lab.disk_path() / DESCRIPTION
    text = json.dumps({**json.loads(path.read_text()), "format": 2, "unknown": True})
    path.write_text(text)
    before = (lab.disk_path() / "index" / "data.mdb").read_bytes()
    with pytest.raises(FormatTooNew, match="format 2, this version knows 1"):
        lab.open_writer()
    with pytest.raises(FormatTooNew):
        lab.open_reader()
    assert path.read_text() == text
    assert (lab.disk_path() / "index" / "data.mdb").read_bytes() == before


def test_a_disk_with_other_extents_or_no_description_is_refused_in_words(lab: StoreLab) -> None:
    lab.open_writer().close()
    lab.extent_bytes = 2 * MIB
    with pytest.raises(NotADisk, match="extent_bytes 1048576, the settings say 2097152"):
        lab.open_writer()
    with pytest.raises(NotADisk, match="not a prepared disk"):
        StoreLab(lab.root / "elsewhere").open_reader()
    with pytest.raises(NotADisk, match="multiple"):
        prepare_disk(DiskSettings(str(lab.root / "odd"), MIB), StoreLab(lab.root, extent_bytes=300_000).settings)


def test_a_quota_that_the_filesystem_can_never_hold_is_refused_before_anything_is_made(lab: StoreLab) -> None:
    folder = lab.root / "not" / "mounted"
    with pytest.raises(NotADisk, match="is more than its whole filesystem has"):
        prepare_disk(DiskSettings(str(folder), 1 << 60), lab.settings)
    assert not folder.parent.exists()


def test_the_index_file_has_its_map_size_from_creation_and_can_be_locked(lab: StoreLab) -> None:
    lab.open_writer().close()
    data = lab.disk_path() / "index" / "data.mdb"
    assert data.stat().st_size == lab.index_map_bytes
    assert data.stat().st_blocks * 512 >= lab.index_map_bytes
    pinned = pin_index(str(lab.disk_path()))
    assert (pinned.locked, pinned.reason) == (True, "")
    assert pinned.locked_bytes >= lab.index_map_bytes
    pinned.unpin()
    assert not pinned.locked
    absent = pin_index(str(lab.root / "nowhere"))
    assert not absent.locked
    assert "cannot open" in absent.reason


def test_a_full_filesystem_shows_at_creation_and_leaves_nothing(tmp_path: Path) -> None:
    calls = FailingSyscalls()
    lab = StoreLab(tmp_path, syscalls=calls)
    writer = lab.open_writer()
    calls.fail["allocate"] = ENOSPC
    disk = lab.place(writer, FILM, 0)
    assert no_space_reason(lambda: disk.open_extent(FILM.spec(0))) is NoSpaceReason.DISK_FULL
    assert lab.extent_files() == {}
    assert disk.space.used_bytes == 0
    assert disk.failure is None
    calls.fail.clear()
    lab.store(writer, FILM)


def test_a_read_only_filesystem_is_said_and_what_is_there_is_served(tmp_path: Path) -> None:
    calls = FailingSyscalls()
    lab = StoreLab(tmp_path, syscalls=calls)
    writer, reader = lab.open_writer(), lab.open_reader()
    lab.store(writer, FILM)
    calls.fail["create"] = EROFS
    other = make_file("vod|/media/other", 1000)
    disk = lab.place(writer, other, 0)
    assert no_space_reason(lambda: disk.open_extent(other.spec(0))) is NoSpaceReason.READ_ONLY
    assert disk.read_only
    assert promised_bytes_are_right(lab, reader, FILM) == 10


@pytest.mark.parametrize("call", ["sync", "sync_folder", "write"])
def test_a_disk_that_errs_is_taken_out_and_its_share_becomes_misses(tmp_path: Path, call: str) -> None:
    calls = FailingSyscalls()
    lab = StoreLab(tmp_path, syscalls=calls)
    writer, reader = lab.open_writer(), lab.open_reader()
    lab.store(writer, FILM)
    calls.fail[call] = EIO
    with pytest.raises(DiskFailed, match="Input/output error"):
        lab.store(writer, make_file("vod|/media/other", 1000))
    assert lab.board.disk_state(0) is DiskState.FAILED
    assert reader.lookup(key_hash(FILM.key), 0) is None
    assert writer.place(key_hash(FILM.key), 0) is None
    assert writer.statistics()[0].failure
    calls.fail.clear()
    with pytest.raises(DiskFailed):
        writer.disks[0].commit_batch()
    writer.close()
    again = lab.open_writer()
    assert not again.recovered[0].clean, "a failed disk gets no clean mark"
    assert promised_bytes_are_right(lab, lab.open_reader(), FILM) == 10


def test_no_space_during_a_sync_takes_the_disk_out_too(tmp_path: Path) -> None:
    calls = FailingSyscalls()
    lab = StoreLab(tmp_path, syscalls=calls)
    writer = lab.open_writer()
    lab.write(writer, FILM, 0, [0])
    calls.fail["sync"] = ENOSPC
    with pytest.raises(DiskFailed, match="sync failed"):
        lab.commit(writer)


def test_one_failed_disk_of_three_takes_only_its_share(tmp_path: Path) -> None:
    lab = StoreLab(tmp_path, disks=3, quota_bytes=32 * MIB)
    writer, reader = lab.open_writer(), lab.open_reader()
    files = [make_file(f"vod|/media/{i}", 2 * MIB) for i in range(8)]
    for file in files:
        lab.store(writer, file)
    placed = {disk.number: len(disk.holdings.extents) for disk in writer.disks.values()}
    assert all(placed.values()), placed
    writer.disks[1].take_out("pulled out by hand")
    served = sum(promised_bytes_are_right(lab, reader, file) for file in files)
    assert served == 4 * (placed[0] + placed[2])
    for file in files:
        lab.store(writer, file)
    assert sum(promised_bytes_are_right(lab, reader, file) for file in files) == 64


def test_a_disk_that_is_not_there_at_start_is_left_out(tmp_path: Path) -> None:
    lab = StoreLab(tmp_path, disks=2)
    lab.open_writer().close()
    lab.disk_path(1).rename(tmp_path / "gone")
    (tmp_path / "disk1").write_text("a file where a folder should be")
    writer, reader = lab.open_writer(), lab.open_reader()
    assert list(writer.unavailable) == [1]
    assert list(reader.unavailable) == [1]
    lab.store(writer, FILM)
    assert promised_bytes_are_right(lab, reader, FILM) == 10


def test_a_draining_disk_serves_and_takes_no_new_extents(tmp_path: Path) -> None:
    lab = StoreLab(tmp_path, disks=2)
    writer = lab.open_writer()
    files = [make_file(f"vod|/media/{i}", 1000) for i in range(20)]
    for file in files:
        lab.store(writer, file)
    there = len(writer.disks[0].holdings.extents)
    assert there
    writer.close()
    lab.draining = frozenset({0})
    writer = lab.open_writer()
    reader = lab.open_reader()
    for i in range(20, 40):
        lab.store(writer, make_file(f"vod|/media/{i}", 1000))
    assert len(writer.disks[0].holdings.extents) == there
    assert sum(promised_bytes_are_right(lab, reader, file) for file in files) == 20


def test_a_writer_of_an_extent_that_left_is_told_so(lab: StoreLab) -> None:
    writer = lab.open_writer()
    disk = lab.place(writer, FILM, 0)
    extent = disk.open_extent(FILM.spec(0))
    disk.write_block(extent, 0, *FILM.block(0, 0, MIB))
    writer.drop(FILM.key)
    with pytest.raises(ExtentGone):
        disk.write_block(extent, 1, *FILM.block(0, 1, MIB))
    disk.close_extent(extent)
    assert lab.extent_files() == {}
    assert lab.commit(writer) == 0


def test_a_reader_meets_an_unlinked_extent_as_a_miss(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader()
    lab.store(writer, FILM)
    record = reader.lookup(key_hash(FILM.key), 0)
    assert record is not None
    writer.drop(FILM.key)
    assert reader.descriptors.acquire(record.disk, record.extent_id, record.length) is None
    assert read_extent(reader, FILM.key, 0, 0, 0) is None


def test_a_file_shorter_than_promised_is_never_opened(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader()
    lab.store(writer, FILM)
    record = reader.lookup(key_hash(FILM.key), 0)
    assert record is not None
    path = next(
        path for path in (lab.disk_path() / "extents").glob("*/*") if path.name.endswith(f"{record.extent_id:x}")
    )
    os.truncate(path, 5)
    assert read_extent(reader, FILM.key, 0, 0, 0) is None


def test_more_extents_than_marks_are_still_served(tmp_path: Path) -> None:
    lab = StoreLab(tmp_path, marks_per_disk=2)
    writer, reader = lab.open_writer(), lab.open_reader()
    lab.store(writer, FILM)
    slots = [record.slot for n in range(3) if (record := reader.lookup(key_hash(FILM.key), n)) is not None]
    assert slots == [0, 1, NO_SLOT]
    assert promised_bytes_are_right(lab, reader, FILM) == 10


def test_an_index_reader_frees_nothing_and_the_keeper_frees_what_killed_readers_left(lab: StoreLab) -> None:
    writer = lab.open_writer()
    assert writer.reader_check() == 0
    statistics = writer.statistics()[0].index
    assert statistics is not None
    assert statistics.map_bytes == lab.index_map_bytes
    assert 0 < statistics.used_bytes < statistics.map_bytes
    assert statistics.oldest_reader_transaction is None


def test_an_lmdb_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    lmdb.open(str(tmp_path), max_dbs=2).close()
    with pytest.raises(NotADisk, match="holds no Lowtide index"):
        IndexReader.open(str(tmp_path), 1 << 20)
