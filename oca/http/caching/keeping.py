"""What is kept of a response: header fields (RFC 9111 §3.1), lengths and tags, as a `StoredResponse`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from oca.http.caching.fields import Fields, Headers, joined, members, names, read_response
from oca.http.caching.freshness import date_of, freshness_of, modified_of
from oca.http.caching.stored import StoredResponse, Terms, read_etag, strong_validator, version_of
from oca.http.caching.vary import selecting

HOP_BY_HOP = frozenset((
    b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
    b"proxy-authenticate", b"proxy-authentication-info", b"proxy-authorization",
))  # fmt: skip
"""§3.1, with the trailer section's announcement, since trailers are not kept."""
_KEPT_APART = frozenset((b"age", b"content-length", b"content-range", b"warning"))
_CONTENT_RANGE = re.compile(rb"bytes ([0-9]{1,18})-([0-9]{1,18})/(?:([0-9]{1,18})|\*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ContentRange:
    """`Content-Range` of a single part: inclusive positions, the whole length or None."""

    first: int
    last: int
    size: int | None


@dataclass(frozen=True, slots=True)
class Received:
    """A response as it came from upstream. Instants in seconds since the epoch; `fields` names in lower case."""

    status: int
    fields: Fields
    requested_at: float
    received_at: float
    complete: bool = True
    """False once it ended early. True while it still comes."""


def content_length(fields: Iterable[tuple[bytes, bytes]]) -> int | None:
    """The length in bytes, None where none is said, -1 where it contradicts itself. The same number several times is one (RFC 9110 §8.6)."""
    value = joined(fields, b"content-length")
    if value is None:
        return None
    said = {int(part) if part.isdigit() and len(part) <= 18 else -1 for part in members(value)}
    return said.pop() if len(said) == 1 else -1


def content_range(fields: Fields) -> ContentRange | None:
    """None where it is absent, unsatisfied, in another unit, or impossible (RFC 9110 §14.4)."""
    match = _CONTENT_RANGE.fullmatch(joined(fields, b"content-range") or b"")
    if match is None:
        return None
    start, end, size = int(match[1]), int(match[2]), None if match[3] is None else int(match[3])
    return None if start > end or (size is not None and end >= size) else ContentRange(start, end, size)


def storable_fields(fields: Fields, stripped: frozenset[bytes] = frozenset()) -> Fields:
    """What of a header is stored (§3.1): nothing that belongs to one connection or proxy, or that a directive excludes.

    `Age`, lengths and ranges are facts of their own in a stored response; `Warning` is obsolete.
    """
    out = HOP_BY_HOP | _KEPT_APART | stripped | names(joined(fields, b"connection"))
    return tuple(field for field in fields if field[0] not in out)


def stored_response(
    response: Received,
    asked: Headers,
    terms: Terms,
    stripped: frozenset[bytes],
    *,
    version: bytes | None = None,
    size: int | None = None,
) -> StoredResponse:
    """What is kept of a response that may be stored. `version` and `size` where the response does not say them itself (`How.WHOLE`)."""
    fields = response.fields
    said = read_response(fields)
    part = content_range(fields) if response.status == 206 else None
    status = response.status if part is None else 200
    length = part.size if part is not None else content_length(fields)
    size = length if size is None and (length is None or length >= 0) else size
    vary = selecting(fields, asked)
    strong = strong_validator(fields)
    if version is None:
        version = b"" if strong is None or size is None else version_of(strong, size, fields, vary)
    return StoredResponse(
        status=status,
        fields=storable_fields(fields, stripped),
        vary=vary,
        requested_at=response.requested_at,
        received_at=response.received_at,
        date=date_of(fields, response.received_at),
        freshness=freshness_of(status, fields, said, response.requested_at, response.received_at, terms),
        etag=read_etag(fields),
        modified_at=modified_of(fields, response.received_at),
        version=version,
        size=size,
        tags=tags_of(fields),
    )


def tags_of(fields: Fields) -> tuple[str, ...]:
    """What a purge by tag may name: members of `Cache-Tag` (by commas) and of `Surrogate-Key` (by spaces), each once, sorted."""
    found = set(members(joined(fields, b"cache-tag") or b""))
    for name, value in fields:
        if name == b"surrogate-key":
            found.update(value.split())
    return tuple(sorted(tag.decode("latin-1") for tag in found))
