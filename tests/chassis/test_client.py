"""The client: errors mapped once, retries on request, the next base URL when one is gone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import msgspec
import pytest
from aiohttp import web

from chassis.client import ServiceClient
from chassis.clock import VirtualClock
from chassis.errors import ProblemError, Retry, ServiceError, Source
from chassis.metrics import Metrics
from chassis.routes import Call, Routes
from chassis.service import Listener, Service, Tcp
from chassis.web import build_app
from contracts.problems import ProblemCode


class Word(msgspec.Struct, frozen=True):
    word: str
    number: int = 0


class Far:
    """A service that fails as often as it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.fail_times = 0
        self.hold = asyncio.Event()

    async def word(self, call: Call[None]) -> Word:
        self.asked += 1
        if self.asked <= self.fail_times:
            raise ProblemError(ProblemCode.UNAVAILABLE, "not yet", retry_after_s=1)
        return Word("hello", self.asked)

    async def echo(self, call: Call[Word]) -> Word:
        self.asked += 1
        if self.asked <= self.fail_times:
            raise ProblemError(ProblemCode.UNAVAILABLE, "not yet")
        return call.body

    async def missing(self, call: Call[None]) -> Word:
        raise ProblemError(ProblemCode.NOT_FOUND, "no such word")

    async def lines(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"word": "a"}\n\n{"wor')
        await asyncio.sleep(0)
        await response.write(b'd": "b"}\n')
        if request.query.get("end") == "cut":
            await response.write(b'{"word": "c"')
        if request.query.get("end") == "hold":
            await self.hold.wait()
        return response

    async def text(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text="no JSON")

    async def late(self, request: web.Request) -> web.StreamResponse:
        await self.hold.wait()
        return web.Response()

    async def socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data.upper())
        return socket


@asynccontextmanager
async def serving(far: Far) -> AsyncIterator[str]:
    routes = Routes("far")
    routes.get("/word", far.word, summary="w")
    routes.post("/echo", far.echo, summary="e")
    routes.get("/missing", far.missing, summary="m")
    for path, handler in (("/lines", far.lines), ("/text", far.text), ("/late", far.late), ("/socket", far.socket)):
        raw: Callable[[web.Request], Awaitable[web.StreamResponse]] = handler
        routes.raw("GET", path, raw, summary=path)

    async def compose(service: Service) -> None:
        app = build_app(routes, metrics=Metrics("far", process=False))
        service.listen(Listener("http", app, Tcp("127.0.0.1", 0)))

    async with Service("far", compose, grace_s=0.2).running() as urls:
        yield urls["http"]
        far.hold.set()


@pytest.fixture
def far() -> Far:
    return Far()


@pytest.fixture
async def client(far: Far) -> AsyncIterator[ServiceClient]:
    async with serving(far) as url, ServiceClient(url) as made:
        yield made


async def refusal(call: Awaitable[object]) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await call
    return caught.value


async def test_answers_come_as_the_type_asked_for(client: ServiceClient) -> None:
    assert await client.get("/word", Word) == Word("hello", 1)
    assert await client.post("/echo", Word("x", 2), Word) == Word("x", 2)


async def test_a_problem_of_the_other_side_comes_with_its_code_and_words(client: ServiceClient) -> None:
    error = await refusal(client.get("/missing", Word))
    assert (error.status, error.code, error.source, error.retry) == (
        404, ProblemCode.NOT_FOUND, Source.CLIENT, Retry.NO
    )  # fmt: skip
    assert "no such word" in str(error)


async def test_an_answer_of_another_shape_is_an_error_of_the_other_side(client: ServiceClient) -> None:
    error = await refusal(client.get("/text", Word))
    assert (error.source, error.retry, error.status) == (Source.UPSTREAM, Retry.NO, 502)


async def test_an_answer_that_does_not_come_is_a_504_that_may_be_asked_again(client: ServiceClient) -> None:
    error = await refusal(client.get("/late", timeout_s=0.05))
    assert (error.status, error.retry) == (504, Retry.YES)


async def test_a_call_may_have_more_time_than_its_client_gives_others(far: Far) -> None:
    async with serving(far) as url, ServiceClient(url, timeout_s=0.2) as client:
        assert (await refusal(client.get("/late"))).status == 504
        asyncio.get_running_loop().call_later(0.6, far.hold.set)
        await client.get("/late", timeout_s=20.0)


async def test_nothing_is_retried_unless_asked_for(far: Far, client: ServiceClient) -> None:
    far.fail_times = 1
    assert (await refusal(client.get("/word", Word))).status == 503
    assert far.asked == 1


async def test_retries_wait_as_long_as_the_other_side_asks(far: Far) -> None:
    far.fail_times = 2
    clock = VirtualClock()
    async with serving(far) as url, ServiceClient(url, clock=clock, rng=random.Random(1)) as client:
        call = asyncio.create_task(client.get("/word", Word, retries=3))
        while not call.done():
            if clock.sleepers:
                await clock.advance(0.5)
            await asyncio.sleep(0.001)
        assert (await call).number == 3
    assert clock.monotonic_s() >= 2.0


async def test_the_next_base_url_is_asked_when_the_first_is_gone(far: Far) -> None:
    async with serving(far) as url:
        async with ServiceClient(["http://127.0.0.1:1", url]) as client:
            assert (await client.get("/word", Word)).word == "hello"
            assert client.base_url == url


async def test_a_post_is_not_repeated_on_another_base_url(far: Far) -> None:
    async with serving(far) as url:
        async with ServiceClient(["http://127.0.0.1:1", url]) as client:
            assert (await refusal(client.post("/echo", Word("x"), Word))).retry is Retry.YES
    assert far.asked == 0


async def test_nobody_at_home_says_where(far: Far) -> None:
    async with ServiceClient("http://127.0.0.1:1") as client:
        error = await refusal(client.get("/~secret-token/x", Word))
    assert (error.status, error.source) == (502, Source.UPSTREAM)
    assert "http://127.0.0.1:1" in str(error)
    assert "secret-token" not in str(error)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1", "http://127.0.0.1:1/x cannot be reached: Connection refused"),
        ("https://127.0.0.1:1", "https://127.0.0.1:1/x cannot be reached: Connection refused"),
        (
            "control.example:8443",
            "control.example:8443/x cannot be reached: the address must begin with http:// or https://",
        ),
    ],
)
async def test_what_is_in_the_way_is_told_in_words_that_do_not_change(url: str, said: str) -> None:
    async with ServiceClient(url) as client:
        told = {str(await refusal(client.get("/x", Word))) for _ in range(2)}
    assert told == {said}


async def test_tls_where_there_is_none_is_told(far: Far) -> None:
    async with serving(far) as url, ServiceClient(url.replace("http:", "https:")) as client:
        error = await refusal(client.get("/word", Word))
    assert str(error).endswith("cannot be reached: no TLS could be agreed: wrong version number")


async def test_lines_come_one_by_one_however_they_are_cut(client: ServiceClient) -> None:
    assert [line async for line in client.stream_lines("/lines", Word)] == [Word("a"), Word("b")]


async def test_a_stream_that_ends_inside_a_line_is_an_error(client: ServiceClient) -> None:
    got: list[Word] = []

    async def read() -> None:
        async for line in client.stream_lines("/lines", Word, query={"end": "cut"}):
            got.append(line)

    assert "inside a line" in str(await refusal(read()))
    assert got == [Word("a"), Word("b")]


async def test_a_stream_that_falls_silent_is_an_error_after_idle_s(client: ServiceClient) -> None:
    with pytest.raises(ServiceError) as caught:
        async for _ in client.stream_lines("/lines", Word, query={"end": "hold"}, idle_s=0.05):
            pass
    assert caught.value.status == 504


async def test_an_answer_over_the_limit_is_not_held_in_memory(far: Far) -> None:
    async with serving(far) as url, ServiceClient(url, max_answer_bytes=5) as client:
        assert "larger than 5 bytes" in str(await refusal(client.get("/text")))


async def test_websockets_open_and_refusals_are_mapped(client: ServiceClient) -> None:
    async with client.websocket("/socket") as socket:
        await socket.send_str("hi")
        message = await socket.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.TEXT, "HI")
    with pytest.raises(ServiceError) as caught:
        async with client.websocket("/missing"):
            pass
    assert caught.value.status == 404


async def test_the_source_address_is_the_one_asked_for(far: Far) -> None:
    seen: list[str | None] = []

    async def where(request: web.Request) -> web.StreamResponse:
        seen.append(request.remote)
        return web.Response()

    routes = Routes("where")
    routes.raw("GET", "/", where, summary="where")

    async def compose(service: Service) -> None:
        app = build_app(routes, metrics=Metrics("where", process=False))
        service.listen(Listener("http", app, Tcp("127.0.0.1", 0)))

    async with Service("where", compose, grace_s=0.2).running() as urls:
        async with ServiceClient(urls["http"], source_address="127.9.8.7") as client:
            await client.get("/")
    assert seen == ["127.9.8.7"]
