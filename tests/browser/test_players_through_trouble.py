"""Three players while appliances are killed, drained and slowed: nothing stalls, and a result of each run lies in `build/players`."""

from __future__ import annotations

import pytest

from tests.browser.player_bed import GOAL_S, KEEP_LOW, LET_GO, PLAYERS, SMALL_BUFFER, STEADY, PlayerBed, press_play
from tests.browser.run_result import Bounds
from tests.browser.runs import Record, watched
from tests.browser.scenarios import LONG_FILM, STEERED_WITHIN_S, in_maintenance, squeezed, without_power
from tests.system.small_system import SEED, SmallSystem

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="session")]
FORGIVEN_WITHIN_S = 120.0
"""dash.js stays off a rung that it had to give up until that is a small share of its last pieces, about a minute."""
TITLE = LONG_FILM.title.id


def mostly(chosen: str) -> list[object]:
    """One player in `make test-system`, all in `make test-players`."""
    return [player if player == chosen else pytest.param(player, marks=pytest.mark.long) for player in PLAYERS]


@pytest.mark.parametrize("player", mostly("dash.js"))
async def test_a_player_starts_and_seeks(
    system: SmallSystem, bed: PlayerBed, player: str, record_property: Record
) -> None:
    async with watched(bed.tab, "seek", player, SEED) as run:
        answer = await press_play(system, TITLE)
        await bed.play(player, answer, STEADY[player])
        await bed.play_on(3.0)
        for place_s in (120.0, 200.0, 30.0):
            await run.mark(f"seek to {place_s:.0f} s")
            await bed.jump(place_s)
        await run.hold(Bounds(played_s=8.0), record_property)


@pytest.mark.parametrize("player", mostly("shaka"))
async def test_quality_follows_the_hand_and_the_network(
    system: SmallSystem, bed: PlayerBed, player: str, record_property: Record
) -> None:
    async with watched(bed.tab, "quality", player, SEED) as run:
        answer = await press_play(system, TITLE)
        await bed.play(player, answer, SMALL_BUFFER[player], KEEP_LOW[player])
        await bed.until_height(180, 30.0)
        await run.mark("let go")
        await bed.tab.value(LET_GO[player])
        await bed.until_height(360, 60.0)
        async with squeezed(bed.tab, run, 700_000):
            await bed.until_height(180, 60.0)
        await bed.until_height(360, FORGIVEN_WITHIN_S)
        result = await run.hold(Bounds(), record_property)
        assert result.switches.quality >= 3


@pytest.mark.parametrize("player", mostly("hls.js"))
async def test_an_appliance_that_is_killed_and_returns_stalls_nobody(
    system: SmallSystem, bed: PlayerBed, player: str, record_property: Record
) -> None:
    async with watched(bed.tab, "kill", player, SEED) as run:
        host = await bed.play_steadily(player, await press_play(system, TITLE))
        async with without_power(system, system.appliance_at(host), run) as away:
            await bed.play_on(GOAL_S + 2)
            await run.mark("seek to 150 s")
            await bed.jump(150.0)
            await run.mark("seek to 20 s")
            await bed.jump(20.0)
        await bed.play_on(4.0)
        # Who is dead harms nobody by being asked: Shaka Player does so with a seek, before it goes where steering says.
        bounds = Bounds(played_s=GOAL_S, leavings=(away.leaving(host, None),))
        await run.hold(bounds, record_property)


@pytest.mark.parametrize("player", mostly("dash.js"))
async def test_steering_moves_players_off_an_appliance_that_is_drained_within_one_ttl(
    system: SmallSystem, bed: PlayerBed, player: str, record_property: Record
) -> None:
    async with watched(bed.tab, "drain", player, SEED) as run:
        host = await bed.play_steadily(player, await press_play(system, TITLE))
        async with in_maintenance(system, system.appliance_at(host), run) as away:
            await bed.play_on(2 * STEERED_WITHIN_S)
        await bed.play_on(4.0)
        bounds = Bounds(played_s=2 * STEERED_WITHIN_S, leavings=(away.leaving(host),))
        await run.hold(bounds, record_property)
