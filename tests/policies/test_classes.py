"""Passing things go first and push out nothing that lasts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.admission import (
    Admission,
    AdmissionName,
    AdmissionRule,
    Always,
    Frequent,
    SecondRequest,
    make_admission,
)
from policies.classes import Asked, Classed
from policies.comparison import simulated_policy
from policies.eviction import PolicyName, make_policy
from policies.frequency import Frequencies
from policies.lru import Lru
from policies.replay import replay
from policies.trace import collect


def _classed(passing_share: float = 0.0) -> Classed[str]:
    return Classed(Lru[str](), SecondRequest(100, 100), passing_share, 100)


def test_what_is_not_admitted_goes_before_what_lasts() -> None:
    policy = _classed()
    policy.on_insert("kept", 1)
    policy.on_insert("new", 1, Asked("new", 1))
    assert policy.victims(1) == ["new"]
    assert policy.victims(1) == ["kept"]


def test_passing_things_keep_their_share() -> None:
    policy = _classed(passing_share=0.02)
    policy.on_insert("kept", 1)
    for key in ("n1", "n2", "n3"):
        policy.on_insert(key, 1, Asked(key, 1))
    assert policy.victims(2) == ["n1", "kept"]
    assert policy.victims(9) == ["n2", "n3"], "with nothing else left they go too"


def test_a_hit_on_what_waits_is_judged_again() -> None:
    policy = _classed()
    policy.on_insert("a", 1, Asked("A", 1))
    policy.on_insert("b", 1, Asked("B", 1))
    policy.on_access("a")
    assert policy.victims(2) == ["b", "a"]
    assert policy.decided == {Admission.FIRST_REQUEST: 2, Admission.ADMITTED: 1}


def test_what_is_short_lived_passes_however_often_it_is_asked_for() -> None:
    policy = Classed(Lru[str](), Always(100), 0.0, 100)
    policy.on_insert("news", 1, Asked("news", 1, short_lived=True))
    policy.on_insert("film", 1, Asked("film", 1))
    policy.on_access("news", 9)
    assert policy.victims(1) == ["news"]


_actions = st.lists(
    st.tuples(st.sampled_from(["ask", "found", "remove", "evict"]), st.integers(0, 9), st.integers(1, 30)), max_size=60
)


@pytest.mark.parametrize("name", list(PolicyName))
@given(actions=_actions, share=st.floats(0, 0.6), spared=st.frozensets(st.integers(0, 9)))
def test_a_classed_policy_holds_the_laws_of_a_policy(
    name: PolicyName, actions: list[tuple[str, int, int]], share: float, spared: frozenset[int]
) -> None:
    policy: Classed[int] = Classed(make_policy(name, 100), SecondRequest(25, 5), share, 100)
    known: dict[int, int] = {}
    for action, key, size in actions:
        if action == "ask" and key in policy:
            policy.on_access(key)
        elif action in ("ask", "found"):
            policy.on_insert(key, size, Asked(key, size, key == 0) if action == "ask" else None)
            known[key] = size
        elif action == "remove":
            policy.remove(key)
            known.pop(key, None)
        else:
            chosen = policy.victims(size, spared.__contains__)
            assert not spared & set(chosen)
            freed = sum(known.pop(one) for one in chosen)
            assert freed >= size or set(known) <= spared
        assert (len(policy), policy.used_bytes) == (len(known), sum(known.values()))
        assert all(one in policy for one in known)


def test_one_hit_wonders_cost_less_with_admission() -> None:
    rng = random.Random(4)
    weights = [1 / (rank + 1) for rank in range(500)]
    popular = rng.choices(range(500), weights, k=10_000)
    trace = collect((0, key, 1) for pair in zip(popular, range(1000, 11_000), strict=True) for key in pair)
    plain = replay(trace, simulated_policy(PolicyName.LRU, AdmissionRule(), 100), 100)[0]
    for name in (AdmissionName.SECOND_REQUEST, AdmissionName.FREQUENT):
        picky = replay(trace, simulated_policy(PolicyName.LRU, AdmissionRule(name), 100), 100)[0]
        assert picky.objects < plain.objects - 0.03, name


def test_what_is_larger_needs_to_be_asked_for_more_often() -> None:
    policy = Frequent[str](1000, requests=2, usual_bytes=100, counts=Frequencies(100))
    for key, size, needed in (("small", 100, 2), ("larger", 101, 3), ("large", 401, 5)):
        found = [policy.admit(key, size) for _ in range(needed)]
        assert found == [Admission.SELDOM] * (needed - 1) + [Admission.ADMITTED]
    assert policy.admit("small", 1001) is Admission.TOO_LARGE


@given(st.lists(st.integers(0, 30), max_size=150))
def test_a_frequency_is_never_below_the_truth_before_it_ages(keys: list[int]) -> None:
    counts = Frequencies(16, seed=3)
    for key in keys:
        counts.add(key)
    for key in set(keys):
        assert counts.estimate(key) >= min(15, keys.count(key))


def test_frequencies_fade() -> None:
    counts = Frequencies(16)
    for _ in range(15):
        counts.add("yesterday")
    for other in range(160):
        counts.add(other % 3)
    assert counts.estimate("yesterday") <= 8


def test_the_same_seed_counts_the_same() -> None:
    first, second = (Frequencies(16, seed=5) for _ in range(2))
    keys = random.Random(1).choices(range(200), k=500)
    assert [first.add(key) for key in keys] == [second.add(key) for key in keys]


def test_admission_is_made_by_name() -> None:
    assert isinstance(make_admission(AdmissionRule(), 10), Always)
    assert make_admission(AdmissionRule(max_share=0.5), 10).admit("a", 6) is Admission.TOO_LARGE
