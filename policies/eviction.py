"""The port of eviction, and the choice of a policy by name.

Laws of a policy, held by one property test for all: it knows exactly the keys inserted and neither removed nor given out as victims;
`victims(n)` gives keys in the order of eviction whose sizes sum to at least `n`, none superfluous, or all it has; given out means
forgotten, the caller evicts them. What must not go now (somebody writes it) is spared where it stands: inserted again it would look new, or
remembered. What a plan pinned is simply not in the policy. Keys have to be those of the content and not of its place: a policy that remembers what
it evicted must know it again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from enum import Enum
from typing import Protocol, TypeVar

from policies.lru import Lru
from policies.s3fifo import S3Fifo
from policies.sieve import Sieve

K = TypeVar("K", bound=Hashable)


class PolicyName(Enum):
    """The value is the word in settings, logs and metrics."""

    LRU = "lru"
    SIEVE = "sieve"
    S3FIFO = "s3fifo"


class Policy(Protocol[K]):
    """Decides who goes. `used_bytes` is the sum of the sizes of all keys it knows."""

    @property
    def used_bytes(self) -> int: ...

    def __len__(self) -> int: ...

    def __contains__(self, key: object) -> bool: ...

    def resize(self, capacity_bytes: int) -> None:
        """What it may hold changed: pins came or went, the filesystem shrank. Nothing goes because of it alone."""

    def on_insert(self, key: K, size: int) -> None:
        """A new key. One that is known is removed first: its size may have changed."""

    def on_access(self, key: K, count: int = 1) -> None:
        """`count` hits since the last call; unknown keys are ignored (they left meanwhile)."""

    def remove(self, key: K) -> None:
        """Gone for another reason than eviction (purge, pin). Unknown keys are ignored: what is remembered of them stays."""

    def victims(self, need_bytes: int, is_spared: Callable[[K], bool] | None = None) -> list[K]:
        """Who goes so that `need_bytes` are freed; given out means forgotten. What `is_spared` stays, in its place."""


def apply_marks(policy: Policy[K], accesses: Iterable[tuple[K, int, int]]) -> None:
    """A batch of (key, hits, epoch of the last hit), applied in rising epoch; within one epoch the often used come last."""
    for key, count, _ in sorted(accesses, key=lambda access: (access[2], access[1])):
        policy.on_access(key, count)


def make_policy(name: PolicyName, capacity_bytes: int) -> Policy[K]:
    """A fresh policy. `capacity_bytes` sizes the queues of those that have several, until `resize` says otherwise."""
    if name is PolicyName.LRU:
        return Lru[K]()
    if name is PolicyName.SIEVE:
        return Sieve[K]()
    return S3Fifo[K](capacity_bytes)
