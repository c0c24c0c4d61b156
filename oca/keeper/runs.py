"""Runs: blocks of one file that one task fetches, for whom, and what became of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from contracts.digests import BLOCK_BYTES
from contracts.plans import RankedSource
from contracts.reports import Purpose, Source
from oca.keeper.errors import FetchFailed
from oca.keeper.sourcing import RUN_BLOCKS
from oca.keeper.storing import Facts, Held


class Throttle(Protocol):
    """What slows a fill down (rate cap). Asked before a request, not while its body comes: what a source was asked for fills the
    sockets' buffers at line rate, whatever the reader does."""

    @property
    def run_blocks(self) -> int:
        """Blocks to ask for in one request, so that a request is a small part of what may move in some seconds."""

    async def take(self, count_bytes: int) -> None:
        """Returns when `count_bytes` more may be asked for. Counts at once, also when cancelled."""

    def give_back(self, count_bytes: int) -> None:
        """So much of what was taken did not come."""


class NoThrottle:
    run_blocks = RUN_BLOCKS

    async def take(self, count_bytes: int) -> None:
        """At once."""

    def give_back(self, count_bytes: int) -> None:
        """Nothing was taken."""


@dataclass(frozen=True, slots=True)
class Asker:
    """For whom blocks are fetched. `sources` None means the parents of misses."""

    purpose: Purpose
    sources: tuple[RankedSource, ...] | None = None
    throttle: Throttle = field(default_factory=NoThrottle)
    plan: str | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A block that was settled: where it lies and whom it came from."""

    held: Held
    source: Source | None
    """None: it was here already."""


Settled = Fetched | FetchFailed


class Run:
    """Blocks of one file that one task fetches. `urgent` is set once a client waits for one of them."""

    def __init__(self, facts: Facts, first: int, last: int, asker: Asker, epoch: int) -> None:
        loop = asyncio.get_running_loop()
        self.facts = facts
        self.asker = asker
        self.next = first
        self.last = last
        self.epoch = epoch
        self.urgent = asyncio.Event()
        self.blocks: dict[int, asyncio.Future[Settled]] = {n: loop.create_future() for n in range(first, last + 1)}
        if asker.purpose is Purpose.CLIENT:
            self.urgent.set()

    @property
    def size_bytes(self) -> int:
        """Of the whole file."""
        return self.facts.digests.size_bytes

    @property
    def bytes_left(self) -> int:
        size = self.size_bytes
        return min(size, (self.last + 1) * BLOCK_BYTES) - min(size, self.next * BLOCK_BYTES)

    async def slow_down(self) -> int:
        """Waits as the asker's rate cap wants it, unless a client comes to wait too; the bytes that were taken from the cap."""
        if self.asker.purpose is Purpose.CLIENT:
            return 0
        count = self.bytes_left
        taking = asyncio.ensure_future(self.asker.throttle.take(count))
        hurrying = asyncio.ensure_future(self.urgent.wait())
        try:
            await asyncio.wait((taking, hurrying), return_when=asyncio.FIRST_COMPLETED)
        finally:
            taking.cancel()
            hurrying.cancel()
        return count

    def settle(self, block: int, result: Settled) -> None:
        future = self.blocks[block]
        if not future.done():
            future.set_result(result)
