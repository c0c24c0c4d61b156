"""The line from ExaBGP: its helper (`forward`) connects to a socket of ours and writes events, one a line.

Laws: the newest helper is the one that counts, and what an older one still says is passed over; when it goes, ExaBGP is taken for gone, with all it
knew: a new one tells everything again. A line that nobody understands ends the line, so that the helper, and with it ExaBGP, starts afresh.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from chassis.logs import get_logger
from oca.config import BgpSession
from oca.routes.exabgp import LONGEST_LINE, Events
from oca.routes.table import Heard, RoutesUnreadable

_LOG = get_logger("oca.routes")


class ExaBgpSessions:
    """The sessions of an ExaBGP on this machine."""

    def __init__(self, socket: Path, sessions: Sequence[BgpSession]) -> None:
        self._socket = socket
        self._events = Events(sessions)
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._problem = "ExaBGP has not connected yet"

    async def heard(self) -> tuple[Heard, ...]:
        """Raises RoutesUnreadable while no ExaBGP is connected."""
        await self._listen()
        if self._problem:
            raise RoutesUnreadable(f"{self._socket}: {self._problem}")
        return self._events.heard()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._writer is not None:
            self._writer.close()

    async def _listen(self) -> None:
        if self._server is not None:
            return
        try:
            self._socket.parent.mkdir(parents=True, exist_ok=True)
            self._socket.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._read, self._socket, limit=LONGEST_LINE)
            self._socket.chmod(0o660)
        except OSError as error:
            raise RoutesUnreadable(f"{self._socket}: {error.strerror or error}") from error

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        older, self._writer = self._writer, writer
        if older is not None:
            older.close()
        self._events.lost("ExaBGP has said nothing of it yet")
        self._problem = ""
        why = "ExaBGP is gone"
        try:
            while (line := await reader.readline()) and self._writer is writer:
                self._events.take(line)
        except (RoutesUnreadable, ValueError, OSError) as error:
            why = str(error)
            _LOG.error("exabgp-feed-ended", detail=why)
        finally:
            if self._writer is writer:
                self._writer = None
                self._problem = why
                self._events.lost(why)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
