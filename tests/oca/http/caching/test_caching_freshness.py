"""How long a response is fresh, and how old it is (RFC 9111 §4.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oca.http.caching.keeping import Received, stored_response
from oca.http.caching.stored import LifetimeSource, Terms
from tests.oca.http.caching.shapes import NOW, TERMS, http_date, received, stored


@pytest.mark.parametrize(
    ("text", "lifetime_s", "source"),
    [
        ("cache-control: s-maxage=5, max-age=9\nexpires: {now+70}\ndate: {now}", 5, LifetimeSource.S_MAXAGE),
        ("cache-control: max-age=9\nexpires: {now+70}\ndate: {now}", 9, LifetimeSource.MAX_AGE),
        ("expires: {now+70}\ndate: {now-10}", 80, LifetimeSource.EXPIRES),
        ("expires: {now+70}", 70, LifetimeSource.EXPIRES),
        ("expires: {now-70}\ndate: {now}", 0, LifetimeSource.EXPIRES),
        ("expires: 0\nlast-modified: {now-600}", 0, LifetimeSource.EXPIRES),
        ("expires: {now+9}\nexpires: {now+9}", 0, LifetimeSource.EXPIRES),
        ("cache-control: max-age=x\nexpires: {now+70}", 0, LifetimeSource.MAX_AGE),
        ("last-modified: {now-600}\ndate: {now}", 60, LifetimeSource.HEURISTIC),
        ("last-modified: {now-600}\ndate: {now-100}", 50, LifetimeSource.HEURISTIC),
        ("last-modified: {now-99999999}\ndate: {now}", 86_400, LifetimeSource.HEURISTIC),
        ("last-modified: {now+600}\ndate: {now}", 0, LifetimeSource.HEURISTIC),
        ("last-modified: soon\ndate: {now}", 0, LifetimeSource.NONE),
        ("date: {now}", 0, LifetimeSource.NONE),
        ("expires: {now+70}\ncdn-cache-control: max-age=3", 3, LifetimeSource.MAX_AGE),
        ("expires: {now+70}\ncache-control: s-maxage=4\ncdn-cache-control: public", 0, LifetimeSource.NONE),
    ],
)
def test_the_first_source_that_says_anything_counts(text: str, lifetime_s: float, source: LifetimeSource) -> None:
    found = stored(text).freshness
    assert (found.lifetime_s, found.source) == (lifetime_s, source)


def test_a_guess_needs_a_status_that_allows_it_or_public() -> None:
    text = "last-modified: {now-600}\ndate: {now}"
    assert stored(text, 302).freshness.lifetime_s == 0
    assert stored(text + "\ncache-control: public", 302).freshness.lifetime_s == 60


def test_an_error_that_says_nothing_has_the_operators_short_life_and_no_guess() -> None:
    found = stored("last-modified: {now-99999}\ndate: {now}", 404).freshness
    assert (found.lifetime_s, found.source) == (TERMS.negative_ttl_s, LifetimeSource.NEGATIVE)
    assert stored("cache-control: max-age=600", 404).freshness.lifetime_s == 600


@pytest.mark.parametrize(
    ("text", "took_s", "age_s"),
    [
        ("date: {now}", 0, 0),
        ("date: {now-30}", 0, 30),
        ("date: {now+30}", 0, 0),
        ("date: {now}\nage: 20", 0, 20),
        ("date: {now}\nage: 20", 7, 27),
        ("date: {now-30}\nage: 20", 7, 30),
        ("date: {now-30}\nage: 25", 7, 32),
        ("date: x\nage: 20", 7, 27),
        ("age: x", 7, 7),
    ],
)
def test_the_age_on_arrival_is_the_worst_that_date_and_the_tiers_above_imply(
    text: str, took_s: float, age_s: float
) -> None:
    found = stored_response(received(text, took=took_s), {}, TERMS, frozenset())
    assert found.age_s(NOW) == age_s
    assert found.age_s(NOW + 100) == age_s + 100
    assert found.age_s(NOW - 100) == age_s


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 9)), min_size=1, max_size=5))
def test_through_any_number_of_tiers_nothing_gets_younger(hops: list[tuple[int, int, int]]) -> None:
    """Each tier keeps what it got for a while, and the exchange with it takes time; clocks agree."""
    born, now = NOW, NOW
    age = 0
    for kept_s, _spare, took_s in hops:
        asked_at, now = now, now + took_s
        header = ((b"date", http_date(born)), (b"age", b"%d" % age), (b"cache-control", b"max-age=1000"))
        tier = stored_response(Received(200, header, asked_at, now), {}, Terms(), frozenset())
        now += kept_s
        age = int(tier.age_s(now))
        assert now - born <= age <= now - born + sum(took for _kept, _spare, took in hops)


def test_what_an_operator_says_holds_where_the_response_says_nothing() -> None:
    terms = Terms(stale_while_revalidate_s=7, stale_if_error_s=8)
    silent = stored("cache-control: max-age=1", terms=terms).freshness
    assert (silent.stale_while_revalidate_s, silent.stale_if_error_s) == (7, 8)
    spoken = stored("cache-control: max-age=1, stale-while-revalidate=0, stale-if-error=x", terms=terms).freshness
    assert (spoken.stale_while_revalidate_s, spoken.stale_if_error_s) == (0, 0)
