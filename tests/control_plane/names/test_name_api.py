"""Names over both doors of a real control plane: what a box sends, what players' steering hears, what an operator sees."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chassis.errors import ServiceError
from contracts.names import ApplianceName, NameList, NameRequest, NameState
from contracts.overview import Overview
from contracts.places import Appliance, ApplianceState
from contracts.problems import ProblemCode
from contracts.reports import ReportAnswer
from control_plane.cli import app
from control_plane.config import DnsSettings, NameSettings
from control_plane.names.zone import CHALLENGE
from tests.browser.chromium import open_tab
from tests.control_plane.names.fakes import FakeIssuer, FakeNameServer, csr_for
from tests.control_plane.plane import Plane, report, running

HOST = "a1.cdn.test"
URLS = ("http://127.1.0.11:80", f"https://{HOST}", "https://b1.cdn.test")


class ZoneOnDisk(FakeNameServer):
    """The zone file, as the CA's resolver would see it."""

    path: Path

    def look(self) -> None:
        self.records = {}
        for line in self.path.read_text().splitlines():
            owner, _in, kind, value = line.split(None, 3) if line.count(" ") >= 3 else ("", "", "", "")
            if kind in ("A", "AAAA", "TXT"):
                self.records.setdefault((owner.removesuffix("."), kind), ())
                self.records[owner.removesuffix("."), kind] += (value.strip('"'),)


class LookingIssuer(FakeIssuer):
    async def validate(self, order: object) -> None:
        assert isinstance(self.server, ZoneOnDisk)
        self.server.look()
        await super().validate(order)  # type: ignore[arg-type]


@dataclass
class Zoned:
    plane: Plane
    zone_file: Path

    async def names(self) -> NameList:
        return await self.plane.operator.get("/v1/names", NameList)

    async def is_known(self) -> bool:
        return bool((await self.names()).names)

    async def is_issued(self) -> bool:
        return (await self.names()).names[0].state is NameState.ISSUED

    async def is_tidy(self) -> bool:
        return CHALLENGE not in self.zone_file.read_text()


@pytest.fixture
async def zoned(tmp_path: Path) -> AsyncIterator[Zoned]:
    zone_file = tmp_path / "zone"
    server = ZoneOnDisk()
    server.path = zone_file
    dns = DnsSettings(zone_file, name_servers=("ns.example.net",), hostmaster="dns@example.net")
    settings = NameSettings("cdn.test", dns=dns, settle_s=0.0)
    async with running(tmp_path, names=settings, issuer=LookingIssuer(server, time.time)) as plane:
        await plane.add_site()
        yield Zoned(plane, zone_file)


async def until(seen: Callable[[], Awaitable[bool]], within_s: float = 60.0) -> None:
    async with asyncio.timeout(within_s):
        while not await seen():  # noqa: ASYNC110  what is waited for is behind HTTP
            await asyncio.sleep(0.1)


async def test_from_a_signing_request_to_an_address_that_players_are_told(zoned: Zoned) -> None:
    plane = zoned.plane
    box = await plane.add_box("a1")
    await until(zoned.is_known)
    await box.post("/v1/appliance/report", report(player_urls=URLS), ReportAnswer)
    told = await plane.operator.get("/v1/appliances/a1", Appliance)
    assert (told.state, told.player_urls) == (ApplianceState.LIVE, ("http://127.1.0.11:80",))
    request = NameRequest(csr_for(HOST), ("127.1.0.11",))
    assert (await box.post("/v1/appliance/name", request, ApplianceName)).host == HOST
    await until(zoned.is_issued)
    assert "BEGIN CERTIFICATE" in (await box.get("/v1/appliance/name", ApplianceName)).chain_pem
    told = await plane.operator.get("/v1/appliances/a1", Appliance)
    assert (told.player_urls, told.families) == (URLS[:2], (4,))
    overview = await plane.operator.get("/v1/overview", Overview)
    facts = overview.appliances[0].name
    assert facts is not None
    assert facts.usable
    await until(zoned.is_tidy)
    assert f"{HOST}. IN A 127.1.0.11" in zoned.zone_file.read_text()


async def test_a_foreign_name_is_refused_over_the_wire_in_words(zoned: Zoned) -> None:
    box = await zoned.plane.add_box("a1")
    await until(zoned.is_known)
    with pytest.raises(ServiceError, match=r"names b1\.cdn\.test; this box is a1\.cdn\.test only") as refused:
        await box.post("/v1/appliance/name", NameRequest(csr_for("b1.cdn.test"), ("127.1.0.11",)), ApplianceName)
    assert refused.value.code is ProblemCode.UNPROCESSABLE
    service = await zoned.plane.service_caller("steering")
    with pytest.raises(ServiceError):
        await service.get("/v1/appliance/name", ApplianceName)


async def test_without_a_zone_a_box_is_told_that_it_has_no_name(plane: Plane) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    assert await box.get("/v1/appliance/name", ApplianceName) == ApplianceName()
    with pytest.raises(ServiceError, match="has no host name for a1"):
        await box.post("/v1/appliance/name", NameRequest(csr_for(HOST), ("127.1.0.11",)), ApplianceName)
    assert (await plane.operator.get("/v1/names", NameList)).zone == ""


async def test_an_operator_lists_names_and_orders_by_the_command(zoned: Zoned) -> None:
    await zoned.plane.add_box("a1")
    await until(zoned.is_known)
    said = await command(zoned.plane, "names", "list")
    assert (HOST in said, "wanted" in said, "has not sent a signing request" in said) == (True, True, True)
    assert "has not sent a signing request" in await command(zoned.plane, "names", "order", "a1")
    assert "there is no name of appliance 'z9'" in await command(zoned.plane, "names", "order", "z9", fails=True)


async def command(plane: Plane, *words: str, fails: bool = False) -> str:
    where = ("--url", plane.urls["http"], "--token-file", str(plane.settings.state_dir / "operator.token"))
    done = await asyncio.to_thread(CliRunner().invoke, app, [*words, *where])
    assert done.exit_code == int(fails), done.output
    return " ".join(done.output.split())


async def test_the_ca_is_let_go_at_the_end_of_the_service_and_not_before(tmp_path: Path) -> None:
    dns = DnsSettings(server="127.0.0.1", port=9)
    issuer = FakeIssuer(FakeNameServer(), time.time)
    async with running(tmp_path, names=NameSettings("cdn.test", dns=dns), issuer=issuer):
        assert not issuer.closed
    assert issuer.closed


@pytest.mark.system
async def test_the_operator_page_shows_each_name_and_what_is_wrong_with_it(zoned: Zoned, tmp_path: Path) -> None:
    await zoned.plane.add_box("a1")
    await zoned.plane.add_box("a_2")
    await until(zoned.is_known)
    async with open_tab(tmp_path / "browser") as tab:
        await tab.open(f"{zoned.plane.urls['http']}/#token={zoned.plane.token}")
        await tab.until(f"document.querySelector('table span[title*=\"signing request\"]')?.innerText === '{HOST}'")
        await tab.until("document.querySelector('table span.bad[title]')?.innerText === 'a_2: id-is-no-host-name'")
        assert tab.errors == []
