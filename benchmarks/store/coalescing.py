"""`store/coalesce/…`: many readers of one cold block, on a whole appliance with two workers.

`fetches` holds the origin back until all wait. `wave` does not: the origin answers at once, and the wave is compared with the same
readers asking for the same block when it is held. `p50-ms` is what a reader who waits sees: from the origin's last byte of a block
to the first byte of its answer, so that transfer, verification and writing are in it.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable
from pathlib import Path

from benchmarks.serve.rows import Plain, Row, plain
from benchmarks.store.waves import Came, Crowd, FileMade, Wave, Waves
from contracts.digests import BLOCK_BYTES
from contracts.urls import with_token
from oca.config import Fetching, Serving
from tests.oca.appliance.world import MIB, World, appliance_world
from tests.oca.store.harness import MadeFile

WAITERS = 1000
FEW = 10
SESSION_READERS = 20
_PATIENT = Serving(first_byte_s=30.0, stall_s=30.0)
_SLOW = Fetching(first_byte_s=20.0, stall_s=20.0)


async def rows(folder: Path, rounds: int, say: Callable[[str], None], waiters: int = WAITERS) -> list[Row]:
    """All three; `folder` must be empty."""
    async with appliance_world(folder, serving=_PATIENT, fetching=_SLOW, quota_bytes=1024 * MIB) as world:
        held = world.publish("held.mp4", BLOCK_BYTES)
        await world.start()
        bench = _Bench(world, held, await Waves.start(folder / "waves.log"))
        try:
            await bench.open(waiters)
            made = [await bench.fetches(rounds), *await bench.wave(rounds)]
            await bench.open(FEW)
            made.append(await bench.delay(4 * rounds))
        finally:
            await bench.waves.close()
    for row in made:
        say(f"  {row.name}: {row.ours:.2f} {row.unit}")
    return made


class _Bench:
    def __init__(self, world: World, held: MadeFile, waves: Waves) -> None:
        self._world = world
        self._held = held
        self.waves = waves
        self._tokens = [world.token(session) for session in range(WAITERS // SESSION_READERS)]
        self._films = 0
        self._waiters = 0

    async def open(self, readers: int) -> None:
        host, port = self._world.box.address
        self._waiters = readers
        await self.waves.crowd(Crowd(host, port, readers, self._targets(self._held), _made(self._held)))

    async def fetches(self, rounds: int) -> Row:
        """Upstream requests for a cold block, all readers waiting before it comes."""
        found: list[Plain] = []
        for _ in range(rounds):
            film = self._film()
            self._world.origin.gate = asyncio.Event()
            waiting = asyncio.create_task(self._ask(film))
            await self._world.until_waiting(self._waiters)
            self._world.origin.gate.set()
            _checked(await waiting, self._waiters)
            self._world.origin.gate = None
            asked = self._world.origin.blocks_asked(self._world.path_of(film))
            found.append(Plain(float(asked[0]), {"waiters": float(self._waiters), "blocks": float(len(asked))}))
        return plain("store/coalesce/fetches", f"upstream fetches per cold block for {self._waiters} waiters", found)

    async def wave(self, rounds: int) -> list[Row]:
        """A cold block of a file that is known, and of one that nobody ever asked for: seconds / the same as hits."""
        known: list[Plain] = []
        unknown: list[Plain] = []
        for _ in range(rounds):
            film = self._film(2)
            for block, ratios in ((0, unknown), (1, known)):
                cold = _checked(await self._ask(film, block), self._waiters)
                hits = [_checked(await self._ask(film, block), self._waiters).seconds for _ in range(3)]
                hit = statistics.median(hits)
                facts = {
                    "cold_s": cold.seconds,
                    "hit_s": hit,
                    "first_hit_s": hits[0],
                    "first_byte_s": min(cold.first_at) - max(cold.first_at) + cold.seconds,
                }
                ratios.append(Plain(cold.seconds / hit, facts))
        words = f"time for {self._waiters} readers of a cold block / the same as hits"
        return [
            plain("store/coalesce/wave", words, known),
            plain("store/coalesce/wave-new-file", f"{words}; nothing known of the file", unknown),
        ]

    async def delay(self, rounds: int) -> Row:
        """Milliseconds from the origin's last byte of a block to a waiter's first byte, the median of all waiters."""
        found: list[Plain] = []
        self._world.origin.delay_s = 0.2  # so that all wait before the block comes
        for _ in range(rounds):
            film = self._film()
            came = _checked(await self._ask(film), self._waiters)
            sent_at = self._world.origin.last_byte_at[self._world.path_of(film), 0]
            late_ms = sorted(1000 * (at - sent_at) for at in came.first_at)
            found.append(Plain(statistics.median(late_ms), {"first_ms": late_ms[0], "last_ms": late_ms[-1]}))
        self._world.origin.delay_s = 0.0
        words = f"ms from the origin's last byte of a block to the first byte at each of {self._waiters} waiters"
        return plain("store/coalesce/p50-ms", words, found)

    async def _ask(self, film: MadeFile, block: int = 0) -> Came:
        first = block * BLOCK_BYTES
        return await self.waves.wave(Wave(self._targets(film), _made(film), first, first + BLOCK_BYTES - 1))

    def _film(self, blocks: int = 1) -> MadeFile:
        """One that nobody has asked for yet."""
        self._films += 1
        return self._world.publish(f"film-{self._films}.mp4", blocks * BLOCK_BYTES)

    def _targets(self, film: MadeFile) -> tuple[str, ...]:
        path = self._world.path_of(film)
        return tuple(with_token(token, path) for token in self._tokens)


def _made(film: MadeFile) -> FileMade:
    return FileMade(film.key, len(film.data), 0)


def _checked(came: Came, waiters: int) -> Came:
    if came.ends != {"complete": waiters}:
        raise RuntimeError(f"a wave was not answered in full: {came.ends}")
    return came
