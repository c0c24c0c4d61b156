"""A control plane with a real CA, whose certificates live for seconds, and a real name server; the box's side is the keeper's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from chassis.client import ServiceClient
from chassis.clock import SYSTEM_CLOCK
from contracts.names import ApplianceName, NameFacts, NameList, NameRequest, NameState, NameTrouble
from contracts.places import Appliance
from contracts.reports import ReportAnswer
from control_plane.config import AcmeSettings, DnsSettings, NameSettings
from oca.config import PublicNames
from oca.keeper.names import Names
from oca.link.files import Listening
from tests.control_plane.plane import Plane, report, running
from tests.system.acme_world import HOST, KEY_NAME, running_knot, running_pebble

pytestmark = pytest.mark.system
ZONE, NAME = "cdn.test", "a1.cdn.test"
LIFE_S = 30
LISTENING = Listening("", "", "", further=("https://127.1.0.11:443",))


class OverMtls:
    """What the keeper's connection does."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def name(self) -> ApplianceName:
        return await self._client.get("/v1/appliance/name", ApplianceName)

    async def request_name(self, request: NameRequest) -> ApplianceName:
        return await self._client.post("/v1/appliance/name", request, ApplianceName)


@dataclass
class Short:
    plane: Plane
    names: Names
    installed: Path
    end_of_ca: AsyncExitStack

    async def facts(self) -> NameFacts:
        return (await self.plane.operator.get("/v1/names", NameList)).names[0]

    async def is_told(self) -> bool:
        told = await self.plane.operator.get("/v1/appliances/a1", Appliance)
        return f"https://{NAME}" in told.player_urls

    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificates(self.installed.read_bytes())[0]

    async def until(self, wanted: Callable[[NameFacts], bool], within_s: float = 60.0) -> NameFacts:
        """Follows as the keeper does, until the name is as wanted."""
        async with asyncio.timeout(within_s):
            while not wanted(found := await self.facts()):
                await self.names.follow_once()
                await asyncio.sleep(0.2)
        await self.names.follow_once()
        return found


@pytest.fixture
async def short(tmp_path: Path) -> AsyncIterator[Short]:
    async with AsyncExitStack() as stack:
        knot = await stack.enter_async_context(running_knot(tmp_path / "knot", ZONE))
        ca = await stack.enter_async_context(AsyncExitStack())
        pebble = await ca.enter_async_context(running_pebble(tmp_path / "pebble", knot.port, valid_s=LIFE_S))
        acme = AcmeSettings(pebble.directory, pebble.ca_file, terms_agreed=True)
        dns = DnsSettings(server=HOST, port=knot.port, key_name=KEY_NAME, key_file=knot.key_file, ttl_s=1)
        settings = NameSettings(ZONE, acme, dns, settle_s=0.0, first_retry_s=1.0)
        plane = await stack.enter_async_context(running(tmp_path, names=settings))
        await plane.add_site()
        box = await plane.add_box("a1")
        await box.post("/v1/appliance/report", report(player_urls=(f"https://{NAME}",)), ReportAnswer)
        folder = tmp_path / "names"
        managed = PublicNames(managed=True)
        names = Names(OverMtls(box), folder, managed, lambda: LISTENING, lambda: None, lambda: None, SYSTEM_CLOCK)
        async with asyncio.timeout(30):
            while not (await box.get("/v1/appliance/name", ApplianceName)).host:  # noqa: ASYNC110  behind HTTP
                await asyncio.sleep(0.1)
        yield Short(plane, names, folder / f"{NAME}.pem", ca)


async def test_a_certificate_is_renewed_before_its_end_and_without_the_ca_the_last_good_one_stays(
    short: Short,
) -> None:
    first = await short.until(lambda name: name.state is NameState.ISSUED)
    assert first.expires_at - time.time() < LIFE_S + 1
    assert await short.is_told()
    serial = short.certificate().serial_number

    await short.until(lambda name: name.expires_at > first.expires_at and name.state is NameState.ISSUED)
    assert time.time() < first.expires_at, "renewed after the end of the one before"
    assert short.certificate().serial_number != serial
    assert await short.is_told()

    renewed = short.certificate().serial_number
    await short.end_of_ca.aclose()
    await short.plane.operator.post("/v1/names/a1/order")
    failed = await short.until(lambda name: name.state is NameState.FAILED)
    assert failed.trouble is NameTrouble.CA_AWAY
    assert "the CA cannot be asked" in failed.sentence
    assert short.certificate().serial_number == renewed, "the last good certificate stays"
