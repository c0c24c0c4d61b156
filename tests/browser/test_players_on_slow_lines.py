"""Players whose appliance turns slow: content steering moves them to another one, and nothing stalls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from contracts.pathways import ORIGIN_PATHWAY, pathway
from contracts.places import ApplianceState, StateChange
from contracts.viewing import DeviceLimits, PlayAnswer
from tests.browser.line import Line
from tests.browser.player_bed import GOAL_S, PlayerBed, press_play
from tests.browser.run_result import Bounds, Leaving, RunResult
from tests.browser.runs import Record, pathways_of, watched
from tests.browser.scenarios import LONG_FILM, SLOW_MOVE_S, behind_lines
from tests.system.small_system import SEED, SmallSystem

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.asyncio(loop_scope="session")]
TITLE = LONG_FILM.title.id
SLOW, OTHER = "a1", "a2"
SMALL_SCREEN = DeviceLimits(max_height=180)
"""One rung: no player helps itself by a smaller picture."""
SLOW_BPS = 250_000
"""Less than that rung and its sound take (about 350 kbit/s)."""
SLOWED = "its appliance slowed"
MOVED_WITHIN_S = 45.0 + SLOW_MOVE_S
"""Until slow pieces have brought down what the player remembers of fast ones, it has said so twice, and has its answer; and once more, where it was
sent to the slow one of two alone."""
POLL_S = 0.5
MOST_PLAYS = 40
FOLLOWS_CLONES = ("hls.js", "dash.js")
"""Shaka Player does not, and goes to pathways of the manifest only."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lines(system: SmallSystem) -> AsyncIterator[dict[str, Line]]:
    """Players reach the appliances of the first site over lines."""
    async with behind_lines(system, (SLOW, OTHER)) as made:
        yield made


async def play_at(system: SmallSystem, host: str) -> PlayAnswer:
    """A play that is all at one appliance, as soon as steering knows no other there: its manifest names no other either."""
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
async def test_who_plays_from_an_appliance_that_turns_slow_is_moved_to_a_clone_of_its_pathway(
    system: SmallSystem, lines: dict[str, Line], bed: PlayerBed, player: str, record_property: Record
) -> None:
    host = next(iter(lines))
    await put(system, OTHER, ApplianceState.DRAINING)
    try:
        answer = await play_at(system, host)
    finally:
        await put(system, OTHER, ApplianceState.DRAINED, ApplianceState.MAINTENANCE, ApplianceState.LIVE)
        await system.until_live(OTHER)
    result = await slowed(bed, answer, player, lines, host, record_property)
    assert {told.priority[0] for told in result.steering} > {"pathway-1"}, (
        "steering moved it, not only the player itself"
    )


async def test_who_plays_from_all_appliances_of_a_site_is_moved_to_one_of_them_when_one_turns_slow(
    system: SmallSystem, lines: dict[str, Line], bed: PlayerBed, record_property: Record
) -> None:
    answer = await press_play(system, TITLE, SMALL_SCREEN)
    places = await pathways_of(answer.dash_url)
    assert {of for (of, _file), name in places.items() if name != ORIGIN_PATHWAY} == set(lines)
    picture = next(of for (of, file), name in places.items() if name == pathway(1) and file.startswith("v-"))
    result = await slowed(bed, answer, "shaka", lines, picture, record_property)
    moved = {told.priority[0] for told in result.steering} - {pathway(1)}
    assert moved
    assert moved <= set(places.values()), "no clones, which Shaka Player does not read"


async def slowed(
    bed: PlayerBed, answer: PlayAnswer, player: str, lines: dict[str, Line], host: str, record_property: Record
) -> RunResult:
    """A run in which a host turns slow, is left for it, and nothing stalls."""
    async with watched(bed.tab, "slow", player, SEED) as run:
        await bed.play_steadily(player, answer)
        lines[host].rate_bps = SLOW_BPS
        try:
            await run.mark(SLOWED)
            await bed.play_on(MOVED_WITHIN_S + GOAL_S, 120.0)
        finally:
            lines[host].rate_bps = 0
        left = Leaving(host, SLOWED, MOVED_WITHIN_S)
        result = await run.hold(Bounds(played_s=MOVED_WITHIN_S + GOAL_S, leavings=(left,)), record_property)
    assert result.heights == (180,)
    return result
