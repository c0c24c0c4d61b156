"""Typed routes over a real socket: what a client sees for right and wrong requests."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from chassis import logs
from chassis.auth import SecretGuard
from chassis.errors import ProblemError, Retry, ServiceError, Source
from chassis.health import Health
from chassis.metrics import Metrics
from chassis.routes import Answer, Call, Routes
from chassis.service import Listener, Service, Tcp
from chassis.web import Cors, build_app
from contracts.problems import Problem, ProblemCode


class Site(msgspec.Struct, frozen=True):
    id: str
    boxes: int = 1


class SiteQuery(msgspec.Struct, frozen=True):
    region: str = ""
    limit: int = 10
    tag: tuple[str, ...] = ()


class SiteList(msgspec.Struct, frozen=True):
    sites: tuple[Site, ...]
    asked: SiteQuery


class Sites:
    async def put(self, call: Call[Site]) -> Answer[Site]:
        if call.path["site_id"] != call.body.id:
            raise ProblemError(ProblemCode.UNPROCESSABLE, "the address names another site")
        return Answer(call.body, 201, {"Location": f"/v1/sites/{call.body.id}"})

    async def list(self, call: Call[None, SiteQuery]) -> SiteList:
        return SiteList((Site("a"),), call.query)

    async def delete(self, call: Call[None]) -> None:
        raise RuntimeError("a bug with a secret inside")

    async def slow(self, request: web.Request) -> web.StreamResponse:
        """Answers when its asker has gone."""
        while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        response = web.StreamResponse(headers={"Content-Length": "5"})
        await response.prepare(request)
        await response.write(b"hello")
        return response

    async def upstream(self, call: Call[None]) -> Site:
        raise ServiceError("far away: 10.0.0.1", source=Source.UPSTREAM, retry=Retry.YES, status=502)


async def half(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b"x" * 10)
    raise RuntimeError("broke in the middle")


@asynccontextmanager
async def serving(cors: Cors | None = None) -> AsyncIterator[aiohttp.ClientSession]:
    metrics = Metrics("test", process=False)
    api = Sites()
    routes = Routes("Test")
    routes.put("/v1/sites/{site_id}", api.put, summary="Put", max_body_bytes=200)
    routes.get("/v1/sites", api.list, summary="List")
    routes.delete("/v1/sites/{site_id}", api.delete, summary="Delete", guard=SecretGuard("s3cret"))
    routes.get("/v1/upstream", api.upstream, summary="Upstream")
    routes.raw("GET", "/v1/half", half, summary="Half a body")
    routes.raw("GET", "/v1/slow", api.slow, summary="An answer that waits")

    async def compose(service: Service) -> None:
        app = build_app(routes, metrics=metrics, health=Health("test"), cors=cors)
        service.listen(Listener("http", app, Tcp("127.0.0.1", 0)))

    async with Service("test", compose, grace_s=1).running() as urls:
        async with aiohttp.ClientSession(urls["http"]) as session:
            yield session


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with serving() as session:
        yield session


async def problem_of(response: aiohttp.ClientResponse) -> Problem:
    assert response.content_type == "application/problem+json"
    return msgspec.json.decode(await response.read(), type=Problem)


async def test_a_right_request_gets_the_typed_answer_with_status_and_headers(client: aiohttp.ClientSession) -> None:
    async with client.put("/v1/sites/lon", json={"id": "lon", "boxes": 2}) as response:
        assert response.status == 201
        assert response.headers["Location"] == "/v1/sites/lon"
        assert await response.json() == {"id": "lon", "boxes": 2}


async def test_query_parameters_are_typed_and_repeated_ones_make_a_tuple(client: aiohttp.ClientSession) -> None:
    async with client.get("/v1/sites?region=DE&limit=3&tag=a&tag=b") as response:
        assert (await response.json())["asked"] == {"region": "DE", "limit": 3, "tag": ["a", "b"]}


@pytest.mark.parametrize(
    ("query", "said"), [("limit=many", "at `limit`"), ("region=a&region=b", "region is given 2 times")]
)
async def test_a_wrong_query_is_a_400_that_names_the_parameter(
    client: aiohttp.ClientSession, query: str, said: str
) -> None:
    async with client.get(f"/v1/sites?{query}") as response:
        problem = await problem_of(response)
    assert (response.status, ProblemCode.from_type(problem.type)) == (400, ProblemCode.BAD_QUERY)
    assert said in problem.detail


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"{", "application/json", ProblemCode.BAD_JSON),
        (b'{"id": 7}', "application/json", ProblemCode.BAD_JSON),
        (b"", "application/json", ProblemCode.BAD_JSON),
        (b'{"id": "\xff"}', "application/json", ProblemCode.BAD_JSON),
        (b"id=lon", "application/x-www-form-urlencoded", ProblemCode.UNSUPPORTED_TYPE),
        (b'{"id": "' + b"x" * 300 + b'"}', "application/json", ProblemCode.TOO_LARGE),
        (b'{"id": "ber"}', "application/json; charset=utf-8", ProblemCode.UNPROCESSABLE),
    ],
)
async def test_each_wrong_body_has_its_own_problem(
    client: aiohttp.ClientSession, body: bytes, content_type: str, code: ProblemCode
) -> None:
    async with client.put("/v1/sites/lon", data=body, headers={"Content-Type": content_type}) as response:
        problem = await problem_of(response)
    assert (response.status, problem.type) == (code.status, code.type_uri)
    assert problem.request_id == response.headers["X-Request-Id"]


async def test_a_chunked_body_over_the_limit_is_refused_too(client: aiohttp.ClientSession) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 100

    async with client.put("/v1/sites/lon", data=chunks(), headers={"Content-Type": "application/json"}) as response:
        assert response.status == 413


async def test_an_unexpected_error_is_a_500_without_its_words_and_is_counted(client: aiohttp.ClientSession) -> None:
    async with client.delete("/v1/sites/lon", headers={"Authorization": "Bearer s3cret"}) as response:
        text = await response.text()
    assert response.status == 500
    assert "secret" not in text
    assert "Traceback" not in text
    async with client.get("/metrics") as response:
        exposition = await response.text()
    assert 'lowtide_unhandled_errors_total{route="/v1/sites/{site_id}"} 1.0' in exposition
    assert 'route="/v1/sites/{site_id}",status="500"} 1.0' in exposition


async def test_a_guard_runs_before_the_handler_and_challenges(client: aiohttp.ClientSession) -> None:
    async with client.delete("/v1/sites/lon") as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    async with client.delete("/v1/sites/lon", headers={"Authorization": "Bearer wrong"}) as response:
        assert response.status == 401


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"DELETE /v1/sites/lon HTTP/1.1\r\nAuthorization: Bearer \xff\xfe\r\n", b"401"),
        (b"PUT /v1/sites/lon HTTP/1.1\r\nContent-Type: \xff\r\n", b"415"),
    ],
)
async def test_header_bytes_that_are_no_text_are_the_senders_mistake(
    client: aiohttp.ClientSession, head: bytes, status: bytes
) -> None:
    base = client._base_url
    assert base is not None
    reader, writer = await asyncio.open_connection(base.host, base.port)
    writer.write(head + b"Host: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    assert answer.split(b" ", 2)[1] == status
    assert b"application/problem+json" in answer


async def test_json_nested_deeper_than_anybody_follows_is_a_400() -> None:
    async def put(call: Call[dict[str, Any]]) -> None:
        raise AssertionError("it was decoded")

    deep = b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    routes = Routes("Test")
    routes.put("/v1/any", put, summary="Put", types=(dict[str, Any], None, None))

    async def compose(service: Service) -> None:
        service.listen(Listener("http", build_app(routes, metrics=service.metrics), Tcp("127.0.0.1", 0)))

    async with Service("test", compose, grace_s=1).running() as urls, aiohttp.ClientSession(urls["http"]) as client:
        async with client.put("/v1/any", data=deep, headers={"Content-Type": "application/json"}) as response:
            assert (await problem_of(response)).type == ProblemCode.BAD_JSON.type_uri


async def test_a_failed_upstream_is_a_502_that_tells_no_inner_address(client: aiohttp.ClientSession) -> None:
    async with client.get("/v1/upstream") as response:
        problem = await problem_of(response)
    assert problem.type == ProblemCode.UPSTREAM_FAILED.type_uri
    assert "10.0.0.1" not in problem.detail


async def test_unknown_addresses_and_methods_are_problems(client: aiohttp.ClientSession) -> None:
    async with client.get("/nowhere") as response:
        assert (await problem_of(response)).type == ProblemCode.NOT_FOUND.type_uri
    async with client.patch("/v1/sites") as response:
        assert (await problem_of(response)).type == ProblemCode.METHOD_NOT_ALLOWED.type_uri
        assert set(response.headers["Allow"].split(",")) == {"GET", "HEAD"}


async def test_a_stream_that_breaks_is_never_taken_for_a_whole_answer(client: aiohttp.ClientSession) -> None:
    with pytest.raises(aiohttp.ClientPayloadError):
        async with client.get("/v1/half") as response:
            await response.read()


async def test_a_client_that_left_before_the_answer_is_no_error(
    client: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    base = str(client._base_url)
    host, _colon, port = base.removeprefix("http://").rstrip("/").partition(":")
    _reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /v1/slow HTTP/1.1\r\nHost: h\r\n\r\n")
    await writer.drain()
    await until_metrics_say(client, 'lowtide_http_requests_in_flight{listener="http"} 2.0')  # it and the one that asks
    writer.transport.abort()
    await until_metrics_say(client, 'status="499"')
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def until_metrics_say(client: aiohttp.ClientSession, text: str) -> None:
    async with asyncio.timeout(30):
        while True:
            async with client.get("/metrics") as response:
                if text in await response.text():
                    return
            await asyncio.sleep(0.02)


async def test_head_answers_like_get_without_a_body(client: aiohttp.ClientSession) -> None:
    async with client.head("/v1/sites") as response:
        assert response.status == 200
        assert int(response.headers["Content-Length"]) > 0
        assert await response.read() == b""


async def test_a_given_request_id_is_kept_and_a_malformed_one_replaced(client: aiohttp.ClientSession) -> None:
    async with client.get("/v1/sites", headers={"X-Request-Id": "abc-1"}) as response:
        assert response.headers["X-Request-Id"] == "abc-1"
    async with client.get("/v1/sites", headers={"X-Request-Id": "a b {}"}) as response:
        assert response.headers["X-Request-Id"] != "a b {}"


async def test_without_cors_no_page_elsewhere_is_allowed(client: aiohttp.ClientSession) -> None:
    async with client.get("/v1/sites", headers={"Origin": "https://evil.example"}) as response:
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_preflights_are_cached_for_a_day_and_errors_carry_cors_headers() -> None:
    async with serving(Cors(origins=("https://tv.example",))) as client:
        head = {"Origin": "https://tv.example", "Access-Control-Request-Method": "DELETE"}
        async with client.options("/v1/sites/lon", headers=head) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Max-Age"] == "86400"
            assert "DELETE" in response.headers["Access-Control-Allow-Methods"]
            assert response.headers["Access-Control-Allow-Origin"] == "https://tv.example"
        async with client.get("/nowhere", headers={"Origin": "https://tv.example"}) as response:
            assert response.status == 404
            assert response.headers["Access-Control-Allow-Origin"] == "https://tv.example"
            assert response.headers["Vary"] == "Origin"
        async with client.get("/v1/sites", headers={"Origin": "https://evil.example"}) as response:
            assert "Access-Control-Allow-Origin" not in response.headers


async def test_openapi_names_every_route_with_types_and_guards(client: aiohttp.ClientSession) -> None:
    async with client.get("/openapi.json") as response:
        document = await response.json()
    put = document["paths"]["/v1/sites/{site_id}"]["put"]
    assert document["openapi"].startswith("3.1")
    assert put["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Site"}
    assert put["parameters"][0]["name"] == "site_id"
    assert {item["name"] for item in document["paths"]["/v1/sites"]["get"]["parameters"]} == {"region", "limit", "tag"}
    assert document["paths"]["/v1/sites/{site_id}"]["delete"]["security"] == [{"operator": []}]
    assert document["components"]["securitySchemes"] == {"operator": {"type": "http", "scheme": "bearer"}}
    assert "Problem" in document["components"]["schemas"]


async def test_health_and_readiness_answer_on_every_listener_with_operations(client: aiohttp.ClientSession) -> None:
    async with client.get("/healthz") as response:
        assert await response.json() == {"service": "test", "status": "alive"}
    async with client.get("/readyz") as response:
        assert (response.status, await response.json()) == (200, {"ready": True, "checks": {}})


@pytest.mark.parametrize(
    "sent",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /~secret" + b"a" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_a_400_that_closes_and_logs_one_line_without_its_bytes(sent: bytes) -> None:
    out = io.StringIO()
    logs.configure("test", "info", out)
    async with serving() as client:
        async with client.get("/healthz") as response:
            url = response.url
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(sent)
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert b"Traceback" not in answer
    lines = [line for line in out.getvalue().splitlines() if "malformed-request" in line]
    assert len(lines) <= 1
    assert "Traceback" not in out.getvalue()
    assert "secret" not in out.getvalue()
