"""What of a request and its answer goes through, decided from their fields alone; and bodies that are handed on, however they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oca.http.cors import Cors
from oca.http.forwarding import HOP_BY_HOP, answer_head, end_to_end, fields_upstream
from oca.http.reasons import Outcome
from oca.http.request import Incoming, Limits, Request, RequestParser, RequestRefused
from oca.http.response import Surroundings

AROUND = Surroundings(Cors(("*",)), b"Date: now\r\n", 0.0, True)
NAMES = st.sampled_from([b"X-A", b"x-b", b"Cookie", b"TE", b"Keep-Alive", b"Upgrade", b"Accept"])
VALUES = st.binary(max_size=5).map(lambda value: value.hex().encode())


def request_of(method: bytes, *fields: tuple[bytes, bytes], minor: int = 1) -> Request:
    made = Request(method, b"/", minor)
    made.fields = fields
    return made


def lines_of(head: bytes) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:-2])


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8), st.lists(NAMES, max_size=3))
def test_what_connection_names_and_hop_by_hop_fields_stay_and_nothing_else_does(
    fields: list[tuple[bytes, bytes]], named: list[bytes]
) -> None:
    given_fields = (*fields, (b"Connection", b" , ".join(named)))
    stays = HOP_BY_HOP | {name.lower() for name in named}
    assert end_to_end(given_fields) == tuple(field for field in fields if field[0].lower() not in stays)


def test_the_fields_that_the_upstream_gets_are_framed_anew_and_say_whom_they_passed() -> None:
    fields = (
        (b"Host", b"a"),
        (b"Content-Length", b"3"),
        (b"Expect", b"100-continue"),
        (b"CDN-Loop", b"x"),
        (b"A", b"1"),
    )
    found = fields_upstream(request_of(b"POST", *fields, minor=0), "a-1")
    assert found == ((b"A", b"1"), (b"Via", b"1.0 lowtide"), (b"CDN-Loop", b"x, lowtide;appliance=a-1"))


@pytest.mark.parametrize(
    ("method", "value", "outcome"),
    [(b"TRACE", b"", Outcome.METHOD), (b"CONNECT", b"", Outcome.METHOD), (b"POST", b"\xff", Outcome.BAD_REQUEST)],
)
def test_what_is_not_forwarded(method: bytes, value: bytes, outcome: Outcome) -> None:
    with pytest.raises(RequestRefused) as refused:
        fields_upstream(request_of(method, (b"X", value)), "a-1")
    assert refused.value.outcome is outcome


@pytest.mark.parametrize(
    ("method", "minor", "status", "length", "framing", "keep"),
    [
        (b"GET", 1, 200, 5, {"Content-Length": "5"}, True),
        (b"GET", 1, 200, None, {"Transfer-Encoding": "chunked"}, True),
        (b"GET", 0, 200, None, {"Connection": "close"}, False),
        (b"GET", 0, 200, 5, {"Content-Length": "5", "Connection": "keep-alive"}, True),
        (b"HEAD", 1, 200, 5, {"Content-Length": "5"}, True),
        (b"HEAD", 1, 200, None, {}, True),
        (b"POST", 1, 204, None, {}, True),
        (b"POST", 1, 204, 0, {}, True),
        (b"GET", 1, 304, 9, {"Content-Length": "9"}, True),
    ],
)
def test_the_end_of_every_answer_can_be_told(
    method: bytes, minor: int, status: int, length: int | None, framing: dict[str, str], keep: bool
) -> None:
    upstream = ((b"Content-Length", b"77"), (b"Transfer-Encoding", b"chunked"), (b"Connection", b"close"))
    answer, chunked = answer_head(request_of(method, minor=minor), AROUND, status, upstream, length, Outcome.PASSED)
    said = lines_of(answer.head)
    names = ("Content-Length", "Transfer-Encoding", "Connection")
    assert {name: said[name] for name in names if name in said} == framing
    assert (answer.keep_alive, chunked) == (keep, framing.get("Transfer-Encoding") == "chunked")


def test_an_answer_before_the_end_of_its_request_ends_the_connection() -> None:
    request = request_of(b"POST")
    request.body = Incoming(9, waits=False)
    answer, _chunked = answer_head(request, AROUND, 200, (), 0, Outcome.PASSED)
    assert (answer.keep_alive, lines_of(answer.head)["Connection"]) == (False, "close")
    request.body.ended = True
    assert answer_head(request, AROUND, 200, (), 0, Outcome.PASSED)[0].keep_alive


STREAM = (
    b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nGET / HTT"
    b"PUT /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4;x=1\r\n\r\n\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"
    b"GET /3 HTTP/1.1\r\nHost: a\r\n\r\n"
    b"POST /4 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
    b"PATCH /5 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx"
)


@given(st.lists(st.integers(1, 90), max_size=12))
def test_bodies_that_are_handed_on_end_where_they_end_however_they_are_cut(cuts: list[int]) -> None:
    parser, at = RequestParser(Limits(), lambda _request: True), 0
    for cut in (*cuts, len(STREAM)):
        parser.feed(STREAM[at : at + cut])
        at += cut
    assert parser.refused is None
    found = [
        (r.target, b"".join(r.body.pieces) if r.body else None, r.body is None or r.body.ended) for r in parser.requests
    ]
    assert found == [
        (b"/1", b"GET / HTT", True),
        (b"/2", b"\r\n\r\nabc", True),
        (b"/3", None, True),
        (b"/4", None, True),
        (b"/5", b"x", True),
    ]
    assert not parser.is_streaming
    assert [request.body.waits for request in parser.requests if request.body] == [False, False, True]


def test_a_request_is_given_out_with_its_head_and_its_body_is_as_long_as_it_says() -> None:
    parser = RequestParser(Limits(body_bytes=10), lambda _request: True)
    parser.feed(b"POST / HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nx-one: 2\r\nContent-Length: 1000000\r\n\r\nabc")
    [request] = parser.requests
    assert request.fields[1:3] == ((b"X-One", b"1"), (b"x-one", b"2"))
    assert request.body is not None
    for _ in range(100):
        parser.feed(bytes(10_000))
    assert (request.body.received, request.body.ended, parser.is_streaming) == (1_000_000, True, False)


@pytest.mark.parametrize("rest", [b"zz\r\n", b"3\r\nabcX", b"ffffffffffffffffff\r\n", b"-1\r\n"])
def test_a_body_whose_end_is_in_doubt_is_broken_and_nothing_behind_it_is_read(rest: bytes) -> None:
    parser = RequestParser(Limits(), lambda _request: True)
    parser.feed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n" + rest)
    [request] = parser.requests
    assert request.body is not None
    assert (request.body.broken, request.body.ended) == (True, False)
    assert parser.refused is not None


def test_without_services_bodies_are_thrown_away_and_fields_forgotten() -> None:
    parser = RequestParser(Limits())
    parser.feed(STREAM)
    assert [request.body for request in parser.requests] == [None] * len(parser.requests)
    assert [request.fields for request in parser.requests] == [()] * len(parser.requests)
