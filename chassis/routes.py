"""Typed routes: a method, a path template, and an async function from `Call` to a Struct.

Types are taken from the function's annotations:

    async def put_site(self, call: Call[Site]) -> Site: ...
    async def list_sites(self, call: Call[None, SiteQuery]) -> SiteList: ...

    routes = Routes("Control plane")
    routes.put("/v1/sites/{site_id}", api.put_site, summary="Make or change a site", guard=operator)

The body is decoded with msgspec: another media type is 415, too many bytes 413, wrong JSON 400, each a Problem. The query
is a Struct whose fields are the parameters; list and tuple fields take repeated ones. What the function returns is
encoded; `None` is 204; `Answer` chooses status and headers. Raw aiohttp handlers (streams, WebSockets, pages, uploads)
stand beside them with the same guards.
"""

from __future__ import annotations

import asyncio
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, Generic, TypeVar, get_args, get_origin

import msgspec
from aiohttp import ClientPayloadError, web
from typing_extensions import TypeVar as DefaultTypeVar

from chassis.auth import Guard
from chassis.errors import ProblemError
from contracts.problems import ProblemCode

JSON = "application/json"
DEFAULT_BODY_BYTES = 1024 * 1024
BODY_TIMEOUT_S = 60.0
REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
PRINCIPAL: web.RequestKey[object] = web.RequestKey("principal", object)

B = TypeVar("B")
Q = DefaultTypeVar("Q", default=None)
P = TypeVar("P")
R = TypeVar("R")
RawHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Call(Generic[B, Q]):
    """One request as a typed handler sees it. `path` holds the template's parts, decoded."""

    body: B
    query: Q
    path: Mapping[str, str]
    request: web.Request

    @property
    def request_id(self) -> str:
        return str(self.request.get(REQUEST_ID, ""))

    def who(self, kind: type[P]) -> P:
        """The principal that the route's guard admitted, of the kind that guard gives (`PeerIdentity`, `Operator`, …)."""
        return principal_of(self.request, kind)


@dataclass(frozen=True, slots=True)
class Answer(Generic[R]):
    """A typed answer with a status or headers of its own."""

    body: R
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table. `body`, `query` and `answer` are None where there is none; `handler` is an aiohttp handler."""

    method: str
    path: str
    handler: RawHandler
    summary: str
    guard: Guard | None = None
    body: Any = None
    query: Any = None
    answer: Any = None
    status: int = 200
    typed: bool = True
    documented: bool = True
    content_type: str = JSON


class Routes:
    """The table of routes of one listener."""

    def __init__(self, title: str, version: str = "1") -> None:
        self.title = title
        self.version = version
        self.rows: list[Route] = []

    def get(self, path: str, handler: Callable[[Any], Awaitable[Any]], **options: Any) -> None:
        """A typed GET (HEAD too). Options: `summary` (needed), `guard`, `status`, `max_body_bytes`, `types`."""
        self.typed("GET", path, handler, **options)

    def post(self, path: str, handler: Callable[[Any], Awaitable[Any]], **options: Any) -> None:
        self.typed("POST", path, handler, **options)

    def put(self, path: str, handler: Callable[[Any], Awaitable[Any]], **options: Any) -> None:
        self.typed("PUT", path, handler, **options)

    def patch(self, path: str, handler: Callable[[Any], Awaitable[Any]], **options: Any) -> None:
        self.typed("PATCH", path, handler, **options)

    def delete(self, path: str, handler: Callable[[Any], Awaitable[Any]], **options: Any) -> None:
        self.typed("DELETE", path, handler, **options)

    def typed(
        self,
        method: str,
        path: str,
        handler: Callable[[Any], Awaitable[Any]],
        *,
        summary: str,
        guard: Guard | None = None,
        status: int | None = None,
        max_body_bytes: int = DEFAULT_BODY_BYTES,
        types: tuple[Any, Any, Any] | None = None,
    ) -> None:
        """Adds a typed route. `types` = (body, query, answer) overrides the annotations (for functions made in functions)."""
        body, query, answer = types if types is not None else _types_of(handler)
        code = status if status is not None else (204 if answer is None else 200)
        run = _typed_handler(handler, body, query, code, max_body_bytes)
        self.rows.append(Route(method, path, guarded(run, guard), summary, guard, body, query, answer, code))

    def raw(
        self,
        method: str,
        path: str,
        handler: RawHandler,
        *,
        summary: str,
        guard: Guard | None = None,
        documented: bool = True,
        content_type: str = "application/octet-stream",
    ) -> None:
        """Adds a plain aiohttp handler: it reads and answers as it likes and may raise ProblemError."""
        run = guarded(handler, guard)
        self.rows.append(
            Route(method, path, run, summary, guard, typed=False, documented=documented, content_type=content_type)
        )

    def add_to(self, app: web.Application) -> None:
        for row in self.rows:
            app.router.add_route(row.method, row.path, row.handler)
            if row.method == "GET" and row.typed:
                app.router.add_route("HEAD", row.path, row.handler)


def principal_of(request: web.Request, kind: type[P]) -> P:
    """The principal that a route's guard admitted. A route without such a guard is a mistake of ours: AssertionError."""
    found = request.get(PRINCIPAL)
    assert isinstance(found, kind), f"the guard of {request.path} gives no {kind.__name__}"
    return found


def guarded(handler: RawHandler, guard: Guard | None) -> RawHandler:
    """The handler behind the guard, which runs before a byte of the body is read."""
    if guard is None:
        return handler

    async def admitted(request: web.Request) -> web.StreamResponse:
        request[PRINCIPAL] = await guard.admit(request)
        return await handler(request)

    return admitted


async def read_body(request: web.Request, limit: int, timeout_s: float = BODY_TIMEOUT_S) -> bytes:
    """The whole body. Raises ProblemError: TOO_LARGE, UPLOAD_TRUNCATED (late or broken off)."""
    if request.content_length is not None and request.content_length > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError as error:
        raise ProblemError(ProblemCode.UPLOAD_TRUNCATED, f"the body was not complete after {timeout_s:g} s") from error
    except (web.RequestPayloadError, ClientPayloadError, ConnectionError) as error:
        raise ProblemError(ProblemCode.UPLOAD_TRUNCATED, f"the body broke off: {error}") from error
    return bytes(body)


def json_response(
    value: object, status: int = 200, headers: Mapping[str, str] | None = None, content_type: str = JSON
) -> web.Response:
    """Any msgspec-encodable value as an answer."""
    return web.Response(body=msgspec.json.encode(value), status=status, headers=headers, content_type=content_type)


def _typed_handler(
    handler: Callable[[Any], Awaitable[Any]], body_type: Any, query_type: Any, status: int, limit: int
) -> RawHandler:
    decode = msgspec.json.Decoder(body_type).decode if body_type is not None else None
    parse_query = _query_parser(query_type)

    async def run(request: web.Request) -> web.StreamResponse:
        body = None
        query = parse_query(request)
        if decode is not None:
            _check_media_type(request)
            raw = await read_body(request, limit)
            try:
                body = decode(raw)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise ProblemError(ProblemCode.BAD_JSON, str(error)) from error
        result = await handler(Call(body, query, request.match_info, request))
        if isinstance(result, Answer):
            if result.body is None:
                return web.Response(status=result.status, headers=result.headers)
            return json_response(result.body, result.status, result.headers)
        return web.Response(status=status) if result is None else json_response(result, status)

    return run


def _check_media_type(request: web.Request) -> None:
    given = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if given != JSON and not given.endswith("+json"):
        said = f"not {given}" if given else "and no Content-Type was sent"
        raise ProblemError(ProblemCode.UNSUPPORTED_TYPE, f"this address takes {JSON}, {said}", headers={"Accept": JSON})


def _query_parser(query_type: Any) -> Callable[[web.Request], Any]:
    if query_type is None:
        return lambda _request: None
    many = {item.encode_name for item in msgspec.structs.fields(query_type) if _is_many(item.type)}

    def parse(request: web.Request) -> Any:
        given: dict[str, Any] = {}
        for name in request.query:
            values = request.query.getall(name)
            if name in many:
                given[name] = values
            elif len(values) > 1:
                raise ProblemError(ProblemCode.BAD_QUERY, f"{name} is given {len(values)} times")
            else:
                given[name] = values[0]
        try:
            return msgspec.convert(given, query_type, strict=False)
        except msgspec.ValidationError as error:
            raise ProblemError(ProblemCode.BAD_QUERY, str(error).replace("`$.", "`")) from error

    return parse


def _is_many(hint: Any) -> bool:
    return get_origin(hint) in (list, tuple, set, frozenset) or hint in (list, tuple, set, frozenset)


def _types_of(handler: Callable[..., Any]) -> tuple[Any, Any, Any]:
    """(body, query, answer) from `(call: Call[body, query]) -> answer`. Raises TypeError when the annotations do not say."""
    hints = typing.get_type_hints(handler)
    answer = hints.pop("return", Any)
    call = next((hint for hint in hints.values() if hint is Call or get_origin(hint) is Call), None)
    if call is None or answer is Any:
        raise TypeError(f"{handler!r} is not annotated as (call: Call[Body, Query]) -> Answer")
    body, query = (*get_args(call), NoneType, NoneType)[:2]
    if get_origin(answer) is Answer:
        answer = get_args(answer)[0]
    return tuple(None if part is NoneType else part for part in (body, query, answer))  # type: ignore[return-value]


def _too_large(limit: int) -> ProblemError:
    return ProblemError(ProblemCode.TOO_LARGE, f"at most {limit} bytes are taken here")
