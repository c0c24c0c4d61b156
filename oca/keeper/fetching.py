"""Getting blocks: one fetch per block per appliance, for any number of waiters (DESIGN §2 "A miss").

Laws:
- A block that is missing is fetched by exactly one run; whoever wants it meanwhile waits for that run's result and is woken by it.
- A run goes from source to source until it has all its blocks; what one source delivered is not asked for again.
- A run goes on when nobody waits any more. What has not been started for anybody else ends with its asker.
- A run that was started for a fill order turns urgent when a client wants one of its blocks: it leaves the queue of the rate cap, and the
  parents of misses are asked too when the order's own sources have failed.
- A block is settled after it was verified and written, never before. Wrong bytes are blamed on the source that sent them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from chassis.clock import Clock
from chassis.logs import get_logger
from contracts.digests import BLOCK_BYTES
from contracts.plans import RankedSource
from contracts.reports import Purpose, Source
from oca.config import Fetching
from oca.keeper.digests import DigestLibrary
from oca.keeper.errors import FetchFailed
from oca.keeper.metrics import KeeperMetrics
from oca.keeper.sourcing import RUN_BLOCKS, SOURCE_OF_KIND, Outcome, SourceMemory, split_run, worst_failure
from oca.keeper.storing import Facts, Held, facts_of
from oca.keeper.upstream import RunAsked, SourceFailed, Upstream
from oca.link.messages import FetchFailure
from oca.store.errors import WrongBlock

MAX_BLOCKS_UNDER_WAY = 8192
AHEAD = 2
"""Runs that one asker has under way at once."""


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


class BlockStore(Protocol):
    """Where blocks are looked for and put: `oca.keeper.storing`, or memory for what there is no room for (`oca.keeper.unstored`)."""

    @property
    def purge_epoch(self) -> int:
        """The epoch a fetch that begins now carries, so that a purge beats it."""

    def held(self, facts: Facts, first: int, last: int) -> Sequence[Held]:
        """What is here of blocks first … last, in rising order."""

    async def expect_room(self, facts: Facts, first: int, last: int, *, must_pin: bool) -> None:
        """Raises FetchFailed(NO_SPACE) when the blocks can surely not be kept."""

    async def write(
        self, facts: Facts, block: int, data: bytes, plan: str | None, *, must_pin: bool, epoch: int
    ) -> Held:
        """Verify and keep one block. Raises WrongBlock, FetchFailed(NO_SPACE)."""


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
    def bytes_left(self) -> int:
        size = self.facts.digests.size_bytes
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


class Fetcher:
    """Joins or starts fetches. All state belongs to one event loop."""

    def __init__(
        self,
        digests: DigestLibrary,
        storing: BlockStore,
        upstream: Upstream,
        parents: Callable[[], Sequence[RankedSource]],
        limits: Fetching,
        metrics: KeeperMetrics,
        clock: Clock,
    ) -> None:
        self._digests = digests
        self._storing = storing
        self._upstream = upstream
        self._parents = parents
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._under_way: dict[tuple[bytes, bytes], dict[int, Run]] = {}
        self._count = 0
        self._memory = SourceMemory()
        self._gates: dict[tuple[str, Purpose], asyncio.Semaphore] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._log = get_logger("oca.keeper.fetching")

    @property
    def blocks_under_way(self) -> int:
        return self._count

    async def facts(self, key: str, version: bytes = b"") -> Facts:
        """What the signed digest list says of `key`. Raises FetchFailed."""
        return facts_of(await self._digests.get(key, version))

    async def blocks(self, facts: Facts, first: int, last: int, asker: Asker) -> AsyncIterator[Fetched]:
        """Blocks first … last in rising order as they are there; neighbours that are held come as one.

        Raises FetchFailed at the first block that cannot be had. Leaving early stops nothing that was started.
        """
        cuts = split_run(first, last, asker.throttle.run_blocks)
        started: list[list[Fetched | asyncio.Future[Settled]]] = []
        for number, _ in enumerate(cuts):
            while len(started) < len(cuts) and len(started) < number + AHEAD:
                started.append(self._start(facts, *cuts[len(started)], asker))
            for piece in started[number]:
                settled = piece if isinstance(piece, Fetched) else await asyncio.shield(piece)
                if isinstance(settled, FetchFailed):
                    raise FetchFailed(settled.why, settled.sentence, not_held=settled.not_held)
                yield settled
            started[number].clear()

    async def close(self) -> None:
        """Ends all runs; who waits hears STOPPING."""
        self._stopping = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- starting and joining --------------------------------------------------------------------------------------

    def _start(self, facts: Facts, first: int, last: int, asker: Asker) -> list[Fetched | asyncio.Future[Settled]]:
        """What is held, under way, or started now, in rising order. No await between looking and starting."""
        pieces: dict[int, Fetched | asyncio.Future[Settled]] = {}
        missing = set(range(first, last + 1))
        for held in self._storing.held(facts, first, last):
            pieces[held.first] = Fetched(held, None)
            missing.difference_update(range(held.first, held.last + 1))
        under_way = self._under_way.get((facts.hashed, facts.version), {})
        for block in sorted(missing):
            run = under_way.get(block)
            if run is not None:
                missing.discard(block)
                pieces[block] = run.blocks[block]
                if asker.purpose is Purpose.CLIENT:
                    run.urgent.set()
                    self._metrics.joined.inc()
        for run_first, run_last in _runs(sorted(missing)):
            pieces.update(self._launch(facts, run_first, run_last, asker))
        return [pieces[block] for block in sorted(pieces)]

    def _launch(self, facts: Facts, first: int, last: int, asker: Asker) -> dict[int, asyncio.Future[Settled]]:
        if self._stopping:
            raise FetchFailed(FetchFailure.STOPPING, "the keeper stops")
        if self._count + last - first + 1 > MAX_BLOCKS_UNDER_WAY:
            raise FetchFailed(FetchFailure.OVERLOADED, f"{self._count} blocks are under way")
        run = Run(facts, first, last, asker, self._storing.purge_epoch)
        self._under_way.setdefault((facts.hashed, facts.version), {}).update(dict.fromkeys(run.blocks, run))
        self._count += len(run.blocks)
        task = asyncio.create_task(self._carry_out(run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return run.blocks

    def _settle(self, run: Run, block: int, result: Settled) -> None:
        under_way = self._under_way[run.facts.hashed, run.facts.version]
        del under_way[block]
        if not under_way:
            del self._under_way[run.facts.hashed, run.facts.version]
        self._count -= 1
        run.settle(block, result)

    # -- a run -----------------------------------------------------------------------------------------------------

    async def _carry_out(self, run: Run) -> None:
        failure = FetchFailed(FetchFailure.STOPPING, "the keeper stops")
        try:
            failure = await self._ask_around(run)
        except FetchFailed as error:
            failure = error
        except Exception:  # noqa: BLE001  the border of a task: counted, logged with traceback, told to who waits
            self._metrics.task_deaths.labels("run").inc()
            self._log.exception("run-died", key=run.facts.key, block=run.next)
            failure = FetchFailed(FetchFailure.UPSTREAM_ERROR, "the fetch died; the keeper's log says why")
        finally:
            for block in range(run.next, run.last + 1):
                self._settle(run, block, failure)
            if run.next <= run.last:
                self._metrics.failures.labels(failure.why.word).inc()

    async def _ask_around(self, run: Run) -> FetchFailed:
        """Ask sources until the run has all its blocks. What it gives matters only when some are left."""
        must_pin = run.asker.purpose is Purpose.FILL
        await self._storing.expect_room(run.facts, run.next, run.last, must_pin=must_pin)
        outcomes: list[tuple[RankedSource, Outcome]] = []
        said: list[str] = []
        asked: set[str] = set()
        pass_began = run.next
        while run.next <= run.last:
            source, last = self._next_source(run, asked)
            if source is None:
                if run.next == pass_began:
                    break
                asked.clear()
                pass_began = run.next
                continue
            asked.add(source.url)
            outcome, sentence = await self._ask(run, source, last=last)
            outcomes.append((source, outcome))
            if sentence:
                said.append(sentence)
        if run.next <= run.last and any(outcome is Outcome.WRONG_BYTES for _, outcome in outcomes):
            self._digests.doubt(run.facts.key)
        not_held = bool(outcomes) and all(outcome is Outcome.NOT_HELD for _, outcome in outcomes)
        sentence = "; ".join(said[-4:]) or "there is nobody to ask"
        return FetchFailed(worst_failure(outcomes), sentence, not_held=not_held)

    def _next_source(self, run: Run, asked: set[str]) -> tuple[RankedSource | None, bool]:
        """Whom to ask next, and whether nobody who is well stands behind it."""
        own = run.asker.sources
        candidates = list(own) if own is not None else list(self._parents())
        if own is not None and run.urgent.is_set():
            candidates += [parent for parent in self._parents() if all(parent.url != s.url for s in own)]
        left = [source for source in candidates if source.url not in asked]
        key, now_s = run.facts.key, self._clock.monotonic_s()
        ordered = self._memory.ordered(left, key, now_s)
        behind = [
            s
            for s in ordered[1:]
            if not self._memory.is_resting(s, now_s) and not self._memory.is_blamed(s, key, now_s)
        ]
        return (ordered[0] if ordered else None, not behind)

    async def _ask(self, run: Run, source: RankedSource, *, last: bool) -> tuple[Outcome, str]:
        """One request to one source; `run.next` says how far it came. Raises FetchFailed when the store refuses."""
        kind, purpose = SOURCE_OF_KIND[source.kind], run.asker.purpose
        outcome, sentence = Outcome.DONE, ""
        async with self._gate(source, run):
            taken = await run.slow_down()
            asked = RunAsked(run.facts.key, run.facts.digests.size_bytes, run.next, run.last)
            self._metrics.requests.labels(kind.value, purpose.value).inc()
            self._metrics.source_requests[kind, purpose] += 1
            try:
                async with self._upstream.open(source, asked, last=last) as body:
                    for number in range(asked.first, asked.last + 1):
                        await self._take(run, kind, number, await body.block(number))
            except SourceFailed as error:
                outcome, sentence = error.outcome, str(error)
            except WrongBlock as error:
                outcome, sentence = Outcome.WRONG_BYTES, f"{source.name} sent wrong bytes: {error}"
                self._log.error("wrong-bytes", source=source.name, url=source.url, key=asked.key, block=run.next)
            finally:
                if taken:
                    run.asker.throttle.give_back(run.bytes_left)
        self._memory.note(source, asked.key, outcome, self._clock.monotonic_s())
        self._metrics.outcomes.labels(kind.value, outcome.word).inc()
        return outcome, sentence

    async def _take(self, run: Run, kind: Source, number: int, data: bytes) -> None:
        """Verify, write, wake. Bytes count as fetched when they came, right or wrong."""
        purpose = run.asker.purpose
        self._metrics.fetched.labels(kind.value, purpose.value).inc(len(data))
        self._metrics.source_bytes[kind, purpose] += len(data)
        held = await self._storing.write(
            run.facts, number, data, run.asker.plan, must_pin=purpose is Purpose.FILL, epoch=run.epoch
        )
        run.next = number + 1
        self._settle(run, number, Fetched(held, kind))

    @asynccontextmanager
    async def _gate(self, source: RankedSource, run: Run) -> AsyncIterator[None]:
        """A place among the fetches from one source at once. A fill that turns urgent leaves the fills' queue."""
        if run.urgent.is_set() or not await self._fill_place(source, run):
            gate = self._gate_of(source, Purpose.CLIENT)
            await gate.acquire()
        else:
            gate = self._gate_of(source, Purpose.FILL)
        try:
            yield
        finally:
            gate.release()

    async def _fill_place(self, source: RankedSource, run: Run) -> bool:
        """True with a place among the fills; False without one, because a client waits."""
        acquiring = asyncio.ensure_future(self._gate_of(source, Purpose.FILL).acquire())
        hurrying = asyncio.ensure_future(run.urgent.wait())
        try:
            await asyncio.wait((acquiring, hurrying), return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurrying.cancel()
            acquiring.cancel()
        return acquiring.done() and not acquiring.cancelled()

    def _gate_of(self, source: RankedSource, purpose: Purpose) -> asyncio.Semaphore:
        limit = self._limits.fill_fetches if purpose is Purpose.FILL else self._limits.client_fetches
        return self._gates.setdefault((source.url, purpose), asyncio.Semaphore(limit))


def _runs(blocks: Sequence[int]) -> list[tuple[int, int]]:
    """Rising numbers as inclusive runs."""
    runs: list[tuple[int, int]] = []
    for block in blocks:
        if runs and runs[-1][1] == block - 1:
            runs[-1] = (runs[-1][0], block)
        else:
            runs.append((block, block))
    return runs
