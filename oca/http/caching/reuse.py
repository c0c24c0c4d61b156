"""What a request gets from what is stored (RFC 9111 §4, §5.2.1; RFC 5861; RFC 8246): the decision of every look-up.

Laws:
- A stored response that its origin forbids to reuse stale is never `HIT_STALE` nor `REFRESH`, whatever client or operator say (§4.2.4).
- What a client asks can only make a decision stricter, except `max-stale` and `stale-if-error`.
- Of a stored response that validates, the decision carries the conditional fields; they are those of one stored response (§4.3.1).

Client preconditions are no matter of this module: they are evaluated against the response that is sent (§4.3.2, `oca.http.conditions`), and never go upstream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from oca.http.caching.fields import Field, Fields, Headers, RequestDirectives, first, read_request
from oca.http.caching.freshness import SERVER_ERRORS
from oca.http.caching.stored import StoredResponse
from oca.http.caching.vary import matching


class Use(Enum):
    """What to do."""

    HIT = "hit"
    HIT_STALE = "hit-stale"
    """Send it as it is, though it is stale."""
    REFRESH = "refresh"
    """Send it as it is, and validate it behind the answer."""
    REVALIDATE = "revalidate"
    """Ask upstream with `Reuse.conditions` before anything is sent."""
    FETCH = "fetch"
    UNSATISFIABLE = "unsatisfiable"
    """504: the client wants nothing from upstream, or nobody there answers."""


class ReuseReason(Enum):
    """Why (log word)."""

    FRESH = "fresh"
    IMMUTABLE = "immutable"
    """Fresh, and it never changes: a reload does not ask again (RFC 8246 §2)."""
    MAX_STALE = "max-stale"
    """The client takes stale ones."""
    STALE_WHILE_REVALIDATE = "stale-while-revalidate"
    STALE_IF_ERROR = "stale-if-error"
    STALE = "stale"
    NO_CACHE = "no-cache"
    """The origin wants every reuse validated, or an unsafe method made it necessary (§4.4)."""
    PURGED = "purged"
    """Turned stale before its time."""
    REQUEST_NO_CACHE = "request-no-cache"
    REQUEST_MAX_AGE = "request-max-age"
    REQUEST_MIN_FRESH = "request-min-fresh"
    METHOD = "method"
    """Neither GET nor HEAD: it is forwarded."""
    URI_MISS = "uri-miss"
    VARY_MISS = "vary-miss"
    """Something is stored, but for other request fields."""
    ONLY_IF_CACHED = "only-if-cached"
    UPSTREAM_ERROR = "upstream-error"
    """Upstream failed and what is stored may not stand in: the error goes to the client, 504 where there was no answer at all (§5.2.2.2)."""


@dataclass(frozen=True, slots=True)
class Reuse:
    """One decision. `stored` is the response selected, also where it has to be validated first."""

    use: Use
    reason: ReuseReason
    stored: StoredResponse | None = None
    conditions: Fields = ()
    """For the request upstream, with `REVALIDATE` and `REFRESH`."""
    age_s: float = 0.0
    ttl_s: float | None = None
    """What is left of its freshness, negative when stale; None without a stored response."""


def decide(method: bytes, asked: Headers, variants: Sequence[StoredResponse], now_s: float) -> Reuse:
    """§4. `variants` are all responses stored for the target, each of them to GET."""
    if method not in (b"GET", b"HEAD"):
        return Reuse(Use.FETCH, ReuseReason.METHOD)
    wants = read_request(asked)
    found = matching(variants, asked)
    if not found:
        if wants.only_if_cached:
            return Reuse(Use.UNSATISFIABLE, ReuseReason.ONLY_IF_CACHED)
        return Reuse(Use.FETCH, ReuseReason.VARY_MISS if variants else ReuseReason.URI_MISS)
    stored = found[0]
    age_s, ttl_s = stored.age_s(now_s), stored.ttl_s(now_s)
    use, reason = _judge(wants, stored, age_s, ttl_s)
    if wants.only_if_cached and use is Use.REVALIDATE:
        return Reuse(Use.UNSATISFIABLE, ReuseReason.ONLY_IF_CACHED, stored, (), age_s, ttl_s)
    conditions = conditions_for(stored) if use in (Use.REVALIDATE, Use.REFRESH) else ()
    if use is Use.REVALIDATE and not conditions:
        use = Use.FETCH
    return Reuse(use, reason, stored, conditions, age_s, ttl_s)


def _judge(wants: RequestDirectives, stored: StoredResponse, age_s: float, ttl_s: float) -> tuple[Use, ReuseReason]:
    """The conditions of §4 under the directives of §5.2, the strictest first."""
    facts = stored.freshness
    fresh = ttl_s > 0
    if wants.no_cache:
        return Use.REVALIDATE, ReuseReason.REQUEST_NO_CACHE
    if facts.no_cache:
        return Use.REVALIDATE, ReuseReason.NO_CACHE
    if facts.purged:
        return Use.REVALIDATE, ReuseReason.PURGED
    if wants.min_fresh is not None and ttl_s < wants.min_fresh:
        return Use.REVALIDATE, ReuseReason.REQUEST_MIN_FRESH if fresh else ReuseReason.STALE
    if fresh and facts.immutable:
        return Use.HIT, ReuseReason.IMMUTABLE
    if wants.max_age is not None and age_s > wants.max_age:
        return Use.REVALIDATE, ReuseReason.REQUEST_MAX_AGE if fresh else ReuseReason.STALE
    if fresh:
        return Use.HIT, ReuseReason.FRESH
    return _judge_stale(wants, stored, -ttl_s)


def _judge_stale(wants: RequestDirectives, stored: StoredResponse, stale_s: float) -> tuple[Use, ReuseReason]:
    """§4.2.4. A client that states `max-age` without `max-stale` takes nothing stale (§5.2.1.1)."""
    facts = stored.freshness
    if facts.must_revalidate:
        return Use.REVALIDATE, ReuseReason.STALE
    willing = wants.max_age is None or wants.max_stale is not None
    if willing and 0 < facts.stale_while_revalidate_s >= stale_s:
        return Use.REFRESH, ReuseReason.STALE_WHILE_REVALIDATE
    if wants.max_stale is not None and stale_s <= wants.max_stale:
        return Use.HIT_STALE, ReuseReason.MAX_STALE
    return Use.REVALIDATE, ReuseReason.STALE


def after_error(asked: Headers, stored: StoredResponse | None, status: int | None, now_s: float) -> Reuse:
    """Upstream failed: `status` is that of its answer, None where there was none (unreachable, or it broke off).

    `HIT_STALE` when the stored response may stand in (RFC 5861 §4: for 500, 502, 503, 504 and silence, for so long after it turned stale,
    by the response or by the request), or when it is fresh and only the client wanted it validated; else the answer is the error's.
    """
    failed = Use.UNSATISFIABLE if status is None else Use.FETCH
    if stored is None:
        return Reuse(failed, ReuseReason.UPSTREAM_ERROR)
    wants = read_request(asked)
    facts = stored.freshness
    age_s, ttl_s = stored.age_s(now_s), stored.ttl_s(now_s)
    fresh = ttl_s > 0 and not facts.purged
    allowed_s = max(facts.stale_if_error_s, float(wants.stale_if_error or 0))
    covered = status is None or status in SERVER_ERRORS
    forbidden = facts.no_cache or wants.no_cache or (facts.must_revalidate and not fresh)
    if covered and not forbidden and (fresh or 0 < allowed_s >= -ttl_s):
        return Reuse(Use.HIT_STALE, ReuseReason.STALE_IF_ERROR, stored, (), age_s, ttl_s)
    return Reuse(failed, ReuseReason.UPSTREAM_ERROR, stored, (), age_s, ttl_s)


def conditions_for(stored: StoredResponse) -> Fields:
    """The preconditions that validate one stored response (§4.3.1): its entity tag, and its date as it was received; empty without either."""
    found: list[Field] = []
    if stored.etag is not None:
        found.append((b"if-none-match", stored.etag))
    changed = None if stored.modified_at is None else first(stored.fields, b"last-modified")
    if changed is not None:
        found.append((b"if-modified-since", changed))
    return tuple(found)
