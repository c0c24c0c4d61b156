"""What the appliances of a site are told: the plan that stands, and what is ordered out of cycle. Pure.

Laws
- While the window of the standing plan is open, orders out of cycle come first in it: its rate, its volume and its end hold.
- Outside it they have a window of their own, from now to their end or to the opening of the next one, whichever is first; the rates of the
  site's appliances together never exceed the site's.
- What an appliance has fetched in the window already is taken off its volume, so that a plan told anew gives nothing twice.
- An order that is told anew has waited what it has waited: its escalation does not begin again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from contracts.pins import Preposition
from contracts.plans import AppliancePlan, Order
from fill_planner.schedule import split
from fill_planner.snapshot import SiteWindow


@dataclass(frozen=True, slots=True)
class Phase:
    """What decides over what a site is told; while it stays the same, nothing is told anew."""

    standing: int
    open: bool
    active: frozenset[int]


@dataclass(frozen=True, slots=True)
class Told:
    """Number, instant and site of what is told. `used_bytes` have been fetched in the open window, by appliance."""

    number: int
    now: float
    site_rate_bps: int
    used_bytes: Mapping[str, int]


def is_active(preposition: Preposition, now: float) -> bool:
    return preposition.cancelled_at is None and now < preposition.wanted.until


def is_open(plan: AppliancePlan, now: float) -> bool:
    return plan.window_opens_at <= now < plan.window_closes_at


def phase_of(standing: Iterable[AppliancePlan], active: Iterable[Preposition], now: float) -> Phase:
    plans = list(standing)
    return Phase(
        max((plan.number for plan in plans), default=0),
        any(is_open(plan, now) for plan in plans),
        frozenset(one.number for one in active),
    )


def compose(
    standing: Mapping[str, AppliancePlan], boxes: Iterable[str], active: Sequence[Preposition], told: Told
) -> dict[str, AppliancePlan]:
    """What each appliance of a site is told now; who is not in the answer goes by what it has."""
    extra = {box_id: _orders_for(box_id, active) for box_id in boxes}
    if any(is_open(plan, told.now) for plan in standing.values()):
        return {box_id: _together(plan, extra.get(box_id, ()), told) for box_id, plan in standing.items()}
    busy = {box_id: orders for box_id, orders in extra.items() if orders}
    free = {box_id: again(plan, told) for box_id, plan in standing.items() if box_id not in busy}
    return {**free, **_small_window(standing, busy, active, told)}


def again(plan: AppliancePlan, told: Told) -> AppliancePlan:
    """The same plan under a new number."""
    return _together(plan, (), told)


def _orders_for(box_id: str, active: Sequence[Preposition]) -> tuple[Order, ...]:
    """Its orders out of cycle, each once, those of the earlier preposition first."""
    found: dict[str, Order] = {}
    for one in active:
        for placed in one.orders:
            if placed.appliance_id == box_id:
                found.setdefault(placed.order.id, placed.order)
    return tuple(found.values())


def _together(plan: AppliancePlan, extra: Sequence[Order], told: Told) -> AppliancePlan:
    named = {order.id for order in extra}
    waited_s = max(0.0, told.now - max(plan.window_opens_at, plan.created_at))
    rest = [_waited(order, waited_s) for order in plan.orders if order.id not in named]
    orders = [*extra, *rest]
    return msgspec.structs.replace(
        plan,
        number=told.number,
        created_at=told.now,
        volume_bytes=_left(plan, told),
        pins=tuple(dict.fromkeys((*plan.pins, *(order.key for order in extra)))),
        orders=tuple(msgspec.structs.replace(order, priority=place) for place, order in enumerate(orders)),
    )


def _left(plan: AppliancePlan, told: Told) -> int:
    """0 would mean "no cap" to an appliance."""
    if not is_open(plan, told.now):
        return plan.volume_bytes
    return max(1, plan.volume_bytes - told.used_bytes.get(plan.appliance_id, 0))


def _waited(order: Order, waited_s: float) -> Order:
    if not waited_s:
        return order
    sources = tuple(msgspec.structs.replace(s, after_s=max(0.0, s.after_s - waited_s)) for s in order.sources)
    return msgspec.structs.replace(order, sources=sources)


def _small_window(
    standing: Mapping[str, AppliancePlan],
    busy: Mapping[str, tuple[Order, ...]],
    active: Sequence[Preposition],
    told: Told,
) -> dict[str, AppliancePlan]:
    if not busy:
        return {}
    next_opening = min((p.window_opens_at for p in standing.values() if p.window_opens_at > told.now), default=None)
    ends = max(one.wanted.until for one in active)
    closes_at = ends if next_opening is None else min(ends, next_opening)
    asked = max((one.wanted.rate_bps or told.site_rate_bps for one in active), default=told.site_rate_bps)
    amounts = {box_id: sum(order.size_bytes for order in orders) for box_id, orders in busy.items()}
    window = SiteWindow(told.now, closes_at, min(asked, told.site_rate_bps), sum(amounts.values()))
    shares = split(window, told.now, amounts)
    # What does not fit before the next opening goes on in that window; until then the site's rate is divided by need.
    over = max(1.0, sum(share.rate_bps for share in shares.values()) / window.rate_bps)
    return {
        box_id: AppliancePlan(
            number=told.number,
            appliance_id=box_id,
            created_at=told.now,
            window_opens_at=told.now,
            window_closes_at=closes_at,
            rate_bps=max(1, int(shares[box_id].rate_bps / over)),
            volume_bytes=max(1, shares[box_id].volume_bytes),
            pins=tuple(dict.fromkeys((*_pins(standing.get(box_id)), *(order.key for order in orders)))),
            orders=tuple(msgspec.structs.replace(order, priority=place) for place, order in enumerate(orders)),
        )
        for box_id, orders in busy.items()
    }


def _pins(plan: AppliancePlan | None) -> tuple[str, ...]:
    return plan.pins if plan is not None else ()


def without_keys(plan: AppliancePlan, gone: frozenset[str], told: Told) -> AppliancePlan:
    """The plan without some keys, told anew."""
    pins = tuple(key for key in plan.pins if key not in gone)
    orders = tuple(order for order in plan.orders if order.key not in gone)
    return again(msgspec.structs.replace(plan, pins=pins, orders=orders), told)
