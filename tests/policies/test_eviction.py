"""Laws that every policy holds, and the character of each against a plain model."""

from __future__ import annotations

import random
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.eviction import Policy, PolicyName, apply_marks, make_policy
from policies.lru import Lru
from policies.s3fifo import S3Fifo
from policies.sieve import Sieve

CAPACITY = 100

_keys = st.integers(0, 12)
_actions = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), _keys, st.integers(0, 40)),
        st.tuples(st.just("access"), _keys, st.integers(1, 5)),
        st.tuples(st.just("remove"), _keys, st.just(0)),
        st.tuples(st.just("victims"), st.just(0), st.integers(0, 150)),
    ),
    max_size=60,
)


@pytest.mark.parametrize("name", list(PolicyName))
@given(actions=_actions)
def test_a_policy_knows_exactly_what_was_inserted_and_not_removed(
    name: PolicyName, actions: list[tuple[str, int, int]]
) -> None:
    policy: Policy[int] = make_policy(name, CAPACITY)
    known: dict[int, int] = {}
    for action, key, number in actions:
        if action == "insert":
            policy.on_insert(key, number)
            known[key] = number
        elif action == "access":
            policy.on_access(key, number)
        elif action == "remove":
            policy.remove(key)
            known.pop(key, None)
        else:
            _check_victims(policy.victims(number), number, known)
        assert len(policy) == len(known)
        assert policy.used_bytes == sum(known.values())
        assert all(key in policy for key in known)
    assert sorted(policy.victims(10**9)) == sorted(known) or all(size == 0 for size in known.values()) or not known


def _check_victims(chosen: list[int], need: int, known: dict[int, int]) -> None:
    """Enough, or all; none superfluous; given out means forgotten."""
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= set(known)
    sizes = [known.pop(key) for key in chosen]
    assert sum(sizes) >= need or not known
    assert sum(sizes[:-1]) < need or not sizes


@given(actions=_actions)
def test_lru_gives_the_least_recently_used_first(actions: list[tuple[str, int, int]]) -> None:
    policy = Lru[int]()
    model: OrderedDict[int, int] = OrderedDict()
    for action, key, number in actions:
        if action == "insert":
            policy.on_insert(key, number)
            model.pop(key, None)
            model[key] = number
        elif action == "access" and key in model:
            policy.on_access(key)
            model.move_to_end(key)
    assert policy.victims(10**9) == list(model)


def _sieve_victim(queue: list[int], visited: set[int], hand: int | None) -> tuple[int, int | None]:
    """SIEVE on a plain list, oldest first: (victim, key the hand stands on afterwards)."""
    at = queue.index(hand) if hand is not None else 0
    while queue[at] in visited:
        visited.discard(queue[at])
        at = (at + 1) % len(queue)
    victim = queue[at]
    following = queue[at + 1] if at + 1 < len(queue) else None
    queue.remove(victim)
    return victim, following


@given(st.lists(st.tuples(st.sampled_from(["ask", "evict"]), _keys), max_size=80))
def test_sieve_moves_its_hand_like_the_paper(actions: list[tuple[str, int]]) -> None:
    policy = Sieve[int]()
    queue: list[int] = []
    visited: set[int] = set()
    hand: int | None = None
    for action, key in actions:
        if action == "evict":
            if queue:
                victim, hand = _sieve_victim(queue, visited, hand)
                assert policy.victims(1) == [victim]
        elif key in queue:
            policy.on_access(key)
            visited.add(key)
        else:
            policy.on_insert(key, 1)
            queue.append(key)
    assert len(policy) == len(queue)


def test_sieve_removal_under_the_hand_moves_the_hand_on() -> None:
    policy = Sieve[str]()
    for key in "abcd":
        policy.on_insert(key, 1)
    policy.on_access("a")
    assert policy.victims(1) == ["b"]
    policy.remove("c")
    assert policy.victims(2) == ["d", "a"]
    assert len(policy) == 0


def test_s3fifo_promotes_what_was_hit_twice_and_remembers_what_it_evicted() -> None:
    policy = S3Fifo[str](100)
    for key in ("x", "y", "z"):
        policy.on_insert(key, 5)
    policy.on_access("x", 2)
    policy.on_access("y", 1)
    assert policy.victims(1) == ["y"], "hit once is not enough to leave the small queue upwards"
    policy.on_insert("y", 5)
    assert policy.victims(1) == ["z"], "y is remembered and went straight to main"
    assert sorted(policy.victims(100)) == ["x", "y"]


def test_s3fifo_main_is_a_clock_with_two_bits() -> None:
    policy = S3Fifo[int](100)
    for key in range(10):
        policy.on_insert(key, 10)
    policy.on_access(1, 9)
    order = policy.victims(1000)
    assert order[0] == 0
    assert order[-1] == 1


def test_s3fifo_keeps_a_tenth_for_the_small_queue_of_whatever_there_is() -> None:
    policy = S3Fifo[int](1000)
    policy.resize(100)
    for key in range(100):
        policy.on_insert(key, 1)
        policy.on_access(key, 3 if key < 95 else 0)
    assert policy.victims(1) == [95], "main took what was hit, and is no larger than its share yet"
    for key in range(100, 106):
        policy.on_insert(key, 1)
    policy.victims(6)
    policy.resize(20)
    assert policy.victims(1)[0] < 95, "main has more than nine tenths of what is left"


def _hit_ratio(name: PolicyName, requests: list[int], capacity: int) -> float:
    policy: Policy[int] = make_policy(name, capacity)
    hits = 0
    for key in requests:
        if key in policy:
            hits += 1
            policy.on_access(key)
        else:
            if policy.used_bytes >= capacity:
                policy.victims(1)
            policy.on_insert(key, 1)
    return hits / len(requests)


def test_sieve_and_s3fifo_beat_lru_on_a_long_tail_with_a_scan() -> None:
    rng = random.Random(7)
    weights = [1 / (rank + 1) ** 0.9 for rank in range(5000)]
    tail = rng.choices(range(5000), weights, k=30_000)
    scan = range(10_000, 20_000)
    requests = [key for pair in zip(tail, [*scan, *scan, *scan], strict=True) for key in pair]
    ratio = {name: _hit_ratio(name, requests, 500) for name in PolicyName}
    assert ratio[PolicyName.SIEVE] > ratio[PolicyName.LRU] + 0.03
    assert ratio[PolicyName.S3FIFO] > ratio[PolicyName.LRU] + 0.03


def test_a_batch_of_marks_is_applied_oldest_epoch_first() -> None:
    policy = Lru[str]()
    for key in "abcd":
        policy.on_insert(key, 1)
    apply_marks(policy, [("b", 1, 7), ("a", 3, 7), ("c", 1, 9), ("gone", 1, 8)])
    assert policy.victims(4) == ["d", "b", "a", "c"]


class _PlainS3Fifo:
    """The algorithm of the paper on lists, oldest first: (key, size, hits). Nothing here is quick."""

    def __init__(self, capacity: int) -> None:
        self.small_bytes = capacity // 10
        self.main_bytes = capacity - self.small_bytes
        self.small: list[list[int]] = []
        self.main: list[list[int]] = []
        self.ghost: list[list[int]] = []
        self.evicted_before = False

    def ask(self, key: int, size: int) -> None:
        for entry in self.small + self.main:
            if entry[0] == key:
                entry[2] = min(3, entry[2] + 1)
                return
        remembered = [entry for entry in self.ghost if entry[0] == key]
        self.ghost = [entry for entry in self.ghost if entry[0] != key]
        small_is_full = sum(entry[1] for entry in self.small) >= self.small_bytes
        to_main = remembered or (small_is_full and not self.evicted_before)
        (self.main if to_main else self.small).append([key, size, 0])

    def evict(self) -> int:
        self.evicted_before = True
        if sum(entry[1] for entry in self.main) <= self.main_bytes:
            while self.small:
                entry = self.small.pop(0)
                if entry[2] >= 2:
                    self.main.append([entry[0], entry[1], 0])
                    continue
                if entry[1] <= self.main_bytes:
                    self.ghost.append(entry)
                while sum(one[1] for one in self.ghost) > self.main_bytes:
                    self.ghost.pop(0)
                return entry[0]
        while True:
            entry = self.main.pop(0)
            if not entry[2]:
                return entry[0]
            self.main.append([entry[0], entry[1], entry[2] - 1])


@given(st.lists(st.one_of(st.none(), _keys), max_size=120), st.lists(st.integers(1, 30), min_size=13, max_size=13))
def test_s3fifo_decides_like_the_paper(actions: list[int | None], sizes: list[int]) -> None:
    policy, model = S3Fifo[int](CAPACITY), _PlainS3Fifo(CAPACITY)
    for key in actions:
        if key is None:
            if len(policy):
                assert policy.victims(1) == [model.evict()]
        else:
            model.ask(key, sizes[key])
            if key in policy:
                policy.on_access(key)
            else:
                policy.on_insert(key, sizes[key])
    assert len(policy) == len(model.small) + len(model.main)
