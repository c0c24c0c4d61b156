"""The request parser, with h11 as second opinion: what we take, h11 takes, too, and reads the same."""

from __future__ import annotations

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from oca.http.keys import host_of, host_spellings, read_target
from oca.http.reasons import Outcome
from oca.http.request import WANTED, Limits, Request, RequestParser, RequestRefused

LIMITS = Limits()


def parse(data: bytes, limits: Limits = LIMITS, step: int | None = None) -> RequestParser:
    parser = RequestParser(limits)
    for start in range(0, len(data), step or len(data) or 1):
        parser.feed(data[start : start + (step or len(data))])
    return parser


PIECES = st.sampled_from(
    [
        b"GET ", b"HEAD ", b"POST ", b"/a", b"/media/t/hd/v.mp4", b"*", b" HTTP/1.1", b" HTTP/1.0", b"\r\n", b"\n", b" ", b"\r",
        b"Host: a", b"host: b:80", b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: 5, 5", b"hello", b"Expect: 100-continue",
        b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", b"0\r\n\r\n", b"5\r\nhello\r\n", b"5;x=y\r\n", b"Connection: close",
        b"Connection: keep-alive, x", b"Range: bytes=0-1", b"\r\n\r\n", b": ", b"\x00", b"\t", b"\x7f", b"A: \xff",
    ]
)  # fmt: skip
BODIES = st.sampled_from(
    [b"", b"hello", b"0\r\n\r\n", b"5\r\nhello\r\n0\r\nA: b\r\n\r\n", b"1;x\r\n\n\r\n0\r\n\r\n", b"\r\n"]
)
WHOLE = st.builds(
    lambda method, target, version, lines, body: (
        b" ".join((method, target, version)) + b"\r\nHost: a\r\n" + b"".join(lines) + b"\r\n" + body
    ),
    st.sampled_from([b"GET", b"HEAD", b"OPTIONS", b"POST"]),
    st.sampled_from([b"/", b"/a?b=c", b"http://a/x", b"*", b"/a%20b"]),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0"]),
    st.lists(PIECES.map(lambda piece: piece + b"\r\n"), max_size=4),
    BODIES,
)
REQUESTS = st.one_of(st.lists(PIECES, max_size=14).map(b"".join), st.lists(WHOLE, max_size=3).map(b"".join))


@settings(max_examples=600)
@given(REQUESTS)
@example(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
@example(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
@example(
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\n\n\r\n0\r\nA: b\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n"
)
def test_what_is_taken_is_taken_by_h11_too_and_ends_where_h11_says(data: bytes) -> None:
    agree_with_h11(data)


GOOD = (
    b"POST /a?b=c HTTP/1.1\r\nHost: a.example:80\r\nContent-Length: 7\r\nX: y\r\n\r\nGET / HGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\na\r\n0123456789\r\n0\r\nT: u\r\n\r\n"
    b"GET /n HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x\r\nOrigin: b\r\n\r\nHEAD /c HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
)


@settings(max_examples=1500)
@given(
    st.sampled_from(GOOD),
    st.lists(
        st.tuples(
            st.integers(0, 200),
            st.integers(0, 2),
            st.sampled_from(
                [b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b",", b";", b"0", b"5", b"\x00", b"\x0b", b"x", b"\xff"]
            ),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_a_good_request_with_wrong_bytes_is_never_two_things(good: bytes, wounds: list[tuple[int, int, bytes]]) -> None:
    """Every position of a request may lose up to two bytes and gain others."""
    for at, lost, gained in wounds:
        at %= len(good)
        good = good[:at] + gained + good[at + lost :]
    agree_with_h11(good)


def agree_with_h11(data: bytes) -> None:
    """Each request that we take is one that h11 takes, reads the same and ends at the same byte."""
    parser = parse(data)
    theirs = h11.Connection(h11.SERVER)
    theirs.receive_data(data.removeprefix(b"\r\n"))
    for ours in parser.requests:
        event = theirs.next_event()
        assert isinstance(event, h11.Request), event
        assert (event.method, event.target, event.http_version) == (ours.method, ours.target, b"1.%d" % ours.minor)
        for name in ours.headers:
            values = [value.strip() for found, value in event.headers if found == name]
            assert ours.headers[name] == b", ".join(values)
        if not ours.keep_alive:
            return
        while isinstance(event := theirs.next_event(), h11.Data):
            pass
        assert isinstance(event, h11.EndOfMessage), event
        rest = theirs.trailing_data[0].removeprefix(b"\r\n")
        theirs = h11.Connection(h11.SERVER)
        theirs.receive_data(rest)


@given(REQUESTS, st.integers(1, 9))
def test_how_the_bytes_are_cut_makes_no_difference(data: bytes, step: int) -> None:
    whole, cut = parse(data), parse(data, step=step)
    assert [facts(request) for request in cut.requests] == [facts(request) for request in whole.requests]
    assert (cut.refused is None) == (whole.refused is None)


@given(st.binary(max_size=300))
def test_no_bytes_make_it_raise(junk: bytes) -> None:
    parse(junk)
    parse(b"GET / HTTP/1.1\r\nHost: a\r\n" + junk)


def facts(request: Request) -> tuple[object, ...]:
    return request.method, request.target, request.minor, request.headers, request.keep_alive


def test_only_headers_that_decide_are_kept() -> None:
    parser = parse(b"GET / HTTP/1.1\r\nHost: a\r\nX-Y: z\r\nRange:  bytes=0-1 \r\nCookie: c\r\n\r\n")
    assert parser.requests[0].headers == {b"host": b"a", b"range": b"bytes=0-1"}
    assert b"cookie" not in WANTED


@pytest.mark.parametrize(
    ("version", "connection", "keeps"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"close", False),
        (b"1.1", b"Keep-Alive, Close", False),
        (b"1.0", b"", False),
        (b"1.0", b"Keep-Alive", True),
        (b"1.0", b"keep-alive, close", False),
    ],
)
def test_who_keeps_the_connection(version: bytes, connection: bytes, keeps: bool) -> None:
    line = b"Connection: " + connection + b"\r\n" if connection else b""
    parser = parse(b"GET / HTTP/" + version + b"\r\nHost: a\r\n" + line + b"\r\n")
    assert parser.requests[0].keep_alive is keeps


def test_limits_are_held_before_the_request_is_complete() -> None:
    limits = Limits(target_bytes=100, head_bytes=1000, headers=5)
    long_target = parse(b"GET /" + b"a" * 200, limits, step=10)
    assert long_target.refused is not None
    assert long_target.refused.outcome is Outcome.URI_TOO_LONG
    long_head = parse(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 5000, limits, step=10)
    assert long_head.refused is not None
    assert long_head.refused.outcome is Outcome.HEADER_TOO_LARGE
    many = parse(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 6, limits)
    assert many.refused is not None
    assert many.refused.outcome is Outcome.HEADER_TOO_LARGE


def test_a_small_request_after_many_is_not_charged_for_them() -> None:
    parser = RequestParser(Limits(head_bytes=200))
    for _ in range(50):
        parser.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHo")
        assert parser.partial
        parser.feed(b"st: a\r\n\r\n")
        assert not parser.partial
    assert parser.refused is None
    assert len(parser.requests) == 100


def test_an_upgrade_is_declined_by_answering_and_closing() -> None:
    parser = parse(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0\r\n\r\n")
    assert [request.keep_alive for request in parser.requests] == [False]


@pytest.mark.parametrize(
    ("target", "token", "key"),
    [
        (b"/~T/media/t/hd/v.mp4", "T", "vod|/media/t/hd/v.mp4"),
        (b"/media/t/hd/v.mp4?CMCD=x", None, "vod|/media/t/hd/v.mp4"),
        (b"http://h:1/~T/media/t/hd/v.mp4", "T", "vod|/media/t/hd/v.mp4"),
        (b"/%7eT/media/%74/hd/v%2emp4", "T", "vod|/media/t/hd/v.mp4"),
        (b"/~T/media/t/hd/%2e%2e/v.mp4", "T", None),
        (b"/~T/media/t/hd/../v.mp4", "T", None),
        (b"/~T/media/t/hd/V.mp4", "T", None),
        (b"/~T/media/t/hd/v%2Fx.mp4", "T", None),
        (b"/~T", "T", None),
        (b"//media/t/hd/v.mp4", None, None),
        (b"http://h", None, None),
    ],
)
def test_a_target_has_one_key_or_none(target: bytes, token: str | None, key: str | None) -> None:
    address = read_target(target)
    assert (address.token, address.key) == (token, key)


@pytest.mark.parametrize("target", [b"*", b"ftp://h/x", b"/a#b", b"/a%", b"/a%g0", b"media/t/hd/v.mp4"])
def test_what_is_no_address_is_refused(target: bytes) -> None:
    with pytest.raises(RequestRefused) as refused:
        read_target(target)
    assert refused.value.outcome is Outcome.BAD_REQUEST


@given(st.binary(max_size=80))
def test_no_target_raises_anything_else(target: bytes) -> None:
    try:
        read_target(b"/" + target)
        read_target(target)
    except RequestRefused:
        pass


def test_the_host_of_the_target_wins_over_the_header() -> None:
    request = Request(b"GET", b"http://A:80/x", headers={b"host": b"b"})
    assert host_of(request, read_target(request.target)) == b"a:80"
    assert host_of(Request(b"GET", b"/x", 0), read_target(b"/x")) is None
    for wrong in (b"a b", b"", b"a/b", b"u@h", b"a:123456"):
        with pytest.raises(RequestRefused):
            host_of(Request(b"GET", b"/x", headers={b"host": wrong}), read_target(b"/x"))


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("CDN.example", {b"cdn.example", b"cdn.example:", b"cdn.example:80", b"cdn.example:443"}),
        ("cdn.example:443", {b"cdn.example", b"cdn.example:", b"cdn.example:80", b"cdn.example:443"}),
        ("cdn.example:8080", {b"cdn.example:8080"}),
        ("[2001:db8::1]", {b"[2001:db8::1]", b"[2001:db8::1]:", b"[2001:db8::1]:80", b"[2001:db8::1]:443"}),
        ("[2001:db8::1]:8443", {b"[2001:db8::1]:8443"}),
    ],
)
def test_a_default_port_is_said_left_out_or_left_empty(name: str, spelled: set[bytes]) -> None:
    assert host_spellings((name,)) == spelled
