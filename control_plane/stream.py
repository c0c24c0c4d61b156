"""`GET /v1/changes`: the change log as NDJSON, for as long as the reader keeps up."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aiohttp import web

from chassis.auth import PeerIdentity
from chassis.errors import ProblemError
from chassis.logs import get_logger
from chassis.routes import principal_of
from chassis.web import STOPPING
from contracts.problems import ProblemCode
from control_plane.changes import Subscription
from control_plane.desk import Desk

CONTENT_TYPE = "application/x-ndjson"
TICK_S = 1.0


class ChangeStream:
    """All readers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers until the reader goes, is dropped for being slow, or the service stops. Raises ProblemError BAD_QUERY."""
        after = _after(request)
        reader = principal_of(request, PeerIdentity).name
        response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})
        await response.prepare(request)
        wake = asyncio.Event()
        transport = request.transport

        def woken() -> None:
            wake.set()
            if subscription is not None and subscription.dropped and transport is not None:
                transport.abort()

        subscription: Subscription | None = None
        subscription = self._desk.log.subscribe(self._desk.registry.snapshot(), woken, after)
        log = get_logger("control_plane.changes").bind(reader=reader)
        log.info("reader-joined", readers=self._desk.log.readers)
        try:
            with suppress(ConnectionError):
                await self._write(response, subscription, wake, request.app[STOPPING])
        finally:
            self._desk.log.unsubscribe(subscription)
            if subscription.dropped:
                self._desk.metrics.dropped_readers.inc()
            log.info("reader-left", dropped=subscription.dropped, readers=self._desk.log.readers)
        return response

    async def _write(
        self, response: web.StreamResponse, subscription: Subscription, wake: asyncio.Event, stopping: asyncio.Event
    ) -> None:
        clock = self._desk.clock
        tick_at_s = clock.monotonic_s() + TICK_S
        while not stopping.is_set() and not subscription.dropped:
            wake.clear()
            while lines := subscription.take():
                await response.write(lines)
            left_s = tick_at_s - clock.monotonic_s()
            if left_s <= 0:
                await response.write(self._desk.log.tick())
                tick_at_s = clock.monotonic_s() + TICK_S
                continue
            await _either(wake, stopping, left_s)


def _after(request: web.Request) -> int:
    """`?after=N`; 0 without."""
    text = request.query.get("after", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ProblemError(ProblemCode.BAD_QUERY, f"after: {text!r} is no number of a change")
    return int(text)


async def _either(one: asyncio.Event, other: asyncio.Event, timeout_s: float) -> None:
    """Returns when one of the events is set or the time is over."""
    tasks = [asyncio.create_task(one.wait()), asyncio.create_task(other.wait())]
    try:
        await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
