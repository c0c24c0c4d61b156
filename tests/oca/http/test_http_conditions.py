"""Preconditions in the order of RFC 9110 §13.2.2."""

from __future__ import annotations

from datetime import UTC, datetime
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
        ({b"if-match": b" , ,\t" + ETAG + b" ,, "}, Verdict.PROCEED),
        ({b"if-match": b'"x"' + ETAG}, Verdict.FAILED),
        ({b"if-match": b'"x", *'}, Verdict.FAILED),
        ({b"if-match": ETAG + b" junk"}, Verdict.FAILED),
        ({b"if-match": b"w/" + ETAG}, Verdict.FAILED),
        ({b"if-none-match": b", " + ETAG}, Verdict.NOT_MODIFIED),
        ({b"if-none-match": b'"a,b",' + ETAG}, Verdict.NOT_MODIFIED),
        ({b"if-none-match": b'"' + ETAG + b'"'}, Verdict.PROCEED),
        ({b"if-none-match": b"w/" + ETAG}, Verdict.PROCEED),
        ({b"if-modified-since": b"Monday, 20-Oct-25 22:40:00 GMT"}, Verdict.NOT_MODIFIED),
        ({b"if-modified-since": b"Mon Oct 20 22:40:00 2025"}, Verdict.NOT_MODIFIED),
        ({b"if-modified-since": DATE + b", " + DATE}, Verdict.PROCEED),
        ({b"if-modified-since": b"1761000000"}, Verdict.PROCEED),
        ({b"if-unmodified-since": b"Mon Oct 20 22:39:59 2025"}, Verdict.FAILED),
        ({b"if-unmodified-since": EARLIER + b" "}, Verdict.PROCEED),
        ({b"if-unmodified-since": EARLIER, b"if-none-match": ETAG}, Verdict.FAILED),
        ({b"if-unmodified-since": DATE, b"if-none-match": ETAG}, Verdict.NOT_MODIFIED),
        ({b"if-match": b'"x"', b"if-unmodified-since": LATER}, Verdict.FAILED),
        ({b"if-none-match": b"unquoted", b"if-modified-since": DATE}, Verdict.PROCEED),
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
        (b"*", False),
        (ETAG + b", " + ETAG, False),
        (ETAG[:-1], False),
        (b"Mon Oct 20 22:40:00 2025", True),
        (b"Monday, 20-Oct-25 22:40:00 GMT", True),
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


@pytest.mark.parametrize(
    ("today", "date", "year"),
    [
        ("2025-11-01", b"Sunday, 06-Nov-75 08:49:37 GMT", 1975),
        ("2025-11-06", b"Sunday, 06-Nov-75 00:00:00 GMT", 2075),
        ("2025-11-06", b"Sunday, 06-Nov-75 00:00:01 GMT", 1975),
        ("2025-11-01", b"Sunday, 06-Nov-76 08:49:37 GMT", 1976),
        ("2025-11-01", b"Sunday, 06-Nov-74 08:49:37 GMT", 2074),
        ("2025-11-01", b"Sunday, 06-Nov-00 08:49:37 GMT", 2000),
        ("2025-11-01", b"Sunday, 06-Nov-99 08:49:37 GMT", 1999),
        ("2024-12-31", b"Friday, 31-Jan-75 08:49:37 GMT", 1975),
        ("2025-01-01", b"Friday, 31-Dec-74 23:59:59 GMT", 2074),
    ],
)
def test_two_digits_of_a_year_reach_fifty_years_ahead_to_the_second(today: str, date: bytes, year: int) -> None:
    found = parse_date(date, datetime.fromisoformat(today).replace(tzinfo=UTC).timestamp())
    assert found is not None
    assert datetime.fromtimestamp(found, UTC).year == year


@given(st.integers(31_536_000, 4_070_908_800))
def test_every_instant_comes_back(instant: int) -> None:
    assert parse_date(formatdate(instant, usegmt=True).encode(), NOW) == instant


@given(st.binary(max_size=50))
def test_junk_is_no_date_and_no_match(junk: bytes) -> None:
    parse_date(junk, NOW)
    evaluate({b"if-none-match": junk, b"if-match": junk}, ETAG, MODIFIED, NOW)
    range_applies({b"if-range": junk}, ETAG, MODIFIED, NOW)


@pytest.mark.parametrize(
    "date",
    [
        b"Sunday, 29-Feb-25 08:49:37 GMT", b"Sun Nov 31 08:49:37 1994", b"Sun Nov 6 08:49:37 1994", b"Sun, 6 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 08:49:37 UTC", b"Sun, 06 Nov 94 08:49:37 GMT", b"sun, 06 nov 1994 08:49:37 gmt", b"Sun, 06 Nov 1994 08:60:37 GMT",
        b"Sun, 06 Nov 1994 08:49:61 GMT", b"Sun, 00 Nov 1994 08:49:37 GMT", b"Sun, 31 Feb 2025 08:49:37 GMT", b"Sun, 06 Nov 1994 25:49:37 GMT",
        b"Sun, 06 Now 1994 08:49:37 GMT",
    ],
)  # fmt: skip
def test_a_day_that_never_was_is_no_date(date: bytes) -> None:
    assert parse_date(date, NOW) is None
