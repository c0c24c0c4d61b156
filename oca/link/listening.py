"""The listening end of `oca.link.commands`: one command per connection, a line; what is said about it goes back as lines of JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from oca.link import unix

COMMAND_S = 5.0
"""In which the line has to come."""

Say = Callable[[msgspec.Struct], Awaitable[None]]


class CommandListener:
    """`obey(line, say)` carries out one command; `say` raises OSError when nobody listens any more."""

    def __init__(
        self,
        path: Path,
        obey: Callable[[bytes, Say], Awaitable[None]],
        broken_off: Callable[[Exception], None],
    ) -> None:
        """`broken_off` hears of a line that is none (ValueError), that never came (TimeoutError), and of who left (OSError)."""
        self._path = path
        self._obey = obey
        self._broken_off = broken_off
        self._server: asyncio.AbstractServer | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Raises OSError. What a dead process left there is replaced: the caller knows that nobody lives there."""
        listener = unix.listen(self._path)
        try:
            self._server = await asyncio.start_unix_server(self._accept, sock=listener)
        except BaseException:
            listener.close()
            raise

    async def close(self) -> None:
        """Everyone who still listens is let go."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer), name="command")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(said: msgspec.Struct) -> None:
            writer.write(msgspec.json.encode(said) + b"\n")
            await writer.drain()

        try:
            async with asyncio.timeout(COMMAND_S):
                line = await reader.readline()
            await self._obey(line, say)
        except (OSError, TimeoutError, ValueError) as error:
            self._broken_off(error)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
