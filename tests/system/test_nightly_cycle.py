"""Nights that go wrong, with real appliances in compressed time: plans are made by themselves and carried out by themselves.

A day takes 36 s here, a window 12 s. Nothing waits for an instant: each test waits for what it wants to see.
The shortest is of `make test-system`, all are of `make test-nights`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import msgspec
import pytest

from benchmarks.cycle.__main__ import live_through
from benchmarks.cycle.catalogue import DAY_S, HOUR_S, Demand, Entry, Shape, View, make_catalogue
from benchmarks.cycle.days import OUTSIDE_SLACK, day_rows, laws
from benchmarks.cycle.town import PLANNED, Setting, Town, open_town
from benchmarks.cycle.viewers import Viewers
from contracts.overview import ApplianceOverview, Overview
from contracts.plans import AppliancePlan, Order
from contracts.reports import FileTraffic, Source
from demo.operator import read_token
from fill_planner.snapshot import PlanningSnapshot

pytestmark = [pytest.mark.system]
SHAPE = Shape(files=60, days=4, releases_a_day=1, mean_bytes=600_000)
SETTING = Setting(day_s=36.0, disk_share=0.4, fills_in_hours=6.0, set_up_s=0.0, pulled=("b1",))
WANTED = 15
"""Files that are watched: few enough that there is room for what nobody knows yet."""
WITHIN_S = 100.0
"""More than two nights: whatever has to happen by itself has happened by then."""


@dataclass
class Nights:
    """A town whose files of today are wanted, and what the control plane says of it."""

    town: Town

    async def until(self, what: str, true: Callable[[Overview], bool], within_s: float = WITHIN_S) -> Overview:
        """The first overview of which it is true."""
        end = time.monotonic() + within_s
        last: Overview | None = None
        while time.monotonic() < end:
            try:
                last = await self.town.operator.overview()
            except httpx.HTTPError:
                await asyncio.sleep(0.2)
                continue
            if true(last):
                return last
            await asyncio.sleep(0.2)
        raise AssertionError(f"never: {what}; last seen: {last and {e.appliance.id: e.fill for e in last.appliances}}")

    async def until_night(self, after: int = 0) -> int:
        """The number of the next plan that both appliances work by."""
        overview = await self.until(
            f"a plan after {after}",
            lambda seen: min(box_of(seen, name).reported_plan_number for name in self.boxes) > after,
        )
        return min(box_of(overview, name).reported_plan_number for name in self.boxes)

    @property
    def boxes(self) -> tuple[str, ...]:
        return self.town.setting.planned

    async def want(self, entries: list[Entry]) -> None:
        """Yesterday every one of these files was watched in every hour, as another system knows."""
        now = self.town.lab.shown(time.time())
        last = int(now // HOUR_S * HOUR_S)
        hours = range(last - int(DAY_S), last, int(HOUR_S))
        rows = [FileTraffic(entry.media.key, hour, 20, 20 * entry.size_bytes) for entry in entries for hour in hours]
        await self.town.operator.import_traffic(PLANNED, rows)

    async def held(self, box: str) -> dict[str, int]:
        """Key → bytes that an appliance has reported to hold."""
        token = read_token(self.town.layout.operator_token)
        url = self.town.layout.url("control-plane.http")
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=30.0) as client:
            answer = (await client.get(f"{url}/v1/plans/snapshot")).raise_for_status()
        snapshot = msgspec.json.decode(answer.content, type=PlanningSnapshot)
        return next(entry.held for entry in snapshot.appliances if entry.appliance.id == box)

    def orders(self) -> dict[str, Order]:
        """By id, of both appliances."""
        return {order.id: order for box in self.boxes for order in self.plan(box).orders}

    def plan(self, box: str) -> AppliancePlan:
        """The plan that an appliance keeps."""
        return msgspec.json.decode((self.town.state_dir(box) / "plan.json").read_bytes(), type=AppliancePlan)


@asynccontextmanager
async def nights(folder: Path, **changed: object) -> AsyncIterator[Nights]:
    async with open_town(folder, replace(SETTING, **changed), make_catalogue(SHAPE)) as town:  # type: ignore[arg-type]
        found = Nights(town)
        await found.want([entry for entry in town.entries if not entry.is_release][:WANTED])
        yield found


def box_of(overview: Overview, name: str) -> ApplianceOverview:
    return next(entry for entry in overview.appliances if entry.appliance.id == name)


def is_filled(overview: Overview, name: str, plan: int) -> bool:
    """Everything that the plan ordered is there."""
    entry = box_of(overview, name)
    return bool(entry.reported_plan_number >= plan and entry.fill.orders and entry.fill.done == entry.fill.orders)


def outside_filled(overview: Overview) -> int:
    site = next(entry for entry in overview.sites if entry.site.id == PLANNED)
    return sum(row.fill_bytes for row in site.served if row.source in (Source.TIER, Source.ORIGIN))


async def test_an_appliance_that_dies_in_mid_window_costs_its_neighbour_no_order_and_goes_on_when_it_is_back(
    tmp_path: Path,
) -> None:
    async with nights(tmp_path) as cycle:
        first, second = cycle.boxes
        plan = await cycle.until_night()
        await cycle.until("fills of the first", lambda seen: box_of(seen, first).fill.bytes_done > 0)
        cycle.town.pull_the_plug(first)
        await cycle.until("the neighbour has all its files", lambda seen: is_filled(seen, second, plan))
        cycle.town.revive(first)
        await cycle.until("the first has all its files", lambda seen: is_filled(seen, first, plan))


@pytest.mark.long
async def test_what_a_closing_window_cuts_off_is_gone_on_with_in_the_next_night_and_fetched_once(
    tmp_path: Path,
) -> None:
    async with nights(tmp_path) as cycle:
        plan = await cycle.until_night()
        ordered = cycle.orders()
        await cycle.until("a beginning", lambda seen: outside_filled(seen) > 0)
        cycle.town.pull_the_plug("origin")
        # Reports come one by one: the first to say so may be ahead of its neighbour's, and of its own orders that are just ending.
        await cycle.until(
            "orders that the window has ended, and none that goes on",
            lambda seen: (
                any("window-closed" in why for name in cycle.boxes for why in box_of(seen, name).fill.failures)
                and all(box_of(seen, name).fill.filling == 0 for name in cycle.boxes)
            ),
        )
        cycle.town.revive("origin")
        await cycle.want([entry for entry in cycle.town.entries if not entry.is_release][:WANTED])
        later = await cycle.until_night(plan)
        again = cycle.orders()
        assert again.keys() & ordered.keys(), "what was not done is ordered again under the same name"
        done = await cycle.until("everything", lambda seen: all(is_filled(seen, name, later) for name in cycle.boxes))
        sizes = {order.key: order.size_bytes for order in (*ordered.values(), *again.values())}
        assert outside_filled(done) <= OUTSIDE_SLACK * sum(sizes.values())


@pytest.mark.long
async def test_a_night_without_the_control_plane_is_served_from_what_is_there_and_the_missed_plan_is_made_afterwards(
    tmp_path: Path,
) -> None:
    async with nights(tmp_path) as cycle:
        plan = await cycle.until_night()
        await cycle.until("a filled first night", lambda seen: all(is_filled(seen, name, plan) for name in cycle.boxes))
        cycle.town.pull_the_plug("control-plane")
        away_until = cycle.town.lab.shown(time.time()) + 1.2 * DAY_S
        pins = set(cycle.plan(cycle.boxes[0]).pins)
        wanted = next(entry for entry in cycle.town.entries if entry.media.key in pins)
        viewers = Viewers(cycle.town, PLANNED)
        try:
            while cycle.town.lab.shown(time.time()) < away_until:
                await viewers.watch(View(0.0, wanted.number), 0, time.time())
                await asyncio.sleep(1.0)
        finally:
            await viewers.close()
        tally = viewers.by_day[0]
        assert (tally.wrong_blocks, tally.not_served) == (0, 0), viewers.complaints
        assert set(cycle.plan(cycle.boxes[0]).pins) == pins, "the last plan stays"
        cycle.town.revive("control-plane")
        await cycle.until_night(plan)


@pytest.mark.long
async def test_a_release_is_inside_before_its_date_and_nobody_had_to_ask_for_it(tmp_path: Path) -> None:
    async with nights(tmp_path, disk_share=0.8) as cycle:
        began = cycle.town.lab.starts_at
        plan = await cycle.until_night()
        now = cycle.town.lab.shown(time.time())
        coming = [entry for entry in cycle.town.entries if entry.is_release and began + entry.out_on * DAY_S > now]
        first_date = min(entry.out_on for entry in coming)
        files = {entry.media.key: entry.size_bytes for entry in coming if entry.out_on == first_date}
        held: dict[str, int] = {}
        while cycle.town.lab.shown(time.time()) < began + first_date * DAY_S - HOUR_S:
            held = {key: size for box in cycle.boxes for key, size in (await cycle.held(box)).items() if key in files}
            if held == files:
                break
            await asyncio.sleep(0.3)
        assert held == files, f"plan {plan}, a night before day {first_date}"


@pytest.mark.long
async def test_two_short_days_by_themselves_break_no_law_and_both_sites_serve_the_same_views(tmp_path: Path) -> None:
    """The cycle of `make cycle`, small."""
    shape = Shape(files=120, days=2, views_a_day=150, releases_a_day=1, mean_bytes=400_000)
    setting = Setting(day_s=30.0, disk_share=0.3, set_up_s=60.0)
    entries = make_catalogue(shape)
    async with open_town(tmp_path, setting, entries) as town:
        run, viewers = await live_through(town, Demand(shape, entries), shape.days, shown=False)
    rows = day_rows(run)
    assert [law for law in laws(run, rows) if not law.holds] == [], [one.complaints for one in viewers]
    assert [row.planned.delivered_bytes for row in rows] == [row.pulled.delivered_bytes for row in rows]
    assert sum(row.planned.done for row in rows) > 0
    assert sum(row.planned.fill_bytes.get("origin", 0) for row in rows) > 0
