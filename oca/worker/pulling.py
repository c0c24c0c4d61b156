"""Requests of pull-through services: what is stored and may be reused is sent at once, the rest is asked of the keeper, or passed on.

Laws:
- `Host` selects the service, and nothing of the request but what `Service.asked` names decides about reuse or goes upstream.
- An answer's version is that of its variant; its bytes are found and sent as those of media are.
- A version whose bytes are gone before anything of the answer was sent is asked for anew, once.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from contracts.digests import BLOCK_BYTES
from oca.config import PullService
from oca.http.caching.fields import read_request
from oca.http.caching.reuse import Reuse, ReuseReason, Use, decide
from oca.http.caching.said import CacheStatus, age, appended, status_of
from oca.http.keys import Resource, host_spellings, storage_key, target_host
from oca.http.pulled import Shown, plan_pulled, show
from oca.http.reasons import Outcome
from oca.http.request import Request
from oca.http.response import Answer, Surroundings
from oca.link.counters import Count
from oca.link.messages import FetchFailure, Head, Ready
from oca.link.variants import Entry, Fields, Service, read_entries, read_entry
from oca.link.worker import LinkClient
from oca.store.extents import key_hash
from oca.store.pulled import PulledObject, PulledVariant, unpack_pulled
from oca.store.purge import PurgeMode
from oca.worker.holdings import Version
from oca.worker.misses import SENTENCES, Wait
from oca.worker.ports import Machinery

_REMEMBERED = 2048


class Rows(Protocol):
    """What of `oca.store.reader` is used here."""

    def lookup_pulled(self, hashed: bytes) -> PulledObject | None: ...

    def judge_pulled(self, key: str, variant: PulledVariant) -> PurgeMode | None: ...


class Puller:
    """The services of a worker."""

    def __init__(self, services: Sequence[PullService], rows: Rows, machinery: Machinery) -> None:
        self.rows = rows
        self.machinery = machinery
        self._by_host: dict[bytes, Service] = {}
        for settings in services:
            service = Service.of(settings)
            self._by_host.update(dict.fromkeys(host_spellings(settings.hosts), service))
        self._shown: dict[tuple[bytes, int], Shown] = {}

    @property
    def fields(self) -> frozenset[bytes]:
        """Request fields that some service reads."""
        return frozenset().union(*(service.passed | {b"pragma"} for service in self._by_host.values()))

    def select(self, request: Request) -> Service | None:
        """The service that a request is for; None where it is for media, or for nobody."""
        host = target_host(request.target) or request.headers.get(b"host", b"")
        return self._by_host.get(host.lower())

    def forwards(self, request: Request) -> bool:
        """True for a request whose body goes upstream as it comes; that of GET and HEAD means nothing (RFC 9110 §9.3.1)."""
        return request.method not in (b"GET", b"HEAD") and self.select(request) is not None

    def entries(self, key: str, hashed: bytes) -> tuple[Entry, ...]:
        row = self.rows.lookup_pulled(hashed)
        if row is None or row.key != key:
            return ()
        return read_entries(row.variants, lambda variant: self.rows.judge_pulled(key, variant))

    def shown(self, entry: Entry) -> Shown:
        name = (entry.variant.response, entry.variant.size)
        found = self._shown.get(name)
        if found is None:
            if len(self._shown) >= _REMEMBERED:
                del self._shown[next(iter(self._shown))]
            found = self._shown[name] = show(entry.stored, entry.variant.size)
        return found


class ObjectWait(Wait):
    """Which variant answers? Tells `known(head)` once, `pass_on()` where the answer may not be stored, or `failed(outcome)`."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        link: LinkClient,
        resource: Resource,
        asked: Fields,
        blocks: tuple[int, int | None],
        wait_s: float,
        known: Callable[[Head], None],
        pass_on: Callable[[], None],
        failed: Callable[[Outcome], None],
    ) -> None:
        super().__init__(loop, link, failed)
        self._known = known
        self._pass_on = pass_on
        self._restart_timer(wait_s)
        self._ask = link.want(self, resource.key, *blocks, head_only=True, fields=asked, shared=False)

    def head(self, head: Head) -> None:
        self.cancel()
        self._known(head)

    def ready(self, ready: Ready) -> None:
        """A block that nobody asked for."""

    def done(self) -> None:
        super().done()
        self._tell_failed(Outcome.UPSTREAM_FAILED)

    def failed(self, why: FetchFailure) -> None:
        if why is FetchFailure.NOT_STORABLE:
            super().done()
            self._pass_on()
        else:
            super().failed(why)


class Front(Protocol):
    """The exchange, as a pulled request sees it."""

    def hold(self, wait: Wait | None) -> None:
        """What is cancelled when the client leaves."""

    def around(self) -> Surroundings: ...

    def now(self) -> float:
        """The wall clock: freshness goes by it, not by the whole second of `around`."""

    @property
    def is_trusted(self) -> bool:
        """The client is told the key, too."""

    def send(self, answer: Answer, version: Version | None) -> None: ...

    def refuse(self, outcome: Outcome, detail: str) -> None: ...

    def pass_on(self, service: Service, resource: Resource) -> None:
        """Forward the request as it is; nothing of the answer is stored."""


class Pulled:
    """One GET or HEAD of a pull-through service. `start` it once; `again` when its version turned out to be gone."""

    __slots__ = (
        "_asked",
        "_first",
        "_front",
        "_hashed",
        "_last",
        "_puller",
        "_request",
        "_resource",
        "_retried",
        "_service",
    )

    def __init__(
        self, puller: Puller, front: Front, request: Request, service: Service, resource: Resource, first: int
    ) -> None:
        """`first` is the first byte that is asked for, -1 for all of the object."""
        self._puller = puller
        self._front = front
        self._request = request
        self._service = service
        self._resource = resource
        self._hashed = key_hash(resource.key)
        self._asked = service.asked(request.headers)
        self._first = first
        self._retried = False

    def start(self) -> None:
        puller, key = self._puller, self._resource.key
        entries = puller.entries(key, self._hashed)
        now = self._front.now()
        reuse = decide(self._request.method, dict(self._asked), [entry.stored for entry in entries], now)
        chosen = next((entry for entry in entries if entry.stored is reuse.stored), None)
        if chosen is not None and reuse.use in (Use.HIT, Use.HIT_STALE, Use.REFRESH):
            if reuse.use is Use.REFRESH:
                puller.machinery.link.hint(key, 0, 0, b"", self._asked)
            self._serve(chosen, status_of(reuse), Outcome.HIT)
        else:
            self._ask()  # also for what is wanted only if held: the keeper knows what is on its way

    def again(self) -> bool:
        """The version is no more, and nothing was sent: ask for another one, once."""
        if self._retried:
            return False
        self._retried = True
        self._ask()
        return True

    def _ask(self) -> None:
        m = self._puller.machinery
        m.counters.add(Count.WANTS)
        blocks = (self._first // BLOCK_BYTES, self._first // BLOCK_BYTES) if self._first >= 0 else (0, None)
        asked = self._asked
        if self._is_head:  # nothing is fetched for it
            said = dict(asked)
            wanted = b"only-if-cached, " + said.get(b"cache-control", b"")
            asked = tuple((said | {b"cache-control": wanted}).items())
        self._front.hold(
            ObjectWait(
                m.loop,
                m.link,
                self._resource,
                asked,
                blocks,
                m.first_byte_s,
                self._known,
                self._pass_on,
                self._failed,
            )
        )

    def _known(self, head: Head) -> None:
        self._front.hold(None)
        row = unpack_pulled(head.row)
        entry = read_entry(row.variants[0], None) if row is not None and row.variants else None
        if entry is None:
            self._front.refuse(Outcome.UPSTREAM_FAILED, SENTENCES[Outcome.UPSTREAM_FAILED])
            return
        now = self._front.now()
        self._serve(
            entry, _said_of(head, entry, dict(self._asked), now), Outcome.MISS if head.forwarded else Outcome.HIT
        )

    def _pass_on(self) -> None:
        self._front.hold(None)
        self._front.pass_on(self._service, self._resource)

    @property
    def _is_head(self) -> bool:
        return self._request.method == b"HEAD"

    def _failed(self, outcome: Outcome) -> None:
        self._front.hold(None)
        if outcome is Outcome.NOT_HELD and self._is_head and not read_request(dict(self._asked)).only_if_cached:
            self._front.pass_on(self._service, self._resource)
            return
        self._front.refuse(outcome, SENTENCES.get(outcome, "the object is not held here"))

    def _serve(self, entry: Entry, said: CacheStatus, outcome: Outcome) -> None:
        around = self._front.around()
        shown = self._puller.shown(entry)
        if self._front.is_trusted:
            said = replace(said, key=self._resource.key)
        status = appended(shown.upstream_status, said.member())
        facts = b"Age: %d\r\nCache-Status: %b\r\n" % (age(entry.stored.age_s(self._front.now())), status)
        answer = plan_pulled(self._request, shown, around, outcome, facts)
        variant = entry.variant
        key = storage_key(self._resource.key, variant.version)
        version = Version(key, key_hash(key), variant.version, variant.size, self._asked)
        self._front.send(answer, version)


def _said_of(head: Head, entry: Entry, asked: dict[bytes, bytes], now: float) -> CacheStatus:
    """What the keeper did for it, in the words of RFC 9211."""
    if not head.forwarded:
        # Its row was newer than the index's, and the decision is the one that we would have made on it.
        reuse = decide(b"GET", asked, [entry.stored], now)
        if reuse.use in (Use.HIT, Use.HIT_STALE, Use.REFRESH):
            return status_of(reuse, collapsed=head.collapsed)
    try:
        reason = ReuseReason(head.forwarded) if head.forwarded else ReuseReason.FRESH
    except ValueError:
        reason = ReuseReason.URI_MISS
    use = Use.FETCH if head.forwarded else Use.HIT
    reuse = Reuse(use, reason, entry.stored, (), entry.stored.age_s(now), entry.stored.ttl_s(now))
    other = head.forward_status if head.forward_status not in (0, entry.stored.status) else None
    stored = bool(head.forwarded) and reason is not ReuseReason.STALE_IF_ERROR
    return status_of(reuse, fwd_status=other, stored=stored, collapsed=head.collapsed)
