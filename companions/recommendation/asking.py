"""Answers of other services, remembered: fresh ones are not asked for again, the last known stand in while a service is away.

Laws: one question of a kind is under way at a time, however many wait for it; a service that failed is left alone for
`pause_s`, so that its slowness is paid once; memory is bounded. An answer that is no longer fresh but younger than `stale_s`
is given at once and asked anew behind the caller's back; for an older one the caller waits, so that the first visitor after
a quiet hour does not see that hour's beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from chassis.clock import Clock
from chassis.errors import ServiceError, Source
from chassis.logs import get_logger
from companions.bounded import Bounded

K = TypeVar("K")
V = TypeVar("V")
_LOG = get_logger("companions.recommendation")


@dataclass(frozen=True, slots=True)
class Known(Generic[V]):
    """`value` is None when nothing was ever heard. `degraded`: the service did not answer when it was asked last."""

    value: V | None
    degraded: bool


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V | None = None
    heard_s: float | None = None
    failed_s: float | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """`stale_s` counts from the moment the answer was heard; what is below `fresh_s` serves nothing stale."""

    fresh_s: float
    stale_s: float
    pause_s: float
    limit: int


class LastKnown(Generic[K, V]):
    """The answers to one kind of question, by key."""

    def __init__(self, name: str, patience: Patience, clock: Clock) -> None:
        self._name = name
        self._patience = patience
        self._clock = clock
        self._entries: Bounded[K, _Entry[V]] = Bounded(patience.limit)
        self._asking: dict[K, asyncio.Task[None]] = {}
        self._away_s: float | None = None

    async def get(self, key: K, ask: Callable[[], Awaitable[V]]) -> Known[V]:
        """The answer as well as it is known; `ask` is awaited when it is time. Only ServiceError counts as no answer."""
        entry = self._entries.get(key)
        if entry is None:
            entry = _Entry()
            self._entries.put(key, entry)
        if self._is_fresh(entry):
            return Known(entry.value, False)
        if self._is_paused(entry):
            return Known(entry.value, True)
        task = self._asking.get(key) or self._start(key, entry, ask)
        if not self._may_be_stale(entry):
            await asyncio.shield(task)
        return Known(entry.value, entry.failed_s is not None)

    async def close(self) -> None:
        """Gives up the questions that are under way."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _is_fresh(self, entry: _Entry[V]) -> bool:
        recent = entry.heard_s is not None and self._clock.monotonic_s() - entry.heard_s < self._patience.fresh_s
        return recent and entry.failed_s is None

    def _may_be_stale(self, entry: _Entry[V]) -> bool:
        return entry.heard_s is not None and self._clock.monotonic_s() - entry.heard_s < self._patience.stale_s

    def _is_paused(self, entry: _Entry[V]) -> bool:
        failed = [at for at in (entry.failed_s, self._away_s) if at is not None]
        return bool(failed) and self._clock.monotonic_s() - max(failed) < self._patience.pause_s

    def _start(self, key: K, entry: _Entry[V], ask: Callable[[], Awaitable[V]]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._ask(entry, ask), name=f"ask-{self._name}")
        self._asking[key] = task
        task.add_done_callback(lambda _task: self._asking.pop(key, None))
        return task

    async def _ask(self, entry: _Entry[V], ask: Callable[[], Awaitable[V]]) -> None:
        try:
            entry.value = await ask()
        except ServiceError as error:
            entry.failed_s = self._clock.monotonic_s()
            if error.source is Source.UPSTREAM:
                self._away_s = entry.failed_s
            _LOG.warning("not-answered", question=self._name, detail=str(error), known=entry.value is not None)
        else:
            entry.heard_s = self._clock.monotonic_s()
            entry.failed_s = self._away_s = None
