"""Getting blocks: one fetch per block per appliance, for any number of waiters (DESIGN §2 "A miss").

Laws:
- A block that is missing is fetched by exactly one run; whoever wants it meanwhile waits for that run's result and is woken by it.
- A run goes from source to source until it has all its blocks; what one source delivered is not asked for again.
- A run goes on when nobody waits any more. What has not been started for anybody else ends with its asker.
- A run that was started for a fill order turns urgent when a client wants one of its blocks: it leaves the queue of the rate cap, and the
  parents of misses are asked too when the order's own sources have failed.
- A fill's run gives its last blocks up to another one, or ends, when it is told so; a client's, and an urgent one, never. Who waits for a block that
  changes hands waits on.
- A block is settled after it was verified and written, never before. Wrong bytes are blamed on the source that sent them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from chassis.logs import get_logger
from contracts.reports import Purpose, Source
from oca.keeper.asking import Sources
from oca.keeper.digests import DigestLibrary
from oca.keeper.errors import FetchFailed
from oca.keeper.metrics import KeeperMetrics
from oca.keeper.runs import Asker, Fetched, Run, Settled
from oca.keeper.sourcing import split_run
from oca.keeper.storing import Facts, Held, facts_of
from oca.link.messages import FetchFailure
from oca.store.errors import Purged

MAX_BLOCKS_UNDER_WAY = 8192
AHEAD = 2
"""Runs that one asker has under way at once."""


class BlockStore(Protocol):
    """Where blocks are looked for and put: `oca.keeper.storing`, or memory for what there is no room for (`oca.keeper.unstored`)."""

    @property
    def purge_epoch(self) -> int:
        """The current one."""

    def held(self, facts: Facts, first: int, last: int) -> Sequence[Held]:
        """What is here of blocks first … last, in rising order."""

    async def expect_room(self, facts: Facts, first: int, last: int, *, must_pin: bool) -> None:
        """Raises FetchFailed(NO_SPACE) when the blocks can surely not be kept."""

    async def renew(self, facts: Facts) -> int:
        """What is held of this version was found to be current."""

    async def write(
        self, facts: Facts, block: int, data: bytes, plan: str | None, *, must_pin: bool, epoch: int
    ) -> Held:
        """Verify and keep one block. Raises WrongBlock, FetchFailed(NO_SPACE), Purged (the facts are of before a purge)."""


class Fetcher:
    """Joins or starts fetches. All state belongs to one event loop."""

    def __init__(
        self,
        digests: DigestLibrary,
        storing: BlockStore,
        sources: Sources,
        metrics: KeeperMetrics,
    ) -> None:
        self._digests = digests
        self._storing = storing
        self._sources = sources
        self._metrics = metrics
        self._under_way: dict[tuple[bytes, bytes], dict[int, Run]] = {}
        self._count = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._log = get_logger("oca.keeper.fetching")

    @property
    def blocks_under_way(self) -> int:
        return self._count

    async def facts(self, key: str, version: bytes = b"") -> Facts:
        """What the signed digest list says of `key`. Raises FetchFailed."""
        known = await self._digests.known(key, version)
        facts = facts_of(known.digests, known.epoch, stale=known.stale)
        await self._storing.renew(facts)
        return facts

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

    def hand_over(self, facts: Facts, first: int, last: int, asker: Asker) -> None:
        """Blocks first … last, as far as fills fetch them and they have not come, are fetched by runs of `asker` from now on."""
        under_way = self._under_way.get((facts.hashed, facts.version), {})
        for run in dict.fromkeys(run for block, run in under_way.items() if first <= block <= last):
            blocks = run.cut(first) if _may_be_cut(run) else {}
            if blocks:
                successor = Run(run.facts, min(blocks), max(blocks), asker, run.epoch, blocks)
                under_way.update(dict.fromkeys(blocks, successor))
                self._begin(successor)

    def end_fills(self, facts: Facts, sentence: str) -> None:
        """What fills fetch of this version and no client waits for is given up at once; who waits hears STOPPING with `sentence`."""
        under_way = self._under_way.get((facts.hashed, facts.version), {})
        for run in dict.fromkeys(under_way.values()):
            if _may_be_cut(run):
                for block, future in run.cut(run.next).items():
                    self._forget(run, block)
                    if not future.done():
                        future.set_result(FetchFailed(FetchFailure.STOPPING, sentence))

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
        run = Run(facts, first, last, asker, facts.epoch)
        self._under_way.setdefault((facts.hashed, facts.version), {}).update(dict.fromkeys(run.blocks, run))
        self._count += len(run.blocks)
        self._begin(run)
        return dict(run.blocks)

    def _begin(self, run: Run) -> None:
        task = asyncio.create_task(self._carry_out(run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _settle(self, run: Run, block: int, result: Settled) -> None:
        self._forget(run, block)
        run.settle(block, result)

    def _forget(self, run: Run, block: int) -> None:
        """The block is no longer under way."""
        under_way = self._under_way[run.facts.hashed, run.facts.version]
        del under_way[block]
        if not under_way:
            del self._under_way[run.facts.hashed, run.facts.version]
        self._count -= 1

    # -- a run -----------------------------------------------------------------------------------------------------

    async def _carry_out(self, run: Run) -> None:
        failure = FetchFailed(FetchFailure.STOPPING, "the keeper stops")
        try:
            failure = await self._obtain(run)
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

    async def _obtain(self, run: Run) -> FetchFailed:
        """What it gives matters only when blocks are left."""
        must_pin = run.asker.purpose is Purpose.FILL
        await self._storing.expect_room(run.facts, run.next, run.last, must_pin=must_pin)
        while True:
            try:
                answers = await self._sources.ask_around(run, self._take)
                break
            except Purged as error:
                await self._learn_again(run, error)
        if run.next <= run.last and answers.has_wrong_bytes:
            self._digests.doubt(run.facts.key)
        return FetchFailed(answers.failure, answers.sentence, not_held=answers.not_held)

    async def _learn_again(self, run: Run, error: Purged) -> None:
        """A purge named the file while its blocks were under way: they are fetched anew by what is published now. Raises FetchFailed."""
        before = run.epoch
        run.facts = await self.facts(run.facts.key, run.facts.version)
        run.epoch = run.facts.epoch
        if run.epoch <= before:
            raise FetchFailed(FetchFailure.NO_DIGESTS, f"{error}, and the control plane cannot be asked") from error

    async def _take(self, run: Run, kind: Source, number: int, data: bytes) -> None:
        """Verify, write, wake. Bytes count as fetched when they came, right or wrong."""
        purpose = run.asker.purpose
        self._metrics.fetched.labels(kind.value, purpose.value).inc(len(data))
        self._metrics.source_bytes[kind, purpose] += len(data)
        run.is_writing = True
        try:
            held = await self._storing.write(
                run.facts, number, data, run.asker.plan, must_pin=purpose is Purpose.FILL, epoch=run.epoch
            )
        finally:
            run.is_writing = False
        run.next = number + 1
        self._settle(run, number, Fetched(held, kind))


def _may_be_cut(run: Run) -> bool:
    return run.asker.purpose is Purpose.FILL and not run.urgent.is_set()


def _runs(blocks: Sequence[int]) -> list[tuple[int, int]]:
    """Rising numbers as inclusive runs."""
    runs: list[tuple[int, int]] = []
    for block in blocks:
        if runs and runs[-1][1] == block - 1:
            runs[-1] = (runs[-1][0], block)
        else:
            runs.append((block, block))
    return runs
