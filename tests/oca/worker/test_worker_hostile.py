"""Clients that mean harm, or are broken, by raw socket: what they cost is bounded, and nobody else notices."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from oca.http.reasons import Closing, Outcome
from oca.link.counters import Count
from tests.oca.worker.worker_harness import EXTENT_BYTES, Bench, Client, Published, publish, running

FILE = publish("v-360.mp4", 900_000)
BIG = publish("big.mp4", 24_000_000)
MAX_CONNECTIONS = 40


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    timeouts = {"header_timeout_s": 1.5, "idle_timeout_s": 2.5, "send_timeout_s": 1.5, "first_byte_s": 0.2}
    with running(tmp_path, **timeouts, max_connections=MAX_CONNECTIONS) as made:
        made.store_file(FILE)
        made.store_file(BIG)
        made.start()
        yield made


def request(bench: Bench, file: Published, first: int, last: int) -> bytes:
    return f"GET {bench.path(file)} HTTP/1.1\r\nHost: {bench.host}\r\nRange: bytes={first}-{last}\r\n\r\n".encode()


async def served(bench: Bench) -> None:
    """Somebody who means well is served as ever."""
    client = await bench.connect()
    assert (await client.ask(bench.path(FILE), Range="bytes=100-199")).body == FILE.data[100:200]
    await client.close()


async def test_headers_that_dribble_in_end_with_the_header_timeout_however_they_go_on(bench: Bench) -> None:
    clients = [await bench.connect() for _ in range(20)]
    text = request(bench, FILE, 0, 9)

    async def dribble(client: Client) -> int:
        """A byte at a time; gives how many were sent when the other side had enough."""
        for number, byte in enumerate(text):
            if client.reader.at_eof():
                return number
            client.raw(bytes([byte]))
            await asyncio.sleep(0.1)
        return len(text)

    dribbling = [asyncio.create_task(dribble(client)) for client in clients]
    await served(bench)
    sent = await asyncio.gather(*dribbling)
    assert all(count < len(text) for count in sent), "each byte bought no further time"
    await bench.reaches(Closing.HEADER_TIMEOUT, 20)
    for client in clients:
        await client.close()


async def test_a_second_request_that_dribbles_in_has_no_more_time_than_the_first(bench: Bench) -> None:
    client = await bench.connect()
    assert (await client.ask(bench.path(FILE), Range="bytes=0-1")).status == 206
    for byte in b"GET /" + b"a" * 60:
        client.raw(bytes([byte]))
        await asyncio.sleep(0.1)
        if client.reader.at_eof():
            break
    assert await client.ended()
    await bench.reaches(Closing.HEADER_TIMEOUT, 1)


async def test_empty_lines_before_a_request_buy_no_time(bench: Bench) -> None:
    client = await bench.connect()
    client.raw(b"\r\n")
    await asyncio.sleep(0.1)
    client.raw(b"\r\n")
    assert (await client.reply()).status == 400, "one is forgiven"
    assert await client.ended()


async def test_a_connection_that_says_nothing_is_closed_as_idle(bench: Bench) -> None:
    client = await bench.connect()
    assert await client.ended()
    await bench.reaches(Closing.IDLE_TIMEOUT, 1)


async def test_a_client_that_closes_its_sending_side_gets_all_of_a_long_body(bench: Bench) -> None:
    client = await bench.connect()
    client.raw(request(bench, BIG, 0, len(BIG.data) - 1))
    client.writer.write_eof()
    await asyncio.sleep(0.3)
    assert (await client.reply()).body == BIG.data
    assert await client.ended()


async def test_half_a_request_and_then_its_end_is_answered_by_nothing(bench: Bench) -> None:
    client = await bench.connect()
    client.raw(request(bench, FILE, 0, 9)[:-2])
    client.writer.write_eof()
    assert await client.ended()
    assert bench.counters.total(Outcome.HIT) == 0


async def test_resets_in_the_middle_of_bodies_leave_nothing_behind(bench: Bench) -> None:
    rng = random.Random(5)
    for turn in range(30):
        client = await bench.connect()
        client.raw(request(bench, BIG, 0, len(BIG.data) - 1))
        await client.reader.readexactly(rng.randrange(1, 3_000_000))
        client.reset()
        if turn % 10 == 0:
            await served(bench)
    await bench.reaches(Outcome.CLIENT_LEFT, 30)
    await bench.reaches(Count.CONNECTIONS, 0)
    assert bench.count(Count.ERRORS) == 0
    assert bench.count(Count.CLIENT_BYTES) < 30 * len(BIG.data), "what nobody takes is not sent"


async def test_who_asks_and_asks_and_reads_nothing_is_not_read_either(bench: Bench) -> None:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", bench.port))
    sock.setblocking(False)
    text = request(bench, BIG, 0, len(BIG.data) - 1) * 50
    sent = 0
    ended = False
    while not ended:
        try:
            sent += sock.send(text)
        except BlockingIOError:
            await asyncio.sleep(0.05)
            ended = bench.counters.total(Closing.SEND_TIMEOUT) == 1
        except ConnectionError:
            ended = True
    sock.close()
    assert sent < 16 << 20, "the kernel's buffers and not more"
    await bench.reaches(Closing.SEND_TIMEOUT, 1)
    await bench.reaches(Count.CONNECTIONS, 0)
    assert bench.counters.total(Outcome.SEND_TIMEOUT) == 1, "one request was begun"


async def test_beyond_the_last_connection_everybody_is_told_and_nobody_is_reset(bench: Bench) -> None:
    held = [await bench.connect() for _ in range(MAX_CONNECTIONS)]
    for client in held:
        assert (await client.ask(bench.path(FILE), Range="bytes=0-1")).status == 206
    late = [await bench.connect() for _ in range(MAX_CONNECTIONS)]
    for client in late:
        for _ in range(20):  # as a client does that does not wait to be told
            client.raw(request(bench, BIG, 0, 9))
    for client in late:
        reply = await client.reply()
        assert (reply.status, reply.headers["connection"], "retry-after" in reply.headers) == (503, "close", True)
        assert await client.reader.read(1) == b"", "an end, and no reset that could have taken the answer"
    for client in held:
        assert (await client.ask(bench.path(FILE), Range="bytes=5-9")).body == FILE.data[5:10]
    await held.pop().close()
    await served(bench)  # although those that were turned away have not closed yet
    for client in (*held, *late):
        await client.close()


async def test_an_extent_cut_short_while_requests_are_pipelined_gives_no_foreign_byte(bench: Bench) -> None:
    """Right bytes, an end, a 503 or (as there is no keeper) a 504, and others go on.

    What `sendfile` has handed to the kernel by reference before the cut, the kernel itself zeroes behind it: such a zero may arrive, in an
    answer that was under way, and nothing else that is wrong.
    """
    other = publish("other.mp4", 700_000)
    bench.store_file(other)
    rng = random.Random(7)
    cut_at = 300_000
    right = [0] * 6

    def is_true(got: bytes, file: Published, first: int) -> bool:
        wanted = file.data[first : first + len(got)]
        return got == wanted or all(
            byte == true or (byte == 0 and file is BIG and (first + at) % EXTENT_BYTES >= cut_at)
            for at, (byte, true) in enumerate(zip(got, wanted, strict=True))
        )

    async def pipeline(seed: int) -> None:
        client = await bench.connect()
        asked = []
        for number in range(120):
            file = BIG if (number + seed) % 3 else other
            first = rng.randrange(len(file.data) - 400_000)
            asked.append((file, first, first + rng.choice((99, 70_000, 399_999))))
        for file, first, last in asked:
            client.raw(request(bench, file, first, last))
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            for file, first, last in asked:
                reply = await client.reply()
                assert reply.status in (206, 503, 504)
                if reply.status == 206:
                    assert len(reply.body) == last - first + 1
                    assert is_true(reply.body, file, first)
                    right[seed] += 1
                await asyncio.sleep(0.01)
        await client.close()

    running_pipelines = [asyncio.create_task(pipeline(seed)) for seed in range(6)]
    while not all(right):
        assert not any(task.done() for task in running_pipelines)
        await asyncio.sleep(0.01)
    for path in (bench.folder / "disk" / "extents").rglob("*"):
        if path.is_file() and path.stat().st_size > 900_000:  # those of BIG
            os.truncate(path, cut_at)
    await asyncio.gather(*running_pipelines)
    assert any(count < 120 for count in right), "the cut was in the middle"
    client = await bench.connect()
    assert (await client.ask(bench.path(other), Range="bytes=0-699999")).body == other.data
    assert (await client.ask(bench.path(BIG), Range="bytes=500000-900000")).status in (503, 504)
    await client.close()
    assert bench.count(Count.ERRORS) == 0
