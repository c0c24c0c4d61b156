"""What a request gets from what is stored (RFC 9111 §4, §5.2.1; RFC 5861; RFC 8246)."""

from __future__ import annotations

import pytest

from oca.http.caching.reuse import ReuseReason, Use, after_error, decide
from oca.http.caching.stored import pack_stored, unpack_stored
from oca.http.caching.validation import invalid, softened
from tests.oca.http.caching.shapes import NOW, stored

TAGGED = 'etag: "a"\ndate: {now}\n'


@pytest.mark.parametrize(
    ("said", "asked", "after_s", "use", "reason"),
    [
        ("max-age=60", None, 59, Use.HIT, ReuseReason.FRESH),
        ("max-age=60", None, 60, Use.REVALIDATE, ReuseReason.STALE),
        ("max-age=60", "no-cache", 0, Use.REVALIDATE, ReuseReason.REQUEST_NO_CACHE),
        ("max-age=60, no-cache", None, 0, Use.REVALIDATE, ReuseReason.NO_CACHE),
        ("max-age=60", "max-age=10", 10, Use.HIT, ReuseReason.FRESH),
        ("max-age=60", "max-age=10", 11, Use.REVALIDATE, ReuseReason.REQUEST_MAX_AGE),
        ("max-age=60", "max-age=x", 11, Use.HIT, ReuseReason.FRESH),
        ("max-age=60", "min-fresh=30", 30, Use.HIT, ReuseReason.FRESH),
        ("max-age=60", "min-fresh=30", 31, Use.REVALIDATE, ReuseReason.REQUEST_MIN_FRESH),
        ("max-age=60", "max-stale", 99999, Use.HIT_STALE, ReuseReason.MAX_STALE),
        ("max-age=60", "max-stale=5", 65, Use.HIT_STALE, ReuseReason.MAX_STALE),
        ("max-age=60", "max-stale=5", 66, Use.REVALIDATE, ReuseReason.STALE),
        ("max-age=60", "max-stale=5, max-age=62", 63, Use.REVALIDATE, ReuseReason.STALE),
        ("max-age=60, must-revalidate", "max-stale", 61, Use.REVALIDATE, ReuseReason.STALE),
        ("max-age=60, proxy-revalidate", "max-stale", 61, Use.REVALIDATE, ReuseReason.STALE),
        ("s-maxage=60", "max-stale", 61, Use.REVALIDATE, ReuseReason.STALE),
        ("max-age=60, stale-while-revalidate=5", None, 65, Use.REFRESH, ReuseReason.STALE_WHILE_REVALIDATE),
        ("max-age=60, stale-while-revalidate=5", None, 66, Use.REVALIDATE, ReuseReason.STALE),
        ("max-age=60, stale-while-revalidate=5", "max-age=100", 62, Use.REVALIDATE, ReuseReason.STALE),
        ("s-maxage=60, stale-while-revalidate=5", None, 61, Use.REVALIDATE, ReuseReason.STALE),
        ("max-age=60, immutable", "max-age=0", 30, Use.HIT, ReuseReason.IMMUTABLE),
        ("max-age=60, immutable", "no-cache", 30, Use.REVALIDATE, ReuseReason.REQUEST_NO_CACHE),
        ("max-age=60, immutable", None, 60, Use.REVALIDATE, ReuseReason.STALE),
        ("max-age=60", "only-if-cached", 59, Use.HIT, ReuseReason.FRESH),
        ("max-age=60", "only-if-cached", 60, Use.UNSATISFIABLE, ReuseReason.ONLY_IF_CACHED),
        ("max-age=60", "only-if-cached, max-stale", 60, Use.HIT_STALE, ReuseReason.MAX_STALE),
    ],
)
def test_the_directives_of_both_sides_decide(
    said: str, asked: str | None, after_s: float, use: Use, reason: ReuseReason
) -> None:
    headers = {} if asked is None else {b"cache-control": asked.encode()}
    found = decide(b"GET", headers, [stored(TAGGED + f"cache-control: {said}")], NOW + after_s)
    assert (found.use, found.reason) == (use, reason)


def test_pragma_counts_only_where_there_is_no_cache_control() -> None:
    variants = [stored(TAGGED + "cache-control: max-age=60")]
    assert decide(b"GET", {b"pragma": b"no-cache"}, variants, NOW).use is Use.REVALIDATE
    both = {b"pragma": b"no-cache", b"cache-control": b"max-age=9"}
    assert decide(b"GET", both, variants, NOW).use is Use.HIT


def test_a_response_without_a_validator_is_fetched_rather_than_validated() -> None:
    assert decide(b"GET", {}, [stored("cache-control: max-age=60")], NOW + 61).use is Use.FETCH


def test_other_methods_than_get_and_head_are_forwarded() -> None:
    variants = [stored(TAGGED + "cache-control: max-age=60")]
    assert decide(b"HEAD", {}, variants, NOW).use is Use.HIT
    assert decide(b"POST", {}, variants, NOW).reason is ReuseReason.METHOD


def test_a_miss_by_address_and_a_miss_by_vary_are_told_apart() -> None:
    variants = [stored("cache-control: max-age=60\nvary: accept", asked={b"accept": b"a/b"})]
    assert decide(b"GET", {}, [], NOW).reason is ReuseReason.URI_MISS
    assert decide(b"GET", {}, variants, NOW).reason is ReuseReason.VARY_MISS
    assert decide(b"GET", {b"accept": b" a/b "}, variants, NOW).use is Use.HIT
    assert decide(b"GET", {b"cache-control": b"only-if-cached"}, [], NOW).use is Use.UNSATISFIABLE


def test_a_validation_carries_the_tag_and_the_date_of_the_stored_response() -> None:
    text = TAGGED + "cache-control: max-age=1\nlast-modified: Fri, 01 Jan 2027 00:00:00 GMT"
    found = decide(b"GET", {}, [stored(text)], NOW + 5)
    assert found.conditions == (
        (b"if-none-match", b'"a"'),
        (b"if-modified-since", b"Fri, 01 Jan 2027 00:00:00 GMT"),
    )


@pytest.mark.parametrize(
    ("said", "asked", "status", "after_s", "use"),
    [
        ("max-age=60, stale-if-error=30", "", None, 90, Use.HIT_STALE),
        ("max-age=60, stale-if-error=30", "", 503, 90, Use.HIT_STALE),
        ("max-age=60, stale-if-error=30", "", 501, 90, Use.FETCH),
        ("max-age=60, stale-if-error=30", "", 404, 90, Use.FETCH),
        ("max-age=60, stale-if-error=30", "", None, 91, Use.UNSATISFIABLE),
        ("max-age=60, stale-if-error=30", "no-cache", None, 70, Use.UNSATISFIABLE),
        ("max-age=60, stale-if-error=30, must-revalidate", "", None, 61, Use.UNSATISFIABLE),
        ("s-maxage=60, stale-if-error=30", "", None, 61, Use.UNSATISFIABLE),
        ("max-age=60, stale-if-error=30, no-cache", "", None, 10, Use.UNSATISFIABLE),
        ("max-age=60", "stale-if-error=30", None, 90, Use.HIT_STALE),
        ("max-age=60", "max-age=0", None, 30, Use.HIT_STALE),
    ],
)
def test_when_upstream_fails_what_is_stored_stands_in_as_far_as_allowed(
    said: str, asked: str, status: int | None, after_s: float, use: Use
) -> None:
    headers = {b"cache-control": asked.encode()} if asked else {}
    found = after_error(headers, stored(TAGGED + f"cache-control: {said}"), status, NOW + after_s)
    assert found.use is use


def test_a_soft_purge_has_a_response_validated_and_keeps_it_for_errors_as_long_as_they_are_allowed_for() -> None:
    text = TAGGED + "cache-control: max-age=60, stale-while-revalidate=60, stale-if-error=30"
    soft = softened(stored(text + ", immutable"))
    for asked in ({}, {b"cache-control": b"max-stale"}):
        found = decide(b"GET", asked, [soft], NOW + 50)
        assert (found.use, found.reason) == (Use.REVALIDATE, ReuseReason.PURGED)
    assert after_error({}, soft, None, NOW + 90).use is Use.HIT_STALE
    assert after_error({}, soft, None, NOW + 91).use is Use.UNSATISFIABLE
    for forbidding in (text + ", must-revalidate", TAGGED + "cache-control: max-age=60"):
        assert after_error({}, softened(stored(forbidding)), None, NOW + 1).use is Use.UNSATISFIABLE


def test_what_an_unsafe_method_made_invalid_is_not_sent_without_validation_even_when_upstream_fails() -> None:
    kept = invalid(stored(TAGGED + "cache-control: max-age=60, stale-if-error=600"))
    assert decide(b"GET", {b"cache-control": b"max-stale"}, [kept], NOW).use is Use.REVALIDATE
    assert after_error({}, kept, None, NOW).use is Use.UNSATISFIABLE


def test_a_row_reads_back_as_it_was_and_another_format_is_not_stored() -> None:
    found = stored(TAGGED + "cache-control: max-age=60\nvary: accept\ncache-tag: a, b", asked={b"accept": b"x/y"})
    assert unpack_stored(pack_stored(found)) == found
    assert found.tags == ("a", "b")
    assert unpack_stored(b"\x63" + pack_stored(found)[1:]) is None
    assert unpack_stored(b"") is None
    assert unpack_stored(b"\x01junk") is None
