"""The plan's rate as what slows runs down: `ratecap` decides, the keeper's clock measures."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext

from chassis.clock import Clock
from contracts.digests import BLOCK_BYTES
from oca.keeper import ratecap
from oca.keeper.ratecap import RateCap
from oca.keeper.sourcing import RUN_BLOCKS


class FillCap:
    """A `Throttle` for all fills together. Begins without a cap."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rate_bps = 0
        self._cap = RateCap(1, clock.monotonic_s())
        self._places = asyncio.Semaphore(1)

    @property
    def rate_bps(self) -> int:
        """0: no cap."""
        return self._rate_bps

    def set_rate(self, rate_bps: int) -> None:
        """From now on; 0 for no cap. Connections that are open keep their places and take their new bounds with the next request."""
        before, self._rate_bps = self._rate_bps, rate_bps
        if not rate_bps:
            return
        now_s = self._clock.monotonic_s()
        if not before:
            self._cap = RateCap(rate_bps, now_s)
        self._cap.set_rate(rate_bps, now_s)
        if not before or ratecap.connections(before) != ratecap.connections(rate_bps):
            self._places = asyncio.Semaphore(ratecap.connections(rate_bps))

    @property
    def run_blocks(self) -> int:
        return self._cap.run_blocks if self._rate_bps else RUN_BLOCKS

    @property
    def buffer_bytes(self) -> int | None:
        return ratecap.buffer_bytes(self._rate_bps) if self._rate_bps else None

    def place(self) -> AbstractAsyncContextManager[None]:
        return self._places if self._rate_bps else nullcontext()

    def reserve(self) -> tuple[int, float]:
        if not self._rate_bps:
            return BLOCK_BYTES, 0.0
        count = self._cap.piece_bytes
        return count, self._cap.reserve(count, self._clock.monotonic_s())

    def settle(self, reserved_bytes: int, received: int) -> None:
        if self._rate_bps:
            self._cap.settle(reserved_bytes, received, self._clock.monotonic_s())
