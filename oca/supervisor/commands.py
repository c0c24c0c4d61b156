"""What the supervisor does with the commands of `oca.link.commands`: rolling restarts, shown as they go on, and orders about disks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from chassis.clock import Clock
from chassis.logs import get_logger
from oca.link.commands import DISK, RESTART, DiskAnswer, DiskOrder, RestartProgress, socket_path
from oca.link.listening import CommandListener, Say
from oca.supervisor.rolling import Rolling

LOOK_S = 0.1
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
        self._restart = restart
        self._clock = clock
        self._disks = disks
        self._listener = CommandListener(socket_path(state_dir), self._obey, _broken_off)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Takes commands while entered. Raises OSError. At the end every viewer is let go; what was begun goes on or not without them."""
        await self._listener.start()
        try:
            yield
        finally:
            await self._listener.close()

    async def _obey(self, line: bytes, say: Say) -> None:
        if line == RESTART:
            await self._show(say)
        elif line.startswith(DISK):
            await say(await self._disks(msgspec.json.decode(line.removeprefix(DISK), type=DiskOrder)))
        else:
            await say(RestartProgress(ended=True, refused=UNKNOWN))

    async def _show(self, say: Say) -> None:
        """The restart goes on when nobody looks any more."""
        rolling = self._restart()
        if rolling is None:
            await say(RestartProgress(ended=True, refused=BUSY))
            return
        said: RestartProgress | None = None
        while said is None or not said.ended:
            found = progress_of(rolling)
            if found != said:
                said = found
                await say(said)
            await self._clock.sleep(LOOK_S)


def progress_of(rolling: Rolling) -> RestartProgress:
    return RestartProgress(tuple(turn.text for turn in rolling.turns), rolling.has_ended, rolling.succeeded)


def _broken_off(error: Exception) -> None:
    get_logger("oca.supervisor").info("command-broken-off", detail=str(error))
