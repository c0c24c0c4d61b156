"""Three players whose appliance turns slow: content steering moves them, and nothing stalls."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from contracts.viewing import DeviceLimits
from tests.browser.line import Line
from tests.browser.player_bed import GOAL_S, PLAYERS, STEADY, PlayerBed, press_play
from tests.browser.run_result import Bounds, Leaving
from tests.browser.runs import Record, watched
from tests.browser.scenarios import LONG_FILM, behind_lines
from tests.system.small_system import SEED, SmallSystem

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.asyncio(loop_scope="session")]
TITLE = LONG_FILM.title.id
SLOW_BPS = 150_000
"""Less than the lowest rung takes."""
SMALL_SCREEN = DeviceLimits(max_height=180)
"""One rung: no player helps itself by a smaller picture, and picture and sound come from one appliance."""
SLOWED = "its appliance slowed"
MOVED_WITHIN_S = 30.0
"""Two reports of pieces that took their time at that rate, and an answer to them."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lines(system: SmallSystem) -> AsyncIterator[dict[str, Line]]:
    """Players reach the appliances of the first site over lines."""
    async with behind_lines(system, ("a1", "a2")) as made:
        yield made


@pytest.mark.parametrize("player", PLAYERS)
async def test_an_appliance_that_turns_slow_stalls_nobody(
    system: SmallSystem, lines: dict[str, Line], bed: PlayerBed, player: str, record_property: Record
) -> None:
    async with watched(bed.tab, "slow", player, SEED) as run:
        answer = await press_play(system, TITLE, SMALL_SCREEN)
        await bed.play(player, answer, STEADY[player])
        await bed.until_buffered(GOAL_S - 4)
        slow = lines[await bed.host()]
        slow.rate_bps = SLOW_BPS
        try:
            await run.mark(SLOWED)
            await bed.play_on(MOVED_WITHIN_S + GOAL_S / 2, 120.0)
        finally:
            slow.rate_bps = 0
        left = Leaving(slow.host, SLOWED, MOVED_WITHIN_S)
        result = await run.hold(Bounds(played_s=MOVED_WITHIN_S + GOAL_S / 2, leavings=(left,)), record_property)
    assert result.heights == (180,)
    assert {told.priority[0] for told in result.steering} > {"pathway-1"}, (
        "steering moved it, not only the player itself"
    )
