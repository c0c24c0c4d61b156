"""A short way through a listener for one kind of request; everything else goes the long way, untouched.

What a service answers thousands of times a second from memory need not pass a router, middlewares and streams: here whole requests of one
exact shape are answered where they were read. Laws
- The short way takes a request only when all of it came in one read, its line is exactly the one it is for, and its head has nothing but what
  `body_length` knows to be harmless. What is odd in any way is handed, with the connection, to the application behind: not one byte of it
  was interpreted, and the connection stays there.
- A request that the service does not answer with 200 is handed over too: refusals are worded in one place. So is one that its answer fails at.
- A connection that is idle for IDLE_S is closed; one whose client does not read is not read from, and broken off IDLE_S after it was to be closed.
- Counted as the long way counts (`lowtide_http_requests_total`, `lowtide_http_request_seconds`), with request ids; only successes are seen
  here, and those the long way logs at level debug only.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import cast

from chassis.logs import get_logger
from chassis.metrics import Metrics

IDLE_S = 75.0
_LOG = get_logger("chassis.front")
_END = b"\r\n\r\n"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_LENGTH = re.compile(rb"[0-9]{1,7}")
_HARMLESS = frozenset((b"user-agent", b"accept", b"accept-encoding", b"accept-language"))

Answer = Callable[[bytes], bytes | None]
"""The JSON body of a 200 for a JSON body; None for whatever is not to be answered so."""
Behind = Callable[[], asyncio.Protocol]


class Front:
    """The short way of one listener: `POST path`, JSON to JSON."""

    def __init__(
        self, path: str, answer: Answer, metrics: Metrics, listener: str = "http", idle_s: float = IDLE_S
    ) -> None:
        self.line = f"POST {path} HTTP/1.1\r\n".encode()
        self.answer = answer
        self.answered = metrics.http_requests.labels(listener, "POST", path, "200")
        self.seconds = metrics.http_seconds.labels(listener, "POST", path)
        self.idle_s = idle_s
        self.connections: set[_Connection] = set()
        self._date = (0, b"")

    def connection(self, behind: Behind) -> asyncio.Protocol:
        """The protocol of a new connection; `behind` makes that of the application."""
        return _Connection(self, behind)

    def close(self) -> None:
        """Closes the connections that were not handed over."""
        for connection in tuple(self.connections):
            connection.close()

    def head(self, length: int, request_id: bytes) -> bytes:
        now = int(time.time())
        if now != self._date[0]:
            self._date = (now, formatdate(now, usegmt=True).encode())
        return (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\nDate: %b\r\n"
            b"X-Request-Id: %b\r\nContent-Length: %d\r\n\r\n" % (self._date[1], request_id, length)
        )


class _Connection(asyncio.Protocol):
    def __init__(self, front: Front, behind: Behind) -> None:
        self._front = front
        self._behind = behind
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._read_s = 0.0
        self._is_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop has a class of its own
        self._front.connections.add(self)
        self._wait()

    def connection_lost(self, _error: Exception | None) -> None:
        self._leave()

    def pause_writing(self) -> None:
        self._is_paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._transport is not None:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        front, transport = self._front, self._transport
        assert transport is not None
        started_s = self._read_s = time.perf_counter()
        while data:
            found = whole_request(data, front.line)
            answer = _answered(front, data[found[0] : found[1]]) if found is not None else None
            if found is None or answer is None:
                self._hand_over(data)
                return
            transport.write(front.head(len(answer), found[2]) + answer)
            now_s = time.perf_counter()
            front.answered.inc()
            front.seconds.observe(now_s - started_s)
            started_s, data = now_s, data[found[1] :]

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _hand_over(self, data: bytes) -> None:
        transport = self._transport
        assert transport is not None
        self._leave()
        protocol = self._behind()
        transport.set_protocol(protocol)
        transport.resume_reading()
        protocol.connection_made(transport)
        if self._is_paused:
            protocol.pause_writing()
        protocol.data_received(data)

    def _leave(self) -> None:
        self._transport = None
        self._front.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._front.idle_s, self._look, time.perf_counter())

    def _look(self, since_s: float) -> None:
        transport = self._transport
        if transport is None:
            return
        if transport.is_closing():
            transport.abort()  # `close` waits for what was not sent yet, which is for ever when nobody reads
            return
        if self._read_s < since_s:
            transport.close()
        self._wait()


def _answered(front: Front, body: bytes) -> bytes | None:
    """None for a body that the answer fails at, too: the long way words it."""
    try:
        return front.answer(body)
    except Exception:  # noqa: BLE001  the border of a request: logged with traceback, answered the long way
        _LOG.exception("short-way-failed")
        return None


def whole_request(data: bytes, line: bytes) -> tuple[int, int, bytes] | None:
    """(where the body begins, where it ends, the request id) of the first request, when it may go the short way; else None."""
    if not data.startswith(line):
        return None
    end = data.find(_END, len(line) - 2)
    if end < 0:
        return None
    found = body_length(data[len(line) : end])
    if found is None or end + len(_END) + found[0] > len(data):
        return None
    begin = end + len(_END)
    return begin, begin + found[0], found[1]


def body_length(head: bytes) -> tuple[int, bytes] | None:
    """(bytes of the body, the request id) by the lines of a head; None for a head that is not plain to the last line."""
    length, request_id, is_json, hosts = -1, b"", False, 0
    for line in head.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if not colon or b"\n" in line or b"\r" in line or b"\0" in line:
            return None
        if name == b"content-length":
            if length >= 0 or _LENGTH.fullmatch(value) is None:
                return None
            length = int(value)
        elif name == b"content-type":
            if value.lower() != b"application/json":
                return None
            is_json = True
        elif name == b"host":
            hosts += 1
        elif name == b"x-request-id":
            if request_id or _REQUEST_ID.fullmatch(value) is None:
                return None
            request_id = value
        elif name == b"connection":
            if value.lower() != b"keep-alive":
                return None
        elif name not in _HARMLESS:
            return None
    if not is_json or length < 0 or hosts != 1:
        return None
    return length, request_id or secrets.token_hex(8).encode()
