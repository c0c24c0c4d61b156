"""What an answer from the cache says about itself: `Cache-Status` (RFC 9211) and `Age` (RFC 9111 §5.1).

`oca.http.disclosure` decides who is told the key and the details; here is how they are written.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from oca.http.caching.fields import MOST_SECONDS
from oca.http.caching.reuse import Reuse, ReuseReason, Use
from oca.http.caching.structured import is_list

NAME = b"lowtide"


class Forward(Enum):
    """Why a request went upstream (RFC 9211 §2.2)."""

    BYPASS = b"bypass"
    """The service is not to be answered from the cache at all."""
    METHOD = b"method"
    URI_MISS = b"uri-miss"
    VARY_MISS = b"vary-miss"
    MISS = b"miss"
    """Nothing could be used, and which of the two is not known."""
    REQUEST = b"request"
    """What is stored was fresh, the request's directives did not take it."""
    STALE = b"stale"
    PARTIAL = b"partial"
    """A part of what was asked for was here."""


_FORWARDS = {
    ReuseReason.METHOD: Forward.METHOD,
    ReuseReason.URI_MISS: Forward.URI_MISS,
    ReuseReason.VARY_MISS: Forward.VARY_MISS,
    ReuseReason.REQUEST_NO_CACHE: Forward.REQUEST,
    ReuseReason.REQUEST_MAX_AGE: Forward.REQUEST,
    ReuseReason.REQUEST_MIN_FRESH: Forward.REQUEST,
    ReuseReason.NO_CACHE: Forward.STALE,
    ReuseReason.PURGED: Forward.STALE,
    ReuseReason.STALE: Forward.STALE,
    ReuseReason.STALE_IF_ERROR: Forward.STALE,
    ReuseReason.UPSTREAM_ERROR: Forward.STALE,
}


def forward_of(reuse: Reuse) -> Forward | None:
    """Why a decision goes, or went, upstream; None for a hit and for what is refused without asking."""
    if reuse.reason is ReuseReason.UPSTREAM_ERROR and reuse.stored is None:
        return Forward.MISS
    if reuse.use in (Use.HIT, Use.REFRESH) or reuse.reason is ReuseReason.MAX_STALE:
        return None
    return _FORWARDS.get(reuse.reason)


@dataclass(frozen=True, slots=True)
class CacheStatus:
    """One member. `forward` None is a hit, unless `refused`."""

    forward: Forward | None = None
    refused: bool = False
    """Neither answered from the cache nor sent on: `only-if-cached`."""
    fwd_status: int | None = None
    """The status that came from upstream, where it is another than the answer's."""
    ttl_s: float | None = None
    stored: bool = False
    """The answer that came was stored."""
    collapsed: bool = False
    """Answered by the exchange of another request."""
    key: str | None = None
    detail: str | None = None
    """A log word."""

    def member(self) -> bytes:
        """As a member of the list; white space and quotes of the key are written as the grammar of strings has them."""
        told = [NAME]
        if self.forward is not None:
            told.append(b"fwd=" + self.forward.value)
            if self.fwd_status is not None:
                told.append(b"fwd-status=%d" % self.fwd_status)
        elif not self.refused:
            told.append(b"hit")
        if self.ttl_s is not None:
            told.append(b"ttl=%d" % _whole(self.ttl_s))
        told += [b"stored"] * self.stored + [b"collapsed"] * self.collapsed
        if self.key is not None:
            told.append(b"key=" + _string(self.key))
        if self.detail is not None:
            told.append(b"detail=" + self.detail.encode("latin-1"))
        return b";".join(told)


def status_of(
    reuse: Reuse, *, fwd_status: int | None = None, stored: bool = False, collapsed: bool = False
) -> CacheStatus:
    """What is said of a decision. The reason is a detail where `hit` and `fwd` do not tell it."""
    forward = forward_of(reuse)
    refused = forward is None and reuse.use is Use.UNSATISFIABLE
    plain = reuse.reason in (ReuseReason.FRESH, ReuseReason.STALE, ReuseReason.URI_MISS, ReuseReason.VARY_MISS)
    detail = None if plain or reuse.reason is ReuseReason.METHOD else reuse.reason.value
    return CacheStatus(forward, refused, fwd_status, reuse.ttl_s, stored, collapsed, None, detail)


def appended(upstream: bytes | None, member: bytes) -> bytes:
    """The field's value: what the caches nearer to the origin said comes first (RFC 9211 §2). What they said unreadably is left out."""
    return member if upstream is None or not is_list(upstream) else upstream.strip(b" ") + b", " + member


def age(age_s: float) -> int:
    """`Age` in whole seconds, never more than a receiver has to read (§1.2.2)."""
    return min(MOST_SECONDS, max(0, int(age_s)))


def _whole(ttl_s: float) -> int:
    """Towards the past: what is not fresh for a whole second more is not told to be."""
    return max(-MOST_SECONDS, min(MOST_SECONDS, int(ttl_s // 1)))


def _string(text: str) -> bytes:
    """A String of Structured Fields (RFC 9651 §3.3.3); what it has no room for is percent-encoded."""
    written = "".join(
        "\\" + char
        if char in '"\\'
        else char
        if " " <= char <= "~"
        else "".join(f"%{byte:02X}" for byte in char.encode())
        for char in text
    )
    return b'"' + written.encode() + b'"'
