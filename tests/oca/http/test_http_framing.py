"""Where a request ends, purely: what means two things is refused, a body is read and thrown away, limits cost nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oca.http.reasons import Outcome
from oca.http.request import Limits, RequestParser
from tests.oca.http.shapes import BODIES, SMUGGLING

LIMITS = Limits()
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
METHODS = (b"GET", b"HEAD", b"OPTIONS", b"POST", b"PUT", b"DELETE")


def fed(data: bytes, step: int = 0, limits: Limits = LIMITS) -> RequestParser:
    parser = RequestParser(limits)
    for start in range(0, len(data), step or len(data)):
        parser.feed(data[start : start + (step or len(data))])
    return parser


def filled(shape: bytes) -> bytes:
    return shape.replace(b"{p}", b"/x").replace(b"{h}", b"a")


@pytest.mark.parametrize("step", [0, 1, 7])
@pytest.mark.parametrize("name", SMUGGLING)
def test_what_means_two_things_is_no_request_and_nothing_behind_it_is(name: str, step: int) -> None:
    parser = fed(filled(SMUGGLING[name]) + NEXT, step)
    assert [request.target for request in parser.requests] == []
    assert parser.refused is not None
    assert (parser.refused.outcome, parser.refused.fatal) == (Outcome.BAD_REQUEST, True)


@pytest.mark.parametrize("step", [0, 1, 7])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", BODIES)
def test_a_body_is_thrown_away_and_the_next_request_begins_behind_it(name: str, method: bytes, step: int) -> None:
    data = method + b" /x HTTP/1.1\r\nHost: a\r\n" + BODIES[name]
    parser = fed(data + NEXT + data + b"\r\n" + NEXT, step)
    assert parser.refused is None
    assert [request.target for request in parser.requests] == [b"/x", b"/next"] * 2
    assert all(request.keep_alive for request in parser.requests)
    assert parser.requests[0].headers[b"host"] == b"a"
    assert b"range" not in parser.requests[0].headers, "a trailer is no header"
    assert not parser.partial


@given(st.binary(max_size=300), st.lists(st.integers(1, 60), max_size=8), st.integers(1, 50))
def test_whatever_a_body_holds_it_is_no_request(body: bytes, cuts: list[int], step: int) -> None:
    chunks = b""
    rest = body
    for cut in cuts:
        if rest[:cut]:
            chunks += b"%x\r\n%b\r\n" % (len(rest[:cut]), rest[:cut])
        rest = rest[cut:]
    if rest:
        chunks += b"%X;x\r\n%b\r\n" % (len(rest), rest)
    for framed in (
        b"Content-Length: %d\r\n\r\n" % len(body) + body,
        b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n",
    ):
        parser = fed(b"POST /x HTTP/1.1\r\nHost: a\r\n" + framed + NEXT, step)
        assert parser.refused is None
        assert [request.target for request in parser.requests] == [b"/x", b"/next"]


def test_a_request_with_a_body_is_taken_when_the_body_has_ended() -> None:
    parser = fed(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell")
    assert (list(parser.requests), parser.partial) == ([], True)
    parser.feed(b"o")
    assert (len(parser.requests), parser.partial) == (1, False)


@pytest.mark.parametrize("step", [0, 4096])
def test_a_body_of_64_kib_is_read_and_one_byte_more_ends_the_connection(step: int) -> None:
    head = b"PUT /x HTTP/1.1\r\nHost: a\r\n"
    framing = len(b"ffe9\r\n\r\n0\r\n\r\n")
    for extra in (0, 1):
        size = LIMITS.body_bytes + extra
        chunk = b"\n" * (size - framing)
        for framed in (
            b"Content-Length: %d\r\n\r\n" % size + b"\n" * size,
            b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(chunk), chunk),
        ):
            parser = fed(head + framed + NEXT, step)
            assert [request.target for request in parser.requests] == ([b"/x"] if extra else [b"/x", b"/next"])
            assert parser.requests[0].keep_alive is not bool(extra)
            assert (parser.refused is None) is not bool(extra)


def test_a_body_that_waits_to_be_asked_for_is_not_read() -> None:
    head = b"POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
    for lines in (b"Content-Length: 5\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"):
        parser = fed(head + lines)
        assert [request.keep_alive for request in parser.requests] == [False], "answered at once"
        parser.feed(NEXT)
        assert len(parser.requests) == 1, "the body, or the next request: nobody can tell"
    parser = fed(head + b"Content-Length: 0\r\n\r\n" + NEXT)
    assert [request.keep_alive for request in parser.requests] == [True, True]
    parser = fed(head.replace(b"1.1", b"1.0") + b"Connection: keep-alive\r\nContent-Length: 2\r\n\r\nxx" + NEXT)
    assert [request.keep_alive for request in parser.requests] == [True, True], "HTTP/1.0 expects nothing"


def test_one_empty_line_before_a_request_is_skipped() -> None:
    for step in (0, 1):
        parser = fed(b"\r\n" + NEXT + b"\r\n" + NEXT, step)
        assert (len(parser.requests), parser.refused) == (2, None)


def test_what_is_over_a_limit_is_never_parsed() -> None:
    seen: list[bytes] = []

    class Watching(RequestParser):
        def on_header(self, name: bytes, value: bytes) -> None:
            seen.append(name)
            super().on_header(name, value)

    parser = Watching(LIMITS)
    data = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 10_000 + b"\r\n" + NEXT
    for start in range(0, len(data), 4096):
        parser.feed(data[start : start + 4096])
    assert parser.refused is not None
    assert parser.refused.outcome is Outcome.HEADER_TOO_LARGE
    assert len(seen) <= LIMITS.headers + 1
    seen.clear()
    whole = Watching(LIMITS)
    whole.feed(data)
    assert whole.refused is not None
    assert whole.refused.outcome is Outcome.HEADER_TOO_LARGE
    assert seen == [], "more than the limit at once is not looked at"


@pytest.mark.parametrize("step", [0, 1, 1000])
def test_each_limit_is_exact(step: int) -> None:
    limits = Limits(target_bytes=200, head_bytes=1000, headers=10)

    def outcome(data: bytes) -> Outcome | None:
        parser = fed(data, step, limits)
        assert (len(parser.requests) == 1) is (parser.refused is None)
        return parser.refused.outcome if parser.refused is not None else None

    def request(target: bytes = b"/", lines: bytes = b"") -> bytes:
        return b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n"

    assert outcome(request(b"/" * 200)) is None
    assert outcome(request(b"/" * 201)) is Outcome.URI_TOO_LONG
    assert outcome(request(b"/" * 100_000)) is Outcome.URI_TOO_LONG
    assert outcome(request(lines=b"X: a\r\n" * 9)) is None
    assert outcome(request(lines=b"X: a\r\n" * 10)) is Outcome.HEADER_TOO_LARGE
    room = 1000 - len(request(lines=b"X: \r\n"))
    assert outcome(request(lines=b"X: " + b"a" * room + b"\r\n")) is None
    assert outcome(request(lines=b"X: " + b"a" * (room + 1) + b"\r\n")) is Outcome.HEADER_TOO_LARGE


def test_connect_is_no_tunnel() -> None:
    parser = fed(b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n" + NEXT)
    assert [(request.method, request.keep_alive) for request in parser.requests] == [(b"CONNECT", False)]


def test_nothing_behind_a_request_that_closes_is_read() -> None:
    for head in (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"):
        assert len(fed(head + NEXT).requests) == 1
