"""Fetches byte ranges from ranked addresses, going on from the next one when one fails, also in the middle of a body.

A location that failed is tried last for `PENALTY_S`. When all have failed and one of them may still come back, all are tried again
after the pauses `PAUSES_S`, as the common players do. Every attempt is kept as a fact for the report.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from urllib.parse import quote, urlsplit

import httpx

from contracts.urls import split_token
from player.presentation import Address

PENALTY_S = 10.0
CONNECT_S = 1.0
READ_S = 8.0
PAUSES_S = (0.5, 1.0, 2.0, 4.0)


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
    """One request: where, what was asked, what came. `host` is host:port."""

    at_s: float
    host: str
    path: str
    first: int
    last: int
    status: int
    got_bytes: int
    took_s: float
    ended: Ended


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


class RangeFetcher:
    """One player's downloads. `source_address` binds the client side, so that a network can be acted.

    `now` gives monotonic seconds, `sleep` waits between rounds. Close with `aclose`.
    """

    def __init__(
        self,
        source_address: str | None = None,
        now: Callable[[], float] = time.monotonic,
        on_host: Callable[[str], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._now = now
        self._sleep = sleep
        self._on_host = on_host or (lambda _host: None)
        timeout = httpx.Timeout(READ_S, connect=CONNECT_S)
        transport = httpx.AsyncHTTPTransport(local_address=source_address, retries=0)
        self._client = httpx.AsyncClient(transport=transport, timeout=timeout, follow_redirects=False)
        self._penalised: dict[str, float] = {}
        self.attempts: list[Attempt] = []

    async def aclose(self) -> None:
        await self._client.aclose()

    async def fetch(self, addresses: tuple[Address, ...], first: int, last: int, cmcd: str = "") -> Fetched:
        """Bytes first..last (inclusive). Raises NothingAnswered or TokenRefusedByServer; cancellation drops the request."""
        started, body = self._now(), bytearray()
        for pause_s in (*PAUSES_S, None):
            tried = await self._round(addresses, first, last, cmcd, body)
            if tried and tried[-1].ended is Ended.COMPLETE:
                self._on_host(tried[-1].host)
                return Fetched(bytes(body), self._now() - started, tried[-1].host)
            if pause_s is None or not any(map(_may_come_back, tried)):
                break
            await self._sleep(pause_s)
        raise NothingAnswered(
            f"bytes {first}-{last}: none of {len(addresses)} addresses gave them all",
            tuple(attempt.status for attempt in tried),
        )

    async def _round(
        self, addresses: tuple[Address, ...], first: int, last: int, cmcd: str, body: bytearray
    ) -> list[Attempt]:
        """Asks one address after another for what `body` lacks, until one completes it. Raises TokenRefusedByServer."""
        tried: list[Attempt] = []
        for address in self._in_order(addresses):
            attempt = await self._attempt(address, first + len(body), last, cmcd, body)
            tried.append(attempt)
            if attempt.ended is Ended.COMPLETE:
                break
            if attempt.status == 403:
                raise TokenRefusedByServer(f"{attempt.host} answered 403")
            self._penalised[address.url] = self._now() + PENALTY_S
        return tried

    def _in_order(self, addresses: tuple[Address, ...]) -> list[Address]:
        now = self._now()
        return sorted(addresses, key=lambda address: self._penalised.get(address.url, 0.0) > now)

    async def _attempt(self, address: Address, first: int, last: int, cmcd: str, body: bytearray) -> Attempt:
        url = f"{address.url}?CMCD={quote(cmcd, safe='')}" if cmcd else address.url
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
        except httpx.ConnectError:
            ended = Ended.UNREACHABLE
        except httpx.TimeoutException:
            ended = Ended.TIMEOUT
        except httpx.TransportError:
            ended = Ended.BROKEN
        if len(body) - before > want:
            del body[before:]
            ended = Ended.SHORT
        parts = urlsplit(address.url)
        attempt = Attempt(
            began,
            parts.netloc,
            split_token(parts.path)[1],
            first,
            last,
            status,
            len(body) - before,
            self._now() - began,
            ended,
        )
        self.attempts.append(attempt)
        return attempt


def _may_come_back(attempt: Attempt) -> bool:
    """A refusal such as 404 or 416 stays; a server in trouble, or none at all, may be another matter in a second."""
    return attempt.ended is not Ended.STATUS or attempt.status == 429 or attempt.status >= 500
