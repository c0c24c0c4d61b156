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
    if length and not size:
        assert parse_range(b"bytes=-%d" % length, size) is None, "satisfiable, but no Content-Range can say so"
    elif length == 0:
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
    overlapping = sum(
        any(first <= earlier[1] for earlier in sorted(inside)[:place])
        for place, (first, _last) in enumerate(sorted(inside))
    )
    greedy = len(inside) > 1 and (sum(last - first + 1 for first, last in inside) > size or overlapping > 1)
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
    assert parse_range(b"bytes=" + huge + b"-" + huge[:-1], 10) is None, "the end lies before the beginning"
    assert parse_range(b"bytes=92233720368547758089223372036854775808-9223372036854775807", 10) is None
    assert parse_range(b"bytes=5-18446744073709551619", 10) == ((5, 9),), "nothing wraps around"


@pytest.mark.parametrize(
    "header",
    [
        b"bytes =0-1",
        b"bytes\t=0-1",
        b"bytes==0-1",
        b"bytes=0 -1",
        b"bytes=0-1,x",
        b"bytes=0x0-1",
        b"bytes=0-1;2-3",
        b"",
        b"bytes",
        b"bytes=",
        b"bytes=-",
        b"bytes=1",
        b"bytes=1-2-3",
        b"bytes=+1-2",
        b"chunks=0-1",
        b"bytes=,",
    ],
)
def test_what_is_not_a_byte_range_is_ignored(header: bytes) -> None:
    assert parse_range(header, 100) is None


def test_the_unit_is_case_insensitive_and_empty_elements_are_legal() -> None:
    assert parse_range(b"Bytes=, 0-1 ,, 4-5,", 100) == ((0, 1), (4, 5))
    assert parse_range(b"BYTES=\t4-5", 100) == ((4, 5),)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (b"bytes=0-0,0-0", ((0, 0), (0, 0))),
        (b"bytes=0-9,5-14", ((0, 9), (5, 14))),
        (b"bytes=0-9,5-14,8-20", None),
        (b"bytes=0-0,0-0,0-0", None),
        (b"bytes=0-9,5-14,50-59,55-64", None),
        (
            b"bytes=" + b",".join(b"%d-%d" % (at, at) for at in range(0, 32, 2)),
            tuple((at, at) for at in range(0, 32, 2)),
        ),
        (b"bytes=" + b",".join(b"%d-%d" % (at, at) for at in range(0, 34, 2)), None),
        (b"bytes=" + b"0-," * 1000, None),
    ],
)
def test_what_asks_for_more_than_it_needs_gets_the_whole(header: bytes, found: object) -> None:
    assert parse_range(header, 100) == found


def test_no_part_of_an_empty_object_exists_and_its_end_is_all_of_it() -> None:
    for header in (b"bytes=0-", b"bytes=0-0", b"bytes=-0", b"bytes=0-,1-"):
        with pytest.raises(NotSatisfiable):
            parse_range(header, 0)
    assert parse_range(b"bytes=-5", 0) is None
    assert parse_range(b"bytes=0-0,-5", 0) is None


def slices(spans: tuple[tuple[int, int], ...] | None, data: bytes) -> list[bytes]:
    assert spans is not None
    return [data[first : last + 1] for first, last in spans]
