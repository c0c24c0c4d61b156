"""Exchanges with the upstreams of pull-through services: a request goes out, a header comes back, then the body piece by piece.

Laws
- Every wait is bounded (connection, first byte, silence between bytes). At most `client_fetches` exchanges with one upstream at once; the time
  in its queue is nobody's fault.
- Upstreams are asked in their order, and the next one only while nothing of an answer was passed on, as often as the budget allows. One that
  cannot be reached or does not answer in time again and again is left in peace (`oca.keeper.circuits`); an error that it answers with is
  an answer: it may be that page's alone.
- What goes out is what the caller gives, `CDN-Loop` (RFC 8586) and `Via` (RFC 9110 §7.6.3), and nothing else of the client's.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Protocol

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from oca.config import Fetching, PullService
from oca.keeper.budget import RetryBudget
from oca.keeper.circuits import CircuitRules, Circuits
from oca.keeper.errors import FetchFailed
from oca.link.messages import FetchFailure

READ_BUFFER_BYTES = 512 * 1024
_GONE = (aiohttp.ClientError, ConnectionError, OSError, asyncio.IncompleteReadError)
_ASK_ANOTHER = frozenset((500, 502, 503, 504))
_RULES = CircuitRules(failures=10, window=40)

Fields = Sequence[tuple[bytes, bytes]]


class Reply(Protocol):
    """An answer whose header is here."""

    @property
    def status(self) -> int: ...

    @property
    def fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """Names in lower case, as they came."""

    @property
    def requested_at(self) -> float: ...

    @property
    def received_at(self) -> float:
        """When its header came (RFC 9111 §4.2.3 `response_time`)."""

    @property
    def length(self) -> int | None:
        """Of the body; None where only its end will tell."""

    async def read(self, count: int) -> bytes:
        """Exactly `count` bytes, fewer only at the end. Raises FetchFailed when the body breaks off."""


class Origins(Protocol):
    def ask(self, service: PullService, path: str, fields: Fields) -> AbstractAsyncContextManager[Reply]:
        """GET `path` (with query). Entering waits for the header. Raises FetchFailed when no upstream gives one."""


class HttpOrigins:
    """Upstreams of all services over HTTP/1.1. `now` is the wall clock, `monotonic` what circuits and the budget go by."""

    def __init__(
        self,
        limits: Fetching,
        appliance_id: Callable[[], str],
        now: Callable[[], float],
        monotonic: Callable[[], float],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._limits = limits
        self._appliance_id = appliance_id
        self._now = now
        self._monotonic = monotonic
        self._circuits = Circuits(draw, _RULES)
        self._budget = RetryBudget(limits.retry_share)
        self._places: dict[str, asyncio.Semaphore] = {}
        self._session: aiohttp.ClientSession | None = None

    @property
    def open_circuits(self) -> list[str]:
        """Upstreams that are left in peace now."""
        return self._circuits.open_urls(self._monotonic())

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def ask(self, service: PullService, path: str, fields: Fields) -> AsyncIterator[Reply]:
        async with AsyncExitStack() as stack:
            response, requested_at = await self._any_answer(stack, service, path, self._headers(fields))
            reply = _HttpReply(response, requested_at, self._now())
            try:
                yield reply
            finally:
                _end(response)

    async def _any_answer(
        self, stack: AsyncExitStack, service: PullService, path: str, headers: CIMultiDict[str]
    ) -> tuple[aiohttp.ClientResponse, float]:
        """The first answer that is no error of a server, else the last one there was. `stack` keeps its place."""
        failure = FetchFailed(FetchFailure.UPSTREAM_UNREACHABLE, "there is nobody to ask")
        self._budget.earn(self._monotonic())
        last = service.upstreams[-1]
        for base in service.upstreams:
            if not self._circuits.admit(base, self._monotonic()):
                failure = FetchFailed(
                    FetchFailure.UPSTREAM_UNREACHABLE, f"{base} failed again and again and is left in peace"
                )
                continue
            place = self._places.setdefault(base, asyncio.Semaphore(self._limits.client_fetches))
            async with AsyncExitStack() as held:
                await held.enter_async_context(place)
                held.callback(self._circuits.spare, base)
                requested_at = self._now()
                try:
                    response = await self._answer(base.rstrip("/") + path, headers, last=base is last)
                except FetchFailed as error:
                    failure = error
                    self._note(base, failed=True)
                    if base is last or not self._budget.spend(self._monotonic()):
                        break
                    continue
                self._note(base, failed=False)
                may_ask_another = response.status in _ASK_ANOTHER and base is not last
                if not may_ask_another or not self._budget.spend(self._monotonic()):
                    await stack.enter_async_context(held.pop_all())
                    return response, requested_at
                response.close()
        raise failure

    def _note(self, base: str, *, failed: bool) -> None:
        self._circuits.note(base, failed=failed, now=self._monotonic())

    async def _answer(self, url: str, headers: CIMultiDict[str], *, last: bool) -> aiohttp.ClientResponse:
        limits = self._limits
        first_byte_s = max(limits.first_byte_s, limits.stall_s) if last else limits.first_byte_s
        try:
            async with asyncio.timeout(first_byte_s):
                return await self._opened().get(URL(url, encoded=True), headers=headers, allow_redirects=False)
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
            raise FetchFailed(FetchFailure.UPSTREAM_UNREACHABLE, f"{url}: {error or type(error).__name__}") from error
        except TimeoutError as error:
            raise FetchFailed(FetchFailure.UPSTREAM_TIMEOUT, f"{url} did not answer in time") from error
        except _GONE as error:
            raise FetchFailed(FetchFailure.UPSTREAM_UNREACHABLE, f"{url}: {error or type(error).__name__}") from error

    def _headers(self, fields: Fields) -> CIMultiDict[str]:
        headers = CIMultiDict((name.decode("latin-1"), value.decode("latin-1")) for name, value in fields)
        passed = headers.pop("cdn-loop", "")
        own = f"lowtide;appliance={self._appliance_id() or 'unnamed'}"
        headers["CDN-Loop"] = f"{passed}, {own}" if passed else own
        headers["Via"] = "1.1 lowtide"
        headers.setdefault("Accept-Encoding", "identity")
        return headers

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            limits = self._limits
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30.0),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_s, sock_read=limits.stall_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=READ_BUFFER_BYTES,
                skip_auto_headers=("User-Agent", "Accept"),
            )
        return self._session


def _end(response: aiohttp.ClientResponse) -> None:
    """A body that was not read to its end cannot be followed by another answer on the same connection."""
    if response.content.at_eof():
        response.release()
    else:
        response.close()


class _HttpReply:
    def __init__(self, response: aiohttp.ClientResponse, requested_at: float, received_at: float) -> None:
        self._response = response
        self.status = response.status
        self.fields = tuple((name.lower(), value.strip()) for name, value in response.raw_headers)
        self.requested_at = requested_at
        self.received_at = received_at
        bodiless = response.status in (204, 304)
        self.length = 0 if bodiless else response.content_length

    async def read(self, count: int) -> bytes:
        try:
            return await self._response.content.readexactly(count)
        except asyncio.IncompleteReadError as error:
            if self.length is None:
                return error.partial
            raise FetchFailed(FetchFailure.UPSTREAM_ERROR, "the upstream ended in the middle of a body") from error
        except TimeoutError as error:
            raise FetchFailed(FetchFailure.UPSTREAM_TIMEOUT, "the upstream fell silent") from error
        except _GONE as error:
            raise FetchFailed(FetchFailure.UPSTREAM_ERROR, f"the upstream broke off: {error}") from error
