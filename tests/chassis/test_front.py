"""The short way past an application: what it takes, what it hands over, and that nobody can tell the difference."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from chassis.front import IDLE_S, Front, body_length, whole_request
from chassis.metrics import Metrics
from chassis.routes import Routes
from chassis.service import Listener, Service, Tcp
from chassis.web import build_app

PATH = "/v1/echo"
LINE = b"POST /v1/echo HTTP/1.1\r\n"
LARGE_BYTES = 32 << 20
"""More than the kernel takes of what nobody reads."""
HEAD = b"Host: x\r\nContent-Type: application/json\r\n"


def request(body: bytes = b"{}", more: bytes = b"", line: bytes = LINE) -> bytes:
    return line + HEAD + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


def test_a_whole_plain_request_goes_the_short_way_with_its_id() -> None:
    data = request(b'{"a": 1}', b"X-Request-Id: abc\r\nConnection: keep-alive\r\n")
    found = whole_request(data + b"POST", LINE)
    assert found is not None
    assert (data[found[0] : found[1]], found[2]) == (b'{"a": 1}', b"abc")


@pytest.mark.parametrize(
    "data",
    [
        request()[:-1],
        request()[:30],
        b"",
        request(line=b"POST /v1/echo HTTP/1.0\r\n"),
        request(line=b"GET /v1/echo HTTP/1.1\r\n"),
        request(line=b"POST /v1/echo?x HTTP/1.1\r\n"),
        request(more=b"Transfer-Encoding: chunked\r\n"),
        request(more=b"Expect: 100-continue\r\n"),
        request(more=b"Upgrade: websocket\r\n"),
        request(more=b"Connection: close\r\n"),
        request(more=b"Origin: https://a.example\r\n"),
        request(more=b"Content-Length: 2\r\n"),
        request(more=b"Content-Length : 2\r\n"),
        request(more=b" folded: line\r\n"),
        request(more=b"Nothing\r\n"),
        request(more=b"Accept: a\nTransfer-Encoding: chunked\r\n"),
        request(more=b"X-Request-Id: a b\r\n"),
        request(more=b"Content-Encoding: gzip\r\n"),
        request(more=b"Host: y\r\n"),
        LINE + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        LINE + HEAD + b"Content-Length: +2\r\n\r\n{}",
        LINE + HEAD + b"\r\n{}",
        LINE + b"Host: x\r\nContent-Length: 2\r\n\r\n{}",
        LINE + b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_whatever_is_odd_in_any_way_is_handed_over(data: bytes) -> None:
    assert whole_request(data, LINE) is None


@given(st.binary(max_size=200))
def test_no_head_raises(head: bytes) -> None:
    found = body_length(head)
    assert found is None or found[0] >= 0


def echo(body: bytes) -> bytes | None:
    if b"fail" in body:
        raise ArithmeticError("a bug")
    return None if b"refuse" in body else b" " * LARGE_BYTES if b"large" in body else body


@asynccontextmanager
async def serving(idle_s: float = IDLE_S) -> AsyncIterator[tuple[str, Front]]:
    async def behind(request: web.Request) -> web.Response:
        return web.Response(body=b"behind:" + await request.read(), content_type="application/json")

    async def other(_request: web.Request) -> web.Response:
        return web.Response(text="other")

    fronts = []

    async def compose(service: Service) -> None:
        routes = Routes("echo")
        routes.raw("POST", PATH, behind, summary="echo")
        routes.raw("GET", "/other", other, summary="other")
        fronts.append(Front(PATH, echo, service.metrics, idle_s=idle_s))
        app = build_app(routes, metrics=service.metrics)
        service.listen(Listener("http", app, Tcp("127.0.0.1", 0), front=fronts[0]))

    service = Service("echo", compose, grace_s=0.2)
    async with service.running() as urls:
        yield urls["http"], fronts[0]


async def answer_of(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes]:
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode().split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await asyncio.wait_for(reader.readexactly(int(fields["content-length"])), 10)
    return {"status": head[0].split()[1], **fields}, body


async def talk(url: str, *pieces: bytes, answers: int) -> list[tuple[dict[str, str], bytes]]:
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        return [await answer_of(reader) for _ in range(answers)]
    finally:
        writer.close()


async def test_requests_of_one_connection_are_answered_in_order_whichever_way_they_go() -> None:
    async with serving() as (url, _):
        get = b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n"
        found = await talk(url, request(b"1") + request(b"2"), request(b'"refuse"') + get + request(b"3"), answers=5)
        assert [body for _, body in found] == [b"1", b"2", b'behind:"refuse"', b"other", b"behind:3"]
        assert {fields["status"] for fields, _ in found} == {"200"}
        assert all(fields["x-request-id"] for fields, _ in found)


async def test_a_request_in_pieces_is_answered_by_the_application() -> None:
    async with serving() as (url, front):
        whole = request(b'{"long": true}')
        found = await talk(url, whole[:40], whole[40:], answers=1)
        assert found[0][1] in (b'behind:{"long": true}', b'{"long": true}'), "the kernel may have joined the pieces"
        assert front.connections == set() or found[0][1] == b'{"long": true}'


async def test_the_short_way_counts_as_the_long_way_does() -> None:
    async with serving() as (url, front):
        await talk(url, request(b"1") + request(b"2"), answers=2)
        assert front.answered._value.get() == 2


async def test_a_stop_closes_idle_connections_of_the_short_way() -> None:
    async with serving() as (url, front):
        host, _, port = url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request(b"1"))
        await answer_of(reader)
        assert len(front.connections) == 1
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


async def test_a_request_that_the_short_way_fails_at_goes_the_long_way() -> None:
    async with serving() as (url, _):
        found = await talk(url, request(b'"fail"'), request(b"1"), answers=2)
        assert [body for _, body in found] == [b'behind:"fail"', b"behind:1"]


async def test_a_client_that_never_reads_is_broken_off() -> None:
    async with serving(idle_s=0.2) as (url, front):
        host, _, port = url.removeprefix("http://").partition(":")
        _reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(request(b'"large"'))
        async with asyncio.timeout(30):
            while not front.answered._value.get() or front.connections:  # noqa: ASYNC110  neither has an event
                await asyncio.sleep(0.02)
        writer.transport.abort()


class Behind(asyncio.Protocol):
    """An application that notes what happens to it."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def connection_made(self, _transport: asyncio.BaseTransport) -> None:
        self.seen.append("made")

    def data_received(self, _data: bytes) -> None:
        self.seen.append("data")

    def pause_writing(self) -> None:
        self.seen.append("paused")


class Pipe(asyncio.Transport):
    """Nothing arrives anywhere."""

    def write(self, _data: object) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def set_protocol(self, _protocol: asyncio.BaseProtocol) -> None:
        pass


@pytest.mark.parametrize(
    ("is_full", "seen"), [(True, ["made", "paused", "data"]), (False, ["made", "data"])], ids=["full", "empty"]
)
async def test_an_application_is_told_that_the_connection_it_gets_is_full(is_full: bool, seen: list[str]) -> None:
    behind = Behind()
    connection = Front(PATH, echo, Metrics("echo", process=False)).connection(lambda: behind)
    connection.connection_made(Pipe())
    connection.pause_writing()
    if not is_full:
        connection.resume_writing()
    connection.data_received(request(b'"refuse"'))
    assert behind.seen == seen
