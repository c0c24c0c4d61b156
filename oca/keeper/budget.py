"""How often may be asked again: a bound on what failures add to the load upstream. Pure.

Laws: each first request earns a share of a further one; a further one (after a failure, or beside a slow first byte) costs a whole. So
many per second are earned by time alone, so that a quiet appliance can always try again. What is earned is bounded. A storm of failures
therefore multiplies the requests to all parents by at most 1 + share.

Theory: retry budgets as in Google's *Site Reliability Engineering*, ch. 21.
"""

from __future__ import annotations


class RetryBudget:
    """`share` further requests per first request, `per_s` besides, at most `most` in store, which it begins with."""

    __slots__ = ("_at", "_left", "_most", "_per_s", "_share")

    def __init__(self, share: float, per_s: float = 2.0, most: float = 50.0) -> None:
        self._share = share
        self._per_s = per_s
        self._most = most
        self._left = most
        self._at: float | None = None

    @property
    def left(self) -> float:
        """Whole further requests that may be made, as of the last call."""
        return self._left

    def earn(self, now: float) -> None:
        """A first request is made."""
        self._pass(now)
        self._left = min(self._most, self._left + self._share)

    def spend(self, now: float) -> bool:
        """Whether a further one may be made; it counts as made then."""
        self._pass(now)
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    def _pass(self, now: float) -> None:
        if self._at is not None and now > self._at:
            self._left = min(self._most, self._left + (now - self._at) * self._per_s)
        self._at = now if self._at is None else max(self._at, now)
