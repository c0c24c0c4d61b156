"""Expected values instead of requests: what pins and an LRU cache serve of classes of files, day by day. Pure.

Files of one size whose popularity takes the same course are one *class*. Within a class a share may be pinned, and of the rest the cache holds what was asked for within
the *characteristic time* (Che, Tung & Wang, IEEE JSAC 2002): a file is there with probability 1 − exp(−requests for it within that time), and the time is the
one at which the expected bytes fill the cache. Time is counted in the site's requests, so that the hours of a day do not matter; it may reach back over several
days, each with its own popularity, and counts from the middle of the day that is looked at.

Error: measured against the replay of single requests in the tests. Left out: hours (a day has one share inside), single boxes, outages, and that a plan's files
arrive over the window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fill_planner.simulator.shape import Floats

_STEPS = 40
_CLOSE = 1e-3
"""Of the cache's bytes, that the search for the characteristic time may be off."""
_MIDDLE = 0.5
_FOR_EVER = 1e15
_LEAST = 1e-12


class Past:
    """Views of one file by class (classes × days) and the site's requests by day. Before the first day, the first day goes on for ever."""

    def __init__(self, views: Floats, count: Floats) -> None:
        # By day first: every question is about a few whole days.
        self._views = np.ascontiguousarray(views.T)
        self.totals: Floats = self._views @ count
        self._until = np.concatenate([np.zeros((1, len(views))), np.cumsum(self._views, axis=0)])
        self._requests = np.concatenate([[0.0], np.cumsum(self.totals)])

    def views(self, day: int) -> Floats:
        """Views of one file of each class on a day."""
        found: Floats = self._views[day]
        return found

    def asked_within(self, day: int, span: float) -> Floats:
        """Expected requests for one file of each class within the last `span` requests of the site, at the middle of `day`."""
        now = self._until[day] + _MIDDLE * self._views[day]
        begin = self._requests[day] + _MIDDLE * self.totals[day] - span
        if begin <= 0:
            return np.asarray(now - self._views[0] * (begin / max(self.totals[0], _LEAST)), dtype=np.float64)
        at = min(int(np.searchsorted(self._requests, begin, side="right")) - 1, day)
        part = (begin - self._requests[at]) / max(self.totals[at], _LEAST)
        return np.asarray(now - self._until[at] - part * self._views[at], dtype=np.float64)

    def there(self, day: int, span: float) -> Floats:
        """The probability that a file was asked for within the span."""
        return np.asarray(-np.expm1(-self.asked_within(day, span)), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Cached:
    """`there` is the probability by class that a file is in the cache; `span` the characteristic time in requests."""

    there: Floats
    span: float


def cached(past: Past, day: int, class_bytes: Floats, cache_bytes: float, guess: float = 0.0) -> Cached:
    """What an LRU cache of `cache_bytes` holds in the middle of `day`.

    `class_bytes` are those of each class that go through it; `guess` is a span to begin the search with, such as yesterday's.
    """
    if cache_bytes <= 0:
        return Cached(np.zeros_like(class_bytes), 0.0)
    if float(class_bytes[past.asked_within(day, _FOR_EVER) > 0].sum()) <= cache_bytes:
        return Cached(past.there(day, _FOR_EVER), _FOR_EVER)

    def filled(span: float) -> float:
        return float(past.there(day, span) @ class_bytes)

    low, high = (guess * 0.9, guess * 1.1) if 0 < guess < _FOR_EVER else (0.0, max(1.0, float(past.totals[day])))
    while high < _FOR_EVER and filled(high) < cache_bytes:
        low, high = high, high * 2.0
    while low > _LEAST and filled(low) > cache_bytes:
        low, high = low / 2.0, low
    middle = high
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        now = filled(middle)
        if abs(now - cache_bytes) <= _CLOSE * cache_bytes:
            break
        low, high = (middle, high) if now < cache_bytes else (low, middle)
    return Cached(past.there(day, middle), middle)


def pinned(values: Floats, class_bytes: Floats, space_bytes: float) -> Floats:
    """The share of each class that is pinned when the most valuable per byte go first; the last in part, what is worth nothing never."""
    order = np.argsort(-values, kind="stable")
    sizes = class_bytes[order]
    room = np.clip(space_bytes - (np.cumsum(sizes) - sizes), 0.0, sizes)
    shares = np.zeros_like(values)
    shares[order] = np.where((values[order] > 0) & (sizes > 0), room / np.maximum(sizes, 1e-9), 0.0)
    return shares
