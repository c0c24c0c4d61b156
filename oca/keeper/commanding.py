"""The keeper's end of `oca.link.commands`: takes one command per connection from `lowtide oca` and answers in lines of JSON."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from pathlib import Path

import msgspec

from chassis.logs import get_logger
from oca.link import unix
from oca.link.commands import PURGE, SCRUB, PurgeCommand, PurgeReport, ScrubReport, keeper_socket_path

COMMAND_S = 5.0
UNKNOWN = "the keeper does not know this command"


class KeeperCommands:
    """`scrub(rate)` scrubs everything and says how far it is; `purge(order)` returns when every worker obeys."""

    def __init__(
        self,
        state_dir: Path,
        scrub: Callable[[int], AsyncGenerator[ScrubReport, None]],
        purge: Callable[[PurgeCommand], Awaitable[PurgeReport]],
    ) -> None:
        self._path = keeper_socket_path(state_dir)
        self._scrub = scrub
        self._purge = purge
        self._server: asyncio.AbstractServer | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Raises OSError. What a dead keeper left there is replaced: the caller holds the disks' locks."""
        listener = unix.listen(self._path)
        try:
            self._server = await asyncio.start_unix_server(self._accept, sock=listener)
        except BaseException:
            listener.close()
            raise

    async def close(self) -> None:
        """What was asked for ends."""
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
        try:
            async with asyncio.timeout(COMMAND_S):
                word, _, rest = (await reader.readline()).strip().partition(b" ")
            if word == SCRUB:
                await _tell_all(writer, self._scrub(int(rest or b"0")))
            elif word == PURGE:
                await _tell(writer, await self._purge(msgspec.json.decode(rest, type=PurgeCommand)))
            else:
                await _tell(writer, ScrubReport(ended=True, refused=UNKNOWN))
        except (OSError, TimeoutError, ValueError) as error:
            get_logger("oca.keeper").info("command-broken-off", detail=str(error))
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def _tell_all(writer: asyncio.StreamWriter, reports: AsyncGenerator[ScrubReport, None]) -> None:
    """Ends with the first line that nobody takes."""
    async with aclosing(reports) as closing:
        async for report in closing:
            await _tell(writer, report)


async def _tell(writer: asyncio.StreamWriter, report: ScrubReport | PurgeReport) -> None:
    writer.write(msgspec.json.encode(report) + b"\n")
    await writer.drain()
