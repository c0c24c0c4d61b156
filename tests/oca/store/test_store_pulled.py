"""Rows of pulled objects: one per service key, durable, purged with their bytes, on disks old and new."""

from __future__ import annotations

from pathlib import Path

import lmdb

from oca.store.extents import key_hash
from oca.store.index import Table
from oca.store.pulled import MAX_VARIANTS, PulledObject, PulledVariant, pack_pulled, unpack_pulled
from oca.store.purge import PurgeKind, PurgeMode
from oca.store.writer import StoreWriter
from tests.oca.store.harness import MIB, StoreLab, make_file

KEY = "web|/a?x=1"
HASHED = key_hash(KEY)
ONE = PulledVariant(b"1" * 32, 10, 0, 5.0, b"answer one", ("news",))
TWO = PulledVariant(b"2" * 32, 20, 0, 6.0, b"answer two")


def put(writer: StoreWriter, *variants: PulledVariant) -> PulledObject:
    found = PulledObject(KEY, variants)
    writer.put_pulled({HASHED: found})
    return found


def test_a_row_is_what_was_put_and_another_format_is_no_row() -> None:
    found = PulledObject(KEY, (ONE, TWO))
    packed = pack_pulled(found)
    assert unpack_pulled(packed) == found
    assert unpack_pulled(b"\x02" + packed[1:]) is None
    assert unpack_pulled(packed[:-1]) is None
    assert unpack_pulled(b"") is None


def test_a_variant_takes_the_place_of_what_it_replaces_and_the_oldest_makes_way() -> None:
    found = PulledObject(KEY, (ONE, TWO)).with_variant(PulledVariant(b"3" * 32, 1, 0, 7.0, b""), replaces=ONE.version)
    assert [variant.version[:1] for variant in found.variants] == [b"2", b"3"]
    for number in range(MAX_VARIANTS):
        found = found.with_variant(PulledVariant(bytes((number,)) * 32, 1, 0, 8.0, b""))
    assert len(found.variants) == MAX_VARIANTS
    assert found.variants[0].version == bytes(32)
    assert found.without(bytes(32)).variants == found.variants[1:]


def test_a_reader_finds_a_row_in_one_look_up_and_a_restart_keeps_it(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader()
    found = put(writer, ONE, TWO)
    assert reader.lookup_pulled(HASHED) == found
    assert reader.lookup_pulled(key_hash("web|/b")) is None
    lab.crash(writer)
    assert lab.open_writer().pulled(HASHED) == found


def test_a_row_without_variants_is_forgotten(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader()
    put(writer, ONE)
    put(writer)
    assert reader.lookup_pulled(HASHED) is None
    assert list(writer.scan_pulled()) == []


def test_on_several_disks_a_row_lies_once(tmp_path: Path) -> None:
    lab = StoreLab(tmp_path, disks=3)
    writer = lab.open_writer()
    for number in range(40):
        key = f"web|/{number}"
        writer.put_pulled({key_hash(key): PulledObject(key, (ONE,))})
    holders = [sum(len(page) for page in disk.index.scan(Table.PULLED)) for disk in writer.disks.values()]
    assert sum(holders) == 40
    assert all(holders)
    reader = lab.open_reader()
    assert all(reader.lookup_pulled(key_hash(f"web|/{number}")) is not None for number in range(40))


def test_a_purge_forbids_a_row_at_once_and_the_sweep_deletes_it_with_its_bytes(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader()
    bytes_of_one = make_file(f"{KEY}#{ONE.version.hex()}", MIB)
    lab.store(writer, bytes_of_one)
    put(writer, ONE)
    rule = writer.purge(PurgeKind.OBJECT, KEY)
    reader.poll()
    assert reader.judge_pulled(KEY, ONE) is PurgeMode.HARD
    assert reader.judge_pulled("web|/a?x=12", ONE) is None
    assert writer.sweep(rule) == 1
    assert reader.lookup_pulled(HASHED) is None
    assert writer.find(key_hash(bytes_of_one.key), 0) is None


def test_a_row_that_was_marked_stale_is_judged_so(lab: StoreLab) -> None:
    lab.open_writer()
    reader = lab.open_reader()
    stale = PulledVariant(b"1" * 32, 10, 0, 5.0, b"", (), True)
    assert reader.judge_pulled(KEY, stale) is PurgeMode.SOFT


def test_a_disk_made_before_there_were_rows_gets_their_table(lab: StoreLab) -> None:
    lab.crash(lab.open_writer())
    folder = str(lab.disk_path() / "index")
    env = lmdb.open(folder, max_dbs=8)
    with env.begin(write=True) as txn:
        txn.drop(env.open_db(b"pulled", txn=txn), delete=True)
    env.close()
    writer = lab.open_writer()
    assert writer.pulled(HASHED) is None
    put(writer, ONE)
    assert writer.pulled(HASHED) is not None


def test_a_tag_takes_a_row_with_its_bytes_and_a_soft_purge_marks_it(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader()
    bytes_of_one = make_file(f"{KEY}#{ONE.version.hex()}", MIB)
    bytes_of_two = make_file(f"{KEY}#{TWO.version.hex()}", MIB)
    for made in (bytes_of_one, bytes_of_two):
        lab.store(writer, made)
    put(writer, ONE, TWO)
    soft = writer.purge(PurgeKind.OBJECT, KEY, PurgeMode.SOFT)
    reader.poll()
    assert reader.judge_pulled(KEY, TWO) is PurgeMode.SOFT
    assert reader.judge_epoch(bytes_of_two.key, 0) is None, "bytes stay: their object is asked for again"
    writer.sweep(soft)
    stale = reader.lookup_pulled(HASHED)
    assert stale is not None
    assert [variant.stale for variant in stale.variants] == [True, True]
    hard = writer.purge(PurgeKind.TAG, "news")
    reader.poll()
    assert reader.judge_pulled(KEY, stale.variants[0]) is PurgeMode.HARD
    assert writer.sweep(hard) == 1
    assert writer.find(key_hash(bytes_of_one.key), 0) is None
    assert writer.find(key_hash(bytes_of_two.key), 0) is not None
    kept = reader.lookup_pulled(HASHED)
    assert kept is not None
    assert [variant.version for variant in kept.variants] == [TWO.version]


def test_a_row_that_comes_late_is_as_the_purge_leaves_it(lab: StoreLab) -> None:
    writer = lab.open_writer()
    writer.sweep(writer.purge(PurgeKind.TAG, "news"))
    writer.sweep(writer.purge(PurgeKind.OBJECT, KEY, PurgeMode.SOFT))
    put(writer, ONE, TWO)
    found = writer.pulled(HASHED)
    assert found is not None
    assert [(variant.version, variant.stale) for variant in found.variants] == [(TWO.version, True)]


def test_bytes_that_only_a_tag_tells_to_be_purged_are_not_taken_for_new_ones(lab: StoreLab) -> None:
    writer = lab.open_writer()
    bytes_of_one = make_file(f"{KEY}#{ONE.version.hex()}", MIB)
    lab.store(writer, bytes_of_one)
    put(writer, ONE)
    rule = writer.purge(PurgeKind.TAG, "news")
    put(writer, PulledVariant(ONE.version, 10, rule.epoch, 9.0, b"answer one", ("news",)))
    assert writer.find(key_hash(bytes_of_one.key), 0) is None
    assert writer.sweep(rule) == 0
    assert writer.pulled(HASHED) is not None
