"""The media doors: published files by range, for appliances with a certificate and for players with a token.

Laws: a token is checked before anything is looked up, and never logged; only what a title's publication made visible is
served; when the store gives fewer bytes than the head promised, the connection is broken, never filled up; a client that takes
nothing for `stall_s` is dropped, so that sleepers cannot hold the last resort's memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from aiohttp import web

from chassis.errors import ProblemError
from chassis.logs import get_logger
from contracts.digests import etag_of
from contracts.problems import ProblemCode
from contracts.tokens.claims import TokenRefusal, TokenRefused
from contracts.urls import parse_media_path, split_token
from origin.jobs import VisibleFile
from origin.objects import MediaObjects, ObjectsError
from origin.ranges import Answer, answer

IMMUTABLE = "public, max-age=31536000, immutable"
STALL_S = 60.0
FindFile = Callable[[str], Awaitable[VisibleFile | None]]


class Caller(Enum):
    """Who fetches (metric label = value)."""

    APPLIANCE = "appliance"
    PLAYER = "player"


class TokenCheck(Protocol):
    """Admits or refuses a player's token for a token-less path."""

    async def check(self, token: str, path: str) -> str:
        """The token's session. Raises TokenRefused."""


@dataclass(slots=True)
class Answered:
    """An answer as it comes about. `status` is 0 as long as none was begun; `sent_bytes` are of the body."""

    method: str
    path: str
    remote: str
    session: str = ""
    status: int = 0
    sent_bytes: int = 0


Watching = Callable[[Answered], AbstractContextManager[None]]
"""Surrounds each answer to a player: an access log."""


class MediaCounts(Protocol):
    """What the doors count."""

    def answered(self, caller: Caller, status: int) -> None: ...

    def sent(self, caller: Caller, count: int) -> None: ...

    def broken(self, caller: Caller) -> None: ...


class MediaDoor:
    """Handlers of both media listeners."""

    def __init__(
        self,
        find: FindFile,
        objects: MediaObjects,
        tokens: TokenCheck,
        counts: MediaCounts,
        stall_s: float = STALL_S,
        watching: Watching = lambda _answered: nullcontext(),
    ) -> None:
        self._find = find
        self._objects = objects
        self._tokens = tokens
        self._counts = counts
        self._stall_s = stall_s
        self._watching = watching

    async def to_appliance(self, request: web.Request) -> web.StreamResponse:
        """`GET|HEAD /media/TITLE/TIER/FILE` behind a certificate."""
        path = request.rel_url.raw_path
        return await self._counted(request, Caller.APPLIANCE, Answered(request.method, path, request.remote or ""))

    async def to_player(self, request: web.Request) -> web.StreamResponse:
        """`GET|HEAD /~TOKEN/media/TITLE/TIER/FILE`; without a token 403."""
        token, path = split_token(request.rel_url.raw_path)
        answered = Answered(request.method, path, request.remote or "")
        with self._watching(answered):
            try:
                if token is None:
                    raise TokenRefused(TokenRefusal.MISSING)
                answered.session = await self._tokens.check(token, path)
            except TokenRefused as error:
                answered.status = 403
                self._counts.answered(Caller.PLAYER, 403)
                code = next(row for row in ProblemCode if row.code == error.why.problem)
                raise ProblemError(code, str(error)) from error
            return await self._counted(request, Caller.PLAYER, answered)

    async def _counted(self, request: web.Request, caller: Caller, answered: Answered) -> web.StreamResponse:
        try:
            response = await self._serve(request, caller, answered)
        except ProblemError as error:
            answered.status = error.status
            self._counts.answered(caller, error.status)
            raise
        self._counts.answered(caller, response.status)
        return response

    async def _serve(self, request: web.Request, caller: Caller, answered: Answered) -> web.StreamResponse:
        path = answered.path
        file = await self._find(path) if parse_media_path(path) else None
        if file is None:
            raise ProblemError(ProblemCode.NOT_FOUND, f"no file is published at {path}")
        etag = etag_of(bytes.fromhex(file.version))
        plan = answer(request.method, request.headers, file.size_bytes, etag)
        headers = {"ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": IMMUTABLE, "Timing-Allow-Origin": "*"}
        if plan.status == 416:
            raise ProblemError(
                ProblemCode.RANGE_NOT_SATISFIABLE,
                f"the file has {file.size_bytes} bytes",
                headers={"Content-Range": plan.content_range, "Accept-Ranges": "bytes", "ETag": etag},
            )
        if plan.status == 412:
            raise ProblemError(
                ProblemCode.PRECONDITION_FAILED, f"the file's entity tag is {etag}", headers={"ETag": etag}
            )
        answered.status = plan.status
        if plan.status == 304:
            return web.Response(status=304, headers=headers)
        if plan.content_range:
            headers["Content-Range"] = plan.content_range
        response = web.StreamResponse(status=plan.status, headers=headers)
        response.content_type = file.content_type
        response.content_length = plan.length
        await response.prepare(request)
        if request.method != "HEAD":
            await self._send(request, response, file, plan, caller, answered)
        return response

    async def _send(
        self,
        request: web.Request,
        response: web.StreamResponse,
        file: VisibleFile,
        plan: Answer,
        caller: Caller,
        answered: Answered,
    ) -> None:
        try:
            async for piece in self._objects.read(file.path, plan.first, plan.length):
                async with asyncio.timeout(self._stall_s):
                    await response.write(piece)
                self._counts.sent(caller, len(piece))
                answered.sent_bytes += len(piece)
        except TimeoutError as error:
            get_logger("origin.media").info("client-stalled", path=file.path, after_s=self._stall_s)
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("the client took nothing") from error
        except ObjectsError as error:
            self._counts.broken(caller)
            get_logger("origin.media").error("answer-broken-off", path=file.path, detail=str(error))
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError(str(error)) from error
        await response.write_eof()
