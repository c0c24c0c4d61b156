"""Calls to other services: JSON over one aiohttp session, foreign errors mapped once to ServiceError.

Retries happen only when asked for and only where the failure says that asking again helps; the wait grows from 0.1 s, with
full jitter, and honours a short `Retry-After`. With several base URLs a failed call moves on to the next one, and the one
that answered last is asked first.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import ssl as ssl_module
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar, overload

import aiohttp
import msgspec
import structlog
from yarl import URL

from chassis.clock import SYSTEM_CLOCK, Clock
from chassis.errors import Retry, ServiceError, Source
from chassis.logs import redact_path
from contracts.problems import CONTENT_TYPE as PROBLEM_TYPE
from contracts.problems import Problem

T = TypeVar("T")
JSON = "application/json"
MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_LINE_BYTES = 16 * 1024 * 1024
FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0
_MOVE_ON = frozenset({502, 503, 504})
_ASK_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_NETWORK_ERRORS = (aiohttp.ClientError, TimeoutError, OSError)
_SCHEMES = ("http", "https")
Query = Mapping[str, str | int | float | Sequence[str]]
Bearer = str | Callable[[], str] | None


class ServiceClient:
    """A service as seen from another. Use as an async context manager, or `close()` it.

    `base_url` is one URL or several equal ones. `bearer` is a token or a function that gives the current one. `timeout_s`
    bounds a whole call (streams: the time to the head). `source_address` is the local IP address to dial from.
    """

    def __init__(
        self,
        base_url: str | Sequence[str],
        *,
        ssl: ssl_module.SSLContext | None = None,
        bearer: Bearer = None,
        timeout_s: float = 10.0,
        source_address: str | None = None,
        headers: Mapping[str, str] | None = None,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        connections: int = 100,
        clock: Clock = SYSTEM_CLOCK,
        rng: random.Random | None = None,
    ) -> None:
        bases = (base_url,) if isinstance(base_url, str) else tuple(base_url)
        if not bases:
            raise ValueError("a client needs at least one base URL")
        self._bases = [base.rstrip("/") for base in bases]
        self._ssl = ssl
        self._bearer = bearer
        self._timeout_s = timeout_s
        self._source_address = source_address
        self._headers = dict(headers or {})
        self._max_answer_bytes = max_answer_bytes
        self._connections = connections
        self._clock = clock
        self._rng = rng or random.Random()
        self._session: aiohttp.ClientSession | None = None

    @property
    def base_url(self) -> str:
        """The one that is asked first."""
        return self._bases[0]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    @overload
    async def get(self, path: str, type_: type[T], **options: Any) -> T: ...
    @overload
    async def get(self, path: str, type_: None = None, **options: Any) -> None: ...
    async def get(self, path: str, type_: type[T] | None = None, **options: Any) -> T | None:
        """GET. Options of every call: `query`, `headers`, `retries` (0), `timeout_s`. Raises ServiceError."""
        return await self.call("GET", path, None, type_, **options)

    @overload
    async def post(self, path: str, body: object, type_: type[T], **options: Any) -> T: ...
    @overload
    async def post(self, path: str, body: object = None, type_: None = None, **options: Any) -> None: ...
    async def post(self, path: str, body: object = None, type_: type[T] | None = None, **options: Any) -> T | None:
        """POST. Pass `retries` only where a repetition does no harm."""
        return await self.call("POST", path, body, type_, **options)

    @overload
    async def put(self, path: str, body: object, type_: type[T], **options: Any) -> T: ...
    @overload
    async def put(self, path: str, body: object = None, type_: None = None, **options: Any) -> None: ...
    async def put(self, path: str, body: object = None, type_: type[T] | None = None, **options: Any) -> T | None:
        return await self.call("PUT", path, body, type_, **options)

    @overload
    async def delete(self, path: str, type_: type[T], **options: Any) -> T: ...
    @overload
    async def delete(self, path: str, type_: None = None, **options: Any) -> None: ...
    async def delete(self, path: str, type_: type[T] | None = None, **options: Any) -> T | None:
        return await self.call("DELETE", path, None, type_, **options)

    async def call(
        self,
        method: str,
        path: str,
        body: object,
        type_: type[T] | None,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        retries: int = 0,
        timeout_s: float | None = None,
    ) -> T | None:
        """One call: `body` (None for none) as JSON, the answer decoded as `type_` (None: ignored)."""
        raw = None if body is None else msgspec.json.encode(body)
        sent = {**({"Content-Type": JSON} if raw is not None else {}), **(headers or {})}
        for attempt in range(retries + 1):
            try:
                answer = await self._over_bases(method, path, raw, query, sent, timeout_s)
            except ServiceError as error:
                if attempt == retries or error.retry is Retry.NO:
                    raise
                await self._clock.sleep(self._wait_s(attempt, error))
            else:
                return None if type_ is None else self._decoded(answer, type_, path)
        raise AssertionError("a call ends with an answer or an error")

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        *,
        data: Any = None,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        idle_s: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A raw exchange: the response with its body unread, status below 400. Raises ServiceError, also when the network
        fails while the caller reads. `timeout_s` bounds the time to the head, `idle_s` the wait for the next bytes."""
        url = self._url(self._bases[0], path)
        context = self._exchange(url, method, data, query, dict(headers or {}), timeout_s, idle_s)
        async with context as response:
            try:
                yield response
            except _NETWORK_ERRORS as error:
                if isinstance(error, OSError) and not isinstance(error, (ConnectionError, TimeoutError)):
                    raise
                raise _unreachable(url, error) from error

    async def stream_lines(
        self, path: str, type_: type[T], *, query: Query | None = None, idle_s: float | None = None
    ) -> AsyncIterator[T]:
        """The values of an NDJSON answer as they arrive; empty lines (keep-alive) are skipped.

        Ends when the other side ends the stream; raises ServiceError when it breaks, is not what it should be, or is
        silent for `idle_s`.
        """
        decoder = msgspec.json.Decoder(type_)
        rest = b""
        async with self.open("GET", path, query=query, idle_s=idle_s) as response:
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > MAX_LINE_BYTES:
                    raise _not_understood(path, f"a line is longer than {MAX_LINE_BYTES} bytes")
                for line in lines:
                    if line.strip():
                        yield self._line(decoder, line, path)
        if rest.strip():
            raise _not_understood(path, "the stream ended inside a line")

    @asynccontextmanager
    async def websocket(
        self, path: str, *, query: Query | None = None, heartbeat_s: float | None = 20.0
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A WebSocket. Raises ServiceError when it cannot be opened."""
        url = self._url(self._bases[0], path)
        try:
            async with asyncio.timeout(self._timeout_s):
                socket = await self._opened().ws_connect(
                    url,
                    params=_params(query),
                    headers=self._head({}),
                    ssl=self._ssl if self._ssl is not None else True,
                    heartbeat=heartbeat_s,
                    max_msg_size=MAX_LINE_BYTES,
                )
        except aiohttp.WSServerHandshakeError as error:
            raise _refused(url, error.status, None) from error
        except _NETWORK_ERRORS as error:
            self._move_on(url)
            raise _unreachable(url, error) from error
        try:
            yield socket
        finally:
            await socket.close()

    async def _over_bases(
        self,
        method: str,
        path: str,
        raw: bytes | None,
        query: Query | None,
        headers: dict[str, str],
        timeout_s: float | None,
    ) -> bytes:
        tries = len(self._bases)
        for left in range(tries, 0, -1):
            url = self._url(self._bases[0], path)
            try:
                return await self._read(url, method, raw, query, headers, timeout_s)
            except ServiceError as error:
                safe = method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS")
                if left == 1 or error.status not in _MOVE_ON or not safe:
                    raise
        raise AssertionError("a call ends with an answer or an error")

    async def _read(
        self,
        url: URL,
        method: str,
        raw: bytes | None,
        query: Query | None,
        headers: dict[str, str],
        timeout_s: float | None,
    ) -> bytes:
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            async with (
                asyncio.timeout(limit_s),
                self._exchange(url, method, raw, query, headers, limit_s, None) as response,
            ):
                return await self._bounded(response, url)
        except _NETWORK_ERRORS as error:
            self._move_on(url)
            raise _unreachable(url, error) from error

    @asynccontextmanager
    async def _exchange(
        self,
        url: URL,
        method: str,
        data: Any,
        query: Query | None,
        headers: dict[str, str],
        timeout_s: float | None,
        idle_s: float | None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response below 400; anything else raises ServiceError."""
        try:
            async with asyncio.timeout(timeout_s if timeout_s is not None else self._timeout_s):
                response = await self._opened().request(
                    method,
                    url,
                    params=_params(query),
                    data=data,
                    headers=self._head(headers),
                    ssl=self._ssl if self._ssl is not None else True,
                    timeout=aiohttp.ClientTimeout(total=None, sock_read=idle_s),
                    allow_redirects=False,
                )
        except _NETWORK_ERRORS as error:
            self._move_on(url)
            raise _unreachable(url, error) from error
        async with response:
            if response.status >= 400:
                if response.status in _MOVE_ON:
                    self._move_on(url)
                raise _refused(url, response.status, await _problem(response), response.headers.get("Retry-After"))
            yield response

    async def _bounded(self, response: aiohttp.ClientResponse, url: URL) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self._max_answer_bytes:
                raise _not_understood(str(url), f"the answer is larger than {self._max_answer_bytes} bytes")
        return bytes(body)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            local = (self._source_address, 0) if self._source_address else None
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(local_addr=local, limit=self._connections),
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    def _head(self, headers: dict[str, str]) -> dict[str, str]:
        made = {**self._headers, **headers}
        bearer = self._bearer() if callable(self._bearer) else self._bearer
        if bearer and "Authorization" not in made:
            made["Authorization"] = f"Bearer {bearer}"
        request_id = structlog.contextvars.get_contextvars().get("request_id")
        if request_id and "X-Request-Id" not in made:
            made["X-Request-Id"] = str(request_id)
        return made

    @staticmethod
    def _url(base: str, path: str) -> URL:
        return URL(base + path, encoded=False)

    def _move_on(self, url: URL) -> None:
        first = self._bases[0]
        if len(self._bases) > 1 and str(url).startswith(first):
            self._bases = [*self._bases[1:], first]

    def _wait_s(self, attempt: int, error: ServiceError) -> float:
        ceiling: float = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**attempt)
        asked = error.retry_after_s
        waited = self._rng.uniform(0, ceiling)
        return min(LONGEST_WAIT_S, max(waited, asked)) if asked is not None else waited

    @staticmethod
    def _decoded(raw: bytes, type_: type[T], path: str) -> T:
        try:
            return msgspec.json.decode(raw, type=type_)
        except msgspec.MsgspecError as error:
            raise _not_understood(path, str(error)) from error

    @staticmethod
    def _line(decoder: msgspec.json.Decoder[T], line: bytes, path: str) -> T:
        try:
            return decoder.decode(line)
        except msgspec.MsgspecError as error:
            raise _not_understood(path, str(error)) from error


def _params(query: Query | None) -> list[tuple[str, str]] | None:
    if not query:
        return None
    made: list[tuple[str, str]] = []
    for name, value in query.items():
        if isinstance(value, (str, int, float)):
            made.append((name, str(value).lower() if isinstance(value, bool) else str(value)))
        else:
            made += [(name, item) for item in value]
    return made


async def _problem(response: aiohttp.ClientResponse) -> Problem | None:
    if response.content_type != PROBLEM_TYPE:
        return None
    try:
        async with asyncio.timeout(2.0):
            return msgspec.json.decode(await response.content.read(65536), type=Problem)
    except (*_NETWORK_ERRORS, msgspec.MsgspecError):
        return None


def _unreachable(url: URL, error: BaseException) -> ServiceError:
    late = isinstance(error, TimeoutError)
    said = "did not answer in time" if late else f"cannot be reached: {_why(url, error)}"
    return ServiceError(f"{_where(url)} {said}", source=Source.UPSTREAM, retry=Retry.YES, status=504 if late else 502)


def _where(url: URL) -> str:
    """The address without its token, its query and its user."""
    if url.scheme not in _SCHEMES:
        return redact_path(str(url))
    return f"{url.scheme}://{url.raw_authority.rpartition('@')[2]}{redact_path(url.path)}"


def _why(url: URL, error: BaseException) -> str:
    """What went wrong in words that repeat from one attempt to the next: aiohttp's own name the address of an object."""
    if url.scheme not in _SCHEMES:
        return "the address must begin with http:// or https://"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        refused = error.certificate_error
        return f"its certificate is not trusted: {getattr(refused, 'verify_message', '') or refused}"
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
        if isinstance(cause, ssl_module.SSLError):
            return f"no TLS could be agreed: {(cause.reason or str(cause)).replace('_', ' ').lower()}"
        if isinstance(cause, socket.gaierror):
            return f"there is no host {url.host}: {cause.strerror}"
        return os.strerror(cause.errno) if cause.errno else str(cause)
    return str(error) or type(error).__name__


def _refused(url: URL, status: int, problem: Problem | None, retry_after: str | None = None) -> ServiceError:
    said = f": {problem.detail or problem.title}" if problem else ""
    return ServiceError(
        f"{_where(url)} answered {status}{said}",
        source=Source.CLIENT if status < 500 else Source.UPSTREAM,
        retry=Retry.YES if status in _ASK_AGAIN else Retry.NO,
        status=status,
        problem=problem,
        retry_after_s=float(retry_after) if retry_after and retry_after.isdigit() else None,
    )


def _not_understood(path: str, what: str) -> ServiceError:
    return ServiceError(
        f"the answer of {redact_path(path)} was not understood: {what}",
        source=Source.UPSTREAM,
        retry=Retry.NO,
        status=502,
    )
