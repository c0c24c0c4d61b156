"""Pins, orders out of cycle, feeds: what operators say to a running control plane, and what appliances are told then."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from chassis.client import ServiceClient
from chassis.errors import ServiceError
from contracts.overview import AuditList
from contracts.pins import (
    FeedList,
    Pin,
    PinKind,
    PinList,
    PinRequest,
    PrepositionList,
    PrepositionRequest,
    PrepositionStatus,
)
from contracts.places import FillWindow, PopularityKind, PopularitySource, Site
from contracts.plans import AppliancePlan, PlacementExplanation, PlanCause, PlanList, PlanSummary, Reason
from contracts.reports import FileTraffic, FillState, OrderProgress, TrafficImport
from fill_planner.snapshot import PlanningSnapshot
from tests.control_plane.plane import GB, ORIGIN, Plane, report, running, title
from tests.control_plane.test_cli import typed
from tests.control_plane.test_record import box_files

HOUR = 3600
SEA, SKY, SEEN = title("sea"), title("sky", seed=b"y"), title("seen", seed=b"s")
KEYS = {one.facts.id: {file.key for file in one.files} for one in (SEA, SKY, SEEN)}


async def with_titles(plane: Plane, *boxes: str, window: FillWindow | None = None) -> dict[str, ServiceClient]:
    """Site `a` with these appliances, one title that people watch and two that nobody has asked for; the window is open unless one is given."""
    site = await plane.add_site()
    if window is not None:
        await plane.operator.put("/v1/sites/a", msgspec.structs.replace(site, window=window), Site)
    origin = await plane.service_caller("origin")
    await origin.put("/v1/origin", ORIGIN)
    for one in (SEA, SKY, SEEN):
        await origin.put(f"/v1/titles/{one.facts.id}", one)
    hour = int(time.time()) // HOUR * HOUR
    rows = tuple(FileTraffic(SEEN.files[0].key, hour - day * 24 * HOUR, 9, 9_000_000) for day in range(3))
    await plane.operator.post("/v1/sites/a/traffic", TrafficImport(rows), None)
    found = {name: await plane.add_box(name) for name in boxes}
    for box in found.values():
        await box.post("/v1/appliance/report", report(), None)
    return found


def closed_now() -> FillWindow:
    """A window that opens in two to three hours."""
    opens = (int(time.time()) // HOUR + 3) % 24
    return FillWindow(f"{opens:02}:00", f"{(opens + 2) % 24:02}:00", "UTC", 8 * GB, 100 * GB)


def said(plan: AppliancePlan) -> set[str]:
    """What is pinned besides what people watch."""
    return set(plan.pins) - KEYS["seen"]


async def told(box: ServiceClient) -> AppliancePlan:
    return await box.get("/v1/appliance/plan", AppliancePlan)


async def pinned(plane: Plane, kind: PinKind, **wanted: object) -> Pin:
    return await plane.operator.post("/v1/pins", PinRequest(kind, **wanted), Pin)  # type: ignore[arg-type]


async def prepositioned(plane: Plane, until_s: float = 3600.0, **wanted: object) -> PrepositionStatus:
    asked = PrepositionRequest(time.time() + until_s, **wanted)  # type: ignore[arg-type]
    return await plane.operator.post("/v1/prepositions", asked, PrepositionStatus)


# --- pins


async def test_a_pin_is_in_the_next_plan_and_its_removal_in_the_one_after(plane: Plane) -> None:
    boxes = await with_titles(plane, "a1")
    one = await pinned(plane, PinKind.ALWAYS, title_id="sea", site_id="a", reason="festival")
    assert (one.number, one.files, one.operator) == (1, 2, "operator")
    await plane.operator.post("/v1/plans", None, PlanSummary)
    plan = await told(boxes["a1"])
    assert said(plan) == KEYS["sea"]
    assert {order.reason for order in plan.orders if order.key in KEYS["sea"]} == {Reason.PINNED}
    assert {order.key for order in plan.orders[:2]} == KEYS["sea"], "before what people watch"
    listed = (await plane.operator.get("/v1/pins", PinList)).pins
    assert [(pin.number, pin.wanted.title_id, pin.files) for pin in listed] == [(1, "sea", 2)]
    await plane.operator.delete("/v1/pins/1", Pin)
    await plane.operator.post("/v1/plans", None, PlanSummary)
    assert said(await told(boxes["a1"])) == set()
    entries = (await plane.operator.get("/v1/audit", AuditList)).entries
    changes = [(entry.action, entry.subject) for entry in entries if "pin" in entry.action]
    assert changes == [("remove-pin", "1"), ("add-pin", "1")]
    assert "festival" in next(entry.detail for entry in entries if entry.action == "add-pin")


async def test_what_is_blocked_is_not_placed_and_the_explanation_says_who_did_it(plane: Plane) -> None:
    boxes = await with_titles(plane, "a1")
    await pinned(plane, PinKind.ALWAYS, title_id="sea")
    await pinned(plane, PinKind.NEVER, title_id="sea", region="DE")
    await plane.operator.post("/v1/plans", None, PlanSummary)
    assert said(await told(boxes["a1"])) == set()
    query = {"key": SEA.files[0].key, "site": "a"}
    why = await plane.operator.get("/v1/plans/latest/explain", PlacementExplanation, query=query)
    assert why.reason is Reason.FORBIDDEN
    assert "operator" in why.sentence


async def test_a_pin_that_contradicts_itself_is_refused_and_one_that_is_unknown_is_not_there(plane: Plane) -> None:
    await with_titles(plane)
    with pytest.raises(ServiceError, match="say exactly one of them"):
        await pinned(plane, PinKind.ALWAYS)
    with pytest.raises(ServiceError, match="there is no site 'zz'"):
        await pinned(plane, PinKind.ALWAYS, title_id="sea", site_id="zz")
    with pytest.raises(ServiceError, match=r"ends_at: 1\.76723e\+12 is not an instant in seconds"):
        await pinned(plane, PinKind.ALWAYS, title_id="sea", ends_at=1_767_225_600_000.0)
    for number in ("7", "x"):
        with pytest.raises(ServiceError, match="there is no pin") as caught:
            await plane.operator.delete(f"/v1/pins/{number}")
        assert caught.value.status == 404


async def test_numbers_of_pins_are_never_given_twice(plane: Plane) -> None:
    await with_titles(plane)
    assert (await pinned(plane, PinKind.ALWAYS, title_id="sea")).number == 1
    await plane.operator.delete("/v1/pins/1", Pin)
    assert (await pinned(plane, PinKind.ALWAYS, title_id="sea")).number == 2


async def test_a_title_may_be_pinned_before_it_is_published(plane: Plane) -> None:
    await with_titles(plane, "a1")
    assert (await pinned(plane, PinKind.ALWAYS, title_id="later")).files == 0
    origin = await plane.service_caller("origin")
    await origin.put("/v1/titles/later", title("later", seed=b"z"))
    snapshot = await plane.operator.get("/v1/plans/snapshot", PlanningSnapshot)
    assert set(snapshot.sites[0].required) == {file.key for file in title("later", seed=b"z").files}


# --- out of cycle


async def test_an_order_out_of_cycle_has_a_window_of_its_own_until_the_next_one_opens(plane: Plane) -> None:
    window = closed_now()
    boxes = await with_titles(plane, "a1", window=window)
    await pinned(plane, PinKind.ALWAYS, title_id="sky")
    await plane.operator.post("/v1/plans", None, PlanSummary)
    tonight = await told(boxes["a1"])
    assert tonight.window_opens_at > time.time()
    made = await prepositioned(plane, title_id="sea", site_id="a", until_s=12 * HOUR)
    assert (made.active, len(made.preposition.orders), made.preposition.refused) == (True, 2, ())
    now = await told(boxes["a1"])
    assert now.window_opens_at <= time.time() < now.window_closes_at
    assert now.window_closes_at == tonight.window_opens_at
    assert {order.key for order in now.orders} == KEYS["sea"]
    assert said(now) == KEYS["sea"] | KEYS["sky"]
    assert now.rate_bps <= window.rate_bps
    assert now.number > tonight.number
    await plane.operator.delete("/v1/prepositions/1", PrepositionStatus)
    back = await told(boxes["a1"])
    assert back.number > now.number
    assert (back.pins, [order.id for order in back.orders]) == (tonight.pins, [order.id for order in tonight.orders])
    assert (back.window_opens_at, back.window_closes_at) == (tonight.window_opens_at, tonight.window_closes_at)
    causes = [plan.cause for plan in (await plane.operator.get("/v1/plans", PlanList)).plans]
    assert causes == [PlanCause.PREPOSITION_OVER, PlanCause.PREPOSITION, PlanCause.ASKED]
    latest = await plane.operator.get("/v1/plans/latest", PlanSummary)
    assert latest.number == tonight.number, "the plan in force for all sites is the one that placed files"


async def test_an_order_out_of_cycle_in_an_open_window_comes_first_and_survives_the_next_plan(plane: Plane) -> None:
    boxes = await with_titles(plane, "a1")
    await pinned(plane, PinKind.ALWAYS, title_id="sky")
    await plane.operator.post("/v1/plans", None, PlanSummary)
    tonight = await told(boxes["a1"])
    await prepositioned(plane, key=SEA.files[0].key, site_id="a")
    for _ in range(2):
        now = await told(boxes["a1"])
        assert [order.key for order in now.orders][: len(KEYS["sea"])] == sorted(
            KEYS["sea"], key=lambda key: next(file.size_bytes for file in SEA.files if file.key == key)
        ), "its group goes with it"
        assert {order.id for order in tonight.orders} < {order.id for order in now.orders}
        assert now.window_closes_at == tonight.window_closes_at
        await plane.operator.post("/v1/plans", None, PlanSummary)
        await settled(boxes["a1"], now.number + 2)


async def settled(box: ServiceClient, number: int) -> None:
    """Until the appliance is told a plan of at least this number: the control plane looks once a second."""
    until_s = time.monotonic() + 15.0
    while (await told(box)).number < number:
        assert time.monotonic() < until_s, await told(box)


async def test_an_order_out_of_cycle_says_how_far_it_is(plane: Plane) -> None:
    boxes = await with_titles(plane, "a1")
    made = await prepositioned(plane, title_id="sea", region="DE")
    first = made.preposition.orders[0].order
    done = OrderProgress(first.id, first.key, FillState.DONE, first.size_bytes, first.size_bytes)
    await boxes["a1"].post("/v1/appliance/report", report(2, orders=(done,)), None)
    (found,) = (await plane.operator.get("/v1/prepositions", PrepositionList)).prepositions
    assert (found.done, found.failed, found.bytes_done) == (1, 0, first.size_bytes)
    assert found.bytes_total == sum(file.size_bytes for file in SEA.files)


async def test_what_cannot_be_ordered_is_refused_with_the_reason(plane: Plane) -> None:
    await with_titles(plane, "a1")
    with pytest.raises(ServiceError, match="there is no published file or title 'nothing'"):
        await prepositioned(plane, title_id="nothing", site_id="a")
    with pytest.raises(ServiceError, match="say one of them"):
        await prepositioned(plane, title_id="sea")
    with pytest.raises(ServiceError, match="until: must lie within"):
        await prepositioned(plane, title_id="sea", site_id="a", until_s=-1.0)
    await pinned(plane, PinKind.NEVER, title_id="sea")
    with pytest.raises(ServiceError, match="an operator wants it nowhere here") as caught:
        await prepositioned(plane, title_id="sea", site_id="a")
    assert caught.value.status == 409
    assert (await plane.operator.get("/v1/prepositions", PrepositionList)).prepositions == ()


async def test_an_order_out_of_cycle_outlives_a_restart_and_the_plan_that_stands_comes_back_after_it(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as plane:
        boxes = await with_titles(plane, "a1", window=closed_now())
        await pinned(plane, PinKind.ALWAYS, title_id="sky")
        await plane.operator.post("/v1/plans", None, PlanSummary)
        tonight = await told(boxes["a1"])
        await prepositioned(plane, title_id="sea", site_id="a")
        before = await told(boxes["a1"])
    async with running(tmp_path) as plane:
        box = plane.caller(box_files(tmp_path, "a1"))
        await settled(box, before.number)
        assert {order.key for order in (await told(box)).orders} == KEYS["sea"]
        assert (await plane.operator.get("/v1/plans/latest", PlanSummary)).number == tonight.number
        await plane.operator.delete("/v1/prepositions/1", PrepositionStatus)
        assert [order.id for order in (await told(box)).orders] == [order.id for order in tonight.orders]


# --- feeds


async def put_feed(plane: Plane, text: str, name: str = "chart") -> None:
    headers = {"Content-Type": "text/csv"}
    async with plane.operator.open("PUT", f"/v1/feeds/{name}", data=text.encode(), headers=headers) as answer:
        await answer.read()


async def test_a_site_goes_by_a_feed_for_what_and_by_itself_for_how_much(plane: Plane) -> None:
    await with_titles(plane, "a1")
    hour = int(time.time()) // HOUR * HOUR - 2 * HOUR
    sky = SKY.files[0]
    await put_feed(plane, f"file,hour,views\n{sky.path},{hour},5\n/media/unknown/hd/v.mp4,{hour},9\n")
    site = await plane.operator.get("/v1/sites/a", Site)
    sources = (PopularitySource(PopularityKind.FEED, 1.0, "chart"),)
    await plane.operator.put("/v1/sites/a", msgspec.structs.replace(site, popularity=sources), Site)
    (found,) = (await plane.operator.get("/v1/plans/snapshot", PlanningSnapshot)).sites
    assert set(found.traffic) == {sky.key}
    assert sum(found.traffic[sky.key].served_bytes) == 3 * 9_000_000
    (facts,) = (await plane.operator.get("/v1/feeds", FeedList)).feeds
    assert (facts.name, facts.rows, facts.files, facts.views) == ("chart", 2, 2, 14.0)
    with pytest.raises(ServiceError, match="feed chart is what sites take their popularity from: a"):
        await plane.operator.delete("/v1/feeds/chart")
    await plane.operator.put("/v1/sites/a", msgspec.structs.replace(site, popularity=()), Site)
    await plane.operator.delete("/v1/feeds/chart")
    assert (await plane.operator.get("/v1/feeds", FeedList)).feeds == ()


async def test_a_feed_that_cannot_be_read_is_refused_by_line_and_an_unknown_one_by_the_site(plane: Plane) -> None:
    site = await plane.add_site()
    with pytest.raises(ServiceError, match="line 2: views 'many'") as caught:
        await put_feed(plane, "file,hour,views\n/media/a/hd/v.mp4,0,many\n")
    assert caught.value.status == 422
    sources = (PopularitySource(PopularityKind.OWN, feed="x"), PopularitySource(PopularityKind.FEED, -1.0))
    wrong = msgspec.structs.replace(site, popularity=sources, fill_masters=0, fill_cluster="A B")
    with pytest.raises(ServiceError) as refused:
        await plane.operator.put("/v1/sites/a", wrong, Site)
    assert refused.value.problem is not None
    assert [line.partition(":")[0] for line in refused.value.problem.errors] == [
        "fill_cluster", "fill_masters", "popularity[0].feed", "popularity[1].weight", "popularity[1].feed",
    ]  # fmt: skip


# --- the command


async def test_an_operator_pins_blocks_orders_now_and_looks_by_the_command(plane: Plane, tmp_path: Path) -> None:
    boxes = await with_titles(plane, "a1")
    added = await typed(plane, "pin", "add", "sea", "--site", "a", "--always", "--now", "--until", "2999-01-01")
    assert added.exit_code == 0, added.stderr
    assert "pin 1: always sea at site a, 2 files" in added.stdout
    assert "preposition 1: 2 orders" in added.stdout
    assert said(await told(boxes["a1"])) == KEYS["sea"]
    blocked = await typed(plane, "pin", "add", "/media/sky/hd/v-360.mp4", "--site", "a", "--never", "--now")
    assert "plan 2 for site a goes by it" in blocked.stdout, blocked.stderr
    listed = await typed(plane, "pin", "list")
    rows = [line.split()[:5] for line in listed.stdout.splitlines() if line.split()[:1] in (["1"], ["2"])]
    assert rows[0] == ["1", "always", "sea", "a", "–"]
    assert rows[1][:2] == ["2", "never"]
    shown = await typed(plane, "preposition", "list")
    assert "active" in shown.stdout
    assert (await typed(plane, "preposition", "cancel", "1")).exit_code == 0
    again = await typed(plane, "preposition", "cancel", "1")
    assert (again.exit_code, "there is no active preposition '1'" in again.stderr) == (1, True)
    assert (await typed(plane, "pin", "remove", "2")).exit_code == 0
    nowhere = await typed(plane, "pin", "add", "sea", "--now")
    assert nowhere.exit_code == 2
    feed = tmp_path / "chart.csv"
    feed.write_text(f"file,hour,views\n{SEA.files[0].path},2026-01-01,5\n")
    assert "feed chart: 1 rows of 1 files" in (await typed(plane, "feeds", "put", "chart", str(feed))).stdout
    assert "chart" in (await typed(plane, "feeds", "list")).stdout
    assert (await typed(plane, "feeds", "delete", "chart")).exit_code == 0
