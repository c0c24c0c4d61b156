"""One request that is forwarded to the upstream of a service, and its answer, while both move (`oca.worker.passing`, `oca.http.forwarding`).

It takes the place of a `Sender` in an exchange. What an exchange waits for is one `Waiting`; which timeout holds follows from it.

Laws:
- A piece of the request is taken from the client only when the keeper took the one before; a piece of the answer only when the client did.
- Nothing is asked twice: what was begun and broke off is 502 or 504 while no header is out, the end of the connection behind it.
- A body of another length than its header says aborts the connection.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Protocol

from oca.http.forwarding import answer_head, fields_upstream, is_bodiless
from oca.http.keys import Resource
from oca.http.reasons import Outcome
from oca.http.request import Incoming, Request, RequestRefused
from oca.http.response import Answer as Planned
from oca.http.response import Surroundings
from oca.link.counters import Count
from oca.link.messages import FetchFailure
from oca.link.passing import Answer, Forward, Interim
from oca.link.variants import Service
from oca.worker.misses import OF_FAILURE
from oca.worker.passing import Lost, Passage
from oca.worker.ports import ByteTransport, Machinery, Receiver, Waiting

_GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"
_AT_ONCE = struct.pack("ii", 1, 0)
_NO_BODY = Incoming(0, False)
_NO_BODY.ended = True


SENTENCES: dict[Outcome, str] = {
    Outcome.BAD_REQUEST: "the request's body cannot be read to its end",
    Outcome.TOO_LARGE: "the request's body is longer than this service takes",
    Outcome.UPSTREAM_TIMEOUT: "the upstream did not answer in time, or could not be reached",
    Outcome.UPSTREAM_FAILED: "the upstream broke off",
    Outcome.KEEPER_AWAY: "the part that forwards is restarting",
    Outcome.UNAVAILABLE: "as many requests as may be are being forwarded",
    Outcome.NOT_FOUND: "the service is not known yet",
    Outcome.LOOP: "the request has passed here before",
}


def ask_of(service: Service, resource: Resource, request: Request, own_id: str) -> Forward:
    """What the keeper is asked. Raises RequestRefused."""
    body, limit = request.body, service.settings.max_request_bytes
    if body is not None and body.length is not None and body.length > limit:
        raise RequestRefused(Outcome.TOO_LARGE, f"a body has at most {limit} bytes", fatal=False)
    fields = fields_upstream(request, own_id)
    length, waits = (0, False) if body is None else (body.length, body.waits)
    return Forward(service.name, request.method, resource.path.encode("latin-1"), fields, length, waits)


class Client(Receiver, Protocol):
    """The exchange, as a forwarder sees it."""

    def planned(self, answer: Planned) -> None:
        """The answer's header goes out now."""

    def read_on(self) -> bool:
        """Parse more of the request's body from what has come; False when nothing has."""


class Forwarder:
    """`start` it."""

    __slots__ = (
        "_around",
        "_asked",
        "_body",
        "_chunked",
        "_client",
        "_come",
        "_complete",
        "_ended",
        "_left",
        "_limit",
        "_m",
        "_passage",
        "_request",
        "_transport",
        "asked",
        "head_sent",
        "missed",
        "sent",
        "waiting",
    )

    def __init__(
        self,
        machinery: Machinery,
        transport: ByteTransport,
        client: Client,
        request: Request,
        asked: Forward,
        around: Surroundings,
        limit: int,
    ) -> None:
        """A request's body has at most `limit` bytes."""
        self._m = machinery
        self._transport = transport
        self._client = client
        self._request = request
        self._body = request.body or _NO_BODY
        self._asked = asked
        self._around = around
        self._limit = limit
        self._passage: Passage | None = None
        self._ended = False
        """The request is handed over in full."""
        self._come = bytearray()
        self._complete = False
        """The answer has come in full."""
        self._chunked = False
        self._left: int | None = None
        """Bytes of the answer's body that are still promised; None where they are not counted."""
        self.waiting = Waiting.NOTHING
        self.asked = True
        self.head_sent = False
        self.sent = 0
        self.missed = 0

    def start(self) -> None:
        m = self._m
        self._passage = m.passing.open(self._asked, self, m.stall_s, m.stall_s)
        if self._passage is None:
            self._fail(Outcome.UNAVAILABLE if m.link.is_linked else Outcome.KEEPER_AWAY)
            return
        self._pump()

    def more_came(self) -> None:
        """The client has sent more."""
        if self._passage is not None and not self._ended:
            self._pump()

    def drained(self) -> None:
        """The client has taken what was handed over."""
        if self.waiting is Waiting.CLIENT:
            self._give()

    def cancel(self) -> None:
        """The connection is gone: nobody is told."""
        passage, self._passage = self._passage, None
        if passage is not None:
            passage.close()
        if self.waiting is Waiting.SHARE:
            self._m.egress.forget(self._transport)
        self.waiting = Waiting.NOTHING

    # The request.

    def _pump(self) -> None:
        """Hand over what has come of the request's body, as far as the keeper takes it."""
        body, passage = self._body, self._passage
        while passage is not None and not self._ended and not passage.is_congested:
            if body.received > self._limit:
                self._fail(Outcome.TOO_LARGE)
                return
            if body.pieces:
                passage.send(body.pieces.popleft())
            elif body.ended:
                self._ended = True
                passage.end()
            elif body.broken:
                self._fail(Outcome.BAD_REQUEST)
                return
            elif not self._client.read_on():
                break
            passage = self._passage
        self._settle()

    def writable(self) -> None:
        self._pump()

    def _settle(self) -> None:
        """What is waited for now."""
        passage = self._passage
        if passage is None or self.waiting in (Waiting.CLIENT, Waiting.SHARE, Waiting.TURN):
            return
        owes = not self._ended and not passage.is_congested and not self._body.waits
        self.waiting = Waiting.BODY if owes else Waiting.BLOCKS

    # The answer.

    def interim(self, said: Interim) -> None:
        """Only `100` is passed on: it says when the client is to send its body."""
        body = self._body
        if said.status == 100 and body.waits and not self.head_sent:
            body.waits = False
            if not body.received:
                self._transport.write(_GO_ON)
            self._settle()

    def answered(self, answer: Answer) -> None:
        planned, self._chunked = answer_head(
            self._request, self._around, answer.status, answer.fields, answer.length, Outcome.PASSED
        )
        bodiless = is_bodiless(self._request.method, answer.status)
        self._left = 0 if bodiless else answer.length
        self._client.planned(planned)
        self._transport.write(planned.head)
        self.head_sent = True

    def came(self, data: bytes) -> None:
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                self._fail(Outcome.UPSTREAM_FAILED)
                return
        self._come += data
        if self.waiting not in (Waiting.CLIENT, Waiting.SHARE, Waiting.TURN):
            self._give()

    def complete(self) -> None:
        if self._left:
            self._fail(Outcome.UPSTREAM_FAILED)
            return
        self._complete = True
        if self.waiting not in (Waiting.CLIENT, Waiting.SHARE, Waiting.TURN):
            self._give()

    def refused(self, why: FetchFailure) -> None:
        self._fail(OF_FAILURE[why])

    def lost(self, why: Lost) -> None:
        if why is Lost.LATE:
            self._fail(Outcome.UPSTREAM_TIMEOUT)
        else:
            self._fail(Outcome.UPSTREAM_FAILED if self.head_sent else Outcome.KEEPER_AWAY)

    def _give(self) -> None:
        """Hand over what has come of the answer's body, and let more come when the client took it."""
        m, passage, length = self._m, self._passage, len(self._come)
        assert passage is not None, "bytes come from a stream"
        self.waiting = Waiting.BLOCKS
        if length and m.egress.is_capped:
            length = m.egress.take(self._transport, length)
            if not length:
                passage.pause()
                self.waiting = Waiting.SHARE
                m.egress.wait(self._transport, self._share_came)
                return
        if length:
            self._write(length)
        if self._transport.is_closing():
            self._fail(Outcome.CLIENT_LEFT)
        elif self._client.is_congested:
            passage.pause()
            self.waiting = Waiting.CLIENT
        elif self._come:
            passage.pause()
            self.waiting = Waiting.TURN
            m.loop.call_soon(self._next_turn)
        elif self._complete:
            self._finish()
        else:
            passage.resume()
            self._settle()

    def _write(self, length: int) -> None:
        data = bytes(self._come[:length])
        del self._come[:length]
        if self._chunked:
            self._transport.writelines((b"%x\r\n" % length, data, b"\r\n"))
        else:
            self._transport.write(data)
        self.sent += length
        self.missed += length
        self._m.counters.add(Count.PASSED_BYTES, length)

    def _share_came(self) -> None:
        if self.waiting is Waiting.SHARE:
            self._give()

    def _next_turn(self) -> None:
        if self.waiting is Waiting.TURN:
            self._give()

    def _finish(self) -> None:
        if self._chunked:
            self._chunked = False
            self._transport.write(b"0\r\n\r\n")
            if self._client.is_congested:
                self.waiting = Waiting.CLIENT
                return
        client = self._client
        self.cancel()
        client.sent(Outcome.PASSED)

    def _fail(self, outcome: Outcome) -> None:
        client, head_sent = self._client, self.head_sent
        if head_sent and self._left is None and not self._chunked:
            _reset(self._transport)
        self.cancel()
        client.not_sent(outcome, head_sent)


def _reset(transport: ByteTransport) -> None:
    """The end of the connection is the end of this body: one that broke off must not look whole (RFC 9112 §8)."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
