from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.ranges import Answer, answer

ETAG = '"b3-00112233"'


def get(size: int = 100, method: str = "GET", **headers: str) -> Answer:
    return answer(method, {name.replace("_", "-"): value for name, value in headers.items()}, size, ETAG)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("bytes=0-9", Answer(206, 0, 10, "bytes 0-9/100")),
        ("bytes=90-", Answer(206, 90, 10, "bytes 90-99/100")),
        ("bytes=-5", Answer(206, 95, 5, "bytes 95-99/100")),
        ("bytes=-500", Answer(206, 0, 100, "bytes 0-99/100")),
        ("bytes=50-5000", Answer(206, 50, 50, "bytes 50-99/100")),
        ("Bytes=1-1", Answer(206, 1, 1, "bytes 1-1/100")),
        ("bytes=100-", Answer(416, content_range="bytes */100")),
        ("bytes=-0", Answer(416, content_range="bytes */100")),
        ("bytes=9-1", Answer(200, 0, 100)),
        ("bytes=0-" + "9" * 5000, Answer(206, 0, 100, "bytes 0-99/100")),
        ("bytes=-" + "9" * 5000, Answer(206, 0, 100, "bytes 0-99/100")),
        ("bytes=" + "9" * 5000 + "-", Answer(416, content_range="bytes */100")),
        ("bytes=" + "0" * 5000 + "7-9", Answer(206, 7, 3, "bytes 7-9/100")),
        ("bytes=\u0663-9", Answer(200, 0, 100)),
        ("bytes=-", Answer(200, 0, 100)),
        ("bytes=0-1,5-6", Answer(200, 0, 100)),
        ("lines=0-1", Answer(200, 0, 100)),
    ],
)
def test_a_range_is_answered_as_the_rfc_says(wanted: str, expected: Answer) -> None:
    assert get(Range=wanted) == expected


def test_a_range_on_head_is_ignored() -> None:
    assert get(method="HEAD", Range="bytes=0-1") == Answer(200, 0, 100)


def test_conditions_come_before_the_range() -> None:
    assert get(If_None_Match=ETAG, Range="bytes=0-1").status == 304
    assert get(If_None_Match=f'"x", W/{ETAG}').status == 304
    assert get(If_None_Match='"x"').status == 200
    assert get(If_Match='"x"', If_None_Match=ETAG).status == 412
    assert get(If_Match=f"W/{ETAG}").status == 412
    assert get(If_Match="*", Range="bytes=0-1").status == 206


def test_a_range_of_another_version_gets_the_whole_file() -> None:
    assert get(If_Range=ETAG, Range="bytes=0-1").status == 206
    assert get(If_Range='"older"', Range="bytes=0-1") == Answer(200, 0, 100)
    assert get(If_Range=f"W/{ETAG}", Range="bytes=0-1").status == 200


@given(st.text(max_size=40), st.integers(1, 10_000))
def test_no_header_leads_outside_the_file(noise: str, size: int) -> None:
    for wanted in (noise, f"bytes={noise}"):
        found = get(size, Range=wanted)
        assert found.status in (200, 206, 416)
        assert found.first >= 0
        assert found.first + found.length <= size


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 200))
def test_ranges_cut_like_slices(first: int, last: int, size: int) -> None:
    body = bytes(number % 251 for number in range(size))
    found = get(size, Range=f"bytes={first}-{last}")
    if found.status == 206:
        assert body[found.first : found.first + found.length] == body[first : last + 1]
    else:
        assert first >= size or last < first
