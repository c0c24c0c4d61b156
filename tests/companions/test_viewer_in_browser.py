"""The viewer page in headless Chromium: sign up, choose, browse, search, play, lose an appliance, resume, sign out."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from chassis.clock import SYSTEM_CLOCK
from contracts.world import Choice, Why
from tests.browser.chromium import Tab, open_tab, unexpected
from tests.companions.footage import Footage, MediaServer, make_footage
from tests.companions.lab import PASSWORD, FakeSteering, Lab, make_title

pytestmark = pytest.mark.system
PICTURES = os.environ.get("LOWTIDE_TEST_PICTURES")


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Footage:
    return make_footage(tmp_path_factory.mktemp("footage"), "tide")


@pytest.fixture
async def servers(footage: Footage) -> AsyncIterator[tuple[MediaServer, MediaServer]]:
    """Two appliances; the second is the next best place. Each has a host of its own, because Shaka Player leaves a lost place's
    host, whatever the port."""
    first, second = MediaServer(footage.folder), MediaServer(footage.folder)
    await first.start("127.1.0.11")
    await second.start("127.1.0.12")
    yield first, second
    await first.stop()
    await second.stop()


@pytest.fixture
async def origin(footage: Footage) -> AsyncIterator[MediaServer]:
    """The last place of every pathway."""
    made = MediaServer(footage.folder)
    await made.start("127.1.0.13")
    yield made
    await made.stop()


@pytest.fixture
async def house(lab: Lab, footage: Footage, servers: tuple[MediaServer, MediaServer], origin: MediaServer) -> Lab:
    """All services by the machine's clock, a title that can be played and some that make the page look lived in."""
    lab.clock = SYSTEM_CLOCK  # type: ignore[assignment]
    first, second = servers
    lab.steering = FakeSteering(
        choices=(
            Choice("a1", "site-a", first.url, Why.HOLDS),
            Choice("a2", "site-a", second.url, Why.HOLDS),
            Choice("", "", origin.url, Why.ORIGIN),
        ),
        steered=True,
    )
    await lab.start("auth", "catalog", "steering", "playback", "recommendation")
    synopsis = "A harbour town waits for the lowest tide in a hundred years, and for what it will show."
    await lab.publish(
        make_title("tide", "The Lowest Tide", genres=("Drama", "Sea"), cast=("Ida Berg", "Jon Vik"), year=2024,
                   synopsis=synopsis, renditions=footage.renditions, duration_s=60.0),
        *(
            make_title(f"t{n}", name, genres=(genre,), year=2015 + n, published_at=float(n))
            for n, (name, genre) in enumerate(
                (
                    ("Lighthouse", "Mystery"), ("A Short History of Fog", "Documentary"), ("Salt", "Drama"),
                    ("The Keeper's Daughter", "Drama"), ("Ebb", "Thriller"), ("North of the Last Ferry", "Western"),
                )
            )
        ),
    )  # fmt: skip
    return lab


@pytest.fixture
async def tab(tmp_path: Path) -> AsyncIterator[Tab]:
    async with open_tab(tmp_path / "browser") as made:
        yield made


async def _look(tab: Tab, name: str) -> None:
    """Pictures for people, where somebody wants to see them."""
    if PICTURES:
        await tab.pictures(Path(PICTURES), name)


async def _sign_up(tab: Tab, house: Lab) -> None:
    await tab.open(house.url("playback") + "/")
    await tab.until("document.querySelector('.sheet')")
    await _look(tab, "1-entrance")
    await tab.click(".link")
    await tab.fill("[name=email]", "ann@example.org")
    await tab.fill("[name=password]", PASSWORD)
    await tab.fill("[name=profile_name]", "Ann")
    await tab.press("Enter")
    await tab.until("document.querySelector('.face')")


async def _video(tab: Tab, field: str) -> Any:
    return await tab.value(f"document.querySelector('video').{field}")


async def _facts(tab: Tab) -> dict[str, str]:
    found = await tab.value(
        "Object.fromEntries([...document.querySelectorAll('.facts div')].map(d => [d.children[0].innerText.toLowerCase(), d.children[1].innerText]))"
    )
    assert isinstance(found, dict)
    return found


async def test_from_signing_up_to_a_moving_picture_over_a_lost_appliance_and_back_again(
    house: Lab, tab: Tab, servers: tuple[MediaServer, MediaServer]
) -> None:
    first, second = servers
    await _sign_up(tab, house)
    await _look(tab, "2-profiles")
    await tab.value("document.querySelector('.demo-network select').value")
    await tab.click(".face")
    await tab.until("document.querySelectorAll('.card').length === 7")
    await _look(tab, "3-home")

    await tab.fill("[name=q]", "lowes")
    await tab.until("location.hash.startsWith('#/search') && document.querySelectorAll('.card').length === 1")
    await tab.click(".card a")
    await tab.until("document.querySelector('.title .main')?.innerText === 'Play'")
    await _look(tab, "4-title")

    await tab.click(".title .main")
    await tab.until("document.querySelector('video')?.currentTime > 1")
    at = await _video(tab, "currentTime")
    await asyncio.sleep(0.5)
    assert await _video(tab, "currentTime") > at
    await tab.until("document.querySelector('.facts')?.innerText.includes('360p')")
    assert (await _facts(tab))["appliance"] == first.url.removeprefix("http://")
    assert int((await _facts(tab))["first frame"].removesuffix(" ms")) < 5000
    await _look(tab, "5-theatre")

    await first.stop()
    await tab.value("document.querySelector('video').currentTime = 40")
    await tab.until("document.querySelector('video').currentTime > 40.5 && !document.querySelector('video').paused", 25)
    assert second.asked
    await tab.until(f"document.querySelector('.facts').innerText.includes({second.url.removeprefix('http://')!r})")

    await tab.click(".back")
    await tab.until("document.querySelector('.title .main')?.innerText.startsWith('Resume at 0:4')")
    await tab.value("location.hash = '#/'")
    await tab.until("document.querySelector('h2')?.innerText === 'Continue watching'")
    await _look(tab, "6-continue")
    assert unexpected(tab.errors, "ERR_CONNECTION_REFUSED") == []


async def test_a_reload_keeps_the_log_in_and_signing_out_ends_it(house: Lab, tab: Tab) -> None:
    await _sign_up(tab, house)
    await tab.click(".face")
    await tab.until("document.querySelector('.card')")
    await tab.command("Page.reload")
    await tab.until("document.querySelector('.card')")
    refresh = await tab.value("localStorage.getItem('lowtide.refresh')")
    await tab.value("[...document.querySelectorAll('.top button')].find(b => b.innerText === 'Sign out').click()")
    await tab.until("document.querySelector('.sheet')")
    assert await tab.value("localStorage.getItem('lowtide.refresh')") is None
    heard = await house.http.call("POST", house.url("auth") + "/v1/sessions/refresh", {"refresh_token": refresh})
    assert heard.status == 401


async def test_refusals_are_said_in_words(house: Lab, tab: Tab) -> None:
    await tab.open(house.url("playback") + "/")
    await tab.fill("[name=email]", "nobody@example.org")
    await tab.fill("[name=password]", "wrong")
    await tab.press("Enter")
    await tab.until("document.querySelector('[role=alert]')?.innerText.includes('password is wrong')")
    await _sign_up(tab, house)
    await tab.click(".face")
    await tab.until("document.querySelector('.card')")
    await tab.value("location.hash = '#/play/t0'")
    await tab.until("document.querySelector('[role=alert]')?.innerText.includes('No place that has this title')", 40)
    await tab.value("location.hash = '#/title/none'")
    await tab.until("document.querySelector('[role=alert]')?.innerText.includes('not here any more')")
    await _look(tab, "7-refusal")


async def test_the_page_is_usable_with_the_keyboard_alone(house: Lab, tab: Tab) -> None:
    await _sign_up(tab, house)
    await tab.value("document.querySelector('.face').focus()")
    await tab.press("Enter")
    await tab.until("document.querySelector('.card')")
    for _ in range(12):
        await tab.press("Tab")
        if await tab.value("document.activeElement.closest('.card') !== null"):
            break
    await tab.press("Enter")
    await tab.until("location.hash.startsWith('#/title/')")
    await tab.until("document.querySelector('.title .main')")


async def test_a_house_without_titles_says_so_calmly(lab: Lab, tab: Tab) -> None:
    lab.clock = SYSTEM_CLOCK  # type: ignore[assignment]
    await lab.start("auth", "catalog", "steering", "playback", "recommendation")
    await _sign_up(tab, lab)
    await tab.click(".face")
    await tab.until("document.querySelector('.empty')?.innerText.includes('Nothing to watch yet')")
    assert not await tab.value("document.querySelector('[role=alert]')")
    await _look(tab, "8-empty")
    assert tab.errors == []
