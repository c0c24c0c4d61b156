"""Several policies over one trace at several sizes, beside what no policy can beat: what `lowtide oca simulate` prints. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from policies.admission import AdmissionName, AdmissionRule, make_admission
from policies.belady import Misses, furthest_next_use, next_uses, space_time_bound
from policies.classes import Classed
from policies.eviction import Policy, PolicyName, make_policy
from policies.replay import replay, replay_pieces
from policies.trace import Trace, cut

PASSING_SHARE = 1 / 64
"""Of the capacity, what is not admitted may take before it goes first; the default of the setting too."""

Progress = Callable[[str, int, int], None]
"""(what is being done, requests done, of how many)."""


def _silent(what: str, done: int, total: int) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Size:
    """A capacity: bytes, or a share of the footprint."""

    bytes: int = 0
    share: float = 0.0

    def of(self, footprint_bytes: int) -> int:
        return self.bytes or int(self.share * footprint_bytes)


@dataclass(frozen=True, slots=True)
class PolicyFigures:
    policy: str
    object_miss_ratio: float
    byte_miss_ratio: float
    evictions: int


@dataclass(frozen=True, slots=True)
class SizeFigures:
    """One capacity. `belady` is MIN with bypass: the optimum where all objects have one size, else a policy that knows the future.

    `bound_…` are ratios that no policy goes below, whatever the sizes (space-time bound).
    """

    capacity_bytes: int
    share_of_footprint: float
    policies: tuple[PolicyFigures, ...]
    belady: PolicyFigures | None
    bound_object_miss_ratio: float | None
    bound_byte_miss_ratio: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    requests: int
    objects: int
    footprint_bytes: int
    requested_bytes: int
    resized_requests: int
    """Requests that gave another size than the first one for the same object, which counts."""
    one_size: bool
    """All objects (or pieces) have the same size: Belady's is the optimum."""
    sizes: tuple[SizeFigures, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to compare. `piece_bytes` 0 stores objects whole; with pieces the optimum is that of the pieces and is left out."""

    sizes: tuple[Size, ...]
    policies: tuple[PolicyName, ...] = tuple(PolicyName)
    admission: AdmissionRule = field(default_factory=AdmissionRule)
    piece_bytes: int = 0
    with_bound: bool = True


def simulated_policy(name: PolicyName, rule: AdmissionRule, capacity_bytes: int) -> Policy[int]:
    """The policy as the store has it; without admission the bare one, which decides the same and is faster."""
    policy: Policy[int] = make_policy(name, capacity_bytes)
    if rule.name is AdmissionName.ALL and rule.max_share >= 1:
        return policy
    return Classed(policy, make_admission(rule, capacity_bytes), PASSING_SHARE, capacity_bytes)


def compare(trace: Trace, wanted: Wanted, on_progress: Progress = _silent) -> Comparison:
    """Replay everything, one after the other. Raises ValueError for a size of less than one byte."""
    footprint = trace.footprint_bytes
    capacities = [size.of(footprint) for size in wanted.sizes]
    if capacities and min(capacities) < 1:
        raise ValueError(f"a size is less than one byte; the footprint is {footprint} bytes")
    begins: array[int] | None = None
    played = trace
    if wanted.piece_bytes:
        played, begins = cut(trace, wanted.piece_bytes)
    optimum = _Optimum(trace, capacities) if wanted.with_bound and begins is None else None
    sizes = []
    for at, capacity in enumerate(capacities):
        figures = tuple(_figures(played, begins, name, capacity, wanted, on_progress) for name in wanted.policies)
        on_progress("belady", 0, len(trace))
        best, bound = optimum.at(at) if optimum is not None else (None, None)
        sizes.append(
            SizeFigures(
                capacity,
                capacity / footprint if footprint else 0.0,
                figures,
                best,
                bound.objects if bound else None,
                bound.bytes if bound else None,
            )
        )
    one_size = len(set(played.sizes)) <= 1
    return Comparison(
        len(trace), trace.objects, footprint, trace.requested_bytes, trace.resized, one_size, tuple(sizes)
    )


class _Optimum:
    """What is worked out once for all sizes."""

    def __init__(self, trace: Trace, capacities: list[int]) -> None:
        self._trace = trace
        self._capacities = capacities
        self._nexts = next_uses(trace)
        self._bounds = space_time_bound(trace, capacities, self._nexts)

    def at(self, number: int) -> tuple[PolicyFigures, Misses]:
        found = furthest_next_use(self._trace, self._capacities[number], self._nexts)
        return PolicyFigures("belady", found.objects, found.bytes, 0), self._bounds[number]


def _figures(
    played: Trace,
    begins: array[int] | None,
    name: PolicyName,
    capacity: int,
    wanted: Wanted,
    on_progress: Progress,
) -> PolicyFigures:
    policy = simulated_policy(name, wanted.admission, capacity)
    total = len(begins) - 1 if begins is not None else len(played)

    def tell(done: int) -> None:
        on_progress(f"{name.value} with {capacity} bytes", done, total)

    if begins is None:
        misses, tally = replay(played, policy, capacity, tell)
    else:
        misses, tally = replay_pieces(played, begins, policy, capacity, tell)
    return PolicyFigures(name.value, misses.objects, misses.bytes, tally.evicted)


def parse_sizes(texts: Sequence[str]) -> tuple[Size, ...]:
    """`10%` and `0.1` are shares of the footprint, `4GiB`, `500MB`, `1000000` are bytes. Raises ValueError that names the text."""
    return tuple(_size(text) for text in texts)


_UNITS = {"": 1, "b": 1} | {
    f"{letter}{ending}": base**power
    for power, letter in enumerate("kmgtp", 1)
    for ending, base in (("", 1000), ("b", 1000), ("ib", 1024))
}


def _size(text: str) -> Size:
    plain = text.strip().lower()
    number = plain.rstrip("%abcdefghijklmnopqrstuvwxyz ")
    unit = plain[len(number) :].strip()
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if unit == "%" and 0 < value <= 100:
        return Size(share=value / 100)
    if not unit and 0 < value < 1:
        return Size(share=value)
    if unit in _UNITS and value >= 1:
        return Size(bytes=int(value * _UNITS[unit]))
    raise ValueError(f"{text!r} is no size: give bytes (1000000, 500MB, 4GiB) or a share of the footprint (10%, 0.1)")
