"""The line to the control plane: enrolment, then one mutually authenticated client for everything that is asked and told.

Laws: nothing is asked before the box has a certificate (`NotConnected`); a wrong code is said clearly and tried again, because
somebody may put a right one into the file; a control plane that is away stops nobody, callers keep what they have.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import aiohttp

from chassis import enrolment
from chassis.client import ServiceClient
from chassis.clock import Clock
from chassis.errors import CertificateError, ServiceError
from chassis.logs import get_logger
from chassis.tls import client_context
from contracts.digests import SignedDigests
from contracts.enrolment import PeerKind
from contracts.keys import KeySet
from contracts.names import ApplianceName, NameRequest
from contracts.plans import AppliancePlan, Upstreams
from contracts.reports import ApplianceReport, ReportAnswer
from contracts.routes import RouteAnswer, RouteReport
from contracts.triggers import Triggers, TriggersApplied
from oca.config import ControlPlane as ControlPlaneSettings
from oca.keeper.errors import NotConnected

FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 10.0
ROUTES_S = 60.0
"""A whole table of half a million is judged and stored before it is answered."""
PING_S = 5.0
"""Pings on the heartbeat stream: without them a control plane that vanished would look connected for minutes."""


class ControlPlane(Protocol):
    """What the keeper asks and tells. Every call raises ServiceError, or NotConnected before enrolment."""

    async def keys(self) -> KeySet: ...

    async def plan(self) -> AppliancePlan | None:
        """None before the first plan."""

    async def upstreams(self) -> Upstreams: ...

    async def digests(self, key: str) -> SignedDigests | None:
        """None when the key is unknown."""

    async def report(self, report: ApplianceReport) -> ReportAnswer: ...


class Connection:
    """The real control plane."""

    def __init__(self, settings: ControlPlaneSettings, tls_dir: Path, addresses: tuple[str, ...], clock: Clock) -> None:
        self.enrolled = asyncio.Event()
        self.appliance_id = ""
        self.tls: ssl.SSLContext | None = None
        """For dialling peers, tiers and the origin; None before enrolment."""
        self._settings = settings
        self._tls_dir = tls_dir
        self._addresses = addresses
        self._clock = clock
        self._client: ServiceClient | None = None
        self._log = get_logger("oca.keeper.connection")

    async def open(self) -> None:
        """Returns when the box has a certificate and the client is ready. Tries for ever, saying why it waits."""
        wait_s = FIRST_RETRY_S
        said = ""
        while True:
            try:
                await self._enrol_once()
                self._connect()
            except (CertificateError, ServiceError) as error:
                if str(error) != said:
                    self._log.warning("not-enrolled", detail=str(error), then="trying again")
                said = str(error)
                await self._clock.sleep(wait_s)
                wait_s = min(LONGEST_RETRY_S, wait_s * 2)
            else:
                self.enrolled.set()
                return

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def keys(self) -> KeySet:
        return await self._opened().get("/v1/keys", KeySet)

    async def plan(self) -> AppliancePlan | None:
        try:
            return await self._opened().get("/v1/appliance/plan", AppliancePlan)
        except ServiceError as error:
            if error.status == 404:
                return None
            raise

    async def upstreams(self) -> Upstreams:
        return await self._opened().get("/v1/upstreams", Upstreams)

    async def digests(self, key: str) -> SignedDigests | None:
        try:
            return await self._opened().get("/v1/digests", SignedDigests, query={"key": key}, timeout_s=2.5)
        except ServiceError as error:
            if error.status == 404:
                return None
            raise

    async def triggers(self, after: int) -> Triggers | None:
        """None from a control plane that has none."""
        try:
            return await self._opened().get("/v1/appliance/triggers", Triggers, query={"after": after})
        except ServiceError as error:
            if error.status == 404:
                return None
            raise

    async def triggers_applied(self, applied: TriggersApplied) -> None:
        await self._opened().post("/v1/appliance/triggers", applied)

    async def report(self, report: ApplianceReport) -> ReportAnswer:
        return await self._opened().post("/v1/appliance/report", report, ReportAnswer)

    async def routes(self, report: RouteReport) -> RouteAnswer:
        return await self._opened().post("/v1/appliance/routes", report, RouteAnswer, timeout_s=ROUTES_S)

    async def name(self) -> ApplianceName:
        return await self._opened().get("/v1/appliance/name", ApplianceName)

    async def request_name(self, request: NameRequest) -> ApplianceName:
        return await self._opened().post("/v1/appliance/name", request, ApplianceName)

    @asynccontextmanager
    async def heartbeat(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        async with self._opened().websocket("/v1/appliance/heartbeat", heartbeat_s=PING_S) as stream:
            yield stream

    def _opened(self) -> ServiceClient:
        if self._client is None:
            raise NotConnected("the box is not enrolled yet")
        return self._client

    async def _enrol_once(self) -> None:
        if enrolment.is_enrolled(self._tls_dir, self._clock.wall_s()):
            return
        code_file = Path(self._settings.code_file) if self._settings.code_file else None
        code = enrolment.read_code(code_file, "this appliance")
        await enrolment.enrol(
            self._settings.url, code, kind=PeerKind.APPLIANCE, folder=self._tls_dir, addresses=self._addresses
        )
        self._log.info("enrolled", appliance=enrolment.enrolled_name(self._tls_dir, PeerKind.APPLIANCE))
        if code_file is not None:
            code_file.unlink(missing_ok=True)

    def _connect(self) -> None:
        files = enrolment.kept_files(self._tls_dir)
        self.appliance_id = enrolment.enrolled_name(self._tls_dir, PeerKind.APPLIANCE)
        self.tls = client_context(files=files)
        self._client = ServiceClient(self._settings.url, ssl=self.tls, timeout_s=5.0)
