"""One file filled from several sources at once: `division` decides who is asked for what, `fetching` fetches.

Laws
- Sources of one kind work side by side; the next kind is asked only for what none of them gives. So what a peer of the site holds never crosses the border.
- A source begins with one request and has a second one beside it once its first block was verified: who sends wrong bytes is found out by one block.
- One that failed is asked no more for this file in this round; one that is blamed or rests stands behind all that are well.
- What was promised of the plan's volume and did not come is given back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from chassis.clock import Clock
from contracts.digests import block_length
from contracts.plans import RankedSource
from contracts.reports import Purpose, Source
from oca.keeper.asking import Sources
from oca.keeper.division import Blocks, Division
from oca.keeper.errors import FetchFailed
from oca.keeper.fetching import Fetcher
from oca.keeper.following import happened
from oca.keeper.runs import Asker, Throttle
from oca.keeper.storing import PINNED_BY_PLAN, Facts
from oca.link.messages import FetchFailure

LANES_PER_SOURCE = 2
"""So that one request is under way while the next one is asked."""
LOOK_EVERY_S = 0.25
LACKING_RUNS = 2
"""A source that does not hold so many runs in a row is being filled itself: it is asked again in the next round, not for run after run."""
_NOT_THE_SOURCES = frozenset(
    {FetchFailure.NO_SPACE, FetchFailure.STOPPING, FetchFailure.OVERLOADED, FetchFailure.NO_DIGESTS}
)


class Terms(Protocol):
    """What the plan says of an order while it is being filled."""

    def may_go_on(self) -> bool:
        """The window is open, the volume lasts, and the plan still wants the file."""

    def sources(self) -> Sequence[RankedSource]:
        """Those that may be asked now, as ranked."""

    def grant(self, lengths: Sequence[int]) -> int:
        """How many blocks of these lengths, from the first on, may be asked for."""

    def give_back(self, count_bytes: int) -> None:
        """So much of what was granted has come, or will not."""

    def came(self, source: Source | None, count_bytes: int) -> None:
        """A block is there; None: it was there already."""


@dataclass(slots=True, eq=False)
class _Part:
    """A run under way. `last` moves down when another source takes over its end."""

    url: str
    first: int
    last: int


class Lanes:
    """Fills the `missing` blocks of one file."""

    def __init__(
        self,
        fetcher: Fetcher,
        asking: Sources,
        facts: Facts,
        missing: Sequence[Blocks],
        terms: Terms,
        throttle: Throttle,
        clock: Clock,
        credential: str = "",
    ) -> None:
        """`credential` is what peers and tiers are shown."""
        self._fetcher = fetcher
        self._asking = asking
        self._facts = facts
        self._terms = terms
        self._throttle = throttle
        self._clock = clock
        self._credential = credential
        self._division = Division(missing, throttle.run_blocks)
        self._failures: dict[str, FetchFailed] = {}
        self._fatal: FetchFailed | None = None
        self._lacking_runs: dict[str, int] = {}
        self._count: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._parts: list[_Part] = []
        self._moved = asyncio.Event()
        self._has_volume = True

    async def run(self) -> bool:
        """True when all is there, False when it may not go on. Raises FetchFailed when nobody who may be asked gives what is left."""
        while not self._division.is_done:
            if not (self._has_volume and self._terms.may_go_on()):
                return False
            group = self._next_group()
            if not group:
                raise self._failure()
            await self._work(group)
            if self._fatal is not None:
                raise self._fatal
        return True

    # -- whom ------------------------------------------------------------------------------------------------------

    def _next_group(self) -> list[RankedSource]:
        """The best sources that may hold what waits, all of one kind."""
        key = self._facts.key
        usable = [
            source
            for source in self._terms.sources()
            if self._may_ask(source.url) and self._division.offers(source.url)
        ]
        if not usable:
            return []
        ordered = self._asking.ordered(usable, key)
        best = ordered[0]
        return [best, *(one for one in ordered[1:] if one.kind is best.kind and self._asking.is_well(one, key))]

    def _may_ask(self, url: str) -> bool:
        return url not in self._failures and self._lacking_runs.get(url, 0) < LACKING_RUNS

    def _failure(self) -> FetchFailed:
        """What is said of an order that nobody could fill: the last fault where there was one."""
        faults = [error for error in self._failures.values() if not error.not_held]
        if faults:
            sentence = "; ".join(dict.fromkeys(error.sentence for error in faults))
            return FetchFailed(faults[-1].why, sentence)
        lacking = bool(self._count)
        sentence = "no source holds it yet" if lacking else "there is nobody to ask"
        return FetchFailed(FetchFailure.UPSTREAM_UNREACHABLE, sentence, not_held=lacking)

    # -- lanes -----------------------------------------------------------------------------------------------------

    async def _work(self, group: Sequence[RankedSource]) -> None:
        """Until no lane has anything to do."""
        for source in group:
            self._open(source)
        try:
            while self._tasks:
                ended, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                self._tasks -= ended
                for task in ended:
                    task.result()
        finally:
            tasks, self._tasks = self._tasks, set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._count = dict.fromkeys(self._count, 0)

    def _open(self, source: RankedSource) -> None:
        self._count[source.url] = self._count.get(source.url, 0) + 1
        self._tasks.add(asyncio.create_task(self._lane(source)))

    async def _lane(self, source: RankedSource) -> None:
        url = source.url
        while self._fatal is None and self._may_ask(url) and self._terms.may_go_on():
            run = self._division.take(url, self._clock.monotonic_s())
            overtakes = None if run is not None else self._division.overtake(url, self._clock.monotonic_s())
            if run is not None:
                run = self._granted(source, run)
                if run is None:
                    return
                await self._fetch(source, run)
            elif overtakes is not None:
                slower, run = overtakes
                self._relieve(slower, run)
                self._fetcher.hand_over(self._facts, *run, self._asker(source))
                await self._fetch(source, run)
            elif not self._division.may_help(url):
                return
            else:
                self._moved.clear()
                await happened(self._moved, self._clock, LOOK_EVERY_S)

    def _granted(self, source: RankedSource, run: Blocks) -> Blocks | None:
        """What of a run the volume allows; None when that is nothing."""
        size, first = self._facts.size_bytes, run[0]
        count = self._terms.grant([block_length(size, block) for block in range(first, run[1] + 1)])
        last = first + count - 1
        if last < run[1]:
            self._division.back(source.url, (last + 1, run[1]))
        self._has_volume = count > 0
        return (first, last) if count else None

    def _relieve(self, url: str, run: Blocks) -> None:
        """What another source takes over is no longer due from this one."""
        for part in self._parts:
            if part.url == url and part.first <= run[1]:
                part.last = min(part.last, run[0] - 1)

    async def _fetch(self, source: RankedSource, run: Blocks) -> None:
        """One run of one source; `_failures` and `_fatal` say what went wrong."""
        url, due, lacking = source.url, run[0], False
        part = _Part(url, *run)
        self._parts.append(part)
        try:
            async for fetched in self._fetcher.blocks(self._facts, *run, self._asker(source)):
                for block in range(fetched.held.first, fetched.held.last + 1):
                    self._came(url, block, fetched.source)
                due = fetched.held.last + 1
                self._lacking_runs[url] = 0
                self._moved.set()
                if self._count[url] < LANES_PER_SOURCE and fetched.source is not None:
                    self._open(source)
                if not self._terms.may_go_on():
                    return
        except FetchFailed as error:
            # A block that was taken over fails by the source that took it.
            own = due <= part.last
            lacking = own and error.not_held
            self._lacking_runs[url] = self._lacking_runs.get(url, 0) + lacking
            if error.why in _NOT_THE_SOURCES:
                self._fatal = error
            elif own and not lacking:
                self._failures[url] = error
        finally:
            self._parts.remove(part)
            left = self._division.back(url, (part.first, part.last), lacking=lacking)
            self._terms.give_back(self._length(left))
            self._moved.set()

    def _came(self, url: str, block: int, source: Source | None) -> None:
        if self._division.came(url, block, self._clock.monotonic_s()):
            length = self._length([block])
            self._terms.came(source, length)
            self._terms.give_back(length)

    def _length(self, blocks: Sequence[int]) -> int:
        return sum(block_length(self._facts.size_bytes, block) for block in blocks)

    def _asker(self, source: RankedSource) -> Asker:
        return Asker(Purpose.FILL, (source,), self._throttle, PINNED_BY_PLAN, self._credential)
