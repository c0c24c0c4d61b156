"""What runs by itself: the nightly plan, the dropping of slow readers; and the command as a process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from chassis.auth import PeerIdentity
from chassis.clock import Clock, SystemClock, VirtualClock
from chassis.database import Database
from chassis.metrics import Metrics
from chassis.routes import Routes
from chassis.web import build_app
from contracts.enrolment import PeerKind, split_code
from contracts.labtime import REAL_TIME, LabTime
from contracts.places import ApplianceRegistration, ApplianceState, Site
from contracts.reports import FileTraffic
from contracts.world import Change
from control_plane import records
from control_plane.archive import places as place_archive
from control_plane.archive import reports as report_archive
from control_plane.changes import ChangeLog
from control_plane.config import Plans
from control_plane.desk import Desk
from control_plane.ingestion import judge
from control_plane.metrics import ControlPlaneMetrics
from control_plane.planning import Planning
from control_plane.registry import Registry
from control_plane.stream import ChangeStream
from fill_planner.config import PlannerSettings
from tests.control_plane.plane import ORIGIN, report

MIDNIGHT = 1_767_225_600.0
"""2026-01-01T00:00:00Z."""
RECENT_HOUR = int(MIDNIGHT) - 3600


@asynccontextmanager
async def desk_of(
    folder: Path,
    clock: Clock,
    queue_lines: int = 1000,
    counted: Metrics | None = None,
    lab: LabTime = REAL_TIME,
) -> AsyncIterator[Desk]:
    async with Database.open(folder / "r.sqlite", records.metadata, schema_version=1) as database:
        metrics = ControlPlaneMetrics(counted or Metrics("control-plane", process=False))
        yield Desk(database, Registry(), ChangeLog(1, queue_lines), metrics, clock, lab)


async def with_one_box(desk: Desk) -> None:
    registration = ApplianceRegistration("a1", "a", "a")
    async with desk.archive() as session:
        await place_archive.put_site(session, Site("a", "A", "isp", "DE"))
        await place_archive.put_box(session, registration, ApplianceState.LIVE)
    desk.registry.put_site(Site("a", "A", "isp", "DE"))
    desk.registry.put_box(registration)
    desk.registry.put_origin(ORIGIN)
    box = desk.registry.boxes["a1"]
    desk.registry.set_state(box, ApplianceState.LIVE)
    desk.registry.take_report(box, judge(box.reported, report()), report(), MIDNIGHT)


async def plan_number(desk: Desk, wanted: int) -> int:
    """The number of the plan in force, once it is the wanted one or after some time: archives work on real threads."""
    for _ in range(2000):
        if desk.registry.plan is not None and desk.registry.plan.number >= wanted:
            break
        await asyncio.sleep(0.01)
    return desk.registry.plan.number if desk.registry.plan else 0


async def test_the_plan_is_made_by_itself_every_night_at_the_set_time_and_old_traffic_goes(tmp_path: Path) -> None:
    clock = VirtualClock(MIDNIGHT)
    async with desk_of(tmp_path, clock) as desk:
        await with_one_box(desk)
        old = FileTraffic("k", RECENT_HOUR - 61 * 86400, 1, 1)
        async with desk.archive() as session:
            await report_archive.add_traffic(session, "a", "a1", (old, FileTraffic("k", RECENT_HOUR, 1, 2)))
        planning = Planning(desk, Plans(at="01:00"), PlannerSettings())
        task = asyncio.create_task(planning.run())
        await clock.advance(3599.0)
        await asyncio.sleep(0.05)
        assert desk.registry.plan is None
        await clock.advance(1.0)
        assert await plan_number(desk, 1) == 1
        await sleeps_again(clock)
        async with desk.database.read() as session:
            assert await report_archive.traffic_by_site(session, 0.0) == {"a": {"k": ([RECENT_HOUR], [2])}}
        await clock.advance(86400.0)
        assert await plan_number(desk, 2) == 2
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_in_a_laboratory_the_nights_follow_each_other_by_its_calendar(tmp_path: Path) -> None:
    clock = VirtualClock(MIDNIGHT)
    lab = LabTime(speed=1000.0, began_at=MIDNIGHT, starts_at=MIDNIGHT - 10 * 86400.0)
    async with desk_of(tmp_path, clock, lab=lab) as desk:
        await with_one_box(desk)
        task = asyncio.create_task(Planning(desk, Plans(at="01:00"), PlannerSettings()).run())
        await clock.advance(3.5)
        assert made_at(desk) == 0.0
        await clock.advance(0.2)
        assert await plan_number(desk, 1) == 1
        await sleeps_again(clock)
        await clock.advance(86.4)
        assert await plan_number(desk, 2) == 2
        assert made_at(desk) == pytest.approx(lab.starts_at + 86400.0 + 3600.0, abs=300.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def made_at(desk: Desk) -> float:
    """When the plan in force was made, by the calendar; 0 without one."""
    return desk.registry.plan.created_at if desk.registry.plan else 0.0


async def sleeps_again(clock: VirtualClock) -> None:
    for _ in range(2000):
        if clock.sleepers:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody sleeps")


async def test_a_night_that_was_missed_is_made_up_for_after_the_start(tmp_path: Path) -> None:
    clock = VirtualClock(MIDNIGHT)
    async with desk_of(tmp_path, clock) as desk:
        await with_one_box(desk)
        await Planning(desk, Plans(), PlannerSettings()).make()
    later = VirtualClock(MIDNIGHT + 2 * 86400.0)
    async with desk_of(tmp_path, later) as desk:
        async with desk.database.read() as session:
            desk.registry = await place_archive.load(session)
        desk.registry.put_origin(ORIGIN)
        task = asyncio.create_task(Planning(desk, Plans(at="01:00"), PlannerSettings()).run())
        await later.advance(60.0)
        assert await plan_number(desk, 2) == 2
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def rest_of(reader: socket.socket) -> bytes:
    """What still lies in the socket until the other side is gone."""
    found = bytearray()
    try:
        while piece := await asyncio.get_running_loop().sock_recv(reader, 1 << 20):
            found += piece
    except ConnectionError:
        found += b"(reset)"
    return bytes(found)


@dataclass
class Anybody:
    """A guard that admits every caller as one service."""

    scheme: str = "none"

    def openapi(self) -> dict[str, object]:
        return {}

    async def admit(self, request: web.Request) -> PeerIdentity:
        return PeerIdentity(PeerKind.SERVICE, "slow")


async def test_a_reader_of_changes_that_stops_reading_is_cut_off(tmp_path: Path) -> None:
    counted = Metrics("control-plane", process=False)
    async with desk_of(tmp_path, SystemClock(), queue_lines=20, counted=counted) as desk:
        routes = Routes("changes")
        routes.raw("GET", "/v1/changes", ChangeStream(desk).handle, summary="changes", guard=Anybody())
        runner = web.AppRunner(build_app(routes, metrics=Metrics("x", process=False)), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(reader, runner.addresses[0])
        await loop.sock_sendall(reader, b"GET /v1/changes HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(2000):
            await asyncio.sleep(0.01)
            if desk.log.readers:
                break
        assert desk.log.readers == 1
        big = "x" * 100_000
        for _ in range(400):
            desk.tell((Change(0, site_gone=big),))
            await asyncio.sleep(0)
            if not desk.log.readers:
                break
        assert desk.log.readers == 0
        assert not (await rest_of(reader)).endswith(b"0\r\n\r\n"), "a stream cut off does not look like one that ended"
        reader.close()
        await runner.cleanup()
        assert b"lowtide_control_plane_change_readers_dropped_total 1.0" in counted.exposition()


# --- the command


@contextmanager
def process(config: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str]]]:
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "control_plane", "run", "--config", str(config), "--ready-fd", str(writing)]
    with (config.parent / "log").open("ab") as log:
        child = subprocess.Popen(command, pass_fds=(writing,), stderr=log)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as ready:
            yield child, json.loads(ready.readline())["listening"]
    finally:
        if child.poll() is None:
            child.kill()
        child.wait(10)


def told(folder: Path, url: str, *arguments: str, code: int = 0) -> str:
    """What a verb of the command prints."""
    words = [
        sys.executable,
        "-m",
        "control_plane",
        *arguments,
        "--url",
        url,
        "--token-file",
        str(folder / "operator.token"),
    ]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=30, check=False, env={**os.environ, "COLUMNS": "200"}
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_the_command_runs_is_killed_runs_again_with_everything_and_stops_cleanly(tmp_path: Path) -> None:
    config, folder = tmp_path / "config.yaml", tmp_path / "state"
    config.write_text(f"state_dir: {folder}\nhttp: {{port: 0}}\nmtls: {{port: 0}}\n")
    site = tmp_path / "site.yaml"
    site.write_text("{id: a, name: Harbour, isp: Northwind, region: DE, prefixes: [{cidr: 127.1.0.0/16}]}\n")
    with process(config) as (child, urls):
        assert "Northwind" in told(folder, urls["http"], "sites", "put", str(site))
        assert "enrolling" in told(folder, urls["http"], "appliances", "put", "a1", "--site", "a")
        code = told(folder, urls["http"], "codes", "make", "appliance", "a1")
        assert len(split_code(code)[0]) == 26
        child.send_signal(signal.SIGKILL)
        child.wait(10)
    with process(config) as (child, urls):
        assert "Harbour" in told(folder, urls["http"], "sites", "list")
        refused = told(folder, urls["http"], "sites", "delete", "a", code=1)
        assert "still has appliances: a1" in refused
        child.send_signal(signal.SIGTERM)
        assert child.wait(10) == 0
    lines = [msgspec.json.decode(line) for line in (tmp_path / "log").read_bytes().splitlines()]
    assert lines, "every line of the log is JSON"


def test_three_wrong_settings_are_told_at_once(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("http: {port: 99999}\nplans: {at: '25:00'}\nlogg_level: info\n")
    command = [sys.executable, "-m", "control_plane", "run", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    for words in ("http.port", "plans.at", "logg_level", "state_dir"):
        assert words in done.stderr
