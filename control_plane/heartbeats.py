"""The heartbeat WebSocket: beats come up, nudges go down (DESIGN §6).

Laws: one stream per appliance, the newest wins and the older is closed without making a suspect; a stream that ends for
any other reason than our own stopping makes a suspect at once; nudges are not queued: what is sent is where the appliance stands now.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from chassis.logs import get_logger
from chassis.routes import principal_of
from chassis.web import STOPPING
from contracts.reports import Heartbeat
from control_plane import health
from control_plane.desk import Desk
from control_plane.registry import Box

TICK_S = 0.2
MAX_BEAT_BYTES = 4096
CLOSE_S = 0.5
"""How long the closing handshake may take: a dead older stream must not hold up the newer one."""


class Heartbeats:
    """All open streams."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._open: dict[str, web.WebSocketResponse] = {}
        self._decoder = msgspec.json.Decoder(Heartbeat)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """`GET /v1/appliance/heartbeat`; the guard has admitted a Box."""
        box = principal_of(request, Box)
        socket = web.WebSocketResponse(timeout=CLOSE_S, max_msg_size=MAX_BEAT_BYTES, compress=False)
        await socket.prepare(request)
        await self._take_place(box, socket)
        wake = asyncio.Event()
        wake.set()
        waken = wake.set
        self._desk.listen(box.id, waken)
        sender = asyncio.create_task(self._send_nudges(box, socket, wake), name=f"nudges {box.id}")
        stopper = asyncio.create_task(_close_when(request.app[STOPPING], socket), name=f"stop {box.id}")
        try:
            await self._read_beats(box, socket)
        finally:
            self._desk.unlisten(box.id, waken)
            for task in (sender, stopper):
                task.cancel()
            self._give_up(box, socket, request.app[STOPPING].is_set())
        return socket

    async def close(self, box_id: str, why: str) -> None:
        """Ends an appliance's stream, for example when it was retired."""
        socket = self._open.get(box_id)
        if socket is not None:
            await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=why.encode())

    async def watch(self) -> None:
        """Background task: silence makes suspects."""
        while True:
            self._desk.pass_time()
            await self._desk.clock.sleep(TICK_S)

    async def _take_place(self, box: Box, socket: web.WebSocketResponse) -> None:
        older = self._open.get(box.id)
        self._open[box.id] = socket
        self._desk.metrics.streams.set(len(self._open))
        self._desk.change_pulse(box, health.opened)
        get_logger("control_plane.heartbeats").info("heartbeat-stream-opened", appliance=box.id)
        if older is not None:
            await older.close(code=WSCloseCode.GOING_AWAY, message=b"another stream was opened")

    def _give_up(self, box: Box, socket: web.WebSocketResponse, stopping: bool) -> None:
        if self._open.get(box.id) is not socket:
            return
        del self._open[box.id]
        self._desk.metrics.streams.set(len(self._open))
        if not stopping:
            self._desk.change_pulse(box, health.broken)
        get_logger("control_plane.heartbeats").info(
            "heartbeat-stream-ended", appliance=box.id, close_code=socket.close_code
        )

    async def _read_beats(self, box: Box, socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                continue
            try:
                beat = self._decoder.decode(message.data)
            except msgspec.MsgspecError as error:
                await socket.close(code=WSCloseCode.INVALID_TEXT, message=str(error).encode()[:120])
                return
            if self._open.get(box.id) is socket:
                now_s = self._desk.clock.monotonic_s()
                self._desk.change_pulse(box, partial(health.beat, message=beat, now_s=now_s))

    async def _send_nudges(self, box: Box, socket: web.WebSocketResponse, wake: asyncio.Event) -> None:
        while True:
            await wake.wait()
            wake.clear()
            with suppress(ConnectionError):
                await socket.send_str(msgspec.json.encode(self._desk.standing(box)).decode())


async def _close_when(stopping: asyncio.Event, socket: web.WebSocketResponse) -> None:
    await stopping.wait()
    await socket.close(code=WSCloseCode.GOING_AWAY, message=b"the control plane stops")
