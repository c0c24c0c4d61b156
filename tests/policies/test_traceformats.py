"""Trace readers: what is written is read, and what is wrong is named with its place."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.traceformats import Columns, TraceError, pack_oracle_general, read_csv, read_oracle_general

_requests = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1)))


@given(_requests, st.lists(st.integers(1, 60), max_size=30))
def test_records_are_read_whatever_the_pieces_they_come_in(
    requests: list[tuple[int, int, int]], lengths: list[int]
) -> None:
    data = pack_oracle_general(requests)
    chunks = []
    for length in lengths:
        chunks.append(data[:length])
        data = data[length:]
    assert list(read_oracle_general([*chunks, data])) == requests


def test_records_carry_the_index_of_the_next_request() -> None:
    data = pack_oracle_general([(1, 7, 5), (2, 8, 5), (3, 7, 5)])
    assert [struct.unpack_from("<IQIq", data, at)[3] for at in (0, 24, 48)] == [2, -1, -1]


def test_a_record_that_is_cut_off_is_named() -> None:
    with pytest.raises(TraceError, match="record 2 is cut off: 6 of 24 bytes at byte 24"):
        list(read_oracle_general([pack_oracle_general([(1, 7, 5)]) + bytes(6)]))


@given(st.lists(st.binary(max_size=100)))
def test_odd_bytes_raise_nothing_but_the_readers_own_error(chunks: list[bytes]) -> None:
    try:
        list(read_oracle_general(chunks))
        list(read_csv([chunk.decode("latin-1") for chunk in chunks]))
    except TraceError:
        pass


def test_lines_are_read_with_and_without_names() -> None:
    wanted = [(1, "a", 10), (2, "b", 20)]
    assert list(read_csv(["1,a,10\n", "2.7,b,20,x\n", "\n"])) == wanted
    assert list(read_csv(["time,key,size", "1,a,10", "2,b,20"])) == wanted


def test_columns_can_be_anywhere_or_absent() -> None:
    assert list(read_csv(["b\t9\t4"], Columns(time=3, key=1, size=2, separator="\t"))) == [(4, "b", 9)]
    assert list(read_csv(["x", "y"], Columns(time=0, key=1, size=0))) == [(0, "x", 1), (0, "y", 1)]
    for wrong in ({"key": 0}, {"size": -1}, {"separator": ""}):
        with pytest.raises(ValueError, match=r"column|separator"):
            Columns(**wrong)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["1,a,10", "2,b"], "line 2: 2 fields, but column 3 is needed"),
        (["1,a,10", "2,b,x"], "line 2: invalid literal"),
        (["1,a,10", "2,b,-4"], "line 2: a size below zero"),
        (["1,a,10", "inf,b,4"], "line 2: "),
        (["1,a,10", "2,b,99999999999999999999"], "line 2: a size beyond all disks"),
        (["1,a,-3"], "line 1: a size below zero"),
    ],
)
def test_a_bad_line_is_named(lines: list[str], words: str) -> None:
    with pytest.raises(TraceError, match=words):
        list(read_csv(lines))
