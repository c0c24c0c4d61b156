"""What a worker does when something is not as it should be: tokens, files, disks, clients, its own state."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from contracts.places import ApplianceState
from oca.http.reasons import Closing, Outcome
from oca.link.counters import Count
from oca.link.files import Desired
from oca.store.extents import extent_name, key_hash
from tests.oca.worker.worker_harness import Bench, Keys, publish, running, with_keeper

FILE = publish("v-360.mp4", 900_000)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with running(tmp_path, header_timeout_s=1.0, idle_timeout_s=2.0, send_timeout_s=1.5, max_connections=3) as made:
        made.store_file(FILE)
        made.start()
        yield made


def stingy_socket(bench: Bench) -> socket.socket:
    """A connection that takes next to nothing until it is read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", bench.port))
    return sock


def extent_files(bench: Bench) -> list[Path]:
    return [path for path in (bench.folder / "disk" / "extents").rglob("*") if path.is_file()]


async def test_each_token_that_opens_nothing_says_why(bench: Bench) -> None:
    client = await bench.connect()
    now = time.time()
    path, keys = FILE.name.path, bench.keys
    foreign, unknown = Keys(), Keys("nobody")
    none = "eyJhbGciOiJub25lIiwia2lkIjoidGVzdC0xIn0." + keys.token().split(".")[1] + "."
    for token, problem in (
        (keys.token(expires_at=now - 60), "media-token-expired"),
        (keys.token(not_before=now + 600), "media-token-not-yet"),
        (keys.token(prefix="/media/t2/"), "media-token-scope"),
        (keys.token(tiers=("base",)), "media-token-scope"),
        (foreign.token(), "media-token-invalid"),
        (unknown.token(), "key-unknown"),
        (none, "media-token-invalid"),
        (keys.token()[:-8], "media-token-invalid"),
        ("x" * 3000, "media-token-invalid"),
    ):
        reply = await client.ask(f"/~{token}{path}", Range="bytes=0-1")
        assert (reply.status, reply.problem) == (403, problem)
    assert (await client.ask(bench.path(FILE), Range="bytes=0-1")).status == 206
    log = bench.log.read_text()
    assert keys.token().split(".")[1][:20] not in log
    await client.close()


async def test_a_revoked_session_ends_within_a_second(bench: Bench) -> None:
    client = await bench.connect()
    path = bench.path(FILE)
    assert (await client.ask(path, Range="bytes=0-1")).status == 206
    bench.write_keys(bench.keys.public(), number=2, revoked=("session-1",))
    await asyncio.sleep(1.2)
    assert (await client.ask(path, Range="bytes=0-1")).problem == "media-token-revoked"
    await client.close()


async def test_a_file_that_became_short_aborts_and_is_not_reused(bench: Bench) -> None:
    client = await bench.connect()
    assert (await client.ask(bench.path(FILE), Range="bytes=0-99999")).status == 206
    (extent,) = extent_files(bench)
    os.truncate(extent, 300_000)
    reply = await client.ask(bench.path(FILE), Range="bytes=400000-800000")
    assert (reply.status, reply.problem) == (503, "unavailable"), "nothing was promised yet"
    client.send(bench.path(FILE))
    client.send(bench.path(FILE))
    reply = await client.reply()
    assert reply.status == 503
    assert (await client.reply()).status == 503
    await bench.reaches(Outcome.SHORT_FILE, 3)
    await client.close()


async def test_a_file_that_becomes_short_behind_the_header_never_makes_a_header_part_of_the_body(
    bench: Bench,
) -> None:
    big = publish("big.mp4", 1_000_000)
    bench.store_file(big)
    sock = stingy_socket(bench)
    request = f"GET {bench.path(big)} HTTP/1.1\r\nHost: {bench.host}\r\n\r\n".encode()
    sock.sendall(request + request)
    await asyncio.sleep(0.3)
    for path in extent_files(bench):
        os.truncate(path, 600_000)
    sock.setblocking(True)
    sock.settimeout(10)
    received = b""
    try:
        while piece := await asyncio.to_thread(sock.recv, 65536):
            received += piece
    except ConnectionResetError:
        pass
    sock.close()
    body = received.partition(b"\r\n\r\n")[2]
    assert len(body) < 1_000_000
    assert big.data.startswith(body), "what came is a true prefix"
    assert received.count(b"HTTP/1.1") == 1


def read_first(bench: Bench) -> int:
    """Windows that were not sent from memory at once: of a block that was proven there are none while it stays there."""
    return bench.count(Count.COLD_WINDOWS) + bench.count(Count.UNPROVEN_WINDOWS)


@pytest.mark.parametrize("end", [0, 1, 4095, 65_537, 300_000, 524_287, 524_288, 524_289, 786_432, 899_999])
async def test_wherever_a_file_ends_too_early_no_byte_behind_that_is_promised_or_replaced(
    bench: Bench, end: int
) -> None:
    client = await bench.connect()
    assert (await client.ask(bench.path(FILE), Range="bytes=0-899999")).status == 206, "all of it is proven"
    (extent,) = extent_files(bench)
    before = read_first(bench)
    os.truncate(extent, end)
    for wanted, last in (("", ""), ("bytes=5-899999", ""), ("bytes=0-70000", "close")):
        client.send(bench.path(FILE), Range=wanted, Connection=last)
    received = b""
    with contextlib.suppress(ConnectionError):  # the third may be asked of a connection that is broken off already
        while piece := await asyncio.wait_for(client.reader.read(1 << 20), 20):
            received += piece
    await client.close()
    head, _, body = received.partition(b"\r\n\r\n")
    if not received:
        assert end >= 524_288, "only an answer that was begun is broken off; its reset may overtake all of it"
    elif head.startswith(b"HTTP/1.1 200"):
        assert len(body) <= end, "nothing behind the end"
        assert FILE.data.startswith(body), "what came is a true prefix, and no header of a later answer is in it"
    else:
        statuses = [part[:12] for part in received.split(b"HTTP/1.1")[1:]]
        # What the machine dropped from memory is read and compared again, for which the check bytes at the end are gone.
        is_dropped = read_first(bench) > before
        assert end < 524_288 or is_dropped, "the first window was there"
        assert statuses[:2] == [b" 503 Service"] * 2
        assert len(statuses) == 3, "no answer was begun that could not be ended"
        assert is_dropped or statuses[2] == (b" 206 Partial" if end > 70_000 else b" 503 Service")


async def test_what_is_not_in_memory_is_read_by_threads_and_right(bench: Bench) -> None:
    client = await bench.connect()
    before = bench.count(Count.COLD_WINDOWS)
    for wanted in ("bytes=10-60000", "bytes=0-899999"):
        for path in extent_files(bench):
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)
        first, last = (int(part) for part in wanted.removeprefix("bytes=").split("-"))
        reply = await client.ask(bench.path(FILE), Range=wanted)
        assert reply.body == FILE.data[first : last + 1]
    await client.close()
    if bench.count(Count.COLD_WINDOWS) == before:
        pytest.skip("this filesystem lives in memory")


async def test_half_a_request_is_dropped_after_the_header_timeout(bench: Bench) -> None:
    client = await bench.connect()
    client.raw(b"GET /half")
    began = time.monotonic()
    assert await client.ended()
    assert 0.9 < time.monotonic() - began < 3.5
    await bench.reaches(Closing.HEADER_TIMEOUT, 1)


async def test_an_idle_connection_is_closed_after_its_time(bench: Bench) -> None:
    client = await bench.connect()
    assert (await client.ask(bench.path(FILE), Range="bytes=0-1")).status == 206
    assert await client.ended()
    await bench.reaches(Closing.IDLE_TIMEOUT, 1)


async def test_a_client_that_takes_nothing_is_dropped(bench: Bench) -> None:
    big = publish("big.mp4", 8 << 20)
    bench.store_file(big)
    sock = stingy_socket(bench)
    sock.sendall(f"GET {bench.path(big)} HTTP/1.1\r\nHost: {bench.host}\r\n\r\n".encode())
    await bench.reaches(Outcome.SEND_TIMEOUT, 1)
    await bench.reaches(Closing.SEND_TIMEOUT, 1)
    sock.close()
    await bench.reaches(Count.CONNECTIONS, 0)


async def test_a_slow_client_that_takes_a_little_is_kept(bench: Bench) -> None:
    big = publish("big.mp4", 3 << 20)
    bench.store_file(big)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    sock.connect(("127.0.0.1", bench.port))
    sock.settimeout(10)
    sock.sendall(f"GET {bench.path(big)} HTTP/1.1\r\nHost: {bench.host}\r\n\r\n".encode())
    received = 0
    for _ in range(8):
        received += len(await asyncio.to_thread(sock.recv, 65536))
        await asyncio.sleep(0.5)
    while received < len(big.data):
        received += len(await asyncio.to_thread(sock.recv, 1 << 20))
    assert bench.counters.total(Outcome.SEND_TIMEOUT) == 0
    sock.close()


async def test_too_many_connections_are_told_so(bench: Bench) -> None:
    clients = [await bench.connect() for _ in range(3)]
    for client in clients:
        assert (await client.ask(bench.path(FILE), Range="bytes=0-1")).status == 206
    late = await bench.connect()
    reply = await late.reply()
    assert (reply.status, reply.problem) == (503, "unavailable")
    assert "retry-after" in reply.headers
    assert await late.ended()
    for client in clients:
        assert (await client.ask(bench.path(FILE), Range="bytes=0-1")).status == 206
        await client.close()


async def test_while_draining_running_sessions_go_on_and_new_ones_are_refused(bench: Bench) -> None:
    client = await bench.connect()
    now = time.time()
    running_path = f"/~{bench.keys.token(issued_at=now - 60, session='old')}{FILE.name.path}"
    renewed_path = f"/~{bench.keys.token(issued_at=now + 1, not_before=now - 60, session='old')}{FILE.name.path}"
    new_path = f"/~{bench.keys.token(issued_at=now + 1, session='new')}{FILE.name.path}"
    assert (await client.ask(new_path, Range="bytes=0-1")).status == 206
    (bench.state / "desired.json").write_bytes(msgspec.json.encode(Desired(ApplianceState.DRAINING, now)))
    await asyncio.sleep(1.2)
    for path in (running_path, renewed_path):
        assert (await client.ask(path, Range="bytes=0-1")).status == 206
    reply = await client.ask(new_path, Range="bytes=0-1")
    assert (reply.status, reply.problem) == (503, "unavailable")
    (bench.state / "desired.json").write_bytes(msgspec.json.encode(Desired(ApplianceState.LIVE, now + 2)))
    await asyncio.sleep(1.2)
    assert (await client.ask(new_path, Range="bytes=0-1")).status == 206
    await client.close()


async def test_sigterm_ends_a_worker_with_its_work_done(bench: Bench) -> None:
    client = await bench.connect()
    assert (await client.ask(bench.path(FILE), Range="bytes=0-1")).status == 206
    assert bench.process is not None
    bench.process.send_signal(signal.SIGTERM)
    assert await client.ended()
    assert await asyncio.to_thread(bench.process.wait, 10) == 0
    assert bench.count(Count.READY) == 0


async def test_a_worker_whose_supervisor_is_gone_serves_on(bench: Bench) -> None:
    assert bench.control is not None
    bench.control.close()
    await asyncio.sleep(0.3)
    client = await bench.connect()
    assert (await client.ask(bench.path(FILE), Range="bytes=0-1")).status == 206
    await client.close()
    assert "supervisor-gone" in bench.log.read_text()


async def test_an_extent_that_cannot_be_read_is_told_to_the_keeper(bench: Bench) -> None:
    gone, short = publish("v-gone.mp4", 400_000), publish("v-short.mp4", 400_000)
    for file in (gone, short):
        bench.store_file(file)
    extents = {
        record.extent_id: file for file in (gone, short) if (record := bench.store.find(key_hash(file.name.key), 0))
    }
    for extent_id, file in extents.items():
        path = bench.folder / "disk" / extent_name(extent_id)
        os.unlink(path) if file is gone else os.truncate(path, 100_000)
    async with with_keeper(bench) as keeper:
        for file in (gone, short):
            keeper.unread.clear()
            client = await bench.connect()
            assert (await client.ask(bench.path(file))).status >= 400
            await client.close()
            for _ in range(200):
                if keeper.unread:
                    break
                await asyncio.sleep(0.05)
            assert {extents[found.extent_id].name for found in keeper.unread} == {file.name}
    assert bench.count(Count.DISK_ERRORS) >= 1, "one that is gone may have been evicted: only the other is an error"


async def test_an_open_extent_that_became_short_is_told_to_the_keeper(bench: Bench) -> None:
    """What `sendfile` would meet is never met by the disk's pool: the sender itself has to tell."""
    file = publish("v-shrinks.mp4", 400_000)
    bench.store_file(file)
    record = bench.store.find(key_hash(file.name.key), 0)
    assert record is not None
    async with with_keeper(bench) as keeper:
        client = await bench.connect()
        assert (await client.ask(bench.path(file))).status == 200
        os.truncate(bench.folder / "disk" / extent_name(record.extent_id), 100_000)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):  # refused, or cut off
            assert (await client.ask(bench.path(file))).status >= 400
        await client.close()
        for _ in range(200):
            if keeper.unread:
                break
            await asyncio.sleep(0.05)
        assert {found.extent_id for found in keeper.unread} == {record.extent_id}
