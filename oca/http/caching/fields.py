"""Header fields as a cache reads them: lists, seconds, dates, and the directives of `Cache-Control` (RFC 9111 §5) and `CDN-Cache-Control` (RFC 9213).

Law: no input raises, and what cannot be read ends on the restrictive side. An unreadable lifetime is zero (§4.2.1), an unreadable list of
field names is the unqualified directive (§5.2.2.4, §5.2.2.7), a directive that allows something counts only as its grammar writes it.

Not read: `Warning` (obsolete, §5.5) and `Pragma` in responses (no meaning was ever defined, §5.4).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from oca.http.caching.structured import Value, read_dictionary

Field = tuple[bytes, bytes]
"""Name in lower case, value without white space around it."""
Fields = tuple[Field, ...]
"""In the order received; repeated names stay repeated."""
Headers = Mapping[bytes, bytes]
"""A request's fields as `oca.http.request` has them: repeated ones joined by a comma."""

MOST_SECONDS = 1 << 31
"""What a larger number of seconds counts as (§1.2.2)."""

LOAD_BEARING = frozenset((
    b"age", b"cache-control", b"cdn-cache-control", b"content-encoding", b"content-length", b"content-range", b"content-type",
    b"date", b"etag", b"expires", b"last-modified", b"location", b"vary",
))  # fmt: skip
"""Without these a response means something else: a directive that names one of them holds for all of the response."""

_REMEMBERED_BYTES = 256
"""Browsers say one of a handful of values, which saves 15 µs each; longer ones are nobody's."""
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_MEMBER = re.compile(rb'(?:[^,"]|"(?:[^"\\]|\\.)*")+', re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_DIGITS = re.compile(rb"[0-9]+")


def joined(fields: Iterable[Field], name: bytes) -> bytes | None:
    """All lines of one name as one value (RFC 9110 §5.2); None when there is none."""
    found = [value for other, value in fields if other == name]
    return b", ".join(found) if found else None


def first(fields: Iterable[Field], name: bytes) -> bytes | None:
    return next((value for other, value in fields if other == name), None)


def members(value: bytes) -> list[bytes]:
    """The members of a comma-separated list, commas in quoted strings left alone; empty ones are dropped (RFC 9110 §5.6.1.2).

    Where a quoted string does not end, every comma separates: a directive behind the broken one is still seen.
    """
    quoted = b'"' in value and b'"' not in _QUOTED.sub(b"", value)
    found = _MEMBER.findall(value) if quoted else value.split(b",")
    return [part for part in (part.strip(b" \t") for part in found) if part]


def names(value: bytes | None) -> frozenset[bytes]:
    """A list of field names or tokens, in lower case."""
    return frozenset() if value is None else frozenset(part.lower() for part in members(value))


def seconds(text: bytes | None) -> int | None:
    """A `delta-seconds` (§1.2.2); None for what is none."""
    if text is None or _DIGITS.fullmatch(text) is None:
        return None
    return MOST_SECONDS if len(text.lstrip(b"0")) > 10 else min(int(text), MOST_SECONDS)


def age_of(fields: Iterable[Field]) -> int:
    """`Age` in seconds (§5.1): the first member of the first line; zero where it is absent or none."""
    value = first(fields, b"age")
    return 0 if value is None else seconds(value.partition(b",")[0].strip(b" \t")) or 0


@dataclass(frozen=True, slots=True)
class ResponseDirectives:
    """What a response says to a shared cache. Seconds are None where nothing is said and 0 where it cannot be read."""

    no_store: bool = False
    no_cache: bool = False
    """Unqualified."""
    no_cache_fields: frozenset[bytes] = frozenset()
    private: bool = False
    """Unqualified."""
    private_fields: frozenset[bytes] = frozenset()
    public: bool = False
    must_revalidate: bool = False
    proxy_revalidate: bool = False
    must_understand: bool = False
    immutable: bool = False
    max_age: int | None = None
    s_maxage: int | None = None
    stale_while_revalidate: int | None = None
    stale_if_error: int | None = None
    targeted: bool = False
    """Said by `CDN-Cache-Control`: `Cache-Control` and `Expires` are not looked at (RFC 9213 §2.2)."""


@dataclass(frozen=True, slots=True)
class RequestDirectives:
    """What a request asks of a cache (§5.2.1). A number that cannot be read is as if the directive were not there: they are advice."""

    no_store: bool = False
    no_cache: bool = False
    only_if_cached: bool = False
    max_age: int | None = None
    min_fresh: int | None = None
    max_stale: int | None = None
    """`MOST_SECONDS` where it has no number: any staleness."""
    stale_if_error: int | None = None


Directives = dict[bytes, list[Value]]
"""By name in lower case, every argument in order: None without one, False for one that is neither token nor quoted string."""


def directives(value: bytes | None) -> Directives:
    """`Cache-Control` by its grammar (§5.2); names are read generously, arguments strictly."""
    found: Directives = {}
    for member in members(value or b""):
        name, equals, argument = member.partition(b"=")
        found.setdefault(name.strip(b" \t").lower(), []).append(_argument(argument) if equals else None)
    return found


def _argument(text: bytes) -> bytes | bool:
    if _TOKEN.fullmatch(text) is not None:
        return text
    quoted = _QUOTED.fullmatch(text)
    return False if quoted is None else _ESCAPED.sub(rb"\1", quoted[1])


def _number(found: Directives, name: bytes) -> int | None:
    """One lifetime: 0 where it is unreadable or said twice and differently (§4.2.1)."""
    said = found.get(name)
    if said is None:
        return None
    read = {seconds(argument) if isinstance(argument, bytes) else None for argument in said}
    only = read.pop() if len(read) == 1 else None
    return 0 if only is None else only


def _advice(found: Directives, name: bytes) -> int | None:
    said = found.get(name)
    argument = said[0] if said else None
    return seconds(argument) if isinstance(argument, bytes) else None


def _qualified(found: Directives, name: bytes) -> tuple[bool, frozenset[bytes]]:
    """Whether the directive stands unqualified, and the fields that it names elsewhere."""
    fields: set[bytes] = set()
    for argument in found.get(name, ()):
        listed = [part.strip(b" \t").lower() for part in argument.split(b",")] if isinstance(argument, bytes) else [b""]
        if any(_TOKEN.fullmatch(part) is None or part in LOAD_BEARING for part in listed):
            return True, frozenset()
        fields.update(listed)
    return False, frozenset(fields)


def read_response(fields: Fields) -> ResponseDirectives:
    """The directives that hold for us: those of a valid, non-empty `CDN-Cache-Control`, else those of `Cache-Control`."""
    targeted = read_dictionary(joined(fields, b"cdn-cache-control"))
    found = directives(joined(fields, b"cache-control")) if targeted is None else targeted
    no_cache, no_cache_fields = _qualified(found, b"no-cache")
    private, private_fields = _qualified(found, b"private")
    return ResponseDirectives(
        no_store=b"no-store" in found,
        no_cache=no_cache,
        no_cache_fields=no_cache_fields,
        private=private,
        private_fields=private_fields,
        public=found.get(b"public", [False])[0] is None,
        must_revalidate=b"must-revalidate" in found,
        proxy_revalidate=b"proxy-revalidate" in found,
        must_understand=found.get(b"must-understand", [False])[0] is None,
        immutable=found.get(b"immutable", [False])[0] is None,
        max_age=_number(found, b"max-age"),
        s_maxage=_number(found, b"s-maxage"),
        stale_while_revalidate=_number(found, b"stale-while-revalidate"),
        stale_if_error=_number(found, b"stale-if-error"),
        targeted=targeted is not None,
    )


def read_request(headers: Headers) -> RequestDirectives:
    """`Cache-Control`, or `Pragma: no-cache` where it is absent (§5.4)."""
    value = headers.get(b"cache-control")
    if value is None:
        pragma = headers.get(b"pragma")
        return _NOTHING if pragma is None else RequestDirectives(no_cache=b"no-cache" in directives(pragma))
    return _advised(value) if len(value) > _REMEMBERED_BYTES else _remembered(value)


def _advised(value: bytes) -> RequestDirectives:
    found = directives(value)
    return RequestDirectives(
        no_store=b"no-store" in found,
        no_cache=b"no-cache" in found,
        only_if_cached=b"only-if-cached" in found,
        max_age=_advice(found, b"max-age"),
        min_fresh=_advice(found, b"min-fresh"),
        max_stale=MOST_SECONDS if found.get(b"max-stale", [False])[0] is None else _advice(found, b"max-stale"),
        stale_if_error=_advice(found, b"stale-if-error"),
    )


_remembered = lru_cache(256)(_advised)
_NOTHING = RequestDirectives()
