"""What workers want: one task per `Want`, answers as blocks come, nothing stopped when a worker leaves.

A prefetch hint (`Want.hint`) is followed only while few others are, and dropped without a word otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from chassis.logs import get_logger
from contracts.digests import block_count
from contracts.reports import Purpose
from oca.keeper.errors import FetchFailed
from oca.keeper.fetching import Fetcher
from oca.keeper.metrics import KeeperMetrics
from oca.keeper.pulling import Pulling
from oca.keeper.runs import Asker
from oca.keeper.storing import Held, Storable
from oca.link.messages import Done, Failed, FetchFailure, Head, Ready, Reload, ReloadWhat, Served, Unreadable, Want
from oca.link.server import Link
from oca.store.pulled import PulledObject, pack_pulled

MAX_WANTS = 20_000
MAX_REFRESHES = 256
"""Hints followed at once while some of them are pulled objects that were served stale."""


class Traffic(Protocol):
    """Who takes the workers' accounting."""

    def served(self, worker: int, served: Served) -> None: ...

    def left(self, worker: int) -> None: ...


class Misses:
    """The handler of the link."""

    def __init__(
        self,
        fetcher: Fetcher,
        traffic: Traffic,
        plan_of: Callable[[str], str | None],
        prefetches: int,
        metrics: KeeperMetrics,
        pulling: Pulling,
    ) -> None:
        """`plan_of(key)` names the plan that wants the key kept, so that a miss on it is stored pinned."""
        self._pulling = pulling
        self._fetcher = fetcher
        self._traffic = traffic
        self._plan_of = plan_of
        self._prefetches = prefetches
        self._metrics = metrics
        self._tasks: dict[tuple[Link, int], asyncio.Task[None]] = {}
        self._hints: set[asyncio.Task[None]] = set()
        self._log = get_logger("oca.keeper.misses")
        self.on_worker_left: Callable[[], None] = lambda: None
        self.on_unreadable: Callable[[int, int], None] = lambda _disk, _extent_id: None

    @property
    def waiting(self) -> int:
        return len(self._tasks)

    def joined(self, link: Link) -> None:
        self._log.info("worker-joined", worker=link.worker, worker_pid=link.worker_pid)
        # What changed while it was not linked it could not hear.
        for what in (ReloadWhat.TLS, ReloadWhat.KEYS, ReloadWhat.STATE):
            link.send(Reload(what))

    def wanted(self, link: Link, want: Want) -> None:
        if want.hint:
            self._hint(want)
        elif len(self._tasks) >= MAX_WANTS or (link, want.request) in self._tasks:
            self._metrics.wants.labels(FetchFailure.OVERLOADED.word).inc()
            link.send(Failed(want.request, FetchFailure.OVERLOADED.name, f"{len(self._tasks)} wants wait already"))
        else:
            task = asyncio.create_task(self._serve(link, want))
            self._tasks[link, want.request] = task
            task.add_done_callback(lambda _: self._tasks.pop((link, want.request), None))

    def cancelled(self, link: Link, request: int) -> None:
        task = self._tasks.get((link, request))
        if task is not None:
            task.cancel()

    def served(self, link: Link, served: Served) -> None:
        self._traffic.served(link.worker, served)

    def unreadable(self, link: Link, found: Unreadable) -> None:
        self._log.warning("unreadable", worker=link.worker, disk=found.disk, extent=f"{found.extent_id:x}")
        self.on_unreadable(found.disk, found.extent_id)

    def left(self, link: Link) -> None:
        for (owner, _), task in list(self._tasks.items()):
            if owner is link:
                task.cancel()
        self._traffic.left(link.worker)
        self.on_worker_left()

    async def close(self) -> None:
        tasks = [*self._tasks.values(), *self._hints]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, link: Link, want: Want) -> None:
        end = "left"
        try:
            await self._answer(link, want)
            end = "done"
        except FetchFailed as error:
            end = error.why.word
            link.send(Failed(want.request, error.why.name, error.sentence))
            self._log.info("want-failed", key=want.key, why=end, detail=error.sentence)
        except Exception:  # noqa: BLE001  the border of a task: counted, logged with traceback, told to the worker
            end = "died"
            self._metrics.task_deaths.labels("want").inc()
            self._log.exception("want-died", key=want.key)
            link.send(Failed(want.request, FetchFailure.UPSTREAM_ERROR.name, "the keeper failed; its log says why"))
        finally:
            self._metrics.wants.labels(end).inc()

    async def _answer(self, link: Link, want: Want) -> None:
        if self._pulling.serves(want.key):
            await self._pull(link, want)
            return
        facts = await self._fetcher.facts(want.key, want.version)
        if not want.version or want.head_only:
            link.send(Head(want.request, facts.version, facts.digests.size_bytes, facts.header))
        last = block_count(facts.digests.size_bytes) - 1
        if want.last_block is not None:
            last = min(last, want.last_block)
        if not want.head_only and 0 <= want.first_block <= last:
            async for fetched in self._fetcher.blocks(facts, want.first_block, last, self._asker(want.key)):
                link.send(_ready(want.request, facts, fetched.held))
        link.send(Done(want.request))

    async def _pull(self, link: Link, want: Want) -> None:
        """An object of a pull-through service, or blocks of a version of one."""
        if want.head_only:
            found = await self._pulling.find(want)
            variant = found.entry.variant
            row = pack_pulled(PulledObject(want.key, (variant,)))
            said = (found.forwarded, found.status, found.collapsed)
            link.send(Head(want.request, variant.version, variant.size, b"", row, *said))
        else:
            async for version, held in self._pulling.blocks(want):
                link.send(_ready(want.request, version, held))
        link.send(Done(want.request))

    def _asker(self, key: str) -> Asker:
        return Asker(Purpose.CLIENT, plan=self._plan_of(key))

    def _hint(self, want: Want) -> None:
        limit = MAX_REFRESHES if self._pulling.serves(want.key) else self._prefetches
        if len(self._hints) >= limit:
            self._metrics.wants.labels("hint-dropped").inc()
            return
        task = asyncio.create_task(self._prefetch(want))
        self._hints.add(task)
        task.add_done_callback(self._hints.discard)

    async def _prefetch(self, want: Want) -> None:
        try:
            if self._pulling.serves(want.key):
                await self._pulling.find(want)
                return
            facts = await self._fetcher.facts(want.key, want.version)
            last = block_count(facts.digests.size_bytes) - 1
            last = last if want.last_block is None else min(last, want.last_block)
            async for _ in self._fetcher.blocks(facts, want.first_block, last, self._asker(want.key)):
                pass
            self._metrics.wants.labels("hint-done").inc()
        except FetchFailed as error:
            self._metrics.wants.labels("hint-failed").inc()
            self._log.debug("hint-failed", key=want.key, detail=error.sentence)


def _ready(request: int, facts: Storable, held: Held) -> Ready:
    return Ready(
        request=request,
        disk=held.disk,
        extent_id=held.extent_id,
        extent_number=held.extent_number,
        first_block=held.first,
        last_block=held.last,
        version=facts.version,
        size_bytes=facts.size_bytes,
        mark_slot=held.slot,
        stored_epoch=held.epoch,
    )
