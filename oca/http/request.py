"""Requests out of a connection's bytes: llhttp's strict grammar, and the rules it leaves to us.

Laws:
- A request is taken only when its end is beyond doubt. Anything else (both length headers, a fold, a bare line feed, a body that
  GET does not have, an unknown version) is one refusal, after which nothing of the connection is read any more (RFC 9112 §11).
- Memory is bounded before it is used: target, header bytes and header count have limits.
- Requests that were complete before the refusal are still answered, in order.

Known leniency of llhttp, harmless here because nothing is forwarded: several spaces before the target, empty lines
before a request, `RTSP/1.0` read as HTTP/1.0.
"""

from __future__ import annotations

from collections import deque
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
        b"cache-control",
        b"cdn-loop",
        b"content-length",
        b"transfer-encoding",
    )
)
"""Headers that decide anything; all others are counted and forgotten."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may send before it is refused."""

    target_bytes: int = 8192
    head_bytes: int = 16384
    headers: int = 100


class RequestRefused(Exception):
    """The one error of parsing. `outcome` says how to answer; the connection ends behind the answer when `fatal`."""

    def __init__(self, outcome: Outcome, detail: str, fatal: bool = True) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.detail = detail
        self.fatal = fatal


class Request:
    """One request's facts. Header names are lower case; values of repeated headers are joined by a comma."""

    __slots__ = ("headers", "keep_alive", "method", "minor", "target")

    def __init__(
        self, method: bytes, target: bytes, minor: int = 1, headers: dict[bytes, bytes] | None = None, keep: bool = True
    ) -> None:
        self.method = method
        self.target = target
        self.minor = minor
        self.headers: dict[bytes, bytes] = headers if headers is not None else {}
        self.keep_alive = keep


class RequestParser:
    """Feed it; take `requests` from the left; once `refused` is set it reads no more."""

    __slots__ = ("_count", "_head_bytes", "_headers", "_limits", "_parser", "_target", "partial", "refused", "requests")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._count = 0
        self._head_bytes = 0
        self.requests: deque[Request] = deque()
        self.refused: RequestRefused | None = None
        self.partial = False
        """True from the first byte of a request to its last."""

    def feed(self, data: bytes | memoryview) -> None:
        """Never raises: a wrong byte ends in `refused`."""
        if self.refused is not None:
            return
        done = len(self.requests)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The upgrade is declined by answering as HTTP/1.1 (RFC 9110 §7.8); what follows may be anything.
            self.requests[-1].keep_alive = False
            self.refused = RequestRefused(Outcome.BAD_REQUEST, "no protocol is upgraded here")
        except httptools.HttpParserError as error:
            if self.refused is None:
                self.refused = RequestRefused(Outcome.BAD_REQUEST, f"not HTTP/1.1: {error}")
        if self.partial and self.refused is None:
            fed = len(data)
            self._head_bytes = fed if len(self.requests) > done else self._head_bytes + fed
            if self._head_bytes > self._limits.head_bytes:
                self.refused = RequestRefused(
                    Outcome.HEADER_TOO_LARGE, f"a request header has at most {self._limits.head_bytes} bytes"
                )

    def on_message_begin(self) -> None:
        self._target = b""
        self._headers = {}
        self._count = 0
        self._head_bytes = 0
        self.partial = True

    def on_url(self, part: bytes) -> None:
        self._target += part
        if len(self._target) > self._limits.target_bytes:
            self._refuse(Outcome.URI_TOO_LONG, f"an address has at most {self._limits.target_bytes} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count += 1
        if self._count > self._limits.headers:
            self._refuse(Outcome.HEADER_TOO_LARGE, f"a request has at most {self._limits.headers} header lines")
        name = name.lower()
        if name not in WANTED:
            return
        value = value.strip(b" \t")
        earlier = self._headers.get(name)
        if earlier is None:
            self._headers[name] = value
        elif name == b"host":
            self._refuse(Outcome.BAD_REQUEST, "two Host headers")
        else:
            self._headers[name] = earlier + b", " + value

    def on_headers_complete(self) -> None:
        version = self._parser.get_http_version()
        method = self._parser.get_method()
        headers = self._headers
        if version not in ("1.1", "1.0"):
            self._refuse(Outcome.BAD_REQUEST, "only HTTP/1.1 and HTTP/1.0 are spoken here")
        minor = 1 if version == "1.1" else 0
        if minor and b"host" not in headers:
            self._refuse(Outcome.BAD_REQUEST, "the Host header is missing")
        self._check_body(method, headers)
        self.requests.append(Request(method, self._target, minor, headers, _keep_alive(minor, headers)))

    def on_message_complete(self) -> None:
        self.partial = False

    def _check_body(self, method: bytes, headers: dict[bytes, bytes]) -> None:
        """No method of ours has a body; one that is announced anyway might be another request in disguise."""
        length = headers.get(b"content-length")
        if b"transfer-encoding" in headers or (length is not None and length.strip(b"0") != b""):
            outcome = Outcome.BAD_REQUEST if method in (b"GET", b"HEAD", b"OPTIONS") else Outcome.METHOD
            self._refuse(outcome, f"{method.decode('ascii', 'replace')} with a body is not taken here")

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
