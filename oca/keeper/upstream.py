"""One range request to one source: open it, take block after block, say how it ended.

Laws: every wait is bounded (connection, first byte, silence between bytes); an answer is taken only when it is the range that
was asked for of a file of the expected size; whether the bytes are right is not judged here but by their digests. Every
request names this appliance in `CDN-Loop` (RFC 8586); a peer is asked with `only-if-cached` (RFC 9111 §5.2.1.7).
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import aiohttp
from yarl import URL

from contracts.digests import BLOCK_BYTES, block_length
from contracts.plans import RankedSource, SourceKind
from contracts.urls import split_key
from oca.config import Fetching
from oca.keeper.errors import KeeperError, Retry
from oca.keeper.sourcing import Outcome, outcome_of_status

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

    @property
    def first_byte(self) -> int:
        return self.first * BLOCK_BYTES

    @property
    def last_byte(self) -> int:
        return min(self.size_bytes, (self.last + 1) * BLOCK_BYTES) - 1


class Body(Protocol):
    async def block(self, number: int) -> bytes:
        """The next block, which is `number`. Raises SourceFailed."""


class Upstream(Protocol):
    def open(self, source: RankedSource, asked: RunAsked, *, last: bool = False) -> AbstractAsyncContextManager[Body]:
        """Asks a source; entering waits for the head, longer for the `last` one, behind which nobody stands. Raises SourceFailed."""


class HttpUpstream:
    """Sources over HTTP/1.1, with this appliance's certificate where the URL says https."""

    def __init__(
        self, limits: Fetching, appliance_id: Callable[[], str], tls: Callable[[], ssl.SSLContext | None]
    ) -> None:
        self._limits = limits
        self._appliance_id = appliance_id
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def open(self, source: RankedSource, asked: RunAsked, *, last: bool = False) -> AsyncIterator[Body]:
        limits = self._limits
        first_byte_s = max(limits.first_byte_s, limits.stall_s) if last else limits.first_byte_s
        response = await self._request(source, asked, first_byte_s)
        whole = False
        try:
            _check_head(response, source, asked)
            yield _HttpBody(response, source, asked)
            whole = response.content.at_eof()
        finally:
            # A body that was not read to its end cannot be followed by another answer on the same connection.
            if whole:
                response.release()
            else:
                response.close()

    async def _request(self, source: RankedSource, asked: RunAsked, first_byte_s: float) -> aiohttp.ClientResponse:
        url = URL(source.url.rstrip("/") + split_key(asked.key)[1], encoded=True)
        headers = {
            "Range": f"bytes={asked.first_byte}-{asked.last_byte}",
            "CDN-Loop": f"lowtide;appliance={self._appliance_id()}",
            "Accept-Encoding": "identity",
        }
        if source.kind is SourceKind.PEER:
            headers["Cache-Control"] = "only-if-cached"
        try:
            async with asyncio.timeout(first_byte_s):
                return await self._opened().get(url, headers=headers, ssl=self._context(source), allow_redirects=False)
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

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            limits = self._limits
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30.0),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_s, sock_read=limits.stall_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=READ_BUFFER_BYTES,
                headers={"User-Agent": "lowtide-oca"},
            )
        return self._session


class _HttpBody:
    def __init__(self, response: aiohttp.ClientResponse, source: RankedSource, asked: RunAsked) -> None:
        self._response = response
        self._source = source
        self._asked = asked

    async def block(self, number: int) -> bytes:
        try:
            return await self._response.content.readexactly(block_length(self._asked.size_bytes, number))
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
