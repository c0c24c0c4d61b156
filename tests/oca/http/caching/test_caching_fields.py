"""Header fields as a cache reads them (RFC 9111 §1.2.2, §4.2.1, §5; RFC 9213; RFC 9651)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oca.http.caching.fields import MOST_SECONDS, age_of, members, names, read_request, read_response, seconds
from oca.http.caching.structured import is_list, read_dictionary
from tests.oca.http.caching.shapes import fields


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"0", 0),
        (b"007", 7),
        (b"2147483648", 1 << 31),
        (b"9" * 400, MOST_SECONDS),
        (b"0" * 400 + b"5", 5),
        (b"", None),
        (b"-1", None),
        (b"+1", None),
        (b"1.5", None),
        (b"1_0", None),
        (b" 1", None),
        (b"\xb2", None),
        (None, None),
    ],
)
def test_seconds_are_digits_and_overflow_to_the_most_there_is(text: bytes | None, value: int | None) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        (b'a, b="x, y",, c ', [b"a", b'b="x, y"', b"c"]),
        (b'a="x\\", y", b', [b'a="x\\", y"', b"b"]),
        (b'private="a, no-store', [b'private="a', b"no-store"]),
        (b'x="a\\", no-store', [b'x="a\\"', b"no-store"]),
        (b" , ,\t", []),
    ],
)
def test_a_comma_in_a_quoted_string_separates_only_when_the_string_never_ends(text: bytes, listed: list[bytes]) -> None:
    assert members(text) == listed


@pytest.mark.parametrize(
    ("said", "max_age"),
    [
        ("max-age=60", 60),
        ("MAX-AGE=60", 60),
        ('max-age="60"', 60),
        ("max-age=60, max-age=60", 60),
        ("max-age=60, max-age=61", 0),
        ("max-age=60, max-age=x", 0),
        ("max-age", 0),
        ("max-age=", 0),
        ("max-age= 60", 0),
        ("max-age=-1", 0),
        ("max-age=1e3", 0),
        ("max-age=99999999999", MOST_SECONDS),
        ("x-max-age=60", None),
        ('x="max-age=60"', None),
    ],
)
def test_a_lifetime_that_cannot_be_read_or_contradicts_itself_is_zero(said: str, max_age: int | None) -> None:
    assert read_response(fields(f"cache-control: {said}")).max_age == max_age


def test_directives_of_several_lines_count_together() -> None:
    found = read_response(fields("cache-control: max-age=5, public\nx: y\ncache-control: no-store"))
    assert (found.max_age, found.public, found.no_store) == (5, True, True)


@pytest.mark.parametrize(
    ("said", "whole", "named"),
    [
        ("no-cache", True, []),
        ('no-cache="Set-Cookie, x-a"', False, [b"set-cookie", b"x-a"]),
        ("no-cache=x-a", False, [b"x-a"]),
        ('no-cache="x-a", no-cache="x-b"', False, [b"x-a", b"x-b"]),
        ('no-cache="x-a", no-cache', True, []),
        ('no-cache=""', True, []),
        ('no-cache="x a"', True, []),
        ('no-cache="x-a', True, []),
        ('no-cache="etag"', True, []),
        ('no-cache="x-a, Content-Type"', True, []),
    ],
)
def test_a_list_of_fields_that_is_unreadable_or_vital_means_all_of_the_response(
    said: str, whole: bool, named: list[bytes]
) -> None:
    found = read_response(fields(f"cache-control: {said}"))
    assert (found.no_cache, sorted(found.no_cache_fields)) == (whole, named)
    private = read_response(fields("cache-control: " + said.replace("no-cache", "private")))
    assert (private.private, sorted(private.private_fields)) == (whole, named)


def test_what_forbids_counts_with_a_stray_argument_and_what_allows_does_not() -> None:
    found = read_response(
        fields("cache-control: no-store=1, must-revalidate=0, public=1, immutable=x, must-understand=y")
    )
    assert (found.no_store, found.must_revalidate) == (True, True)
    assert (found.public, found.immutable, found.must_understand) == (False, False, False)


@pytest.mark.parametrize(
    ("targeted", "max_age", "taken"),
    [
        ("max-age=60", 60, True),
        ("max-age=60;x=1, public", 60, True),
        ("max-age=60, max-age=70", 70, True),
        ("public", None, True),
        ("max-age=1.5", 0, True),
        ("max-age=?0", None, True),
        ("none", None, True),
        ("", 5, False),
        ("max-age=60,", 5, False),
        ("Max-Age=60", 5, False),
        ("max-age=60 public", 5, False),
        ('private="x', 5, False),
        ("max-age=1234567890123456", 5, False),
    ],
)
def test_a_valid_cdn_cache_control_takes_the_place_of_cache_control(
    targeted: str, max_age: int | None, taken: bool
) -> None:
    found = read_response(fields(f"cache-control: max-age=5, no-store\ncdn-cache-control: {targeted}"))
    assert (found.max_age, found.targeted, found.no_store) == (max_age, taken, not taken)


def test_a_targeted_directive_with_names_is_qualified_only_as_a_string() -> None:
    as_string = read_response(fields('cdn-cache-control: private="x-a, x-b"'))
    assert (as_string.private, as_string.private_fields) == (False, frozenset((b"x-a", b"x-b")))
    for other in ("private=x-a", "private=(x-a)", "private=:eA==:", "private", "private=@1"):
        assert read_response(fields(f"cdn-cache-control: {other}")).private


@pytest.mark.parametrize(
    ("lines", "age_s"),
    [
        ("age: 5", 5),
        ("age: 5, 9", 5),
        ("age: 5\nage: 9", 5),
        ("age: x, 9", 0),
        ("age: -5", 0),
        ("age: 99999999999", MOST_SECONDS),
        ("x: y", 0),
    ],
)
def test_age_is_the_first_member_or_nothing(lines: str, age_s: int) -> None:
    assert age_of(fields(lines)) == age_s


def test_requests_are_read_as_advice() -> None:
    found = read_request({b"cache-control": b'max-age="9", min-fresh=x, max-stale, No-Cache, max-age=3'})
    assert (found.max_age, found.min_fresh, found.max_stale, found.no_cache) == (9, None, MOST_SECONDS, True)
    assert read_request({b"cache-control": b"max-stale=x"}).max_stale is None
    assert read_request({b"pragma": b"x, no-cache"}).no_cache
    assert not read_request({b"pragma": b"no-cache", b"cache-control": b""}).no_cache


_TEXT = st.one_of(st.binary(max_size=60), st.text('max-age=,"\\ \t;?01.()@:%no-cache*', max_size=40).map(str.encode))


@given(_TEXT)
def test_nothing_that_is_received_raises(value: bytes) -> None:
    for name in (b"cache-control", b"cdn-cache-control", b"age", b"vary"):
        read_response(((name, value),))
        age_of(((name, value),))
    read_request({b"cache-control": value, b"pragma": value})
    names(value)
    is_list(value)


@given(_TEXT)
def test_no_directive_is_hidden_by_what_stands_before_it_unquoted(before: bytes) -> None:
    found = read_response(((b"cache-control", before.replace(b'"', b"").replace(b"\\", b"") + b",no-store"),))
    assert found.no_store


@given(
    st.dictionaries(st.from_regex(r"[a-z*][a-z0-9_.*-]{0,8}", fullmatch=True), st.integers(0, 10**15 - 1), min_size=1)
)
def test_what_a_dictionary_says_is_read_back(said: dict[str, int]) -> None:
    text = ", ".join(f"{name}={value};p=(a b)" if value % 2 else f"{name}={value}" for name, value in said.items())
    found = read_dictionary(text.replace("(a b)", '"a b"').encode())
    assert found == {name.encode(): [str(value).encode()] for name, value in said.items()}
