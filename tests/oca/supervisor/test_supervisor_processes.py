"""A whole appliance as real processes: supervisor, keeper, two workers; killed one by one while players look on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import msgspec
import pytest

from chassis.clock import VirtualClock
from chassis.service import Service
from oca.config import AccessLogging, Disk, Listen
from oca.link.counters import Counters
from oca.link.files import Listening
from oca.store.board import Board, BoardShape
from oca.supervisor.children import Commands, start_worker
from oca.supervisor.service import compose
from oca.supervisor.slots import SlotPhase
from oca.supervisor.supervising import CannotRun, Supervisor
from tests.oca.supervisor.box import FILE, SCRIPT, Box, box, settings_of, stock, until, until_metric
from tests.oca.worker.worker_harness import publish


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Box]:
    settings = settings_of(tmp_path)
    keys = stock(settings, [FILE])
    with box(settings, tmp_path, keys) as found:
        yield found


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=20) as made:
        yield made


async def test_a_box_says_where_it_listens_and_that_it_is_ready(appliance: Box, client: httpx.AsyncClient) -> None:
    assert await appliance.get(client, 10, 29) == FILE.data[10:30]
    listening = msgspec.json.decode(
        Path(appliance.settings.state_dir, "run", "listening.json").read_bytes(), type=Listening
    )
    assert (listening.media, listening.status) == (appliance.media, appliance.status)
    await until_metric(appliance, "lowtide_oca_workers_ready", 2)
    ready = await client.get(f"{appliance.status}/readyz")
    assert ready.status_code == 200
    assert ready.json()["checks"]["workers"]["detail"] == "2 of 2 workers serve"
    assert set(ready.json()["checks"]) == {"workers", "keeper", "index", "disks"}
    assert (await client.get(f"{appliance.status}/healthz")).status_code == 200
    assert await appliance.metric('lowtide_oca_requests_total{outcome="hit"}') == 1
    assert await appliance.metric("lowtide_oca_client_bytes_total") == 20
    assert await appliance.metric("lowtide_oca_workers_ready") == 2


async def test_a_killed_worker_loses_only_its_connections_and_nobody_is_refused(
    appliance: Box, client: httpx.AsyncClient
) -> None:
    host, port = appliance.address
    path = f"/~{appliance.keys.token()}{FILE.name.path}"
    text = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nRange: bytes=0-9\r\n\r\n".encode()
    lines = [await asyncio.open_connection(host, port) for _ in range(16)]

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            writer.write(text)
            await reader.readuntil(b"\r\n\r\n")
            return await reader.readexactly(10) == FILE.data[:10]
        except (ConnectionError, asyncio.IncompleteReadError):
            return False

    assert all([await ask(*line) for line in lines])
    before = appliance.children("oca.worker")
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    # Every new connection is taken: by the sibling, or from the dead slot's queue by its replacement.
    fresh = [await asyncio.open_connection(host, port) for _ in range(40)]
    assert all([await ask(*line) for line in fresh])
    alive = [await ask(*line) for line in lines]
    assert any(alive), "the sibling's connections live"
    await until(lambda: len(appliance.children("oca.worker")) == 2)
    after = appliance.children("oca.worker")
    assert before[1] in after
    assert before[0] not in after
    await until_metric(appliance, "lowtide_oca_workers_ready", 2)
    assert await appliance.metric('lowtide_oca_child_deaths_total{child="worker"}') == 1
    for _, writer in lines + fresh:
        writer.close()
    assert await appliance.get(client, 5, 9) == FILE.data[5:10]


async def test_hits_go_on_while_the_keeper_is_dead_and_it_comes_back(appliance: Box, client: httpx.AsyncClient) -> None:
    (keeper,) = appliance.children("oca.keeper")
    os.kill(keeper, signal.SIGKILL)
    for first in range(0, 200_000, 10_000):
        assert await appliance.get(client, first, first + 99) == FILE.data[first : first + 100]
    await until(lambda: appliance.children("oca.keeper") not in ([], [keeper]))
    await until_metric(appliance, "lowtide_oca_keeper_linked", 2)
    assert (await client.get(f"{appliance.status}/readyz")).status_code == 200


async def test_every_answer_is_in_the_access_log_whoever_was_killed_meanwhile(
    appliance: Box, client: httpx.AsyncClient
) -> None:
    current = Path(appliance.settings.state_dir, "logs", "access.jsonl")

    def lines() -> list[dict[str, object]]:
        text = current.read_bytes() if current.exists() else b""
        return [msgspec.json.decode(line) for line in text.splitlines()]

    for first in range(3):
        await appliance.get(client, first, first + 9)
    await until(lambda: len(lines()) == 3)
    (logger,) = appliance.children("oca.logger")
    os.kill(logger, signal.SIGKILL)
    await appliance.get(client, 3, 12)
    await until(lambda: appliance.children("oca.logger") not in ([], [logger]))
    await until(lambda: len(lines()) == 4)
    for pid in appliance.children("oca.worker"):
        os.kill(pid, signal.SIGKILL)
    await until_metric(appliance, "lowtide_oca_workers_ready", 2)
    async with httpx.AsyncClient(timeout=20) as again:
        for first in range(4, 7):
            await appliance.get(again, first, first + 9)
    await until_metric(appliance, "lowtide_oca_access_log_records_total", 7)
    appliance.process.terminate()
    appliance.process.wait(25)
    assert sorted(int(str(line["first"])) for line in lines()) == list(range(7))
    assert {line["outcome"] for line in lines()} == {"hit"}


async def test_a_box_whose_access_log_is_off_writes_none_and_starts_no_logger(
    tmp_path: Path, client: httpx.AsyncClient
) -> None:
    settings = replace(settings_of(tmp_path), log=AccessLogging(access=False))
    keys = stock(settings, [FILE])
    with box(settings, tmp_path, keys) as appliance:
        assert await appliance.get(client, 0, 9) == FILE.data[:10]
        assert appliance.children("oca.logger") == []
        assert not Path(settings.state_dir, "logs").exists()


async def test_workers_outlive_their_supervisor_until_a_new_one_has_bound(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    keys = stock(settings, [FILE])
    orphans: list[int] = []
    try:
        with box(settings, tmp_path, keys) as first:
            orphans = first.children("oca.worker")
            keeper = first.children("oca.keeper")
            async with httpx.AsyncClient(timeout=20) as client:
                assert await first.get(client, 0, 9) == FILE.data[:10]
                first.process.kill()
                first.process.wait(5)
                assert await first.get(client, 0, 9) == FILE.data[:10], "the old generation serves on"
                await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in keeper))
                host, port = first.address
                again = replace(settings, serving=replace(settings.serving, media=Listen(host, port)))
                with box(again, tmp_path, keys) as second:
                    assert second.media == first.media
                    assert await first.get(client, 0, 9) == FILE.data[:10], "its connections live"
                    async with httpx.AsyncClient(timeout=20) as fresh:
                        assert await second.get(fresh, 0, 9) == FILE.data[:10]
    finally:
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


async def test_a_stop_finishes_what_is_being_answered(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    big = publish("big.mp4", 24_000_000)
    keys = stock(settings, [big])
    with box(settings, tmp_path, keys) as found:
        host, port = found.address
        reader, writer = await asyncio.open_connection(host, port, limit=1 << 16)
        idle_reader, idle_writer = await asyncio.open_connection(host, port)
        writer.write(f"GET /~{keys.token()}{big.name.path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        found.process.terminate()
        await asyncio.sleep(0.3)
        assert await asyncio.wait_for(idle_reader.read(1), 5) == b"", "an idle connection is closed"
        assert await asyncio.wait_for(reader.readexactly(len(big.data)), 30) == big.data
        assert await asyncio.wait_for(reader.read(1), 5) == b""
        writer.close()
        idle_writer.close()
        assert found.process.wait(15) == 0


async def test_a_slot_whose_worker_cannot_live_is_served_by_its_sibling(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    keys = stock(settings, [FILE])
    marker = tmp_path / "broken"
    marker.touch()
    failing = (sys.executable, str(SCRIPT.with_name("failing_worker.py")), "1", str(marker))
    supervisor: list[Supervisor] = []

    async def composed(service: Service) -> None:
        supervisor.append(await compose(service, settings, Commands(worker=failing)))

    async with Service("oca", composed, grace_s=1.0).running() as urls:
        table = supervisor[0].slots
        await until(lambda: table.slots[1].phase is SlotPhase.RESTING, 20.0)
        assert table.slots[1].helper == 0
        path = f"/~{keys.token()}{FILE.name.path}"
        for _ in range(30):
            async with httpx.AsyncClient(timeout=10) as client:
                reply = await client.get(urls["media"] + path, headers={"Range": "bytes=0-9"})
            assert (reply.status_code, reply.content) == (206, FILE.data[:10])
        async with httpx.AsyncClient(timeout=10) as client:
            checks = (await client.get(f"{urls['status']}/readyz")).json()["checks"]
        told = re.search(r"worker 1 is resting after (\d+) early deaths", checks["workers"]["detail"])
        assert told is not None, checks["workers"]["detail"]
        assert int(told[1]) >= 3, "it is tried again now and then"
        marker.unlink()
        table.slots[1].try_at = 0.0
        await until(lambda: table.ready_count == 2)
        assert table.slots[1].helper is None


async def test_a_miss_on_a_box_that_is_not_enrolled_says_so_at_once(appliance: Box, client: httpx.AsyncClient) -> None:
    path = f"/~{appliance.keys.token()}/media/t1/hd/unknown.mp4"
    began = time.monotonic()
    reply = await client.get(appliance.media + path)
    assert reply.status_code in (502, 503, 504)
    assert reply.headers["content-type"] == "application/problem+json"
    assert time.monotonic() - began < appliance.settings.serving.first_byte_s + 1.0


async def test_a_disk_that_cannot_be_used_is_left_out_alone(tmp_path: Path, client: httpx.AsyncClient) -> None:
    settings = settings_of(tmp_path)
    keys = stock(settings, [FILE])
    (tmp_path / "file").write_text("no folder")
    disks = (*settings.store.disks, Disk(str(tmp_path / "file" / "disk"), 64 << 20))
    settings = replace(settings, store=replace(settings.store, disks=disks))
    with box(settings, tmp_path, keys) as found:
        assert await found.get(client, 10, 29) == FILE.data[10:30]
        log = found.log.read_text()
        assert '"disk-left-out"' in log
        assert "Traceback" not in log


async def test_without_any_disk_the_box_says_so_and_ends(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    settings = settings_of(tmp_path)
    disks = (Disk(str(tmp_path / "file" / "disk"), 64 << 20),)
    supervisor = Supervisor(replace(settings, store=replace(settings.store, disks=disks)))
    with (
        socket.create_server(("127.0.0.1", 0)) as status,
        pytest.raises(CannotRun, match=r"no disk can be used: .*file"),
    ):
        supervisor.open(status)


async def test_a_task_that_keeps_a_child_does_not_die_in_silence(tmp_path: Path) -> None:
    clock = VirtualClock()
    supervisor = Supervisor(settings_of(tmp_path), clock)

    async def broken() -> None:
        raise RuntimeError("nobody expected this")

    watching = asyncio.create_task(supervisor.watch())
    supervisor._spawn(broken(), "worker-0")
    await asyncio.sleep(0)
    await clock.advance(1.0)
    with pytest.raises(RuntimeError, match="nobody expected this"):
        await watching


async def test_a_start_that_is_broken_off_leaves_no_child_alone(tmp_path: Path) -> None:
    """However far it had come: before the exec, after it, or with the line to it."""
    command = (sys.executable, "-c", "import time; time.sleep(61)")

    def left() -> list[str]:
        found = []
        for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split():
            with contextlib.suppress(OSError):
                if b"time.sleep(61)" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    counters = Counters.create(1)
    broken_off = 0
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        contextlib.closing(Board.create(BoardShape(1, 1))) as board,
    ):
        for turns in range(12):
            starting = asyncio.ensure_future(
                start_worker(
                    command, settings_of(tmp_path), 0, 0, board.fd, counters.fd, [listener], [listener], lambda: None
                )
            )
            for _ in range(turns):
                await asyncio.sleep(0)
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            if starting.cancelled():
                broken_off += 1
            else:
                child = starting.result()
                child.kill()
                await child.ended()
                child.close()
        await until(lambda: left() == [])
    assert broken_off >= 2
    os.close(counters.fd)
