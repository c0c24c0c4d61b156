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
from oca.http.request import Request
from oca.http.response import (
    STATUS_LINES,
    Answer,
    Surroundings,
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
    answer = plan(Request(method, b"/", 1, headers, keep), read_representation(size, BLOCK), AROUND, Outcome.HIT)
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


def test_a_304_carries_validators_and_no_content_headers() -> None:
    answer = plan(
        Request(b"GET", b"/", headers={b"if-none-match": b"*"}), read_representation(9, BLOCK), AROUND, Outcome.HIT
    )
    found = headers_of(answer)
    assert (answer.status, answer.outcome, answer.parts) == (304, Outcome.NOT_MODIFIED, ())
    assert found[b"etag"] == b'"b3-1"'
    assert found[b"cache-control"] == b"immutable"
    assert not [name for name in found if name.startswith(b"content-")]


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
    assert (b"retry-after" in found) == (answer.status == 503)
    assert (b"allow" in found) == (answer.status == 405)


def test_every_token_refusal_and_every_fetch_failure_has_its_row() -> None:
    assert set(OF_TOKEN) == set(TokenRefusal)
    for refusal, outcome in OF_TOKEN.items():
        assert outcome.problem is not None
        assert (outcome.word, outcome.problem.code) == (refusal.word, refusal.problem)
    assert {failure.status for failure in FetchFailure} <= set(STATUS_LINES)
    assert len({row.word for row in Outcome}) == len(Outcome)


def test_only_pages_of_the_named_origins_may_read() -> None:
    cors = Cors(("https://a.example",))
    assert b"Access-Control-Allow-Origin: https://a.example\r\n" in cors.lines(b"https://a.example")
    for origin in (b"https://b.example", None):
        assert cors.lines(origin) == b"Vary: Origin\r\n"


def test_a_preflight_is_answered_without_a_body() -> None:
    answer = preflight(Request(b"OPTIONS", b"*"), AROUND)
    found = headers_of(answer)
    assert (answer.status, answer.parts) == (204, ())
    assert b"content-length" not in found
    assert found[b"access-control-max-age"] == b"86400"


def test_weak_tags_and_strange_dates_validate_nothing() -> None:
    found = read_representation(1, b'ETag: W/"x"\r\nLast-Modified: soon\r\n')
    assert (found.etag, found.modified_at, found.content_type) == (None, None, b"application/octet-stream")
