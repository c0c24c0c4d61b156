"""Preconditions in the order of RFC 9110 §13.2.2."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oca.http.conditions import Verdict, evaluate, parse_date, range_applies

ETAG = b'"b3-00ff"'
NOW = 1_762_000_000.0
MODIFIED = 1_761_000_000.0
DATE = b"Mon, 20 Oct 2025 22:40:00 GMT"
EARLIER = b"Mon, 20 Oct 2025 22:39:59 GMT"
LATER = b"Mon, 20 Oct 2025 22:40:01 GMT"


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        ({}, Verdict.PROCEED),
        ({b"if-match": ETAG}, Verdict.PROCEED),
        ({b"if-match": b'"x", ' + ETAG}, Verdict.PROCEED),
        ({b"if-match": b"W/" + ETAG}, Verdict.FAILED),
        ({b"if-match": b'"x"'}, Verdict.FAILED),
        ({b"if-match": b"*"}, Verdict.PROCEED),
        ({b"if-none-match": ETAG}, Verdict.NOT_MODIFIED),
        ({b"if-none-match": b"W/" + ETAG}, Verdict.NOT_MODIFIED),
        ({b"if-none-match": b'"x",W/"y"'}, Verdict.PROCEED),
        ({b"if-none-match": b"*"}, Verdict.NOT_MODIFIED),
        ({b"if-none-match": b"unquoted"}, Verdict.PROCEED),
        ({b"if-modified-since": DATE}, Verdict.NOT_MODIFIED),
        ({b"if-modified-since": EARLIER}, Verdict.PROCEED),
        ({b"if-modified-since": b"yesterday"}, Verdict.PROCEED),
        ({b"if-none-match": b'"x"', b"if-modified-since": DATE}, Verdict.PROCEED),
        ({b"if-unmodified-since": EARLIER}, Verdict.FAILED),
        ({b"if-unmodified-since": DATE}, Verdict.PROCEED),
        ({b"if-match": ETAG, b"if-unmodified-since": EARLIER}, Verdict.PROCEED),
        ({b"if-match": b'"x"', b"if-none-match": ETAG}, Verdict.FAILED),
        ({b"if-match": ETAG, b"if-none-match": ETAG}, Verdict.NOT_MODIFIED),
    ],
)
def test_each_condition_decides_as_the_rfc_says(headers: dict[bytes, bytes], verdict: Verdict) -> None:
    assert evaluate(headers, ETAG, MODIFIED, NOW) is verdict


@pytest.mark.parametrize(
    ("value", "applies"),
    [
        (ETAG, True),
        (b"W/" + ETAG, False),
        (b'"x"', False),
        (DATE, True),
        (EARLIER, False),
        (LATER, False),
        (b"x", False),
    ],
)
def test_if_range_is_strong(value: bytes, applies: bool) -> None:
    assert range_applies({b"if-range": value}, ETAG, MODIFIED, NOW) is applies


def test_a_date_within_the_minute_is_no_strong_validator() -> None:
    assert not range_applies({b"if-range": DATE}, ETAG, MODIFIED, MODIFIED + 30)


def test_without_validators_nothing_matches() -> None:
    assert evaluate({b"if-none-match": b'"x"', b"if-modified-since": DATE}, None, None, NOW) is Verdict.PROCEED
    assert evaluate({b"if-match": b'"x"'}, None, None, NOW) is Verdict.FAILED
    assert not range_applies({b"if-range": DATE}, None, None, NOW)


def test_the_three_forms_of_a_date_are_one_instant() -> None:
    assert parse_date(b"Sun, 06 Nov 1994 08:49:37 GMT", NOW) == 784111777.0
    assert parse_date(b"Sunday, 06-Nov-94 08:49:37 GMT", NOW) == 784111777.0
    assert parse_date(b"Sun Nov  6 08:49:37 1994", NOW) == 784111777.0


@given(st.integers(31_536_000, 4_070_908_800))
def test_every_instant_comes_back(instant: int) -> None:
    assert parse_date(formatdate(instant, usegmt=True).encode(), NOW) == instant


@given(st.binary(max_size=50))
def test_junk_is_no_date_and_no_match(junk: bytes) -> None:
    parse_date(junk, NOW)
    evaluate({b"if-none-match": junk, b"if-match": junk}, ETAG, MODIFIED, NOW)
    range_applies({b"if-range": junk}, ETAG, MODIFIED, NOW)


@pytest.mark.parametrize(
    "date", [b"Sun, 31 Feb 2025 08:49:37 GMT", b"Sun, 06 Nov 1994 25:49:37 GMT", b"Sun, 06 Now 1994 08:49:37 GMT"]
)
def test_a_day_that_never_was_is_no_date(date: bytes) -> None:
    assert parse_date(date, NOW) is None
