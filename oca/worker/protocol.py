"""One connection: bytes in, one request after another, each answered in full before the next is looked at.

Pipelined bytes wait here, bounded, unparsed beyond the next few requests. Timeouts are judged by the worker's sweep, once a second.
A refusal whose request's end is in doubt closes the writing side, and swallows what still comes for a moment: a reset would take the
answer away from the client (RFC 9112 §9.6).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Protocol, cast

from oca.http.reasons import Closing, Outcome
from oca.http.request import Limits, Request, RequestParser
from oca.http.response import problem
from oca.link.counters import Count
from oca.worker.accesslog import client_of
from oca.worker.answering import Desk, Exchange
from oca.worker.express import Express
from oca.worker.ports import ByteTransport, Waiting
from oca.worker.remote import Remote
from oca.worker.tls import appliance_of

SLICE_BYTES = 4096
BODY_SLICE_BYTES = 16 * 1024
MAX_UNPARSED_BYTES = 64 * 1024
LINGER_S = 2.0
_SAMPLE_S = 1.0
_SO_MAX_PACING_RATE = 47  # asm-generic/socket.h; the `socket` module has no name for it
_NO_PACE = 0xFFFFFFFF
_RATE = struct.Struct("=I")
_ACKED = struct.Struct("=Q")
_ACKED_OFFSET = 120  # tcpi_bytes_acked in struct tcp_info (Linux ≥ 4.1)


@dataclass(frozen=True, slots=True)
class Timeouts:
    header_s: float
    idle_s: float
    send_s: float


class House(Protocol):
    """The worker, as a connection sees it."""

    desk: Desk
    express: Express
    timeouts: Timeouts
    limits: Limits
    forwards: Callable[[Request], bool] | None
    """True for a player's request whose body goes to an upstream; None where none does."""
    client_bits: tuple[int, int]
    """What clients' addresses are cut to: IPv4, IPv6."""

    @property
    def is_full(self) -> bool:
        """True when no further connection is answered."""

    @property
    def is_swamped(self) -> bool:
        """True when even those that are turned away are too many to wait for."""

    @property
    def is_draining(self) -> bool:
        """True when no further request is answered."""

    def joined(self, connection: Connection) -> None: ...

    def left(self, connection: Connection) -> None: ...

    def trusts(self, peername: object) -> bool:
        """True when this client is told details of how its answers are made."""

    def unexpected(self, error: Exception) -> None:
        """Count and log an error nobody expected."""


class Phase(Enum):
    """What a connection does; which timeout holds follows from it."""

    IDLE = "idle"
    READING = "reading"
    """Part of a request is here."""
    ANSWERING = "answering"
    LINGERING = "lingering"
    """The answer is out, the end of the connection is written, what comes is dropped."""
    CLOSING = "closing"
    """`close` was called; the transport may still hold bytes."""


class Connection(asyncio.Protocol):
    """A player's (or with `is_peer` an appliance's) connection."""

    __slots__ = (
        "_acked",
        "_acked_at",
        "_closing",
        "_exchange",
        "_house",
        "_parser",
        "_paused_reading",
        "_saw_eof",
        "_since",
        "_unparsed",
        "_wire",
        "appliance",
        "is_congested",
        "is_peer",
        "is_plain",
        "is_surplus",
        "is_trusted",
        "network",
        "own_hosts",
        "pace",
        "phase",
        "remote",
        "session",
        "transport",
    )

    def __init__(self, house: House, is_peer: bool) -> None:
        self._house = house
        self.is_peer = is_peer
        self.appliance = ""
        self.is_plain = True
        """Bytes go out as they are: `sendfile` may be used. False where this process encrypts."""
        self.is_surplus = False
        """It came beyond `max_connections` and is only told so."""
        self.is_trusted = False
        self.is_congested = False
        self.session: str | None = None
        self.network: str | None = None
        """The client network it counts for."""
        self.pace = 0
        """Bytes per second; 0 for no pace."""
        self.phase = Phase.IDLE
        self.own_hosts: frozenset[bytes] = frozenset()
        self._parser: RequestParser | None = None
        self._unparsed = bytearray()
        self._exchange: Exchange | None = None
        self._closing: Closing | None = None
        self._paused_reading = False
        self._saw_eof = False
        self._since = 0.0
        self._acked = -1
        self._acked_at = 0.0

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast(asyncio.Transport, transport)
        self.transport = cast(ByteTransport, transport)
        self._since = self._now()
        self._wire.set_write_buffer_limits(high=0)
        self._house.desk.counters.add(Count.ACCEPTED)
        swamped = self._house.is_swamped
        self.is_surplus = self._house.is_full
        is_tls = transport.get_extra_info("ssl_object") is not None
        client = client_of(
            transport.get_extra_info("peername"), is_tls, *self._house.client_bits, is_appliance=self.is_peer
        )
        self.remote = Remote(transport.get_extra_info("socket"), client, is_tls)
        self._house.joined(self)
        self.appliance = (self.is_peer and appliance_of(transport.get_extra_info("peercert"))) or ""
        if self.is_peer and not self.appliance:
            self._close(Closing.NO_IDENTITY, abort=True)
            return
        self.is_plain = not is_tls or bool(transport.get_extra_info("ktls_send_enabled"))
        self.own_hosts = _hosts_of(transport.get_extra_info("sockname"), is_tls)
        self.is_trusted = not self.is_peer and self._house.trusts(transport.get_extra_info("peername"))
        if self.is_surplus:
            self._write_problem(Outcome.OVERLOADED, "this appliance holds as many connections as it may")
            self._end(Closing.FULL, linger=not swamped)
        elif not self.is_peer:
            self._knock(transport.get_extra_info("peername"))

    def data_received(self, data: bytes) -> None:
        if self.phase is Phase.IDLE:
            if not (self.is_peer or self.is_trusted) and self._express(data):
                return
        elif self.phase in (Phase.LINGERING, Phase.CLOSING):
            return
        parser = self._strict()
        if parser.refused is not None:  # a body that is not read, or what nobody will look at
            return
        if self.phase is Phase.ANSWERING or self._unparsed or len(data) > SLICE_BYTES:
            self._unparsed += data
            if len(self._unparsed) > MAX_UNPARSED_BYTES and not self._paused_reading:
                self._paused_reading = True
                self._wire.pause_reading()
            self._tell_of_body(parser)
        else:
            whole = not parser.partial
            parser.feed(data)
            if whole and len(parser.requests) == 1 and not parser.partial and parser.refused is None:
                self._house.express.learn(data, parser.requests[0])
        if self.phase is not Phase.ANSWERING:
            self._guarded(self._next)

    def eof_received(self) -> bool:
        """The client writes no more; what it asked for is still answered, but over TLS, where the transport ends both directions."""
        self._saw_eof = True
        if self._parser is not None:
            self._tell_of_body(self._parser)
        return self.phase is Phase.ANSWERING and self._wire.can_write_eof()

    def pause_writing(self) -> None:
        self.is_congested = True

    def resume_writing(self) -> None:
        self.is_congested = False
        exchange = self._exchange
        if exchange is None:
            if self.phase is Phase.ANSWERING:
                self.answered(keep_alive=True, fatal=False)
        elif exchange.sender is not None:
            self._guarded(exchange.sender.drained)

    def connection_lost(self, exc: Exception | None) -> None:
        why = self._closing or Closing.CLIENT
        self._drop_exchange(why)
        self.phase = Phase.CLOSING
        self._house.desk.counters.ended(why)
        if why in _BROKEN_OFF:
            self._house.desk.ended(self.remote, self.is_peer, self._wire.get_write_buffer_size())
        self._house.left(self)

    # What the exchange calls.

    def answered(self, keep_alive: bool, fatal: bool) -> None:
        self._exchange = None
        self._since = self._now()
        parser = self._parser
        more = bool(self._unparsed) or (parser is not None and bool(parser.requests or parser.refused))
        if not keep_alive or (self._saw_eof and not more):
            leaving = not self._house.desk.keep_alive
            why = Closing.REFUSED if fatal else Closing.DRAINED if leaving else Closing.ANSWERED
            # A client that does not expect the end may have sent more: a reset would take the answer away.
            self._end(
                why,
                linger=fatal or leaving or (parser is not None and (parser.refused is not None or parser.is_streaming)),
            )
            return
        if self._house.is_draining:  # it began behind the header
            self._close(Closing.DRAINED)
            return
        self.phase = Phase.IDLE
        if more:
            # One answer per turn of the loop: a connection that pipelines does not starve the others.
            self.phase = Phase.ANSWERING
            self._house.desk.machinery.loop.call_soon(self._next_turn)
        elif parser is not None:
            if parser.partial:
                self.phase = Phase.READING
            else:  # two kilobytes that an idle connection need not hold
                self._parser = None
                parser.end()

    def set_pace(self, rate: int) -> None:
        sock = self._wire.get_extra_info("socket")
        # Paced by the kernel itself where no `fq` does it (Linux ≥ 4.13). Not for Unix sockets.
        with contextlib.suppress(OSError, AttributeError):
            sock.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, _RATE.pack(min(rate, _NO_PACE) or _NO_PACE))

    def begin(self, exchange: Exchange) -> None:
        self.phase = Phase.ANSWERING
        self._since = self._acked_at = self._now()
        self._exchange = exchange

    def read_on(self) -> bool:
        parser = self._parser
        if not self._unparsed or parser is None or parser.refused is not None:
            if self._saw_eof:  # the rest will never come
                self._close(Closing.CLIENT, abort=True)
            return False
        parser.feed(bytes(self._unparsed[:BODY_SLICE_BYTES]))
        del self._unparsed[:BODY_SLICE_BYTES]
        self._resume_when_low()
        return True

    def give_up(self, why: Closing) -> None:
        self._exchange = None
        self._close(why, abort=True)

    # What the worker calls.

    def sweep(self, now: float) -> None:
        """Judge the timeouts; `now` is loop time."""
        limits, waited = self._house.timeouts, now - self._since
        match self.phase:
            case Phase.IDLE:
                if waited > limits.idle_s:
                    self._close(Closing.IDLE_TIMEOUT)
            case Phase.READING:
                if waited > limits.header_s:
                    self._close(Closing.HEADER_TIMEOUT)
            case Phase.ANSWERING:
                self._check_progress(now, limits.send_s)
            case Phase.LINGERING:
                if waited > LINGER_S:
                    self._close(self._closing or Closing.REFUSED)
            case Phase.CLOSING:
                if waited > limits.send_s:
                    self._wire.abort()

    def drain(self) -> None:
        """End as soon as nothing is being answered."""
        if self.phase in (Phase.IDLE, Phase.READING):
            self._close(Closing.DRAINED)

    def cut(self) -> None:
        """Draining has lasted long enough."""
        self._close(Closing.DRAINED, abort=True)

    # Inside.

    def _now(self) -> float:
        return self._house.desk.machinery.loop.time()

    def _knock(self, peername: object) -> None:
        if not isinstance(peername, tuple):
            return
        self.network, refusal = self._house.desk.gate.knock(str(peername[0]))
        if refusal is not None:
            self._write_problem(refusal.outcome, refusal.detail)
            self._end(Closing.NETWORK_FULL, linger=True)

    def _express(self, data: bytes) -> bool:
        """True when the short way has answered, or is about to."""
        house = self._house
        try:
            if not house.express.serve(self, data):
                return False
        except Exception as error:  # noqa: BLE001  as in `_guarded`
            house.unexpected(error)
            self._close(Closing.ABORTED, abort=True)
            return True
        if self.phase is Phase.IDLE:
            self._since = house.desk.machinery.loop.time()
            if self.is_congested:  # the transport holds the rest of it; `resume_writing` says when it has gone
                self.phase = Phase.ANSWERING
                self._acked_at = self._since
        return True

    def _strict(self) -> RequestParser:
        """The parser, made when the first bytes come that are not of the usual kind."""
        parser = self._parser
        if parser is None:
            parser = self._parser = RequestParser(self._house.limits, None if self.is_peer else self._house.forwards)
        return parser

    def _next_turn(self) -> None:
        if self.phase is Phase.ANSWERING and self._exchange is None:
            self.phase = Phase.IDLE
            self._guarded(self._next)

    def _next(self) -> None:
        """Begin to answer the next complete request, or wait for more bytes."""
        parser = self._strict()
        while not parser.requests and parser.refused is None and self._unparsed:
            piece = bytes(self._unparsed[:SLICE_BYTES])
            del self._unparsed[:SLICE_BYTES]
            parser.feed(piece)
        self._resume_when_low()
        if parser.requests:
            self._answer(parser.requests.popleft())
        elif parser.refused is not None:
            refused = parser.refused
            self._house.desk.counters.ended(refused.outcome)
            self._write_problem(refused.outcome, refused.detail, parser.begun)
            self._end(Closing.REFUSED, linger=True)
        elif self._saw_eof:
            self._close(Closing.CLIENT)  # the last request was cut off
        elif parser.partial and self.phase is Phase.IDLE:
            self.phase = Phase.READING
            self._since = self._now()

    def _resume_when_low(self) -> None:
        if self._paused_reading and len(self._unparsed) <= SLICE_BYTES:
            self._paused_reading = False
            self._wire.resume_reading()

    def _tell_of_body(self, parser: RequestParser) -> None:
        """What has come may be more of the body of the request that is being answered."""
        if parser.is_streaming and self._exchange is not None:
            self._acked_at = self._now()
            self._guarded(self._exchange.more_came)

    def _answer(self, request: Request) -> None:
        exchange = Exchange(self._house.desk, self, request)
        self.begin(exchange)
        exchange.start()

    def _guarded(self, act: Callable[[], None]) -> None:
        """The border of a connection: what nobody expected ends this connection and no other."""
        try:
            act()
        except Exception as error:  # noqa: BLE001  counted and logged with its traceback, the connection is aborted
            self._house.unexpected(error)
            self._close(Closing.ABORTED, abort=True)

    def _check_progress(self, now: float, send_s: float) -> None:
        """A client that acknowledges nothing for `send_s` while bytes wait for it is dropped."""
        exchange = self._exchange
        if exchange is None:
            self._check_acknowledged(now, send_s)
            return
        sender = exchange.sender
        if exchange.is_stuck:
            # Between two turns everything healthy waits for something: an error (logged) broke this one.
            self._close(Closing.ABORTED, abort=True)
            return
        if sender is not None and sender.waiting is Waiting.BODY:
            if now - self._acked_at > self._house.timeouts.header_s:
                self._close(Closing.HEADER_TIMEOUT, abort=True)
            return
        if sender is None or sender.waiting is not Waiting.CLIENT:
            self._acked_at = now
            return
        self._check_acknowledged(now, send_s)

    def _check_acknowledged(self, now: float, send_s: float) -> None:
        acked = self._acknowledged()
        if acked != self._acked:
            self._acked, self._acked_at = acked, now
        elif now - self._acked_at > send_s:
            self._close(Closing.SEND_TIMEOUT, abort=True)

    def _acknowledged(self) -> int:
        sock = self._wire.get_extra_info("socket")
        try:
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        except (OSError, AttributeError):
            return self._taken(sock)
        return int(_ACKED.unpack_from(info, _ACKED_OFFSET)[0]) if len(info) >= _ACKED_OFFSET + 8 else -1

    def _taken(self, sock: socket.socket) -> int:
        """What the other end of a Unix socket has read: handed over, less what still lies in the kernel."""
        exchange = self._exchange
        handed = exchange.sender.sent if exchange is not None and exchange.sender is not None else 0
        try:
            return handed - int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), "little")
        except (OSError, AttributeError):
            return self._acked

    def _write_problem(self, outcome: Outcome, detail: str, request: Request | None = None) -> None:
        desk = self._house.desk
        answer = problem(request, desk.around(), outcome, detail, fatal=True)
        body = b"".join(part for part in answer.parts if isinstance(part, bytes))
        self._wire.writelines([answer.head, body])
        self.remote.stream.answered("", 0, len(answer.head) + len(body))
        now = desk.now()
        desk.log.add(self.remote.network, now, now, b"", answer.status, outcome, b"", b"", "", -1, len(body), 0)

    def _end(self, why: Closing, *, linger: bool) -> None:
        if linger and not self._saw_eof and not self._wire.is_closing() and self._wire.can_write_eof():
            self.phase = Phase.LINGERING
            self._closing = why
            self._unparsed.clear()
            if self._paused_reading:
                self._paused_reading = False
                self._wire.resume_reading()
            self._since = self._now()
            self._wire.write_eof()
        else:
            self._close(why)

    def _close(self, why: Closing, *, abort: bool = False) -> None:
        if self._closing is None:
            self._closing = why
        self.phase = Phase.CLOSING
        self._since = self._now()
        self._unparsed.clear()
        if abort:
            self._drop_exchange(why)  # before the transport tells it that the client left
            self._wire.abort()
        else:
            self._wire.close()

    def _drop_exchange(self, why: Closing) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.lost(_LOST.get(why, Outcome.CLIENT_LEFT))


_BROKEN_OFF = (Closing.CLIENT, Closing.SEND_TIMEOUT, Closing.ABORTED)
"""Ends after which the kernel sends nothing more: what has not arrived by then never will."""
_LOST = {Closing.SEND_TIMEOUT: Outcome.SEND_TIMEOUT, Closing.DRAINED: Outcome.CUT_BY_STOP}


@lru_cache(maxsize=256)
def _hosts_of(sockname: object, is_tls: bool) -> frozenset[bytes]:
    """The names of the address that a connection came to, as a Host header spells them; `localhost` for a Unix socket."""
    if isinstance(sockname, str | bytes):
        return frozenset((b"localhost",))
    if not isinstance(sockname, tuple) or len(sockname) < 2:
        return frozenset()
    ip, port = str(sockname[0]), int(sockname[1])
    names = [f"[{ip}]" if ":" in ip else ip]
    if ip in ("127.0.0.1", "::1"):
        names.append("localhost")
    hosts = {f"{name}:{port}" for name in names}
    if port == (443 if is_tls else 80):
        hosts.update(names)
    return frozenset(host.encode() for host in hosts)
