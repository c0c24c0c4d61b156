"""What no policy can beat: the offline optimum of a trace, which knows the future. Pure.

`furthest_next_use` replays MIN (Belady, 1966) with the choice not to store: what is asked for again latest goes, also when that is what just
came. With objects of one size no policy misses less often (Mattson et al., 1970). With different sizes the optimum is NP-hard; MIN is then
a good policy and no bound.

`space_time_bound` holds for any sizes and any policy (PFOO-L: Berger, Beckmann & Harchol-Balter, SIGMETRICS 2018). A hit at
request j on what was asked for last at request i needs the object's bytes from i to j; a cache of C bytes over N requests has C × N of these to
give. Spending them on the cheapest hits first, the last one in part, gives at least as many hits as any cache can have, because the cache
must moreover fit at every instant. For hits in bytes the cheapest are those of the shortest intervals.
"""

from __future__ import annotations

import heapq
from array import array
from dataclasses import dataclass

from policies.trace import Trace

NEVER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Misses:
    """Shares of requests, and of requested bytes, that missed."""

    objects: float
    bytes: float


def next_uses(trace: Trace) -> array[int]:
    """For each request the index of the next one for the same object, or NEVER."""
    found = array("q", [NEVER]) * len(trace)
    following = array("q", [NEVER]) * trace.objects
    requests = trace.requests
    for at in range(len(requests) - 1, -1, -1):
        number = requests[at]
        found[at] = following[number]
        following[number] = at
    return found


def furthest_next_use(trace: Trace, capacity_bytes: int, nexts: array[int] | None = None) -> Misses:
    """Misses of MIN with bypass. `nexts` are the trace's `next_uses`, where they are known already."""
    nexts = nexts if nexts is not None else next_uses(trace)
    sizes = trace.sizes
    held: dict[int, int] = {}
    heap: list[tuple[int, int]] = []
    used = missed = missed_bytes = 0
    for number, after in zip(trace.requests, nexts, strict=True):
        size = sizes[number]
        if number not in held:
            missed += 1
            missed_bytes += size
            if after == NEVER or size > capacity_bytes:
                continue
            used += size
        held[number] = after
        heapq.heappush(heap, (-after, number))
        while used > capacity_bytes:
            use, victim = heapq.heappop(heap)
            if held.get(victim) == -use:  # older entries of what was asked for since are passed over
                del held[victim]
                used -= sizes[victim]
    return _misses(trace, missed, missed_bytes)


def space_time_bound(trace: Trace, capacities: list[int], nexts: array[int] | None = None) -> list[Misses]:
    """For each capacity what no policy goes below."""
    nexts = nexts if nexts is not None else next_uses(trace)
    sizes = trace.sizes
    hits = [
        ((after - at) * sizes[number], after - at, sizes[number])
        for at, (number, after) in enumerate(zip(trace.requests, nexts, strict=True))
        if after != NEVER
    ]
    hits.sort()
    objects = [_spend([(cost, 1) for cost, _, size in hits if size <= c], c * len(trace)) for c in capacities]
    hits.sort(key=lambda hit: hit[1])
    amounts = [_spend([(cost, size) for cost, _, size in hits if size <= c], c * len(trace)) for c in capacities]
    requested = trace.requested_bytes
    return [
        Misses(1 - hit / len(trace) if len(trace) else 0.0, 1 - hit_bytes / requested if requested else 0.0)
        for hit, hit_bytes in zip(objects, amounts, strict=True)
    ]


def _spend(offers: list[tuple[int, int]], budget: int) -> float:
    """The worth of (cost, worth) taken in this order until the budget is gone, the last in part."""
    worth = 0
    for cost, value in offers:
        if cost > budget:
            return worth + value * budget / cost
        budget -= cost
        worth += value
    return worth


def _misses(trace: Trace, missed: int, missed_bytes: int) -> Misses:
    requested = trace.requested_bytes
    return Misses(missed / len(trace) if len(trace) else 0.0, missed_bytes / requested if requested else 0.0)
