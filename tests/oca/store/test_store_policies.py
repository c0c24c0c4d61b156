"""What the policies hear of the store: hits in time, no hit for what was just stored, and who gets a lasting place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oca.store.disk_writer import DiskWriter
from oca.store.extents import key_hash
from oca.store.marks import Mark, Marks
from oca.store.reader import StoreReader
from oca.store.writer import StoreWriter
from policies.admission import Admission
from tests.oca.store.harness import MIB, MadeFile, StoreLab, make_file


def _film(number: int) -> MadeFile:
    return make_file(f"vod|/media/{number}/hd/v.mp4", MIB)


def _touch(lab: StoreLab, reader: StoreReader, file: MadeFile, ahead_s: int = 0) -> None:
    record = reader.lookup(key_hash(file.key), 0)
    assert record is not None
    reader.touch(record, int(lab.clock()) + ahead_s)


def _there(writer: StoreWriter, numbers: range) -> list[int]:
    return [n for n in numbers if writer.find(key_hash(_film(n).key), 0) is not None]


def _disk(writer: StoreWriter) -> DiskWriter:
    return writer.disks[0]


def test_hits_are_heard_before_somebody_has_to_go(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader()
    for n in range(8):
        lab.store(writer, _film(n))
    for n in (0, 1):
        _touch(lab, reader, _film(n))
    for n in range(8, 14):
        lab.store(writer, _film(n))
    assert _there(writer, range(14)) == [0, 1, *range(8, 14)], "nobody collected marks in between"


def test_a_worker_whose_clock_is_ahead_is_not_taken_for_long_ago(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader()
    for n in range(8):
        lab.store(writer, _film(n))
    _touch(lab, reader, _film(1), ahead_s=-9)
    _touch(lab, reader, _film(0), ahead_s=1)
    assert writer.collect_marks(int(lab.clock())) == 2
    for n in range(8, 15):
        lab.store(writer, _film(n))
    assert _there(writer, range(8)) == [0]


@pytest.mark.parametrize("policy", ["lru", "sieve", "s3fifo"])
def test_what_is_being_written_keeps_its_place(tmp_path: Path, policy: str) -> None:
    lab = StoreLab(tmp_path, policy=policy)
    writer = lab.open_writer()
    disk = _disk(writer)
    held = disk.open_extent(_film(0).spec(0))
    lab.write(writer, _film(0), 0, [0])
    lab.commit(writer)
    for n in range(1, 9):
        lab.store(writer, _film(n))
    assert _there(writer, range(9)) == [0, *range(2, 9)], "spared while somebody writes it"
    disk.close_extent(held)
    lab.store(writer, _film(9))
    passed = [0, *range(3, 10)] if policy == "sieve" else list(range(2, 10))
    assert _there(writer, range(10)) == passed, "the oldest all the same, unless the hand has passed it"


def test_what_was_asked_for_once_pushes_out_nothing_that_lasts(tmp_path: Path) -> None:
    lab = StoreLab(tmp_path, admission="second-request")
    writer, reader = lab.open_writer(), lab.open_reader()
    for n in range(4):
        lab.store(writer, _film(n))
        _touch(lab, reader, _film(n))
    writer.collect_marks(int(lab.clock()))
    for n in range(4, 20):
        lab.store(writer, _film(n))
    assert _there(writer, range(20)) == [0, 1, 2, 3, *range(16, 20)]
    lab.store(writer, _film(5))
    assert _disk(writer).policy.passing_bytes < 4 * MIB, "asked for again it lasts, though it had left"
    assert _disk(writer).policy.decided[Admission.ADMITTED] == 5


def test_what_is_fresh_for_a_moment_goes_first(lab: StoreLab) -> None:
    writer = lab.open_writer()
    disk = _disk(writer)
    for n in range(8):
        lifetime_s = 5.0 if n in (3, 6) else 3600.0
        extent = disk.open_extent(replace(_film(n).spec(0), lifetime_s=lifetime_s))
        disk.write_block(extent, 0, *_film(n).block(0, 0, MIB))
        disk.close_extent(extent)
        lab.commit(writer)
    for n in (8, 9):
        lab.store(writer, _film(n))
    assert _there(writer, range(10)) == [0, 1, 2, 4, 5, 7, 8, 9]
    assert disk.policy.decided[Admission.SHORT_LIVED] == 2


def test_admission_knows_an_object_again_in_another_version(tmp_path: Path) -> None:
    lab = StoreLab(tmp_path, admission="second-request")
    writer = lab.open_writer()
    disk = _disk(writer)
    for n in range(2):
        film = make_file(f"pages|/{n}#version-{n}", MIB)
        extent = disk.open_extent(replace(film.spec(0), asked_for="pages|/"))
        disk.write_block(extent, 0, *film.block(0, 0, MIB))
        disk.close_extent(extent)
        lab.commit(writer)
    assert disk.policy.decided == {Admission.FIRST_REQUEST: 1, Admission.ADMITTED: 1}


@pytest.mark.parametrize("policy", ["lru", "sieve", "s3fifo"])
@pytest.mark.parametrize("admission", ["all", "second-request", "frequent"])
def test_what_a_plan_holds_is_never_a_victim(tmp_path: Path, policy: str, admission: str) -> None:
    lab = StoreLab(tmp_path, policy=policy, admission=admission)
    writer = lab.open_writer()
    for n in range(3):
        lab.store(writer, _film(n), plan="p")
    for n in range(3, 30):
        lab.store(writer, _film(n))
    assert _there(writer, range(3)) == [0, 1, 2]
    assert _disk(writer).space.used_bytes <= lab.quota_bytes


def test_s3fifo_knows_again_what_it_evicted(tmp_path: Path) -> None:
    lab = StoreLab(tmp_path, policy="s3fifo")
    writer = lab.open_writer()
    for n in range(9):
        lab.store(writer, _film(n))
    assert _there(writer, range(9)) == list(range(1, 9))
    lab.store(writer, _film(0))
    for n in range(9, 17):
        lab.store(writer, _film(n))
    assert 0 in _there(writer, range(17)), "asked for again, under another extent id, it went straight to main"


def test_what_was_moved_keeps_its_place_in_the_policy(lab: StoreLab) -> None:
    writer = lab.open_writer()
    disk = _disk(writer)
    for n in range(7):
        lab.store(writer, _film(n))
    old = disk.holdings.find(key_hash(_film(0).key), 0)
    assert old is not None
    assert disk.replace(old, old.bits & ~1) is not None
    assert len(disk.policy) == 7
    for n in range(7, 9):
        lab.store(writer, _film(n))
    assert _there(writer, range(9)) == list(range(1, 9))


@given(st.dictionaries(st.integers(0, 70_000), st.integers(1, 255), max_size=30))
def test_every_mark_is_collected_once_wherever_it_lies(counts: dict[int, int]) -> None:
    words = memoryview(bytearray(8 * 70_001)).cast("Q")
    marks = Marks(words)
    for slot, hits in counts.items():
        words[slot] = slot << 24 | 7 << 8 | hits
    assert marks.collect() == [Mark(slot, slot, counts[slot], 7) for slot in sorted(counts)]
    assert marks.collect() == []
    assert all(words[slot] == slot << 24 | 7 << 8 for slot in counts)
