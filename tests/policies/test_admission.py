"""What is worth a place."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from policies.admission import Admission, Always, SecondRequest


def test_always_refuses_only_what_is_too_large() -> None:
    policy = Always[str](100)
    assert policy.admit("a", 100) is Admission.ADMITTED
    assert policy.admit("a", 101) is Admission.TOO_LARGE


def test_the_second_request_is_admitted_and_then_forgotten() -> None:
    policy = SecondRequest[str](100, remembered=2)
    assert policy.admit("a", 1) is Admission.FIRST_REQUEST
    assert policy.admit("a", 1) is Admission.ADMITTED
    assert policy.admit("a", 1) is Admission.FIRST_REQUEST
    assert policy.admit("b", 101) is Admission.TOO_LARGE
    policy.admit("b", 1)
    policy.admit("c", 1)
    assert policy.admit("a", 1) is Admission.FIRST_REQUEST, "only the last two are remembered"


@given(st.lists(st.integers(0, 5), max_size=50), st.integers(1, 10))
def test_a_key_is_never_admitted_without_a_request_since_its_last_admission(keys: list[int], remembered: int) -> None:
    policy = SecondRequest[int](10, remembered)
    open_requests: set[int] = set()
    for key in keys:
        if policy.admit(key, 1) is Admission.ADMITTED:
            assert key in open_requests
            open_requests.discard(key)
        else:
            open_requests.add(key)
