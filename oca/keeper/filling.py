"""What to do about a plan, when, and from whom. Pure: instants come in as `now` (seconds since the Epoch, rates in bits per second).

Laws:
- Orders run only inside the window, by priority, and together at most at the plan's rate and volume.
- A source is asked from `after_s` on, counted from the opening of the window, or from the making of the plan when that was
  later: a plan that comes late must not send everybody to the origin at once.
- An order that no source can serve yet gives its place to others and comes back: soon while everybody just does not hold the file
  (its peer is filling it), later when sources err.
- Nothing is forgotten by a new plan that it still orders: progress goes with the order's id.
- The volume is never passed: a block is promised before it is asked for, and what does not come is given back.
- Windows are of the wall clock, and a clock that is set changes no more than what its new time says: orders put off by a time that has
  not come yet are due at once, and what a clock that was wrong has ended goes on when it is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from contracts.plans import AppliancePlan, Order, RankedSource
from contracts.reports import FillState, OrderProgress, Source
from oca.store.holdings import HeldFile

SOON_S = 0.5
SOON_AT_MOST_S = 2.0
LATER_S = 1.0
LATER_AT_MOST_S = 15.0
LONGEST_AFTER_TRIES = 16
"""Both longest waits are reached long before; a power of any number of tries would leave the range of floats."""


class Why(Enum):
    """Why an order is not being filled (log word = value)."""

    QUEUED = "queued"
    WINDOW_NOT_OPEN = "window-not-open"
    WINDOW_CLOSED = "window-closed"
    VOLUME_USED = "volume-used"
    NOT_HELD = "not-held-by-sources"
    """Every source that may be asked answers, and none has it yet."""
    NOBODY_YET = "no-source-may-be-asked-yet"
    SOURCES_FAILED = "sources-failed"
    WRONG_BYTES = "wrong-bytes"
    NO_DIGESTS = "no-digests"
    NOT_PUBLISHED = "not-published"
    OTHER_VERSION = "another-version-is-published"
    NO_SPACE = "no-space"
    INTERRUPTED = "interrupted"
    YIELDING = "yielding"
    """It goes on, slower than it might: viewers need the link or the disks."""


class Window(Enum):
    NOT_OPEN = "not-open"
    OPEN = "open"
    CLOSED = "closed"


def window_at(plan: AppliancePlan, now: float) -> Window:
    if now < plan.window_opens_at:
        return Window.NOT_OPEN
    return Window.OPEN if now < plan.window_closes_at else Window.CLOSED


def escalation_began(plan: AppliancePlan) -> float:
    """The instant that `after_s` counts from."""
    return max(plan.window_opens_at, plan.created_at)


def askable(plan: AppliancePlan, order: Order, now: float) -> tuple[RankedSource, ...]:
    """Sources that may be asked now, as ranked."""
    began = escalation_began(plan)
    return tuple(source for source in order.sources if began + source.after_s <= now)


def next_source_at(plan: AppliancePlan, order: Order, now: float) -> float | None:
    """When one more source may be asked; None when there is none left."""
    began = escalation_began(plan)
    return min((at for source in order.sources if (at := began + source.after_s) > now), default=None)


@dataclass(frozen=True, slots=True)
class Difference:
    """What a plan changes about what is held: keys to pin, keys to let go."""

    pin: tuple[str, ...]
    unpin: tuple[str, ...]


def difference(pins: Iterable[str], held: Iterable[HeldFile]) -> Difference:
    wanted = set(pins)
    files = list(held)
    return Difference(
        tuple(file.key for file in files if file.key in wanted and file.plan is None),
        tuple(file.key for file in files if file.key not in wanted and file.plan is not None),
    )


@dataclass(slots=True)
class OrderState:
    """One order on its way."""

    order: Order
    state: FillState = FillState.WAITING
    why: Why = Why.QUEUED
    detail: str = ""
    bytes_done: int = 0
    by_source: dict[str, int] = field(default_factory=dict)
    ready_at: float = 0.0
    put_off_at: float = 0.0
    tries: int = 0

    def is_due(self, now: float) -> bool:
        """Before it was put off is after the clock was set back."""
        return self.ready_at <= now or now < self.put_off_at

    def wait_until(self, ready_at: float, now: float) -> None:
        self.ready_at, self.put_off_at = ready_at, now

    def progress(self, yielding: str = "") -> OrderProgress:
        """`yielding`: why fills go slowly now."""
        waiting = self.state in (FillState.WAITING, FillState.FAILED)
        reason = f"{self.why.value}: {self.detail}" if self.detail else self.why.value
        return OrderProgress(
            order_id=self.order.id,
            key=self.order.key,
            state=self.state,
            bytes_done=self.bytes_done,
            bytes_total=self.order.size_bytes,
            by_source=dict(self.by_source),
            reason=reason if waiting else self._while_filling(yielding),
        )

    def _while_filling(self, yielding: str) -> str:
        if self.state is not FillState.FILLING:
            return ""
        return f"{Why.YIELDING.value}: {yielding}" if yielding else ""


class FillSchedule:
    """The orders of one plan and how far each is."""

    def __init__(self, plan: AppliancePlan, used_bytes: int = 0, earlier: FillSchedule | None = None) -> None:
        """`used_bytes` of the plan's volume are spent already. Orders that `earlier` had under the same id keep their state."""
        self.plan = plan
        self.used_bytes = used_bytes
        self.promised_bytes: int = earlier.promised_bytes if earlier is not None else 0
        self.yielding = ""
        """Why fills go slowly now (log word)."""
        self._is_spent = False
        known = earlier.orders if earlier is not None else {}
        self.orders: dict[str, OrderState] = {
            order.id: self._taken_over(order, known.get(order.id)) for order in plan.orders
        }
        self._ranked = sorted(self.orders.values(), key=lambda state: (state.order.priority, state.order.id))

    @staticmethod
    def _taken_over(order: Order, before: OrderState | None) -> OrderState:
        if before is None:
            return OrderState(order)
        if before.state is FillState.FAILED:
            return OrderState(order, bytes_done=before.bytes_done, by_source=before.by_source)
        before.order = order
        return before

    @property
    def volume_used(self) -> bool:
        """Not one more block has room."""
        return self.plan.volume_bytes > 0 and (self._is_spent or self.used_bytes >= self.plan.volume_bytes)

    @property
    def spent_bytes(self) -> int:
        """Of the volume: what came and what is promised."""
        return self.used_bytes + self.promised_bytes

    def grant(self, lengths: Sequence[int]) -> int:
        """How many blocks of these lengths, from the first on, may be asked for. They are promised from now on."""
        if self.plan.volume_bytes == 0:
            self.promised_bytes += sum(lengths)
            return len(lengths)
        granted = 0
        for length in lengths:
            if self.used_bytes + self.promised_bytes + length > self.plan.volume_bytes:
                break
            self.promised_bytes += length
            granted += 1
        self._is_spent = self._is_spent or (granted == 0 and self.promised_bytes == 0)
        return granted

    def give_back(self, count_bytes: int) -> None:
        """So much of what was promised has come, or will not."""
        self.promised_bytes = max(0, self.promised_bytes - count_bytes)

    def may_go_on(self, now: float) -> bool:
        """True while the window is open and the volume lasts."""
        return window_at(self.plan, now) is Window.OPEN and not self.volume_used

    def startable(self, now: float, places: int) -> list[Order]:
        """Orders to start now, best first, so that at most `places` are being filled. Also notes why the others wait."""
        window = window_at(self.plan, now)
        if window is not Window.OPEN or self.volume_used:
            self._hold_back(window)
            return []
        self._revive()
        free = places - sum(state.state is FillState.FILLING for state in self.orders.values())
        ready: list[Order] = []
        for state in self._ranked:
            if len(ready) >= free:
                break
            if state.state is not FillState.WAITING or not state.is_due(now):
                continue
            if askable(self.plan, state.order, now):
                ready.append(state.order)
            else:
                state.why = Why.NOBODY_YET
                state.wait_until(next_source_at(self.plan, state.order, now) or now + LATER_AT_MOST_S, now)
        return ready

    def _revive(self) -> None:
        """What a clock that was wrong has ended."""
        for state in self.orders.values():
            if state.state is FillState.FAILED and state.why is Why.WINDOW_CLOSED:
                state.state, state.why = FillState.WAITING, Why.QUEUED

    def _hold_back(self, window: Window) -> None:
        ends = window is Window.CLOSED or (self.volume_used and window is Window.OPEN)
        why = {Window.NOT_OPEN: Why.WINDOW_NOT_OPEN, Window.CLOSED: Why.WINDOW_CLOSED}.get(window, Why.VOLUME_USED)
        for state in self.orders.values():
            if state.state is FillState.WAITING:
                state.why, state.detail = why, ""
                state.state = FillState.FAILED if ends else FillState.WAITING

    def started(self, order_id: str) -> None:
        self.orders[order_id].state = FillState.FILLING

    def held(self, order_id: str, count_bytes: int) -> None:
        """So much of the file is there already."""
        self.orders[order_id].bytes_done = count_bytes

    def filled(self, order_id: str, source: Source, count_bytes: int) -> None:
        """A block came from a source."""
        state = self.orders[order_id]
        state.bytes_done = min(state.order.size_bytes, state.bytes_done + count_bytes)
        state.by_source[source.value] = state.by_source.get(source.value, 0) + count_bytes
        self.used_bytes += count_bytes

    def done(self, order_id: str) -> None:
        state = self.orders[order_id]
        state.state, state.bytes_done, state.detail = FillState.DONE, state.order.size_bytes, ""

    def put_off(self, order_id: str, why: Why, now: float, detail: str = "") -> None:
        """Not now; `startable` names it again when it is worth a try."""
        state = self.orders[order_id]
        moved = state.why is not why
        state.state, state.why, state.detail = FillState.WAITING, why, detail
        state.tries = 1 if moved else state.tries + 1
        soon = why in (Why.NOT_HELD, Why.INTERRUPTED)
        first, most = (SOON_S, SOON_AT_MOST_S) if soon else (LATER_S, LATER_AT_MOST_S)
        ready_at = now + min(most, first * 1.5 ** min(state.tries - 1, LONGEST_AFTER_TRIES))
        more_at = next_source_at(self.plan, state.order, now)
        state.wait_until(ready_at if more_at is None else min(ready_at, more_at), now)

    def moved(self, order_id: str) -> None:
        """A block came: waiting begins anew with short times."""
        self.orders[order_id].tries = 0

    def counts(self) -> dict[str, int]:
        """Orders by state."""
        found = {state.value: 0 for state in FillState}
        for order in self.orders.values():
            found[order.state.value] += 1
        return found

    def progress(self) -> list[OrderProgress]:
        return [state.progress(self.yielding) for state in self.orders.values()]


def window_words(plan: AppliancePlan, held: Sequence[HeldFile], now: float) -> str:
    """One sentence for the log when a plan is taken."""
    have = {file.key: file for file in held if file.complete}
    to_fetch = [order for order in plan.orders if order.key not in have]
    amount = sum(order.size_bytes for order in to_fetch)
    return (
        f"plan {plan.number}: {len(plan.pins)} files to hold, {len(to_fetch)} of {len(plan.orders)} orders to fetch "
        f"({amount} bytes) at {plan.rate_bps} bit/s, window {window_at(plan, now).value}"
    )
