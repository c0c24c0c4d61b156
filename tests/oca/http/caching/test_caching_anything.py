"""Whatever comes: no header raises, and what was decided holds together."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from oca.http.caching.combining import joins, version_begun
from oca.http.caching.fields import Fields
from oca.http.caching.keeping import Received, stored_response
from oca.http.caching.reuse import Use, after_error, decide
from oca.http.caching.said import appended, status_of
from oca.http.caching.stored import Terms, pack_stored, unpack_stored
from oca.http.caching.storing import How, may_store
from oca.http.caching.structured import is_list
from oca.http.caching.validation import not_modified, on_head
from tests.oca.http.caching.shapes import NOW

_NAMES = st.sampled_from((
    b"cache-control", b"cdn-cache-control", b"date", b"expires", b"last-modified", b"etag", b"age", b"vary", b"connection",
    b"content-length", b"content-range", b"content-type", b"set-cookie", b"cache-tag", b"surrogate-key", b"warning", b"x-a",
))  # fmt: skip
_VALUES = st.one_of(
    st.binary(max_size=30),
    st.sampled_from((
        b"max-age=60", b"s-maxage=9", b"no-cache", b'private="x-a"', b"public", b"Fri, 15 Jan 2027 08:00:00 GMT", b'"a"', b'W/"a"', b"5",
        b"bytes 0-4/9", b"9", b"accept", b"*", b"x-a", b"Friday, 15-Jan-27 08:00:00 GMT", b"Fri Jan 15 08:00:00 2027", b"99999999999999999999",
    )),
)  # fmt: skip
_HEADER = st.lists(st.tuples(_NAMES, _VALUES), max_size=8).map(tuple)
_ASKED = st.dictionaries(
    st.sampled_from([b"cache-control", b"pragma", b"accept", b"x-a", b"authorization", b"range"]),
    st.one_of(st.binary(max_size=20), st.sampled_from([b"max-stale", b"no-cache", b"only-if-cached", b"max-age=5"])),
)
_STATUS = st.sampled_from([200, 206, 301, 304, 404, 416, 500, 503, 999, 100])


@settings(max_examples=300)
@given(_STATUS, _HEADER, _HEADER, _ASKED, _ASKED, st.integers(-100, 10**6))
def test_no_header_raises_and_no_decision_contradicts_itself(
    status: int, header: Fields, update: Fields, asked: dict[bytes, bytes], later: dict[bytes, bytes], after_s: int
) -> None:
    terms = Terms(stale_while_revalidate_s=30, stale_if_error_s=60, server_error_ttl_s=1)
    answer = Received(status, header, NOW - 1, NOW)
    storing = may_store(b"GET", asked, answer, terms)
    kept = stored_response(answer, asked, terms, storing.stripped)
    assert unpack_stored(pack_stored(kept)) == kept
    assert storing.how is not How.BLOCKS or (kept.version and kept.size is not None)
    assert not storing.stripped & {name for name, _value in kept.fields}
    assert kept.freshness.initial_age_s >= 1
    found = decide(b"GET", later, [kept], NOW + after_s)
    facts = kept.freshness
    if found.use in (Use.HIT, Use.HIT_STALE, Use.REFRESH):
        assert found.stored is kept
        assert not facts.no_cache
    if found.use in (Use.HIT_STALE, Use.REFRESH):
        assert not facts.must_revalidate
        assert found.ttl_s is not None
        assert found.ttl_s <= 0
    assert bool(found.conditions) == (found.use is Use.REVALIDATE or (found.use is Use.REFRESH and kept.validates))
    assert is_list(appended(header[0][1] if header else None, status_of(found).member()))
    assert after_error(later, kept, 503, NOW + after_s).use in (Use.HIT_STALE, Use.FETCH)
    news = Received(304, update, NOW + 5, NOW + 6)
    for fresh in not_modified(asked, [kept], kept, news, terms) + on_head(
        asked, [kept], Received(200, update, NOW, NOW), terms
    ):
        assert (fresh.stored.version, fresh.stored.size, fresh.stored.status) == (kept.version, kept.size, kept.status)
        assert unpack_stored(pack_stored(fresh.stored)) == fresh.stored
    version = version_begun(answer)
    if version is not None:
        joins(version, Received(status, update, NOW, NOW))
