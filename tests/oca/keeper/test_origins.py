"""Upstreams of a pull-through service: one after the other, at most so many at once, left in peace when they are away."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from oca.config import Fetching, PullService
from oca.keeper.errors import FetchFailed
from oca.keeper.origins import HttpOrigins
from oca.link.messages import FetchFailure


class Upstream:
    """Answers `status` after `delay_s`; counts."""

    def __init__(self, status: int = 200, delay_s: float = 0.0) -> None:
        self.status = status
        self.delay_s = delay_s
        self.asked = self.at_once = self.most_at_once = 0
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.asked += 1
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                await asyncio.sleep(self.delay_s)
                self.at_once -= 1
                writer.write(b"HTTP/1.1 %d Said\r\nContent-Length: 4\r\n\r\nbody" % self.status)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def upstreams(*several: Upstream) -> AsyncIterator[None]:
    servers = []
    for one in several:
        server = await asyncio.start_server(one.answer, "127.0.0.1", 0)
        one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        servers.append(server)
    try:
        yield
    finally:
        for server in servers:
            server.close()


@asynccontextmanager
async def asking(limits: Fetching) -> AsyncIterator[HttpOrigins]:
    origins = HttpOrigins(limits, lambda: "a-1", time.time, time.monotonic, lambda: 1.0)
    try:
        yield origins
    finally:
        await origins.close()


def service(*urls: str) -> PullService:
    return PullService("web", hosts=("web.example",), upstreams=urls)


@pytest.fixture
def away() -> Iterator[str]:
    """An upstream where nobody listens; bound, so that nobody else begins to."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


async def status_of(origins: HttpOrigins, asked: PullService) -> int:
    async with origins.ask(asked, "/a", ()) as reply:
        assert await reply.read(4) == b"body"
        return reply.status


async def test_the_next_upstream_is_asked_when_one_is_away_or_answers_with_an_error(away: str) -> None:
    failing, well = Upstream(503), Upstream()
    async with upstreams(failing, well), asking(Fetching(connect_s=0.5)) as origins:
        assert await status_of(origins, service(away, failing.url, well.url)) == 200
        assert (failing.asked, well.asked) == (1, 1)
        assert await status_of(origins, service(well.url, failing.url)) == 200
        assert failing.asked == 1


async def test_the_last_upstreams_error_is_its_answer_and_no_reason_to_leave_it_in_peace() -> None:
    failing = Upstream(500)
    async with upstreams(failing), asking(Fetching()) as origins:
        for _ in range(30):
            assert await status_of(origins, service(failing.url)) == 500
        assert failing.asked == 30
        assert origins.open_circuits == []


async def test_an_upstream_that_is_away_is_left_in_peace_and_the_others_go_on(away: str) -> None:
    well = Upstream()
    async with upstreams(well), asking(Fetching(connect_s=0.5)) as origins:
        for _ in range(15):
            assert await status_of(origins, service(away, well.url)) == 200
        assert origins.open_circuits == [away]
        with pytest.raises(FetchFailed, match="left in peace") as failed:
            await status_of(origins, service(away))
        assert failed.value.why is FetchFailure.UPSTREAM_UNREACHABLE


async def test_further_upstreams_are_asked_only_as_often_as_the_budget_allows() -> None:
    first, second = Upstream(503), Upstream(503)
    async with upstreams(first, second), asking(Fetching(retry_share=0.0)) as origins:
        for _ in range(80):
            assert await status_of(origins, service(first.url, second.url)) == 503, "the answer that there is"
        assert first.asked == 80
        assert 50 <= second.asked < 80


async def test_a_storm_reaches_an_upstream_as_a_trickle() -> None:
    slow = Upstream(delay_s=0.01)
    async with upstreams(slow), asking(Fetching(client_fetches=3, first_byte_s=20.0)) as origins:
        assert await asyncio.gather(*(status_of(origins, service(slow.url)) for _ in range(60))) == [200] * 60
        assert slow.most_at_once == 3
