"""What is stored, and what of it (RFC 9111 §3)."""

from __future__ import annotations

import pytest

from oca.http.caching.keeping import storable_fields, tags_of
from oca.http.caching.stored import Terms, strong_validator, version_of
from oca.http.caching.storing import How, StoringReason, may_store
from tests.oca.http.caching.shapes import NOW, TERMS, fields, received, stored

MAX_AGE = "cache-control: max-age=60"


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        (MAX_AGE, 200, StoringReason.EXPLICIT),
        (MAX_AGE, 302, StoringReason.EXPLICIT),
        (MAX_AGE, 299, StoringReason.EXPLICIT),
        (MAX_AGE, 418, StoringReason.EXPLICIT),
        ("expires: {now+60}", 302, StoringReason.EXPLICIT),
        ("expires: 0\netag: W/\"a\"", 302, StoringReason.EXPLICIT),
        ("cache-control: public\nlast-modified: {now-600}", 302, StoringReason.EXPLICIT),
        ("last-modified: {now-600}", 200, StoringReason.HEURISTIC),
        ("last-modified: {now-600}", 301, StoringReason.HEURISTIC),
        ("last-modified: {now-600}", 302, StoringReason.NO_LIFETIME),
        ("x: y", 404, StoringReason.NEGATIVE),
        ("x: y", 410, StoringReason.NEGATIVE),
        ("x: y", 403, StoringReason.NO_LIFETIME),
        ("x: y", 503, StoringReason.NO_LIFETIME),
        ("x: y", 200, StoringReason.POINTLESS),
        ("cache-control: max-age=0", 200, StoringReason.POINTLESS),
        ("cache-control: max-age=0, stale-if-error=9", 200, StoringReason.EXPLICIT),
        ("cache-control: no-cache", 200, StoringReason.POINTLESS),
        ("cache-control: no-cache\netag: \"a\"", 200, StoringReason.HEURISTIC),
        ("cache-control: max-age=60\nage: 60", 200, StoringReason.POINTLESS),
        ("cache-control: max-age=60, no-store", 200, StoringReason.NO_STORE),
        ("cache-control: max-age=60, no-store, must-understand", 200, StoringReason.EXPLICIT),
        ("cache-control: max-age=60, no-store, must-understand", 299, StoringReason.STATUS),
        ("cache-control: max-age=60, private", 200, StoringReason.PRIVATE),
        ('cache-control: max-age=60, private="x-a"', 200, StoringReason.EXPLICIT),
        (MAX_AGE + "\nvary: *", 200, StoringReason.VARY_ALL),
        (MAX_AGE + "\nvary: accept\nvary: *", 200, StoringReason.VARY_ALL),
        (MAX_AGE + "\nset-cookie: a=b", 200, StoringReason.SET_COOKIE),
        ("cache-control: public, s-maxage=60\nset-cookie: a=b", 200, StoringReason.SET_COOKIE),
        ('cache-control: max-age=60, no-cache="set-cookie"\nset-cookie: a=b', 200, StoringReason.EXPLICIT),
        (MAX_AGE, 103, StoringReason.STATUS),
        (MAX_AGE, 304, StoringReason.STATUS),
        (MAX_AGE, 416, StoringReason.STATUS),
        (MAX_AGE, 429, StoringReason.STATUS),
        (MAX_AGE + "\ncontent-length: 5, 6", 200, StoringReason.FRAMING),
        (MAX_AGE + "\ncontent-length: 5, 5", 200, StoringReason.EXPLICIT),
        ("cache-control: no-store\ncdn-cache-control: max-age=60", 200, StoringReason.EXPLICIT),
        ("cache-control: max-age=60\ncdn-cache-control: no-store", 200, StoringReason.NO_STORE),
        ("expires: {now+60}\ncdn-cache-control: none", 302, StoringReason.NO_LIFETIME),
    ],
)  # fmt: skip
def test_each_condition_of_section_3_has_its_reason(text: str, status: int, reason: StoringReason) -> None:
    found = may_store(b"GET", {}, received(text, status), TERMS)
    assert found.reason is reason
    stored_anyway = (StoringReason.EXPLICIT, StoringReason.HEURISTIC, StoringReason.NEGATIVE)
    assert (found.how is not How.NOT) == (reason in stored_anyway)


@pytest.mark.parametrize("method", [b"HEAD", b"POST", b"BREW"])
def test_only_answers_to_get_are_stored(method: bytes) -> None:
    assert may_store(method, {}, received(MAX_AGE), TERMS).reason is StoringReason.METHOD


@pytest.mark.parametrize(
    ("said", "may"),
    [("max-age=60", False), ("max-age=60, must-revalidate", True), ("max-age=60, public", True), ("s-maxage=60", True), ("max-age=60, proxy-revalidate", False)],
)  # fmt: skip
def test_with_authorization_the_origin_has_to_allow_sharing(said: str, may: bool) -> None:
    found = may_store(b"GET", {b"authorization": b"x"}, received(f"cache-control: {said}"), TERMS)
    assert (found.how is not How.NOT) == may
    assert may or found.reason is StoringReason.AUTHORIZATION


def test_a_request_with_no_store_leaves_nothing_behind() -> None:
    asked = {b"cache-control": b"no-store"}
    assert may_store(b"GET", asked, received(MAX_AGE), TERMS).reason is StoringReason.REQUEST_NO_STORE


@pytest.mark.parametrize(
    ("text", "status", "complete", "how", "reason"),
    [
        ('etag: "a"\ncontent-length: 9', 200, True, How.BLOCKS, StoringReason.EXPLICIT),
        ('etag: "a"\ncontent-length: 9', 200, False, How.BLOCKS, StoringReason.EXPLICIT),
        ('etag: "a"', 200, True, How.WHOLE, StoringReason.EXPLICIT),
        ('etag: "a"', 200, False, How.NOT, StoringReason.INCOMPLETE),
        ('etag: W/"a"\ncontent-length: 9', 200, True, How.WHOLE, StoringReason.EXPLICIT),
        ('etag: W/"a"\ncontent-length: 9', 200, False, How.NOT, StoringReason.INCOMPLETE),
        ("date: {now}\nlast-modified: {now-60}\ncontent-length: 9", 200, True, How.BLOCKS, StoringReason.EXPLICIT),
        ("date: {now}\nlast-modified: {now-59}\ncontent-length: 9", 200, True, How.WHOLE, StoringReason.EXPLICIT),
        ("last-modified: {now-600}\ncontent-length: 9", 200, True, How.WHOLE, StoringReason.EXPLICIT),
        ('etag: "a"\ncontent-range: bytes 0-4/9', 206, True, How.BLOCKS, StoringReason.EXPLICIT),
        ('etag: "a"\ncontent-range: bytes 0-4/9', 206, False, How.BLOCKS, StoringReason.EXPLICIT),
        ('etag: "a"\ncontent-range: bytes 0-4/9\ncontent-length: 6', 206, True, How.NOT, StoringReason.FRAMING),
        ('etag: W/"a"\ncontent-range: bytes 0-4/9', 206, True, How.NOT, StoringReason.PARTIAL_WEAK),
        ('etag: "a"\ncontent-range: bytes 0-4/*', 206, True, How.NOT, StoringReason.PARTIAL_WEAK),
        ('etag: "a"', 206, True, How.NOT, StoringReason.PARTIAL_UNASKED),
        ('etag: "a"\ncontent-type: Multipart/Byteranges; boundary=x', 206, True, How.NOT, StoringReason.MULTIPART),
        ('etag: "a"\ncontent-length: 9', 301, False, How.NOT, StoringReason.INCOMPLETE),
    ],
)
def test_only_a_strong_validator_makes_a_response_one_of_blocks(
    text: str, status: int, complete: bool, how: How, reason: StoringReason
) -> None:
    answer = received(f"{MAX_AGE}\n{text}", status, complete=complete)
    found = may_store(b"GET", {b"range": b"bytes=0-4"}, answer, TERMS)
    assert (found.how, found.reason) == (how, reason)


def test_a_part_that_nobody_asked_for_is_not_stored() -> None:
    answer = received(MAX_AGE + '\netag: "a"\ncontent-range: bytes 0-4/9', 206)
    assert may_store(b"GET", {}, answer, TERMS).reason is StoringReason.PARTIAL_UNASKED


def test_errors_live_as_long_as_the_operator_says() -> None:
    strict, lenient = Terms(negative_ttl_s=0), Terms(server_error_ttl_s=2)
    assert may_store(b"GET", {}, received("x: y", 404), strict).reason is StoringReason.NO_LIFETIME
    assert may_store(b"GET", {}, received(MAX_AGE, 404), strict).reason is StoringReason.EXPLICIT
    assert may_store(b"GET", {}, received("x: y", 503), lenient).reason is StoringReason.NEGATIVE
    assert may_store(b"GET", {}, received("x: y", 501), lenient).reason is StoringReason.POINTLESS
    assert stored("x: y", 503, terms=lenient).freshness.lifetime_s == 2


def test_what_belongs_to_the_connection_or_a_proxy_is_not_stored() -> None:
    header = fields(
        "connection: close, X-Hop\nx-hop: 1\nkeep-alive: 5\nte: x\ntransfer-encoding: chunked\nupgrade: x\ntrailer: x\n"
        "proxy-connection: x\nproxy-authenticate: x\nproxy-authentication-info: x\nproxy-authorization: x\nwarning: 110\n"
        "age: 5\ncontent-length: 5\ncontent-range: bytes 0-4/5\nx-a: 1\nX-A: 2\ncontent-type: a/b\ncache-tag: t"
    )
    kept = storable_fields(header, frozenset((b"content-type",)))
    assert kept == ((b"x-a", b"1"), (b"x-a", b"2"), (b"cache-tag", b"t"))


def test_tags_come_from_both_fields() -> None:
    assert tags_of(fields("cache-tag: b, a\nsurrogate-key: c  a\nsurrogate-key: d")) == ("a", "b", "c", "d")


def test_a_part_is_kept_as_a_part_of_a_200() -> None:
    kept = stored(
        'etag: "a"\ncontent-range: bytes 0-4/9\ncontent-length: 5\nlast-modified: {now-600}\ndate: {now}', 206
    )
    assert (kept.status, kept.size, kept.freshness.lifetime_s) == (200, 9, 60)


def test_a_version_is_named_alike_wherever_the_same_representation_is_met() -> None:
    part = stored('etag: "a"\ncontent-range: bytes 0-4/9', 206)
    whole = stored('etag: "a"\ncontent-length: 9\nx-a: y')
    assert part.version == whole.version != b""
    for other in (
        'etag: "b"\ncontent-length: 9',
        'etag: "a"\ncontent-length: 8',
        'etag: "a"\ncontent-length: 9\ncontent-encoding: br',
    ):
        assert stored(other).version != whole.version
    assert stored('etag: W/"a"\ncontent-length: 9').version == b""


def test_variants_with_the_same_tag_are_versions_of_their_own() -> None:
    text = 'etag: "a"\ncontent-length: 9\nvary: accept'
    one, other = stored(text, asked={b"accept": b"a/b"}), stored(text, asked={b"accept": b"c/d"})
    assert one.version != other.version


def test_a_date_and_a_tag_of_the_same_letters_name_different_versions() -> None:
    dated = received("date: {now}\nlast-modified: {now-600}")
    validator = strong_validator(dated.fields)
    assert validator is not None
    tagged = strong_validator(fields('etag: "a"'))
    assert tagged is not None
    assert version_of(validator, 5, ()) != version_of(tagged, 5, ())
    assert stored("x: y", at=NOW).date == NOW
