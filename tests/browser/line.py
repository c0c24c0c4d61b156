"""A line in front of an appliance that can be made slow."""

from __future__ import annotations

import asyncio


class Line:
    """A TCP proxy that gives all its clients together so much of what an appliance says. `rate_bps` may change at any time; 0 is
    no bound. The other way is not bounded."""

    PIECE_BYTES = 16_384

    def __init__(self, host: str, port: int) -> None:
        self.rate_bps = 0.0
        self.host = ""
        self._behind = (host, port)
        self._free_at_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self, host: str, port: int) -> None:
        """Listens there; port 0 takes a free one. Raises OSError when the address is taken."""
        self._server = await asyncio.start_server(self._connected, host, port)
        self.host = f"{host}:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            behind_reader, behind_writer = await asyncio.open_connection(*self._behind)
        except OSError:
            writer.transport.abort()
            return
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, behind_writer, is_bounded=False))
                both.create_task(self._pass(behind_reader, writer, is_bounded=True))
        except* OSError:
            writer.transport.abort()
        finally:
            behind_writer.transport.abort()
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_bounded: bool) -> None:
        while piece := await reader.read(self.PIECE_BYTES):
            if is_bounded and self.rate_bps:
                await self._turn(len(piece))
            writer.write(piece)
            await writer.drain()
        raise ConnectionResetError("one end is closed")

    async def _turn(self, count: int) -> None:
        """Waits until the line is free, and takes it."""
        clock = asyncio.get_running_loop()
        begins_s = max(self._free_at_s, clock.time())
        self._free_at_s = begins_s + count * 8 / self.rate_bps
        await asyncio.sleep(begins_s - clock.time())
