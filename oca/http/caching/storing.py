"""Whether a response is stored by a shared cache, and how (RFC 9111 §3).

Stored are answers to GET. The header fields that stay are those of §3.1; `Cache-Tag` and `Surrogate-Key` stay for the tiers below.

`Set-Cookie` (§7.3 leaves it to the cache): a response that sets a cookie is for one client and is not stored, unless the origin names the field in
`no-cache` or `private`; then it is stored without it. `public` or a lifetime do not say that a cookie may be shared.

Size is no matter of this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from oca.http.caching.fields import Headers, ResponseDirectives, first, joined, read_request, read_response
from oca.http.caching.freshness import HEURISTICALLY_CACHEABLE, NEGATIVE, SERVER_ERRORS
from oca.http.caching.keeping import Received, content_length, content_range, stored_response
from oca.http.caching.stored import Terms, strong_validator
from oca.http.caching.vary import varies_on_all

UNDERSTOOD = frozenset((
    200, 203, 204, 206, 300, 301, 302, 303, 307, 308, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 413, 414, 415,
    421, 422, 426, 451, 500, 501, 502, 503, 504, 505,
))  # fmt: skip
"""Statuses whose caching rules this cache knows, for `must-understand` (§5.2.2.3)."""
NEVER = frozenset((304, 412, 416, 417, 428, 429, 431, 511))
"""Answers to a condition, a range or an expectation, which other requests do not share, and those that RFC 6585 keeps out of caches."""


class How(Enum):
    NOT = "not"
    BLOCKS = "blocks"
    """Under a version that its strong validator names: any part of it, in any order, from several answers."""
    WHOLE = "whole"
    """Under an id of its own, once it is complete; never combined with anything."""


class StoringReason(Enum):
    """Why a response is stored or not (log word)."""

    EXPLICIT = "explicit"
    """It says how long it is fresh, or that it is `public`."""
    HEURISTIC = "heuristic"
    """Its status allows a guess."""
    NEGATIVE = "negative"
    """An error with a short life of the operator's."""
    METHOD = "method"
    STATUS = "status"
    """Not final, an answer to one request's condition or range, or, with `must-understand`, unknown."""
    NO_STORE = "no-store"
    REQUEST_NO_STORE = "request-no-store"
    PRIVATE = "private"
    AUTHORIZATION = "authorization"
    VARY_ALL = "vary-all"
    SET_COOKIE = "set-cookie"
    NO_LIFETIME = "no-lifetime"
    """Nothing in it says that it may be stored (§3, last condition)."""
    POINTLESS = "pointless"
    """Stale on arrival, and nothing to validate it by."""
    PARTIAL_UNASKED = "partial-unasked"
    """206 that no range was asked for, or that does not say which one it is."""
    PARTIAL_WEAK = "partial-weak"
    """206 without a strong validator, or of unknown length (§3.3, §3.4)."""
    MULTIPART = "multipart"
    """206 with several parts."""
    INCOMPLETE = "incomplete"
    """It ended before it was whole, and has no strong validator (§3.3)."""
    FRAMING = "framing"
    """Its length contradicts itself."""


@dataclass(frozen=True, slots=True)
class Storing:
    """The decision. `stripped` are field names that are not stored because a directive names them."""

    how: How
    reason: StoringReason
    stripped: frozenset[bytes] = frozenset()


def may_store(method: bytes, asked: Headers, response: Received, terms: Terms) -> Storing:
    """§3, condition by condition. `asked` are the fields of the request as it went upstream, `Authorization` and `Cache-Control` included if the client's
    were sent on.
    """
    said = read_response(response.fields)
    reason = _forbidden(method, asked, response, said)
    if reason is not None:
        return Storing(How.NOT, reason)
    allowed = _allowed(response, said, terms)
    if allowed is None:
        return Storing(How.NOT, StoringReason.NO_LIFETIME)
    stripped = said.no_cache_fields | said.private_fields
    if any(name == b"set-cookie" for name, _value in response.fields) and b"set-cookie" not in stripped:
        return Storing(How.NOT, StoringReason.SET_COOKIE)
    how, reason = _manner(asked, response)
    if reason is not None:
        return Storing(How.NOT, reason)
    if _is_pointless(response, terms):
        return Storing(How.NOT, StoringReason.POINTLESS)
    return Storing(how, allowed, stripped)


def _forbidden(method: bytes, asked: Headers, response: Received, said: ResponseDirectives) -> StoringReason | None:
    """The conditions of §3 that a response has to fail to be stored."""
    status = response.status
    understood = status in UNDERSTOOD
    if method != b"GET":
        return StoringReason.METHOD
    if not 200 <= status <= 599 or status in NEVER or (said.must_understand and not understood):
        return StoringReason.STATUS
    if said.no_store and not said.must_understand:  # understood, so `no-store` is a fallback for others (§5.2.2.3)
        return StoringReason.NO_STORE
    if read_request(asked).no_store:
        return StoringReason.REQUEST_NO_STORE
    if said.private:
        return StoringReason.PRIVATE
    if b"authorization" in asked and not (said.must_revalidate or said.public or said.s_maxage is not None):
        return StoringReason.AUTHORIZATION
    return StoringReason.VARY_ALL if varies_on_all(response.fields) else None


def _allowed(response: Received, said: ResponseDirectives, terms: Terms) -> StoringReason | None:
    """The last condition of §3: something has to allow it."""
    explicit = said.max_age is not None or said.s_maxage is not None
    if explicit or said.public or (not said.targeted and first(response.fields, b"expires") is not None):
        return StoringReason.EXPLICIT
    if response.status in NEGATIVE:
        return StoringReason.NEGATIVE if terms.negative_ttl_s else None
    if response.status in SERVER_ERRORS:
        return StoringReason.NEGATIVE if terms.server_error_ttl_s else None
    return StoringReason.HEURISTIC if response.status in HEURISTICALLY_CACHEABLE else None


def _manner(asked: Headers, response: Received) -> tuple[How, StoringReason | None]:
    """Blocks or whole; §3.3 for what is a part or ended early."""
    fields = response.fields
    strong = strong_validator(fields)
    length = content_length(fields)
    if length is not None and length < 0:
        return How.NOT, StoringReason.FRAMING
    if response.status == 206:
        if (joined(fields, b"content-type") or b"").lower().startswith(b"multipart/byteranges"):
            return How.NOT, StoringReason.MULTIPART
        part = content_range(fields)
        if part is None or b"range" not in asked:
            return How.NOT, StoringReason.PARTIAL_UNASKED
        if strong is None or part.size is None:
            return How.NOT, StoringReason.PARTIAL_WEAK
        if length is not None and length != part.last - part.first + 1:
            return How.NOT, StoringReason.FRAMING
        return How.BLOCKS, None
    if response.status == 200 and strong is not None and length is not None:
        return How.BLOCKS, None
    return (How.WHOLE, None) if response.complete else (How.NOT, StoringReason.INCOMPLETE)


def _is_pointless(response: Received, terms: Terms) -> bool:
    stored = stored_response(response, {}, terms, frozenset())
    facts = stored.freshness
    windows = 0.0 if facts.must_revalidate else max(facts.stale_while_revalidate_s, facts.stale_if_error_s)
    kept_s = 0.0 if facts.no_cache else stored.ttl_s(response.received_at) + windows
    return kept_s <= 0 and not stored.validates
