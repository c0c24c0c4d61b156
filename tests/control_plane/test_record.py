"""Reports, heartbeats, the change stream and plans over real connections; what a restart finds again."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest

from chassis.client import ServiceClient
from chassis.enrolment import kept_files
from chassis.errors import ServiceError
from chassis.tls import TlsFiles
from chassis.web import STOPPING
from contracts.keysets import pack
from contracts.overview import ApplianceOverview, FileList, ImportAnswer, Overview
from contracts.places import Appliance, ApplianceState, StateChange
from contracts.plans import AppliancePlan, PlacementExplanation, PlanList, PlanSummary, Upstreams
from contracts.reports import (
    FileTraffic,
    FillState,
    Heartbeat,
    Holding,
    Nudge,
    OrderProgress,
    Purpose,
    ReportAnswer,
    Source,
    SourceTraffic,
    TrafficImport,
)
from contracts.world import Change, HoldingsDigest
from tests.control_plane.plane import ORIGIN, Plane, report, running, title

HOUR = 3600


async def sent(box: ServiceClient, sequence: int, **changes: object) -> ReportAnswer:
    return await box.post("/v1/appliance/report", report(sequence, **changes), ReportAnswer)


async def shown(plane: Plane, box_id: str = "a1") -> ApplianceOverview:
    overview = await plane.operator.get("/v1/overview", Overview)
    return next(item for item in overview.appliances if item.appliance.id == box_id)


@asynccontextmanager
async def beating(box: ServiceClient) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """An open heartbeat stream that has sent two beats."""
    async with box.websocket("/v1/appliance/heartbeat", heartbeat_s=None) as socket:
        for sequence in (1, 2):
            await socket.send_str(msgspec.json.encode(Heartbeat(sequence, load=0.3)).decode())
        yield socket


async def nudged(socket: aiohttp.ClientWebSocketResponse) -> Nudge:
    return msgspec.json.decode(await socket.receive_str(timeout=20.0), type=Nudge)


async def until(plane: Plane, holds: Callable[[ApplianceOverview], bool], within_s: float = 20.0) -> float:
    """Seconds until the appliance's overview is so."""
    began = time.monotonic()
    while not holds(await shown(plane)):
        assert time.monotonic() - began < within_s, f"not so within {within_s} s: {await shown(plane)}"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


# --- reports


async def test_the_first_good_report_ends_burn_in(plane: Plane) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    assert (await shown(plane)).appliance.state is ApplianceState.BURN_IN
    assert (await sent(box, 1, score=0.4, reasons=("disk-slow",))).state == "burn-in"
    assert (await sent(box, 2)).state == "live"
    found = await shown(plane)
    assert found.appliance.player_urls == ("http://127.1.0.11:80",)
    assert found.appliance.disk_bytes == 10_000_000_000


async def test_a_report_counts_once_however_often_it_is_sent(plane: Plane) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    hour = int(time.time()) // HOUR * HOUR
    values = {
        "traffic": (FileTraffic("vod|/media/sea/hd/v-360.mp4", hour, 2, 700),),
        "sources": (SourceTraffic(Source.HIT, Purpose.CLIENT, 2, 700),),
        "client_requests": 2,
        "client_bytes": 700,
        "holdings_full": True,
    }
    for _ in range(3):
        assert (await sent(box, 1, **values)).stored_sequence == 1
    await sent(box, 2, **{**values, "sources": (SourceTraffic(Source.HIT, Purpose.CLIENT, 5, 900),)})
    found = await shown(plane)
    assert (found.client_requests, found.client_bytes) == (2, 700)
    assert found.served[0].client_bytes == 900
    assert await traffic_of(plane) == 1400


async def traffic_of(plane: Plane) -> int:
    """All bytes in the traffic table, read beside the running service."""
    with sqlite3.connect(plane.settings.state_dir / "control_plane.sqlite") as connection:
        found = connection.execute("SELECT coalesce(sum(served_bytes), 0) FROM traffic").fetchone()[0]
    connection.close()
    return int(found)


async def test_counters_of_several_starts_are_added_up(plane: Plane) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    peer = SourceTraffic(Source.PEER, Purpose.CLIENT, 1, 100)
    await sent(box, 1, sources=(peer,), evictions=2)
    await sent(box, 1, boot_id="boot-2", started_at=2000.0, sources=(peer,), evictions=3)
    found = await shown(plane)
    assert (found.served[1].client_bytes, found.evictions) == (200, 5)


async def test_numbers_that_cannot_be_true_are_refused_and_nothing_is_stored(plane: Plane) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    tomorrow = int(time.time()) + 86400
    with pytest.raises(ServiceError) as caught:
        await sent(box, 1, traffic=(FileTraffic("k", tomorrow, 1, 1), FileTraffic("k", 0, -1, 1)))
    assert caught.value.status == 422
    assert caught.value.problem is not None
    assert len(caught.value.problem.errors) == 2
    assert (await shown(plane)).report_age_s is None


async def test_a_url_that_cannot_be_read_is_refused_and_the_record_stands(plane: Plane) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    await sent(box, 1)
    with pytest.raises(ServiceError, match=r"player_urls: 'https://\[::1' cannot be read") as caught:
        await sent(box, 2, player_urls=("https://[::1",))
    assert caught.value.status == 422
    assert (await shown(plane)).appliance.player_urls == ("http://127.1.0.11:80",)


async def test_a_drained_appliance_is_one_that_knows_it_drains_and_serves_nobody(plane: Plane) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    await sent(box, 1)
    await plane.operator.post("/v1/appliances/a1/state", StateChange(ApplianceState.DRAINING), Appliance)
    assert (await sent(box, 2, state="live")).state == "draining"
    assert (await sent(box, 3, state="draining", connections=1)).state == "draining"
    assert (await sent(box, 4, state="draining")).state == "drained"


# --- heartbeats


async def test_a_stream_that_beats_is_believed_and_one_that_breaks_is_suspect_at_once(plane: Plane) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    await sent(box, 1)
    assert (await shown(plane)).health.suspect
    async with beating(box) as socket:
        await until(plane, lambda item: not item.health.suspect and item.connected)
        assert (await shown(plane)).health.load == 0.3
        transport = socket._response.connection.transport  # type: ignore[union-attr]
        assert transport is not None
        transport.abort()
        assert await until(plane, lambda item: item.health.suspect) < 3.0, "sooner than by missed beats"
    found = await shown(plane)
    assert found.health.reasons == ("stream-broken",)
    assert not found.connected


async def test_silence_on_an_open_stream_makes_a_suspect_within_four_and_a_half_seconds(plane: Plane) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    async with beating(box):
        await until(plane, lambda item: not item.health.suspect)
        took_s = await until(plane, lambda item: item.health.suspect)
    assert 3.5 < took_s < 10.0


async def test_an_appliance_without_a_ready_worker_says_so_by_its_beats(plane: Plane) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    async with beating(box) as socket:
        await until(plane, lambda item: item.health.serving and not item.health.suspect)
        await socket.send_str(msgspec.json.encode(Heartbeat(3, serving=False)).decode())
        await until(plane, lambda item: not item.health.serving)


async def test_the_newer_stream_wins_and_the_older_ones_end_makes_no_suspect(plane: Plane) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    async with beating(box) as older:
        await nudged(older)
        async with beating(box) as newer:
            await nudged(newer)
            assert (await older.receive(timeout=20.0)).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
            await until(plane, lambda item: not item.health.suspect)
            await older.close()
            await asyncio.sleep(0.05)
            assert not (await shown(plane)).health.suspect


async def test_what_is_no_heartbeat_ends_the_stream(plane: Plane) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    async with beating(box) as socket:
        await nudged(socket)
        await socket.send_str('{"sequence": "x"}')
        message = await socket.receive(timeout=20.0)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, aiohttp.WSCloseCode.INVALID_TEXT)


async def test_nudges_say_where_the_appliance_stands_at_connect_and_on_change(plane: Plane) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    async with beating(box) as socket:
        assert (await nudged(socket)).state == "burn-in"
        await sent(box, 1)
        assert (await nudged(socket)).state == "live"
        await plane.operator.post("/v1/appliances/a1/state", StateChange(ApplianceState.DRAINING), Appliance)
        assert (await nudged(socket)).state == "draining"


# --- the change stream


async def collected(stream: AsyncIterator[Change], enough: Callable[[list[Change]], bool]) -> list[Change]:
    found: list[Change] = []
    async with asyncio.timeout(30):
        async for change in stream:
            found.append(change)
            if enough(found):
                break
    return found


async def test_the_change_stream_opens_with_the_record_and_goes_on_with_what_happens(plane: Plane) -> None:
    await plane.add_site("a")
    box = await plane.add_box("a1")
    await sent(box, 1, holdings=(Holding("k", 1, 1, False),), holdings_full=True)
    steering = await plane.service_caller("steering")
    stream = steering.stream_lines("/v1/changes", Change, idle_s=20.0)
    opening = await collected(stream, lambda found: found[-1].snapshot_complete)
    assert [kind_of(change) for change in opening] == ["site", "appliance", "health", "digest", "snapshot_complete"]
    assert opening[3].digest == HoldingsDigest("a1", True, held=pack(["k"]))

    async with beating(box):
        news = await collected(stream, lambda found: any(c.health and not c.health.suspect for c in found))
    news += await collected(stream, lambda found: any(c.health and c.health.suspect for c in found))
    await sent(box, 2, dropped=("k",), peer_url="https://127.1.0.11:99")
    await plane.add_site("b")
    news += await collected(stream, lambda found: found[-1].site is not None)
    kinds = [kind_of(change) for change in news if not change.tick]
    assert kinds[-3:] == ["appliance", "digest", "site"]
    assert set(kinds[:-3]) == {"health"}
    numbers = [change.number for change in (*opening, *news)]
    assert numbers == sorted(numbers)
    changed = [change.number for change in news if not change.tick]
    assert changed == list(range(opening[-1].number + 1, opening[-1].number + 1 + len(changed)))
    await stream.aclose()  # type: ignore[attr-defined]


def kind_of(change: Change) -> str:
    names = [name for name in Change.__struct_fields__[1:] if getattr(change, name) not in (None, False)]
    assert len(names) == 1
    return names[0]


async def test_a_quiet_stream_ticks_every_second(plane: Plane) -> None:
    steering = await plane.service_caller("steering")
    stream = steering.stream_lines("/v1/changes", Change, idle_s=3.0)
    began = time.monotonic()
    found = await collected(stream, lambda seen: len(seen) == 3)
    assert [kind_of(change) for change in found] == ["snapshot_complete", "tick", "tick"]
    assert time.monotonic() - began > 1.8
    await stream.aclose()  # type: ignore[attr-defined]


async def test_the_stream_ends_at_once_when_the_service_stops_and_calls_nobody_suspect(tmp_path: Path) -> None:
    async with running(tmp_path) as plane:
        await plane.add_site()
        box = await plane.add_box("a1")
        steering = await plane.service_caller("steering")
        async with beating(box) as socket:
            await until(plane, lambda item: not item.health.suspect)
            stream = steering.stream_lines("/v1/changes", Change, idle_s=5.0)
            await collected(stream, lambda seen: seen[-1].snapshot_complete)
            rest = asyncio.create_task(collected(stream, lambda _seen: False))
            await asyncio.sleep(0.05)
            began = time.monotonic()
            await stop(plane)
            assert [change for change in await rest if not change.tick] == []
            assert time.monotonic() - began < 10.0, "it does not wait for its readers"
            while (await socket.receive(timeout=20.0)).type is aiohttp.WSMsgType.TEXT:
                continue
            await asyncio.sleep(0.05)
            assert not (await shown(plane)).health.suspect


async def stop(plane: Plane) -> None:
    """What the service does first when it shuts down."""
    for listener in plane.service._listeners:
        listener.app[STOPPING].set()


# --- plans


async def with_demand(plane: Plane) -> tuple[ServiceClient, ServiceClient]:
    """(appliance, origin) of a site with one live appliance, one title, and a week of imported traffic."""
    await plane.add_site()
    box = await plane.add_box("a1")
    await sent(box, 1, holdings_full=True)
    origin = await plane.service_caller("origin")
    await origin.put("/v1/origin", ORIGIN)
    await origin.put("/v1/titles/sea", title())
    now = int(time.time()) // HOUR * HOUR
    key = title().files[0].key
    rows = tuple(FileTraffic(key, now - back * HOUR, 10, 3_000_000) for back in range(1, 7 * 24))
    answer = await plane.operator.post("/v1/sites/a/traffic", TrafficImport(rows), ImportAnswer)
    assert answer == ImportAnswer(len(rows), 3_000_000 * len(rows))
    return box, origin


async def test_a_repeated_import_replaces_what_it_repeats(plane: Plane) -> None:
    await with_demand(plane)
    once = await traffic_of(plane)
    rows = (FileTraffic(title().files[0].key, int(time.time()) // HOUR * HOUR - HOUR, 10, 3_000_000),)
    await plane.operator.post("/v1/sites/a/traffic", TrafficImport(rows), ImportAnswer)
    assert await traffic_of(plane) == once


async def test_imported_traffic_becomes_a_plan_that_the_appliance_is_nudged_to_and_fetches(plane: Plane) -> None:
    box, _ = await with_demand(plane)
    with pytest.raises(ServiceError) as caught:
        await box.get("/v1/appliance/plan", AppliancePlan)
    assert caught.value.status == 404
    async with beating(box) as socket:
        assert (await nudged(socket)).plan_number == 0
        summary = await plane.operator.post("/v1/plans", None, PlanSummary)
        assert (summary.number, summary.appliances) == (1, 1)
        assert (await nudged(socket)).plan_number == 1
        plan = await box.get("/v1/appliance/plan", AppliancePlan)
    keys = {file.key: file for file in title().files}
    assert {order.key for order in plan.orders} == set(keys)
    assert set(plan.pins) == set(keys)
    assert all(order.version == keys[order.key].digests.blake3 for order in plan.orders)
    assert {source.url for order in plan.orders for source in order.sources} == {ORIGIN.mtls_url}
    assert plan.window_opens_at <= time.time() < plan.window_closes_at


async def test_an_explanation_says_why_and_afterwards_what_became_of_it(plane: Plane) -> None:
    box, _ = await with_demand(plane)
    await plane.operator.post("/v1/plans", None, PlanSummary)
    plan = await box.get("/v1/appliance/plan", AppliancePlan)
    order = next(order for order in plan.orders if order.key == title().files[0].key)
    query = {"key": order.key, "site": "a"}
    before = await plane.operator.get("/v1/plans/latest/explain", PlacementExplanation, query=query)
    assert before.appliances == ("a1",)
    assert before.sentence
    assert (before.served_bytes, before.filled_bytes) == (0, 0)
    hour = int(time.time()) // HOUR * HOUR
    progress = OrderProgress(order.id, order.key, FillState.DONE, order.size_bytes, order.size_bytes)
    await sent(box, 2, traffic=(FileTraffic(order.key, hour, 3, 900_000),), orders=(progress,))
    after = await plane.operator.get("/v1/plans/latest/explain", PlacementExplanation, query=query)
    assert (after.served_bytes, after.filled_bytes) == (900_000, order.size_bytes)
    fill = (await shown(plane)).fill
    assert (fill.orders, fill.done, fill.waiting) == (2, 1, 1)
    assert fill.bytes_done == order.size_bytes


async def test_the_stream_tells_what_a_new_plan_pins(plane: Plane) -> None:
    await with_demand(plane)
    steering = await plane.service_caller("steering")
    stream = steering.stream_lines("/v1/changes", Change, idle_s=3.0)
    await collected(stream, lambda found: found[-1].snapshot_complete)
    await plane.operator.post("/v1/plans", None, PlanSummary)
    news = await collected(stream, lambda found: found[-1].digest is not None)
    told = news[-1].digest
    assert told is not None
    assert told.full
    assert told.planned == pack(file.key for file in title().files)
    await stream.aclose()  # type: ignore[attr-defined]


async def test_parents_for_misses_are_the_peers_that_beat_then_the_origin(plane: Plane) -> None:
    box, _ = await with_demand(plane)
    other = await plane.add_box("a2")
    await sent(other, 1, peer_url="https://127.1.0.12:81")
    assert [p.name for p in (await box.get("/v1/upstreams", Upstreams)).parents] == ["origin"]
    async with beating(other):
        await until_parents(box, ["a2", "origin"])
    await until_parents(box, ["origin"])


async def until_parents(box: ServiceClient, names: list[str]) -> None:
    found: list[str] = []
    for _ in range(100):
        found = [parent.name for parent in (await box.get("/v1/upstreams", Upstreams)).parents]
        if found == names:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{found}, not {names}")


# --- a second life


async def test_a_restart_finds_everything_again(tmp_path: Path) -> None:
    held = Holding(title().files[0].key, 300_000, 300_000, True)
    async with running(tmp_path) as plane:
        box, _ = await with_demand(plane)
        await plane.operator.post("/v1/plans", None, PlanSummary)
        plan = await box.get("/v1/appliance/plan", AppliancePlan)
        done = OrderProgress(plan.orders[0].id, plan.orders[0].key, FillState.DONE, 5, 5)
        sources = (SourceTraffic(Source.PEER, Purpose.CLIENT, 1, 10),)
        await sent(box, 2, holdings=(held,), orders=(done,), sources=sources)
        async with beating(box):
            await until(plane, lambda item: not item.health.suspect)
            before = await plane.operator.get("/v1/overview", Overview)
            files = await plane.operator.get("/v1/files", FileList)
            number = before.number
    async with running(tmp_path) as plane:
        after = await plane.operator.get("/v1/overview", Overview)
        assert after.sites == before.sites
        assert after.plan == before.plan
        assert (after.titles, after.files, after.catalogue_bytes) == (1, 2, before.catalogue_bytes)
        assert await plane.operator.get("/v1/files", FileList) == files
        assert (await plane.operator.get("/v1/plans", PlanList)).plans == (after.plan,)
        found, was = after.appliances[0], before.appliances[0]
        assert (found.appliance, found.fill, found.served, found.held_bytes) == (
            was.appliance,
            was.fill,
            was.served,
            300_000,
        )
        assert not found.health.suspect, "who was well has time to call again"
        assert after.number > number
        again = plane.caller(box_files(tmp_path, "a1"))
        assert await again.get("/v1/appliance/plan", AppliancePlan) == plan
        answer = await sent(again, 2)
        assert (answer.stored_sequence, answer.want_full_holdings) == (2, False)
        assert not (await sent(again, 3)).want_full_holdings


def box_files(folder: Path, name: str) -> TlsFiles:
    return kept_files(folder / "enrolled" / name)
