"""What the record does by itself: planning anew after a loss, ending licences, writing the nightly report."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from chassis.clock import VirtualClock
from chassis.metrics import Metrics
from contracts.catalogue import Licence
from contracts.places import ApplianceRegistration, ApplianceState, FillWindow, Site
from contracts.plans import AppliancePlan, PlanCause
from contracts.reports import (
    ApplianceReport,
    DiskFacts,
    FileTraffic,
    FillState,
    OrderProgress,
    Purpose,
    Source,
    SourceTraffic,
)
from contracts.triggers import Selection, TriggerType
from control_plane.archive import catalogue as catalogue_archive
from control_plane.archive import places as place_archive
from control_plane.archive import plans as plan_archive
from control_plane.archive import reports as report_archive
from control_plane.config import Plans
from control_plane.desk import Desk
from control_plane.health import SuspectReason
from control_plane.ingestion import judge
from control_plane.licences import Licences
from control_plane.nightly import Nightly
from control_plane.nightly_page import page
from control_plane.planning import Planning, renumbered
from control_plane.triggers import TriggerDesk
from fill_planner.config import PlannerSettings
from fill_planner.plan import make_plan
from tests.control_plane.plane import GB, ORIGIN, report, title
from tests.control_plane.test_background import MIDNIGHT, desk_of

HOUR = 3600
NIGHT = FillWindow("02:00", "06:00", "UTC", 8_000_000, GB)
SETTINGS = Plans(at="01:00", replan_after_s=600.0)


@dataclass
class Record:
    """A record with a virtual clock: sites `a` (three appliances, a1 to a3) and `b` (b1 to b4)."""

    desk: Desk
    clock: VirtualClock
    planning: Planning
    counted: Metrics
    reports: dict[str, ApplianceReport]

    async def reported(self, box_id: str, **changes: object) -> None:
        box = self.desk.registry.boxes[box_id]
        before = self.reports.get(box_id, report(0))
        after = msgspec.structs.replace(
            before, **{"sequence": before.sequence + 1, "traffic": (), "orders": (), **changes}
        )
        self.reports[box_id] = after
        now = self.clock.wall_s()
        judgement = judge(box.reported, after)
        async with self.desk.alone(), self.desk.archive() as session:
            await report_archive.store(session, box, judgement, after, now, now)
        self.desk.registry.take_report(box, judgement, after, now)

    def suspected(self, box_id: str, suspect: SuspectReason | None = SuspectReason.BEATS_MISSED) -> None:
        self.desk.change_pulse(self.desk.registry.boxes[box_id], lambda pulse: replace(pulse, suspect=suspect))

    def told(self, box_id: str) -> AppliancePlan:
        plan = self.desk.registry.boxes[box_id].plan
        assert plan is not None
        return plan

    async def causes(self) -> list[tuple[PlanCause, tuple[str, ...]]]:
        async with self.desk.database.read() as session:
            return [(plan.cause, plan.sites) for plan in reversed(await plan_archive.summaries(session))]


@asynccontextmanager
async def recorded(folder: Path) -> AsyncIterator[Record]:
    clock = VirtualClock(MIDNIGHT + HOUR)
    counted = Metrics("control-plane", process=False)
    async with desk_of(folder, clock, counted=counted) as desk:
        record = Record(desk, clock, Planning(desk, SETTINGS, PlannerSettings()), counted, {})
        desk.registry.put_origin(ORIGIN)
        names = {"a": ("a1", "a2", "a3"), "b": ("b1", "b2", "b3", "b4")}
        for site_id, boxes in names.items():
            site = Site(site_id, site_id.upper(), "isp", "DE", window=NIGHT)
            async with desk.archive() as session:
                await place_archive.put_site(session, site)
                for box_id in boxes:
                    registration = ApplianceRegistration(box_id, site_id, site_id)
                    await place_archive.put_box(session, registration, ApplianceState.LIVE)
            desk.registry.put_site(site)
            for box_id in boxes:
                desk.registry.put_box(ApplianceRegistration(box_id, site_id, site_id))
                desk.registry.set_state(desk.registry.boxes[box_id], ApplianceState.LIVE)
                await record.reported(box_id, peer_url=f"https://{box_id}")
                record.suspected(box_id, None)
        await with_title(record, "sea")
        yield record


async def with_title(record: Record, title_id: str, licence: Licence | None = None) -> None:
    """Published, and watched at both sites for three days."""
    one = title(title_id, seed=title_id[:1].encode())
    if licence is not None:
        one = msgspec.structs.replace(one, facts=msgspec.structs.replace(one.facts, licence=licence))
    async with record.desk.archive() as session:
        await catalogue_archive.put_title(session, one)
        for site_id in ("a", "b"):
            rows = [FileTraffic(one.files[0].key, int(MIDNIGHT) - day * 24 * HOUR, 9, 9_000_000) for day in range(3)]
            await report_archive.add_traffic(session, site_id, f"{site_id}1", rows)
    record.desk.registry.put_title(one)


# --- losses


async def test_a_site_whose_appliance_stays_away_is_planned_anew_and_the_other_site_is_not(tmp_path: Path) -> None:
    async with recorded(tmp_path) as record:
        await record.planning.make(PlanCause.NIGHTLY)
        holder = next(box for box in ("a1", "a2", "a3") if record.told(box).orders)
        before = record.told("b1")
        record.suspected(holder)
        for _ in range(119):
            await record.planning.plan_losses()
            await record.clock.advance(5.0)
        assert [cause for cause, _ in await record.causes()] == [PlanCause.NIGHTLY]
        await record.clock.advance(10.0)
        assert await record.planning.plan_losses()
        assert await record.causes() == [(PlanCause.NIGHTLY, ()), (PlanCause.APPLIANCE_LOST, ("a",))]
        assert record.told(holder).orders == ()
        others = [box for box in ("a1", "a2", "a3") if box != holder]
        assert {order.key for box in others for order in record.told(box).orders} >= {title("sea").files[0].key}
        assert all(s.name != holder for box in others for order in record.told(box).orders for s in order.sources)
        assert record.told("b1") == before
        await record.planning.plan_losses()
        assert len(await record.causes()) == 2, "once is enough"
        exposed = record.counted.exposition().decode()
        assert 'lowtide_control_plane_plans_total{cause="appliance-lost"} 1.0' in exposed


async def test_an_appliance_that_flaps_is_no_loss(tmp_path: Path) -> None:
    async with recorded(tmp_path) as record:
        await record.planning.make(PlanCause.NIGHTLY)
        for step in range(300):
            record.suspected("a1", SuspectReason.STREAM_BROKEN if step % 100 else None)
            await record.planning.plan_losses()
            await record.clock.advance(5.0)
        assert [cause for cause, _ in await record.causes()] == [PlanCause.NIGHTLY]


async def test_an_appliance_that_is_back_for_good_is_planned_for_again(tmp_path: Path) -> None:
    async with recorded(tmp_path) as record:
        record.suspected("a1")
        record.planning.look()
        await record.clock.advance(601.0)
        await record.planning.make(PlanCause.NIGHTLY)
        record.suspected("a1", None)
        record.planning.look()
        await record.clock.advance(601.0)
        await record.planning.plan_losses()
        assert await record.causes() == [(PlanCause.NIGHTLY, ()), (PlanCause.APPLIANCE_BACK, ("a",))]


async def test_a_disk_that_is_gone_is_a_loss_although_the_appliance_beats(tmp_path: Path) -> None:
    async with recorded(tmp_path) as record:
        disks = (DiskFacts("/one", 5 * GB, 0, 0), DiskFacts("/two", 5 * GB, 0, 0))
        await record.reported("b2", disks=disks)
        await record.planning.make(PlanCause.NIGHTLY)
        await record.reported("b2", disks=(disks[0], msgspec.structs.replace(disks[1], healthy=False)))
        record.planning.look()
        await record.clock.advance(601.0)
        await record.planning.plan_losses()
        assert (await record.causes())[1:] == [(PlanCause.DISK_LOST, ("b",))]


async def test_when_nearly_all_are_silent_nothing_is_planned_anew(tmp_path: Path) -> None:
    async with recorded(tmp_path) as record:
        await record.planning.make(PlanCause.NIGHTLY)
        for box_id in ("a1", "a2", "b1", "b2"):
            record.suspected(box_id)
        for _ in range(3):
            await record.planning.plan_losses()
            await record.clock.advance(601.0)
        assert [cause for cause, _ in await record.causes()] == [PlanCause.NIGHTLY]


async def test_a_plan_that_is_made_in_the_open_window_gives_only_what_is_left_of_the_volume(tmp_path: Path) -> None:
    async with recorded(tmp_path) as record:
        await record.planning.make(PlanCause.NIGHTLY)
        await record.clock.advance(2.5 * HOUR)
        fetched = SourceTraffic(Source.ORIGIN, Purpose.FILL, 5, 999_900_000)
        await record.reported("a1", sources=(fetched,))
        picture = await record.planning.snapshot()
        volumes = {site.site.id: site.window.volume_bytes for site in picture.sites}
        assert volumes == {"a": 100_000, "b": GB}
        await record.planning.make(PlanCause.ASKED, ("a",))
        assert sum(record.told(box).volume_bytes for box in ("a1", "a2", "a3")) <= 100_000


# --- licences


async def test_when_a_licence_ends_the_plans_let_go_and_every_appliance_is_told_to_purge_once(tmp_path: Path) -> None:
    async with recorded(tmp_path) as record:
        ends_at = MIDNIGHT + 10 * HOUR
        await with_title(record, "gone", Licence(ends_at=ends_at))
        triggers = TriggerDesk(record.desk)
        licences = Licences(record.desk, record.planning, triggers)
        await licences.load()
        await record.planning.make(PlanCause.NIGHTLY)
        holder = next(box for box in ("a1", "a2", "a3") if any("gone" in key for key in record.told(box).pins))
        await record.clock.advance(8 * HOUR)
        await licences.carry_out()
        assert any("gone" in key for key in record.told(holder).pins)
        await record.clock.advance(HOUR)
        await licences.carry_out()
        for box in record.desk.registry.boxes.values():
            assert box.plan is not None
            assert not any("gone" in key for key in box.plan.pins)
            assert not any("gone" in order.key for order in box.plan.orders)
        assert any("sea" in key for key in record.told(holder).pins + record.told("b1").pins)
        (told,) = triggers.after(0).triggers
        assert (told.type, told.selection, told.text) == (TriggerType.PURGE, Selection.TAG, "title:gone")
        again = Licences(record.desk, record.planning, triggers)
        await again.load()
        await again.carry_out()
        assert len(triggers.after(0).triggers) == 1
        async with record.desk.database.read() as session:
            loaded = await place_archive.load(session)
        assert not any("gone" in key for key in (loaded.boxes[holder].plan or record.told(holder)).pins)


async def test_licences_that_end_together_let_go_once_and_take_the_volume_once(tmp_path: Path) -> None:
    async with recorded(tmp_path) as record:
        ends_at = MIDNIGHT + 10 * HOUR - 60.0
        for title_id in ("gone", "lost", "over"):
            await with_title(record, title_id, Licence(ends_at=ends_at))
        triggers = TriggerDesk(record.desk)
        licences = Licences(record.desk, record.planning, triggers)
        await licences.load()
        await record.planning.make(PlanCause.NIGHTLY)
        before = len(await record.causes())
        await record.clock.advance(ends_at - record.clock.wall_s())
        await licences.carry_out()
        assert (await record.causes())[before:] == [(PlanCause.LICENCE_ENDED, ("a", "b"))]
        kept = [key for box in ("a1", "a2", "a3", "b1") for key in record.told(box).pins]
        assert not any(name in key for key in kept for name in ("gone", "lost", "over"))
        assert [one.text for one in triggers.after(0).triggers] == ["title:gone", "title:lost", "title:over"]


async def test_a_plan_that_others_overtook_while_it_was_made_has_the_next_number_and_the_later_instant(
    tmp_path: Path,
) -> None:
    async with recorded(tmp_path) as record:
        began = record.clock.wall_s()
        summary = await record.planning.make(PlanCause.NIGHTLY)
        assert (summary.number, summary.created_at) == (1, began)
        plan = make_plan(await record.planning.snapshot(), PlannerSettings())
        assert renumbered(plan, 2, began + 9.0) is plan
        late = renumbered(plan, 3, began + 9.0)
        assert (late.summary.number, late.summary.created_at) == (3, began + 9.0)
        assert {(one.number, one.created_at) for one in late.appliances} == {(3, began + 9.0)}
        assert {one.plan_number for one in late.explanations} == {3}
        assert [one.orders for one in late.appliances] == [one.orders for one in plan.appliances]


async def test_a_licence_that_is_prolonged_in_time_does_not_end_and_one_that_moves_ends_again(tmp_path: Path) -> None:
    async with recorded(tmp_path) as record:
        triggers = TriggerDesk(record.desk)
        licences = Licences(record.desk, record.planning, triggers)
        now = record.clock.wall_s()
        await with_title(record, "gone", Licence(ends_at=now + 60.0))
        await with_title(record, "gone", Licence(ends_at=now + 120.0))
        await record.clock.advance(61.0)
        assert licences.due() == ()
        await record.clock.advance(60.0)
        await licences.carry_out()
        await with_title(record, "gone", Licence(ends_at=now + 180.0))
        await licences.carry_out()
        assert len(triggers.after(0).triggers) == 1
        await record.clock.advance(60.0)
        await licences.carry_out()
        assert len(triggers.after(0).triggers) == 2


# --- the nightly report


async def test_the_report_of_a_night_says_what_it_moved_and_what_the_day_served(tmp_path: Path) -> None:
    async with recorded(tmp_path) as record:
        nightly = Nightly(record.desk, SETTINGS)
        await record.planning.make(PlanCause.NIGHTLY)
        await with_title(record, "sky")
        await record.clock.advance(24 * HOUR)
        served = FileTraffic(title("sea").files[0].key, int(MIDNIGHT) + 20 * HOUR, 4, 600_000)
        boxes = ("a1", "a2", "a3")
        sources = (
            SourceTraffic(Source.HIT, Purpose.CLIENT, 3, 450_000),
            SourceTraffic(Source.ORIGIN, Purpose.CLIENT, 1, 150_000),
        )
        await record.reported("a1", traffic=(served,), sources=sources)
        await record.planning.make(PlanCause.NIGHTLY)
        await record.clock.advance(2 * HOUR)
        orders = [(box, order) for box in boxes for order in record.told(box).orders if "sky" in order.key]
        (box_id, failing), *others = orders
        assert others, "a playlist and a video"
        progress = {name: [] for name in boxes}  # type: dict[str, list[OrderProgress]]
        failed = OrderProgress(failing.id, failing.key, FillState.FAILED, 0, 5, {}, "no-space: disk /one is full")
        progress[box_id].append(failed)
        for name, order in others:
            progress[name].append(
                OrderProgress(order.id, order.key, FillState.DONE, order.size_bytes, order.size_bytes)
            )
        filled = (*sources, SourceTraffic(Source.PEER, Purpose.FILL, 1, 500), SourceTraffic(Source.ORIGIN, Purpose.FILL, 1, 300_000))  # fmt: skip
        for name in boxes:
            await record.reported(name, orders=tuple(progress[name]), **({"sources": filled} if name == "a1" else {}))
        await nightly.make_due()
        assert [entry.day for entry in (await nightly.listed()).reports if entry.site_id == "a"] == ["2026-01-01"], (
            "the window of the day before has closed within a day"
        )
        await record.clock.advance(4 * HOUR)
        await nightly.make_due()
        found = await nightly.report("a", "latest")
        assert found.day == "2026-01-02"
        assert found.inside_share == 0.75
        assert (found.client_requests, found.missed_requests) == (4, 1)
        assert (found.orders_done, found.orders_failed) == (len(others), 1)
        (row,) = found.failures
        assert (row.reason, row.orders) == ("no-space", 1)
        assert row.examples == (f"{box_id}: {failing.key} (disk /one is full)",)
        assert {change.key for change in found.gained} == {file.key for file in title("sky").files}
        assert (found.gained_files, found.lost_files) == (2, 0)
        assert found.forecast_served_bytes == 600_000
        assert found.forecast_plan_number < found.plan_number
        assert found.expected_inside_share == 1.0, "of this site alone: what was known is placed"
        assert found.forecast_error is not None
        (entry, *_) = [one for one in (await nightly.listed()).reports if one.site_id == "a"]
        assert (entry.filled_bytes, entry.orders_failed) == (300_500, 1)
        text = page(found)
        for words in ("75.0%", "no-space", "disk /one is full", "of 4 requests of players", "/media/sky/hd/v-360.mp4"):
            assert words in text, words
        assert "<script" not in text
        assert "http://" not in text.replace("http://www.w3.org", "")


async def test_reports_are_kept_for_a_while_and_a_night_long_past_is_not_written_any_more(tmp_path: Path) -> None:
    async with recorded(tmp_path) as record:
        nightly = Nightly(record.desk, Plans(report_days=2))
        for _ in range(4):
            await record.clock.advance(24 * HOUR)
            await nightly.make_due()
            await nightly.make_due()
        days = [entry.day for entry in (await nightly.listed()).reports if entry.site_id == "a"]
        assert days == ["2026-01-04", "2026-01-03"]
        await record.clock.advance(10 * 24 * HOUR)
        again = Nightly(record.desk, Plans(report_days=2))
        await again.load()
        await again.make_due()
        assert [e.day for e in (await again.listed()).reports if e.site_id == "a"] == ["2026-01-14"]
