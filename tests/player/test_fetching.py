"""Ranges from ranked addresses: on to the next one, and round again while one of them may come back."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import pytest

from player.fetching import PAUSES_S, Ended, NothingAnswered, RangeFetcher, TokenRefusedByServer
from player.presentation import Address

DATA = bytes(range(256)) * 4
NO_HOST = Address("http://a::8443/~t/media/x/sd/v.mp4", "nowhere")
NOBODY = Address("http://127.0.0.1:9/~t/media/x/sd/v.mp4", "nobody")


@dataclass
class Server:
    """Answers each request with the next of `plan`: a status, or 206 (from then on 206 always)."""

    plan: list[int]
    cut_at: int | None = None
    asked: list[str] = field(default_factory=list)
    url: str = ""

    @property
    def address(self) -> Address:
        return Address(f"{self.url}/~t/media/x/sd/v.mp4", "somewhere")

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        match = re.search(r"(?i)range: bytes=(\d+)-(\d+)", head)
        assert match, head
        first, last = int(match[1]), int(match[2])
        self.asked.append(match[0].partition("=")[2])
        status = self.plan.pop(0) if self.plan else 206
        body = DATA[first : last + 1] if status == 206 else b""
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close"]
        lines += [f"Content-Range: bytes {first}-{last}/{len(DATA)}"] if status == 206 else []
        sent, self.cut_at = body[: self.cut_at], None
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + sent)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def serving(*plan: int, cut_at: int | None = None) -> AsyncIterator[Server]:
    found = Server(list(plan), cut_at)
    server = await asyncio.start_server(found.answer, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        server.close()
        await server.wait_closed()


@contextmanager
def slept() -> Iterator[tuple[list[float], RangeFetcher]]:
    """A fetcher that only notes how long it would have waited."""
    pauses: list[float] = []

    async def sleep(length_s: float) -> None:
        pauses.append(length_s)

    yield pauses, RangeFetcher(sleep=sleep)


async def test_the_next_address_is_asked_for_what_the_first_one_did_not_send() -> None:
    async with serving(206, cut_at=100) as cut, serving() as whole:
        with slept() as (pauses, fetcher):
            found = await fetcher.fetch((NOBODY, cut.address, whole.address), 10, 509)
            await fetcher.aclose()
    assert found.data == DATA[10:510]
    assert whole.asked == ["110-509"]
    assert [attempt.ended for attempt in fetcher.attempts] == [Ended.UNREACHABLE, Ended.BROKEN, Ended.COMPLETE]
    assert pauses == []


async def test_when_all_are_in_trouble_they_are_asked_again_after_growing_pauses() -> None:
    async with serving(504, 503, 502) as troubled:
        with slept() as (pauses, fetcher):
            found = await fetcher.fetch((troubled.address, NOBODY), 0, 99)
            await fetcher.aclose()
    assert found.data == DATA[:100]
    assert pauses == list(PAUSES_S[:3])
    assert len(troubled.asked) == 4


async def test_patience_ends_with_the_statuses_of_the_last_round() -> None:
    async with serving(*[504] * 20) as troubled:
        with slept() as (pauses, fetcher):
            with pytest.raises(NothingAnswered, match="bytes 0-99: none of 2") as failed:
                await fetcher.fetch((troubled.address, NOBODY), 0, 99)
            await fetcher.aclose()
    assert failed.value.statuses == (504, 0)
    assert pauses == list(PAUSES_S)


async def test_what_is_refused_for_good_is_not_asked_again() -> None:
    async with serving(404, 404) as without:
        with slept() as (pauses, fetcher):
            with pytest.raises(NothingAnswered):
                await fetcher.fetch((without.address,), 0, 99)
            await fetcher.aclose()
    assert len(without.asked) == 1
    assert pauses == []


async def test_a_refused_token_is_told_at_once() -> None:
    async with serving(403) as refusing, serving() as other:
        with slept() as (_pauses, fetcher):
            with pytest.raises(TokenRefusedByServer):
                await fetcher.fetch((refusing.address, other.address), 0, 99)
            await fetcher.aclose()
    assert other.asked == []


async def test_an_address_that_is_none_is_as_a_server_that_is_not_there() -> None:
    async with serving() as whole:
        with slept() as (_pauses, fetcher):
            found = await fetcher.fetch((NO_HOST, whole.address), 0, 9)
            await fetcher.aclose()
    assert found.data == DATA[:10]
    assert [attempt.ended for attempt in fetcher.attempts] == [Ended.UNREACHABLE, Ended.COMPLETE]
