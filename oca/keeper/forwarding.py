"""Requests that are forwarded to the upstream of a service: out as they come, the answer back as it comes, nothing kept.

Laws: only a request of which nothing has gone out is tried at the next upstream; a request that is not idempotent never meets a
connection that may be closing (RFC 9110 §9.2.2); redirects, cookies and codings are the client's affair; interim answers but
`100 Continue`, and trailers, are left out (§15.2, §6.5.1); what an unsafe request changed is validated before it is used again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from oca.config import Fetching, PullService
from oca.http.caching.invalidation import invalidated
from oca.http.keys import host_spellings, read_resource
from oca.http.request import RequestRefused
from oca.keeper.errors import FetchFailed, KeeperError
from oca.keeper.metrics import KeeperMetrics
from oca.keeper.passing import BodyCut, Stream, StreamLeft
from oca.link.messages import FetchFailure
from oca.link.passing import PIECE_BYTES, Answer, End, Fields, Forward, Interim
from oca.link.variants import Service

_SAFE = frozenset((b"GET", b"HEAD", b"OPTIONS"))
_GONE = (aiohttp.ClientError, ConnectionError, OSError)
_NOT_OURS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class _NotBegun(KeeperError):
    """An upstream could not be reached: nothing of the request has gone out."""

    source = "upstream"


def _key(settings: PullService, path: bytes) -> str | None:
    """As a request for it would have it: an upstream spells `Location` as it likes. None where no request could name it."""
    try:
        return read_resource(settings.name, path, Service.of(settings).kept_parameters).key
    except RequestRefused:
        return None


class _OneBody:
    """The request's body as the client library takes it: once. A second beginning would send the rest for the whole."""

    def __init__(self, stream: Stream, asked: Forward, metrics: KeeperMetrics) -> None:
        self._stream = stream
        self._waits = asked.waits
        self._counted = metrics.passed_bytes.labels("request")
        self.begun = False
        self.failure: StreamLeft | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self.begun:
            raise BodyCut("a body was to be sent twice")
        self.begun = True
        try:
            if self._waits:
                await self._stream.say(Interim(100))
            async for piece in self._stream.body():
                self._counted.inc(len(piece))
                yield piece
        except StreamLeft as error:
            self.failure = error
            raise


class HttpForwarding:
    """Upstreams of all services over HTTP/1.1."""

    def __init__(
        self,
        services: Sequence[PullService],
        limits: Fetching,
        stall_s: float,
        invalidate: Callable[[Sequence[str]], Awaitable[None]],
        metrics: KeeperMetrics,
        in_peace: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """`in_peace` names upstreams that failed again and again: they are asked last. `invalidate` is told the service keys that an unsafe request has changed, before the client hears that it has."""
        self._invalidate = invalidate
        self._in_peace = in_peace
        self._services = {service.name: service for service in services}
        self._limits = limits
        self._stall_s = stall_s
        self._metrics = metrics
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()

    async def forward(self, stream: Stream, asked: Forward) -> None:
        """See `oca.keeper.passing.Forwarding`."""
        service = self._services.get(asked.service)
        if service is None:
            raise FetchFailed(FetchFailure.NOT_FOUND, f"no service {asked.service} is configured")
        body: _OneBody | None = None
        if asked.length == 0:
            async for _piece in stream.body():
                raise BodyCut("a body that was not announced")
        else:
            body = _OneBody(stream, asked, self._metrics)
        in_peace = self._in_peace()
        bases = sorted(service.upstreams, key=in_peace.__contains__)
        for base in bases:
            try:
                await self.pass_exchange(stream, base, asked, body)
            except _NotBegun as error:
                if base is bases[-1]:
                    raise FetchFailed(FetchFailure.UPSTREAM_UNREACHABLE, str(error)) from error
            else:
                return

    async def pass_exchange(self, stream: Stream, base: str, asked: Forward, body: _OneBody | None) -> None:
        """The whole exchange with one upstream, up to `End`. Raises _NotBegun, FetchFailed, BodyCut, StreamLeft."""
        response = await self._request(base, asked, body)
        try:
            await self._heard(asked, response)
            await stream.say(Answer(response.status, tuple(response.raw_headers), response.content_length))
            await self._pass_body(stream, response)
            await stream.say(End())
        finally:
            # A body that was not read to its end cannot be followed by another answer on the same connection.
            if response.content.at_eof():
                response.release()
            else:
                response.close()

    async def _heard(self, asked: Forward, response: aiohttp.ClientResponse) -> None:
        """What an unsafe request may have changed is validated before it is used again (RFC 9111 §4.4)."""
        service = self._services[asked.service]
        fields = tuple((name.lower(), value) for name, value in response.raw_headers)
        paths = invalidated(asked.method, response.status, asked.target, fields, host_spellings(service.hosts))
        keys = [key for key in (_key(service, path) for path in paths) if key is not None]
        if keys:
            await self._invalidate(keys)

    async def _request(self, base: str, asked: Forward, body: _OneBody | None) -> aiohttp.ClientResponse:
        url = URL(base.rstrip("/") + asked.target.decode("latin-1"), encoded=True)
        headers = _headers(asked.fields)
        if body is not None and asked.length is not None:
            headers["Content-Length"] = str(asked.length)
        try:
            return await self._session(asked.method in _SAFE).request(
                asked.method.decode("ascii"),
                url,
                headers=headers,
                data=body,
                expect100=asked.waits,
                allow_redirects=False,
            )
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
            raise _NotBegun(f"{base}: {error or type(error).__name__}") from error
        except TimeoutError as error:
            raise FetchFailed(FetchFailure.UPSTREAM_TIMEOUT, f"{base} did not answer in time") from error
        except _GONE as error:
            if body is not None and body.failure is not None:
                raise body.failure from error
            raise FetchFailed(FetchFailure.UPSTREAM_ERROR, f"{base}: {error or type(error).__name__}") from error

    async def _pass_body(self, stream: Stream, response: aiohttp.ClientResponse) -> None:
        counted = self._metrics.passed_bytes.labels("answer")
        try:
            async for data in response.content.iter_any():
                counted.inc(len(data))
                await stream.send(data)
        except TimeoutError as error:
            raise BodyCut(f"{response.url.host} fell silent") from error
        except _GONE as error:
            raise BodyCut(f"{response.url.host} broke off: {error or type(error).__name__}") from error

    def _session(self, kept: bool) -> aiohttp.ClientSession:
        """`kept`: a connection that has served before may be used."""
        if kept not in self._sessions:
            limits = self._limits
            self._sessions[kept] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30.0)
                if kept
                else aiohttp.TCPConnector(limit=0, force_close=True),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_s, sock_read=self._stall_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=PIECE_BYTES,
                skip_auto_headers=_NOT_OURS,
            )
        return self._sessions[kept]


def _headers(fields: Fields) -> CIMultiDict[str]:
    """A repeated name is spelled as it was the first time: the client library takes other spellings for replacements."""
    spelled: dict[bytes, str] = {}
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in fields:
        headers.add(spelled.setdefault(name.lower(), name.decode("latin-1")), value.decode("utf-8"))
    return headers
