"""Quota, eviction, pins, and what happens when the index map is full."""

from __future__ import annotations

from pathlib import Path

import pytest

from oca.store.disk_writer import Gone
from oca.store.errors import NoSpaceReason
from oca.store.extents import key_hash
from oca.store.space import allocated
from oca.store.syscalls import RealSyscalls
from tests.oca.store.harness import (
    ENOSPC,
    FULL,
    MIB,
    FailingSyscalls,
    MadeFile,
    StoreLab,
    make_file,
    no_space_reason,
    promised_bytes_are_right,
    read_extent,
)


def _film(number: int, size: int = MIB) -> MadeFile:
    return make_file(f"vod|/media/{number}/hd/v.mp4", size)


def test_the_quota_is_never_exceeded_and_the_oldest_leave_first(lab: StoreLab) -> None:
    writer = lab.open_writer()
    films = [_film(n) for n in range(12)]
    for film in films:
        lab.store(writer, film)
        assert writer.disks[0].space.used_bytes <= lab.quota_bytes
    reader = lab.open_reader()
    assert [n for n in range(12) if promised_bytes_are_right(lab, reader, films[n])] == list(range(4, 12))
    assert writer.disks[0].gone[Gone.SPACE] == 4
    assert len(lab.extent_files()) == 8


def test_what_was_used_lately_stays_longer(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader()
    films = [_film(n) for n in range(8)]
    for film in films:
        lab.store(writer, film)
    for epoch, n in ((10, 1), (11, 0), (11, 0)):
        record = reader.lookup(key_hash(films[n].key), 0)
        assert record is not None
        reader.touch(record, epoch)
    assert writer.collect_marks(12) == 2
    for n in range(8, 14):
        lab.store(writer, _film(n))
    assert promised_bytes_are_right(lab, reader, films[0]) == 4
    assert promised_bytes_are_right(lab, reader, films[1]) == 4
    assert sum(promised_bytes_are_right(lab, reader, film) for film in films[2:]) == 0


@pytest.mark.parametrize("policy", ["lru", "sieve", "s3fifo"])
def test_every_policy_keeps_the_books_right(tmp_path: Path, policy: str) -> None:
    lab = StoreLab(tmp_path, policy=policy)
    writer, reader = lab.open_writer(), lab.open_reader()
    for n in range(30):
        lab.store(writer, _film(n % 13, MIB + 5000))
        record = reader.lookup(key_hash(_film(n % 13).key), 0)
        assert record is not None
        reader.touch(record, n)
        writer.collect_marks(n)
    disk = writer.disks[0]
    assert (
        disk.policy.used_bytes
        == disk.space.live_bytes
        == sum(-(-s // 4096) * 4096 for s in lab.extent_files().values())
    )
    assert len(disk.policy) == len(disk.holdings.extents)


def test_what_a_plan_pinned_is_never_a_victim_until_the_plan_lets_go(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader()
    pinned = [_film(n) for n in range(6)]
    for film in pinned:
        lab.store(writer, film, plan="plan-1")
    for n in range(10, 20):
        lab.store(writer, _film(n))
    assert sum(promised_bytes_are_right(lab, reader, film) for film in pinned) == 24
    record = reader.lookup(key_hash(pinned[0].key), 0)
    assert record is not None
    assert record.pinned
    assert writer.unpin(pinned[0].key)
    assert not writer.unpin(pinned[0].key)
    for n in range(20, 23):
        lab.store(writer, _film(n))
    assert promised_bytes_are_right(lab, reader, pinned[0]) == 0
    assert sum(promised_bytes_are_right(lab, reader, film) for film in pinned[1:]) == 20


def test_plans_may_pin_only_their_share_and_the_rest_stays_cache(lab: StoreLab) -> None:
    writer = lab.open_writer()
    for n in range(6):
        lab.store(writer, _film(n), plan="plan-1")
    disk = writer.disks[0]
    assert no_space_reason(lambda: disk.open_extent(_film(7).spec(0, "plan-1"))) is NoSpaceReason.PINNED_QUOTA
    lab.store(writer, _film(8))
    assert no_space_reason(lambda: writer.pin(_film(8).key, "plan-1")) is NoSpaceReason.PINNED_QUOTA
    held = writer.held(_film(8).key)
    assert held is not None
    assert held.plan is None
    assert disk.space.pinned_bytes == 6 * FULL


def test_pinning_survives_a_restart_and_moves_between_plans(lab: StoreLab) -> None:
    writer = lab.open_writer()
    lab.store(writer, _film(1, 3 * MIB))
    assert writer.pin(_film(1).key, "plan-1")
    assert writer.pin(_film(1).key, "plan-2")
    assert not writer.pin("vod|/media/unknown", "plan-2")
    writer.close()
    writer = lab.open_writer()
    held = writer.held(_film(1).key)
    assert held is not None
    assert held.plan == "plan-2"
    assert writer.disks[0].space.pinned_bytes == 3 * FULL
    assert len(writer.disks[0].policy) == 0


def test_continuing_a_cached_file_for_a_plan_pins_all_of_it(lab: StoreLab) -> None:
    writer = lab.open_writer()
    film = _film(1, 2 * MIB)
    lab.write(writer, film, 0, [0])
    lab.commit(writer)
    lab.write(writer, film, 1, [0], plan="plan-1")
    lab.commit(writer)
    assert writer.disks[0].space.pinned_bytes == 2 * FULL
    assert len(writer.disks[0].policy) == 0


def test_what_is_being_written_is_no_victim(lab: StoreLab) -> None:
    writer = lab.open_writer()
    disk = writer.disks[0]
    busy = [disk.open_extent(_film(n).spec(0)) for n in range(8)]
    for n, extent in enumerate(busy):
        disk.write_block(extent, 0, *_film(n).block(0, 0, MIB))
    lab.commit(writer)
    assert no_space_reason(lambda: disk.open_extent(_film(9).spec(0))) is NoSpaceReason.QUOTA
    disk.close_extent(busy[5])
    disk.close_extent(disk.open_extent(_film(9).spec(0)))
    assert busy[5].gone
    assert not any(extent.gone for extent in busy[:5])


def test_an_extent_larger_than_the_disk_may_use_is_not_admitted(tmp_path: Path) -> None:
    lab = StoreLab(tmp_path, extent_bytes=16 * MIB)
    disk = lab.open_writer().disks[0]
    assert no_space_reason(lambda: disk.open_extent(_film(1, 9 * MIB).spec(0))) is NoSpaceReason.NOT_ADMITTED


def test_unlinked_space_counts_until_no_worker_holds_it(lab: StoreLab) -> None:
    writer, first, second = lab.open_writer(), lab.open_reader(0), lab.open_reader(1)
    films = [_film(n) for n in range(8)]
    for film in films:
        lab.store(writer, film)
    record = first.lookup(key_hash(films[0].key), 0)
    assert record is not None
    sending = first.descriptors.acquire(0, record.extent_id, record.length)
    assert sending is not None
    disk = writer.disks[0]
    assert no_space_reason(lambda: disk.open_extent(_film(9).spec(0))) is NoSpaceReason.DEAD_HELD
    assert disk.space.dead_bytes == FULL
    first.poll()
    assert writer.reap() == 0, "the second worker has not looked yet"
    second.poll()
    assert writer.reap() == 0, "the first worker is still sending it"
    first.descriptors.release(sending)
    assert writer.reap() == FULL
    assert disk.space.dead_bytes == 0
    lab.store(writer, _film(9))


def test_make_room_evicts_ahead_and_says_when_it_is_ready(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader()
    for n in range(8):
        lab.store(writer, _film(n))
    room = writer.disks[0].make_room(2 * MIB)
    assert (room.ready, room.evicted_extents, room.evicted_bytes) == (False, 2, 2 * FULL)
    assert room.reason is NoSpaceReason.DEAD_HELD
    reader.poll()
    room = writer.disks[0].make_room(2 * MIB)
    assert (room.ready, room.evicted_extents, room.reason) == (True, 0, None)


def test_eviction_ahead_keeps_a_reserve_so_that_nobody_waits(tmp_path: Path) -> None:
    lab = StoreLab(tmp_path, quota_bytes=16 * FULL, high_mark=0.985, low_mark=0.985)
    writer, reader = lab.open_writer(), lab.open_reader()
    disk = writer.disks[0]
    for n in range(40):
        extent = disk.open_extent(_film(n).spec(0))
        disk.write_block(extent, 0, *_film(n).block(0, 0, MIB))
        disk.close_extent(extent)
        lab.commit(writer)
        reader.poll()
        writer.reap()
        assert disk.space.free_bytes >= MIB
    assert len(disk.holdings.extents) == 14


def test_holdings_merge_the_disks_and_count_bytes_exactly(tmp_path: Path) -> None:
    lab = StoreLab(tmp_path, disks=3)
    writer = lab.open_writer()
    film = _film(1, 6 * MIB + 777)
    lab.store(writer, film, plan="plan-1")
    lab.write(writer, _film(2), 0, [1, 2])
    held = {file.key: file for file in writer.holdings()}
    assert held[film.key].present_bytes == 6 * MIB + 777
    assert held[film.key].allocated_bytes == 6 * FULL + 8192
    assert held[film.key].complete
    assert held[_film(2).key].present_bytes == 2 * 262144
    assert not held[_film(2).key].complete
    assert len([disk for disk in writer.disks.values() if disk.holdings.extents]) > 1
    assert writer.drop(film.key) == 7
    assert writer.held(film.key) is None


def test_a_full_index_map_evicts_instead_of_breaking(tmp_path: Path) -> None:
    lab = StoreLab(tmp_path, quota_bytes=64 * MIB, index_map_bytes=MIB, marks_per_disk=8192)
    writer, reader = lab.open_writer(), lab.open_reader()
    for n in range(1500):
        lab.store(writer, make_file(f"vod|/media/{'long' * 150}/{n:05}", 900))
        reader.poll()
    disk = writer.disks[0]
    assert disk.failure is None
    assert disk.gone[Gone.SPACE] > 0
    statistics = writer.statistics()[0].index
    assert statistics is not None
    assert statistics.used_bytes < statistics.map_bytes
    last = make_file(f"vod|/media/{'long' * 150}/01499", 900)
    assert read_extent(reader, last.key, 0, 0, 0) == last.data
    writer.close()
    writer = lab.open_writer()
    assert writer.recovered[0].clean
    assert writer.recovered[0].missing == 0


def test_an_index_full_of_pins_refuses_and_goes_on_serving(tmp_path: Path) -> None:
    lab = StoreLab(tmp_path, quota_bytes=64 * MIB, index_map_bytes=MIB, marks_per_disk=8192, cache_share=0.0)
    writer, reader = lab.open_writer(), lab.open_reader()
    stored = 0

    def fill() -> None:
        nonlocal stored
        for n in range(3000):
            lab.store(writer, make_file(f"vod|/media/{'long' * 150}/{n:05}", 900), plan="p")
            stored = n

    assert no_space_reason(fill) is NoSpaceReason.INDEX_FULL
    assert stored > 300
    disk = writer.disks[0]
    assert disk.failure is None
    for n in (0, stored):
        film = make_file(f"vod|/media/{'long' * 150}/{n:05}", 900)
        assert read_extent(reader, film.key, 0, 0, 0) == film.data
    for n in range(200):
        writer.unpin(f"vod|/media/{'long' * 150}/{n:05}")
    lab.store(writer, make_file("vod|/media/again", 900))


# -- a filesystem that has less than the quota promises ------------------------------------------------------------------


class SmallFilesystem(RealSyscalls):
    """A filesystem of `size` bytes, of which others take `taken`. Sparse files, so that only this arithmetic counts."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0
        self._lengths: dict[str, int] = {}
        self._paths: dict[int, str] = {}

    def create(self, path: str) -> int:
        fd = super().create(path)
        self._paths[fd] = path
        return fd

    def allocate(self, fd: int, length: int) -> None:
        if allocated(length) > self.free_bytes(""):
            raise OSError(ENOSPC, "No space left on device")
        super().allocate(fd, length)
        self._lengths[self._paths[fd]] = allocated(length)

    def unlink(self, path: str) -> None:
        super().unlink(path)
        self._lengths.pop(path, None)

    def free_bytes(self, path: str) -> int:
        return self.size - self.taken - sum(self._lengths.values())


def test_a_filesystem_fuller_than_the_quota_promised_makes_the_oldest_leave(tmp_path: Path) -> None:
    calls = SmallFilesystem(5 * FULL)
    lab = StoreLab(tmp_path, syscalls=calls)
    writer, reader = lab.open_writer(), lab.open_reader()
    disk = writer.disks[0]
    for n in range(9):
        lab.store(writer, _film(n))
        reader.poll()
        lab.clock.now += 10
    assert [n for n in range(9) if promised_bytes_are_right(lab, reader, _film(n))] == [4, 5, 6, 7, 8]
    assert disk.failure is None
    assert disk.space.limit_bytes == disk.space.used_bytes == 5 * FULL
    calls.size = 20 * FULL
    lab.clock.now += 10
    writer.look_at_space()
    assert not disk.space.is_squeezed, "the rest of the filesystem came back"
    for n in range(10, 13):
        lab.store(writer, _film(n))
    assert len(lab.extent_files()) == 8, "and the quota is the limit again"


def test_what_others_write_is_noticed_before_anybody_meets_it(tmp_path: Path) -> None:
    calls = SmallFilesystem(16 * FULL)
    lab = StoreLab(tmp_path, quota_bytes=16 * FULL, syscalls=calls, high_mark=0.985, low_mark=0.985)
    writer = lab.open_writer()
    for n in range(12):
        lab.store(writer, _film(n))
    calls.taken = 3 * FULL
    writer.look_at_space()
    assert writer.statistics()[0].limit_bytes == 13 * FULL
    assert len(lab.extent_files()) == 11, "the reserve is kept free of what there really is"
    calls.taken = 0
    writer.look_at_space()
    assert writer.statistics()[0].limit_bytes == 16 * FULL


def test_a_full_filesystem_costs_one_extent_and_not_the_cache_when_others_take_what_is_freed(tmp_path: Path) -> None:
    calls = FailingSyscalls()
    lab = StoreLab(tmp_path, syscalls=calls)
    writer = lab.open_writer()
    for n in range(6):
        lab.store(writer, _film(n))
    calls.fail["allocate"] = ENOSPC
    disk = writer.disks[0]
    for n in range(10, 20):
        assert no_space_reason(lambda n=n: disk.open_extent(_film(n).spec(0))) is NoSpaceReason.DISK_FULL  # type: ignore[misc]
    assert len(lab.extent_files()) == 5
    lab.clock.now += 6
    assert no_space_reason(lambda: disk.open_extent(_film(30).spec(0))) is NoSpaceReason.DISK_FULL
    assert len(lab.extent_files()) == 4, "tried again after a while"
    calls.fail.clear()
    lab.store(writer, _film(30))


def test_a_full_filesystem_of_pins_is_said_and_goes_on_serving(tmp_path: Path) -> None:
    calls = SmallFilesystem(4 * FULL)
    lab = StoreLab(tmp_path, syscalls=calls)
    writer, reader = lab.open_writer(), lab.open_reader()
    for n in range(4):
        lab.store(writer, _film(n), plan="tonight")
    disk = writer.disks[0]
    assert no_space_reason(lambda: disk.open_extent(_film(9).spec(0))) is NoSpaceReason.DISK_FULL
    writer.look_at_space()
    assert sum(promised_bytes_are_right(lab, reader, _film(n)) for n in range(4)) == 16
    assert writer.unpin(_film(0).key)
    lab.clock.now += 10
    lab.store(writer, _film(9))
    assert promised_bytes_are_right(lab, reader, _film(9)) == 4


def test_space_that_workers_hold_is_waited_for_on_a_full_filesystem_too(tmp_path: Path) -> None:
    calls = SmallFilesystem(4 * FULL)
    lab = StoreLab(tmp_path, syscalls=calls)
    writer, reader = lab.open_writer(), lab.open_reader()
    for n in range(4):
        lab.store(writer, _film(n))
    record = reader.lookup(key_hash(_film(0).key), 0)
    assert record is not None
    sending = reader.descriptors.acquire(0, record.extent_id, record.length)
    assert sending is not None
    disk = writer.disks[0]
    for _ in range(3):
        assert no_space_reason(lambda: disk.open_extent(_film(9).spec(0))) is NoSpaceReason.DEAD_HELD
        reader.poll()
    assert len(lab.extent_files()) == 3, "nobody else leaves while one is waited for"
    reader.descriptors.release(sending)
    lab.store(writer, _film(9))


def test_marks_say_when_eviction_ahead_begins_and_where_it_ends(tmp_path: Path) -> None:
    lab = StoreLab(tmp_path, quota_bytes=100 * FULL, high_mark=0.9375, low_mark=0.9)
    writer, reader = lab.open_writer(), lab.open_reader()
    disk = writer.disks[0]
    counts = []
    for n in range(110):
        extent = disk.open_extent(_film(n).spec(0))
        disk.write_block(extent, 0, *_film(n).block(0, 0, MIB))
        disk.close_extent(extent)
        lab.commit(writer)
        reader.poll()
        writer.reap()
        counts.append(len(disk.holdings.extents))
    assert max(counts) == 93
    assert min(counts[93:]) == 90
    assert disk.space.used_bytes <= disk.space.quota_bytes
