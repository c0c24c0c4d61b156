"""Purge: forbidden in one poll, acknowledged by every worker, swept, and never outrun by a fetch that was under way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from oca.store.disk_writer import Gone
from oca.store.extents import key_hash
from oca.store.purge import PurgeKind, PurgeMode
from tests.oca.store.harness import MIB, MadeFile, StoreLab, make_file, promised_bytes_are_right

ONE = make_file("vod|/media/one/hd/v.mp4", MIB)
TWO = make_file("vod|/media/two/hd/v.mp4", MIB)


def _judged(lab: StoreLab, file: MadeFile, slot: int = 0) -> PurgeMode | None:
    reader = lab.readers[slot]
    record = reader.lookup(key_hash(file.key), 0)
    assert record is not None
    held = reader.descriptors.acquire(record.disk, record.extent_id, record.length)
    assert held is not None
    verdict = reader.judge(file.key, record, held)
    reader.descriptors.release(held)
    return verdict


def test_a_purge_is_obeyed_after_a_poll_and_acknowledged_when_all_have_polled(lab: StoreLab) -> None:
    writer, first, second = lab.open_writer(), lab.open_reader(0), lab.open_reader(1)
    lab.store(writer, ONE)
    lab.store(writer, TWO)
    rule = writer.purge(PurgeKind.PREFIX, "vod|/media/one/")
    first.poll()
    assert _judged(lab, ONE) is PurgeMode.HARD
    assert _judged(lab, TWO) is None
    assert not writer.purge_acknowledged(rule)
    second.poll()
    assert writer.purge_acknowledged(rule)
    assert writer.sweep(rule) == 1
    assert writer.disks[0].gone[Gone.PURGED] == 1
    assert writer.rules == ()
    assert first.lookup(key_hash(ONE.key), 0) is None
    assert promised_bytes_are_right(lab, first, TWO) == 4


def test_what_is_stored_after_a_purge_is_clean(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader()
    lab.write(writer, ONE, 0, [0])
    lab.commit(writer)
    rule = writer.purge(PurgeKind.OBJECT, ONE.key)
    reader.poll()
    lab.store(writer, ONE)
    record = reader.lookup(key_hash(ONE.key), 0)
    assert record is not None
    assert record.stored_epoch == rule.epoch
    assert _judged(lab, ONE) is None
    assert writer.disks[0].gone == {Gone.PURGED: 1}, "the purged extent was not continued"
    assert writer.sweep(rule) == 0


def test_a_fetch_that_began_before_the_purge_does_not_outrun_it(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader()
    disk = writer.disks[0]
    began = disk.epoch
    writer.purge(PurgeKind.ALL)
    extent = disk.open_extent(replace(ONE.spec(0), epoch=began))
    disk.write_block(extent, 0, *ONE.block(0, 0, MIB))
    disk.close_extent(extent)
    lab.commit(writer)
    reader.poll()
    assert _judged(lab, ONE) is PurgeMode.HARD


def test_a_purge_survives_restarts_of_everybody(lab: StoreLab) -> None:
    writer = lab.open_writer()
    lab.store(writer, ONE)
    rule = writer.purge(PurgeKind.ALL)
    lab.crash(writer)
    lab.board = lab.new_board()
    writer = lab.open_writer()
    lab.open_reader()
    assert [found.number for found in writer.rules] == [rule.number]
    assert lab.board.purge_epoch == rule.epoch
    assert _judged(lab, ONE) is PurgeMode.HARD
    assert writer.sweep(rule) == 1
    writer.close()
    lab.board = lab.new_board()
    writer = lab.open_writer()
    assert lab.board.purge_epoch == rule.epoch, "epochs never run backwards, or records would look older than they are"
    assert writer.purge(PurgeKind.ALL).epoch == rule.epoch + 1


def test_pinned_files_are_purged_too(lab: StoreLab) -> None:
    writer = lab.open_writer()
    lab.store(writer, ONE, plan="tonight")
    assert writer.sweep(writer.purge(PurgeKind.ALL)) == 1
    assert writer.disks[0].space.pinned_bytes == 0


def test_a_judgement_is_remembered_in_the_descriptor(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader()
    lab.store(writer, TWO)
    rule = writer.purge(PurgeKind.OBJECT, ONE.key)
    reader.poll()
    record = reader.lookup(key_hash(TWO.key), 0)
    assert record is not None
    held = reader.descriptors.acquire(record.disk, record.extent_id, record.length)
    assert held is not None
    assert held.clean_epoch == 0
    assert reader.judge(TWO.key, record, held) is None
    assert held.clean_epoch == rule.epoch


def test_what_records_cannot_express_is_refused_in_words(lab: StoreLab) -> None:
    writer = lab.open_writer()
    with pytest.raises(ValueError, match="use hard"):
        writer.purge(PurgeKind.OBJECT, ONE.key, PurgeMode.SOFT)
    with pytest.raises(ValueError, match="by object, prefix or all"):
        writer.purge(PurgeKind.TAG, "spring")
