"""The clock as a port: what waits or measures takes one, so that tests wait for nothing."""

from __future__ import annotations

import asyncio
import heapq
import time
from typing import Protocol


class Clock(Protocol):
    """`monotonic_s` never goes back; `wall_s` is seconds since the Unix epoch; `sleep` waits."""

    def monotonic_s(self) -> float: ...

    def wall_s(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's clock."""

    def monotonic_s(self) -> float:
        return time.monotonic()

    def wall_s(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


SYSTEM_CLOCK = SystemClock()


class VirtualClock:
    """A clock for tests: time passes only by `advance`, which wakes sleepers in the order of their deadlines."""

    def __init__(self, wall_s: float = 1_700_000_000.0) -> None:
        self._elapsed_s = 0.0
        self._wall_at_zero_s = wall_s
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._arrivals = 0

    def monotonic_s(self) -> float:
        return self._elapsed_s

    def wall_s(self) -> float:
        return self._wall_at_zero_s + self._elapsed_s

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._arrivals += 1
        heapq.heappush(self._sleepers, (self._elapsed_s + seconds, self._arrivals, woken))
        await woken

    async def advance(self, seconds: float) -> None:
        """Lets `seconds` pass. Whoever wakes runs, and may sleep again, before later deadlines come."""
        until = self._elapsed_s + seconds
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            deadline, _, woken = heapq.heappop(self._sleepers)
            self._elapsed_s = max(self._elapsed_s, deadline)
            if not woken.done():
                woken.set_result(None)
            await self._settle()
        self._elapsed_s = until

    @property
    def sleepers(self) -> int:
        """How many wait now."""
        return sum(1 for _, _, woken in self._sleepers if not woken.done())

    @staticmethod
    async def _settle() -> None:
        for _ in range(20):
            await asyncio.sleep(0)
