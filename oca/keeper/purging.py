"""Purging on the appliance: triggers of the control plane and orders of its operator, obeyed by every worker, then swept.

Order: state folder knows nothing yet → rules in every index (one transaction per disk) → epoch on the board → the highest epoch in the state folder → workers
are woken over the link → all of them have published the epoch → acknowledged → swept. A keeper that dies anywhere between finds the rules
in the indexes when it comes back and goes on; what has not been acknowledged is asked for again and applied again, which does no harm.

A hard rule is swept at once. Before a soft one is, every file it names is asked for: what the control plane still publishes in this version
is renewed, the rest goes. While the control plane cannot be asked, the rule waits, at most `stale_s`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from chassis.clock import Clock
from chassis.errors import ServiceError
from chassis.logs import get_logger
from contracts.triggers import Selection, Trigger, Triggers, TriggersApplied, TriggerType
from oca.keeper.errors import FetchFailed, NotConnected
from oca.keeper.following import happened
from oca.keeper.metrics import KeeperMetrics
from oca.keeper.state import StateFolder
from oca.keeper.storing import Storing
from oca.link.commands import PurgeCommand, PurgeReport
from oca.link.files import PurgeReached
from oca.link.messages import FetchFailure, Reload, ReloadWhat
from oca.store.errors import StoreError
from oca.store.purge import PurgeKind, PurgeMode, PurgeOrder, PurgeRule

ASK_EVERY_S = 60.0
FIRST_RETRY_S = 0.25
LONGEST_RETRY_S = 15.0
FIRST_LOOK_S = 0.001
LONGEST_LOOK_S = 0.05
SAID_LATE_S = 5.0
SWEEP_AGAIN_S = 2.0
KIND = {
    Selection.OBJECT: PurgeKind.OBJECT,
    Selection.PREFIX: PurgeKind.PREFIX,
    Selection.TAG: PurgeKind.TAG,
    Selection.ALL: PurgeKind.ALL,
}
MODE = {TriggerType.INVALIDATE: PurgeMode.SOFT, TriggerType.PURGE: PurgeMode.HARD}


class ControlPlane(Protocol):
    """What is asked and told here. Calls raise ServiceError, or NotConnected before enrolment."""

    async def triggers(self, after: int) -> Triggers | None:
        """None from a control plane that has none."""

    async def triggers_applied(self, applied: TriggersApplied) -> None: ...


@dataclass(frozen=True, slots=True)
class Obeyed:
    """Orders that every worker obeys, and how long that took from the commit on."""

    rules: tuple[PurgeRule, ...]
    seconds: float


def orders_of(answer: Triggers, applied: int) -> list[PurgeOrder]:
    """What to apply, in order. Of triggers that nobody remembers the worst is assumed: everything goes.

    A control plane whose numbers are lower than ours is another one than we knew: all it remembers is applied.
    """
    known = applied if applied <= answer.number else 0
    orders: list[PurgeOrder] = []
    if known < answer.forgotten:
        orders.append(PurgeOrder(PurgeKind.ALL, trigger=answer.forgotten))
    orders += [_order(trigger) for trigger in answer.triggers if trigger.number > known]
    return orders


def _order(trigger: Trigger) -> PurgeOrder:
    return PurgeOrder(KIND[trigger.selection], trigger.text, MODE[trigger.type], trigger.number)


class Purging:
    """`order` applies; `follow` brings triggers, `sweep` cleans up behind both; the two run beside each other for ever."""

    def __init__(
        self,
        storing: Storing,
        control_plane: ControlPlane,
        revalidate: Callable[[str], Awaitable[bool]],
        tell_workers: Callable[[Reload], None],
        state: StateFolder,
        stale_s: float,
        metrics: KeeperMetrics,
        clock: Clock,
    ) -> None:
        """`revalidate(key)` asks whether what is held of a file is current, and renews it where it is.

        False when that could not be asked. Raises FetchFailed.
        """
        self._storing = storing
        self._purges = storing.store.purges
        self._control_plane = control_plane
        self._revalidate = revalidate
        self._tell_workers = tell_workers
        self._state = state
        self._stale_s = stale_s
        self._metrics = metrics
        self._clock = clock
        self._alone = asyncio.Lock()
        self._due = asyncio.Event()
        self._to_sweep = asyncio.Event()
        self._wanted: int | None = None
        self._acknowledged = -1
        self._log = get_logger("oca.keeper.purging")

    @property
    def applied(self) -> int:
        """The number of the last trigger in the indexes."""
        return self._purges.trigger

    @property
    def waiting(self) -> int:
        """Rules that are not swept yet."""
        return len(self._purges.live)

    @property
    def is_current(self) -> bool:
        """Every trigger that the control plane has spoken of since it was last away is applied and acknowledged."""
        return self._wanted is not None and self._acknowledged >= self._wanted

    def unconnected(self) -> None:
        """The line to the control plane broke: there may be triggers we know nothing of."""
        self._wanted = None

    def nudged(self, number: int) -> None:
        """The control plane says that its triggers reach up to `number`."""
        self._wanted = number
        if number != self._acknowledged:
            self._due.set()

    async def order(self, orders: Sequence[PurgeOrder]) -> Obeyed:
        """Apply, and wait until every worker obeys. Raises DiskFailed when no disk is left. Cancelled, the rules stay applied."""
        async with self._alone:
            rules = await self._storing.order(orders)
            began_s = self._clock.monotonic_s()
            self._tell_workers(Reload(ReloadWhat.PURGE))
            self._remember()
            seconds = await self._obeyed(rules, began_s)
        for rule in rules:
            self._metrics.purges.labels(rule.kind.name.lower(), rule.mode.name.lower()).inc()
            self._log.info(
                "purged", rule=rule.number, kind=rule.kind.name.lower(), text=rule.text, mode=rule.mode.name.lower(),
                obeyed_ms=round(seconds * 1000, 1),
            )  # fmt: skip
        self._metrics.purge_seconds.set(seconds)
        self._to_sweep.set()
        return Obeyed(rules, seconds)

    async def command(self, wanted: PurgeCommand) -> PurgeReport:
        """What an operator at the box orders; errors come as words."""
        try:
            obeyed = await self.order([PurgeOrder(KIND[wanted.selection], wanted.text, MODE[wanted.type])])
        except StoreError as error:
            return PurgeReport(refused=str(error))
        return PurgeReport(obeyed.rules[-1].number, obeyed.seconds)

    def _remember(self) -> None:
        """For a start without the disks that heard of it. Losing it is only bad together with losing them."""
        try:
            self._state.write("purge.json", PurgeReached(self._purges.epoch))
        except OSError as error:
            self._log.error("state-not-kept", file="purge.json", detail=str(error))

    async def _obeyed(self, rules: Sequence[PurgeRule], began_s: float) -> float:
        """Waits for the workers; seconds since the commit. One that hangs holds it up until the supervisor has ended it."""
        look_s = FIRST_LOOK_S
        late = False
        while rules and not self._purges.is_obeyed(rules[-1]):
            await self._clock.sleep(look_s)
            look_s = min(LONGEST_LOOK_S, look_s * 1.5)
            if not late and self._clock.monotonic_s() - began_s > SAID_LATE_S:
                late = True
                self._log.warning("purge-waits-for-a-worker", rule=rules[-1].number)
        return self._clock.monotonic_s() - began_s

    # -- the control plane -----------------------------------------------------------------------------------------

    async def follow(self) -> None:
        """Triggers, as soon as there are any, for ever."""
        wait_s = FIRST_RETRY_S
        while True:
            self._due.clear()
            try:
                more = await self._catch_up()
                wait_s = FIRST_RETRY_S
            except (ServiceError, NotConnected, StoreError, msgspec.MsgspecError) as error:
                self._log.warning("triggers-wait", detail=str(error))
                await self._clock.sleep(wait_s)
                wait_s = min(LONGEST_RETRY_S, wait_s * 2)
                continue
            if not more:
                await happened(self._due, self._clock, ASK_EVERY_S)

    async def _catch_up(self) -> bool:
        """One round; True when the control plane has more."""
        answer = await self._control_plane.triggers(self.applied)
        if answer is None:
            self._acknowledged = self._wanted or 0
            return False
        if answer.number < self.applied:
            self._log.warning("triggers-begin-again", ours=self.applied, theirs=answer.number)
            answer = await self._control_plane.triggers(0) or answer
        orders = orders_of(answer, self.applied)
        if orders:
            await self.order(orders)
        # What an earlier keeper committed, too, is acknowledged only when every worker obeys.
        await self._obeyed(self._purges.live[-1:], self._clock.monotonic_s())
        reached = orders[-1].trigger if orders else min(self.applied, answer.number)
        if reached != self._acknowledged:
            await self._control_plane.triggers_applied(TriggersApplied(reached))
            self._acknowledged = reached
        self._wanted = max(self._wanted or 0, answer.number) if answer.number >= reached else answer.number
        return reached < answer.number

    # -- sweeping --------------------------------------------------------------------------------------------------

    async def sweep(self) -> None:
        """Rules that are obeyed, the oldest first, for ever; also those that an earlier keeper left."""
        while True:
            self._to_sweep.clear()
            waits = False
            for rule in self._purges.live:
                await self._obeyed((rule,), self._clock.monotonic_s())
                waits |= not await self._swept(rule)
            if waits:
                await happened(self._to_sweep, self._clock, SWEEP_AGAIN_S)
            else:
                await self._to_sweep.wait()

    async def _swept(self, rule: PurgeRule) -> bool:
        """False: to be tried again."""
        if rule.mode is PurgeMode.SOFT and not await self._revalidated(rule):
            if self._clock.wall_s() - rule.created_at < self._stale_s:
                return False
            self._log.warning("stale-too-long", rule=rule.number, then="what was not found to be current goes")
        try:
            gone = await self._storing.sweep(rule)
        except StoreError as error:
            self._log.warning("sweep-waits", rule=rule.number, detail=str(error))
            return False
        self._metrics.swept.inc(gone)
        self._log.info("swept", rule=rule.number, extents=gone)
        return True

    async def _revalidated(self, rule: PurgeRule) -> bool:
        """Ask for every file that a soft rule names; False when somebody could not be asked."""
        asked = True
        for key in self._storing.stale_files(rule):
            try:
                asked &= await self._revalidate(key)
            except FetchFailed as error:
                if error.why is not FetchFailure.NOT_FOUND:
                    asked = False
        return asked
