"""Players whose appliance turns slow: content steering moves them to a clone of their pathway, and nothing stalls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from contracts.pathways import pathway
from contracts.places import ApplianceState, StateChange
from contracts.viewing import DeviceLimits, PlayAnswer
from tests.browser.line import Line
from tests.browser.player_bed import GOAL_S, PlayerBed, press_play
from tests.browser.run_result import Bounds, Leaving
from tests.browser.runs import Record, pathways_of, watched
from tests.browser.scenarios import LONG_FILM, behind_lines
from tests.system.small_system import SEED, SmallSystem

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.asyncio(loop_scope="session")]
TITLE = LONG_FILM.title.id
SLOW, OTHER = "a1", "a2"
SMALL_SCREEN = DeviceLimits(max_height=180)
"""One rung: no player helps itself by a smaller picture."""
SLOW_BPS = 250_000
"""Less than that rung and its sound take (about 350 kbit/s)."""
SLOWED = "its appliance slowed"
MOVED_WITHIN_S = 45.0
"""Until slow pieces have brought down what the player remembers of fast ones, it has said so twice, and has its answer."""
POLL_S = 0.5
MOST_PLAYS = 40
FOLLOWS_CLONES = ("hls.js", "dash.js")
"""Shaka Player does not: it would stay."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lines(system: SmallSystem) -> AsyncIterator[dict[str, Line]]:
    """Players reach the appliances of the first site over lines."""
    async with behind_lines(system, (SLOW, OTHER)) as made:
        yield made


async def play_at(system: SmallSystem, host: str) -> PlayAnswer:
    """A play that is all at one appliance, as soon as steering knows no other there. From several places steering moves nobody for being
    slow: it does not know which one is."""
    for _ in range(MOST_PLAYS):
        answer = await press_play(system, TITLE, SMALL_SCREEN)
        places = await pathways_of(answer.dash_url)
        if {of for (of, _file), name in places.items() if name == pathway(1)} == {host}:
            return answer
        await asyncio.sleep(POLL_S)
    raise AssertionError(f"none of {MOST_PLAYS} plays is at {host} alone: {places}")


async def put(system: SmallSystem, name: str, *states: ApplianceState) -> None:
    for state in states:
        await system.operator.put_state(name, StateChange(state, "a disk is changed"))


@pytest.mark.parametrize("player", FOLLOWS_CLONES)
async def test_an_appliance_that_turns_slow_stalls_nobody(
    system: SmallSystem, lines: dict[str, Line], bed: PlayerBed, player: str, record_property: Record
) -> None:
    host, slow = next(iter(lines.items()))
    await put(system, OTHER, ApplianceState.DRAINING)
    try:
        answer = await play_at(system, host)
    finally:
        await put(system, OTHER, ApplianceState.DRAINED, ApplianceState.MAINTENANCE, ApplianceState.LIVE)
        await system.until_live(OTHER)
    async with watched(bed.tab, "slow", player, SEED) as run:
        await bed.play_steadily(player, answer)
        slow.rate_bps = SLOW_BPS
        try:
            await run.mark(SLOWED)
            await bed.play_on(MOVED_WITHIN_S + GOAL_S, 120.0)
        finally:
            slow.rate_bps = 0
        left = Leaving(host, SLOWED, MOVED_WITHIN_S)
        result = await run.hold(Bounds(played_s=MOVED_WITHIN_S + GOAL_S, leavings=(left,)), record_property)
    assert result.heights == (180,)
    assert {told.priority[0] for told in result.steering} > {"pathway-1"}, (
        "steering moved it, not only the player itself"
    )
