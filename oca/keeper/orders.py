"""Carrying out the plan: pins, fill orders, the rate and volume cap. What to do when is decided in `filling`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass

from chassis.calendar import Calendar
from chassis.clock import Clock
from chassis.logs import get_logger
from contracts.digests import block_count, block_length
from contracts.plans import AppliancePlan, Order, RankedSource
from contracts.reports import OrderProgress, Source
from oca.keeper.asking import Sources
from oca.keeper.capping import FillCap
from oca.keeper.errors import FetchFailed
from oca.keeper.fetching import Fetcher
from oca.keeper.filling import FillSchedule, Why, Window, askable, difference, window_at, window_words
from oca.keeper.lanes import Lanes
from oca.keeper.metrics import KeeperMetrics
from oca.keeper.state import FillUse, StateFolder
from oca.keeper.storing import PINNED_BY_PLAN, Facts, Storing
from oca.keeper.yielding import Demand, Yielding, limit_bps
from oca.link.messages import FetchFailure
from oca.store.errors import StoreError

TICK_S = 0.1
KEEP_USE_EVERY_S = 1.0
LATELY_S = 5.0

_WHY = {
    FetchFailure.NOT_FOUND: Why.NOT_PUBLISHED,
    FetchFailure.NO_DIGESTS: Why.NO_DIGESTS,
    FetchFailure.VERSION_CHANGED: Why.OTHER_VERSION,
    FetchFailure.NO_SPACE: Why.NO_SPACE,
    FetchFailure.WRONG_BYTES: Why.WRONG_BYTES,
    FetchFailure.STOPPING: Why.INTERRUPTED,
}


@dataclass(frozen=True, slots=True)
class _Terms:
    """What the plan in force says of one order (`lanes.Terms`)."""

    filler: Filler
    order: Order

    def may_go_on(self) -> bool:
        return self.filler.may_go_on(self.order)

    def sources(self) -> tuple[RankedSource, ...]:
        return self.filler.askable(self.order)

    def grant(self, lengths: Sequence[int]) -> int:
        return self.filler.grant(lengths)

    def give_back(self, count_bytes: int) -> None:
        self.filler.give_back(count_bytes)

    def came(self, source: Source | None, count_bytes: int) -> None:
        self.filler.came(self.order, source, count_bytes)


def nobody_watches() -> Demand:
    return Demand(0.0, (), 0.0, is_serving=False)


class _Lately:
    """Bytes that came over the last `LATELY_S`."""

    def __init__(self) -> None:
        self._came: deque[tuple[float, int]] = deque()

    def add(self, count_bytes: int, now_s: float) -> None:
        self._came.append((now_s, count_bytes))
        self._forget(now_s)

    def bps(self, now_s: float) -> float:
        self._forget(now_s)
        return 8.0 * sum(count for _, count in self._came) / LATELY_S

    def _forget(self, now_s: float) -> None:
        while self._came and self._came[0][0] < now_s - LATELY_S:
            self._came.popleft()


class Filler:
    """Keeps the current plan and works on its orders."""

    def __init__(
        self,
        fetcher: Fetcher,
        asking: Sources,
        storing: Storing,
        state: StateFolder,
        places: int,
        metrics: KeeperMetrics,
        clock: Clock,
        calendar: Calendar,
        changed: Callable[[], None],
        demand: Callable[[], Demand] = nobody_watches,
    ) -> None:
        """`changed()` is told when holdings or orders changed in a way the control plane should hear soon; `demand()` says what viewers need.

        A plan speaks of the calendar: its window, its waits, and its rate, which is per second of the calendar.
        """
        self._fetcher = fetcher
        self._asking = asking
        self._demand = demand
        self._storing = storing
        self._state = state
        self._places = places
        self._metrics = metrics
        self._clock = clock
        self._calendar = calendar
        self._changed = changed
        self._cap = FillCap(clock)
        self._yielding = Yielding()
        self._lately = _Lately()
        self._uncapped_bps = 0.0
        self._schedule: FillSchedule | None = None
        self._pins: frozenset[str] = frozenset()
        self._working: dict[str, asyncio.Task[None]] = {}
        self._facts: dict[str, Facts] = {}
        """Of the orders being filled, by id."""
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
                self._make_way()
                self._end_what_must()
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
                self._give_up(order_id, "the plan lets it go")
        self._schedule = schedule
        self._pins = frozenset(plan.pins)
        self._apply_rate()
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
            self._facts.pop(order.id, None)
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
        self._facts[order.id] = facts
        terms = _Terms(self, order)
        lanes = Lanes(self._fetcher, self._asking, facts, missing, terms, self._cap, self._clock, order.credential)
        if not await lanes.run():
            return False
        try:
            await self._storing.pin(order.key)
        except StoreError as error:
            raise FetchFailed(FetchFailure.NO_SPACE, str(error)) from error
        return not self._storing.missing(facts, 0, last)

    # -- what lanes ask of the plan --------------------------------------------------------------------------------

    def may_go_on(self, order: Order) -> bool:
        schedule = self._schedule
        return schedule is not None and order.id in schedule.orders and schedule.may_go_on(self._calendar.wall_s())

    def askable(self, order: Order) -> tuple[RankedSource, ...]:
        assert self._schedule is not None, "orders come from a schedule"
        return askable(self._schedule.plan, order, self._calendar.wall_s())

    def grant(self, lengths: Sequence[int]) -> int:
        """Promised bytes are written down before they are asked for: a keeper that is killed has spent them."""
        schedule = self._schedule
        assert schedule is not None, "orders come from a schedule"
        granted = schedule.grant(lengths)
        if granted and schedule.plan.volume_bytes:
            self._keep_use()
        return granted

    def give_back(self, count_bytes: int) -> None:
        if self._schedule is not None:
            self._schedule.give_back(count_bytes)

    def came(self, order: Order, source: Source | None, count_bytes: int) -> None:
        schedule = self._schedule
        if schedule is None or order.id not in schedule.orders or source is None:
            return
        schedule.filled(order.id, source, count_bytes)
        schedule.moved(order.id)
        self._lately.add(count_bytes, self._clock.monotonic_s())

    # -- making way ------------------------------------------------------------------------------------------------

    def _make_way(self) -> None:
        """For viewers, when they need the link or the disks."""
        now_s = self._clock.monotonic_s()
        before = self._yielding.why
        if not self._yielding.look(self._demand(), now_s):
            return
        why = self._yielding.why
        self._apply_rate()
        self._metrics.fill_yielding(why, self._yielding.share)
        if why is not before:
            word = why.value if why is not None else "nothing"
            self._log.info("fill-yields", why=word, share=self._yielding.share, bps=self._cap.rate_bps)

    def _apply_rate(self) -> None:
        schedule = self._schedule
        if schedule is None:
            return
        if self._yielding.share == 1.0 or not self._cap.rate_bps:
            self._uncapped_bps = self._lately.bps(self._clock.monotonic_s())
        self._cap.set_rate(
            limit_bps(int(schedule.plan.rate_bps * self._calendar.speed), self._yielding.share, self._uncapped_bps)
        )
        schedule.yielding = self._yielding.why.value if self._yielding.why is not None else ""

    def _end_what_must(self) -> None:
        """A window that closes ends what is under way; what is verified stays."""
        schedule = self._schedule
        if schedule is not None and window_at(schedule.plan, self._calendar.wall_s()) is not Window.OPEN:
            for order_id in list(self._facts):
                self._give_up(order_id, "the window is closed")

    def _give_up(self, order_id: str, sentence: str) -> None:
        facts = self._facts.get(order_id)
        if facts is not None:
            self._fetcher.end_fills(facts, sentence)

    def _note_held(self, order: Order, facts: Facts, missing: list[tuple[int, int]]) -> None:
        size = facts.digests.size_bytes
        absent = sum(block_length(size, block) for first, last in missing for block in range(first, last + 1))
        if self._schedule is not None and order.id in self._schedule.orders:
            self._schedule.held(order.id, size - absent)

    def _keep_use(self) -> None:
        if self._schedule is None:
            return
        use = FillUse(self._schedule.plan.number, self._schedule.spent_bytes)
        if use != self._kept_use:
            try:
                self._state.write("fill.json", use, durable=False)
                self._kept_use = use
            except OSError as error:
                self._log.warning("fill-use-not-kept", detail=str(error))
