"""Responses and requests in few words, for the tests of the cache's decisions."""

from __future__ import annotations

from email.utils import formatdate

from oca.http.caching.fields import Fields
from oca.http.caching.keeping import Received, stored_response
from oca.http.caching.stored import StoredResponse, Terms

NOW = 1_800_000_000.0
TERMS = Terms()


def http_date(at: float) -> bytes:
    return formatdate(at, usegmt=True).encode()


def fields(text: str) -> Fields:
    """One field per line; `{now}` and `{now-60}` become dates."""
    found = []
    for line in filter(None, (line.strip() for line in text.split("\n"))):
        name, _colon, value = line.partition(":")
        found.append((name.strip().lower().encode(), _dated(value.strip())))
    return tuple(found)


def _dated(value: str) -> bytes:
    if not value.startswith("{now"):
        return value.encode("latin-1")
    return http_date(NOW + int(value[4:-1] or 0))


def received(text: str, status: int = 200, *, at: float = NOW, took: float = 0.0, complete: bool = True) -> Received:
    return Received(status, fields(text), at - took, at, complete)


def stored(
    text: str, status: int = 200, *, at: float = NOW, terms: Terms = TERMS, asked: dict[bytes, bytes] | None = None
) -> StoredResponse:
    """As it would be kept; whether it may be is not asked."""
    return stored_response(received(text, status, at=at), asked or {}, terms, frozenset())
