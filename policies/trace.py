"""A trace of requests in memory: who asked for what, in compact arrays, and a generator of traces. Pure.

Objects are numbered densely in the order of their first request. The first size that a trace gives for an object counts for the whole
of it (as in libCacheSim), so that a miss ratio says something of the policy and nothing of how sizes were logged; `resized` counts the requests that
said something else. Four bytes per request, eight per object.
"""

from __future__ import annotations

import bisect
import itertools
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field

Request = tuple[int, Hashable, int]
"""(time in seconds, key, size in bytes)."""


@dataclass(slots=True)
class Trace:
    """`requests` are object numbers in the order of time, `sizes` are bytes by object number."""

    requests: array[int] = field(default_factory=lambda: array("I"))
    sizes: array[int] = field(default_factory=lambda: array("Q"))
    resized: int = 0

    def __len__(self) -> int:
        return len(self.requests)

    @property
    def objects(self) -> int:
        return len(self.sizes)

    @property
    def footprint_bytes(self) -> int:
        """The size of a cache that never evicts anything."""
        return sum(self.sizes)

    @property
    def requested_bytes(self) -> int:
        return sum(map(self.sizes.__getitem__, self.requests))


def collect(requests: Iterable[Request]) -> Trace:
    """Number the objects of a stream of requests."""
    trace = Trace()
    numbers: dict[Hashable, int] = {}
    sizes, append, known = trace.sizes, trace.requests.append, numbers.get
    for _, key, size in requests:
        number = known(key)
        if number is None:
            number = numbers[key] = len(sizes)
            sizes.append(size)
        elif sizes[number] != size:
            trace.resized += 1
        append(number)
    return trace


def with_unit_sizes(trace: Trace) -> Trace:
    """The same requests for objects of one byte: sizes and capacities then count objects."""
    return Trace(trace.requests, array("Q", [1]) * trace.objects)


def cut(trace: Trace, piece_bytes: int) -> tuple[Trace, array[int]]:
    """Objects cut into pieces of at most `piece_bytes`, each an object of its own, as the store does with extents.

    Gives the trace of pieces and, for every request of the given trace, where its pieces begin in it (one more entry for the end).
    Raises ValueError when `piece_bytes` is no positive number.
    """
    if piece_bytes < 1:
        raise ValueError(f"pieces of {piece_bytes} bytes are not possible")
    first: list[int] = []
    sizes = array("Q")
    for size in trace.sizes:
        first.append(len(sizes))
        whole, rest = divmod(size, piece_bytes)
        sizes.extend([piece_bytes] * whole)
        if rest or not whole:
            sizes.append(rest)
    first.append(len(sizes))
    requests, begins = array("I"), array("Q", [0])
    for number in trace.requests:
        requests.extend(range(first[number], first[number + 1]))
        begins.append(len(requests))
    return Trace(requests, sizes, trace.resized), begins


@dataclass(frozen=True, slots=True)
class ZipfLaw:
    """Requests drawn from a Zipf law whose ranks change hands, with sizes that are drawn once per object.

    Every `drift_every` requests the object of one rank, drawn evenly, is replaced by one that nobody has asked for yet: what is
    popular ages, and new titles appear at any rank. `smallest` and `largest` bound sizes, drawn evenly in the logarithm.
    """

    objects: int = 10_000
    alpha: float = 0.8
    drift_every: int = 0
    smallest: int = 1
    largest: int = 1
    requests_per_s: int = 100


def zipf(law: ZipfLaw, count: int, uniform: Callable[[], float]) -> Iterator[tuple[int, int, int]]:
    """`count` requests; `uniform` draws from [0, 1), so that a seeded one gives the same trace again."""
    weights = list(itertools.accumulate((rank + 1) ** -law.alpha for rank in range(law.objects)))
    total = weights[-1]
    ratio = law.largest / law.smallest

    def size() -> int:
        return law.smallest if ratio == 1 else int(law.smallest * ratio ** uniform())

    holders = [(rank, size()) for rank in range(law.objects)]
    fresh = law.objects
    for at in range(count):
        if law.drift_every and at % law.drift_every == law.drift_every - 1:
            holders[int(uniform() * law.objects)] = (fresh, size())
            fresh += 1
        key, length = holders[bisect.bisect_left(weights, uniform() * total)]
        yield at // law.requests_per_s, key, length
