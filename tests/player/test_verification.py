"""The wall between the network and a claim that every byte was right."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.digests import BLOCK_BYTES, DigestBuilder, FileDigests
from player.verification import FileVerifier, Verifier, WrongBytes, merge

SIZE = 2 * BLOCK_BYTES + 12_345
DATA = random.Random(7).randbytes(SIZE)


def digests_of(data: bytes) -> FileDigests:
    builder = DigestBuilder("vod|/media/t/sd/f.mp4", "video/mp4")
    builder.update(data)
    return builder.finish()


DIGESTS = digests_of(DATA)


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, SIZE), max_size=8), order=st.randoms(use_true_random=False))
def test_a_file_in_any_pieces_and_any_order_is_proven_whole(cuts: list[int], order: random.Random) -> None:
    edges = sorted({0, SIZE, *cuts})
    pieces = list(itertools.pairwise(edges))
    order.shuffle(pieces)
    verifier = FileVerifier(DIGESTS)
    for low, high in pieces:
        verifier.add(low, DATA[low:high])
    assert verifier.checked_bytes == SIZE
    assert verifier.missing() == []


@settings(max_examples=40, deadline=None)
@given(at=st.integers(0, SIZE - 1))
def test_one_flipped_bit_anywhere_is_found(at: int) -> None:
    wrong = bytearray(DATA)
    wrong[at] ^= 1
    with pytest.raises(WrongBytes):
        FileVerifier(DIGESTS).add(0, bytes(wrong))


@settings(max_examples=40, deadline=None)
@given(low=st.integers(0, SIZE - 1), length=st.integers(1, SIZE))
def test_what_is_missing_completes_what_was_begun(low: int, length: int) -> None:
    high = min(SIZE, low + length)
    verifier = FileVerifier(DIGESTS)
    verifier.add(low, DATA[low:high])
    for first, end in verifier.missing():
        verifier.add(first, DATA[first:end])
    assert verifier.missing() == []
    first_block, last_block = low // BLOCK_BYTES, (high - 1) // BLOCK_BYTES
    assert verifier.checked_bytes == min(SIZE, (last_block + 1) * BLOCK_BYTES) - first_block * BLOCK_BYTES


def test_a_piece_that_differs_from_what_came_before_is_wrong() -> None:
    verifier = FileVerifier(DIGESTS)
    verifier.add(0, DATA[:1000])
    with pytest.raises(WrongBytes, match="differently twice"):
        verifier.add(500, bytes(100))


def test_bytes_behind_the_end_and_unknown_files_are_wrong() -> None:
    with pytest.raises(WrongBytes, match="behind the end"):
        FileVerifier(DIGESTS).add(SIZE - 1, b"ab")
    with pytest.raises(WrongBytes, match="no published digests"):
        Verifier({}).add("/media/x", 0, b"a")


def test_merged_spans_are_disjoint_and_sorted() -> None:
    assert merge([(10, 20)], 0, 5) == [(0, 5), (10, 20)]
    assert merge([(0, 5), (10, 20)], 5, 10) == [(0, 20)]
