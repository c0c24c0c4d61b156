"""The viewer page in headless Chromium on the whole system: the picture advances, whoever dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from onebox.topology import SiteSpec
from tests.browser.chromium import Tab, js, unexpected
from tests.browser.player_bed import counted
from tests.browser.viewer_page import PASSWORD, ViewerPage
from tests.system.small_system import FILM_S, FILMS, SmallSystem

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="session")]
FILM, OTHER = FILMS[0].title, FILMS[1].title
PLAY = """
(async () => {
  const { call } = await import("/web/viewer/services.js");
  const account = await call("auth", "GET", "/v1/account");
  const profile = account.profiles[0];
  const session = await call("playback", "POST", "/v1/play", {
    title_id: TITLE, profile_id: profile.id, device_id: "hls", demo_network: profile.settings.demo_network,
  });
  const video = Object.assign(document.createElement("video"), { muted: true, width: 640 });
  document.querySelector("main").prepend(video);
  const player = new shaka.Player();
  await player.attach(video);
  await player.load(session.ADDRESS, 0);
  await video.play();
  window.otherPlayer = player;
  return {
    manifest: player.getManifestType(), duration: video.duration,
    heights: [...new Set(player.getVariantTracks().map((track) => track.height))].sort((a, b) => a - b),
  };
})()
"""


@pytest.fixture
def page(system: SmallSystem, tab: Tab) -> ViewerPage:
    return ViewerPage(tab, system.box.viewer_url)


@pytest_asyncio.fixture(loop_scope="session")
async def mortal(system: SmallSystem) -> AsyncIterator[list[str]]:
    """Names of appliances that the test killed; they live again afterwards."""
    killed: list[str] = []
    yield killed
    for name in killed:
        system.box.revive(name)
        await system.until_live(name)


def site(system: SmallSystem, site_id: str) -> SiteSpec:
    return next(spec for spec in system.box.topology.sites if spec.id == site_id)


async def picture_hosts(page: ViewerPage, since_ms: float = 0.0) -> list[str]:
    """Who sent each piece of picture since then, in the order of asking."""
    return [entry.host for entry in await page.received(since_ms) if entry.file.startswith("v-")]


async def kill_who_sends_the_picture(
    system: SmallSystem, page: ViewerPage, mortal: list[str], since_ms: float = 0.0
) -> tuple[str, float]:
    """Takes the power from the appliance of the last piece of picture: its host, and the page's clock then."""
    host = (await picture_hosts(page, since_ms))[-1]
    mortal.append(system.appliance_at(host))
    system.box.pull_the_plug(mortal[0])
    return host, await page.now_ms()


@pytest.mark.parametrize("site_id", ["a", "b"])
async def test_the_picture_advances_from_appliances_of_the_chosen_network(
    system: SmallSystem, page: ViewerPage, site_id: str, record_property: Callable[[str, object], None]
) -> None:
    await page.arrive("Ann", site(system, site_id))
    await page.look("home")
    await page.open_title(FILM.name)
    assert await page.tab.value("document.querySelector('main.title .main').innerText") == "Play"
    await page.look("title")
    first_frame_ms = await page.press_play()
    record_property("play/first-frame-s", f"{first_frame_ms / 1000:.3f} (network {site_id}, from pressing play)")
    await page.until_position(1.0)
    await page.sees_a_moving_picture()
    await page.look("theatre")
    received = await page.received()
    assert {entry.host for entry in received} <= system.hosts(site_id)
    assert {entry.file.partition("-")[0] for entry in received} == {"v", "a"}
    assert await page.tab.value("document.querySelector('video').videoHeight") in (180, 360)
    assert page.tab.errors == []


async def test_playback_goes_on_when_its_appliance_loses_its_power_and_resumes_where_it_was_left(
    system: SmallSystem, page: ViewerPage, mortal: list[str]
) -> None:
    await page.arrive("Bea", site(system, "a"))
    await page.open_title(FILM.name)
    await page.press_play()
    await page.until_position(1.0)
    dead_host, killed_ms = await kill_who_sends_the_picture(system, page, mortal)
    await page.sees_a_moving_picture()

    await page.jump(FILM_S - 10)
    await page.until_position(FILM_S - 7, 30.0)
    await page.sees_a_moving_picture()
    later = set(await picture_hosts(page, killed_ms))
    assert later == system.hosts("a") - {dead_host}, "the appliance beside it takes over"
    assert unexpected(page.tab.errors, dead_host) == []

    await page.tab.click(".back")
    await page.tab.until("document.querySelector('main.title .main')?.innerText.startsWith('Resume at 0:3')")
    left_at = await page.tab.value("document.querySelector('main.title progress').value")
    await page.look("resume")
    await page.tab.value("location.hash = '#/'")
    await page.tab.until("document.querySelector('main.home h2')?.innerText === 'Continue watching'")
    await page.open_title(FILM.name)
    await page.press_play()
    assert abs(await page.position() - left_at) < 2.0
    await page.sees_a_moving_picture()


async def test_a_play_without_steering_still_leaves_an_appliance_that_lost_its_power(
    system: SmallSystem, page: ViewerPage, mortal: list[str]
) -> None:
    """Its manifest has the ranking that playback remembers, and playback itself says in which order."""
    await page.arrive("Bob", site(system, "a"))
    await page.open_title(FILM.name)
    await page.press_play()
    await page.until_position(0.5)
    await page.tab.click(".back")
    await page.tab.until("document.querySelector('main.title')")
    system.box.pull_the_plug("steering")
    try:
        began_ms = await page.now_ms()
        await page.press_play()
        await page.until_position(1.0)
        dead_host, killed_ms = await kill_who_sends_the_picture(system, page, mortal, began_ms)
        await page.jump(FILM_S - 10)
        await page.until_position(FILM_S - 7, 30.0)
        await page.sees_a_moving_picture()
        later = set(await picture_hosts(page, killed_ms))
        assert later == system.hosts("a") - {dead_host}
    finally:
        system.box.revive("steering")


async def test_what_is_searched_is_found_and_what_is_not_there_is_said(system: SmallSystem, page: ViewerPage) -> None:
    await page.arrive("Cay", site(system, "b"))
    names = "[...document.querySelectorAll('.card-name')].map(name => name.innerText).join()"
    await page.tab.until(f"document.querySelectorAll('.card').length === {len(system.titles)}")
    await page.tab.fill("[name=q]", "green")
    await page.tab.until(f"location.hash.startsWith('#/search') && {names} === {js(OTHER.name)}")
    await page.look("search")
    await page.tab.value("location.hash = '#/search?q=submarine'")
    await page.tab.until("document.querySelector('h1').innerText.includes('Nothing found')")
    assert page.tab.errors == []


async def test_a_wrong_password_is_said_in_words_and_the_right_one_enters(
    system: SmallSystem, page: ViewerPage
) -> None:
    await page.arrive("Dora", site(system, "a"))
    mail = await page.tab.value(
        "import('/web/viewer/services.js').then(({ call }) => call('auth', 'GET', '/v1/account')).then(a => a.email)"
    )
    await page.tab.value("[...document.querySelectorAll('.top button')].at(-1).click()")
    await page.tab.fill("[name=email]", mail)
    await page.tab.fill("[name=password]", "a short tide")
    await page.tab.press("Enter")
    await page.tab.until("document.querySelector('[role=alert]')?.innerText.includes('password is wrong')")
    await page.look("wrong-password")
    await page.tab.value("document.querySelector('[name=password]').value = ''")
    await page.tab.fill("[name=password]", PASSWORD)
    await page.tab.press("Enter")
    await page.tab.until("document.querySelector('.face')")
    assert unexpected(page.tab.errors, "401") == []


async def test_the_hls_address_plays_in_a_real_player(system: SmallSystem, page: ViewerPage) -> None:
    await page.arrive("Eve", site(system, "b"))
    await page.open_title(OTHER.name)
    await page.press_play()
    await page.until_position(0.5)
    await page.tab.click(".back")
    await page.tab.until("document.querySelector('main.title')")
    began_ms = await page.now_ms()
    shown: dict[str, Any] = await page.tab.value(PLAY.replace("TITLE", js(OTHER.id)).replace("ADDRESS", "hls_url"))
    assert shown["manifest"] == "HLS"
    assert shown["heights"] == [180, 360]
    assert abs(shown["duration"] - FILM_S) < 0.5
    await page.until_position(1.0)
    await page.sees_a_moving_picture()
    received = await page.received(began_ms)
    assert {entry.file.rpartition(".")[2] for entry in received} == {"m3u8", "mp4"}
    assert {entry.host for entry in received} <= system.hosts("b")
    assert await counted(system.box.url("playback"), "lowtide_playback_manifests_total", 'source="packaged"') >= 2
    assert page.tab.errors == []
    await asyncio.wait_for(page.tab.value("otherPlayer.destroy()"), 30)


async def test_subtitles_of_the_source_are_offered_and_shown_from_the_mpd(
    system: SmallSystem, page: ViewerPage
) -> None:
    words = next(film.words for film in FILMS if film.title is OTHER)
    await page.arrive("Fay", site(system, "b"))
    await page.open_title(OTHER.name)
    await page.press_play()
    await page.tab.click(".back")
    await page.tab.until("document.querySelector('main.title')")
    await page.tab.value(PLAY.replace("TITLE", js(OTHER.id)).replace("ADDRESS", "dash_url"))
    tracks = await page.tab.value("otherPlayer.getTextTracks().map((track) => [track.language, track.forced])")
    assert tracks == [["en", False]]
    await page.tab.value("otherPlayer.selectTextTrack(otherPlayer.getTextTracks()[0])")
    shown = "[...document.querySelector('video').textTracks].flatMap((track) => [...(track.activeCues ?? [])]).map((cue) => cue.text)[0]"
    assert await page.tab.until(shown, 20.0) == words
    assert page.tab.errors == []
    await asyncio.wait_for(page.tab.value("otherPlayer.destroy()"), 30)
