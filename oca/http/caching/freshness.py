"""How long a response is fresh, and how old it is (RFC 9111 §4.2; RFC 5861; RFC 8246)."""

from __future__ import annotations

from oca.http.caching.fields import Fields, ResponseDirectives, age_of, first, joined
from oca.http.caching.stored import Freshness, LifetimeSource, Terms
from oca.http.conditions import parse_date

HEURISTICALLY_CACHEABLE = frozenset((200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501))
"""RFC 9110 §15.1."""
NEGATIVE = frozenset((404, 405, 410, 414))
SERVER_ERRORS = frozenset((500, 502, 503, 504))
"""Also those that `stale-if-error` covers (RFC 5861 §4)."""
_HEURISTIC_DIVISOR = 10
"""§4.2.2: a tenth of the time since it was last modified."""


def date_of(fields: Fields, received_at: float) -> float:
    """`Date`, or when the response came where there is none to be read (RFC 9110 §6.6.1)."""
    value = first(fields, b"date")
    said = None if value is None else parse_date(value, received_at)
    return received_at if said is None else said


def modified_of(fields: Fields, received_at: float) -> float | None:
    value = joined(fields, b"last-modified")
    return None if value is None else parse_date(value, received_at)


def initial_age_s(fields: Fields, requested_at: float, received_at: float) -> float:
    """`corrected_initial_age` of §4.2.3: the greater of what `Date` implies and what the tiers above counted, plus the time the exchange took."""
    apparent = max(0.0, received_at - date_of(fields, received_at))
    corrected = age_of(fields) + max(0.0, received_at - requested_at)
    return max(apparent, corrected)


def lifetime(
    status: int, fields: Fields, said: ResponseDirectives, received_at: float, terms: Terms
) -> tuple[float, LifetimeSource]:
    """§4.2.1 in its order, then the operator's life of errors, then the heuristic of §4.2.2."""
    if said.s_maxage is not None:
        return float(said.s_maxage), LifetimeSource.S_MAXAGE
    if said.max_age is not None:
        return float(said.max_age), LifetimeSource.MAX_AGE
    if not said.targeted and (expires := joined(fields, b"expires")) is not None:
        at = parse_date(expires, received_at)  # two lines, or what is no date such as 0, are in the past (§5.3)
        return max(0.0, 0.0 if at is None else at - date_of(fields, received_at)), LifetimeSource.EXPIRES
    if status in NEGATIVE:
        return terms.negative_ttl_s, LifetimeSource.NEGATIVE
    if status in SERVER_ERRORS and terms.server_error_ttl_s:
        return terms.server_error_ttl_s, LifetimeSource.NEGATIVE
    return _guess(status, fields, said, received_at, terms)


def _guess(
    status: int, fields: Fields, said: ResponseDirectives, received_at: float, terms: Terms
) -> tuple[float, LifetimeSource]:
    """§4.2.2: only for statuses that allow it, or a response that is `public`."""
    modified = modified_of(fields, received_at)
    if modified is None or (status not in HEURISTICALLY_CACHEABLE and not said.public):
        return 0.0, LifetimeSource.NONE
    since = max(0.0, date_of(fields, received_at) - modified)
    return min(since / _HEURISTIC_DIVISOR, terms.heuristic_ceiling_s), LifetimeSource.HEURISTIC


def freshness_of(
    status: int, fields: Fields, said: ResponseDirectives, requested_at: float, received_at: float, terms: Terms
) -> Freshness:
    """All of it. `fields` as received, `Age` included.

    The `s-maxage` in use forbids stale reuse as `proxy-revalidate` does (§5.2.2.10), `stale-while-revalidate` beside it or not:
    an origin that wants both says `CDN-Cache-Control: max-age`.
    """
    lasts, source = lifetime(status, fields, said, received_at, terms)
    behind = said.stale_while_revalidate
    failing = said.stale_if_error
    return Freshness(
        lifetime_s=lasts,
        source=source,
        initial_age_s=initial_age_s(fields, requested_at, received_at),
        no_cache=said.no_cache,
        must_revalidate=said.must_revalidate or said.proxy_revalidate or said.s_maxage is not None,
        immutable=said.immutable,
        stale_while_revalidate_s=terms.stale_while_revalidate_s if behind is None else float(behind),
        stale_if_error_s=terms.stale_if_error_s if failing is None else float(failing),
    )
