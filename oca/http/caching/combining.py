"""Parts of one representation from several answers (RFC 9111 §3.3, §3.4): only under one strong validator, and one length.

A version is what its first answer said. What a later answer says decides alone whether its bytes belong there; nothing is combined on
trust in a request's `If-Range`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from oca.http.caching.fields import Headers
from oca.http.caching.keeping import Received, content_length, content_range
from oca.http.caching.stored import StoredResponse, Terms, Validator, ValidatorKind, read_etag, strong_validator
from oca.http.caching.validation import Freshened, freshened
from oca.http.ranges import Span


class Joining(Enum):
    """Whether bytes of an answer belong to a version (log word)."""

    PART = "part"
    WHOLE = "whole"
    """The upstream sent all of it, under the same validator."""
    CHANGED = "changed"
    """Another strong validator or length: the version is over, what runs on it ends as it began or not at all."""
    UNPROVEN = "unproven"
    """No strong validator: it may be the same, and nothing shows it."""
    MALFORMED = "malformed"
    """206 without one usable `Content-Range`, or of another length than it says."""
    NO_PART = "no-part"
    """Neither 200 nor 206."""


@dataclass(frozen=True, slots=True)
class Version:
    """What all parts have to share."""

    validator: Validator
    size: int
    coding: bytes = b""
    """`Content-Encoding`: a server that gives one tag to several codings is not combined."""


def version_begun(response: Received) -> Version | None:
    """The version that an answer (200 or 206) is of; None when no other answer may ever be combined with it."""
    validator = strong_validator(response.fields)
    size = _size(response)
    if validator is None or size is None or response.status not in (200, 206):
        return None
    return Version(validator, size, _coding(response))


def joins(version: Version, response: Received) -> Joining:
    """§3.4. The bytes of `PART` are those of its `Content-Range`."""
    if response.status not in (200, 206):
        return Joining.NO_PART
    if response.status == 206 and not _is_sound(response):
        return Joining.MALFORMED
    if not _same_validator(version.validator, response):
        return Joining.UNPROVEN if strong_validator(response.fields) is None else Joining.CHANGED
    size = _size(response)
    if size not in (None, version.size) or _coding(response) != version.coding:
        return Joining.CHANGED
    return Joining.PART if response.status == 206 else Joining.WHOLE


def _same_validator(validator: Validator, response: Received) -> bool:
    """Of the version's own kind: a date says nothing about bytes that an entity tag names."""
    if validator.kind is ValidatorKind.ETAG:
        return read_etag(response.fields) == validator.value
    return strong_validator(response.fields) == validator


def _is_sound(response: Received) -> bool:
    part = content_range(response.fields)
    length = content_length(response.fields)
    return part is not None and length in (None, part.last - part.first + 1)


def _size(response: Received) -> int | None:
    if response.status == 206:
        part = content_range(response.fields)
        return None if part is None else part.size
    length = content_length(response.fields)
    return None if length is None or length < 0 else length


def _coding(response: Received) -> bytes:
    return b",".join(value.lower() for name, value in response.fields if name == b"content-encoding")


def combined(asked: Headers, stored: StoredResponse, part: Received, terms: Terms) -> Freshened:
    """The stored header behind a part that joins (§3.4): that of the most recent answer by `Date`, updated as by §3.2.

    `asked` are the selecting fields of the request that went upstream.
    """
    after = freshened(asked, stored, part, terms, selected=True)
    return Freshened(stored, stored) if after.stored.date < stored.date else after


def is_whole(spans: Iterable[Span], size: int) -> bool:
    """Whether inclusive spans cover every byte: then they are a complete 200 (§3.4), with `Content-Length` the size."""
    reach = 0
    for first, last in sorted(spans):
        if first > reach:
            break
        reach = max(reach, last + 1)
    return reach >= size
