"""A worker's disks are those of the roster: read when the board says that there is another one, looked up by from then on."""

from __future__ import annotations

import asyncio
import os

from oca.config import Appliance
from oca.link.files import read_roster
from oca.link.settings import store_settings
from oca.store.pinning import read_index
from oca.store.reader import StoreReader
from oca.worker.logs import Log
from oca.worker.residency import DiskPools


class DiskFollowing:
    """`look` at every poll. Nothing is awaited but the reading of a new index into memory, in a thread."""

    def __init__(self, settings: Appliance, reader: StoreReader, pools: DiskPools, log: Log) -> None:
        self._settings = settings
        self._reader = reader
        self._pools = pools
        self._log = log
        self._task: asyncio.Task[None] | None = None

    def look(self) -> None:
        if self._reader.roster != self._reader.followed and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self.follow(), name="roster")

    async def follow(self) -> None:
        """Look up by the roster that is there now; a roster that cannot be read is read at the next look."""
        roster = read_roster(self._settings.state_dir)
        if roster is None or roster.generation == self._reader.followed:
            return
        settings = store_settings(self._settings, roster)
        for number, disk in enumerate(settings.disks):
            if not disk.removed and not self._reader.knows(number, disk.life):
                await asyncio.get_running_loop().run_in_executor(None, _warm, disk.path)
        self._pools.grow(len(settings.disks))
        self._reader.poll()
        self._reader.follow(settings, roster.generation)
        self._log.write("info", "roster", generation=roster.generation, disks=len(roster.present))
        for number, why in self._reader.unavailable.items():
            self._log.write("warning", "disk-unavailable", disk=number, detail=why)


def _warm(path: str) -> None:
    try:
        read_index(os.path.join(path, "index"))
    except OSError:
        return  # opening it meets the same, and says so
