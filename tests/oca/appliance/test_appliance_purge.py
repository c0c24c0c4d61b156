"""Purges on a whole appliance: once it is acknowledged no worker serves what was purged, whoever died on the way."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from contracts.triggers import Selection, TriggerType
from oca.config import Serving
from tests.oca.appliance.crowd import End
from tests.oca.appliance.world import MIB, World, appliance_world
from tests.oca.store.harness import MadeFile


async def everybody_gets(world: World, file: MadeFile) -> None:
    """Twelve new connections, so that every worker is asked."""
    readers = [world.reader() for _ in range(12)]
    answers = await asyncio.gather(*(reader.ask(world.wanted(file, 0, len(file.data) - 1)) for reader in readers))
    assert [answer.end for answer in answers] == [End.COMPLETE] * 12


@pytest.mark.parametrize("killed", [None, "oca.keeper", "oca.worker"])
async def test_behind_the_acknowledgement_of_a_purge_every_worker_serves_what_is_published_now(
    tmp_path: Path, killed: str | None
) -> None:
    async with appliance_world(tmp_path, serving=Serving(workers=2)) as world:
        film = world.publish("film.mp4", MIB)
        await world.start()
        await everybody_gets(world, film)
        newer = world.publish("film.mp4", MIB, seed=8)
        await world.plane.trigger(TriggerType.PURGE, Selection.OBJECT, film.key)
        if killed == "oca.keeper":
            world.kill_keeper()
        elif killed == "oca.worker":
            world.kill_worker()
        await world.until(lambda: world.plane.applied[-1] == 1, 30.0)
        await everybody_gets(world, newer)


async def test_what_was_purged_while_the_appliance_was_off_is_not_served_once_it_says_that_it_serves(
    tmp_path: Path,
) -> None:
    async with appliance_world(tmp_path, serving=Serving(workers=2)) as world:
        film = world.publish("film.mp4", MIB)
        await world.start()
        await everybody_gets(world, film)
        await world.stop_appliance()
        newer = world.publish("film.mp4", MIB, seed=8)
        await world.plane.trigger(TriggerType.PURGE, Selection.ALL)
        world.plane.beats.clear()
        await world.start()
        await world.until(lambda: world.plane.beats and world.plane.beats[-1].serving, 30.0)
        assert world.plane.applied[-1] == 1
        await everybody_gets(world, newer)
