"""Ranges: whatever is asked of whatever size, what comes is that slice of the bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oca.http.ranges import MAX_PARTS, NotSatisfiable, parse_range

sizes = st.integers(0, 2000)


@given(sizes, st.integers(0, 2500), st.integers(0, 2500))
def test_a_closed_range_is_the_slice(size: int, first: int, last: int) -> None:
    data = bytes(size % 251 for size in range(size))
    header = b"bytes=%d-%d" % (first, last)
    if last < first:
        assert parse_range(header, size) is None
    elif first >= size:
        with pytest.raises(NotSatisfiable):
            parse_range(header, size)
    else:
        assert slices(parse_range(header, size), data) == [data[first : last + 1]]


@given(sizes, st.integers(0, 2500))
def test_an_open_range_is_the_rest(size: int, first: int) -> None:
    data = bytes(size % 251 for size in range(size))
    if first >= size:
        with pytest.raises(NotSatisfiable):
            parse_range(b"bytes=%d-" % first, size)
    else:
        assert slices(parse_range(b"bytes=%d-" % first, size), data) == [data[first:]]


@given(sizes, st.integers(0, 2500))
def test_a_suffix_is_the_end(size: int, length: int) -> None:
    data = bytes(size % 251 for size in range(size))
    if length == 0 or size == 0:
        with pytest.raises(NotSatisfiable):
            parse_range(b"bytes=-%d" % length, size)
    else:
        assert slices(parse_range(b"bytes=-%d" % length, size), data) == [data[-length:]]


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=1, max_size=20), st.integers(1, 200))
def test_several_ranges_keep_their_order_or_are_ignored_as_a_whole(pairs: list[tuple[int, int]], size: int) -> None:
    header = b"bytes=" + b" , ".join(b"%d-%d" % pair for pair in pairs)
    inside = [(first, min(last, size - 1)) for first, last in pairs if first < size]
    try:
        found = parse_range(header, size)
    except NotSatisfiable:
        assert not inside
        return
    malformed = any(last < first for first, last in pairs)
    greedy = len(inside) > 1 and sum(last - first + 1 for first, last in inside) > size
    if malformed or greedy or len(pairs) > MAX_PARTS:
        assert found is None
    else:
        assert found == tuple(inside)


@given(st.binary(max_size=60), sizes)
def test_nothing_makes_it_raise_anything_else(junk: bytes, size: int) -> None:
    for header in (junk, b"bytes=" + junk):
        try:
            found = parse_range(header, size)
        except NotSatisfiable:
            continue
        for first, last in found or ():
            assert 0 <= first <= last < size


def test_numbers_beyond_every_file_are_numbers() -> None:
    huge = b"9" * 4000
    assert parse_range(b"bytes=0-" + huge, 10) == ((0, 9),)
    assert parse_range(b"bytes=-" + huge, 10) == ((0, 9),)
    assert parse_range(b"bytes=" + b"0" * 50 + b"3-4", 10) == ((3, 4),)
    with pytest.raises(NotSatisfiable):
        parse_range(b"bytes=" + huge + b"-", 10)


@pytest.mark.parametrize(
    "header",
    [b"", b"bytes", b"bytes=", b"bytes=-", b"bytes=1", b"bytes=1-2-3", b"bytes=+1-2", b"chunks=0-1", b"bytes=,"],
)
def test_what_is_not_a_byte_range_is_ignored(header: bytes) -> None:
    assert parse_range(header, 100) is None


def test_the_unit_is_case_insensitive_and_empty_elements_are_legal() -> None:
    assert parse_range(b"Bytes=, 0-1 ,, 4-5,", 100) == ((0, 1), (4, 5))


def slices(spans: tuple[tuple[int, int], ...] | None, data: bytes) -> list[bytes]:
    assert spans is not None
    return [data[first : last + 1] for first, last in spans]
