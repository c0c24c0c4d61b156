"""What goes wrong with an appliance in a soak: one method per kind, each leaves the world so that it can recover."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from enum import Enum

import msgspec

from contracts.triggers import TriggerType, selection_of
from oca.link.commands import PURGE, PurgeCommand, PurgeReport, keeper_socket_path
from tests.oca.appliance.origin import Asked, Mishap
from tests.oca.appliance.world import World
from tests.oca.store.harness import MadeFile

PURGE_PATIENCE_S = 60.0
SPOILED_SHARE = 0.3
LOST_S = 1.5


class Event(Enum):
    """The value is for reports."""

    WORKER_KILLED = "worker killed"
    KEEPER_KILLED = "keeper killed"
    FILE_CHANGED = "file changed and purged"
    DISK_LOST = "disk without its files, back with the next keeper"
    ORIGIN_FAILS = "origin failing for a while"


class Chaos:
    """Over one running world."""

    def __init__(self, world: World, seed: int) -> None:
        self.events: Counter[Event] = Counter()
        self._world = world
        self._rng = random.Random(seed)
        self._editions: Counter[str] = Counter()
        self._spoiled_until = 0.0
        world.origin.script = self._script

    def kill_worker(self) -> bool:
        """SIGKILL to any worker; False when none is there."""
        pids = self._world.box.children("oca.worker")
        if not pids:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._rng.choice(pids), signal.SIGKILL)
        self.events[Event.WORKER_KILLED] += 1
        return True

    async def kill_keeper(self) -> None:
        """SIGKILL to the keeper, when there is one."""
        if self._world.kill_keeper() is not None:
            self.events[Event.KEEPER_KILLED] += 1

    async def change(self, film: MadeFile, name: str) -> tuple[MadeFile, float]:
        """Publish other bytes under the same name and purge the old ones; the new film, and ms until every worker obeyed.

        Tried again while there is no keeper: a purge that was not acknowledged may or may not have happened.
        """
        self._editions[name] += 1
        new = self._world.publish(name, len(film.data), self._editions[name])
        began = time.monotonic()
        await purged(self._world, film.key)
        self.events[Event.FILE_CHANGED] += 1
        return new, 1000 * (time.monotonic() - began)

    async def lose_disk(self) -> None:
        """A disk's files are not there for a while; the keeper that comes next takes stock of it."""
        extents = self._world.disk(self._rng.randrange(self._world.disks)) / "extents"
        away = extents.with_name("extents-away")
        extents.rename(away)
        try:
            await asyncio.sleep(LOST_S)
        finally:
            away.rename(extents)
        self._world.kill_keeper()
        self.events[Event.DISK_LOST] += 1

    def spoil_origin(self) -> None:
        """For some seconds every third answer suffers something."""
        self._spoiled_until = time.monotonic() + self._rng.uniform(1.0, 5.0)
        self.events[Event.ORIGIN_FAILS] += 1

    async def end(self) -> None:
        """Nothing goes wrong any more."""
        self._spoiled_until = 0.0
        await self._world.until(
            lambda: len(self._world.box.children("oca.worker")) == self._world.serving.workers, 60.0
        )
        await self._world.until_keeper_serves(None, 60.0)

    def _script(self, _asked: Asked) -> Mishap:
        if time.monotonic() >= self._spoiled_until or self._rng.random() >= SPOILED_SHARE:
            return Mishap.NONE
        return self._rng.choice([mishap for mishap in Mishap if mishap is not Mishap.NONE])


async def purged(world: World, key: str = "") -> None:
    """Purge a key, or everything; returns when every worker obeys. Raises AssertionError when that takes too long."""
    selection, text = selection_of(key, "", "", not key)
    order = PURGE + b" " + msgspec.json.encode(PurgeCommand(TriggerType.PURGE, selection, text)) + b"\n"
    end = time.monotonic() + PURGE_PATIENCE_S
    said = PurgeReport()
    while not said.number:
        assert time.monotonic() < end, f"the purge of {key or 'everything'} is not acknowledged: {said.refused}"
        try:
            reader, writer = await asyncio.open_unix_connection(keeper_socket_path(world.state_dir))
        except OSError:
            await asyncio.sleep(0.05)
            continue
        try:
            writer.write(order)
            said = msgspec.json.decode(await reader.readline() or b"{}", type=PurgeReport)
        except OSError:
            said = PurgeReport()
        finally:
            writer.close()
        if not said.number:
            await asyncio.sleep(0.1)
