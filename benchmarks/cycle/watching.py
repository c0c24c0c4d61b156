"""Watching the cycle from outside: the control plane's overview twice a second, and the plan that each appliance has taken."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx
import msgspec

from benchmarks.cycle.catalogue import DAY_S
from benchmarks.cycle.town import Town
from contracts.overview import ApplianceOverview, Overview, SiteOverview
from contracts.plans import AppliancePlan
from contracts.reports import Source
from player.membership import Refused

EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class SiteCounters:
    """A site's counters since the start, as its appliances have reported them."""

    client_bytes: Mapping[str, int] = field(default_factory=dict)
    """Fetched because a player asked, by source (Source value)."""
    fill_bytes: Mapping[str, int] = field(default_factory=dict)

    @property
    def outside_for_clients(self) -> int:
        return self.client_bytes.get(Source.TIER.value, 0) + self.client_bytes.get(Source.ORIGIN.value, 0)

    @property
    def outside_for_fills(self) -> int:
        return self.fill_bytes.get(Source.TIER.value, 0) + self.fill_bytes.get(Source.ORIGIN.value, 0)


@dataclass(frozen=True, slots=True)
class BoxFigures:
    """One appliance as it was last heard of."""

    site_id: str
    plan_number: int
    """That it works by."""
    orders: int
    done: int
    failed: int
    open: int
    """Waiting or being filled."""
    held_bytes: int
    connected: bool
    failures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """`at_s` counts from the calendar's first midnight, `machine_s` is the machine's monotonic time."""

    at_s: float
    machine_s: float
    plan_number: int
    plan_made_at_s: float
    sites: Mapping[str, SiteCounters]
    boxes: Mapping[str, BoxFigures]


@dataclass(frozen=True, slots=True)
class Ordered:
    """What one plan ordered for one site, each file once."""

    unique_bytes: int
    orders: int
    copies: int = 0
    """Orders of a file that a neighbour of the site holds or fetches too."""


class Watch:
    """Run `run` beside the viewers."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self.samples: list[Sample] = []
        self.ordered: dict[tuple[int, str], dict[str, AppliancePlan]] = {}
        """(plan number, site) → appliance → the plan that it has taken."""
        self.gaps = 0
        """Looks that the control plane did not answer."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        try:
            overview = await self._town.operator.overview()
        except (httpx.HTTPError, Refused):
            self.gaps += 1
            return
        now = self._town.lab.shown(time.time())
        self.samples.append(
            sample_of(overview, now - self._town.lab.starts_at, time.monotonic(), self._town.lab.starts_at)
        )
        for entry in overview.appliances:
            self._read_plan(entry)

    def _read_plan(self, entry: ApplianceOverview) -> None:
        box, number = entry.appliance.id, entry.reported_plan_number
        place = self.ordered.setdefault((number, entry.appliance.site_id), {})
        if not number or box in place:
            return
        try:
            plan = msgspec.json.decode((self._town.state_dir(box) / "plan.json").read_bytes(), type=AppliancePlan)
        except (OSError, msgspec.MsgspecError):
            return
        if plan.number == number:
            place[box] = plan


def sample_of(overview: Overview, at_s: float, machine_s: float, starts_at: float) -> Sample:
    plan = overview.plan
    return Sample(
        at_s,
        machine_s,
        plan.number if plan else 0,
        plan.created_at - starts_at if plan else -DAY_S,
        {site.site.id: _counters(site) for site in overview.sites},
        {entry.appliance.id: _figures(entry) for entry in overview.appliances},
    )


def ordered_of(plans: Mapping[str, AppliancePlan]) -> Ordered:
    sizes = {order.key: order.size_bytes for plan in plans.values() for order in plan.orders}
    holders = Counter(key for plan in plans.values() for key in set(plan.pins))
    copies = sum(holders[order.key] > 1 for plan in plans.values() for order in plan.orders)
    return Ordered(sum(sizes.values()), sum(len(plan.orders) for plan in plans.values()), copies)


def _counters(site: SiteOverview) -> SiteCounters:
    return SiteCounters(
        {row.source.value: row.client_bytes for row in site.served},
        {row.source.value: row.fill_bytes for row in site.served},
    )


def _figures(entry: ApplianceOverview) -> BoxFigures:
    fill = entry.fill
    return BoxFigures(
        entry.appliance.site_id,
        entry.reported_plan_number,
        fill.orders,
        fill.done,
        fill.failed,
        fill.waiting + fill.filling,
        entry.held_bytes,
        entry.connected,
        fill.failures,
    )
