"""What must not go now stays, and stands where it stood."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.eviction import Policy, PolicyName, make_policy

_history = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 30)), min_size=1, max_size=40)


def _filled(name: PolicyName, history: list[tuple[int, int]]) -> tuple[Policy[int], dict[int, int]]:
    policy: Policy[int] = make_policy(name, 100)
    sizes: dict[int, int] = {}
    for key, size in history:
        if key in policy:
            policy.on_access(key)
        else:
            sizes[key] = size
            policy.on_insert(key, size)
    return policy, sizes


@pytest.mark.parametrize("name", list(PolicyName))
@given(history=_history, spared=st.frozensets(st.integers(0, 9)), need=st.integers(1, 200))
def test_what_is_spared_is_never_a_victim_and_all_else_may_be(
    name: PolicyName, history: list[tuple[int, int]], spared: frozenset[int], need: int
) -> None:
    policy, sizes = _filled(name, history)
    chosen = policy.victims(need, spared.__contains__)
    freed = sum(sizes[key] for key in chosen)
    assert not spared & set(chosen)
    assert freed >= need or set(chosen) == set(sizes) - spared
    assert all(key in policy for key in spared & set(sizes))
    assert policy.used_bytes == sum(sizes.values()) - freed


@pytest.mark.parametrize("name", list(PolicyName))
@given(history=_history, spared=st.frozensets(st.integers(0, 9)))
def test_all_that_was_spared_goes_later(
    name: PolicyName, history: list[tuple[int, int]], spared: frozenset[int]
) -> None:
    policy, sizes = _filled(name, history)
    first = policy.victims(10**9, spared.__contains__)
    later = policy.victims(10**9)
    assert sorted(first + later) == sorted(sizes)


def test_lru_keeps_the_place_of_what_it_spared() -> None:
    policy: Policy[str] = make_policy(PolicyName.LRU, 100)
    for key in "abc":
        policy.on_insert(key, 1)
    assert policy.victims(1, {"a"}.__contains__) == ["b"]
    assert policy.victims(2) == ["a", "c"]


def test_s3fifo_does_not_take_what_it_spared_for_remembered() -> None:
    policy: Policy[str] = make_policy(PolicyName.S3FIFO, 100)
    for key in "abc":
        policy.on_insert(key, 1)
    assert policy.victims(1, {"a"}.__contains__) == ["b"]
    assert policy.victims(1) == ["a"], "still the oldest of the small queue, not promoted"


def test_sieve_leaves_the_bit_of_what_it_passes_over() -> None:
    policy: Policy[str] = make_policy(PolicyName.SIEVE, 100)
    for key in "abc":
        policy.on_insert(key, 1)
    policy.on_access("a")
    assert policy.victims(1, {"a"}.__contains__) == ["b"]
    assert policy.victims(1) == ["c"], "the hand went on from b"
    policy.on_insert("d", 1)
    assert policy.victims(1) == ["d"], "a was asked for and still has its bit"
