from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.catalogue import Segment
from origin.boxes import BoxError, read_index


def box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def sidx(rows: list[tuple[int, int, int]], timescale: int = 1000, version: int = 0, first: int = 0) -> bytes:
    times = struct.pack(">II", 0, first) if version == 0 else struct.pack(">QQ", 0, first)
    head = struct.pack(">B3xII", version, 1, timescale) + times + struct.pack(">HH", 0, len(rows))
    return box(b"sidx", head + b"".join(struct.pack(">III", *row) for row in rows))


PREFIX = box(b"ftyp", b"isom") + box(b"moov", b"m" * 30)
KEY = 0x90000000


def file_of(rows: list[tuple[int, int, int]], version: int = 0) -> bytes:
    return PREFIX + sidx(rows, version=version) + b"s" * sum(size & 0x7FFFFFFF for size, _, _ in rows)


@pytest.mark.parametrize("version", [0, 1])
def test_ranges_and_durations_come_from_the_index(version: int) -> None:
    data = file_of([(100, 4000, KEY), (50, 2500, KEY)], version)
    index = read_index(data, len(data))
    start = len(data) - 150
    assert index.init_range == (0, len(PREFIX) - 1)
    assert index.index_range == (len(PREFIX), start - 1)
    assert index.segments == (Segment(start, 100, 4.0), Segment(start + 100, 50, 2.5))
    assert index.starts_with_keyframe == (True, True)
    assert index.duration_s == 6.5


def test_a_segment_without_a_keyframe_is_seen() -> None:
    data = file_of([(10, 1, KEY), (10, 1, 0)])
    assert read_index(data, len(data)).starts_with_keyframe == (True, False)


def test_a_file_longer_than_its_index_is_refused() -> None:
    data = file_of([(10, 1, KEY)])
    with pytest.raises(BoxError, match="the file at"):
        read_index(data + b"x", len(data) + 1)


def test_an_index_of_indexes_is_refused() -> None:
    data = file_of([(10 | 0x80000000, 1, KEY)])
    with pytest.raises(BoxError, match="another index"):
        read_index(data, len(data))


def test_a_file_without_an_index_is_refused() -> None:
    data = PREFIX + box(b"moof", b"") + box(b"mdat", b"")
    with pytest.raises(BoxError, match="no segment index"):
        read_index(data, len(data))


@given(st.binary(max_size=300))
def test_only_the_one_error_leaves_the_parser(noise: bytes) -> None:
    for data in (noise, PREFIX + noise, PREFIX + box(b"sidx", noise)):
        with contextlib.suppress(BoxError):
            read_index(data, len(data))


@given(st.data())
def test_a_damaged_index_is_read_or_refused(data: st.DataObject) -> None:
    whole = bytearray(file_of([(10, 4, KEY), (20, 4, KEY)]))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    try:
        index = read_index(bytes(whole), len(whole))
    except BoxError:
        return
    assert index.segments[-1].offset + index.segments[-1].length == len(whole)
