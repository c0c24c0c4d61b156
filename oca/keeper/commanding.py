"""What the keeper does with the commands of `oca.link.commands`: it scrubs, and it purges."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import msgspec

from chassis.logs import get_logger
from oca.link.commands import PURGE, SCRUB, PurgeCommand, PurgeReport, ScrubReport, keeper_socket_path
from oca.link.listening import CommandListener, Say

UNKNOWN = "the keeper does not know this command"


class KeeperCommands:
    """`scrub(rate)` scrubs everything and says how far it is; `purge(order)` returns when every worker obeys."""

    def __init__(
        self,
        state_dir: Path,
        scrub: Callable[[int], AsyncGenerator[ScrubReport, None]],
        purge: Callable[[PurgeCommand], Awaitable[PurgeReport]],
    ) -> None:
        self._scrub = scrub
        self._purge = purge
        self._listener = CommandListener(keeper_socket_path(state_dir), self._obey, _broken_off)

    async def start(self) -> None:
        """Raises OSError. The caller holds the disks' locks, so no other keeper lives."""
        await self._listener.start()

    async def close(self) -> None:
        """What was asked for ends."""
        await self._listener.close()

    async def _obey(self, line: bytes, say: Say) -> None:
        word, _, rest = line.strip().partition(b" ")
        if word == SCRUB:
            # Ends with the first line that nobody takes.
            async with aclosing(self._scrub(int(rest or b"0"))) as reports:
                async for report in reports:
                    await say(report)
        elif word == PURGE:
            await say(await self._purge(msgspec.json.decode(rest, type=PurgeCommand)))
        else:
            await say(ScrubReport(ended=True, refused=UNKNOWN))


def _broken_off(error: Exception) -> None:
    get_logger("oca.keeper").info("command-broken-off", detail=str(error))
