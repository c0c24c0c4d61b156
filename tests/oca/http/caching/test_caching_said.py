"""`Cache-Status` (RFC 9211) and `Age` of an answer."""

from __future__ import annotations

import pytest

from oca.http.caching.reuse import after_error, decide
from oca.http.caching.said import CacheStatus, Forward, age, appended, status_of
from tests.oca.http.caching.shapes import NOW, stored

KEPT = stored('etag: "a"\ndate: {now}\ncache-control: max-age=60, stale-while-revalidate=9, stale-if-error=90')


@pytest.mark.parametrize(
    ("asked", "after_s", "said"),
    [
        ("", 10.5, b"lowtide;hit;ttl=49"),
        ("", 61.5, b"lowtide;hit;ttl=-2;detail=stale-while-revalidate"),
        ("max-stale", 75, b"lowtide;hit;ttl=-15;detail=max-stale"),
        ("", 75, b"lowtide;fwd=stale;ttl=-15"),
        ("no-cache", 1, b"lowtide;fwd=request;ttl=59;detail=request-no-cache"),
        ("only-if-cached", 75, b"lowtide;ttl=-15;detail=only-if-cached"),
    ],
)
def test_a_decision_is_told_as_the_rfc_has_it(asked: str, after_s: float, said: bytes) -> None:
    headers = {b"cache-control": asked.encode()} if asked else {}
    assert status_of(decide(b"GET", headers, [KEPT], NOW + after_s)).member() == said


def test_misses_and_methods_are_told_apart() -> None:
    varied = stored("vary: accept\ncache-control: max-age=60", asked={b"accept": b"a/b"})
    assert status_of(decide(b"GET", {}, [], NOW)).member() == b"lowtide;fwd=uri-miss"
    assert status_of(decide(b"GET", {}, [varied], NOW)).member() == b"lowtide;fwd=vary-miss"
    assert status_of(decide(b"PUT", {}, [varied], NOW)).member() == b"lowtide;fwd=method"


def test_a_stale_answer_in_place_of_an_error_was_forwarded_first() -> None:
    found = after_error({}, KEPT, 503, NOW + 75)
    told = status_of(found, fwd_status=503).member()
    assert told == b"lowtide;fwd=stale;fwd-status=503;ttl=-15;detail=stale-if-error"
    assert status_of(after_error({}, None, None, NOW)).member() == b"lowtide;fwd=miss;detail=upstream-error"


def test_everything_that_can_be_told_is_one_member() -> None:
    full = CacheStatus(Forward.PARTIAL, False, 206, 9.9, True, True, 'web|/a "b\\c\u00e9', "disk")
    assert full.member() == (
        b'lowtide;fwd=partial;fwd-status=206;ttl=9;stored;collapsed;key="web|/a \\"b\\\\c%C3%A9";detail=disk'
    )


@pytest.mark.parametrize(
    ("upstream", "value"),
    [
        (None, b"lowtide;hit"),
        (b"origin;hit;ttl=5", b"origin;hit;ttl=5, lowtide;hit"),
        (b'"A B";hit, o;fwd=stale', b'"A B";hit, o;fwd=stale, lowtide;hit'),
        (b"", b"lowtide;hit"),
        (b"HIT from cache(", b"lowtide;hit"),
        (b"origin;hit,", b"lowtide;hit"),
    ],
)
def test_what_the_caches_above_said_comes_first_if_it_can_be_read(upstream: bytes | None, value: bytes) -> None:
    assert appended(upstream, b"lowtide;hit") == value


def test_age_is_whole_seconds_within_what_receivers_read() -> None:
    assert [age(0.9), age(1.0), age(-5), age(1e12)] == [0, 1, 0, 1 << 31]
