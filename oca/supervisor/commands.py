"""The supervisor's end of `oca.link.commands`: takes one command per connection and shows how it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from chassis.clock import Clock
from chassis.logs import get_logger
from oca.link import unix
from oca.link.commands import DISK, RESTART, DiskAnswer, DiskOrder, RestartProgress, socket_path
from oca.supervisor.rolling import Rolling

LOOK_S = 0.1
COMMAND_S = 5.0
BUSY = "another restart runs, or the appliance stops; ask again when that has ended"
UNKNOWN = "the appliance does not know this command"


class CommandSocket:
    """`restart()` begins one and gives it, None when it cannot begin now; `disks(order)` obeys it and says what came of it."""

    def __init__(
        self,
        state_dir: Path,
        restart: Callable[[], Rolling | None],
        clock: Clock,
        disks: Callable[[DiskOrder], Awaitable[DiskAnswer]],
    ) -> None:
        self._path = socket_path(state_dir)
        self._restart = restart
        self._clock = clock
        self._disks = disks
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Takes commands while entered. Raises OSError. At the end every viewer is let go; what was begun goes on or not without them."""
        listener = unix.listen(self._path)
        try:
            server = await asyncio.start_unix_server(self._accept, sock=listener)
        except BaseException:
            listener.close()
            raise
        try:
            yield
        finally:
            server.close()
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
                line = await reader.readline()
            if line == RESTART:
                await self._show(writer)
            elif line.startswith(DISK):
                order = msgspec.json.decode(line.removeprefix(DISK), type=DiskOrder)
                await _tell(writer, await self._disks(order))
            else:
                await _tell(writer, RestartProgress(ended=True, refused=UNKNOWN))
        except (OSError, TimeoutError, ValueError) as error:
            get_logger("oca.supervisor").info("command-broken-off", detail=str(error))
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _show(self, writer: asyncio.StreamWriter) -> None:
        """The restart goes on when nobody looks any more."""
        rolling = self._restart()
        if rolling is None:
            await _tell(writer, RestartProgress(ended=True, refused=BUSY))
            return
        said: RestartProgress | None = None
        while said is None or not said.ended:
            found = progress_of(rolling)
            if found != said:
                said = found
                await _tell(writer, said)
            await self._clock.sleep(LOOK_S)


def progress_of(rolling: Rolling) -> RestartProgress:
    return RestartProgress(tuple(turn.text for turn in rolling.turns), rolling.has_ended, rolling.succeeded)


async def _tell(writer: asyncio.StreamWriter, said: RestartProgress | DiskAnswer) -> None:
    writer.write(msgspec.json.encode(said) + b"\n")
    await writer.drain()
