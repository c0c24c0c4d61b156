"""One range request to one source: open it, take block after block, say how it ended.

Laws: every wait is bounded (connection, first byte, silence between bytes); an answer is taken only when it is the range that
was asked for of a file of the expected size; whether the bytes are right is not judged here but by their digests. Every
request names this appliance in `CDN-Loop` (RFC 8586); a peer is asked with `only-if-cached` (RFC 9111 §5.2.1.7). Connections of a capped fill are their own:
they hold little unread, so that who reads slowly slows the sender down.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import aiohttp
from yarl import URL

from contracts.digests import BLOCK_BYTES, block_length
from contracts.plans import RankedSource, SourceKind
from contracts.tokens.fills import FIELD
from contracts.urls import split_key
from oca.config import Fetching
from oca.keeper.errors import KeeperError, Retry
from oca.keeper.sourcing import Outcome, outcome_of_status
from oca.keeper.wire import Meter, Meters, reader_bytes

READ_BUFFER_BYTES = 512 * 1024
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_GONE = (aiohttp.ClientError, ConnectionError, OSError, asyncio.IncompleteReadError)


class SourceFailed(KeeperError):
    """A request to a source ended without all its blocks. `outcome` says how."""

    source = "upstream"
    retry = Retry.ELSEWHERE
    status = 502

    def __init__(self, outcome: Outcome, sentence: str) -> None:
        super().__init__(sentence)
        self.outcome = outcome
        self.asked: RankedSource | None = None
        """Whose request it was, where several were under way."""


@dataclass(frozen=True, slots=True)
class RunAsked:
    """Blocks first … last (inclusive) of the file `key` of `size_bytes`."""

    key: str
    size_bytes: int
    first: int
    last: int
    credential: str = ""
    """A fill credential for it."""

    @property
    def first_byte(self) -> int:
        return self.first * BLOCK_BYTES

    @property
    def last_byte(self) -> int:
        return min(self.size_bytes, (self.last + 1) * BLOCK_BYTES) - 1


class Body(Protocol):
    async def block(self, number: int) -> bytes:
        """The next block, which is `number`. Raises SourceFailed."""

    async def piece(self, number: int, most: int) -> bytes:
        """1 to `most` of the next bytes, which are of block `number`. Raises SourceFailed."""

    def arrived(self) -> int:
        """Bytes that came over the interface since it was asked last; of one that was opened without `unread_bytes`, an estimate."""

    def may_still_come(self) -> int:
        """Bytes that may be on their way though nobody will read them, when the body is left now."""


class Upstream(Protocol):
    def open(
        self, source: RankedSource, asked: RunAsked, *, last: bool = False, unread_bytes: int | None = None
    ) -> AbstractAsyncContextManager[Body]:
        """Asks a source; entering waits for the head, longer for the `last` one, behind which nobody stands. Raises SourceFailed.

        `unread_bytes` bounds what the connection may hold unread.
        """


class HttpUpstream:
    """Sources over HTTP/1.1, with this appliance's certificate where the URL says https."""

    def __init__(
        self, limits: Fetching, appliance_id: Callable[[], str], tls: Callable[[], ssl.SSLContext | None]
    ) -> None:
        self._limits = limits
        self._appliance_id = appliance_id
        self._tls = tls
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._meters = Meters()

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()

    @asynccontextmanager
    async def open(
        self, source: RankedSource, asked: RunAsked, *, last: bool = False, unread_bytes: int | None = None
    ) -> AsyncIterator[Body]:
        limits = self._limits
        first_byte_s = max(limits.first_byte_s, limits.stall_s) if last else limits.first_byte_s
        response = await self._request(source, asked, first_byte_s, unread_bytes)
        whole = False
        try:
            _check_head(response, source, asked)
            yield _HttpBody(response, source, asked, self._meter(response, unread_bytes), unread_bytes or 0)
            whole = response.content.at_eof()
        finally:
            # A body that was not read to its end cannot be followed by another answer on the same connection.
            if whole:
                response.release()
            else:
                response.close()

    def _meter(self, response: aiohttp.ClientResponse, unread_bytes: int | None) -> Meter:
        """Where nothing is bounded, what is read is counted. An answer that is whole already has no connection any more."""
        if unread_bytes is None:
            return self._meters.of(None, 0)
        connection = response.connection
        return self._meters.of(connection.transport if connection is not None else None, unread_bytes)

    async def _request(
        self, source: RankedSource, asked: RunAsked, first_byte_s: float, unread_bytes: int | None
    ) -> aiohttp.ClientResponse:
        url = URL(source.url.rstrip("/") + split_key(asked.key)[1], encoded=True)
        headers = {
            "Range": f"bytes={asked.first_byte}-{asked.last_byte}",
            "CDN-Loop": f"lowtide;appliance={self._appliance_id()}",
            "Accept-Encoding": "identity",
        }
        if source.kind is SourceKind.PEER:
            headers["Cache-Control"] = "only-if-cached"
        if asked.credential and source.kind is not SourceKind.ORIGIN:
            headers[FIELD] = asked.credential
        try:
            async with asyncio.timeout(first_byte_s):
                return await self._opened(unread_bytes).get(
                    url,
                    headers=headers,
                    ssl=self._context(source),
                    allow_redirects=False,
                    read_bufsize=READ_BUFFER_BYTES if unread_bytes is None else reader_bytes(unread_bytes),
                )
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
            raise SourceFailed(Outcome.UNREACHABLE, f"{source.name}: {error or type(error).__name__}") from error
        except TimeoutError as error:
            raise SourceFailed(Outcome.FIRST_BYTE_LATE, f"{source.name} did not answer in time") from error
        except _GONE as error:
            raise SourceFailed(Outcome.UNREACHABLE, f"{source.name}: {error or type(error).__name__}") from error

    def _context(self, source: RankedSource) -> ssl.SSLContext | bool:
        if not source.url.startswith("https:"):
            return True
        context = self._tls()
        if context is None:
            raise SourceFailed(Outcome.REFUSED, f"{source.name} wants a certificate and this box has none yet")
        return context

    def _opened(self, unread_bytes: int | None) -> aiohttp.ClientSession:
        """Connections with a bound and those without are never mixed."""
        is_bounded = unread_bytes is not None
        if unread_bytes is not None:
            self._meters.bound(unread_bytes)
        if is_bounded not in self._sessions:
            limits = self._limits
            maker = self._meters.new_socket if is_bounded else None
            self._sessions[is_bounded] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30.0, socket_factory=maker),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_s, sock_read=limits.stall_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"User-Agent": "lowtide-oca"},
            )
        return self._sessions[is_bounded]


class _HttpBody:
    def __init__(
        self,
        response: aiohttp.ClientResponse,
        source: RankedSource,
        asked: RunAsked,
        meter: Meter,
        unread_bytes: int,
    ) -> None:
        self._response = response
        self._source = source
        self._asked = asked
        self._meter = meter
        self._unread_bytes = unread_bytes
        self._left = asked.last_byte - asked.first_byte + 1

    async def block(self, number: int) -> bytes:
        length = block_length(self._asked.size_bytes, number)
        return self._noted(await self._told(number, self._response.content.readexactly(length)))

    async def piece(self, number: int, most: int) -> bytes:
        data = await self._told(number, self._response.content.read(most))
        if not data:
            raise SourceFailed(Outcome.TRUNCATED, f"{self._source.name} ended in block {number}")
        return self._noted(data)

    def arrived(self) -> int:
        return self._meter.arrived()

    def may_still_come(self) -> int:
        return min(self._left, self._unread_bytes)

    def _noted(self, data: bytes) -> bytes:
        self._left -= len(data)
        self._meter.read(len(data))
        return data

    async def _told(self, number: int, reading: Awaitable[bytes]) -> bytes:
        """What is read of block `number`. Raises SourceFailed."""
        try:
            return await reading
        except TimeoutError as error:
            raise SourceFailed(Outcome.STALLED, f"{self._source.name} fell silent in block {number}") from error
        except _GONE as error:
            raise SourceFailed(Outcome.TRUNCATED, f"{self._source.name} ended in block {number}") from error


def _check_head(response: aiohttp.ClientResponse, source: RankedSource, asked: RunAsked) -> None:
    """Raises SourceFailed unless the body is what was asked for."""
    bad = outcome_of_status(response.status, source.kind)
    if bad is not None:
        raise SourceFailed(bad, f"{source.name} answered {response.status}")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise SourceFailed(Outcome.RANGE_IGNORED, f"{source.name} answered with an encoded body")
    if response.status == 200:
        if response.content_length is not None and response.content_length != asked.size_bytes:
            raise SourceFailed(
                Outcome.OTHER_SIZE, f"{source.name} has {response.content_length} bytes, not {asked.size_bytes}"
            )
        if asked.first != 0:
            raise SourceFailed(Outcome.RANGE_IGNORED, f"{source.name} ignores Range")
        return
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if match is None:
        raise SourceFailed(Outcome.RANGE_IGNORED, f"{source.name} answered 206 without a single Content-Range")
    first, last, size = (int(group) for group in match.groups())
    if size != asked.size_bytes:
        raise SourceFailed(Outcome.OTHER_SIZE, f"{source.name} has {size} bytes, not {asked.size_bytes}")
    if (first, last) != (asked.first_byte, asked.last_byte):
        raise SourceFailed(Outcome.RANGE_IGNORED, f"{source.name} answered with another range: {first}-{last}")
