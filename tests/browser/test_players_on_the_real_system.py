"""The viewer page, Shaka Player, hls.js and dash.js in headless Chromium against real appliances: tokens that end, preflights,
pacing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import msgspec
import pytest
import pytest_asyncio

from demo.footage import SourceTitle
from tests.browser.chromium import Tab, unexpected
from tests.browser.observations import PRESSED
from tests.browser.player_bed import (
    KEEP_LOW,
    LET_GO,
    LOW_START,
    PLAYERS,
    SMALL_BUFFER,
    PlayerBed,
    counted,
    press_play,
)
from tests.browser.run_result import Bounds
from tests.browser.runs import watched
from tests.browser.viewer_page import ViewerPage
from tests.system.small_system import SEED, Film, SmallSystem, open_small_system

ONE_HERE = [PLAYERS[0], *(pytest.param(player, marks=pytest.mark.long) for player in PLAYERS[1:])]
"""What takes a minute for each player: one of them in `make test-system`, all in `make test-players`."""

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="session")]
TOKEN_S = 5
SKEW_S = 30
"""What appliances allow clocks to differ: a token is refused only after it."""
FILM_S = 80
TITLE = SourceTitle("long-shot", "The Long Shot", "A test picture in heavy snow.", ("drama",), 2024)
FILM = Film(
    TITLE,
    f"testsrc2=size=640x360:rate=25:duration={FILM_S},noise=alls=20:allf=t",
    f"sine=frequency=390:duration={FILM_S}",
)
RESUMED_WITHIN_S = 3.0
RELOADS = 2
"""The picture waits while a manifest is loaded again; two requests may be refused one after the other."""
LADDER = ("180@300", "270@900", "360@2700")
PACING = {"floor_bps": 1_000_000, "healthy_buffer_s": 4.0}
"""The floor is too low for the best rung, so that it is what players say that lets them climb."""
LOW_FOR_S = 20.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SmallSystem]:
    """A system whose media tokens live for seconds, with one film that is longer than they are good; players are paced early."""
    async with open_small_system(tmp_path_factory.mktemp("players"), (FILM,), ladder=LADDER) as running:
        await running.change("playback", {"playback": {"sessions": {"token_s": TOKEN_S}}})
        for name in running.appliances:
            await running.change(name, {"serving": {"pacing": PACING}})
        for name in running.appliances:
            await running.until_live(name)
        yield running


@pytest.fixture
def page(town: SmallSystem, tab: Tab) -> ViewerPage:
    return ViewerPage(tab, town.box.viewer_url)


async def count(system: SmallSystem, metric: str, label: str = "") -> float:
    """A counter over all appliances."""
    listening = [system.box.processes[name].listening["status"] for name in system.appliances]
    return sum([await counted(url, metric, label) for url in listening])


async def preflights(system: SmallSystem) -> float:
    return await count(system, "lowtide_oca_requests_total", 'outcome="preflight"')


@pytest.mark.parametrize("player", ONE_HERE)
async def test_a_player_whose_token_ended_resumes_from_a_fresh_manifest(
    town: SmallSystem, bed: PlayerBed, player: str, record_property: Callable[[str, object], None]
) -> None:
    async with watched(bed.tab, "expire", player, SEED) as run:
        answer = await press_play(town, TITLE.id)
        await bed.play(player, answer, SMALL_BUFFER[player])
        refused = await bed.until_refused(TOKEN_S + SKEW_S + 30.0)
        went_on = await bed.resumption(refused)
        await bed.play_on(3.0)
        await run.hold(Bounds(stalls=RELOADS, still_s=RESUMED_WITHIN_S), record_property)
    record_property(
        f"play/resumed-s/{player}",
        f"{went_on.resumed_s:.2f} (longest still picture {went_on.longest_still_s:.2f}, position {went_on.moved_s:+.2f})",
    )
    assert went_on.resumed_s < RESUMED_WITHIN_S
    assert abs(went_on.moved_s) < 2.0


async def test_the_viewer_page_renews_its_token_before_it_ends_and_a_renewal_that_fails_disturbs_nothing(
    town: SmallSystem, page: ViewerPage, record_property: Callable[[str, object], None]
) -> None:
    async with watched(page.tab, "renew", "viewer", SEED) as run:
        await page.arrive("Fay", town.box.topology.sites[0])
        await page.open_title(TITLE.name)
        await run.mark(PRESSED)
        await page.press_play()
        await without_renewals(town, page)
        await page.until_position(TOKEN_S + SKEW_S + 5.0, 60.0)
        await run.hold(Bounds(played_s=TOKEN_S + SKEW_S), record_property)
    await page.sees_a_moving_picture()
    answers = await page.answers()
    assert [answer for answer in answers if answer.status == 403] == []
    assert len({answer.token for answer in answers}) >= 4
    assert (await page.tab.value("document.querySelector('#facts').innerText.match(/Stalls\\s+(\\d+)/i)[1]")) == "0"
    assert unexpected(page.tab.errors, town.box.url("playback")) == []


async def without_renewals(town: SmallSystem, page: ViewerPage) -> None:
    """Playback is dead until three renewals failed."""
    town.box.pull_the_plug("playback")
    try:
        while sum("/renew" in error for error in page.tab.errors) < 3:
            await page.until_position(await page.position() + 0.2)
    finally:
        town.box.revive("playback")


@pytest.mark.long
async def test_the_viewer_page_renews_and_goes_on_when_an_appliance_says_that_its_token_has_ended(
    town: SmallSystem, page: ViewerPage, record_property: Callable[[str, object], None]
) -> None:
    await page.arrive("Gil", town.box.topology.sites[0])
    await page.open_title(TITLE.name)
    await page.press_play()
    await page.until_position(0.5)
    await page.tab.value("(now => { Date.now = () => now() - 3_600_000; })(Date.now)")  # its clock was put back
    await page.tab.until(
        "performance.getEntriesByType('resource').some(entry => entry.responseStatus === 403)", TOKEN_S + SKEW_S + 30.0
    )
    refused = next(answer for answer in await page.answers() if answer.status == 403)
    await page.until_position(await page.position() + 3.0)
    renewed = next(answer for answer in await page.received(refused.at_ms) if answer.file == refused.file)
    assert renewed.token != refused.token
    record_property(
        "play/renewed-s/viewer", f"{(renewed.end_ms - refused.end_ms) / 1000:.2f} (from the refusal to the next answer)"
    )
    assert renewed.end_ms - refused.end_ms < RESUMED_WITHIN_S * 1000
    await page.sees_a_moving_picture()
    assert unexpected(page.tab.errors, "403") == []


@pytest.mark.parametrize("player", PLAYERS)
async def test_no_player_causes_a_preflight_per_segment(
    town: SmallSystem, bed: PlayerBed, player: str, record_property: Callable[[str, object], None]
) -> None:
    before = await preflights(town)
    await bed.play(player, await press_play(town, TITLE.id))
    await bed.until_position(6.0)
    answers = [answer for answer in await bed.answers() if answer.status == 206]
    caused = await preflights(town) - before
    record_property(f"play/preflights/{player}", f"{caused:.0f} for {len(answers)} ranges")
    assert len(answers) >= 8
    assert all(answer.cmcd for answer in answers)
    assert caused == 0


async def test_cmcd_in_headers_costs_a_preflight_per_address_and_none_per_segment(
    town: SmallSystem, bed: PlayerBed, record_property: Callable[[str, object], None]
) -> None:
    before = await preflights(town)
    answer = await press_play(town, TITLE.id)
    by_dash = msgspec.structs.replace(answer, hls_url=answer.dash_url)
    await bed.play("shaka", by_dash, {"cmcd": {"enabled": True, "useHeaders": True}})
    await bed.until_position(6.0)
    answers = [answer for answer in await bed.answers() if answer.status == 206]
    caused = await preflights(town) - before
    record_property("play/preflights/cmcd-in-headers", f"{caused:.0f} for {len(answers)} ranges")
    assert not any(answer.cmcd for answer in answers)
    addresses = {(answer.host, answer.file) for answer in answers}
    assert 0 < caused <= 2 * len(addresses), "two requests may ask at once; then the browser remembers"


@pytest.mark.parametrize("player", ONE_HERE)
async def test_a_player_that_was_paced_on_the_lowest_rung_gets_back_to_the_top_rung(
    town: SmallSystem, bed: PlayerBed, player: str, record_property: Callable[[str, object], None]
) -> None:
    before = await count(town, "lowtide_oca_pace_changes_total")
    await bed.play(player, await press_play(town, TITLE.id), LOW_START[player], KEEP_LOW[player])
    await bed.until_position(LOW_FOR_S)
    assert {frame.height for frame in await bed.frames()} == {180}
    paced = await count(town, "lowtide_oca_pace_changes_total") - before
    assert paced > 0
    await bed.tab.value(LET_GO[player])
    at_s = await bed.until_height(360, FILM_S - LOW_FOR_S)
    record_property(
        f"play/top-rung-s/{player}",
        f"{at_s - LOW_FOR_S:.0f} of playing after it was let go ({paced:.0f} changes of pace)",
    )
