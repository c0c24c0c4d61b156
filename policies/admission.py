"""Admission: is what was asked for worth a place? Pure; size and demand decide, the reason goes out.

`Always` stores everything that fits. `SecondRequest` stores what is asked for again while it is still remembered: one-hit wonders
(most of a long tail) then never push out anything, at the price of one more upstream fetch per object.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from enum import Enum
from typing import Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)
K_contra = TypeVar("K_contra", bound=Hashable, contravariant=True)


class Admission(Enum):
    """What was decided, and why. The value is the log word."""

    ADMITTED = "admitted"
    TOO_LARGE = "too-large"
    """Larger than the share of the cache that one object may take."""
    FIRST_REQUEST = "first-request"
    """Never seen before: remembered, not stored."""


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
