"""The keeper's task for routes: looks at the daemon, tells the control plane what changed, writes `run/routes.json`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from chassis.clock import Clock
from chassis.errors import ServiceError
from chassis.logs import get_logger
from contracts.routes import RouteAnswer, RouteReport
from oca.config import Routes as RoutesSettings
from oca.link.files import replace_file
from oca.routes.birdc import BirdSessions
from oca.routes.exafeed import ExaBgpSessions
from oca.routes.table import Heard, RoutesStatus, RoutesUnreadable, Sessions, SessionStatus
from oca.routes.telling import Telling

STATUS_FILE = "run/routes.json"
EXABGP_SOCKET = "run/exabgp.sock"
Tell = Callable[[RouteReport], Awaitable[RouteAnswer]]
"""Sends a report. Raises ServiceError."""


def sessions_of(settings: RoutesSettings, state_dir: Path) -> Sessions | None:
    """The line to the daemon of the settings; None where there is none."""
    match settings.daemon:
        case "bird":
            return BirdSessions(settings.bird_socket, [session.name for session in settings.sessions])
        case "exabgp":
            return ExaBgpSessions(state_dir / EXABGP_SOCKET, settings.sessions)
        case _:
            return None


class RouteFollowing:
    """One look every `look_s`; a daemon that cannot be read is a session that is down, with its words."""

    def __init__(
        self, settings: RoutesSettings, state_dir: Path, sessions: Sessions, tell: Tell, boot: str, clock: Clock
    ) -> None:
        self._settings = settings
        self._path = state_dir / STATUS_FILE
        self._sessions = sessions
        self._tell = tell
        self._telling = Telling(boot)
        self._clock = clock
        self._problem = ""
        self._down: set[str] = set()
        self._log = get_logger("oca.routes")

    async def run(self) -> None:
        try:
            while True:
                await self.look()
                await self._clock.sleep(self._settings.look_s)
        finally:
            await self._sessions.close()

    async def look(self) -> None:
        heard = await self._heard()
        for one in heard:
            self._note(one)
            await self._report(one)
        self._write(heard)

    async def _heard(self) -> tuple[Heard, ...]:
        try:
            heard = await self._sessions.heard()
        except RoutesUnreadable as error:
            if str(error) != self._problem:
                self._log.error("routes-unreadable", detail=str(error))
            self._problem = str(error)
            return tuple(
                Heard(one.name, False, {}, one.peer, one.peer_as, self._problem) for one in self._settings.sessions
            )
        self._problem = ""
        return heard

    async def _report(self, heard: Heard) -> None:
        report = self._telling.report(heard)
        if report is None:
            return
        try:
            answer = await self._tell(report)
        except ServiceError as error:
            self._telling.failed(heard)
            self._log.warning("routes-not-told", session=heard.name, detail=str(error))
        else:
            self._telling.arrived(heard, report, answer)

    def _note(self, heard: Heard) -> None:
        if heard.up and heard.name in self._down:
            self._down.discard(heard.name)
            self._log.info("bgp-session-up", session=heard.name, routes=len(heard.routes))
        elif not heard.up and heard.name not in self._down:
            self._down.add(heard.name)
            self._log.warning("bgp-session-down", session=heard.name, detail=heard.detail)

    def _write(self, heard: tuple[Heard, ...]) -> None:
        rows = tuple(
            SessionStatus(
                one.name, one.up, one.peer, one.peer_as, len(one.routes), self._telling.told(one.name), one.detail
            )
            for one in heard
        )
        status = RoutesStatus(self._clock.wall_s(), self._settings.daemon, self._problem, rows)
        try:
            replace_file(self._path, msgspec.json.encode(status), durable=False)
        except OSError as error:
            self._log.warning("routes-status-not-written", detail=str(error))
