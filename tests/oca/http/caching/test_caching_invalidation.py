"""What an answer to an unsafe request makes useless (RFC 9111 §4.4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oca.http.caching.invalidation import SAFE, invalidated
from tests.oca.http.caching.shapes import fields

HOSTS = frozenset((b"cdn.example", b"cdn.example:443"))


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"PATCH", b"BREW"])
def test_unsafe_and_unknown_methods_invalidate_their_target(method: bytes) -> None:
    assert invalidated(method, 204, b"/a?b=c", (), HOSTS) == (b"/a?b=c",)


@pytest.mark.parametrize("method", sorted(SAFE))
def test_safe_methods_invalidate_nothing(method: bytes) -> None:
    assert invalidated(method, 200, b"/a", (), HOSTS) == ()


@pytest.mark.parametrize(("status", "done"), [(100, 0), (200, 1), (303, 1), (399, 1), (400, 0), (500, 0)])
def test_only_answers_that_are_no_error_invalidate(status: int, done: int) -> None:
    assert len(invalidated(b"POST", status, b"/a", (), HOSTS)) == done


@pytest.mark.parametrize(
    ("reference", "path"),
    [
        ("/b?x=1#part", b"/b?x=1"),
        ("b", b"/dir/b"),
        ("../b", b"/b"),
        ("?q", b"/dir/a?q"),
        ("https://cdn.example/b", b"/b"),
        ("HTTP://CDN.example:443", b"/"),
        ("//cdn.example/b", b"/b"),
        ("http://other.example/b", None),
        ("http://cdn.example:8080/b", None),
        ("//other.example/b", None),
        ("ftp://cdn.example/b", None),
        ("http://[broken/b", None),
    ],
)
@pytest.mark.parametrize("name", ["location", "content-location"])
def test_what_the_answer_names_on_the_same_host_goes_too(name: str, reference: str, path: bytes | None) -> None:
    found = invalidated(b"POST", 201, b"/dir/a", fields(f"{name}: {reference}"), HOSTS)
    assert found == ((b"/dir/a",) if path is None else (b"/dir/a", path))


@given(st.binary(max_size=40))
def test_no_reference_raises(reference: bytes) -> None:
    found = invalidated(b"POST", 200, b"/a", ((b"location", reference),), HOSTS)
    assert found[0] == b"/a"
