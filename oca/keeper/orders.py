"""Carrying out the plan: pins, fill orders, the rate and volume cap. What to do when is decided in `filling`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from chassis.calendar import Calendar
from chassis.clock import Clock
from chassis.logs import get_logger
from contracts.digests import block_count, block_length
from contracts.plans import AppliancePlan, Order
from contracts.reports import OrderProgress, Purpose
from oca.keeper.errors import FetchFailed
from oca.keeper.fetching import Fetcher
from oca.keeper.filling import FillSchedule, TokenBucket, Why, askable, difference, window_words
from oca.keeper.metrics import KeeperMetrics
from oca.keeper.runs import Asker, Fetched
from oca.keeper.state import FillUse, StateFolder
from oca.keeper.storing import PINNED_BY_PLAN, Facts, Storing
from oca.link.messages import FetchFailure
from oca.store.errors import StoreError

TICK_S = 0.1
KEEP_USE_EVERY_S = 1.0
UNCAPPED_BPS = 1 << 50

_WHY = {
    FetchFailure.NOT_FOUND: Why.NOT_PUBLISHED,
    FetchFailure.NO_DIGESTS: Why.NO_DIGESTS,
    FetchFailure.VERSION_CHANGED: Why.OTHER_VERSION,
    FetchFailure.NO_SPACE: Why.NO_SPACE,
    FetchFailure.WRONG_BYTES: Why.WRONG_BYTES,
    FetchFailure.STOPPING: Why.INTERRUPTED,
}


class RateCap:
    """The plan's rate as what slows runs down."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._bucket = TokenBucket(UNCAPPED_BPS, clock.monotonic_s())

    def set_rate(self, rate_bps: int) -> None:
        self._bucket.set_rate(rate_bps or UNCAPPED_BPS, self._clock.monotonic_s())

    @property
    def run_blocks(self) -> int:
        return self._bucket.run_blocks

    def give_back(self, count_bytes: int) -> None:
        self._bucket.give_back(count_bytes, self._clock.monotonic_s())

    async def take(self, count_bytes: int) -> None:
        wait_s = self._bucket.reserve(count_bytes, self._clock.monotonic_s())
        if wait_s > 0:
            await self._clock.sleep(wait_s)


class Filler:
    """Keeps the current plan and works on its orders."""

    def __init__(
        self,
        fetcher: Fetcher,
        storing: Storing,
        state: StateFolder,
        places: int,
        metrics: KeeperMetrics,
        clock: Clock,
        calendar: Calendar,
        changed: Callable[[], None],
    ) -> None:
        """`changed()` is told when holdings or orders changed in a way the control plane should hear soon.

        A plan speaks of the calendar: its window, its waits, and its rate, which is per second of the calendar.
        """
        self._fetcher = fetcher
        self._storing = storing
        self._state = state
        self._places = places
        self._metrics = metrics
        self._clock = clock
        self._calendar = calendar
        self._changed = changed
        self._cap = RateCap(clock)
        self._schedule: FillSchedule | None = None
        self._pins: frozenset[str] = frozenset()
        self._working: dict[str, asyncio.Task[None]] = {}
        self._kept_use = FillUse()
        self._log = get_logger("oca.keeper.orders")

    @property
    def plan_number(self) -> int:
        return self._schedule.plan.number if self._schedule is not None else 0

    def plan_of(self, key: str) -> str | None:
        """The name under which a key is pinned, when the plan wants it kept."""
        return PINNED_BY_PLAN if key in self._pins else None

    def progress(self) -> list[OrderProgress]:
        return self._schedule.progress() if self._schedule is not None else []

    def counts(self) -> dict[str, int]:
        return self._schedule.counts() if self._schedule is not None else {}

    async def load(self) -> None:
        """Go on with the plan that was kept; no plan is fine."""
        plan = self._state.read("plan.json", AppliancePlan)
        if plan is not None:
            use = self._state.read("fill.json", FillUse) or FillUse()
            await self._adopt(plan, use.used_bytes if use.plan_number == plan.number else 0)

    async def take(self, plan: AppliancePlan) -> None:
        """Follow another plan from now on. A plan that is not newer changes nothing (by time: a new record counts from 1 again).

        A state folder that takes no file costs the plan only at the next restart; it must not cost the heartbeat that brought it.
        """
        current = self._schedule.plan if self._schedule is not None else None
        if current is not None and (plan.created_at, plan.number) <= (current.created_at, current.number):
            return
        try:
            self._state.write("plan.json", plan)
        except OSError as error:
            self._log.error("plan-not-kept", plan=plan.number, detail=str(error))
        await self._adopt(plan, 0)

    async def run(self) -> None:
        """Starts orders as the schedule allows. Ends by cancellation, which leaves what is written."""
        kept_at_s = 0.0
        try:
            while True:
                self._start_what_may()
                if self._clock.monotonic_s() - kept_at_s >= KEEP_USE_EVERY_S:
                    self._keep_use()
                    kept_at_s = self._clock.monotonic_s()
                await self._clock.sleep(TICK_S)
        finally:
            await self.close()

    async def close(self) -> None:
        tasks = list(self._working.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._keep_use()

    # -- a plan ----------------------------------------------------------------------------------------------------

    async def _adopt(self, plan: AppliancePlan, used_bytes: int) -> None:
        schedule = FillSchedule(plan, used_bytes, self._schedule)
        for order_id, task in list(self._working.items()):
            if order_id not in schedule.orders:
                task.cancel()
        self._schedule = schedule
        self._pins = frozenset(plan.pins)
        self._cap.set_rate(int(plan.rate_bps * self._calendar.speed))
        held = self._storing.files()
        self._log.info("plan-taken", sentence=window_words(plan, held, self._calendar.wall_s()))
        await self._apply_pins(plan)
        self._changed()

    async def _apply_pins(self, plan: AppliancePlan) -> None:
        """Let go first, so that what comes has room among the pins."""
        change = difference(plan.pins, self._storing.files())
        for key in change.unpin:
            await self._tolerant(self._storing.unpin(key), key)
        for key in change.pin:
            await self._tolerant(self._storing.pin(key), key)

    async def _tolerant(self, pinning: Coroutine[None, None, None], key: str) -> None:
        try:
            await pinning
        except StoreError as error:
            self._log.warning("pin-not-changed", key=key, detail=str(error))

    # -- orders ----------------------------------------------------------------------------------------------------

    def _start_what_may(self) -> None:
        schedule = self._schedule
        if schedule is None:
            return
        before = schedule.counts()
        for order in schedule.startable(self._calendar.wall_s(), self._places):
            if order.id in self._working:
                continue
            schedule.started(order.id)
            self._working[order.id] = asyncio.create_task(self._work(order))
        if schedule.counts() != before:
            self._changed()

    async def _work(self, order: Order) -> None:
        why, detail = Why.INTERRUPTED, ""
        done = False
        try:
            done = await self._fill(order)
        except FetchFailed as error:
            why = Why.NOT_HELD if error.not_held else _WHY.get(error.why, Why.SOURCES_FAILED)
            detail = "" if error.not_held else error.sentence
        except Exception:  # noqa: BLE001  the border of a task: counted, logged with traceback, tried again later
            why = Why.SOURCES_FAILED
            self._metrics.task_deaths.labels("order").inc()
            self._log.exception("order-died", order=order.id, key=order.key)
        finally:
            self._working.pop(order.id, None)
            self._conclude(order, done, why, detail)

    def _conclude(self, order: Order, done: bool, why: Why, detail: str) -> None:
        schedule = self._schedule
        if schedule is None or order.id not in schedule.orders:
            return
        state = schedule.orders[order.id]
        if done:
            schedule.done(order.id)
            self._metrics.orders.labels("done").inc()
            self._log.info("order-done", order=order.id, key=order.key, by_source=dict(state.by_source))
            self._changed()
            return
        if why is not state.why:
            self._log.info("order-waits", order=order.id, key=order.key, why=why.value, detail=detail)
        schedule.put_off(order.id, why, self._calendar.wall_s(), detail)

    async def _fill(self, order: Order) -> bool:
        """Fetch what is missing of the file; True when all is there and pinned. Raises FetchFailed."""
        facts = await self._fetcher.facts(order.key, bytes.fromhex(order.version))
        last = block_count(facts.digests.size_bytes) - 1
        missing = self._storing.missing(facts, 0, last)
        self._note_held(order, facts, missing)
        for first, end in missing:
            if not await self._fill_run(order, facts, first, end):
                return False
        try:
            await self._storing.pin(order.key)
        except StoreError as error:
            raise FetchFailed(FetchFailure.NO_SPACE, str(error)) from error
        return not self._storing.missing(facts, 0, last)

    async def _fill_run(self, order: Order, facts: Facts, first: int, last: int) -> bool:
        """False when the window closed, the volume ended or a new plan dropped the order."""
        async for fetched in self._fetcher.blocks(facts, first, last, self._asker(order)):
            schedule = self._schedule
            if schedule is None or order.id not in schedule.orders:
                return False
            self._note_fetched(schedule, order, facts, fetched)
            if not schedule.may_go_on(self._calendar.wall_s()):
                return False
        return True

    def _asker(self, order: Order) -> Asker:
        assert self._schedule is not None, "orders come from a schedule"
        sources = askable(self._schedule.plan, order, self._calendar.wall_s())
        return Asker(Purpose.FILL, sources, self._cap, PINNED_BY_PLAN)

    def _note_held(self, order: Order, facts: Facts, missing: list[tuple[int, int]]) -> None:
        size = facts.digests.size_bytes
        absent = sum(block_length(size, block) for first, last in missing for block in range(first, last + 1))
        if self._schedule is not None and order.id in self._schedule.orders:
            self._schedule.held(order.id, size - absent)

    @staticmethod
    def _note_fetched(schedule: FillSchedule, order: Order, facts: Facts, fetched: Fetched) -> None:
        size = facts.digests.size_bytes
        if fetched.source is None:
            return
        for block in range(fetched.held.first, fetched.held.last + 1):
            schedule.filled(order.id, fetched.source, block_length(size, block))
        schedule.moved(order.id)

    def _keep_use(self) -> None:
        if self._schedule is None:
            return
        use = FillUse(self._schedule.plan.number, self._schedule.used_bytes)
        if use != self._kept_use:
            try:
                self._state.write("fill.json", use, durable=False)
                self._kept_use = use
            except OSError as error:
                self._log.warning("fill-use-not-kept", detail=str(error))
