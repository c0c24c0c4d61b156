"""Answers from stored responses, and which parts continue a version: pure."""

from __future__ import annotations

import pytest

from oca.http.caching.combining import Version
from oca.http.caching.keeping import Received, stored_response
from oca.http.caching.stored import StoredResponse, Terms, Validator, ValidatorKind
from oca.http.cors import Cors
from oca.http.pulled import continues, plan_pulled, show, version_of
from oca.http.reasons import Outcome
from oca.http.request import Request
from oca.http.response import Answer, Surroundings, status_line

NOW = 1_763_720_000.0
AROUND = Surroundings(Cors(("*",)), b"Date: now\r\n", NOW, True)
DATE = (b"date", b"Fri, 21 Nov 2025 10:00:00 GMT")
TAGGED = Version(Validator(ValidatorKind.ETAG, b'"a"'), 1000)


def stored(status: int = 200, *fields: tuple[bytes, bytes], size: int = 1000) -> StoredResponse:
    received = Received(status, (DATE, (b"content-length", b"%d" % size), *fields), NOW - 10, NOW - 9)
    return stored_response(received, {}, Terms(), frozenset())


def answer(response: StoredResponse, size: int = 1000, method: bytes = b"GET", **headers: bytes) -> Answer:
    given = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    facts = b"Age: 9\r\nCache-Status: lowtide;hit\r\n"
    return plan_pulled(Request(method, b"/", 1, given), show(response, size), AROUND, Outcome.HIT, facts)


def lines(found: Answer) -> list[bytes]:
    return found.head.split(b"\r\n")


def test_the_origins_date_goes_out_and_no_other() -> None:
    found = lines(answer(stored()))
    assert b"Date: Fri, 21 Nov 2025 10:00:00 GMT" in found
    assert sum(line.lower().startswith(b"date:") for line in found) == 1


def test_an_error_is_sent_as_it_was_stored_whatever_range_or_condition_is_asked_for() -> None:
    found = answer(stored(404, (b"etag", b'"e"')), range=b"bytes=0-9", if_none_match=b'"e"')
    assert (found.status, found.parts, found.length) == (404, ((0, 999),), 1000)
    assert found.head.startswith(b"HTTP/1.1 404 Not Found\r\n")


def test_a_204_has_neither_body_nor_length() -> None:
    found = answer(stored(204, size=0), 0)
    assert (found.status, found.parts) == (204, ())
    assert not any(line.lower().startswith(b"content-length") for line in lines(found))


def test_a_head_has_the_length_and_no_body() -> None:
    for status in (200, 404):
        found = answer(stored(status), method=b"HEAD")
        assert found.parts == ()
        assert b"Content-Length: 1000" in lines(found)


def test_the_origins_word_on_other_pages_stands_alone() -> None:
    own = answer(stored(200, (b"access-control-allow-origin", b"https://one.example")))
    assert [line for line in lines(own) if b"llow-" in line and b"rigin" in line] == [
        b"access-control-allow-origin: https://one.example"
    ]


def test_a_status_that_nobody_registered_has_a_line_all_the_same() -> None:
    assert status_line(299) == b"HTTP/1.1 299 \r\n"
    assert status_line(410) == b"HTTP/1.1 410 Gone\r\n"


def part(status: int, *fields: tuple[bytes, bytes]) -> Received:
    return Received(status, (DATE, *fields), NOW, NOW)


A, B = (b"etag", b'"a"'), (b"etag", b'"b"')
FIRST = (b"content-range", b"bytes 100-199/1000")


@pytest.mark.parametrize(
    ("received", "begins"),
    [
        (part(206, A, FIRST), 100),
        (part(200, A, (b"content-length", b"1000")), 0),
        (part(206, B, FIRST), None),
        (part(206, (b"etag", b'W/"a"'), FIRST), None),
        (part(206, FIRST), None),
        (part(206, A, (b"content-range", b"bytes 0-99/1000")), None),
        (part(206, A, (b"content-range", b"bytes 100-199/1001")), None),
        (part(206, A, (b"content-range", b"bytes 100-199/*")), 100),
        (part(206, A), None),
        (part(206, A, FIRST, (b"content-encoding", b"gzip")), None),
        (part(200, A, (b"content-length", b"1001")), None),
        (part(200, B, (b"content-length", b"1000")), None),
        (part(404), None),
        (part(503, A), None),
    ],
)
def test_an_answer_continues_a_version_by_validator_length_place_and_coding(
    received: Received, begins: int | None
) -> None:
    assert continues(TAGGED, received, 100) == begins


def test_what_has_no_strong_validator_has_no_parts() -> None:
    assert version_of(stored(200, A), 1000) == TAGGED
    assert version_of(stored(200, (b"etag", b'W/"a"')), 1000) is None
    assert version_of(stored(200), 1000) is None
