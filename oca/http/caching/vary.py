"""`Vary`: which stored response a request may get (RFC 9111 §4.1).

Normalised are white space around commas in the negotiation fields below, and, where the field's own specification makes them equal, letter
case and order. Nothing else: a field whose grammar is unknown has to be the same byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from oca.http.caching.fields import Fields, Headers, joined, members, names
from oca.http.caching.stored import StoredResponse

_LISTS = frozenset((b"accept", b"accept-charset", b"accept-encoding", b"accept-language"))
_CASELESS = frozenset((b"accept-charset", b"accept-encoding", b"accept-language"))
_REMEMBERED_BYTES = 256
"""Few values come again and again, and are worth 4 µs each; longer ones are nobody's."""

Selecting = tuple[tuple[bytes, bytes | None], ...]


def varies_on_all(fields: Fields) -> bool:
    return b"*" in names(joined(fields, b"vary"))


def selecting(fields: Fields, asked: Headers) -> Selecting:
    """The request fields that `Vary` nominates, with their normalised values, by name."""
    return tuple((name, normalised(name, asked.get(name))) for name in sorted(names(joined(fields, b"vary"))))


def normalised(name: bytes, value: bytes | None) -> bytes | None:
    """Two values with the same result select the same response. None is a field that is absent: it matches only another such."""
    if value is None:
        return None
    if name not in _LISTS:
        return value.strip(b" \t")
    return _in_order(name, value) if len(value) > _REMEMBERED_BYTES else _remembered(name, value)


def _in_order(name: bytes, value: bytes) -> bytes:
    """Preference is said by `q`, never by position (RFC 9110 §12.4.2)."""
    listed = [_weighted(part.lower() if name in _CASELESS else part) for part in members(value)]
    return b",".join(sorted(listed))


_remembered = lru_cache(1024)(_in_order)


def _weighted(member: bytes) -> bytes:
    """A list member without the white space around its semicolons."""
    return member if b'"' in member else b";".join(part.strip(b" \t") for part in member.split(b";"))


def matches(stored: StoredResponse, asked: Headers) -> bool:
    """`Vary: *` never does (§4.1)."""
    return all(name != b"*" and normalised(name, asked.get(name)) == value for name, value in stored.vary)


def matching(variants: Iterable[StoredResponse], asked: Headers) -> list[StoredResponse]:
    """All that could be chosen, the one to choose first: one with `Vary` before one that forgot it (§4.1), then the newest by `Date` (§4)."""
    found = [stored for stored in variants if matches(stored, asked)]
    return sorted(found, key=lambda stored: (bool(stored.vary), stored.date, stored.received_at), reverse=True)
