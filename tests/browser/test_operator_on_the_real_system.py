"""The operator page in headless Chromium on the whole system: what stands where, what was filled, what was served from where, why."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from chassis.client import ServiceClient
from contracts.instants import hour_of
from contracts.members import SignUp
from contracts.plays import AccountImport, HourAccount
from contracts.routes import Route, RouteImport, RoutePolicy, SourceFacts, SourceKind
from demo.operator import read_token
from player.membership import Member
from player.viewer import watch
from tests.browser.chromium import Tab, js
from tests.system.small_system import FILMS, SmallSystem

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="session")]
PICTURES = os.environ.get("LOWTIDE_TEST_PICTURES")
ROWS = """
[...document.querySelector('[aria-labelledby=NAME]').querySelectorAll('table:not(.u-legend) tbody tr')].map(row =>
  [...row.cells].map(cell => cell.innerText.split('\\n')[0].trim()))
"""


@pytest_asyncio.fixture(loop_scope="session")
async def page(system: SmallSystem, tab: Tab) -> AsyncIterator[Tab]:
    """The page, entered by the address that `lowtide up` prints, in a window that shows all of it."""
    screen = {"width": 1360, "height": 1300, "deviceScaleFactor": 1, "mobile": False}
    await tab.command("Emulation.setDeviceMetricsOverride", **screen)
    await tab.open(system.box.operator_url)
    await tab.until("document.querySelector('[aria-labelledby=appliances] tbody tr')")
    yield tab
    assert tab.errors == []


async def rows(page: Tab, section: str) -> list[list[str]]:
    """The first lines of the cells of a section's table."""
    found: list[list[str]] = await page.value(ROWS.replace("NAME", section))
    return found


async def test_sites_and_appliances_are_live_and_filled_and_the_token_leaves_the_address(
    system: SmallSystem, page: Tab
) -> None:
    assert await page.value("location.hash") == ""
    names = await page.value("[...document.querySelectorAll('.sites h3')].map(name => name.firstChild.data.trim())")
    assert names == [site.name for site in system.box.topology.sites]
    await page.until(
        "document.querySelectorAll('.state.live').length === 3 && document.querySelectorAll('.dot.good').length === 3"
    )
    assert [row[0] for row in await rows(page, "appliances")] == list(system.appliances)
    shares: list[str] = await page.value(
        "[...document.querySelectorAll('[aria-label=fill]')].map(bar => bar.getAttribute('aria-valuenow'))"
    )
    assert shares == ["100"] * (len(system.box.topology.sites) + len(system.appliances))
    text = await page.value("document.body.innerText")
    assert f"{len(system.titles)} titles" in text
    assert "100.0 % expected by plan 1" in text
    assert "failed" not in text


async def test_a_play_shows_as_bytes_by_source_within_seconds(system: SmallSystem, page: Tab) -> None:
    before = await _served(page)
    network = system.networks[1]
    member = Member(system.services, network.address(1))
    try:
        await member.sign_up(
            SignUp("operator-test@example.org", "a long tide comes slowly", network.region, "standard")
        )
        profile = (await member.account()).profiles[0]
        report = await watch(
            member, FILMS[0].title.id, profile.id, "sofa", source_address=network.address(1), rate=8.0, until_s=16.0
        )
    finally:
        await member.aclose()
    assert report.attempts
    await page.until(f"{_SERVED_HIT} > {before}", 20.0)
    assert await page.value("document.querySelector('.figures dd').innerText") == "100.0 %"
    assert [row[0].split()[0] for row in await rows(page, "served")] == ["hit", "peer", "tier", "origin"]
    assert await page.until("document.querySelector('.chart .u-legend')?.innerText.includes('hit')")
    if PICTURES:
        await page.pictures(Path(PICTURES), "operator", whole=True)


async def test_the_page_explains_why_a_file_is_where_it_is(system: SmallSystem, page: Tab) -> None:
    film = FILMS[0].title.id
    await page.fill("input[type=search]", f"{film}/sd/v-360.mp4")
    await page.until("document.querySelectorAll('.files button').length === 1")
    await page.click(".files button")
    await page.until("document.querySelectorAll('dl.facts').length === 2")
    said: dict[str, Any] = await page.value(
        "Object.fromEntries([...document.querySelectorAll('dl.facts')].map(list => [list.parentElement.querySelector('h4')"
        ".firstChild.data.trim(), list.previousElementSibling.innerText + ' ' + list.innerText]))"
    )
    by_site = {spec.id: said[spec.name] for spec in system.box.topology.sites}
    for spec in system.box.topology.appliances:
        assert spec.id in by_site[spec.site]
    assert all("Placed at" in words and "rank" in words for words in by_site.values())
    if PICTURES:
        await page.pictures(Path(PICTURES), "operator-explained", whole=True)


async def test_an_operator_finds_a_play_by_its_network_and_reads_why_it_went_where_it_went(
    system: SmallSystem, page: Tab
) -> None:
    network = system.networks[1]
    member = Member(system.services, network.address(7))
    try:
        await member.sign_up(SignUp("why@example.org", "a long tide comes slowly", network.region, "standard"))
        profile = (await member.account()).profiles[0]
        answer = await member.play(FILMS[0].title.id, profile.id, "sofa")
        await member.leave(answer)
    finally:
        await member.aclose()
    await page.value("location.hash = '#/plays'")
    await page.fill("input[name=client]", network.address(200))
    await page.click(".asking button")
    await page.until(f"document.querySelector('.rows')?.innerText.includes({js(answer.session_id)})")
    assert await page.value("document.querySelector('input[name=client]').value") == network.address(200), (
        "drawing the page anew takes nothing that was typed"
    )
    (row,) = [cells for cells in await rows(page, "plays") if cells[1] == answer.session_id]
    assert row[3:5] == ["b", FILMS[0].title.id]
    assert row[5].startswith("b1 ")
    await page.value(
        "[...document.querySelectorAll('.rows tr')]"
        f".find(row => row.innerText.includes({js(answer.session_id)})).querySelector('button').click()"
    )
    await page.until("document.querySelector('.sentences')")
    told = await page.value("document.querySelector('.told').innerText")
    assert f"Why {answer.session_id} went where it went" in told
    assert "b1 was number 1: it holds the file" in told
    assert (await rows(page, "told"))[0][0] == "b1"
    if PICTURES:
        await page.pictures(Path(PICTURES), "operator-plays", whole=True)


async def test_the_route_explorer_marks_what_is_quarantined_and_what_has_no_alternative(
    system: SmallSystem, page: Tab
) -> None:
    async with operator_of(system) as client:
        await client.put("/v1/sites/a/route-policy", RoutePolicy(("81.2.0.0/16",)), RoutePolicy)
        given = RouteImport(SourceKind.FILE, (Route("81.2.0.0/18", (64500,)), Route("9.9.9.0/24", (64501,))))
        source = await client.put("/v1/sites/a/routes/lab", given, SourceFacts)
        try:
            await page.value("location.hash = '#/routes'")
            await page.until("document.querySelector('.prefixes')?.innerText.includes('81.2.0.0/18')")
            assert (await rows(page, "sources"))[0][:6] == [source.id, "a", "up", "2", "1", "1"]
            found = {row[0]: row for row in await rows(page, "routes")}
            assert found["81.2.0.0/18"][1] == "a"
            assert found["81.2.0.0/18"][3].startswith("no alternative")
            assert found["9.9.9.0/24"][1] == "–"
            assert found["9.9.9.0/24"][3].startswith("not-on-the-allow-list")
            assert {"127.1.0.0/16", "127.2.0.0/16"} <= found.keys()
            await page.fill("input[name=q]", "81.2.1.1")
            await page.click(".asking button")
            await page.until("document.querySelectorAll('.prefixes tbody tr').length === 1")
            await page.click(".choice button:last-child")
            await page.until("document.querySelector('.prefixes').innerText.includes('9.9.9.0/24')")
            if PICTURES:
                await page.pictures(Path(PICTURES), "operator-routes", whole=True)
        finally:
            await client.delete("/v1/routes/sources", query={"id": source.id})
            await client.delete("/v1/sites/a/route-policy")


async def test_misses_are_charted_by_hour_and_saved_as_csv(system: SmallSystem, page: Tab) -> None:
    async with operator_of(system) as client:
        hour = hour_of(time.time())
        causes = {"inside": 90_000_000, "content-miss": 10_000_000, "health-miss": 0, "other": 0}
        await client.put("/v1/misses", AccountImport((HourAccount("a", hour, 50, causes, {}),)))
    await page.value("location.hash = '#/misses'")
    await page.until("document.querySelector('[aria-labelledby=misses] .chart canvas')")
    (row,) = [
        cells for cells in await rows(page, "misses") if cells[1] == "a" and cells[0] == f"{hour.replace('T', ' ')}:00"
    ]
    assert row[6:9] == ["100 MB", "90.0 %", "10.0 %"]
    await page.choose("select[name=view]", "as appliances reported")
    await page.until("document.querySelector('.chart').getAttribute('aria-label').includes('by source')")
    saved = await page.value(
        "import('/web/operator/missing.js').then(its => fetch('/v1/misses', { headers: { Authorization: "
        "'Bearer ' + sessionStorage.getItem('lowtide-operator-token') } }).then(a => a.json()).then(a => its.csv(a.hours)))"
    )
    head, *lines = saved.splitlines()
    listed = dict(
        zip(head.split(","), next(line for line in lines if line.startswith(f"{hour},a,")).split(","), strict=True)
    )
    assert (listed["joined_inside_bytes"], listed["joined_requests"]) == ("90000000", "50")
    if PICTURES:
        await page.pictures(Path(PICTURES), "operator-misses", whole=True)


def operator_of(system: SmallSystem) -> ServiceClient:
    return ServiceClient(system.box.url("control-plane"), bearer=read_token(system.box.operator_token_file))


_SERVED_HIT = (
    "Number([...document.querySelectorAll('[aria-labelledby=served] tbody tr')]"
    f".find(row => row.cells[0].innerText.startsWith({js('hit')})).cells[1].innerText.replaceAll(',', ''))"
)
"""Requests that appliances answered from their store, as the page shows them."""


async def _served(page: Tab) -> int:
    return int(await page.value(_SERVED_HIT))
