"""The viewer page keeps playing while each appliance in turn is killed, returns, is drained and returns."""

from __future__ import annotations

import pytest

from tests.browser.chromium import Tab
from tests.browser.observations import PRESSED
from tests.browser.run_result import Bounds
from tests.browser.runs import Record, watched
from tests.browser.scenarios import LONG_FILM, in_maintenance, without_power
from tests.browser.viewer_page import ViewerPage
from tests.system.small_system import SEED, SmallSystem

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="session")]
AWAY_S = 8.0
FILLED_S = 20.0
"""What the page has in its buffer (its goal is 24 s) before anything happens."""


@pytest.mark.parametrize("scenario", ["rotation-of-one", pytest.param("rotation", marks=pytest.mark.long)])
async def test_the_viewer_page_keeps_playing_while_each_appliance_in_turn_is_killed_drained_and_returned(
    system: SmallSystem, tab: Tab, scenario: str, record_property: Record
) -> None:
    page = ViewerPage(tab, system.box.viewer_url)
    turn = system.appliances[:1] if scenario == "rotation-of-one" else system.appliances
    async with watched(tab, scenario, "viewer", SEED) as run:
        await page.arrive("Ida", system.box.topology.sites[0])
        await page.open_title(LONG_FILM.title.name)
        await run.mark(PRESSED)
        await page.press_play()
        await tab.until(f"observed.samples.at(-1)?.[2] >= {FILLED_S}", 60.0)
        for name in turn:
            async with without_power(system, name, run):
                await page.until_position(await page.position() + AWAY_S)
            async with in_maintenance(system, name, run):
                await page.until_position(await page.position() + AWAY_S)
        await page.until_position(await page.position() + AWAY_S)
        await run.hold(Bounds(played_s=2 * AWAY_S * len(turn)), record_property)
    assert (await tab.value("document.querySelector('#facts').innerText.match(/Stalls\\s+(\\d+)/i)[1]")) == "0"
