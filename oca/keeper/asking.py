"""Asking sources for a run, one after the other, until it has all its blocks.

Laws
- Parents of misses are asked peers first, then tiers, then origins, those of one kind by rendezvous (`sourcing.spread`); an order's own
  sources as the plan ranks them. What one source delivered is not asked for again.
- At most so many requests to one source at once (`client_fetches`, `fill_fetches`): a storm of misses reaches it as a trickle. Who waits for
  a place waits in order; a fill that turns urgent leaves the fills' queue.
- Every wait is bounded: connecting, the first byte, silence, a whole request.
- A source that fails again and again is left in peace (`circuits`), and failures do not multiply requests (`budget`).
- For a client a second source is asked beside one whose first byte is late (`firstbytes`); the first to begin is taken, the other is given up.
  Beside a peer of the same site one outside it is asked later than another peer: its bytes cross the border (`sourcing.hedging`).
  Whatever comes is judged by its digests, so that it does not matter who sent it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from chassis.clock import Clock
from chassis.logs import get_logger
from contracts.digests import block_length
from contracts.plans import RankedSource, SourceKind
from contracts.reports import Purpose, Source
from oca.config import Fetching
from oca.keeper.budget import RetryBudget
from oca.keeper.circuits import Circuits, CircuitState
from oca.keeper.firstbytes import FirstBytes
from oca.keeper.metrics import KeeperMetrics
from oca.keeper.runs import Run
from oca.keeper.sourcing import FAULTS, SOURCE_OF_KIND, Outcome, SourceMemory, hedging, spread, worst_failure
from oca.keeper.upstream import Body, RunAsked, SourceFailed, Upstream
from oca.link.messages import FetchFailure
from oca.store.errors import WrongBlock

Take = Callable[[Run, Source, int, bytes], Awaitable[None]]
"""Verifies and writes a block. Raises WrongBlock, FetchFailed."""


@dataclass(slots=True)
class Answers:
    """How the sources of a run answered, and what is to be said of it when it has failed."""

    outcomes: list[tuple[RankedSource, Outcome]] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)

    @property
    def failure(self) -> FetchFailure:
        return worst_failure(self.outcomes)

    @property
    def has_wrong_bytes(self) -> bool:
        return any(outcome is Outcome.WRONG_BYTES for _, outcome in self.outcomes)

    @property
    def not_held(self) -> bool:
        """Every source was asked and answers, and none has it yet."""
        return bool(self.outcomes) and all(outcome is Outcome.NOT_HELD for _, outcome in self.outcomes)

    @property
    def sentence(self) -> str:
        return "; ".join(self.sentences[-4:]) or "there is nobody to ask"

    def add(self, source: RankedSource, outcome: Outcome, sentence: str) -> None:
        self.outcomes.append((source, outcome))
        if sentence:
            self.sentences.append(sentence)


@dataclass(slots=True)
class _Opening:
    """A request whose answer has not begun."""

    source: RankedSource
    manager: AbstractAsyncContextManager[Body]
    task: asyncio.Task[Body]
    began: float


class Sources:
    """All that the keeper asks, and what it remembers of them. State belongs to one event loop."""

    def __init__(
        self,
        upstream: Upstream,
        parents: Callable[[], Sequence[RankedSource]],
        limits: Fetching,
        metrics: KeeperMetrics,
        clock: Clock,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._upstream = upstream
        self._parents = parents
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._memory = SourceMemory()
        self._circuits = Circuits(draw)
        self._budgets = {purpose: RetryBudget(limits.retry_share) for purpose in Purpose}
        self._first_bytes = FirstBytes()
        self._gates: dict[tuple[str, Purpose], asyncio.Semaphore] = {}
        self._log = get_logger("oca.keeper.asking")

    @property
    def open_circuits(self) -> list[str]:
        """URLs of sources that are left in peace now."""
        return self._circuits.open_urls(self._clock.monotonic_s())

    @property
    def blamed(self) -> list[tuple[str, str]]:
        """(URL, key) of sources that sent wrong bytes lately."""
        return self._memory.blamed(self._clock.monotonic_s())

    async def ask_around(self, run: Run, take: Take) -> Answers:
        """Ask sources until the run has all its blocks, or nobody is left. Raises FetchFailed when the store refuses."""
        answers = Answers()
        asked: set[str] = set()
        pass_began = run.next
        budget = self._budgets[run.asker.purpose]
        budget.earn(self._clock.monotonic_s())
        while run.next <= run.last:
            source, last = self._next(run, asked)
            if source is None:
                if run.next == pass_began:
                    break
                asked.clear()
                pass_began = run.next
                continue
            asked.add(source.url)
            now = self._clock.monotonic_s()
            if not self._circuits.admit(source.url, now):
                self._count(source, Outcome.CIRCUIT_OPEN)
                answers.add(source, Outcome.CIRCUIT_OPEN, f"{source.name} failed again and again and is left in peace")
                continue
            if answers.outcomes and answers.outcomes[-1][1] in FAULTS and not budget.spend(now):
                self._circuits.spare(source.url)
                self._metrics.retries_refused.inc()
                answers.sentences.append(f"{source.name} was not asked: too many requests have failed lately")
                break
            await self._ask(run, source, take, answers, asked, last=last)
        return answers

    # -- whom ------------------------------------------------------------------------------------------------------

    def _next(self, run: Run, asked: set[str]) -> tuple[RankedSource | None, bool]:
        """Whom to ask next, and whether nobody who is well stands behind it."""
        ordered = self._left(run, asked)
        if not ordered:
            return None, True
        return ordered[0], not any(self.is_well(source, run.facts.key) for source in ordered[1:])

    def _left(self, run: Run, asked: set[str]) -> list[RankedSource]:
        """Those that were not asked yet, as they should be."""
        own, key = run.asker.sources, run.facts.key
        candidates = spread(self._parents(), key) if own is None else list(own)
        if own is not None and run.urgent.is_set():
            urls = {source.url for source in own}
            candidates += [parent for parent in spread(self._parents(), key) if parent.url not in urls]
        left = [source for source in candidates if source.url not in asked]
        return self.ordered(left, key)

    def ordered(self, sources: Sequence[RankedSource], key: str) -> list[RankedSource]:
        """The same sources for a file: as ranked, then those that rest, then those that sent wrong bytes."""
        return self._memory.ordered(sources, key, self._clock.monotonic_s())

    def is_well(self, source: RankedSource, key: str) -> bool:
        """It neither rests, nor is blamed for this file, nor left in peace."""
        now = self._clock.monotonic_s()
        return (
            not self._memory.is_resting(source, now)
            and not self._memory.is_blamed(source, key, now)
            and self._circuits.state(source.url, now) is CircuitState.CLOSED
        )

    def _beside(self, run: Run, asked: set[str], *, far: bool) -> RankedSource | None:
        """Whom to ask beside a source whose first byte is late: one who is well and has a place free, if the budget allows it; without
        `far` a peer of the same site."""
        for source in self._left(run, asked):
            if source.kind is not SourceKind.PEER and not far:
                continue
            if self.is_well(source, run.facts.key) and not self._gate_of(source, Purpose.CLIENT).locked():
                if self._budgets[run.asker.purpose].spend(self._clock.monotonic_s()):
                    return source
                self._metrics.retries_refused.inc()
                return None
        return None

    # -- one of them -----------------------------------------------------------------------------------------------

    async def _ask(
        self, run: Run, source: RankedSource, take: Take, answers: Answers, asked: set[str], *, last: bool
    ) -> None:
        """One request, maybe with another beside it; `run.next` says how far it came. Raises FetchFailed when the store refuses."""
        outcome, sentence = Outcome.DONE, ""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._gate(source, run))
            if run.next > run.last:
                return  # somebody else was handed all of it meanwhile
            try:
                wanted = RunAsked(run.facts.key, run.size_bytes, run.next, run.last, run.asker.credential)
                if run.urgent.is_set() and self._limits.hedge_s:
                    source, body = await self._race(stack, run, source, wanted, answers, asked, last=last)
                else:
                    body = await self._open(stack, run, source, wanted, last=last)
                await self._read(run, SOURCE_OF_KIND[source.kind], wanted, body, take)
            except SourceFailed as error:
                source = error.asked or source
                outcome, sentence = error.outcome, str(error)
            except WrongBlock as error:
                outcome, sentence = Outcome.WRONG_BYTES, f"{source.name} sent wrong bytes: {error}"
                self._log.error("wrong-bytes", source=source.name, url=source.url, key=run.facts.key, block=run.next)
            finally:
                self._circuits.spare(source.url)
        self._note(run, source, outcome, sentence, answers)

    async def _read(self, run: Run, kind: Source, wanted: RunAsked, body: Body, take: Take) -> None:
        """Block after block; only the waiting for the source counts against its time. Raises SourceFailed, FetchFailed, WrongBlock."""
        left_s = self._limits.request_s
        try:
            for number in range(wanted.first, wanted.last + 1):
                if number > run.last:
                    return
                data, left_s = await self._block(run, body, number, left_s)
                if number > run.last:
                    return
                await take(run, kind, number, data)
        finally:
            if run.asker.throttle.buffer_bytes is not None:
                run.asker.throttle.settle(0, body.arrived() + body.may_still_come())

    async def _block(self, run: Run, body: Body, number: int, left_s: float) -> tuple[bytes, float]:
        """A block, and how long the request may still take. A fill's is read in pieces, as the rate cap allows."""
        length = block_length(run.size_bytes, number)
        data = bytearray()
        while len(data) < length:
            left = length - len(data)
            reserved = await run.admitted() if run.is_paced else 0
            began = self._clock.monotonic_s()
            try:
                async with asyncio.timeout(left_s) as limit:
                    run.reading(limit)
                    if left == length and not reserved:
                        return await body.block(number), left_s - (self._clock.monotonic_s() - began)
                    data += await body.piece(number, min(left, reserved or left))
            except TimeoutError as error:
                raise self._too_late(run, number) from error
            finally:
                run.reading(None)
                if reserved:
                    run.asker.throttle.settle(reserved, body.arrived())
            left_s -= self._clock.monotonic_s() - began
        return bytes(data), left_s

    def _too_late(self, run: Run, number: int) -> SourceFailed:
        if number > run.last:
            return SourceFailed(Outcome.OVERTAKEN, f"block {number} was handed to another source")
        return SourceFailed(Outcome.TOO_SLOW, f"the request took more than {self._limits.request_s:g} s")

    async def _open(
        self, stack: AsyncExitStack, run: Run, source: RankedSource, wanted: RunAsked, *, last: bool
    ) -> Body:
        self._count_request(run, source)
        began = self._clock.monotonic_s()
        body = await stack.enter_async_context(
            self._upstream.open(source, wanted, last=last, unread_bytes=_unread_bytes(run))
        )
        self._first_bytes.note(source.url, self._clock.monotonic_s() - began)
        return body

    async def _race(
        self,
        stack: AsyncExitStack,
        run: Run,
        source: RankedSource,
        wanted: RunAsked,
        answers: Answers,
        asked: set[str],
        *,
        last: bool,
    ) -> tuple[RankedSource, Body]:
        """The answer that begins first, of `source` or of one asked beside it. Raises SourceFailed of the one that failed last."""
        openings = [self._start(run, source, wanted, last=last)]
        try:
            beside = await self._late(run, openings[0], asked)
            if beside is not None:
                gate = self._gate_of(beside, Purpose.CLIENT)
                await gate.acquire()  # at once: it was not locked
                stack.callback(gate.release)
                asked.add(beside.url)
                is_last = not any(self.is_well(other, run.facts.key) for other in self._left(run, asked))
                openings.append(self._start(run, beside, wanted, last=is_last))
            while True:
                await asyncio.wait([one.task for one in openings], return_when=asyncio.FIRST_COMPLETED)
                first = next(one for one in openings if one.task.done())
                openings.remove(first)
                took_s = self._clock.monotonic_s() - first.began
                error = first.task.exception()
                if error is None:
                    stack.push_async_exit(first.manager)
                    self._first_bytes.note(first.source.url, took_s)
                    if beside is not None:
                        self._metrics.hedges.labels("won" if first.source is beside else "lost").inc()
                    return first.source, first.task.result()
                if not isinstance(error, SourceFailed):
                    raise error
                error.asked = first.source
                if not openings:
                    raise error
                self._note(run, first.source, error.outcome, str(error), answers)
        finally:
            for one in openings:
                await self._give_up(one)

    async def _late(self, run: Run, opening: _Opening, asked: set[str]) -> RankedSource | None:
        """Whom to ask beside a source whose first byte is late; None once it has come, or when there is nobody."""
        limits, source = self._limits, opening.source
        usual_s = self._first_bytes.late_s(source.url, limits.hedge_s, limits.first_byte_s)
        for late_s, far in hedging(source.kind, usual_s, limits.hedge_far_s):
            left_s = opening.began + late_s - self._clock.monotonic_s()
            await asyncio.wait([opening.task], timeout=max(0.0, left_s))
            if opening.task.done():
                return None
            beside = self._beside(run, asked, far=far)
            if beside is not None:
                return beside
        return None

    def _start(self, run: Run, source: RankedSource, wanted: RunAsked, *, last: bool) -> _Opening:
        self._count_request(run, source)
        manager = self._upstream.open(source, wanted, last=last, unread_bytes=_unread_bytes(run))

        async def enter() -> Body:
            return await manager.__aenter__()

        return _Opening(source, manager, asyncio.create_task(enter()), self._clock.monotonic_s())

    async def _give_up(self, one: _Opening) -> None:
        """Nobody needs its answer any more."""
        self._circuits.spare(one.source.url)
        self._first_bytes.note(one.source.url, self._clock.monotonic_s() - one.began)
        one.task.cancel()
        await asyncio.wait([one.task])
        if not one.task.cancelled() and one.task.exception() is None:
            await one.manager.__aexit__(None, None, None)

    # -- places ----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _gate(self, source: RankedSource, run: Run) -> AsyncIterator[None]:
        """A place among the fetches from one source at once. A fill that turns urgent leaves the fills' queue."""
        async with AsyncExitStack() as places:
            if run.urgent.is_set() or not await self._has_fill_place(places, source, run):
                await places.enter_async_context(self._gate_of(source, Purpose.CLIENT))
            yield

    async def _has_fill_place(self, places: AsyncExitStack, source: RankedSource, run: Run) -> bool:
        """True with a place among the fills, from this source and in all, in `places`; False without one, because a client waits."""
        for gate in (self._gate_of(source, Purpose.FILL), run.asker.throttle.place()):
            entering = asyncio.ensure_future(places.enter_async_context(gate))
            hurrying = asyncio.ensure_future(run.urgent.wait())
            try:
                await asyncio.wait((entering, hurrying), return_when=asyncio.FIRST_COMPLETED)
            finally:
                hurrying.cancel()
                entering.cancel()
            if not entering.done() or entering.cancelled():
                return False
        return True

    def _gate_of(self, source: RankedSource, purpose: Purpose) -> asyncio.Semaphore:
        limit = self._limits.fill_fetches if purpose is Purpose.FILL else self._limits.client_fetches
        return self._gates.setdefault((source.url, purpose), asyncio.Semaphore(limit))

    # -- what is remembered ------------------------------------------------------------------------------------------

    def _note(self, run: Run, source: RankedSource, outcome: Outcome, sentence: str, answers: Answers) -> None:
        now = self._clock.monotonic_s()
        answers.add(source, outcome, sentence)
        self._memory.note(source, run.facts.key, outcome, now)
        self._count(source, outcome)
        changed = self._circuits.note(source.url, failed=outcome in FAULTS, now=now)
        if changed is not None:
            self._log.warning("circuit", source=source.name, url=source.url, state=changed.value, why=outcome.word)

    def _count(self, source: RankedSource, outcome: Outcome) -> None:
        self._metrics.outcomes.labels(SOURCE_OF_KIND[source.kind].value, outcome.word).inc()

    def _count_request(self, run: Run, source: RankedSource) -> None:
        kind, purpose = SOURCE_OF_KIND[source.kind], run.asker.purpose
        self._metrics.requests.labels(kind.value, purpose.value).inc()
        self._metrics.source_requests[kind, purpose] += 1


def _unread_bytes(run: Run) -> int | None:
    """What the connection of a paced run may hold unread."""
    return run.asker.throttle.buffer_bytes if run.is_paced else None
