"""Which stored response a request may get (RFC 9111 §4.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oca.http.caching.stored import StoredResponse
from oca.http.caching.vary import matching, normalised
from tests.oca.http.caching.shapes import NOW, stored


def variant(vary: str, asked: dict[bytes, bytes], text: str = "") -> StoredResponse:
    return stored(f"cache-control: max-age=60\nvary: {vary}\n{text}", asked=asked)


@pytest.mark.parametrize(
    ("name", "one", "other", "same"),
    [
        (b"accept-encoding", b"gzip, br", b"br,GZIP", True),
        (b"accept-encoding", b"gzip;q=0.5", b"gzip ; q=0.5", True),
        (b"accept-encoding", b"gzip;q=0.5", b"gzip;q=0.6", False),
        (b"accept-language", b"de-DE, en", b"en,de-de", True),
        (b"accept", b"a/b, c/d", b"c/d,a/b", True),
        (b"accept", b'a/b;x="1, 2"', b'a/b;x="1,2"', False),
        (b"accept", b"a/b;x=Y", b"a/b;x=y", False),
        (b"user-agent", b"A, B", b"A,B", False),
        (b"cookie", b" a=b", b"a=b", True),
        (b"cookie", b"a=b", b"A=b", False),
        (b"accept", None, b"", False),
        (b"accept", None, None, True),
    ],
)
def test_values_are_the_same_only_where_their_field_makes_them_so(
    name: bytes, one: bytes | None, other: bytes | None, same: bool
) -> None:
    assert (normalised(name, one) == normalised(name, other)) == same


def test_every_nominated_field_has_to_match_whatever_its_case() -> None:
    kept = variant("Accept, X-A", {b"accept": b"a/b", b"x-a": b"1"})
    assert matching([kept], {b"accept": b"a/b", b"x-a": b"1", b"x-b": b"2"}) == [kept]
    assert matching([kept], {b"accept": b"a/b"}) == []
    assert matching([kept], {b"accept": b"a/b", b"x-a": b"2"}) == []


def test_a_star_never_matches() -> None:
    assert matching([variant("*", {})], {}) == []
    assert matching([variant("accept, *", {})], {}) == []


def test_of_several_the_newest_by_date_is_chosen_and_one_that_forgot_vary_comes_last() -> None:
    asked = {b"accept": b"a/b"}
    old = variant("accept", asked, "date: {now-50}")
    new = variant("accept", asked, "date: {now-10}")
    forgot = stored("cache-control: max-age=60\ndate: {now}", at=NOW)
    for order in ([old, new, forgot], [forgot, new, old]):
        assert matching(order, asked) == [new, old, forgot]
    assert matching([forgot, old], {b"accept": b"c/d"}) == [forgot]


@given(st.lists(st.sampled_from([b"gzip", b"br;q=0.5", b"*;q=0", b"identity"]), unique=True))
def test_the_order_of_a_negotiated_list_selects_nothing(listed: list[bytes]) -> None:
    shuffled = sorted(listed, key=lambda part: part[::-1])
    assert normalised(b"accept-encoding", b", ".join(listed)) == normalised(b"accept-encoding", b" ,".join(shuffled))
