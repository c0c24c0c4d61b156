"""Admission: is what was asked for worth a place? Pure; size and demand decide, the reason goes out.

`Always` stores everything that fits. `SecondRequest` stores what is asked for again while it is still remembered: one-hit wonders
(most of a long tail) then never push out anything, at the price of one more upstream fetch per object. `Frequent` wants more requests of what is
larger, as counted lately by `policies.frequency`. What is refused may be stored for a while all the same: `policies.classes`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar

from policies.frequency import Frequencies

_NO_BOUND = 1 << 62
K = TypeVar("K", bound=Hashable)
K_contra = TypeVar("K_contra", bound=Hashable, contravariant=True)


class Admission(Enum):
    """What was decided, and why. The value is the log word."""

    ADMITTED = "admitted"
    TOO_LARGE = "too-large"
    """Larger than the share of the cache that one object may take."""
    FIRST_REQUEST = "first-request"
    """Never seen before: remembered, not stored."""
    SELDOM = "seldom"
    """Asked for less often than something of its size has to be."""
    SHORT_LIVED = "short-lived"
    """Stale too soon to be worth a lasting place; admission is not asked."""


class AdmissionName(Enum):
    """The value is the word in settings."""

    ALL = "all"
    SECOND_REQUEST = "second-request"
    FREQUENT = "frequent"


class AdmissionPolicy(Protocol[K_contra]):
    def admit(self, key: K_contra, size: int) -> Admission:
        """Decide one request for an object that is not stored."""


class Always(Generic[K_contra]):
    """Everything up to `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    def admit(self, key: K_contra, size: int) -> Admission:
        return Admission.ADMITTED if size <= self._max_bytes else Admission.TOO_LARGE


class SecondRequest(Generic[K]):
    """What was asked for among the last `remembered` distinct objects that were refused; up to `max_bytes`."""

    def __init__(self, max_bytes: int, remembered: int) -> None:
        self._max_bytes = max_bytes
        self._remembered = remembered
        self._seen: OrderedDict[K, None] = OrderedDict()

    def admit(self, key: K, size: int) -> Admission:
        if size > self._max_bytes:
            return Admission.TOO_LARGE
        if key in self._seen:
            del self._seen[key]
            return Admission.ADMITTED
        self._seen[key] = None
        while len(self._seen) > self._remembered:
            self._seen.popitem(last=False)
        return Admission.FIRST_REQUEST


class Frequent(Generic[K_contra]):
    """What was asked for at least `requests` times lately; once more for every doubling of its size beyond `usual_bytes`."""

    def __init__(self, max_bytes: int, requests: int, usual_bytes: int, counts: Frequencies) -> None:
        self._max_bytes = max_bytes
        self._requests = requests
        self._usual_bytes = usual_bytes
        self._counts = counts

    def admit(self, key: K_contra, size: int) -> Admission:
        if size > self._max_bytes:
            return Admission.TOO_LARGE
        needed = self._requests + max(0, (size - 1) // self._usual_bytes).bit_length()
        return Admission.ADMITTED if self._counts.add(key) >= min(needed, 15) else Admission.SELDOM


@dataclass(frozen=True, slots=True)
class AdmissionRule:
    """An admission policy by name, with all that any of them needs."""

    name: AdmissionName = AdmissionName.ALL
    max_share: float = 1.0
    """Of the capacity, that one object may take; 1 asks no object for its size (it may lie on several disks)."""
    remembered: int = 100_000
    requests: int = 2
    usual_bytes: int = 64 << 20
    seed: int = 0


def make_admission(rule: AdmissionRule, capacity_bytes: int) -> AdmissionPolicy[Hashable]:
    """A fresh one for a cache of `capacity_bytes`."""
    max_bytes = int(capacity_bytes * rule.max_share) if rule.max_share < 1 else _NO_BOUND
    if rule.name is AdmissionName.ALL:
        return Always(max_bytes)
    if rule.name is AdmissionName.SECOND_REQUEST:
        return SecondRequest(max_bytes, rule.remembered)
    return Frequent(max_bytes, rule.requests, rule.usual_bytes, Frequencies(rule.remembered, rule.seed))
