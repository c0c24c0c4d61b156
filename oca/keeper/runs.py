"""Runs: blocks of one file that one task fetches, for whom, and what became of them."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from contracts.digests import BLOCK_BYTES
from contracts.plans import RankedSource
from contracts.reports import Purpose, Source
from oca.keeper.errors import FetchFailed
from oca.keeper.sourcing import RUN_BLOCKS
from oca.keeper.storing import Facts, Held


class Throttle(Protocol):
    """What slows a fill down (rate cap). Asked before each piece of a body is read, because what a source was asked for fills the sockets at
    line rate: only what is not read stops the sender."""

    @property
    def run_blocks(self) -> int:
        """Blocks to ask for in one request, so that a request is a small part of what may move in some seconds."""

    @property
    def buffer_bytes(self) -> int | None:
        """What one connection may hold unread; None where nothing is slowed down."""

    def place(self) -> AbstractAsyncContextManager[None]:
        """A place among the connections that share the rate."""

    def reserve(self) -> tuple[int, float]:
        """(bytes that may be read next, seconds to wait before). They count at once."""

    def settle(self, reserved_bytes: int, received: int) -> None:
        """Instead of what was reserved so many bytes came in."""


class NoThrottle:
    run_blocks = RUN_BLOCKS
    buffer_bytes: int | None = None

    def place(self) -> AbstractAsyncContextManager[None]:
        """At once."""
        return nullcontext()

    def reserve(self) -> tuple[int, float]:
        """A block, at once."""
        return BLOCK_BYTES, 0.0

    def settle(self, reserved_bytes: int, received: int) -> None:
        """Nothing is counted."""


@dataclass(frozen=True, slots=True)
class Asker:
    """For whom blocks are fetched. `sources` None means the parents of misses."""

    purpose: Purpose
    sources: tuple[RankedSource, ...] | None = None
    throttle: Throttle = field(default_factory=NoThrottle)
    plan: str | None = None
    credential: str = ""
    """What peers and tiers are shown for an order."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A block that was settled: where it lies and whom it came from."""

    held: Held
    source: Source | None
    """None: it was here already."""


Settled = Fetched | FetchFailed


class Run:
    """Blocks of one file that one task fetches. `urgent` is set once a client waits for one of them."""

    def __init__(
        self,
        facts: Facts,
        first: int,
        last: int,
        asker: Asker,
        epoch: int,
        blocks: dict[int, asyncio.Future[Settled]] | None = None,
    ) -> None:
        """`blocks`: the futures of somebody who waits for them already."""
        loop = asyncio.get_running_loop()
        self.facts = facts
        self.asker = asker
        self.next = first
        self.last = last
        """Moves down when somebody else is handed the end of the run."""
        self.epoch = epoch
        self.is_writing = False
        """The block `next` has come and is being written."""
        self.urgent = asyncio.Event()
        self.blocks = blocks or {n: loop.create_future() for n in range(first, last + 1)}
        self._reading: asyncio.Timeout | None = None
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

    @property
    def is_paced(self) -> bool:
        """A rate cap slows it down: it is a fill's, and no client waits for it."""
        return self.asker.throttle.buffer_bytes is not None and not self.urgent.is_set()

    async def admitted(self) -> int:
        """Waits as the asker's rate cap wants it, unless a client comes to wait too; the bytes that may be read then, taken from the cap."""
        throttle = self.asker.throttle
        count, wait_s = throttle.reserve()
        try:
            if wait_s > 0.0:
                async with asyncio.timeout(wait_s):
                    await self.urgent.wait()
        except TimeoutError:
            return count
        except BaseException:
            throttle.settle(count, 0)
            raise
        return count

    def reading(self, limit: asyncio.Timeout | None) -> None:
        """The body is being read within `limit`."""
        self._reading = limit

    def cut(self, first: int) -> dict[int, asyncio.Future[Settled]]:
        """Blocks from `first` on are no longer this run's business, but for one that has come; whoever waits for them."""
        first = max(first, self.next + self.is_writing)
        gone = {block: self.blocks.pop(block) for block in range(first, self.last + 1)}
        self.last = min(self.last, first - 1)
        if self.next > self.last and not self.is_writing and self._reading is not None and not self._reading.expired():
            self._reading.reschedule(asyncio.get_running_loop().time())
        return gone

    def settle(self, block: int, result: Settled) -> None:
        future = self.blocks[block]
        if not future.done():
            future.set_result(result)
