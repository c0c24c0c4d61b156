"""The operator page in headless Chromium on the whole system: what stands where, what was filled, what was served from where, why."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from contracts.members import SignUp
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
    assert f"{len(FILMS)} titles" in text
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


_SERVED_HIT = (
    "Number([...document.querySelectorAll('[aria-labelledby=served] tbody tr')]"
    f".find(row => row.cells[0].innerText.startsWith({js('hit')})).cells[1].innerText.replaceAll(',', ''))"
)
"""Requests that appliances answered from their store, as the page shows them."""


async def _served(page: Tab) -> int:
    return int(await page.value(_SERVED_HIT))
