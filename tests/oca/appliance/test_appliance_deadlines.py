"""How long a reader waits for what is not here: for the first byte, then for progress. Only lower bounds are asserted: the machine is busy."""

from __future__ import annotations

import asyncio
from pathlib import Path

from contracts.digests import BLOCK_BYTES
from oca.config import Fetching, Serving
from tests.oca.appliance.crowd import End
from tests.oca.appliance.origin import Mishap
from tests.oca.appliance.world import appliance_world

PATIENT_KEEPER = Fetching(first_byte_s=60.0, stall_s=60.0)
"""It goes on asking for as long as a test lasts: what ends an answer is the worker's own deadline."""


def test_a_miss_waits_three_seconds_for_its_first_byte_and_ten_for_progress() -> None:
    assert (Serving().first_byte_s, Serving().stall_s) == (3.0, 10.0)


async def test_without_a_first_byte_in_time_the_answer_is_504(tmp_path: Path) -> None:
    async with appliance_world(tmp_path, fetching=PATIENT_KEEPER) as world:
        film = world.publish("film.mp4", 4 * BLOCK_BYTES)
        world.origin.script = lambda _asked: Mishap.SILENT
        await world.start()
        found = await asyncio.gather(*(world.reader().ask(world.block(film, n)) for n in (0, 1, 1, 2)))
        assert [(one.end, one.status) for one in found] == [(End.STATUS, 504)] * 4
        assert all(one.first_s >= 2.9 for one in found)


async def test_without_progress_in_time_a_begun_answer_is_aborted(tmp_path: Path) -> None:
    serving = Serving(first_byte_s=20.0, stall_s=2.0)
    async with appliance_world(tmp_path, fetching=PATIENT_KEEPER, serving=serving) as world:
        film = world.publish("film.mp4", 4 * BLOCK_BYTES)
        world.origin.script = lambda _asked: Mishap.STALLS
        await world.start()
        found = await world.reader().ask(world.wanted(film, 0, len(film.data) - 1))
        assert found.end is End.CUT
        assert found.seconds - found.first_s >= 1.9


async def test_a_slow_source_that_makes_progress_is_waited_for(tmp_path: Path) -> None:
    serving = Serving(first_byte_s=20.0, stall_s=4.0)
    async with appliance_world(tmp_path, fetching=PATIENT_KEEPER, serving=serving) as world:
        film = world.publish("film.mp4", 5 * BLOCK_BYTES)
        world.origin.pause_s = 1.2
        await world.start()
        found = await world.reader().ask(world.wanted(film, 0, len(film.data) - 1))
        assert found.end is End.COMPLETE
        assert found.seconds > serving.stall_s, "the whole took longer than any silence may"
