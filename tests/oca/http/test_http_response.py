"""The plan of an answer, without a socket: head bytes and parts, and that they agree with each other."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.problems import ProblemCode
from contracts.tokens.claims import TokenRefusal
from oca.http.cors import Cors
from oca.http.reasons import OF_TOKEN, Outcome
from oca.http.request import Request, RequestRefused
from oca.http.response import (
    STATUS_LINES,
    Answer,
    Surroundings,
    check_expectation,
    plan,
    preflight,
    problem,
    read_representation,
)
from oca.link.messages import FetchFailure

BLOCK = b'Content-Type: video/mp4\r\nETag: "b3-1"\r\nCache-Control: immutable\r\n'
DATE = b"Date: Sat, 01 Nov 2025 10:00:00 GMT\r\n"
AROUND = Surroundings(Cors(("*",)), DATE, 1_762_000_000.0, True)


def headers_of(answer: Answer) -> dict[bytes, bytes]:
    lines = answer.head.split(b"\r\n")
    assert lines[-2:] == [b"", b""], "the head ends with an empty line"
    pairs = [line.split(b": ", 1) for line in lines[1:-2]]
    found = {pair[0].lower(): pair[1] for pair in pairs}
    assert len(found) == len(pairs), "no header comes twice"
    return found


def length_of(answer: Answer) -> int:
    return sum(len(part) if isinstance(part, bytes) else part[1] - part[0] + 1 for part in answer.parts)


@given(
    st.integers(0, 5000),
    st.sampled_from([b"GET", b"HEAD"]),
    st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 6000)), max_size=4),
    st.booleans(),
)
def test_the_promised_length_is_the_length_of_the_parts(
    size: int, method: bytes, pairs: list[tuple[int, int]], keep: bool
) -> None:
    headers = {b"range": b"bytes=" + b",".join(b"%d-%d" % pair for pair in pairs)} if pairs else {}
    answer = plan(Request(method, b"/", 1, headers, keep), read_representation(size, BLOCK, 0.0), AROUND, Outcome.HIT)
    found = headers_of(answer)
    assert answer.head.startswith(STATUS_LINES[answer.status])
    assert (b"connection" in found) is not keep
    assert length_of(answer) == answer.length
    if method == b"GET":
        assert int(found[b"content-length"]) == answer.length
    else:
        assert answer.parts == ()
        assert int(found[b"content-length"]) == size
    if answer.status == 206 and len(answer.parts) == 1:
        (part,) = answer.parts
        assert isinstance(part, tuple)
        assert found[b"content-range"] == b"bytes %d-%d/%d" % (*part, size)


FULL = (
    b"Content-Type: video/mp4\r\nContent-Language: de\r\nContent-Location: /m\r\nLast-Modified: Sat, 01 Nov 2025 10:00:00 GMT\r\n"
    b'ETag: "b3-1"\r\nCache-Control: immutable\r\nExpires: Sun, 02 Nov 2025 10:00:00 GMT\r\nVary: Accept\r\nX-Other: y\r\n'
)


def test_a_304_says_again_what_it_must_and_nothing_of_the_content() -> None:
    """RFC 9110 §15.4.5: Cache-Control, Content-Location, Date, ETag, Expires and Vary as in the 200, no other metadata."""
    for method in (b"GET", b"HEAD"):
        request = Request(method, b"/", headers={b"if-none-match": b"*"})
        answer = plan(request, read_representation(9, FULL, 0.0), AROUND, Outcome.HIT, b"Age: 3\r\n")
        assert (answer.status, answer.outcome, answer.parts, answer.length) == (304, Outcome.NOT_MODIFIED, (), 0)
        found = headers_of(answer)
        cross_origin = {b"access-control-allow-origin", b"access-control-expose-headers", b"timing-allow-origin"}
        assert set(found) - cross_origin - {b"accept-ranges"} == {
            b"date", b"etag", b"cache-control", b"content-location", b"expires", b"vary", b"age",
        }  # fmt: skip


def test_a_304_without_a_tag_carries_the_date_of_change() -> None:
    block = b"Content-Type: video/mp4\r\nLast-Modified: Sat, 01 Nov 2025 10:00:00 GMT\r\n"
    request = Request(b"GET", b"/", headers={b"if-modified-since": b"Sat, 01 Nov 2025 10:00:00 GMT"})
    answer = plan(request, read_representation(9, block, 0.0), AROUND, Outcome.HIT)
    assert answer.status == 304
    assert headers_of(answer)[b"last-modified"] == b"Sat, 01 Nov 2025 10:00:00 GMT"
    assert b"content-type" not in headers_of(answer)


def test_several_parts_say_all_that_one_would_but_their_type() -> None:
    request = Request(b"GET", b"/", headers={b"range": b"bytes=0-0,5-5"})
    found = headers_of(plan(request, read_representation(9, FULL, 0.0), AROUND, Outcome.HIT))
    assert found.pop(b"content-type").startswith(b"multipart/byteranges; boundary=")
    for line in FULL.split(b"\r\n")[1:-1]:
        name, _, value = line.partition(b": ")
        assert found[name.lower()] == value
    assert b"content-range" not in found, "§15.3.7.2: it stands in each part"


def test_an_empty_object_has_no_part_but_its_end() -> None:
    for value, status in (
        (b"bytes=0-", 416),
        (b"bytes=0-0", 416),
        (b"bytes=-0", 416),
        (b"bytes=-5", 200),
        (b"bytes=1-2,-1", 200),
    ):
        request = Request(b"GET", b"/", headers={b"range": value})
        answer = plan(request, read_representation(0, FULL, 0.0), AROUND, Outcome.HIT)
        assert answer.status == status
        found = headers_of(answer)
        assert found.get(b"content-range") == (b"bytes */0" if status == 416 else None)
        assert status == 416 or (found[b"content-length"], answer.parts) == (b"0", ())


def test_head_has_the_header_of_get() -> None:
    for size in (0, 9):
        for headers in ({}, {b"if-none-match": b'"x"'}, {b"if-match": b'"x"'}, {b"if-none-match": b"*"}):
            got, head = (
                plan(Request(method, b"/", headers=headers), read_representation(size, FULL, 0.0), AROUND, Outcome.HIT)
                for method in (b"GET", b"HEAD")
            )
            assert head.head == got.head
            assert (head.parts, head.length) == ((), 0)


@pytest.mark.parametrize(
    ("value", "minor", "known"),
    [
        (b"100-continue", 1, True),
        (b"100-Continue", 1, True),
        (b"100-continue, 100-continue", 1, True),
        (b"200-ok", 1, False),
        (b"100-continue, x=y", 1, False),
        (b"x", 0, True),
    ],
)
def test_only_to_go_on_can_be_expected(value: bytes, minor: int, known: bool) -> None:
    request = Request(b"GET", b"/", minor, {b"expect": value})
    if known:
        check_expectation(request)
        return
    with pytest.raises(RequestRefused) as refused:
        check_expectation(request)
    assert (refused.value.outcome.status, refused.value.fatal) == (417, False)


@pytest.mark.parametrize("outcome", [row for row in Outcome if row.problem is not None])
def test_every_error_is_a_problem_that_pages_may_read(outcome: Outcome) -> None:
    answer = problem(Request(b"GET", b"/"), AROUND, outcome, "why")
    found = headers_of(answer)
    (body,) = answer.parts
    assert isinstance(body, bytes)
    told = msgspec.json.decode(body)
    assert (told["status"], answer.status) == (outcome.status, outcome.status)
    assert ProblemCode.from_type(told["type"]) is outcome.problem
    assert found[b"access-control-allow-origin"] == b"*"
    assert found[b"timing-allow-origin"] == b"*"
    assert (b"retry-after" in found) == (answer.status in (429, 503))
    assert found.get(b"allow") == (b"GET, HEAD, OPTIONS" if answer.status == 405 else None)
    assert found[b"content-type"] == b"application/problem+json"
    assert int(found[b"content-length"]) == len(body)
    assert problem(Request(b"HEAD", b"/"), AROUND, outcome, "why").head == answer.head


def test_every_token_refusal_and_every_fetch_failure_has_its_row() -> None:
    assert set(OF_TOKEN) == set(TokenRefusal)
    for refusal, outcome in OF_TOKEN.items():
        assert outcome.problem is not None
        assert (outcome.word, outcome.problem.code) == (refusal.word, refusal.problem)
    assert {failure.status for failure in FetchFailure} <= set(STATUS_LINES)
    assert len({row.word for row in Outcome}) == len(Outcome)


def test_only_pages_of_the_named_origins_may_read() -> None:
    cors = Cors(("https://a.example",))
    told = cors.lines(b"https://a.example")
    assert b"Access-Control-Allow-Origin: https://a.example\r\n" in told
    assert b"Timing-Allow-Origin: https://a.example\r\n" in told
    assert told.startswith(b"Vary: Origin\r\n")
    for origin in (b"https://b.example", b"null", b"https://a.example.evil", b"https://A.example", None):
        assert cors.lines(origin) == b"Vary: Origin\r\n"
        assert cors.preflight(origin, private=True) == b"Vary: Origin\r\n", "a page that may not read may not ask"
    assert b"Vary" not in Cors(("*",)).lines(b"https://a.example")


def test_what_players_read_is_exposed_and_what_they_send_is_allowed() -> None:
    found = headers_of(preflight(Request(b"OPTIONS", b"*"), AROUND))
    exposed = set(found[b"access-control-expose-headers"].split(b", "))
    assert exposed >= {
        b"Accept-Ranges", b"Age", b"Cache-Status", b"CMSD-Dynamic", b"CMSD-Static", b"Content-Length", b"Content-Range", b"Date",
        b"ETag", b"Last-Modified", b"Retry-After", b"Server-Timing",
    }  # fmt: skip
    allowed = {name.lower() for name in found[b"access-control-allow-headers"].split(b", ")}
    assert allowed >= {
        b"range", b"cmcd-object", b"cmcd-request", b"cmcd-session", b"cmcd-status", b"if-range", b"if-none-match", b"if-modified-since",
    }  # fmt: skip
    assert found[b"access-control-allow-methods"] == found[b"allow"] == b"GET, HEAD, OPTIONS"


def test_a_preflight_is_answered_without_a_body() -> None:
    answer = preflight(Request(b"OPTIONS", b"*"), AROUND)
    found = headers_of(answer)
    assert (answer.status, answer.parts) == (204, ())
    assert b"content-length" not in found
    assert found[b"access-control-max-age"] == b"86400"
    assert b"access-control-allow-private-network" not in found


def test_a_private_network_is_opened_when_asked_for() -> None:
    for value, opened in ((b"true", True), (b"false", False)):
        request = Request(b"OPTIONS", b"*", headers={b"access-control-request-private-network": value})
        found = headers_of(preflight(request, AROUND))
        assert (found.get(b"access-control-allow-private-network") == b"true") is opened


def test_weak_tags_and_strange_dates_validate_nothing() -> None:
    found = read_representation(1, b'ETag: W/"x"\r\nLast-Modified: soon\r\n', 0.0)
    assert (found.etag, found.modified_at, found.content_type) == (None, None, b"application/octet-stream")
