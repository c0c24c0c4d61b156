"""What a worker remembers of a look-up holds exactly as long as what the index said of the extent is true."""

from __future__ import annotations

import pytest

from oca.store.board import DiskState
from oca.store.descriptors import Descriptor
from oca.store.extents import index_key, key_hash
from oca.store.purge import PurgeKind
from oca.store.reader import StoreReader
from tests.oca.store.harness import MIB, MadeFile, StoreLab, make_file

ONE = make_file("vod|/media/one/hd/v.mp4", MIB)
PLACE = index_key(key_hash(ONE.key), 0)


def remembered(reader: StoreReader, file: MadeFile = ONE) -> Descriptor:
    record = reader.lookup(key_hash(file.key), 0)
    assert record is not None
    held = reader.remember(index_key(key_hash(file.key), 0), record)
    assert held is not None
    assert held.users == 0
    return held


def test_an_extent_is_recalled_with_its_record_while_it_lives(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader(0)
    lab.store(writer, ONE)
    assert reader.recall(PLACE) is None
    held = remembered(reader)
    assert reader.recall(PLACE) is held
    assert held.record is not None
    assert held.record == reader.lookup(key_hash(ONE.key), 0)


def test_a_purge_is_heard_before_anything_is_recalled_without_a_poll(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader(0)
    lab.store(writer, ONE)
    remembered(reader)
    rule = writer.purge(PurgeKind.OBJECT, ONE.key)
    assert reader.recall(PLACE) is None
    assert writer.purge_acknowledged(rule)


def test_a_dead_extent_is_not_recalled_and_its_file_is_closed(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader(0)
    lab.store(writer, ONE)
    remembered(reader)
    writer.sweep(writer.purge(PurgeKind.OBJECT, ONE.key))
    assert reader.recall(PLACE) is None
    assert reader.statistics().open_files == 0


def test_a_disk_that_was_taken_out_recalls_nothing(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader(0)
    lab.store(writer, ONE)
    held = remembered(reader)
    lab.board.set_disk_state(held.disk, DiskState.FAILED)
    assert reader.recall(PLACE) is None


def test_a_closed_file_is_forgotten(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader(0)
    lab.store(writer, ONE)
    remembered(reader)
    reader.descriptors.close()
    assert reader.recall(PLACE) is None


@pytest.mark.parametrize("limit", [1, 3])
def test_who_was_recalled_stays_open_longer_than_who_was_not(lab: StoreLab, limit: int) -> None:
    writer, reader = lab.open_writer(), lab.open_reader(0)
    files = [make_file(f"vod|/media/many/hd/{n}.mp4", 1000) for n in range(limit + 1)]
    for file in files:
        lab.store(writer, file)
    reader.descriptors._limit = limit
    kept = remembered(reader, files[0])
    for file in files[1:limit]:
        remembered(reader, file)
    assert reader.recall(index_key(key_hash(files[0].key), 0)) is kept
    remembered(reader, files[limit])
    recalled = reader.recall(index_key(key_hash(files[0].key), 0))
    assert recalled is (kept if limit > 1 else None)
    assert reader.statistics().open_files == limit


def test_a_smaller_bound_closes_idle_files_and_none_in_use(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader(0)
    files = [make_file(f"vod|/media/many/hd/{n}.mp4", 1000) for n in range(5)]
    for file in files:
        lab.store(writer, file)
    held = [remembered(reader, file) for file in files]
    held[0].users += 1
    reader.descriptors.resize(2)
    assert reader.statistics().open_files == 2
    assert reader.recall(index_key(key_hash(files[0].key), 0)) is held[0]
    reader.descriptors.release(held[0])
