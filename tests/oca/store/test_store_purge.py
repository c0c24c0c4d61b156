"""Purge: forbidden in one poll, acknowledged by every worker, swept, and never outrun by a fetch that was under way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from oca.store.board import DiskState
from oca.store.disk_writer import Gone
from oca.store.errors import Purged
from oca.store.extents import key_hash
from oca.store.index import META_EPOCH, Changes, Table
from oca.store.pulled import PulledObject, PulledVariant
from oca.store.purge import PurgeKind, PurgeMode, PurgeOrder, PurgeRule, pack_rule
from oca.store.purging import KEPT_RULES
from oca.store.writer import StoreWriter
from tests.oca.store.harness import MIB, MadeFile, StoreLab, make_file, promised_bytes_are_right

ONE = make_file("vod|/media/one/hd/v.mp4", MIB)
TWO = make_file("vod|/media/two/hd/v.mp4", MIB)
VARIANT = PulledVariant(b"1" * 32, 1, 0, 5.0, b"")


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


@pytest.mark.parametrize("swept", [False, True])
def test_what_was_asked_for_before_a_purge_is_not_stored_behind_it(lab: StoreLab, swept: bool) -> None:
    writer = lab.open_writer()
    disk = writer.disks[0]
    began = disk.epoch
    rule = writer.purge(PurgeKind.OBJECT, ONE.key)
    if swept:
        writer.sweep(rule)
    with pytest.raises(Purged, match="was purged after"):
        disk.open_extent(replace(ONE.spec(0), epoch=began))
    lab.store(writer, ONE)
    with pytest.raises(Purged):  # not even into an extent that was made since
        disk.open_extent(replace(ONE.spec(0), epoch=began))
    disk.close_extent(disk.open_extent(replace(TWO.spec(0), epoch=began)))


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


@pytest.mark.parametrize("tag", ["title:one", "tier:hd", "group:one/v"])
def test_a_tag_names_every_file_that_has_it(lab: StoreLab, tag: str) -> None:
    writer, reader = lab.open_writer(), lab.open_reader()
    lab.store(writer, ONE)
    lab.store(writer, make_file("vod|/media/two/sd/v.mp4", MIB))
    rule = writer.purge(PurgeKind.TAG, tag)
    reader.poll()
    assert _judged(lab, ONE) is PurgeMode.HARD
    assert writer.sweep(rule) == 1
    assert [held.key for held in writer.holdings()] == ["vod|/media/two/sd/v.mp4"]


def test_what_was_found_current_behind_a_soft_purge_is_served_again_and_the_rest_goes(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader()
    lab.store(writer, ONE)
    lab.store(writer, TWO)
    rule = writer.purge(PurgeKind.ALL, mode=PurgeMode.SOFT)
    reader.poll()
    assert (_judged(lab, ONE), _judged(lab, TWO)) == (PurgeMode.SOFT, PurgeMode.SOFT)
    assert writer.renew(ONE.key, TWO.version, rule.epoch) == 0, "another version was found"
    assert writer.renew(ONE.key, ONE.version, rule.epoch) == 1
    assert _judged(lab, ONE) is None
    assert writer.sweep(rule) == 1
    assert [held.key for held in writer.holdings()] == [ONE.key]
    lab.crash(writer)
    writer = lab.open_writer()
    assert promised_bytes_are_right(lab, lab.open_reader(), ONE) == 4
    assert writer.rules == ()


def test_several_orders_are_one_transaction_with_an_epoch_each(lab: StoreLab) -> None:
    writer = lab.open_writer()
    commits = writer.disks[0].index.statistics().last_transaction
    rules = writer.order(
        [PurgeOrder(PurgeKind.OBJECT, file.key, trigger=number) for number, file in ((7, ONE), (8, TWO))]
    )
    assert writer.disks[0].index.statistics().last_transaction == commits + 1
    assert [rule.epoch for rule in rules] == [1, 2]
    assert (writer.purges.epoch, writer.purges.trigger) == (2, 8)
    lab.crash(writer)
    writer = lab.open_writer()
    assert (writer.rules, writer.purges.trigger) == (rules, 8)


# -- disks that were away ----------------------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path) -> StoreLab:
    return StoreLab(tmp_path, disks=2)


def _spread(lab: StoreLab, writer: StoreWriter) -> dict[int, set[str]]:
    """Twelve files over two disks: disk → keys."""
    for number in range(12):
        lab.store(writer, make_file(f"vod|/media/t{number}/hd/v.mp4", 100_000))
    found = {disk.number: {o.key for o in disk.holdings.objects.values()} for disk in writer.disks.values()}
    assert all(found.values())
    return found


def _away(lab: StoreLab, writer: StoreWriter, number: int) -> Path:
    """The appliance stops, and starts again without one of its disks."""
    writer.close()
    aside = lab.root / "aside"
    lab.disk_path(number).rename(aside)
    lab.disk_path(number).write_text("no folder: nothing can be made here")
    return aside


def _back(lab: StoreLab, number: int) -> None:
    lab.disk_path(number).unlink()
    (lab.root / "aside").rename(lab.disk_path(number))


@pytest.mark.parametrize("swept", [False, True])
@pytest.mark.parametrize("clean", [False, True])
def test_a_disk_that_was_away_during_a_purge_serves_nothing_of_it(pair: StoreLab, swept: bool, clean: bool) -> None:
    before = _spread(pair, pair.open_writer())
    assert pair.writer is not None
    pair.writer.put_pulled({key_hash(key): PulledObject(key, (VARIANT,)) for key in before[1]})
    _away(pair, pair.writer, 1)
    writer = pair.open_writer()
    gone, other = min(before[1]), max(before[1])
    rule = writer.purge(PurgeKind.OBJECT, gone)
    if swept:
        writer.sweep(rule)
    if clean:
        writer.close()
    else:
        pair.crash(writer)
    _back(pair, 1)
    pair.board = pair.new_board()
    pair.writer = None
    early = pair.open_reader(0)  # a worker may start before the keeper
    assert early.lookup(key_hash(gone), 0) is None
    early.close()
    pair.readers.clear()
    writer = pair.open_writer()
    reader = pair.open_reader(1)
    assert writer.find(key_hash(gone), 0) is None
    assert reader.lookup(key_hash(gone), 0) is None
    assert reader.lookup(key_hash(other), 0) is not None, "what nobody purged stays"
    assert reader.lookup_pulled(key_hash(gone)) is None
    assert any(reader.lookup_pulled(key_hash(key)) is not None for key in before[1])
    assert writer.disks[1].index.number(META_EPOCH) == rule.epoch
    assert writer.purge(PurgeKind.ALL).epoch == rule.epoch + 1


def test_what_a_disk_missed_and_nobody_remembers_costs_it_all_that_is_older(pair: StoreLab) -> None:
    before = _spread(pair, pair.open_writer())
    assert pair.writer is not None
    _away(pair, pair.writer, 1)
    writer = pair.open_writer()
    for rule in writer.order([PurgeOrder(PurgeKind.OBJECT, f"vod|{n}") for n in range(KEPT_RULES + 1)]):
        writer.sweep(rule)
    writer.sweep(writer.purge(PurgeKind.OBJECT, "vod|last"))
    writer.close()
    _back(pair, 1)
    pair.board = pair.new_board()
    writer = pair.open_writer()
    assert {held.key for held in writer.holdings()} == before[0]
    assert len(writer.purges.history.rules) <= KEPT_RULES + 1


def test_a_disk_that_alone_comes_back_is_not_trusted_when_the_box_knows_a_higher_epoch(pair: StoreLab) -> None:
    before = _spread(pair, pair.open_writer())
    assert pair.writer is not None
    _away(pair, pair.writer, 1)
    writer = pair.open_writer()
    reached = writer.purge(PurgeKind.OBJECT, min(before[1])).epoch
    writer.close()
    _back(pair, 1)
    pair.disk_path(0).rename(pair.root / "lost")
    pair.disk_path(0).write_text("gone")
    pair.board = pair.new_board()
    pair.board.purge_epoch = reached
    writer = pair.open_writer()
    assert list(writer.holdings()) == []


def test_a_disk_that_cannot_take_the_rule_is_taken_out(pair: StoreLab) -> None:
    before = _spread(pair, pair.open_writer())
    writer = pair.writer
    assert writer is not None
    writer.disks[1].index.close()
    rule = writer.purge(PurgeKind.OBJECT, min(before[1]))
    assert pair.board.disk_state(1) is DiskState.FAILED
    assert writer.rules == (rule,)


def test_a_keeper_that_died_between_two_disks_finishes_what_it_began(pair: StoreLab) -> None:
    before = _spread(pair, pair.open_writer())
    writer = pair.writer
    assert writer is not None
    rule = PurgeRule(1, PurgeKind.ALL, PurgeMode.HARD, 1, pair.clock.now)
    changes = Changes()
    changes.put(Table.PURGE, (1).to_bytes(8, "big"), pack_rule(rule))
    changes.number(META_EPOCH, 1)
    writer.disks[0].commit_changes(changes)
    pair.crash(writer)
    writer = pair.open_writer()
    assert writer.rules == (rule,)
    assert pair.board.purge_epoch == 1
    reader = pair.open_reader()
    for key in before[0] | before[1]:
        record = reader.lookup(key_hash(key), 0)
        assert record is None or reader.judge(key, record) is PurgeMode.HARD
