"""One fetch per block for a thousand readers, on real processes: supervisor, two workers, keeper."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path

from msgspec.structs import replace

from contracts.digests import BLOCK_BYTES
from contracts.plans import SourceKind
from oca.config import Fetching, Serving
from tests.oca.appliance.crowd import End, Reader, ends
from tests.oca.appliance.origin import Asked, Mishap, Origin
from tests.oca.appliance.world import MIB, World, appliance_world

PATIENT = Serving(first_byte_s=30.0, stall_s=30.0)
"""A thousand readers on a busy machine are not to be judged by deadlines."""
SLOW = Fetching(first_byte_s=20.0, stall_s=20.0, hedge_s=0.0)


async def readers_of(world: World, count: int) -> list[Reader]:
    readers = [world.reader() for _ in range(count)]
    for start in range(0, count, 100):
        assert all(await asyncio.gather(*(reader.open() for reader in readers[start : start + 100])))
    return readers


async def test_a_thousand_waiters_for_cold_blocks_cost_one_fetch_per_block(tmp_path: Path) -> None:
    async with appliance_world(tmp_path, serving=PATIENT, fetching=SLOW) as world:
        film = world.publish("film.mp4", 2 * MIB + 100)
        world.origin.gate = asyncio.Event()
        await world.start()
        tokens = [world.token(session) for session in range(40)]
        readers = await readers_of(world, 1000)
        asks = [
            asyncio.create_task(reader.ask(world.block(film, number % 9, tokens[number % 40])))
            for number, reader in enumerate(readers)
        ]
        await world.until_waiting(1000)
        world.origin.gate.set()
        found = await asyncio.gather(*asks)
        assert ends(found) == {"complete": 1000}
        assert world.origin.blocks_asked(world.path_of(film)) == dict.fromkeys(range(9), 1)
        for reader in readers:
            reader.close()


async def test_blocks_wake_their_waiters_one_by_one_before_the_fetch_has_ended(tmp_path: Path) -> None:
    async with appliance_world(tmp_path, serving=PATIENT, fetching=SLOW) as world:
        film = world.publish("film.mp4", 4 * BLOCK_BYTES)
        steps = world.origin.steps = [asyncio.Event() for _ in range(4)]
        await world.start()
        whole = [world.reader() for _ in range(10)]
        asks = [asyncio.create_task(reader.ask(world.wanted(film, 0, len(film.data) - 1))) for reader in whole]
        await world.until_waiting(10)
        for number in range(3):
            steps[number].set()
            await world.until(functools.partial(_all_have, whole, (number + 1) * BLOCK_BYTES), 20.0)
        steps[3].set()
        assert ends(await asyncio.gather(*asks)) == {"complete": 10}
        assert world.origin.blocks_asked(world.path_of(film)) == dict.fromkeys(range(4), 1)


async def test_readers_that_leave_stop_nothing(tmp_path: Path) -> None:
    async with appliance_world(tmp_path, serving=PATIENT, fetching=SLOW) as world:
        film = world.publish("film.mp4", MIB)
        world.origin.gate = asyncio.Event()
        await world.start()
        readers = await readers_of(world, 40)
        asks = [asyncio.create_task(reader.ask(world.block(film, 1))) for reader in readers]
        await world.until(lambda: world.origin.blocks_asked(world.path_of(film)))
        await world.until_waiting(40)
        for reader in readers:
            reader.leave()
        assert ends(await asyncio.gather(*asks)) == {"broken": 40}
        await world.until(lambda: world.keeper_metric("lowtide_keeper_waiting_wants") == 0, 20.0)
        world.origin.gate.set()
        await world.until(lambda: world.keeper_metric("lowtide_keeper_fetched_bytes_total") >= BLOCK_BYTES, 20.0)
        late = await world.reader().ask(world.block(film, 1))
        assert late.end is End.COMPLETE
        assert world.origin.blocks_asked(world.path_of(film)) == {1: 1}, "what they had asked for went on without them"


async def test_a_fetch_that_fails_fails_over_for_all_who_wait(tmp_path: Path) -> None:
    async with appliance_world(tmp_path, serving=PATIENT, fetching=SLOW) as world:
        film = world.publish("film.mp4", MIB)
        broken = Origin(dict(world.origin.files), _ends, gate=asyncio.Event(), name="broken")
        await broken.start()
        # A tier, so that it is asked before the origin: of one kind the object's own is first.
        world.further_parents = (replace(broken.ranked, kind=SourceKind.TIER),)
        await world.start()
        readers = await readers_of(world, 200)
        tokens = [world.token(session) for session in range(10)]
        asks = [
            asyncio.create_task(reader.ask(world.wanted(film, 0, MIB - 1, tokens[number % 10])))
            for number, reader in enumerate(readers)
        ]
        await world.until_waiting(200)
        assert broken.gate is not None
        broken.gate.set()
        assert ends(await asyncio.gather(*asks)) == {"complete": 200}
        path = world.path_of(film)
        assert set(broken.blocks_asked(path).values()) == {1}
        assert set(world.origin.blocks_asked(path).values()) == {1}
        assert 0 not in world.origin.blocks_asked(path), "what the first one delivered is not asked for again"
        await broken.close()


def _all_have(readers: list[Reader], count_bytes: int) -> bool:
    """True when so much has come to all; more cannot have come to any, because the origin holds it back."""
    assert all(reader.received <= count_bytes for reader in readers)
    return all(reader.received == count_bytes for reader in readers)


def _ends(_asked: Asked) -> Mishap:
    return Mishap.ENDS
