"""Blocks of pulled versions: one fetch per block for any number of waiters, of one version or not at all.

Laws:
- A block that is missing is fetched by exactly one run. Whoever wants it meanwhile waits for that run and is woken by the block.
- A run goes on when nobody waits any more: one of a version that can be had in ranges for `FAR_BLOCKS`, any other to its end.
- A version with a strong validator is fetched in ranges, each of which has to carry that validator (RFC 9110 §15.3.7); a run that breaks
  off goes on where it was. Any other version exists only as the body that it began with: when that breaks off, the version is broken.
- An answer under another validator, or of another length, ends the version: who waits hears VERSION_CHANGED, and no byte of it is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from enum import Enum

from chassis.logs import get_logger
from contracts.digests import BLOCK_BYTES, block_count, block_digest, block_length
from oca.config import PullService
from oca.http.caching.combining import Version
from oca.http.caching.keeping import Received
from oca.http.pulled import continues
from oca.keeper.errors import FetchFailed
from oca.keeper.origins import Fields, Origins, Reply
from oca.keeper.sourcing import RUN_BLOCKS, split_run
from oca.keeper.storing import Held, Storing
from oca.link.messages import FetchFailure

AHEAD = 2
FAR_BLOCKS = 64
"""So far before a body that comes in order nobody waits for it, where a range may be asked for."""
_CHANGED = frozenset((200, 206, 404, 410, 412, 416))
"""Answers that say, where they are not of a version, that it is no more; any other is about the request, or the upstream."""
RESUMPTIONS = 3
"""Ranges that may bring nothing, one after the other, before a run is given up."""


class VersionEnd(Enum):
    """How the fetching of a version ended for good (log word, and label of `lowtide_keeper_pulled_versions_total`)."""

    WHOLE = "whole"
    CHANGED = "changed"
    """The upstream has another one by now."""
    BROKEN = "broken"
    """The only body it had broke off."""
    NO_ROOM = "no-room"


@dataclass(frozen=True)
class PulledVersion:
    """One version of one variant. `parts` is what its parts share, None where there is but one body. `path` is what the upstream is asked for."""

    service: PullService
    path: str
    key: str
    hashed: bytes
    version: bytes
    size_bytes: int
    parts: Version | None
    header: bytes = b""
    is_digested: bool = False
    lifetime_s: float | None = None
    asked_for: str = ""

    def digest(self, block: int, data: bytes) -> bytes:
        return block_digest(data)

    @property
    def last_block(self) -> int:
        return block_count(self.size_bytes) - 1


Settled = Held | FetchFailed


class Run:
    """Blocks `next` … `last` of one version that one task fetches."""

    def __init__(self, wanted: PulledVersion, first: int, last: int, epoch: int) -> None:
        self.wanted = wanted
        self.next = first
        self.last = last
        self.epoch = epoch
        self.reach = first
        """The furthest block that anybody has waited for."""
        self.waiting: dict[int, asyncio.Future[Settled]] = {}

    def brings(self, block: int) -> bool:
        near = self.wanted.parts is None or block < self.next + FAR_BLOCKS
        return self.next <= block <= self.last and near

    @property
    def is_beyond(self) -> bool:
        """So far beyond what anybody waited for that the rest can be left to ranges."""
        return self.wanted.parts is not None and not self.waiting and self.next > self.reach + FAR_BLOCKS

    def wait(self, block: int) -> asyncio.Future[Settled]:
        self.reach = max(self.reach, block)
        found = self.waiting.get(block)
        if found is None:
            found = self.waiting[block] = asyncio.get_running_loop().create_future()
        return found

    def settle(self, block: int, result: Settled) -> None:
        future = self.waiting.pop(block, None)
        if future is not None and not future.done():
            future.set_result(result)

    def fail(self, failure: FetchFailed) -> None:
        for block in list(self.waiting):
            self.settle(block, failure)


class PulledBlocks:
    """All state belongs to one event loop."""

    def __init__(self, storing: Storing, origins: Origins, ended: Callable[[PulledVersion, VersionEnd], None]) -> None:
        """`ended` is told once a version is whole by its first body, or can never be."""
        self._storing = storing
        self._origins = origins
        self._ended = ended
        self._runs: dict[bytes, list[Run]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = get_logger("oca.keeper.pulled_blocks")

    @property
    def runs_under_way(self) -> int:
        return sum(len(runs) for runs in self._runs.values())

    def is_under_way(self, version: bytes) -> bool:
        return version in self._runs

    def begin(self, wanted: PulledVersion, reply: Reply, first: int, last: int, epoch: int) -> asyncio.Task[None]:
        """Write blocks first … last from a reply whose next byte is that of the first of them; the task ends when they are settled."""
        run = self._new_run(wanted, first, last, epoch)
        return self._launch(self._carry_out(run, reply, ()))

    async def blocks(self, wanted: PulledVersion, first: int, last: int, fields: Fields) -> AsyncIterator[Held]:
        """Blocks first … last in rising order as they are there. Raises FetchFailed at the first that cannot be had."""
        cuts = split_run(first, last)
        started: list[list[Held | asyncio.Future[Settled]]] = []
        for number, _ in enumerate(cuts):
            while len(started) < len(cuts) and len(started) < number + AHEAD:
                started.append(self._start(wanted, *cuts[len(started)], fields))
            for piece in started[number]:
                settled = piece if isinstance(piece, Held) else await asyncio.shield(piece)
                if isinstance(settled, FetchFailed):
                    raise FetchFailed(settled.why, settled.sentence)
                yield settled
            started[number].clear()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- starting and joining --------------------------------------------------------------------------------------

    def _start(
        self, wanted: PulledVersion, first: int, last: int, fields: Fields
    ) -> list[Held | asyncio.Future[Settled]]:
        """What is held, under way, or started now, in rising order. No await between looking and starting. Raises FetchFailed."""
        pieces: dict[int, Held | asyncio.Future[Settled]] = {}
        missing = set(range(first, last + 1))
        for held in self._storing.held(wanted, first, last):
            pieces[held.first] = held
            missing.difference_update(range(held.first, held.last + 1))
        for block in sorted(missing):
            run = next((run for run in self._runs.get(wanted.version, ()) if run.brings(block)), None)
            if run is None:
                run = self._start_range(wanted, block, max(missing), fields)
            pieces[block] = run.wait(block)
        return [pieces[block] for block in sorted(pieces)]

    def _start_range(self, wanted: PulledVersion, first: int, last: int, fields: Fields) -> Run:
        if wanted.parts is None:
            self._ended(wanted, VersionEnd.BROKEN)
            raise FetchFailed(FetchFailure.VERSION_CHANGED, "the rest of a version without validator is gone")
        run = self._new_run(wanted, first, min(last, first + RUN_BLOCKS - 1), self._storing.purge_epoch)
        self._launch(self._carry_out(run, None, fields))
        return run

    def _new_run(self, wanted: PulledVersion, first: int, last: int, epoch: int) -> Run:
        run = Run(wanted, first, last, epoch)
        self._runs.setdefault(wanted.version, []).append(run)
        return run

    def _launch(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- a run -----------------------------------------------------------------------------------------------------

    async def _carry_out(self, run: Run, reply: Reply | None, fields: Fields) -> None:
        failure = FetchFailed(FetchFailure.STOPPING, "the keeper stops")
        try:
            await self._bring(run, reply, fields)
        except FetchFailed as error:
            failure = error
            self._judge(run, error)
        except Exception:  # noqa: BLE001  the border of a task: logged with traceback, told to who waits
            failure = FetchFailed(FetchFailure.UPSTREAM_ERROR, "the fetch died; the keeper's log says why")
            self._log.exception("run-died", key=run.wanted.key, block=run.next)
            self._judge(run, failure)
        else:
            if run.wanted.parts is None or (reply is not None and run.last == run.wanted.last_block):
                self._ended(run.wanted, VersionEnd.WHOLE)
        finally:
            runs = self._runs[run.wanted.version]
            runs.remove(run)
            if not runs:
                del self._runs[run.wanted.version]
            run.fail(failure)

    def _judge(self, run: Run, error: FetchFailed) -> None:
        if error.why is FetchFailure.VERSION_CHANGED:
            self._ended(run.wanted, VersionEnd.CHANGED)
        elif run.wanted.parts is None:
            no_room = error.why is FetchFailure.NO_SPACE
            self._ended(run.wanted, VersionEnd.NO_ROOM if no_room else VersionEnd.BROKEN)

    async def _bring(self, run: Run, reply: Reply | None, fields: Fields) -> None:
        """From the reply that is there, then from ranges, as long as each brings something."""
        if reply is not None:
            try:
                await self._take_all(run, reply)
            except FetchFailed as error:
                if run.wanted.parts is None or error.why is FetchFailure.NO_SPACE:
                    raise
        left = RESUMPTIONS
        while run.next <= run.last:
            began = run.next
            try:
                await self._ask(run, fields)
            except FetchFailed as error:
                left = left - 1 if run.next == began else RESUMPTIONS
                if not left or error.why in (FetchFailure.NO_SPACE, FetchFailure.VERSION_CHANGED):
                    raise

    async def _ask(self, run: Run, fields: Fields) -> None:
        wanted = run.wanted
        parts = wanted.parts
        assert parts is not None, "ranges are asked for under a strong validator"
        first_byte, last_byte = run.next * BLOCK_BYTES, min(wanted.size_bytes, (run.last + 1) * BLOCK_BYTES) - 1
        asked = [(name, value) for name, value in fields if name not in (b"range", b"if-range")]
        asked += [(b"range", b"bytes=%d-%d" % (first_byte, last_byte)), (b"if-range", parts.validator.value)]
        async with self._origins.ask(wanted.service, wanted.path, asked) as reply:
            received = Received(reply.status, reply.fields, reply.requested_at, reply.received_at)
            start = continues(parts, received, first_byte)
            if start is None:
                why = FetchFailure.VERSION_CHANGED if reply.status in _CHANGED else FetchFailure.UPSTREAM_ERROR
                raise FetchFailed(why, f"the upstream answered {reply.status}, and not with this version")
            await self._skip(reply, first_byte - start)
            await self._take_all(run, reply)

    async def _skip(self, reply: Reply, count: int) -> None:
        """A whole body came in place of a range: what lies before the run is read and thrown away."""
        while count:
            count -= len(await reply.read(min(count, BLOCK_BYTES)))

    async def _take_all(self, run: Run, reply: Reply) -> None:
        while run.next <= run.last:
            if run.is_beyond:
                run.last = run.next - 1
                return
            data = await reply.read(block_length(run.wanted.size_bytes, run.next))
            if len(data) != block_length(run.wanted.size_bytes, run.next):
                raise FetchFailed(FetchFailure.UPSTREAM_ERROR, "the upstream's body is shorter than it said")
            held = await self._storing.write(run.wanted, run.next, data, None, must_pin=False, epoch=run.epoch)
            block = run.next
            run.next += 1
            run.settle(block, held)
