"""Fetches byte ranges from ranked addresses, going on from the next one when one fails, also in the middle of a body.

What stands first, and what a failure does to an address, is for `Places` to say. When all have failed and one of them may still come
back, all are tried again after the pauses `PAUSES_S`, as the common players do. Every attempt is kept as a fact for the report.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Protocol
from urllib.parse import quote, urlsplit

import httpx

from contracts.urls import split_token
from player.presentation import Address
from player.steering import Answer

PENALTY_S = 10.0
CONNECT_S = 1.0
READ_S = 8.0
PAUSES_S = (0.5, 1.0, 2.0, 4.0)
LONGEST_DOCUMENT = 1 << 20


class Ended(Enum):
    """How an attempt ended (log word = value)."""

    COMPLETE = "complete"
    SHORT = "short-body"
    STATUS = "refused-by-status"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    BROKEN = "connection-broken"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request: where, what was asked, what came. `host` is host:port, `location` the pathway."""

    at_s: float
    host: str
    path: str
    first: int
    last: int
    status: int
    got_bytes: int
    took_s: float
    ended: Ended
    location: str = ""


@dataclass(frozen=True, slots=True)
class Fetched:
    data: bytes
    took_s: float
    host: str


class NothingAnswered(Exception):
    """Every address failed for one range, again and again. `statuses` are those of the last round, 0 where nobody spoke."""

    def __init__(self, message: str, statuses: tuple[int, ...]) -> None:
        super().__init__(message)
        self.statuses = statuses


class TokenRefusedByServer(Exception):
    """The media token is not accepted any more: a fresh manifest is needed."""


class Places(Protocol):
    """Which address comes first, told how each of them did. Instants are the fetcher's `now`."""

    def order(self, addresses: Sequence[Address], now: float) -> Sequence[Address]: ...

    def failed(self, address: Address, now: float) -> None: ...

    def served(self, address: Address, size_bytes: int, took_s: float) -> None: ...


class Unsteered:
    """The manifest's order; an address that failed is tried last for `PENALTY_S`."""

    def __init__(self) -> None:
        self._penalised: dict[str, float] = {}

    def order(self, addresses: Sequence[Address], now: float) -> Sequence[Address]:
        return sorted(addresses, key=lambda address: self._penalised.get(address.url, 0.0) > now)

    def failed(self, address: Address, now: float) -> None:
        self._penalised[address.url] = now + PENALTY_S

    def served(self, address: Address, size_bytes: int, took_s: float) -> None:
        """Nothing is made of it."""


class RangeFetcher:
    """One player's downloads. `source_address` binds the client side, so that a network can be acted.

    `now` gives monotonic seconds, `sleep` waits between rounds, `transport` takes the place of the network. Close with `aclose`.
    """

    def __init__(
        self,
        source_address: str | None = None,
        now: Callable[[], float] = time.monotonic,
        on_host: Callable[[str], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._now = now
        self._sleep = sleep
        self._on_host = on_host or (lambda _host: None)
        timeout = httpx.Timeout(READ_S, connect=CONNECT_S)
        network = transport or httpx.AsyncHTTPTransport(local_address=source_address, retries=0, verify=trusting())
        self._client = httpx.AsyncClient(transport=network, timeout=timeout, follow_redirects=False)
        self.places: Places = Unsteered()
        self.attempts: list[Attempt] = []

    async def aclose(self) -> None:
        await self._client.aclose()

    async def fetch(self, addresses: tuple[Address, ...], first: int, last: int, cmcd: str = "") -> Fetched:
        """Bytes first..last (inclusive). Raises NothingAnswered or TokenRefusedByServer; cancellation drops the request."""
        body = bytearray()

        async def attempt(address: Address) -> Attempt:
            return await self._attempt(address, first + len(body), last, cmcd, body)

        return await self._rounds(addresses, attempt, body, f"bytes {first}-{last}")

    async def fetch_whole(self, addresses: tuple[Address, ...]) -> Fetched:
        """A document, such as a playlist, as `fetch` gets a range."""
        body = bytearray()

        async def attempt(address: Address) -> Attempt:
            return await self._document(address, body)

        return await self._rounds(addresses, attempt, body, "a document")

    async def ask(self, url: str) -> Answer:
        """A small document by a GET that follows redirections. Never raises: status 0 says that nobody spoke, or too much."""
        try:
            async with self._client.stream("GET", url, follow_redirects=True) as response:
                body = bytearray()
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > LONGEST_DOCUMENT:
                        return Answer(0, url)
        except (httpx.HTTPError, httpx.InvalidURL):
            return Answer(0, url)
        return Answer(response.status_code, str(response.url), bytes(body), _retry_after_s(response))

    async def _rounds(
        self,
        addresses: tuple[Address, ...],
        attempt: Callable[[Address], Awaitable[Attempt]],
        body: bytearray,
        what: str,
    ) -> Fetched:
        started = self._now()
        for pause_s in (*PAUSES_S, None):
            tried = await self._round(addresses, attempt)
            if tried and tried[-1].ended is Ended.COMPLETE:
                self._on_host(tried[-1].host)
                return Fetched(bytes(body), self._now() - started, tried[-1].host)
            if pause_s is None or not any(map(_may_come_back, tried)):
                break
            await self._sleep(pause_s)
        raise NothingAnswered(
            f"{what}: none of {len(addresses)} addresses gave them all",
            tuple(attempt.status for attempt in tried),
        )

    async def _round(
        self, addresses: tuple[Address, ...], attempt: Callable[[Address], Awaitable[Attempt]]
    ) -> list[Attempt]:
        """Asks one address after another until one completes what is lacking. Raises TokenRefusedByServer."""
        tried: list[Attempt] = []
        for address in self.places.order(addresses, self._now()):
            made = await attempt(address)
            self.attempts.append(made)
            tried.append(made)
            if made.ended is Ended.COMPLETE:
                self.places.served(address, made.got_bytes, made.took_s)
                break
            if made.status == 403:
                raise TokenRefusedByServer(f"{made.host} answered 403")
            self.places.failed(address, self._now())
        return tried

    async def _document(self, address: Address, body: bytearray) -> Attempt:
        began = self._now()
        answer = await self.ask(address.url)
        if answer.status == 200:
            body += answer.body
            ended = Ended.COMPLETE
        else:
            ended = Ended.STATUS if answer.status else Ended.UNREACHABLE
        parts, took_s = urlsplit(address.url), self._now() - began
        path = split_token(parts.path)[1]
        return Attempt(
            began, parts.netloc, path, 0, len(body) - 1, answer.status, len(body), took_s, ended, address.location
        )

    async def _attempt(self, address: Address, first: int, last: int, cmcd: str, body: bytearray) -> Attempt:
        parts = urlsplit(address.url)
        url = f"{address.url}{'&' if parts.query else '?'}CMCD={quote(cmcd, safe='')}" if cmcd else address.url
        began, before, status = self._now(), len(body), 0
        want = last - first + 1
        try:
            async with self._client.stream("GET", url, headers={"Range": f"bytes={first}-{last}"}) as response:
                status = response.status_code
                if status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {first}-{last}/"):
                    async for piece in response.aiter_raw():
                        body += piece
                    ended = Ended.COMPLETE if len(body) - before == want else Ended.SHORT
                else:
                    ended = Ended.STATUS
        except (httpx.ConnectError, httpx.InvalidURL):
            ended = Ended.UNREACHABLE
        except httpx.TimeoutException:
            ended = Ended.TIMEOUT
        except httpx.TransportError:
            ended = Ended.BROKEN
        if len(body) - before > want:
            del body[before:]
            ended = Ended.SHORT
        return Attempt(
            began,
            parts.netloc,
            split_token(parts.path)[1],
            first,
            last,
            status,
            len(body) - before,
            self._now() - began,
            ended,
            address.location,
        )


@cache
def trusting() -> ssl.SSLContext:
    """The certificates that everybody trusts, read once: 20 ms of CPU for each of many players otherwise (measured)."""
    return httpx.create_ssl_context()


def _may_come_back(attempt: Attempt) -> bool:
    """A refusal such as 404 or 416 stays; a server in trouble, or none at all, may be another matter in a second."""
    return attempt.ended is not Ended.STATUS or attempt.status == 429 or attempt.status >= 500


def _retry_after_s(response: httpx.Response) -> float | None:
    """Seconds; None for a date too, which a play of some hours need not read."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None
