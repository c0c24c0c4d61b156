"""Packed sets of keys: what is put in is found, packed and unpacked, through any deltas."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.keysets import HASH_BYTES, NO_KEYS, KeySet, key_hash, pack
from contracts.reports import Holding
from contracts.world import Holdings, digest_of

KEYS = st.sets(st.text("abcdef", max_size=3), max_size=80)


@given(KEYS, KEYS)
def test_a_set_has_what_was_put_in_and_nothing_else(inside: set[str], asked: set[str]) -> None:
    found = KeySet.of(inside)
    assert {key for key in asked | inside if key in found} == inside
    assert len(found) == len(inside)


@given(KEYS)
def test_a_packed_set_is_eight_bytes_a_key_and_comes_back_the_same(inside: set[str]) -> None:
    packed = pack(inside)
    assert len(packed) == HASH_BYTES * len(inside)
    assert KeySet.unpacked(packed) == KeySet.of(inside)


@settings(max_examples=60)
@given(KEYS, st.lists(st.tuples(KEYS, KEYS), max_size=12))
def test_any_deltas_leave_what_a_plain_set_would_hold(first: set[str], deltas: list[tuple[set[str], set[str]]]) -> None:
    found, plain = KeySet.of(first), set(first)
    for added, gone in deltas:
        before = list(found)
        after = found.changed(map(key_hash, added), map(key_hash, gone))
        assert list(found) == before, "a set never changes"
        found, plain = after, (plain - gone) | added
        assert found == KeySet.of(plain)
        assert len(found) == len(plain)
        assert KeySet.unpacked(found.packed()) == found


def test_a_delta_sifts_the_base_that_it_shares_no_second_time() -> None:
    first = KeySet.of(f"key-{n}" for n in range(100))
    once = first.changed([key_hash("new")], [key_hash("key-1")])
    twice = once.changed([key_hash("newer")], [key_hash("key-2")])
    assert len(first._sieve) > 0
    assert once._sieve is first._sieve
    assert twice._sieve is first._sieve


def test_many_differences_are_merged_and_stay_right() -> None:
    found = KeySet.of(f"key-{n}" for n in range(1000))
    for n in range(0, 1000, 2):
        found = found.changed([key_hash(f"new-{n}")], [key_hash(f"key-{n}")])
    assert len(found) == 1000
    assert "key-1" in found
    assert "key-2" not in found
    assert "new-998" in found


@pytest.mark.parametrize(
    "packed", [b"1234567", KeySet.of(["a", "b"]).packed()[8:] + KeySet.of(["a", "b"]).packed()[:8], pack(["a"]) * 2]
)
def test_what_is_no_packed_set_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="a packed set of keys"):
        KeySet.unpacked(packed)


def test_a_digest_says_what_the_lists_say() -> None:
    held = (Holding("whole", 10, 10, True), Holding("part", 5, 10, True), Holding("empty", 0, 0, True))
    full = digest_of(Holdings("a1", full=True, held=held, planned=("whole", "later")))
    assert (full.held, full.planned, full.dropped) == (pack(["whole"]), pack(["whole", "later"]), b"")
    delta = digest_of(Holdings("a1", full=False, held=held, dropped=("gone", "whole")))
    assert (delta.held, delta.dropped) == (pack(["whole"]), pack(["part", "empty", "gone"]))
    assert len(NO_KEYS) == 0
