"""`/healthz`, `/readyz`, `/metrics`: the same three addresses on every process.

`/healthz` says that the process answers. `/readyz` runs named checks at the same time: 200 when all hold, 503 otherwise,
each with its words. A check is an async function that returns words (or None) when all is well and raises NotReady, or
anything else, when it is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from chassis import metrics as metrics_module
from chassis.logs import get_logger
from chassis.metrics import Metrics

CHECK_TIMEOUT_S = 2.0
NO_STORE = {"Cache-Control": "no-store"}
ReadyCheck = Callable[[], Awaitable[str | None]]


class NotReady(Exception):
    """Raised by a check: the message says what is missing."""


class CheckState(msgspec.Struct, frozen=True):
    ready: bool
    detail: str = ""


class Readiness(msgspec.Struct, frozen=True):
    """The answer of `/readyz`."""

    ready: bool
    checks: dict[str, CheckState]


class Liveness(msgspec.Struct, frozen=True):
    """The answer of `/healthz`."""

    service: str
    status: str = "alive"


class Health:
    """The checks of one process."""

    def __init__(self, service: str, *, check_timeout_s: float = CHECK_TIMEOUT_S) -> None:
        self.service = service
        self._check_timeout_s = check_timeout_s
        self._checks: dict[str, ReadyCheck] = {}
        self._stopping = False

    def add_check(self, name: str, check: ReadyCheck) -> None:
        if name in self._checks:
            raise ValueError(f"there is a check {name!r} already")
        self._checks[name] = check

    def stopping(self) -> None:
        """From now on `/readyz` answers 503, so that nobody sends new work."""
        self._stopping = True

    async def readiness(self) -> Readiness:
        states = await asyncio.gather(*(self._state(name, check) for name, check in self._checks.items()))
        checks = dict(zip(self._checks, states, strict=True))
        if self._stopping:
            checks["stopping"] = CheckState(False, "the service is shutting down")
        return Readiness(all(state.ready for state in checks.values()), checks)

    async def _state(self, name: str, check: ReadyCheck) -> CheckState:
        try:
            async with asyncio.timeout(self._check_timeout_s):
                return CheckState(True, await check() or "")
        except NotReady as error:
            return CheckState(False, str(error))
        except TimeoutError:
            return CheckState(False, f"did not answer within {self._check_timeout_s:g} s")
        except Exception as error:  # noqa: BLE001  a check is somebody else's code; its failure is the answer
            get_logger("chassis.health").warning("ready-check-failed", check=name, exc_info=True)
            return CheckState(False, f"{type(error).__name__}: {error}")


def add_operations(app: web.Application, health: Health, metrics: Metrics) -> None:
    """Adds the three addresses to an application."""

    async def healthz(_request: web.Request) -> web.Response:
        return _json(Liveness(health.service))

    async def readyz(_request: web.Request) -> web.Response:
        found = await health.readiness()
        return _json(found, 200 if found.ready else 503)

    async def exposition(_request: web.Request) -> web.Response:
        headers = {"Content-Type": metrics_module.CONTENT_TYPE, **NO_STORE}
        return web.Response(body=metrics.exposition(), headers=headers)

    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", exposition)


def _json(value: msgspec.Struct, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json", headers=NO_STORE
    )
