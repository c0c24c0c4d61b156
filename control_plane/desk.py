"""Every write goes over this desk: archive first, then the registry, then the change stream, one at a time.

Laws
- What the registry shows is in the archive: a change is told to nobody before its transaction is committed.
- Writes queue on one lock, so that the order in the archive, in the registry and in the stream is the same.
- Heartbeats change the registry only; they are never archived.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncSession

from chassis.calendar import Calendar
from chassis.clock import Clock
from chassis.database import Database
from chassis.logs import get_logger
from contracts.labtime import REAL_TIME, LabTime
from contracts.reports import Nudge
from contracts.world import Change
from control_plane.changes import ChangeLog
from control_plane.health import Pulse, waited
from control_plane.metrics import ControlPlaneMetrics
from control_plane.registry import Box, Registry


class Desk:
    """Registry and archive of one process, and who wants to hear of changes."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        log: ChangeLog,
        metrics: ControlPlaneMetrics,
        clock: Clock,
        lab: LabTime = REAL_TIME,
    ) -> None:
        """`calendar` tells the hour of plans, windows and traffic; `clock` everything else."""
        self.database = database
        self.registry = registry
        self.log = log
        self.metrics = metrics
        self.clock = clock
        self.calendar = Calendar(clock, lab)
        self._one_writer = asyncio.Lock()
        self._nudges: dict[str, Callable[[], None]] = {}

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Nobody else writes meanwhile: look at the registry, write the archive, change the registry, tell."""
        async with self._one_writer:
            yield

    @asynccontextmanager
    async def archive(self) -> AsyncIterator[AsyncSession]:
        """A write transaction; use it inside `alone`."""
        async with self.database.write() as session:
            yield session

    def tell(self, changes: Iterable[Change]) -> None:
        """Numbers the changes, hands them to the readers of the stream, and nudges the appliances they are about."""
        told = tuple(changes)
        self.log.publish(told)
        self.metrics.changes.set(self.log.number)
        self.metrics.readers.set(self.log.readers)
        for change in told:
            if change.appliance is not None:
                self.nudge(change.appliance.id)

    def change_pulse(self, box: Box, change: Callable[[Pulse], Pulse]) -> None:
        """A change of health, told when others see it. A new suspect is counted and logged with its reason."""
        before = box.pulse.suspect
        told = self.registry.change_pulse(box, change)
        after = box.pulse.suspect
        if after is not before:
            word = after.value if after is not None else "none"
            get_logger("control_plane.health").info("suspicion", appliance=box.id, reason=word)
        if after is not None and before is None:
            self.metrics.suspects.labels(after.value).inc()
        if (after is None) != (before is None):
            self.count_suspects()
        self.tell(told)

    def count_suspects(self) -> None:
        """Puts the gauge right: at a start, and when a suspect came or went."""
        self.metrics.suspects_now.set(sum(box.pulse.suspect is not None for box in self.registry.boxes.values()))

    def pass_time(self) -> None:
        """Who was silent too long is suspect from now on."""
        now_s = self.clock.monotonic_s()
        for box in self.registry.silent(now_s):
            self.change_pulse(box, lambda pulse: waited(pulse, now_s))

    def listen(self, box_id: str, wake: Callable[[], None]) -> None:
        """`wake` is called whenever the appliance should be told where it stands. Replaces an earlier listener."""
        self._nudges[box_id] = wake

    def unlisten(self, box_id: str, wake: Callable[[], None]) -> None:
        if self._nudges.get(box_id) is wake:
            del self._nudges[box_id]

    def nudge(self, box_id: str) -> None:
        wake = self._nudges.get(box_id)
        if wake is not None:
            wake()

    def nudge_all(self) -> None:
        for wake in tuple(self._nudges.values()):
            wake()

    def standing(self, box: Box) -> Nudge:
        """What the appliance should know of by now."""
        plan_number = box.plan.number if box.plan else 0
        registry = self.registry
        return Nudge(plan_number, registry.keys_number, box.state.value, registry.triggers_number, box.name_number)
