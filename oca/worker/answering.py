"""One request, from its facts to the end of its answer: method, address, host, token, key, look-up, plan, body.

The token is checked before the key is used, is no part of it, and never reaches a log line, the keeper or a peer. What the index does
not know is asked of the keeper (players), or refused (peers, and whoever says `only-if-cached`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from contracts.digests import BLOCK_BYTES
from contracts.tokens.claims import TokenRefused
from oca.http.cors import Cors
from oca.http.disclosure import HIT, MISS, PARTIAL, details, refusal
from oca.http.keys import Address, Resource, host_of, read_resource, read_target
from oca.http.reasons import OF_TOKEN, Closing, Outcome
from oca.http.request import Request, RequestRefused
from oca.http.response import (
    Answer,
    Representation,
    Surroundings,
    check_expectation,
    plan,
    preflight,
    problem,
    read_representation,
)
from oca.link.counters import Count, CounterLine
from oca.link.messages import Head
from oca.link.variants import Service
from oca.store.extents import ExtentRecord, key_hash
from oca.worker import forwarding
from oca.worker.accesslog import AccessLog, Unlogged, cmcd_of
from oca.worker.accounting import Accounting
from oca.worker.credentials import HEADER, FillCredentials
from oca.worker.forwarding import Forwarder
from oca.worker.gate import CMCD_HEADERS, Gate
from oca.worker.holdings import Held, Version
from oca.worker.misses import SENTENCES, HeadWait, Wait
from oca.worker.ports import ByteTransport, Machinery, Waiting
from oca.worker.pulling import Pulled, Puller
from oca.worker.recognition import Usual
from oca.worker.remote import Remote
from oca.worker.sending import Sender
from oca.worker.tls import has_passed
from oca.worker.tokens import Tokens

_FIRST = re.compile(rb"bytes=([0-9]{1,18})-")
_REMEMBERED = 4096
SERVER = "lowtide"
"""The name in CMSD-Dynamic of an appliance that has none yet."""


@dataclass(slots=True)
class Desk:
    """What all requests of a worker share. The worker's clockwork keeps it current."""

    machinery: Machinery
    cors: Cors
    tokens: Tokens
    accounting: Accounting
    counters: CounterLine
    now: Callable[[], float]
    date_line: Callable[[int], bytes]
    gate: Gate
    hosts: frozenset[bytes]
    """Host names served; empty: the address the connection came to."""
    names: frozenset[bytes] = frozenset()
    """Public names of the box, served beside them, at whichever port."""
    own_id: str = ""
    refuse_sessions_since: float | None = None
    """While draining: sessions that began at this instant or later are new."""
    keep_alive: bool = True
    log: AccessLog = field(default_factory=Unlogged)
    says_delivery: bool = False
    """Answers carry CMSD-Dynamic."""
    under_duress: bool = False
    """New sessions are shed."""
    credentials: FillCredentials | None = None
    """What peers have to show."""
    puller: Puller | None = None
    """Where pull-through services are configured."""
    _around: Surroundings | None = None
    _representations: dict[tuple[int, bytes], Representation] = field(default_factory=dict)

    def around(self) -> Surroundings:
        """The surroundings of an answer now; one value serves a whole second."""
        second = int(self.now())
        found = self._around
        if found is None or found.now != second or found.keep_alive is not self.keep_alive:
            found = self._around = Surroundings(self.cors, self.date_line(second), float(second), self.keep_alive)
        return found

    def hit(self, remote: Remote, key: str, sent: int, head_bytes: int) -> None:
        """The short way has sent all that was asked for of a file."""
        self.counters.hit(sent)
        remote.stream.answered(key, sent, head_bytes + sent)
        if not self.accounting.add(key, False, sent, 0, False, remote.network):
            self.counters.add(Count.UNREPORTED, sent)

    def delivery(self, remote: Remote, now: float, delay_ms: int) -> bytes:
        """The header line of CMSD-Dynamic."""
        return remote.delivery(self.own_id or SERVER, now, delay_ms, under_duress=self.under_duress)

    def ended(self, remote: Remote, is_peer: bool, buffered: int) -> None:
        """The other side broke a connection off: what never arrived was not served."""
        for shortfall in remote.missing(buffered):
            self.accounting.take_back(shortfall.key, is_peer, shortfall.missing, remote.network)
            self.counters.add(Count.UNACKNOWLEDGED, max(0, shortfall.missing))

    def representation(self, size: int, block: bytes) -> Representation:
        found = self._representations.get((size, block))
        if found is None:
            found = read_representation(size, block, self.now())
            if len(self._representations) >= _REMEMBERED:
                del self._representations[next(iter(self._representations))]
            self._representations[(size, block)] = found
        return found


class Owner(Protocol):
    """The connection, as an exchange sees it."""

    transport: ByteTransport
    is_peer: bool
    appliance: str
    """The id in a peer's certificate."""
    is_plain: bool
    is_trusted: bool
    """The client is told details of how its answers were made."""
    own_hosts: frozenset[bytes]
    remote: Remote
    session: str | None
    """The session it was let in for."""
    pace: int

    @property
    def is_congested(self) -> bool: ...

    def answered(self, keep_alive: bool, fatal: bool) -> None:
        """The answer was handed over in full."""

    def give_up(self, why: Closing) -> None:
        """The answer cannot be completed: abort."""

    def set_pace(self, rate: int) -> None: ...

    def read_on(self) -> bool:
        """Parse more of the body of the request that is being answered; False when nothing more has come."""


class Exchange:
    """One request on one connection. `start` it; `lost` when the connection is gone."""

    __slots__ = (
        "_answer",
        "_began",
        "_deadline",
        "_desk",
        "_fatal",
        "_first",
        "_hashed",
        "_key",
        "_owner",
        "_path",
        "_pulled",
        "_request",
        "_session",
        "_wait",
        "sender",
    )

    def __init__(self, desk: Desk, owner: Owner, request: Request) -> None:
        self._desk = desk
        self._owner = owner
        self._request = request
        self._began = desk.now()
        self._path = b""
        self._session = ""
        self._first = -1
        self._key: str | None = None
        self._hashed = b""
        self._answer: Answer | None = None
        self._fatal = False
        self._pulled: Pulled | None = None
        self._wait: Wait | None = None
        self._deadline = 0.0
        self.sender: Sender | Forwarder | None = None

    @property
    def is_congested(self) -> bool:
        return self._owner.is_congested

    @property
    def is_stuck(self) -> bool:
        """True when nothing will ever go on: asked between two turns of the loop."""
        return self._wait is None and (self.sender is None or self.sender.waiting is Waiting.NOTHING)

    def start(self) -> None:
        try:
            self._decide()
        except RequestRefused as refused:
            self.refuse(refused.outcome, refused.detail, fatal=refused.fatal)
        except TokenRefused as refused:
            self.refuse(OF_TOKEN[refused.why], str(refused))

    def hold(self, wait: Wait | None) -> None:
        """What is cancelled when the client leaves."""
        self._wait = wait

    def around(self) -> Surroundings:
        return self._desk.around()

    def now(self) -> float:
        return self._desk.now()

    @property
    def is_trusted(self) -> bool:
        return self._owner.is_trusted

    def lost(self, why: Outcome) -> None:
        """The connection ended before the answer did."""
        if self._wait is not None:
            self._wait.cancel()
            self._wait = None
        sender, self.sender = self.sender, None
        if sender is not None:
            sender.cancel()
        self._ended(why, sender)

    def more_came(self) -> None:
        """More of the request's body has come."""
        if isinstance(self.sender, Forwarder):
            self.sender.more_came()

    def read_on(self) -> bool:
        return self._owner.read_on()

    def planned(self, answer: Answer) -> None:
        self._answer = answer

    def sent(self, outcome: Outcome) -> None:
        sender, answer = self.sender, self._answer
        assert sender is not None, "a sender told it"
        assert answer is not None, "what was sent was an answer"
        self.sender = None
        self._ended(outcome, sender)
        self._owner.answered(answer.keep_alive, self._fatal)

    def not_sent(self, outcome: Outcome, head_sent: bool) -> None:
        sender, self.sender = self.sender, None
        if not head_sent and outcome is Outcome.UPSTREAM_FAILED and self._pulled is not None and self._pulled.again():
            return
        if not head_sent and outcome.problem is not None:
            sentences = forwarding.SENTENCES if isinstance(sender, Forwarder) else SENTENCES
            self.refuse(outcome, sentences.get(outcome, "the stored bytes cannot be read"))
            return
        self._ended(outcome, sender)
        self._owner.give_up(Closing.CLIENT if outcome is Outcome.CLIENT_LEFT else Closing.ABORTED)

    def _decide(self) -> None:
        request, desk = self._request, self._desk
        if b"expect" in request.headers:
            check_expectation(request)
        if desk.puller is not None and not self._owner.is_peer:
            service = desk.puller.select(request)
            if service is not None:
                self._pull(desk.puller, service)
                return
        if request.method == b"OPTIONS":
            if request.target != b"*":
                read_target(request.target)
            self.send(preflight(request, self._desk.around()), None)
            return
        if request.method not in (b"GET", b"HEAD"):
            self.refuse(Outcome.METHOD, f"{request.method.decode('ascii', 'replace')} is not answered here")
            return
        address = read_target(request.target)
        self._path = address.path.encode("latin-1")
        if self._owner.is_peer:
            host_of(request, address)
            if address.token is not None:
                raise RequestRefused(Outcome.NOT_FOUND, "a peer's address carries no token", fatal=False)
        else:
            self._check_player(address)
        if has_passed(request.headers.get(b"cdn-loop"), desk.own_id):
            raise RequestRefused(Outcome.LOOP, "the request has passed here before", fatal=False)
        if address.key is None:
            raise RequestRefused(Outcome.NOT_FOUND, "the address is none of media", fatal=False)
        if self._owner.is_peer and desk.credentials is not None:
            desk.credentials.check(request.headers.get(HEADER), self._owner.appliance, address.key, desk.now())
        self._key, self._hashed = address.key, key_hash(address.key)
        self._look_up(address.key)

    def _pull(self, puller: Puller, service: Service) -> None:
        """The request is for a pull-through service. Raises RequestRefused."""
        request, m = self._request, self._desk.machinery
        resource = read_resource(service.name, request.target, service.kept_parameters)
        self._path = resource.path.partition("?")[0].encode("latin-1")
        self._deadline = m.loop.time() + m.first_byte_s
        if has_passed(request.headers.get(b"cdn-loop"), self._desk.own_id):
            raise RequestRefused(Outcome.LOOP, "the request has passed here before", fatal=False)
        if request.method not in (b"GET", b"HEAD"):
            self.pass_on(service, resource)
            return
        match = _FIRST.match(request.headers.get(b"range", b""))
        self._first = int(match[1]) if match is not None and request.method == b"GET" else -1
        self._pulled = Pulled(puller, self, request, service, resource, self._first)
        self._pulled.start()

    def pass_on(self, service: Service, resource: Resource) -> None:
        """Forward the request as it is; nothing of the answer is stored."""
        desk, request = self._desk, self._request
        try:
            asked = forwarding.ask_of(service, resource, request, desk.own_id)
        except RequestRefused as refused:
            self.refuse(refused.outcome, refused.detail, fatal=refused.fatal)
            return
        forwarder = self.sender = Forwarder(
            desk.machinery,
            self._owner.transport,
            self,
            request,
            asked,
            desk.around(),
            service.settings.max_request_bytes,
        )
        forwarder.start()

    def take_over(
        self,
        version: Version,
        answer: Answer,
        held: Held,
        window: int,
        sending: asyncio.Future[None] | None,
        by_kernel: bool,
        usual: Usual,
        session: str,
    ) -> None:
        """Go on with an answer that began elsewhere: header and first window are handed over, `sending` is pending until they are gone.

        `by_kernel` says that `sendfile` took the window. `usual` and `session` are what was asked and by whom.
        """
        self._path, self._session, self._first = usual.path, session, usual.first if usual.is_range else -1
        m = self._desk.machinery
        self._key, self._hashed, self._answer = version.key, version.hashed, answer
        self._deadline = m.loop.time() + m.first_byte_s
        sender = self.sender = Sender(
            m, self._owner.transport, self, answer, version, self._owner.is_plain, self._deadline
        )
        sender.take_over(held, window, sending, by_kernel)

    def _check_player(self, address: Address) -> None:
        """Host, token and state. Raises RequestRefused, TokenRefused."""
        desk = self._desk
        hosts = desk.hosts or self._owner.own_hosts
        if address.host is not None or self._request.headers.get(b"host") not in hosts:
            self._check_host(host_of(self._request, address), hosts)
        if address.token is None and address.key is None:
            raise RequestRefused(Outcome.NOT_FOUND, "the address is none of media", fatal=False)
        claims = desk.tokens.check(address.token, address.path, desk.now())
        self._session = claims.session
        since = desk.refuse_sessions_since
        if since is not None and claims.began_at >= since:
            raise RequestRefused(Outcome.DRAINING, "this appliance takes no new sessions", fatal=False)
        owner = self._owner
        if owner.session != claims.session:
            desk.gate.enter(owner, claims.session)
        said = _said(self._request)
        if said or owner.pace:
            desk.gate.heard(owner, said, address.path, claims, desk.now())

    def _check_host(self, host: bytes | None, hosts: frozenset[bytes]) -> None:
        if host is None:
            # HTTP/1.0 without a host means the only service there is, unless names were configured.
            if self._desk.hosts:
                raise RequestRefused(Outcome.MISDIRECTED, "the Host header is missing", fatal=False)
        elif host not in hosts and host.partition(b":")[0] not in self._desk.names:
            raise RequestRefused(Outcome.MISDIRECTED, "this host name is not served here", fatal=False)

    def _look_up(self, key: str) -> None:
        request, m = self._request, self._desk.machinery
        match = _FIRST.match(request.headers.get(b"range", b""))
        near = int(match[1]) if match is not None else 0
        self._first = near if match is not None else -1
        self._deadline = m.loop.time() + m.first_byte_s
        record = m.holdings.find(key, self._hashed, near)
        if record is not None:
            version = Version(key, self._hashed, record.version, record.file_size)
            self._plan(version, record.header, self._facts_of(record, near, key), record)
        elif self._store_only:
            self.refuse(Outcome.NOT_HELD, "the file is not held here")
        else:
            self._desk.counters.add(Count.WANTS)
            self._wait = HeadWait(m.loop, m.link, key, m.first_byte_s, self._head_known, self._head_failed)

    @property
    def _store_only(self) -> bool:
        """A peer never fetches for a peer; RFC 9111 §5.2.1.7 gives players the same wish."""
        return self._owner.is_peer or b"only-if-cached" in self._request.headers.get(b"cache-control", b"").lower()

    def _facts_of(self, record: ExtentRecord, near: int, key: str) -> bytes:
        extent_bytes = self._desk.machinery.holdings.extent_bytes
        age_s = max(0, int(self._desk.now() - record.stored_at))
        block = (near - record.extent_number * extent_bytes) // BLOCK_BYTES
        here = near // extent_bytes == record.extent_number and bool(record.bits >> block & 1)
        return self._told(HIT if here else PARTIAL, key, record.header, age_s, (record.disk, record.extent_id))

    def _told(self, line: bytes, key: str, block: bytes, age_s: int, place: tuple[int, int] | None) -> bytes:
        if self._owner.is_trusted:
            m = self._desk.machinery
            waited_s = m.loop.time() - (self._deadline - m.first_byte_s)
            line = details(line, key, block, age_s, waited_s, place)
        return b"%bAge: %d\r\n" % (line, age_s)

    def _head_known(self, head: Head) -> None:
        self._wait = None
        assert self._key is not None, "the head of a key was asked for"
        version = Version(self._key, self._hashed, head.version, head.size_bytes)
        self._plan(version, head.header_block, self._told(MISS, version.key, head.header_block, 0, None))

    def _head_failed(self, outcome: Outcome) -> None:
        self._wait = None
        self.refuse(outcome, SENTENCES[outcome])

    def _plan(self, version: Version, block: bytes, facts: bytes, known: ExtentRecord | None = None) -> None:
        found = self._desk.representation(version.size, block)
        answer = plan(self._request, found, self._desk.around(), Outcome.HIT if known else Outcome.MISS, facts)
        if self._store_only:
            holdings = self._desk.machinery.holdings
            spans = [part for part in answer.parts if not isinstance(part, bytes)]
            if not all(holdings.holds(version, first, last) for first, last in spans):
                self.refuse(Outcome.NOT_HELD, "not all of the bytes asked for are held here")
                return
        self.send(answer, version, known)

    def refuse(self, outcome: Outcome, detail: str, *, fatal: bool = False) -> None:
        body = self._request.body
        fatal = fatal or (body is not None and not body.ended)  # where the next request begins is not known yet
        self._fatal = fatal
        extra = refusal(outcome) if self._owner.is_trusted else b""
        self.send(problem(self._request, self._desk.around(), outcome, detail, extra, fatal=fatal), None)

    def send(self, answer: Answer, version: Version | None, known: ExtentRecord | None = None) -> None:
        owner = self._owner
        if self._desk.says_delivery and not owner.is_peer:
            now = self._desk.now()
            said = self._desk.delivery(owner.remote, now, round((now - self._began) * 1000))
            answer = replace(answer, head=answer.head[:-2] + said + b"\r\n")
        self._answer = answer
        sender = self.sender = Sender(
            self._desk.machinery, owner.transport, self, answer, version, owner.is_plain, self._deadline, known
        )
        sender.step()

    def _ended(self, outcome: Outcome, sender: Sender | Forwarder | None) -> None:
        """Count, account and log, once per request."""
        desk, remote, request, answer = self._desk, self._owner.remote, self._request, self._answer
        desk.counters.ended(outcome)
        status, sent, missed = 0, 0, 0
        if sender is not None and answer is not None and sender.head_sent:
            status, sent, missed = answer.status, sender.sent, sender.missed
            is_media = self._key is not None and answer.outcome.problem is None and bool(answer.parts)
            remote.stream.answered(self._key or "" if is_media else "", sent, len(answer.head) + sent)
        if sender is not None:
            self._account(sender)
        said = request.target.partition(b"?")[2] or cmcd_of(request.headers)
        desk.log.add(
            remote.network,
            self._began,
            desk.now(),
            request.method,
            status,
            outcome,
            self._path,
            said,
            self._session,
            self._first,
            sent,
            missed,
        )

    def _account(self, sender: Sender | Forwarder) -> None:
        """What of a media body reached the kernel, whether or not all of it did."""
        key, answer = self._key, self._answer
        pulled = self._pulled is not None
        if (key is None and not pulled) or answer is None or answer.outcome.problem is not None or not answer.parts:
            return
        desk, peer = self._desk, self._owner.is_peer
        if key is not None and not desk.accounting.add(
            key, peer, sender.sent, sender.missed, sender.asked, self._owner.remote.network
        ):
            desk.counters.add(Count.UNREPORTED, sender.sent)
        desk.counters.add(Count.PEER_BYTES if peer else Count.CLIENT_BYTES, sender.sent)
        desk.counters.add(Count.HIT_BYTES, sender.sent - sender.missed)
        desk.counters.add(Count.MISS_BYTES, sender.missed)


def _said(request: Request) -> bytes:
    """What the player said by CMCD: in its query or, as it comes, in its headers."""
    query = request.target.partition(b"?")[2]
    if b"CMCD=" in query:
        return query
    headers = request.headers
    return b",".join([headers[name] for name in CMCD_HEADERS if name in headers])
