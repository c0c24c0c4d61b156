"""`store/purge/…`: from the word of an operator to the moment when every worker obeys, while readers read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from benchmarks.serve.rows import Plain, Row, plain
from contracts.digests import BLOCK_BYTES
from contracts.triggers import TriggerType, selection_of
from oca.link.commands import PURGE, PurgeCommand, PurgeReport, keeper_socket_path
from tests.oca.appliance.crowd import End, Reader
from tests.oca.appliance.world import MIB, World, appliance_world
from tests.oca.store.harness import MadeFile

FILMS = 40
READERS = 16


async def rows(folder: Path, rounds: int, say: Callable[[str], None]) -> list[Row]:
    """Purges of one object, and of everything."""
    async with appliance_world(folder, quota_bytes=512 * MIB) as world:
        films = [world.publish(f"film-{number}.mp4", 4 * BLOCK_BYTES) for number in range(FILMS)]
        await world.start()
        readers = [world.reader() for _ in range(READERS)]
        reading = asyncio.gather(*(_read(world, reader, films, number) for number, reader in enumerate(readers)))
        try:
            await asyncio.sleep(1.0)
            one = [await purge(world, films[number % FILMS].key) for number in range(rounds)]
            everything = [await purge(world) for _ in range(rounds)]
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            for reader in readers:
                reader.close()
    words = f"ms until every worker obeys a purge of {{}}, {READERS} readers reading"
    made = [
        plain("store/purge/object-ms", words.format("one object"), one),
        plain("store/purge/all-ms", words.format("everything"), everything),
    ]
    for row in made:
        say(f"  {row.name}: {row.ours:.1f} ms")
    return made


async def purge(world: World, key: str = "") -> Plain:
    """Purge a key, or everything; milliseconds to the acknowledgement. Raises RuntimeError when the keeper refuses."""
    selection, text = selection_of(key, "", "", not key)
    wanted = PurgeCommand(TriggerType.PURGE, selection, text)
    began = time.monotonic()
    reader, writer = await asyncio.open_unix_connection(keeper_socket_path(world.state_dir))
    writer.write(PURGE + b" " + msgspec.json.encode(wanted) + b"\n")
    said = msgspec.json.decode(await reader.readline() or b"{}", type=PurgeReport)
    ms = 1000 * (time.monotonic() - began)
    writer.close()
    if said.refused or not said.number:
        raise RuntimeError(f"the keeper did not purge: {said.refused or 'it ended before'}")
    return Plain(ms, {"obeyed_ms": 1000 * said.obeyed_s})


async def _read(world: World, reader: Reader, films: list[MadeFile], number: int) -> None:
    """Until cancelled, film after film."""
    while True:
        number += 1
        found = await reader.ask(world.block(films[number % len(films)], number % 4))
        if found.end in (End.WRONG, End.HUNG):
            raise RuntimeError(f"a reader got {found}")
