"""Two classes of what is stored: what lasts is in the policy's hands, what is passing waits in a queue of its own and goes first. Pure.

Passing is what will be stale soon, and what admission has not let in yet. The latter is stored nevertheless (a block store sends from its
extents, and whoever watches something rare asks for its next range in a moment), but pushes out nothing that lasts beyond a small share
of the cache. Asked for again while it waits, it is judged again. The queue is first in, first out, as the window in front of TinyLFU is (Einziger, Friedman &
Manes, ACM TOS 2017).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from policies.admission import Admission, AdmissionPolicy
from policies.eviction import Policy

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, as admission knows it: the same again after an eviction, whatever key it is stored under then."""

    identity: Hashable
    size: int
    """Bytes of the whole object."""
    short_lived: bool = False


@dataclass(frozen=True, slots=True)
class _Waiting:
    size: int
    asked: Asked


class Classed(Generic[K]):
    """A `Policy` around a policy. `passing_share` of `capacity_bytes` is what passing things may take before they go first."""

    def __init__(
        self, lasting: Policy[K], admission: AdmissionPolicy[Hashable], passing_share: float, capacity_bytes: int
    ) -> None:
        self.decided: Counter[Admission] = Counter()
        self._lasting = lasting
        self._admission = admission
        self._passing_share = passing_share
        self._capacity = capacity_bytes
        self._passing: OrderedDict[K, _Waiting] = OrderedDict()
        self._passing_used = 0

    @property
    def used_bytes(self) -> int:
        return self._lasting.used_bytes + self._passing_used

    @property
    def passing_bytes(self) -> int:
        """What is passing now."""
        return self._passing_used

    def __len__(self) -> int:
        return len(self._lasting) + len(self._passing)

    def __contains__(self, key: object) -> bool:
        return key in self._lasting or key in self._passing

    def resize(self, capacity_bytes: int) -> None:
        self._capacity = capacity_bytes

    def on_insert(self, key: K, size: int, asked: Asked | None = None) -> None:
        """A new key. Without `asked` (found at start, let go by a plan) it lasts and admission is not heard."""
        self.remove(key)
        if asked is None or self._lasts(asked):
            self._lasting.on_insert(key, size)
        else:
            self._passing[key] = _Waiting(size, asked)
            self._passing_used += size

    def on_access(self, key: K, count: int = 1) -> None:
        waiting = self._passing.get(key)
        if waiting is None:
            self._lasting.on_access(key, count)
        elif not waiting.asked.short_lived and self._lasts(waiting.asked):
            self._leave(key)
            self._lasting.on_insert(key, waiting.size)

    def remove(self, key: K) -> None:
        if key in self._passing:
            self._leave(key)
        else:
            self._lasting.remove(key)

    def victims(self, need_bytes: int, is_spared: Callable[[K], bool] | None = None) -> list[K]:
        before = self.used_bytes
        limit = int(self._capacity * self._passing_share)
        chosen = self._leavers(min(need_bytes, self._passing_used - limit), is_spared)
        self._lasting.resize(self._capacity - self._passing_used)
        left = need_bytes - (before - self.used_bytes)
        if left > 0:
            chosen += self._lasting.victims(left, is_spared)
            left = need_bytes - (before - self.used_bytes)
        return chosen + self._leavers(left, is_spared) if left > 0 else chosen

    def _lasts(self, asked: Asked) -> bool:
        found = Admission.SHORT_LIVED if asked.short_lived else self._admission.admit(asked.identity, asked.size)
        self.decided[found] += 1
        return found is Admission.ADMITTED

    def _leavers(self, need_bytes: int, is_spared: Callable[[K], bool] | None) -> list[K]:
        chosen: list[K] = []
        freed = 0
        for key, waiting in self._passing.items():
            if freed >= need_bytes:
                break
            if is_spared is None or not is_spared(key):
                chosen.append(key)
                freed += waiting.size
        for key in chosen:
            self._leave(key)
        return chosen

    def _leave(self, key: K) -> None:
        self._passing_used -= self._passing.pop(key).size
