"""Parts of one representation from several answers (RFC 9111 §3.3, §3.4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oca.http.caching.combining import Joining, combined, is_whole, joins, version_begun
from tests.oca.http.caching.shapes import NOW, TERMS, received, stored

BEGUN = 'etag: "a"\ncontent-range: bytes 0-9/100\ncontent-length: 10\ndate: {now}'


@pytest.mark.parametrize(
    ("text", "status", "joining"),
    [
        ('etag: "a"\ncontent-range: bytes 10-19/100', 206, Joining.PART),
        ('etag: "a"\ncontent-range: bytes 10-19/*', 206, Joining.PART),
        ('etag: "b"\ncontent-range: bytes 10-19/100', 206, Joining.CHANGED),
        ('etag: "a"\ncontent-range: bytes 10-19/101', 206, Joining.CHANGED),
        ('etag: "a"\ncontent-range: bytes 10-19/100\ncontent-encoding: gzip', 206, Joining.CHANGED),
        ('etag: W/"a"\ncontent-range: bytes 10-19/100', 206, Joining.UNPROVEN),
        ("content-range: bytes 10-19/100", 206, Joining.UNPROVEN),
        (
            "last-modified: {now-86400}\ndate: {now}\ncontent-range: bytes 10-19/100",
            206,
            Joining.CHANGED,
        ),
        ('etag: "a"', 206, Joining.MALFORMED),
        ('etag: "a"\ncontent-range: bytes 19-10/100', 206, Joining.MALFORMED),
        ('etag: "a"\ncontent-range: bytes 10-19/100\ncontent-length: 9', 206, Joining.MALFORMED),
        ('etag: "a"\ncontent-length: 100', 200, Joining.WHOLE),
        ('etag: "b"\ncontent-length: 100', 200, Joining.CHANGED),
        ("content-length: 100", 200, Joining.UNPROVEN),
        ('etag: "a"', 416, Joining.NO_PART),
        ('etag: "a"', 412, Joining.NO_PART),
    ],
)
def test_bytes_join_a_version_only_under_its_strong_validator_and_length(
    text: str, status: int, joining: Joining
) -> None:
    version = version_begun(received(BEGUN, 206))
    assert version is not None
    assert joins(version, received(text, status)) is joining


def test_a_date_a_minute_old_carries_a_version_and_a_younger_one_none() -> None:
    part = "content-range: bytes 0-9/100\ndate: {now}\nlast-modified: "
    old = version_begun(received(part + "{now-60}", 206))
    assert old is not None
    assert joins(old, received(part.replace("0-9", "10-19") + "{now-60}", 206)) is Joining.PART
    assert joins(old, received(part.replace("0-9", "10-19") + "{now-61}", 206)) is Joining.CHANGED
    assert version_begun(received(part + "{now-59}", 206)) is None
    assert version_begun(received("last-modified: {now-600}\ncontent-length: 5")) is None


@pytest.mark.parametrize("text", ['etag: W/"a"\ncontent-length: 5', "content-length: 5", 'etag: "a"'])
def test_without_a_strong_validator_or_a_length_nothing_may_ever_be_combined(text: str) -> None:
    assert version_begun(received(text)) is None


def test_the_newest_header_stands_whatever_the_order_of_the_answers() -> None:
    kept = stored(BEGUN + "\ncache-control: max-age=5\nx-a: old", 206)
    newer = received(BEGUN.replace("{now}", "{now+9}") + "\ncache-control: max-age=7\nx-a: new", 206, at=NOW + 9)
    older = received(BEGUN.replace("{now}", "{now-9}") + "\nx-a: older", 206, at=NOW + 9)
    after = combined({}, kept, newer, TERMS).stored
    assert (b"x-a", b"new") in after.fields
    assert after.freshness.lifetime_s == 7
    assert (after.size, after.version, after.status) == (100, kept.version, 200)
    assert combined({}, kept, older, TERMS).stored == kept


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 12))), st.integers(0, 30))
def test_spans_are_whole_exactly_when_every_byte_is_in_one(pairs: list[tuple[int, int]], size: int) -> None:
    spans = [(first, first + length) for first, length in pairs]
    covered = {position for first, last in spans for position in range(first, last + 1)}
    assert is_whole(spans, size) == set(range(size)).issubset(covered)
