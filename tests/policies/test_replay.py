"""Replays against a plain cache, and the offline optimum against everything."""

from __future__ import annotations

import random
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.admission import AdmissionName, AdmissionRule
from policies.belady import furthest_next_use, next_uses, space_time_bound
from policies.comparison import Size, Wanted, compare, parse_sizes, simulated_policy
from policies.eviction import Policy, PolicyName, make_policy
from policies.replay import replay, replay_pieces
from policies.trace import Trace, ZipfLaw, collect, cut, with_unit_sizes, zipf

_keys = st.lists(st.integers(0, 7), min_size=1, max_size=40)
_sizes = st.lists(st.integers(1, 20), min_size=8, max_size=8)


def _trace(keys: list[int], sizes: list[int] | None = None) -> Trace:
    return collect((at, key, sizes[key] if sizes else 1) for at, key in enumerate(keys))


class _Watched:
    """A policy that asserts the law of the size."""

    def __init__(self, policy: Policy[int], capacity: int) -> None:
        self._policy = policy
        self._capacity = capacity
        self.on_access = policy.on_access
        self.remove = policy.remove
        self.victims = policy.victims
        self.resize = policy.resize

    @property
    def used_bytes(self) -> int:
        return self._policy.used_bytes

    def __len__(self) -> int:
        return len(self._policy)

    def __contains__(self, key: object) -> bool:
        return key in self._policy

    def on_insert(self, key: int, size: int) -> None:
        self._policy.on_insert(key, size)
        assert self._policy.used_bytes <= self._capacity


def _naive_lru(keys: list[int], sizes: list[int], capacity: int) -> int:
    held: list[int] = []
    missed = 0
    for key in keys:
        if key in held:
            held.remove(key)
            held.append(key)
            continue
        missed += 1
        if sizes[key] <= capacity:
            while sum(sizes[one] for one in held) + sizes[key] > capacity:
                held.pop(0)
            held.append(key)
    return missed


@given(_keys, _sizes, st.integers(1, 60))
def test_a_replay_of_lru_misses_what_a_plain_lru_cache_misses(keys: list[int], sizes: list[int], capacity: int) -> None:
    misses, tally = replay(_trace(keys, sizes), make_policy(PolicyName.LRU, capacity), capacity)
    assert tally.missed == _naive_lru(keys, sizes, capacity)
    assert misses.objects == tally.missed / len(keys)


@pytest.mark.parametrize("name", list(PolicyName))
@pytest.mark.parametrize("admission", list(AdmissionName))
@given(keys=_keys, sizes=_sizes, capacity=st.integers(1, 60))
def test_no_replay_ever_holds_more_than_its_size(
    name: PolicyName, admission: AdmissionName, keys: list[int], sizes: list[int], capacity: int
) -> None:
    policy = simulated_policy(name, AdmissionRule(admission, remembered=4), capacity)
    if admission is AdmissionName.ALL:
        policy = _Watched(policy, capacity)
    replay(_trace(keys, sizes), policy, capacity)
    assert policy.used_bytes <= capacity


def _fewest_misses(keys: list[int], capacity: int) -> int:
    """By trying every choice."""

    @lru_cache(None)
    def best(at: int, held: frozenset[int]) -> int:
        if at == len(keys):
            return 0
        key = keys[at]
        if key in held:
            return best(at + 1, held)
        kept = held | {key}
        choices = [held] + ([kept] if len(kept) <= capacity else [kept - {one} for one in held])
        return 1 + min(best(at + 1, frozenset(choice)) for choice in choices)

    return best(0, frozenset())


@settings(max_examples=60)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=14), st.integers(1, 4))
def test_belady_is_the_optimum_for_objects_of_one_size(keys: list[int], capacity: int) -> None:
    assert furthest_next_use(_trace(keys), capacity).objects == _fewest_misses(keys, capacity) / len(keys)


@pytest.mark.parametrize("name", list(PolicyName))
@given(keys=_keys, capacity=st.integers(1, 8))
def test_no_policy_beats_belady_with_objects_of_one_size(name: PolicyName, keys: list[int], capacity: int) -> None:
    trace = _trace(keys)
    online, _ = replay(trace, make_policy(name, capacity), capacity)
    assert furthest_next_use(trace, capacity).objects <= online.objects


@given(keys=_keys, sizes=_sizes, capacity=st.integers(1, 60))
def test_nothing_goes_below_the_bound_whatever_the_sizes(keys: list[int], sizes: list[int], capacity: int) -> None:
    trace = _trace(keys, sizes)
    bound = space_time_bound(trace, [capacity])[0]
    found = [replay(trace, make_policy(name, capacity), capacity)[0] for name in PolicyName]
    for misses in [*found, furthest_next_use(trace, capacity)]:
        assert bound.objects <= misses.objects + 1e-9
        assert bound.bytes <= misses.bytes + 1e-9


def test_next_uses_point_at_the_next_request_for_the_same() -> None:
    assert list(next_uses(_trace([1, 2, 1, 1])))[:3] == [2, 2**63 - 1, 3]


@given(keys=_keys, sizes=_sizes, piece=st.integers(1, 25), capacity=st.integers(1, 60))
def test_pieces_of_uncut_objects_miss_the_same(keys: list[int], sizes: list[int], piece: int, capacity: int) -> None:
    trace = _trace(keys, sizes)
    pieces, begins = cut(trace, piece)
    assert pieces.requested_bytes == trace.requested_bytes
    assert pieces.footprint_bytes == trace.footprint_bytes
    misses, _ = replay_pieces(pieces, begins, make_policy(PolicyName.LRU, capacity), capacity)
    if piece >= max(sizes):
        assert misses == replay(trace, make_policy(PolicyName.LRU, capacity), capacity)[0]
    assert 0 < misses.objects <= 1


def test_a_piece_that_is_missing_makes_a_miss_and_only_its_bytes_count() -> None:
    pieces, begins = cut(_trace([0, 1, 0], [10, 2]), 5)
    misses, tally = replay_pieces(pieces, begins, make_policy(PolicyName.LRU, 10), 10)
    assert misses.objects == 1.0, "object 1 pushed out a piece of object 0"
    assert tally.missed_bytes == 10 + 2 + 10, "LRU lost the first piece, and the second to the first on its way back"


def test_a_generated_trace_is_the_same_again_and_ages() -> None:
    law = ZipfLaw(objects=100, alpha=0.9, drift_every=10, smallest=10, largest=1000)
    one, two = (list(zipf(law, 5000, random.Random(3).random)) for _ in range(2))
    assert one == two
    early, late = ({key for _, key, _ in part} for part in (one[:1000], one[-1000:]))
    assert max(late) > max(early) > 100, "new objects come"
    assert all(10 <= size <= 1000 for _, _, size in one)


def test_the_first_size_of_an_object_counts_and_others_are_counted() -> None:
    trace = collect([(0, "a", 5), (1, "a", 7), (2, "b", 1)])
    assert (list(trace.sizes), trace.resized) == ([5, 1], 1)
    assert with_unit_sizes(trace).footprint_bytes == 2


def test_a_comparison_has_every_policy_at_every_size_beside_the_optimum() -> None:
    trace = collect(zipf(ZipfLaw(objects=300, alpha=0.9), 4000, random.Random(1).random))
    found = compare(trace, Wanted((Size(bytes=20), Size(share=0.5))))
    assert [size.capacity_bytes for size in found.sizes] == [20, trace.footprint_bytes // 2]
    for size in found.sizes:
        assert [one.policy for one in size.policies] == ["lru", "sieve", "s3fifo"]
        assert size.belady is not None
        assert size.belady.object_miss_ratio < min(one.object_miss_ratio for one in size.policies)
    with pytest.raises(ValueError, match="less than one byte"):
        compare(trace, Wanted((Size(share=1e-9),)))


def test_sizes_are_bytes_or_shares() -> None:
    assert parse_sizes(["10%", "0.25", "4GiB", "500MB", "77"]) == (
        *(Size(share=0.1), Size(share=0.25), Size(bytes=4 << 30), Size(bytes=500_000_000), Size(bytes=77)),
    )
    for wrong in ("", "-1", "0", "120%", "4 apples", "nan"):
        with pytest.raises(ValueError, match="is no size"):
            parse_sizes([wrong])
