"""Replaying a trace through the policy objects that the store evicts with. Pure.

One request: a hit tells the policy; a miss takes victims until the object fits, and inserts. What is larger than the whole cache is never stored. With
admission the policy is a `Classed` one, which is asked with every miss, as in the store. Of an object that was cut into pieces each piece is stored and evicted by itself; the request is a hit when all are there, and
only the bytes of missing pieces count as missed.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass

from policies.belady import Misses
from policies.classes import Asked, Classed
from policies.eviction import Policy
from policies.trace import Trace

STEP = 1 << 16
"""Requests between two words of progress."""


@dataclass(slots=True)
class Tally:
    """What a replay counted, of the pieces where objects were cut."""

    missed: int = 0
    missed_bytes: int = 0
    evicted: int = 0


def replay(
    trace: Trace,
    policy: Policy[int],
    capacity_bytes: int,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[Misses, Tally]:
    """Misses of a fresh `policy` with `capacity_bytes`; `on_progress` hears the count of requests done every STEP of them."""
    return _whole(trace, capacity_bytes, _Cache(trace, policy, capacity_bytes), on_progress)


def replay_pieces(
    trace: Trace,
    begins: array[int],
    policy: Policy[int],
    capacity_bytes: int,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[Misses, Tally]:
    """The same for what `policies.trace.cut` gave: ratios are of the requests for whole objects."""
    cache = _Cache(trace, policy, capacity_bytes)
    step = max(1, STEP * max(1, len(begins) - 1) // max(1, len(trace)))
    missed = 0
    for at in range(len(begins) - 1):
        before = cache.tally.missed
        cache.ask(trace.requests[begins[at] : begins[at + 1]])
        missed += cache.tally.missed > before
        if on_progress is not None and not at % step:
            on_progress(at)
    count, requested = len(begins) - 1, trace.requested_bytes
    misses = Misses(missed / count if count else 0.0, cache.tally.missed_bytes / requested if requested else 0.0)
    return misses, cache.tally


class _Cache:
    """The loop that both share."""

    def __init__(self, trace: Trace, policy: Policy[int], capacity_bytes: int) -> None:
        self._sizes = trace.sizes
        self._policy = policy
        self._capacity = capacity_bytes
        self._classed = policy if isinstance(policy, Classed) else None
        self.tally = Tally()

    def ask(self, numbers: array[int]) -> None:
        """Hot: a method call per hit is all that a request costs."""
        policy, sizes, tally = self._policy, self._sizes, self.tally
        hit, miss = policy.on_access, self._miss
        for number in numbers:
            if number in policy:
                hit(number)
            else:
                tally.missed += 1
                miss(number, sizes[number])

    def _miss(self, number: int, size: int) -> None:
        self.tally.missed_bytes += size
        if size > self._capacity:
            return
        need = self._policy.used_bytes + size - self._capacity
        if need > 0:
            self.tally.evicted += len(self._policy.victims(need))
        if self._classed is not None:
            self._classed.on_insert(number, size, Asked(number, size))
        else:
            self._policy.on_insert(number, size)


def _whole(
    trace: Trace, capacity_bytes: int, cache: _Cache, on_progress: Callable[[int], None] | None
) -> tuple[Misses, Tally]:
    for at in range(0, len(trace), STEP):
        cache.ask(trace.requests[at : at + STEP])
        if on_progress is not None:
            on_progress(min(at + STEP, len(trace)))
    tally, requested = cache.tally, trace.requested_bytes
    misses = Misses(
        tally.missed / len(trace) if len(trace) else 0.0, tally.missed_bytes / requested if requested else 0.0
    )
    return misses, tally
