"""Hot extents go to hot disks, once a minute, at most `store.promote_bytes_per_minute`. What is chosen: `oca.store.promotion`."""

from __future__ import annotations

import asyncio

from chassis.clock import Clock
from chassis.logs import get_logger
from oca.keeper.lineup import Lineup
from oca.store.disk_writer import DiskWriter
from oca.store.errors import DiskFailed
from oca.store.extents import split_index_key
from oca.store.moving import MoveEnd, MoveReason
from oca.store.placement import DiskClass
from oca.store.promotion import Choice, Heat, Resident, choose
from oca.store.writer import StoreWriter

ROUND_S = 60.0
LET_GO_S = 0.3
LET_GO_TRIES = 4


class Promoting:
    """Counts only where there are disks of both classes."""

    def __init__(self, store: StoreWriter, lineup: Lineup, bytes_per_minute: int, clock: Clock) -> None:
        self._store = store
        self._lineup = lineup
        self._budget = bytes_per_minute
        self._clock = clock
        self.heat = Heat()
        self._log = get_logger("oca.keeper.promoting")

    async def run(self) -> None:
        """Ends by cancellation, or at once with a budget of 0."""
        while self._budget:
            self.listen()
            await self._clock.sleep(ROUND_S)
            self.heat.cool(ROUND_S)
            if self._store.arrangement.has_classes:
                await self.round()

    def listen(self) -> None:
        """Hear the access marks of every disk, of those that joined meanwhile too."""
        for disk in self._store.disks.values():
            disk.heard = self.heat.add if self._store.arrangement.has_classes else None

    async def round(self) -> dict[MoveReason, int]:
        """Choose and move; how many extents were moved, by reason."""
        done = dict.fromkeys((MoveReason.PROMOTE, MoveReason.DEMOTE), 0)
        for choice in await asyncio.to_thread(self._choose):
            try:
                end = await self._move(choice)
            except DiskFailed as error:
                self._log.warning("promotion-stopped", detail=str(error))
                break
            done[choice.reason] += end in (MoveEnd.MOVED, MoveEnd.MERGED)
        return done

    async def _move(self, choice: Choice) -> MoveEnd:
        """Space of what has just made way is free when the workers have let go of it."""
        source, target, extent_id, reason = choice.source, choice.target, choice.extent_id, choice.reason
        evict = reason is MoveReason.DEMOTE
        tries = 1
        while (end := await self._lineup.move(source, target, extent_id, reason, evict=evict)) is MoveEnd.NO_ROOM:
            if tries == LET_GO_TRIES:
                break
            tries += 1
            await self._clock.sleep(LET_GO_S)
        return end

    def _choose(self) -> list[Choice]:
        hot, cold = self._of(DiskClass.HOT), self._of(DiskClass.COLD)
        room = {number: disk.room_bytes for number, disk in hot.items()}
        wanted: list[Resident] = []
        for identity, heat in self.heat.hottest():
            hashed, number = split_index_key(identity)
            for disk in cold.values():
                extent = disk.holdings.find(hashed, number)
                other = self._best(hashed, number, hot)
                if extent is not None and other is not None and not extent.busy:
                    wanted.append(Resident(disk.number, extent.extent_id, extent.size, heat, other))
        if not wanted:
            return []
        residents: list[Resident] = []
        for disk in hot.values():
            for extent in list(disk.holdings.extents.values()):
                other = self._best(extent.object.hashed, extent.number, cold)
                if other is not None and not extent.busy:
                    heat = self.heat.of(extent.identity)
                    residents.append(Resident(disk.number, extent.extent_id, extent.size, heat, other))
        return choose(wanted, residents, room, self._budget)

    def _of(self, wanted: DiskClass) -> dict[int, DiskWriter]:
        places = self._store.arrangement.places
        return {
            number: disk
            for number, disk in self._store.disks.items()
            if disk.failure is None and not disk.read_only and number in places and places[number].disk_class is wanted
        }

    def _best(self, hashed: bytes, number: int, among: dict[int, DiskWriter]) -> int | None:
        return next(self._store.arrangement.ranks_below(hashed, number, list(among)), None)
