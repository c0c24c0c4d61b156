"""An aiohttp application around a table of routes: request ids, problems, CORS, metrics, logs, operations.

Laws: every error that reaches a client is a Problem, never a traceback; an error after the head was sent aborts the
connection, so that nobody takes a broken body for a whole one; CORS headers are on every answer, errors too.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from chassis import openapi
from chassis.errors import ProblemError, ServiceError
from chassis.health import Health, add_operations
from chassis.logs import get_logger, redact_path
from chassis.metrics import Metrics
from chassis.routes import REQUEST_ID, RawHandler, Routes, json_response
from contracts.problems import CONTENT_TYPE as PROBLEM_TYPE
from contracts.problems import Problem, ProblemCode

PREFLIGHT_AGE_S = 86400
STOPPING: web.AppKey[asyncio.Event] = web.AppKey("stopping", asyncio.Event)
"""Set when the service shuts down: streams and WebSockets end when they see it."""
_STARTED: web.RequestKey[bool] = web.RequestKey("started", bool)
_STANDARD_LOGGER = logging.getLogger("chassis.web")
_REQUEST_ID_RE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CLIENT_GONE = 499
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


CMCD_HEADERS = ("CMCD-Object", "CMCD-Request", "CMCD-Session", "CMCD-Status")
"""What players set on manifests and media alike (CTA-5004 §3.1); one that is not allowed fails the whole play."""


@dataclass(frozen=True, slots=True)
class Cors:
    """Who may call from a browser page. `*` in `origins` means everybody; none (the default) means no page elsewhere.

    Credentials in the sense of CORS (cookies) are never allowed: callers send `Authorization`.
    """

    origins: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    request_headers: tuple[str, ...] = ("Authorization", "Content-Type", "Range", "X-Request-Id", *CMCD_HEADERS)
    exposed_headers: tuple[str, ...] = (
        "Content-Length",
        "Content-Range",
        "ETag",
        "Location",
        "Retry-After",
        "X-Request-Id",
    )

    under: str = "/"
    """What all paths begin with that may be called so; the others know of no page elsewhere."""

    def allowed(self, request: web.BaseRequest) -> str | None:
        """What `Access-Control-Allow-Origin` says to the origin of a request, or None."""
        origin = request.headers.get("Origin")
        if origin is None or not self.origins or not request.path.startswith(self.under):
            return None
        if "*" in self.origins:
            return "*"
        return origin if origin in self.origins else None


def build_app(
    routes: Routes,
    *,
    metrics: Metrics,
    health: Health | None = None,
    cors: Cors | None = None,
    listener: str = "http",
    serve_openapi: bool = True,
) -> web.Application:
    """The application of one listener. With `health` it also answers `/healthz`, `/readyz` and `/metrics`."""
    app = web.Application(middlewares=[_observe(metrics, listener, cors or Cors())])
    app[STOPPING] = asyncio.Event()
    app.on_response_prepare.append(_finish_head(cors or Cors()))
    routes.add_to(app)
    if health is not None:
        add_operations(app, health, metrics)
    if serve_openapi:
        document = openapi.document(routes)

        async def openapi_json(_request: web.Request) -> web.Response:
            return json_response(document)

        app.router.add_get("/openapi.json", openapi_json)
    return app


def _observe(metrics: Metrics, listener: str, cors: Cors) -> Middleware:
    in_flight = metrics.http_in_flight.labels(listener)

    @web.middleware
    async def observe(request: web.Request, handler: RawHandler) -> web.StreamResponse:
        request_id = _request_id(request)
        request[REQUEST_ID] = request_id
        route = _template(request)
        method = request.method if request.method in _METHODS else "other"
        started_s = time.perf_counter()
        status = _CLIENT_GONE
        in_flight.inc()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                response = await _answer(request, handler, metrics, cors, route)
                status = response.status
                return response
            except ConnectionError:
                if not _is_gone(request):
                    raise
                # Nobody reads this answer; aiohttp drops it without a word.
                return web.Response(status=_CLIENT_GONE)
            finally:
                in_flight.dec()
                spent_s = time.perf_counter() - started_s
                metrics.http_requests.labels(listener, method, route, str(status)).inc()
                metrics.http_seconds.labels(listener, method, route).observe(spent_s)
                _log(request, status, spent_s)

    return observe


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


async def _answer(
    request: web.Request, handler: RawHandler, metrics: Metrics, cors: Cors, route: str
) -> web.StreamResponse:
    """The handler's answer, or the problem that its error stands for."""
    request_id = request[REQUEST_ID]
    try:
        if _is_preflight(request):
            return _preflight(request, cors)
        return await handler(request)
    except ProblemError as error:
        return _problem_response(request, error.problem(request_id), error.headers)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _problem_response(request, _problem_of_http(error, request_id), _kept_headers(error))
    except ServiceError as error:
        code = ProblemCode.UPSTREAM_TIMEOUT if error.status == 504 else ProblemCode.UPSTREAM_FAILED
        get_logger("chassis.web").warning("upstream-failed", detail=str(error))
        return _problem_response(request, Problem.of(code, request_id=request_id), {})
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception:  # noqa: BLE001  the border of a request: counted, logged with traceback, answered
        metrics.unhandled.labels(route).inc()
        get_logger("chassis.web").exception("unhandled-error", route=route, path=redact_path(request.path))
        return _problem_response(request, Problem.of(ProblemCode.INTERNAL, request_id=request_id), {})


def _problem_response(request: web.Request, problem: Problem, headers: dict[str, str]) -> web.Response:
    if request.get(_STARTED):
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError(f"failed after the head was sent: {problem.title}")
    return json_response(problem, problem.status, {**headers, "Cache-Control": "no-store"}, content_type=PROBLEM_TYPE)


def _problem_of_http(error: web.HTTPException, request_id: str) -> Problem:
    """aiohttp's own refusals (404, 405, 413, …) as problems."""
    plain = {
        400: ProblemCode.BAD_REQUEST,
        401: ProblemCode.UNAUTHENTICATED,
        403: ProblemCode.FORBIDDEN,
        404: ProblemCode.NOT_FOUND,
        405: ProblemCode.METHOD_NOT_ALLOWED,
        411: ProblemCode.LENGTH_REQUIRED,
        413: ProblemCode.TOO_LARGE,
        415: ProblemCode.UNSUPPORTED_TYPE,
        416: ProblemCode.RANGE_NOT_SATISFIABLE,
        429: ProblemCode.TOO_MANY_REQUESTS,
        500: ProblemCode.INTERNAL,
        503: ProblemCode.UNAVAILABLE,
    }
    code = plain.get(error.status)
    if code is not None:
        return Problem.of(code, request_id=request_id)
    return Problem("about:blank", error.reason, error.status, request_id=request_id)


def _kept_headers(error: web.HTTPException) -> dict[str, str]:
    dropped = ("content-type", "content-length")
    return {name: value for name, value in error.headers.items() if name.lower() not in dropped}


def _is_preflight(request: web.Request) -> bool:
    return (
        request.method == "OPTIONS"
        and "Origin" in request.headers
        and "Access-Control-Request-Method" in request.headers
    )


def _preflight(request: web.Request, cors: Cors) -> web.Response:
    response = web.Response(status=204)
    if cors.allowed(request) is not None:
        response.headers["Access-Control-Allow-Methods"] = ", ".join(cors.methods)
        response.headers["Access-Control-Allow-Headers"] = ", ".join(cors.request_headers)
        response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_AGE_S)
    return response


def _finish_head(cors: Cors) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    async def finish(request: web.Request, response: web.StreamResponse) -> None:
        request[_STARTED] = True
        response.headers["X-Request-Id"] = request.get(REQUEST_ID, "")
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        allowed = cors.allowed(request)
        if cors.origins and "*" not in cors.origins:
            response.headers.add("Vary", "Origin")
        if allowed is not None:
            response.headers["Access-Control-Allow-Origin"] = allowed
            response.headers["Access-Control-Expose-Headers"] = ", ".join(cors.exposed_headers)

    return finish


def _request_id(request: web.Request) -> str:
    given = request.headers.get("X-Request-Id", "")
    return given if _REQUEST_ID_RE.fullmatch(given) else secrets.token_hex(8)


def _template(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "(none)"


def _log(request: web.Request, status: int, spent_s: float) -> None:
    level = logging.WARNING if status >= 500 else logging.INFO if status >= 400 else logging.DEBUG
    if not _STANDARD_LOGGER.isEnabledFor(level):
        return
    get_logger(_STANDARD_LOGGER.name).log(
        level,
        "request",
        method=request.method,
        path=redact_path(request.path),
        status=status,
        ms=round(spent_s * 1000, 2),
        client=request.remote,
    )
