"""Slowing down those who guess: failures per key in a sliding window, in bounded memory. Pure.

A key is whatever is guessed at or guessed from (an account, an address). At the limit, further attempts are refused
until the oldest failure has left the window; a refused attempt does not count, so that nobody is locked out for ever.
An attempt counts from its beginning and is taken back when it succeeds, so that a hundred at once are no way around.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from companions.bounded import Bounded


@dataclass(frozen=True, slots=True)
class AttemptKey:
    """What is limited (`scope`, a log word), which one, and how many failures it may have in the window."""

    scope: str
    value: str
    limit: int


class Attempts:
    def __init__(self, window_s: float, max_keys: int = 10_000) -> None:
        self._window_s = window_s
        self._failures: Bounded[tuple[str, str], deque[float]] = Bounded(max_keys)

    def wait_s(self, keys: Iterable[AttemptKey], now: float) -> float:
        """How long this attempt has to wait; 0 when it may be made now."""
        return max((self._wait_of(key, now) for key in keys), default=0.0)

    def begin(self, keys: Iterable[AttemptKey], now: float) -> None:
        """Counts the attempt as failed until `succeeded` says otherwise."""
        for key in keys:
            recent = self._recent(key, now) or deque()
            recent.append(now)
            self._failures.put((key.scope, key.value), recent)

    def succeeded(self, owner: AttemptKey, others: Iterable[AttemptKey]) -> None:
        """The owner of `owner` has shown up: all its failures are forgotten, of the others only this attempt."""
        self._failures.drop((owner.scope, owner.value))
        for key in others:
            recent = self._failures.get((key.scope, key.value))
            if recent:
                recent.pop()

    def _wait_of(self, key: AttemptKey, now: float) -> float:
        recent = self._recent(key, now)
        if recent is None or len(recent) < key.limit:
            return 0.0
        return recent[-key.limit] + self._window_s - now

    def _recent(self, key: AttemptKey, now: float) -> deque[float] | None:
        found = self._failures.get((key.scope, key.value))
        while found and found[0] <= now - self._window_s:
            found.popleft()
        return found
