"""The pure parts: bitmaps, records, placement, purge rules, batching, space, slots, marks."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.digests import BLOCK_BYTES, block_digest
from oca.store import blocks, trailer
from oca.store.batching import Batch
from oca.store.errors import NoSpaceReason
from oca.store.extents import (
    FORMAT,
    PINNED,
    ExtentRecord,
    extent_count,
    extent_length,
    extent_name,
    index_key,
    key_hash,
    pack_record,
    split_index_key,
    unpack_record,
)
from oca.store.holdings import HeldObject, pack_object, unpack_object
from oca.store.marks import NO_SLOT, Marks
from oca.store.placement import Place, best_writable, ranked
from oca.store.purge import PurgeKind, PurgeMode, PurgeRule, PurgeRules, pack_rule, unpack_rule
from oca.store.recent import RecentBlocks, pack_recent, unpack_recent
from oca.store.slots import Slots
from oca.store.space import Space, allocated

_sets = st.sets(st.integers(0, 127))


def _bits(members: set[int]) -> int:
    return sum(1 << member for member in members)


@given(_sets)
def test_runs_and_members_are_the_set_and_packing_keeps_it(present: set[int]) -> None:
    bits = _bits(present)
    found = blocks.runs(bits)
    assert [block for first, last in found for block in range(first, last + 1)] == sorted(present)
    assert all(after[0] > before[1] + 1 for before, after in itertools.pairwise(found)), "runs are maximal"
    assert blocks.members(bits) == sorted(present)
    assert blocks.from_bytes(blocks.to_bytes(bits, 128)) == bits


@given(_sets, st.integers(0, 127), st.integers(0, 127))
def test_a_record_answers_ranges_of_blocks_like_a_set(present: set[int], one: int, other: int) -> None:
    first, last = min(one, other), max(one, other)
    record = ExtentRecord(0, 1, 0, bytes(32), 32 << 20, 32 << 20, _bits(present), b"")
    wanted = set(range(first, last + 1))
    assert record.has_blocks(first, last) == (wanted <= present)
    missing = {block for low, high in record.missing(first, last) for block in range(low, high + 1)}
    assert missing == wanted - present


@given(
    file_size=st.integers(1, 100 << 20),
    extent_blocks=st.integers(1, 128),
    data=st.data(),
    header=st.binary(max_size=600),
)
def test_a_record_survives_packing(file_size: int, extent_blocks: int, data: st.DataObject, header: bytes) -> None:
    extent_bytes = extent_blocks * BLOCK_BYTES
    number = data.draw(st.integers(0, extent_count(file_size, extent_bytes) - 1))
    length = extent_length(file_size, number, extent_bytes)
    bits = data.draw(st.integers(0, blocks.full(blocks.count_blocks(length))))
    record = ExtentRecord(
        3, 77, number, b"v" * 32, file_size, length, bits, header, slot=9, flags=PINNED, stored_epoch=5, stored_at=1.5
    )
    found = unpack_record(pack_record(record), 3, number, extent_bytes)
    assert found is not None
    assert found.complete == (bits == blocks.full(blocks.count_blocks(length)))
    found.flags = record.flags
    assert found == record
    assert found.pinned


def test_a_record_of_another_format_is_absent() -> None:
    packed = pack_record(ExtentRecord(0, 1, 0, bytes(32), 10, 10, 1, b""))
    assert unpack_record(bytes([FORMAT + 1]) + packed[1:], 0, 0, BLOCK_BYTES) is None
    assert unpack_record(packed[:20], 0, 0, BLOCK_BYTES) is None
    assert unpack_record(b"", 0, 0, BLOCK_BYTES) is None


@given(st.text(), st.integers(0, 2**32 - 1))
def test_index_keys_split_again_and_neighbour_by_extent_number(key: str, number: int) -> None:
    hashed = key_hash(key)
    assert split_index_key(index_key(hashed, number)) == (hashed, number)
    if number:
        assert index_key(hashed, number - 1) < index_key(hashed, number)


def test_extent_names_carry_the_whole_id_and_spread_over_folders() -> None:
    assert extent_name(0x1234) == "extents/34/0000000000001234"
    assert len({extent_name(i).split("/")[1] for i in range(256)}) == 256


@given(st.integers(1, 1 << 40), st.integers(1, 64))
def test_the_extents_of_a_file_add_up_to_it(file_size: int, extent_blocks: int) -> None:
    extent_bytes = extent_blocks * BLOCK_BYTES * 4096
    lengths = [extent_length(file_size, n, extent_bytes) for n in range(extent_count(file_size, extent_bytes))]
    assert sum(lengths) == file_size
    assert all(length == extent_bytes for length in lengths[:-1])
    with pytest.raises(ValueError, match="outside"):
        extent_length(file_size, len(lengths), extent_bytes)


@given(st.integers(0, 10**6), st.integers(1, 128))
def test_file_blocks_are_located_in_their_extent(file_block: int, per_extent: int) -> None:
    number, block = blocks.locate(file_block, per_extent)
    assert number * per_extent + block == file_block
    assert 0 <= block < per_extent


# -- placement ---------------------------------------------------------------------------------------------------------

_rng = random.Random(1)
_PLACES = [Place(n, _rng.getrandbits(64), weight) for n, weight in enumerate((1.0, 1.0, 2.0, 4.0))]
_EXTENTS = [(key_hash(f"key {i}"), i % 7) for i in range(20_000)]


def test_disks_win_by_weight() -> None:
    won = [0] * 4
    for hashed, number in _EXTENTS:
        won[ranked(_PLACES, hashed, number)[0]] += 1
    shares = [count / len(_EXTENTS) for count in won]
    assert shares == pytest.approx([1 / 8, 1 / 8, 2 / 8, 4 / 8], rel=0.06)


def test_an_added_disk_takes_its_share_and_nothing_else_moves() -> None:
    added = Place(4, _rng.getrandbits(64), 2.0)
    moved = 0
    for hashed, number in _EXTENTS:
        before = ranked(_PLACES, hashed, number)
        after = ranked([*_PLACES, added], hashed, number)
        if after[0] == 4:
            moved += 1
            assert after[1] == before[0], "the old place is the second rank"
        else:
            assert after[0] == before[0]
    assert moved / len(_EXTENTS) == pytest.approx(2 / 10, rel=0.06)


def test_a_draining_disk_is_ranked_for_reading_and_never_chosen_for_writing() -> None:
    draining = [replace(_PLACES[0], writable=False), *_PLACES[1:]]
    for hashed, number in _EXTENTS[:2000]:
        order = ranked(draining, hashed, number)
        assert order == ranked(_PLACES, hashed, number)
        chosen = best_writable(draining, hashed, number)
        assert chosen == (order[0] if order[0] != 0 else order[1])
    assert best_writable([replace(_PLACES[0], writable=False)], *_EXTENTS[0]) is None
    assert best_writable([replace(_PLACES[0], weight=0.0)], *_EXTENTS[0]) is None


def test_the_extents_of_one_file_spread_over_the_disks() -> None:
    hashed = key_hash("one large file")
    assert {ranked(_PLACES, hashed, number)[0] for number in range(100)} == {0, 1, 2, 3}


# -- packed rows ---------------------------------------------------------------------------------------------------------


@given(st.text(max_size=200), st.none() | st.text(max_size=50), st.integers(1, 2**60), st.booleans())
def test_an_object_survives_packing(key: str, plan: str | None, size: int, digest: bool) -> None:
    found = unpack_object(pack_object(HeldObject(key, b"v" * 32, size, b"", plan, digest, 12.5)))
    assert found is not None
    assert (found.key, found.version, found.file_size, found.plan) == (key, b"v" * 32, size, plan)
    assert (found.digest_version, found.stored_at, found.hashed) == (digest, 12.5, key_hash(key))
    assert unpack_object(b"\x63" * 80) is None


@given(st.lists(st.tuples(st.integers(0, 2**60), st.integers(0, 2**128 - 1)), max_size=10))
def test_recent_blocks_survive_packing(entries: list[tuple[int, int]]) -> None:
    rows = [
        RecentBlocks(index_key(key_hash(str(i)), i), extent_id, bits) for i, (extent_id, bits) in enumerate(entries)
    ]
    assert unpack_recent(pack_recent(rows)) == rows


@given(st.integers(1, 64 << 20))
def test_the_trailer_lies_behind_the_data_and_every_check_inside_the_file(length: int) -> None:
    count = blocks.count_blocks(length)
    offsets = [trailer.check_offset(length, block) for block in range(count)]
    assert trailer.trailer_offset(length) >= length
    assert trailer.trailer_offset(length) % 4096 == 0
    head = trailer.pack_head(7, key_hash("k"), 3, length, b"v" * 32)
    assert trailer.trailer_offset(length) + len(head) <= offsets[0]
    assert offsets[-1] + trailer.CHECK_BYTES == trailer.file_length(length)
    assert trailer.allocated_bytes(length) - trailer.file_length(length) < 4096
    assert trailer.checks_length(length) == trailer.file_length(length) - offsets[0]


@given(st.binary(min_size=1, max_size=50), st.integers(0, 3))
def test_a_block_is_good_only_with_its_own_check(data: bytes, block: int) -> None:
    checks = b"other---" * block + trailer.check_of(block_digest(data)) + b"other---"
    assert trailer.is_good(data, checks, block)
    assert not trailer.is_good(data + b"x", checks, block)
    assert not trailer.is_good(data, checks, block + 1)
    assert not trailer.is_good(data, bytes(8 * (block + 1)), block), "no check is no check"
    assert not trailer.is_good(data, checks, block + 9)


@given(st.sampled_from(PurgeKind), st.sampled_from(PurgeMode), st.text(max_size=100), st.integers(1, 2**60))
def test_a_purge_rule_survives_packing(kind: PurgeKind, mode: PurgeMode, text: str, epoch: int) -> None:
    rule = PurgeRule(7, kind, mode, epoch, 3.25, text)
    assert unpack_rule(7, pack_rule(rule)) == rule
    with pytest.raises(ValueError, match="unknown format"):
        unpack_rule(7, b"\x02" + pack_rule(rule)[1:])


def test_purge_rules_judge_only_what_was_stored_before_them() -> None:
    rules = PurgeRules(
        [
            PurgeRule(1, PurgeKind.PREFIX, PurgeMode.SOFT, 5, 0.0, "vod|/media/t1/"),
            PurgeRule(2, PurgeKind.OBJECT, PurgeMode.HARD, 8, 0.0, "vod|/media/t1/hd/a"),
            PurgeRule(2, PurgeKind.OBJECT, PurgeMode.HARD, 8, 0.0, "vod|/media/t1/hd/a"),
        ]
    )
    assert (rules.newest, len(rules.rules)) == (8, 2)
    assert rules.judge("vod|/media/t1/hd/a", 4) is PurgeMode.HARD
    assert rules.judge("vod|/media/t1/hd/b", 4) is PurgeMode.SOFT
    assert rules.judge("vod|/media/t1/hd/b", 5) is None
    assert rules.judge("vod|/media/t1/hd/a", 7) is PurgeMode.HARD
    assert rules.judge("vod|/media/t1/hd/a", 8) is None
    assert rules.judge("vod|/media/t2/hd/a", 0) is None
    everything = PurgeRules([PurgeRule(3, PurgeKind.ALL, PurgeMode.HARD, 9, 0.0)])
    assert everything.judge("anything", 8) is PurgeMode.HARD
    assert PurgeRules().judge("anything", 0) is None


# -- counting ----------------------------------------------------------------------------------------------------------


def test_a_batch_is_due_by_blocks_or_by_age() -> None:
    batch = Batch(max_blocks=3, max_age_s=1.0)
    assert not batch.due(100.0)
    assert batch.due_in_s(100.0) is None
    batch.add(100.0)
    batch.add(100.5)
    assert not batch.due(100.9)
    assert batch.due_in_s(100.9) == pytest.approx(0.1)
    assert batch.due(101.0)
    batch.add(100.6)
    assert batch.due(100.6)
    assert batch.due_in_s(100.6) == 0.0
    batch.clear()
    assert not batch.due(math.inf)


def test_dead_bytes_count_until_released_and_pins_have_their_limit() -> None:
    space = Space(quota_bytes=100 * 4096, cache_share=0.25)
    space.add(60 * 4096, pinned=True)
    space.add(40 * 4096, pinned=False)
    assert space.refusal(16 * 4096, pinned=True) is NoSpaceReason.PINNED_QUOTA
    assert space.refusal(15 * 4096, pinned=True) is None
    assert space.refusal(41 * 4096, pinned=False) is NoSpaceReason.NOT_ADMITTED
    assert space.to_evict(10 * 4096) == 10 * 4096
    space.kill(40 * 4096, pinned=False)
    assert (space.used_bytes, space.dead_bytes, space.free_bytes) == (100 * 4096, 40 * 4096, 0)
    assert space.to_evict(10 * 4096) == 0, "what is dead is on its way"
    assert not space.fits(4096)
    space.release(40 * 4096)
    assert space.fits(40 * 4096)
    assert allocated(1) == 4096


@given(st.lists(st.sampled_from(["take", "give"]), max_size=60))
def test_slots_are_never_given_out_twice(actions: list[str]) -> None:
    slots = Slots(8)
    taken: dict[int, int] = {}
    freed: list[int] = []
    for extent_id, action in enumerate(actions):
        if action == "take":
            slot = slots.take(extent_id)
            if slot == NO_SLOT:
                assert len(taken) == 8
                continue
            assert slot not in taken
            if slot in freed:
                assert slot == freed.pop(0), "the one that is free for the longest time"
                assert len(freed) + len(taken) == 7, "only when no fresh one is left"
            taken[slot] = extent_id
        elif taken:
            slot, _ = taken.popitem()
            slots.give_back(slot)
            freed.append(slot)
        assert all(slots.owner(slot) == owner for slot, owner in taken.items())
        assert len(slots) == len(taken)


def test_a_claimed_slot_is_not_claimed_or_taken_again() -> None:
    slots = Slots(3)
    assert slots.claim(1, 10)
    assert not slots.claim(1, 11)
    assert not slots.claim(3, 12)
    assert [slots.take(20), slots.take(21), slots.take(22)] == [0, 2, NO_SLOT]


def test_marks_count_for_their_extent_only_and_saturate() -> None:
    marks = Marks(memoryview(bytearray(8 * 4)).cast("Q"))
    marks.assign(2, 0xABC)
    marks.touch(2, 0xDEF, 1)
    marks.touch(99, 0xABC, 1)
    marks.touch(NO_SLOT, 0xABC, 1)
    assert marks.collect() == []
    for _ in range(300):
        marks.touch(2, 0xABC, 0x1_0007)
    marks.adopt(2, 0xABC)
    (mark,) = marks.collect()
    assert (mark.slot, mark.extent_id_low, mark.hits, mark.epoch) == (2, 0xABC, 255, 7)
    assert marks.collect() == []
    marks.touch(2, 0xABC, 8)
    marks.adopt(2, 0xDEF)
    assert marks.collect() == [], "another extent starts anew"
