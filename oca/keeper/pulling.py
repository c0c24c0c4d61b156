"""Pulled-through objects: what a worker does not know is answered from the row, by a flight to an upstream, or not at all.

Laws:
- One flight per service key is waiting for a header at a time. Who asks meanwhile waits for it and takes what it brings when that is an answer
  to its request, too (RFC 9111 §4); otherwise it flies itself, one after another.
- A row is in the index when it names a version whose bytes can be had: at once for one with a strong validator, when the body is whole for
  any other. Until then it is known here only.
- A version is never continued under another validator. When the upstream has another one, the old version's row goes, its bytes stay for
  `GRACE_S` for the answers that run, and what those still miss ends them.
- What may not be stored is not remembered but for that it may not: who asks in the next `PASS_S` is told at once to pass.
- Flights go on when nobody waits any more.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from chassis.clock import Clock
from chassis.logs import get_logger
from contracts.digests import BLOCK_BYTES
from contracts.urls import split_key
from oca.config import PullService
from oca.http.caching.keeping import Received, content_range, stored_response
from oca.http.caching.reuse import Reuse, ReuseReason, Use, after_error, decide
from oca.http.caching.stored import StoredResponse, pack_stored, unpack_stored
from oca.http.caching.storing import How, StoringReason, may_store
from oca.http.caching.validation import invalid, not_modified
from oca.http.caching.vary import matches
from oca.http.keys import service_key, storage_key
from oca.http.pulled import version_of
from oca.keeper.errors import FetchFailed
from oca.keeper.metrics import KeeperMetrics
from oca.keeper.origins import Origins, Reply
from oca.keeper.pulled_blocks import PulledBlocks, PulledVersion, VersionEnd
from oca.keeper.rows import Rows
from oca.keeper.sourcing import RUN_BLOCKS
from oca.keeper.storing import Held, Storing
from oca.link.messages import FetchFailure, Want
from oca.link.variants import Entry, Service, read_entries
from oca.store.errors import StoreError
from oca.store.extents import key_hash
from oca.store.pulled import PulledObject, PulledVariant

PASS_S = 10.0
MAX_PASSES = 10_000
GRACE_S = 30.0
PRUNE_EVERY_S = 60.0
SPOOL_S = 2.0
"""An answer without length that takes longer is passed on: who waits wants its first byte."""
MAX_TURNS = 8
"""Flights that one asker waits for, of others and its own."""
_OF_THE_REQUEST = (StoringReason.REQUEST_NO_STORE, StoringReason.AUTHORIZATION)
"""Why this request's answer may not be stored, and another's may."""
_OF_THE_PART = (
    StoringReason.PARTIAL_UNASKED,
    StoringReason.PARTIAL_WEAK,
    StoringReason.MULTIPART,
    StoringReason.FRAMING,
)
"""Why a part may not be stored, and the whole may."""


@dataclass(frozen=True, slots=True)
class Found:
    """An answer for a worker: the variant, and what `Cache-Status` says of how it was come by."""

    entry: Entry
    forwarded: str = ""
    """Why an upstream was asked (`ReuseReason`); empty where none was."""
    status: int = 0
    """What the upstream said."""
    collapsed: bool = False


Landed = Found | FetchFailed
"""What a flight brought: an answer, or why there is none for anybody."""


class Flight:
    """One exchange for a service key, until its header is here. `stale` is what it validates."""

    def __init__(self, service: Service, want: Want, reuse: Reuse, stale: Entry | None, epoch: int) -> None:
        self.service = service
        self.key = want.key
        self.reuse = reuse
        self.stale = stale
        self.asked = dict(want.fields)
        self.conditions = reuse.conditions
        self.epoch = epoch
        self.blocks = _blocks_of(want) if not self.conditions else None
        """Blocks to ask for, rather than all of the object."""
        self.outdated = False
        """The object was changed by another request since."""
        self.headed: asyncio.Future[Landed] = asyncio.get_running_loop().create_future()

    @property
    def path(self) -> str:
        return split_key(self.key)[1]


class Pulling:
    def __init__(
        self,
        services: Sequence[PullService],
        storing: Storing,
        origins: Origins,
        metrics: KeeperMetrics,
        clock: Clock,
        patience_s: float,
    ) -> None:
        """`patience_s`: how long an upstream may take before something stale stands in, where that is allowed."""
        self._patience_s = patience_s
        self._services = {settings.name: Service.of(settings) for settings in services}
        self._storing = storing
        self._origins = origins
        self._metrics = metrics
        self._clock = clock
        self._rows = Rows(storing)
        self._blocks = PulledBlocks(storing, origins, self._version_ended)
        self._flights: dict[str, Flight] = {}
        self._begun: dict[str, list[PulledVariant]] = {}
        """Variants whose only body is on its way, by service key."""
        self._passes: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = get_logger("oca.keeper.pulling")

    async def run(self) -> None:
        """Now and then: what is of no more use goes. Ends by cancellation."""
        while self._services:
            await self._clock.sleep(PRUNE_EVERY_S)
            await self.prune()

    async def prune(self) -> None:
        gone, stray = await self._storing.useless_pulled(self._clock.wall_s())
        for key, version in gone:
            self._forget(key, version)
        begun = {storage_key(key, found.version) for key, all_ in self._begun.items() for found in all_}
        for stored in stray:
            if stored not in begun and not self._blocks.is_under_way(bytes.fromhex(stored.rpartition("#")[2])):
                self._keep(self._drop(stored))

    def serves(self, key: str) -> bool:
        """True when the key is one of a pull-through service."""
        return key.partition("|")[0] in self._services

    @property
    def under_way(self) -> int:
        return len(self._flights) + self._blocks.runs_under_way

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._blocks.close()
        await self._rows.settled()

    # -- objects ---------------------------------------------------------------------------------------------------

    async def find(self, want: Want) -> Found:
        """A variant that answers the request. Raises FetchFailed; NOT_STORABLE where the answer has to be passed on."""
        service = self._services[want.key.partition("|")[0]]
        asked = dict(want.fields)
        began_s = self._clock.monotonic_s()
        for _ in range(MAX_TURNS):
            entries = self._entries(want.key)
            reuse = decide(b"GET", asked, [entry.stored for entry in entries], self._clock.wall_s())
            chosen = next((entry for entry in entries if entry.stored is reuse.stored), None)
            if reuse.use in (Use.HIT, Use.HIT_STALE, Use.REFRESH) and chosen is not None:
                if reuse.use is Use.REFRESH and want.key not in self._flights:
                    self._fly(service, want, reuse, chosen)
                return Found(chosen)
            if reuse.use is Use.UNSATISFIABLE:
                raise FetchFailed(FetchFailure.NOT_HELD, "only-if-cached")
            if self._passes.get(want.key, 0.0) > began_s:
                raise FetchFailed(FetchFailure.NOT_STORABLE, "it could not be stored a moment ago")
            flight = self._flights.get(want.key)
            joined = flight is not None
            if flight is None:
                flight = self._fly(service, want, reuse, chosen)
            landed = await self._headed(flight, chosen, asked)
            if landed is None:
                assert chosen is not None, "something stands in"
                return Found(chosen, ReuseReason.STALE_IF_ERROR.value)
            found = _given(landed)
            if not joined:
                return found
            self._metrics.joined.inc()
            # What came while we waited answers us whatever its age, if it is an answer to this request at all.
            if matches(found.entry.stored, asked):
                return Found(found.entry, found.forwarded, found.status, collapsed=True)
        raise FetchFailed(FetchFailure.OVERLOADED, f"{MAX_TURNS} flights brought nothing for this request")

    async def _headed(self, flight: Flight, stale: Entry | None, asked: Mapping[bytes, bytes]) -> Landed | None:
        """What the flight brings; None when it takes too long and something stale may stand in (RFC 5861 §4)."""
        stands_in = (
            stale is not None and after_error(asked, stale.stored, None, self._clock.wall_s()).use is Use.HIT_STALE
        )
        done, _ = await asyncio.wait((flight.headed,), timeout=self._patience_s if stands_in else None)
        return flight.headed.result() if done else None

    async def invalidate(self, keys: Iterable[str]) -> None:
        """After an unsafe method (RFC 9111 §4.4): what is stored under these service keys is not used again without validation,
        also by workers, when this returns.

        What was asked for before and still comes is stored in the same way.
        """
        for key in keys:
            row = self._rows.get(key, key_hash(key))
            if row.variants:
                self._rows.put(PulledObject(key, tuple(_invalid(variant) for variant in row.variants)))
            if key in self._begun:
                self._begun[key] = [_invalid(variant) for variant in self._begun[key]]
            flight = self._flights.get(key)
            if flight is not None:
                flight.outdated = True
        await self._rows.settled()

    def _entries(self, key: str) -> tuple[Entry, ...]:
        """The row and what is on its way, without what was purged; what a soft purge met is stale."""
        row = self._rows.get(key, key_hash(key))
        variants = (*row.variants, *self._begun.get(key, ()))
        return read_entries(variants, lambda variant: self._storing.purge_mode(key, variant))

    # -- flights ---------------------------------------------------------------------------------------------------

    def _fly(self, service: Service, want: Want, reuse: Reuse, stale: Entry | None) -> Flight:
        flight = self._flights[want.key] = Flight(service, want, reuse, stale, self._storing.purge_epoch)
        self._keep(self._carry_out(flight))
        return flight

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_out(self, flight: Flight) -> None:
        failure = FetchFailed(FetchFailure.STOPPING, "the keeper stops")
        try:
            while not await self._exchange(flight):
                # A range that cannot be kept, a condition that met nothing: all of it is asked for.
                flight.blocks, flight.conditions = None, ()
        except FetchFailed as error:
            failure = error
        except Exception:  # noqa: BLE001  the border of a task: counted, logged with traceback, told to who waits
            self._metrics.task_deaths.labels("flight").inc()
            self._log.exception("flight-died", key=flight.key)
            failure = FetchFailed(FetchFailure.UPSTREAM_ERROR, "the fetch died; the keeper's log says why")
        finally:
            if not flight.headed.done():
                self._land(flight, self._instead(flight, failure))

    def _land(self, flight: Flight, landed: Landed) -> None:
        """Who comes from now on finds the row, or flies itself."""
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]
        word = landed.why.word if isinstance(landed, FetchFailed) else "answered"
        self._metrics.flights.labels(flight.service.name, word).inc()
        if not flight.headed.done():
            flight.headed.set_result(landed)

    def _instead(self, flight: Flight, failure: FetchFailed) -> Landed:
        """No answer came: something stale, where that is allowed (RFC 5861 §4), or the failure."""
        return (self._stale(flight, None) if failure.why in _UPSTREAM_DOWN else None) or failure

    def _stale(self, flight: Flight, status: int | None) -> Found | None:
        if flight.stale is None:
            return None
        reuse = after_error(flight.asked, flight.stale.stored, status, self._clock.wall_s())
        return Found(flight.stale, reuse.reason.value, status or 0) if reuse.use is Use.HIT_STALE else None

    async def _exchange(self, flight: Flight) -> bool:
        """One request and what becomes of its answer. False when all has to be asked for, without range and condition."""
        fields = [*flight.service.upstream(flight.asked.items()), *flight.conditions]
        if flight.blocks is not None:
            first, last = flight.blocks
            fields.append((b"range", b"bytes=%d-%d" % (first * BLOCK_BYTES, (last + 1) * BLOCK_BYTES - 1)))
        async with self._origins.ask(flight.service.settings, flight.path, fields) as reply:
            if reply.status == 304 and flight.conditions:
                return self._validated(flight, reply)
            if reply.status >= 500 and (stale := self._stale(flight, reply.status)) is not None:
                self._land(flight, stale)
                return True
            if reply.status in (206, 416) and flight.blocks is None:
                raise FetchFailed(FetchFailure.UPSTREAM_ERROR, f"the upstream answered {reply.status} unasked")
            return reply.status != 416 and await self._take(flight, reply)

    async def _take(self, flight: Flight, reply: Reply) -> bool:
        """A new answer: stored while it comes, or refused because it may not be."""
        asked = flight.asked | ({b"range": b"bytes"} if flight.blocks is not None else {})
        received = Received(reply.status, reply.fields, reply.requested_at, reply.received_at)
        storing = may_store(b"GET", asked, received, flight.service.terms)
        if reply.status == 206 and (storing.how is How.WHOLE or storing.reason in _OF_THE_PART):
            return False
        if storing.how is How.NOT:
            lasting = storing.reason not in _OF_THE_REQUEST and reply.status < 500
            self._pass(flight, storing.reason.value, for_anybody=lasting)
        terms = flight.service.terms
        part = content_range(reply.fields) if reply.status == 206 else None
        if part is not None and part.first != (flight.blocks or (0, 0))[0] * BLOCK_BYTES:
            return False
        stored = stored_response(received, flight.asked, terms, storing.stripped)
        if storing.how is How.BLOCKS and stored.size is not None:
            await self._store(flight, reply, stored, stored.size, part.first if part is not None else 0)
        elif reply.length is not None:
            await self._store(flight, reply, msgspec.structs.replace(stored, version=b""), reply.length, 0)
        else:
            await self._spool(flight, reply, msgspec.structs.replace(stored, version=b""))
        return True

    def _pass(self, flight: Flight, why: str, *, for_anybody: bool) -> None:
        """Raises FetchFailed(NOT_STORABLE); for who comes in the next `PASS_S`, too, where it does not lie with this request."""
        if for_anybody:
            while len(self._passes) >= MAX_PASSES:
                del self._passes[next(iter(self._passes))]
            self._passes[flight.key] = self._clock.monotonic_s() + PASS_S
        raise FetchFailed(FetchFailure.NOT_STORABLE, why)

    async def _store(self, flight: Flight, reply: Reply, stored: StoredResponse, size: int, start: int) -> None:
        """Tell who waits, then write what comes. Raises FetchFailed(NOT_STORABLE) where it does not fit."""
        if size > flight.service.settings.max_object_bytes:
            self._pass(flight, "too-large", for_anybody=True)
        version = self._version_of(flight.key, stored, size)
        response = pack_stored(invalid(stored) if flight.outdated else stored)
        variant = PulledVariant(version, size, flight.epoch, self._clock.wall_s(), response, stored.tags)
        wanted = self._version(flight.service, flight.key, Entry(variant, stored))
        first, last = start // BLOCK_BYTES, wanted.last_block
        if reply.status == 206 and flight.blocks is not None:
            last = min(flight.blocks[1], last)
        if size:
            await self._expect_room(wanted, first, last)
        if stored.version or not size:
            self._store_row(flight.key, variant)
        else:
            self._begun.setdefault(flight.key, []).append(variant)
        writing = self._blocks.begin(wanted, reply, first, last, flight.epoch) if size else None
        self._land(flight, Found(Entry(variant, stored), flight.reuse.reason.value, reply.status))
        if writing is not None:
            await asyncio.wait((writing,))

    async def _expect_room(self, wanted: PulledVersion, first: int, last: int) -> None:
        try:
            await self._storing.expect_room(wanted, first, last, must_pin=False)
        except FetchFailed as error:
            raise FetchFailed(FetchFailure.NOT_STORABLE, error.sentence) from error

    async def _spool(self, flight: Flight, reply: Reply, stored: StoredResponse) -> None:
        """An answer without length: extents are created at their final length, so that its end is waited for first."""
        limit = flight.service.settings.max_unsized_bytes
        try:
            async with asyncio.timeout(SPOOL_S):
                body = await _up_to(reply, limit + 1)
        except TimeoutError:
            body = None
        if body is None or len(body) > limit:
            self._pass(flight, "unsized", for_anybody=True)
            return
        await self._store(flight, _Spooled(reply, body), msgspec.structs.replace(stored, size=len(body)), len(body), 0)

    def _validated(self, flight: Flight, reply: Reply) -> bool:
        """304: the header that is stored takes over what was said now (RFC 9111 §4.3.4). False when it is about something else."""
        entries = self._entries(flight.key)
        asked_about = next(
            (e for e in entries if flight.stale and e.variant.version == flight.stale.variant.version), None
        )
        received = Received(304, reply.fields, reply.requested_at, reply.received_at)
        news = not_modified(
            flight.asked,
            [entry.stored for entry in entries],
            asked_about.stored if asked_about is not None else None,
            received,
            flight.service.terms,
        )
        if not news or asked_about is None or news[0].before is not asked_about.stored:
            return False
        found: Entry | None = None
        for fresh in news:
            before = next(entry for entry in entries if entry.stored is fresh.before)
            variant = msgspec.structs.replace(
                before.variant,
                epoch=flight.epoch,
                response=pack_stored(fresh.stored),
                tags=fresh.stored.tags,
                stale=False,
            )
            found = found or Entry(variant, fresh.stored)
            if fresh.forget is not None:
                self._forget(flight.key, variant.version)
            else:
                self._store_row(flight.key, variant)
        assert found is not None, "there is news"
        self._land(flight, Found(found, flight.reuse.reason.value, 304))
        return True

    # -- versions --------------------------------------------------------------------------------------------------

    def _version_of(self, key: str, stored: StoredResponse, size: int) -> bytes:
        """The version that is here under the same strong validator, or a new one."""
        for entry in self._entries(key):
            if stored.version and entry.stored.version == stored.version and entry.variant.size == size:
                return entry.variant.version
        return os.urandom(32)

    def _version(self, service: Service, key: str, entry: Entry) -> PulledVersion:
        stored = storage_key(key, entry.variant.version)
        parts = version_of(entry.stored, entry.variant.size)
        return PulledVersion(
            service.settings,
            split_key(key)[1],
            stored,
            key_hash(stored),
            entry.variant.version,
            entry.variant.size,
            parts,
            # Under a validator its bytes outlive their freshness: a 304 makes them fresh again.
            lifetime_s=None if parts is not None else entry.stored.freshness.lifetime_s,
            asked_for=key,
        )

    def _store_row(self, key: str, variant: PulledVariant) -> None:
        """A variant takes the place of those that would answer the same requests (RFC 9111 §4)."""
        row = self._rows.get(key, key_hash(key))
        entries = read_entries(row.variants, lambda _variant: None)
        [new] = read_entries((variant,), lambda _variant: None)
        same = next((entry for entry in entries if entry.stored.vary == new.stored.vary), None)
        if same is not None and same.stored.received_at > new.stored.received_at:
            self._keep(self._drop(storage_key(key, variant.version)))  # its body came in slowly, and another was faster
            return
        replaced = same.variant.version if same is not None else None
        after = row.with_variant(variant, replaced)
        self._rows.put(after)
        kept = {found.version for found in after.variants}
        for old in row.variants:
            if old.version not in kept:
                self._keep(self._drop(storage_key(key, old.version)))

    def _forget(self, key: str, version: bytes) -> None:
        row = self._rows.get(key, key_hash(key))
        if any(found.version == version for found in row.variants):
            self._rows.put(row.without(version))
        self._keep(self._drop(storage_key(key, version)))

    def _version_ended(self, wanted: PulledVersion, end: VersionEnd) -> None:
        key = service_key(wanted.key)
        begun = self._begun.get(key, [])
        variant = next((found for found in begun if found.version == wanted.version), None)
        if variant is not None:
            begun.remove(variant)
            if not begun:
                del self._begun[key]
        self._metrics.pulled_versions.labels(end.value).inc()
        if end is not VersionEnd.WHOLE:
            self._forget(key, wanted.version)
            self._log.info("version-ended", key=key, version=wanted.version[:4].hex(), why=end.value)
        elif variant is not None:
            self._store_row(key, variant)

    async def _drop(self, stored: str) -> None:
        """Answers that run go on for a while."""
        await self._clock.sleep(GRACE_S)
        try:
            await self._storing.drop(stored)
        except StoreError as error:
            self._log.warning("not-dropped", key=stored, detail=str(error))

    # -- blocks ----------------------------------------------------------------------------------------------------

    async def blocks(self, want: Want) -> AsyncIterator[tuple[PulledVersion, Held]]:
        """Blocks of a version that a worker was told of, in rising order. Raises FetchFailed; VERSION_CHANGED when it is no more."""
        key = service_key(want.key)
        service = self._services[key.partition("|")[0]]
        entry = next((found for found in self._entries(key) if found.variant.version == want.version), None)
        if entry is None:
            raise FetchFailed(FetchFailure.VERSION_CHANGED, "the version that was begun is no more")
        wanted = self._version(service, key, entry)
        last = wanted.last_block if want.last_block is None else min(want.last_block, wanted.last_block)
        if not 0 <= want.first_block <= last:
            return
        fields = service.upstream(want.fields)
        async for held in self._blocks.blocks(wanted, want.first_block, last, fields):
            yield wanted, held


_UPSTREAM_DOWN = (FetchFailure.UPSTREAM_UNREACHABLE, FetchFailure.UPSTREAM_TIMEOUT, FetchFailure.UPSTREAM_ERROR)


def _invalid(variant: PulledVariant) -> PulledVariant:
    """A row of another format is not read by anybody anyway."""
    stored = unpack_stored(variant.response)
    return variant if stored is None else msgspec.structs.replace(variant, response=pack_stored(invalid(stored)))


def _given(landed: Landed) -> Found:
    if isinstance(landed, FetchFailed):
        raise FetchFailed(landed.why, landed.sentence)
    return landed


class _Spooled:
    """A reply whose body was read."""

    def __init__(self, reply: Reply, body: bytes) -> None:
        self.status = reply.status
        self.fields = reply.fields
        self.requested_at = reply.requested_at
        self.received_at = reply.received_at
        self.length: int | None = len(body)
        self._body = memoryview(body)

    async def read(self, count: int) -> bytes:
        piece, self._body = self._body[:count], self._body[count:]
        return bytes(piece)


async def _up_to(reply: Reply, count: int) -> bytes:
    body = bytearray()
    while len(body) < count:
        wanted = min(count - len(body), BLOCK_BYTES)
        piece = await reply.read(wanted)
        body += piece
        if len(piece) < wanted:
            break
    return bytes(body)


def _blocks_of(want: Want) -> tuple[int, int] | None:
    """The run of blocks that a request for a part begins with; None for all of an object."""
    if want.last_block is None and not want.first_block:
        return None
    first = want.first_block - want.first_block % RUN_BLOCKS
    return first, first + RUN_BLOCKS - 1
