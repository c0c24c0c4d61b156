"""The disks of the moment, on the keeper's side: follows the roster, empties what drains, probes what takes part.

- **Follow.** When the board shows another generation, `run/disks.json` is read: disks join, drain, come back or leave, each alone. New
  extents go to a disk only when every worker has said that it looks there.
- **Move.** One extent at a time, at most `store.move_bytes_per_s` on average: off disks that drain; worse copies onto the better one.
- **Probe.** Every half second each disk is asked whether it is still there, still the same, still writable and still readable, past the
  page cache: an idle disk that fails is out within a second, before anybody asks for its files.

A disk that was taken out stays out until somebody adds it again: whether it is sound is not for a program to guess.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from dataclasses import replace

import lmdb

from chassis.clock import Clock
from chassis.logs import get_logger
from oca.config import Appliance
from oca.keeper.metrics import KeeperMetrics
from oca.keeper.storing import TICK_S, Storing
from oca.keeper.tidying import Tidying
from oca.link.files import DiskStatus, read_roster
from oca.link.settings import store_settings
from oca.store.disk_writer import DiskWriter
from oca.store.disks import DiskSettings
from oca.store.errors import DiskFailed, NoSpace, StoreError
from oca.store.moving import MoveEnd, MoveReason, move_extent
from oca.store.probing import Probe
from oca.store.writer import StoreWriter

PROBE_EVERY_S = 0.5
MOVE_LOOK_S = 1.0
SURVEY_AGAIN_S = 600.0
STUCK_S = 30.0
"""How long a draining disk of which nothing could be moved is left alone: what it has fits nowhere, or it is read-only."""
TAKES_PART, JOINING, DRAINING, DRAINED, OUT = "takes part", "joining", "draining", "drained", "out"


class Lineup:
    """`run`, `run_moves` and `run_probes` side by side. `changed` is told when the control plane should hear of it."""

    def __init__(
        self, settings: Appliance, storing: Storing, tidying: Tidying, metrics: KeeperMetrics, clock: Clock
    ) -> None:
        self._settings = settings
        self._storing = storing
        self._store: StoreWriter = storing.store
        self._tidying = tidying
        self._board = storing.store.board
        self._metrics = metrics
        self._clock = clock
        self._followed = 0
        self._joining: dict[int, int] = {}
        self._drained: set[int] = set()
        self._moving = asyncio.Lock()
        self._stuck_until_s: dict[int, float] = {}
        self._surveyed_s = 0.0
        self._probes: dict[int, Probe] = {}
        self._log = get_logger("oca.keeper.lineup")
        self.changed: Callable[[], None] = lambda: None
        storing.disk_failed = self._failed

    async def run(self) -> None:
        """Ends by cancellation."""
        while True:
            if self._board.roster != self._followed:
                await self._follow()
            seen = self._board.roster_seen_by_all()
            for number in [number for number, generation in self._joining.items() if generation <= seen]:
                del self._joining[number]
                if number in self._store.disks:
                    self._store.use(number)
                    self._log.info("disk-takes-part", disk=self._store.disks[number].path)
                    self.changed()
            self._storing.look_for_failures()
            await self._clock.sleep(TICK_S)

    async def _follow(self) -> None:
        roster = read_roster(self._settings.state_dir)
        if roster is None:
            return
        known = self._store.settings.disks
        wanted = store_settings(self._settings, roster).disks
        self._store.settings = replace(self._store.settings, disks=wanted)
        for number, disk in enumerate(wanted):
            before = known[number] if number < len(known) else None
            if disk.removed:
                if before is not None and not before.removed:
                    await self._leave(number)
            elif before is None or before.life != disk.life:
                await self._join(number, disk, roster.generation)
            elif before.draining != disk.draining and number in self._store.disks:
                (self._store.drain if disk.draining else self._store.use)(number)
                self._drained.discard(number)
                self._log.info("disk-drains" if disk.draining else "disk-stays", disk=disk.path)
        self._followed = roster.generation
        self.changed()

    async def _join(self, number: int, disk: DiskSettings, generation: int) -> None:
        async with self._moving, self._tidying.halted():
            earlier = self._store.detach(number, "it comes back")
            if earlier is not None:
                await self._storing.alone(earlier, functools.partial(self._store.close_detached, earlier))
            try:
                joining = await asyncio.to_thread(self._store.open_disk, number, disk)
            except (StoreError, OSError, lmdb.Error) as error:
                self._store.unavailable[number] = str(error)
                self._log.error("disk-does-not-join", disk=disk.path, detail=str(error))
                return
            self._store.attach(joining)
        self._storing.joined(number)
        self._drained.discard(number)
        self._joining[number] = generation
        self._log.info("disk-joins", disk=disk.path, extents=joining.recovery.extents, clean=joining.recovery.clean)

    async def _leave(self, number: int) -> None:
        async with self._moving, self._tidying.halted():
            disk = self._store.detach(number, "removed")
            self._joining.pop(number, None)
            if disk is not None:
                await self._storing.alone(disk, functools.partial(self._store.close_detached, disk))
                self._log.info("disk-removed", disk=disk.path)

    def _failed(self, disk: DiskWriter) -> None:
        assert disk.failure is not None, "told of a disk that was taken out"
        self._metrics.disk_failures.labels(str(disk.number)).inc()
        self.changed()

    # -- moving ----------------------------------------------------------------------------------------------------

    async def run_moves(self) -> None:
        """Ends by cancellation."""
        while True:
            try:
                for number in self._draining():
                    await self._empty(number)
                await self._survey()
            except DiskFailed as error:
                self._log.warning("moves-stopped", detail=str(error))
            await self._clock.sleep(MOVE_LOOK_S)

    def _draining(self) -> list[int]:
        return [
            disk.number
            for disk in self._store.disks.values()
            if disk.failure is None and disk.draining and disk.number not in self._joining
        ]

    def _usable(self, but: int) -> list[int]:
        return [
            disk.number
            for disk in self._store.disks.values()
            if disk.failure is None and not disk.read_only and disk.number != but
        ]

    async def _empty(self, number: int) -> None:
        disk = self._store.disks.get(number)
        now_s = self._clock.monotonic_s()
        if disk is None or number in self._drained or now_s < self._stuck_until_s.get(number, now_s):
            return
        began = len(disk.holdings.extents)
        for extent_id, extent in list(disk.holdings.extents.items()):
            if not disk.draining:
                return
            place = self._store.arrangement.places.get(number)
            wanted = place.disk_class if place is not None else None
            hashed, ordinal = extent.object.hashed, extent.number
            for target in self._store.arrangement.ranks_below(hashed, ordinal, self._usable(number), wanted):
                if await self.move(number, target, extent_id, MoveReason.DRAIN, evict=True) is not MoveEnd.NO_ROOM:
                    break
        if began and len(disk.holdings.extents) == began:
            self._stuck_until_s[number] = self._clock.monotonic_s() + STUCK_S
            self._log.warning("disk-cannot-drain", disk=disk.path, extents=began, again_in_s=STUCK_S)
        if not disk.holdings.extents and disk.draining:
            await self._storing.keep_house(functools.partial(self._store.move_pulled, number))
            self._drained.add(number)
            self._log.info("disk-drained", disk=disk.path)

    async def _survey(self) -> None:
        now_s = self._clock.monotonic_s()
        stale = self._board.reach > 1 and now_s - self._surveyed_s > SURVEY_AGAIN_S
        if self._store.arrangement.surveyed and not stale:
            return
        worse = await self._storing.survey()
        self._surveyed_s = now_s
        for number, extent_id in worse:
            disk = self._store.disks.get(number)
            extent = disk.holdings.extents.get(extent_id) if disk is not None else None
            if extent is None:
                continue
            other = next(
                (
                    n
                    for n in self._usable(number)
                    if self._store.disks[n].holdings.find(extent.object.hashed, extent.number)
                ),
                None,
            )
            if other is not None:
                await self.move(number, other, extent_id, MoveReason.DUPLICATE, evict=True)

    async def move(self, source: int, target: int, extent_id: int, reason: MoveReason, *, evict: bool) -> MoveEnd:
        """One extent, then a pause for what it cost. Raises DiskFailed."""
        async with self._moving:
            here, there = self._store.disks.get(source), self._store.disks.get(target)
            extent = here.holdings.extents.get(extent_id) if here is not None else None
            if here is None or there is None or extent is None:
                return MoveEnd.GONE
            self._store.arrangement.note(extent.object.hashed, extent.number, target)
            try:
                moved = await asyncio.to_thread(move_extent, here, there, extent_id, evict=evict)
            except NoSpace:
                return MoveEnd.NO_ROOM
        self._metrics.moves.labels(reason.value, moved.end.value).inc()
        self._metrics.moved_bytes.labels(reason.value).inc(moved.bytes_moved)
        await self._clock.sleep(moved.bytes_moved / self._settings.store.move_bytes_per_s)
        return moved.end

    # -- probing ---------------------------------------------------------------------------------------------------

    async def run_probes(self) -> None:
        """Ends by cancellation. A disk that hangs delays its own probe only."""
        under_way: dict[int, asyncio.Task[None]] = {}
        while True:
            for disk in list(self._store.disks.values()):
                earlier = under_way.get(disk.number)
                if disk.failure is None and (earlier is None or earlier.done()):
                    under_way[disk.number] = asyncio.create_task(self._probe(disk), name=f"probe-{disk.number}")
            await self._clock.sleep(PROBE_EVERY_S)

    async def _probe(self, disk: DiskWriter) -> None:
        probe = self._probes.get(disk.number)
        if probe is None or probe.disk is not disk:
            probe = self._probes[disk.number] = Probe(disk)
        try:
            await asyncio.to_thread(probe.look)
        except DiskFailed:
            self._storing.look_for_failures()

    # -- how it is -------------------------------------------------------------------------------------------------

    def status(self) -> tuple[DiskStatus, ...]:
        """Every disk that was not removed."""
        return tuple(
            self._status_of(number, disk) for number, disk in enumerate(self._store.settings.disks) if not disk.removed
        )

    def _status_of(self, number: int, settings: DiskSettings) -> DiskStatus:
        disk = self._store.disks.get(number)
        word = settings.disk_class.value
        if disk is None or disk.failure is not None:
            reason = disk.failure or "" if disk is not None else self._store.unavailable.get(number, "")
            return DiskStatus(number, settings.path, word, OUT, reason, settings.quota_bytes)
        state = TAKES_PART
        if number in self._joining:
            state = JOINING
        elif disk.draining:
            state = DRAINED if number in self._drained and not disk.holdings.extents else DRAINING
        left = disk.space.live_bytes if disk.draining else 0
        return DiskStatus(
            number, settings.path, word, state, "", settings.quota_bytes, disk.space.used_bytes, left, disk.read_only
        )
