"""Requests out of a connection's bytes: llhttp's strict grammar, and the rules it leaves to us.

Laws:
- A request is taken only when its end is beyond doubt: its head is complete, and so is its body where it has one. Anything else (both length
  headers, a fold, a bare line feed, a coding other than `chunked`, an unknown version) is one refusal, after which nothing of the
  connection is read any more (RFC 9112 §11).
- Memory is bounded before it is used: target, header bytes, header count and body have limits, and what is over them is never parsed.
- Requests that were complete before the refusal are still answered, in order.
- Media take no body. One of up to `Limits.body_bytes` is read and thrown away. A larger one, or one that the client
  keeps back until it is told to go on (`Expect: 100-continue`), is not read: the answer goes out at once and ends the connection.
- A request that `forwards` names is given out as soon as its head is complete, with all its fields. Its body follows (`Request.body`) as
  far as it is fed; the next request begins behind it.

Theory: llhttp sees every byte, but never bytes of two messages at once. The cuts are ours: a head ends at the first empty line, a body
with a length after so many bytes, a chunked one at an empty line, too. So a request line can be held against its grammar byte for
byte, and bytes behind a message are judged as the beginning of the next one.

What llhttp 9 lets pass in strict mode, and who refuses it here: several spaces in the request line, `RTSP/1.0`, `ICE/1.0`
and HTTP/0.9, bare CR, bare LF and any number of empty lines before a request line (`_LINE`); `gzip, chunked`, `identity`
followed by `chunked`, an empty element in `Transfer-Encoding`, and any coding in HTTP/1.0 (`_framing`); a repeated or malformed Host;
trailer lines reported as headers (counted, never read: RFC 9110 §6.5.1).
Left alone: chunk extensions (RFC 9112 §7.1.1 wants them ignored; they count as bytes of the body), and characters in a
target that no URI has, such as quotation marks in a query that a player did not encode.
"""

from __future__ import annotations

import re
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import httptools

from oca.http.reasons import Outcome

WANTED = frozenset(
    (
        b"host",
        b"range",
        b"if-range",
        b"if-match",
        b"if-none-match",
        b"if-modified-since",
        b"if-unmodified-since",
        b"connection",
        b"origin",
        b"access-control-request-private-network",
        b"cache-control",
        b"cdn-loop",
        b"lowtide-fill",
        b"content-length",
        b"transfer-encoding",
        b"expect",
        b"cmcd-object",
        b"cmcd-request",
        b"cmcd-session",
        b"cmcd-status",
    )
)
"""Headers that decide anything or are logged; all others are counted and forgotten."""

_LINE = re.compile(rb"([A-Z][A-Z-]*) ([\x21-\x7e\x80-\xff]+) HTTP/1\.([01])\r\n")
_LINE_REST_BYTES = 64
"""What a request line may have beside its target: method, version, spaces."""
HOST = re.compile(rb"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{0,5})?")
"""A host with or without port, as far as names of ours can go."""
_EMPTY_LINE = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may send before it is refused."""

    target_bytes: int = 8192
    head_bytes: int = 16384
    headers: int = 100
    body_bytes: int = 65536
    """With the framing of chunks."""
    further: frozenset[bytes] = frozenset()
    """Fields that are read beside `WANTED`."""


class RequestRefused(Exception):
    """The one error of parsing. `outcome` says how to answer; the connection ends behind the answer when `fatal`."""

    def __init__(self, outcome: Outcome, detail: str, fatal: bool = True) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.detail = detail
        self.fatal = fatal


class Incoming:
    """The body of a request that is forwarded, while it comes: without its framing, trailers dropped (RFC 9110 §6.5.1)."""

    __slots__ = ("broken", "ended", "length", "pieces", "received", "waits")

    def __init__(self, length: int | None, waits: bool) -> None:
        self.length = length
        """None: chunked."""
        self.waits = waits
        """The client keeps it back until it is told to go on (RFC 9110 §10.1.1)."""
        self.pieces: deque[bytes] = deque()
        self.received = 0
        self.ended = False
        self.broken = False
        """It cannot be read: its end will never be known."""


class Request:
    """One request's facts. Header names are lower case; values of repeated headers are joined by a comma."""

    __slots__ = ("body", "fields", "headers", "keep_alive", "method", "minor", "target")

    def __init__(
        self, method: bytes, target: bytes, minor: int = 1, headers: dict[bytes, bytes] | None = None, keep: bool = True
    ) -> None:
        self.method = method
        self.target = target
        self.minor = minor
        self.headers: dict[bytes, bytes] = headers if headers is not None else {}
        self.keep_alive = keep
        self.fields: tuple[tuple[bytes, bytes], ...] = ()
        """All header fields in their order, names as they came; only where requests are forwarded."""
        self.body: Incoming | None = None
        """None: it has none, or it is thrown away."""


class RequestParser:
    """Feed it; take `requests` from the left; once `refused` is set it reads no more."""

    __slots__ = (
        "_blank",
        "_body_left",
        "_chunked",
        "_count",
        "_fields",
        "_forwards",
        "_head_bytes",
        "_headers",
        "_in_body",
        "_in_headers",
        "_incoming",
        "_limits",
        "_line",
        "_method",
        "_minor",
        "_parser",
        "_request",
        "_tail",
        "_target",
        "partial",
        "refused",
        "requests",
    )

    def __init__(self, limits: Limits, forwards: Callable[[Request], bool] | None = None) -> None:
        """`forwards` tells by its head whether a request with a body is forwarded; None: none is."""
        self._limits = limits
        self._forwards = forwards
        self._parser = httptools.HttpRequestParser(self)
        self.requests: deque[Request] = deque()
        self.refused: RequestRefused | None = None
        self.partial = False
        """True from the first byte of a request to its last."""
        self._begin()

    def _begin(self) -> None:
        """Everything that belongs to one message."""
        self._line = bytearray()
        self._blank = False
        self._in_headers = False
        self._in_body = False
        self._chunked = False
        self._body_left = 0
        self._tail = b""
        self._head_bytes = 0
        self._method = self._target = b""
        self._minor = 1
        self._headers: dict[bytes, bytes] = {}
        self._fields: list[tuple[bytes, bytes]] = []
        self._count = 0
        self._request: Request | None = None
        self._incoming: Incoming | None = None
        self.partial = False

    def end(self) -> None:
        """It is fed no more. Without this it lives until the collector of cycles comes by: httptools holds what it calls."""
        del self._parser

    @property
    def is_streaming(self) -> bool:
        """True while the body of a request that was given out has not ended."""
        return self._incoming is not None

    @property
    def begun(self) -> Request | None:
        """What is known of a request that has not ended, for the answer to its refusal; None before its request line."""
        return Request(self._method, self._target, self._minor, self._headers, False) if self._method else None

    def feed(self, data: bytes) -> None:
        """Never raises: a wrong byte ends in `refused`."""
        at = 0
        try:
            while at < len(data) and self.refused is None:
                if self._in_headers:
                    at = self._read_headers(data, at)
                elif self._in_body:
                    at = self._skip_body(data, at)
                else:
                    at = self._read_line(data, at)
        except RequestRefused as refused:
            self.refused = refused
            self._break_off()
        except httptools.HttpParserUpgrade:
            # The upgrade is declined by answering as HTTP/1.1 (RFC 9110 §7.8); what follows may be anything.
            if self.requests:
                self.requests[-1].keep_alive = False
            self.refused = RequestRefused(Outcome.BAD_REQUEST, "no protocol is upgraded here")
            self._break_off()
        except httptools.HttpParserError as error:
            if self.refused is None:  # what a callback raised comes back as the parser's own error
                self.refused = RequestRefused(Outcome.BAD_REQUEST, f"not HTTP/1.1: {error}")
            self._break_off()

    def _break_off(self) -> None:
        if self._incoming is not None:
            self._incoming.broken = True

    def _read_line(self, data: bytes, at: int) -> int:
        """The request line, and one empty line before it (RFC 9112 §2.2)."""
        end = data.find(b"\n", at) + 1
        piece = data[at : end or len(data)]
        line = self._line
        line += piece
        self.partial = True
        if len(line) > self._limits.target_bytes + _LINE_REST_BYTES:
            self._refuse(Outcome.URI_TOO_LONG, f"an address has at most {self._limits.target_bytes} bytes")
        self._parser.feed_data(piece)
        if not end:
            return len(data)
        if line == b"\r\n" and not self._blank:
            line.clear()
            self._blank = True
            self.partial = False
            return end
        match = _LINE.fullmatch(line)
        if match is None:
            self._refuse(Outcome.BAD_REQUEST, "the request line is not METHOD TARGET HTTP/1.1")
        else:
            self._method, self._target, minor = match.groups()
            self._minor = 1 if minor == b"1" else 0
        if len(self._target) > self._limits.target_bytes:
            self._refuse(Outcome.URI_TOO_LONG, f"an address has at most {self._limits.target_bytes} bytes")
        self._head_bytes = len(line)
        self._tail = b"\r\n"
        self._in_headers = True
        return end

    def _read_headers(self, data: bytes, at: int) -> int:
        """Header lines up to the empty one. What lies behind the limit is not looked at."""
        end = self._cut(data, at)
        self._head_bytes += end - at
        if self._head_bytes > self._limits.head_bytes:
            self._refuse(Outcome.HEADER_TOO_LARGE, f"a request header has at most {self._limits.head_bytes} bytes")
        if not self._tail:
            self._in_headers, self._in_body = False, True
        self._parser.feed_data(data[at:end])
        return end

    def _cut(self, data: bytes, at: int) -> int:
        """Behind the next empty line, or the end of `data`. `_tail` is then empty, or what may be the beginning of that line."""
        tail = self._tail
        begun = (tail + data[at : at + 3]).find(_EMPTY_LINE)
        found = at + begun - len(tail) if begun >= 0 else data.find(_EMPTY_LINE, at)
        if begun < 0 and found < 0:
            self._tail = (tail + data[max(at, len(data) - 3) :])[-3:]
            return len(data)
        self._tail = b""
        return found + len(_EMPTY_LINE)

    def _skip_body(self, data: bytes, at: int) -> int:
        end = self._cut(data, at) if self._chunked else min(len(data), at + self._body_left)
        self._body_left -= end - at
        if end == at:
            self._refuse(Outcome.BAD_REQUEST, "the end of the request is in doubt")
        elif self._body_left < 0:
            self._leave_body()
        else:
            self._parser.feed_data(data[at:end])
        return end

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count += 1
        if self._count > self._limits.headers:
            self._refuse(Outcome.HEADER_TOO_LARGE, f"a request has at most {self._limits.headers} header lines")
        if self._request is not None:
            return
        value = value.strip(b" \t")
        if self._forwards is not None:
            self._fields.append((name, value))
        name = name.lower()
        if name not in WANTED and name not in self._limits.further:
            return
        earlier = self._headers.get(name)
        if earlier is None:
            self._headers[name] = value
        elif name == b"host":
            self._refuse(Outcome.BAD_REQUEST, "two Host headers")
        else:
            self._headers[name] = earlier + b", " + value

    def on_headers_complete(self) -> None:
        headers = self._headers
        host = headers.get(b"host")
        if host is None and self._minor:
            self._refuse(Outcome.BAD_REQUEST, "the Host header is missing")
        if host is not None and HOST.fullmatch(host) is None:
            self._refuse(Outcome.BAD_REQUEST, "the Host header is malformed")
        self._request = Request(self._method, self._target, self._minor, headers, _keep_alive(self._minor, headers))
        self._request.fields = tuple(self._fields)
        self._frame(headers)

    def on_body(self, data: bytes) -> None:
        if self._incoming is not None:
            self._incoming.pieces.append(data)
            self._incoming.received += len(data)

    def on_message_complete(self) -> None:
        request = self._request
        if request is not None and self.refused is None:
            if self._incoming is None:
                self.requests.append(request)
            else:
                self._incoming.ended = True
            self._begin()

    def _frame(self, headers: dict[bytes, bytes]) -> None:
        """How long the body is (RFC 9112 §6.3). llhttp has refused what contradicts itself."""
        coding = headers.get(b"transfer-encoding")
        length = int(headers.get(b"content-length", b"0"))
        if coding is not None:
            if not self._minor or coding.lower() != b"chunked":
                self._refuse(Outcome.BAD_REQUEST, "the only transfer coding taken here is chunked, in HTTP/1.1")
            self._chunked = True
            self._body_left = self._limits.body_bytes
        else:
            self._body_left = length
        waits = bool(self._minor) and b"expect" in headers and (self._chunked or length > 0)
        request = self._request
        assert request is not None, "a body belongs to a request"
        if (self._chunked or length) and self._forwards is not None and self._forwards(request):
            self._incoming = request.body = Incoming(None if self._chunked else length, waits)
            self._body_left = sys.maxsize if self._chunked else length
            self.requests.append(request)
        elif waits or length > self._limits.body_bytes:
            self._leave_body()

    def _leave_body(self) -> None:
        """Answer at once and end the connection: where the next request would begin is not found out."""
        request = self._request
        assert request is not None, "a body belongs to a request"
        request.keep_alive = False
        self.requests.append(request)
        self.refused = RequestRefused(Outcome.BAD_REQUEST, "the body was not read")

    def _refuse(self, outcome: Outcome, detail: str) -> None:
        self.refused = RequestRefused(outcome, detail)
        raise self.refused


def _keep_alive(minor: int, headers: dict[bytes, bytes]) -> bool:
    """RFC 9112 §9.3: `close` wins, HTTP/1.1 persists, HTTP/1.0 only when asked to."""
    value = headers.get(b"connection")
    if value is None:
        return minor == 1
    options = [option.strip() for option in value.lower().split(b",")]
    if b"close" in options:
        return False
    return minor == 1 or b"keep-alive" in options
