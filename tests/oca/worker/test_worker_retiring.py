"""A worker that is being replaced: it accepts no more, tells everybody with the next answer, and closes nothing untold."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from oca.http.reasons import Closing
from oca.link.counters import Count
from tests.oca.worker.worker_harness import Bench, Client, publish, running

FILE = publish("v-360.mp4", 900_000)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with running(tmp_path, retire_s=60.0) as made:
        made.store_file(FILE)
        made.start()
        yield made


async def retire(bench: Bench) -> None:
    bench.say("retire")
    await bench.reaches(Count.READY, 0)


async def ended_process(bench: Bench) -> int:
    assert bench.process is not None
    return await asyncio.to_thread(bench.process.wait, 20)


def cpu_ticks(bench: Bench) -> int:
    assert bench.process is not None
    fields = Path(f"/proc/{bench.process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


async def opened(bench: Bench) -> Client:
    client = await bench.connect()
    reply = await client.ask(bench.path(FILE), Range="bytes=0-1")
    assert (reply.status, "connection" in reply.headers) == (206, False)
    return client


async def test_an_idle_connection_is_told_with_its_next_answer_and_ends_behind_it(bench: Bench) -> None:
    early, late = await opened(bench), await opened(bench)
    await retire(bench)
    for client in (early, late):
        await asyncio.sleep(0.6)
        assert not client.reader.at_eof(), "nobody told it"
        reply = await client.ask(bench.path(FILE), Range="bytes=5-9")
        assert (reply.status, reply.body, reply.headers["connection"]) == (206, FILE.data[5:10], "close")
        assert await client.ended()
    assert await ended_process(bench) == 0, "as soon as the last connection has ended"
    assert bench.counters.total(Closing.DRAINED) == 2


async def test_a_retired_worker_takes_no_further_connection(bench: Bench) -> None:
    client = await opened(bench)
    await retire(bench)
    accepted = bench.count(Count.ACCEPTED)
    bench.say("adopt 0")  # said to a worker that has begun to leave by itself
    waiting = await bench.connect()
    before = cpu_ticks(bench)
    waiting.send(bench.path(FILE), Range="bytes=0-1")
    await asyncio.sleep(0.5)
    assert bench.count(Count.ACCEPTED) == accepted, "it waits in the queue for the next worker"
    assert cpu_ticks(bench) - before < 20, "and nobody looks at that queue again and again"
    await waiting.close()
    await client.close()
    assert await ended_process(bench) == 0


async def test_a_client_that_sent_more_than_is_answered_still_gets_the_answer(bench: Bench) -> None:
    client = await opened(bench)
    await retire(bench)
    for _ in range(200):
        client.send(bench.path(FILE), Range="bytes=0-899999")
    reply = await client.reply()
    assert (reply.body, reply.headers["connection"]) == (FILE.data, "close")
    assert await client.reader.read(1) == b"", "no second answer, and no reset"
    await client.close()
    assert await ended_process(bench) == 0


async def test_an_answer_that_promised_to_keep_the_connection_keeps_it(bench: Bench) -> None:
    client = await bench.connect()
    big = publish("big.mp4", 24_000_000)
    bench.store_file(big)
    client.send(bench.path(big))
    head = await client.reader.readuntil(b"\r\n\r\n")
    assert b"connection:" not in head.lower()
    await retire(bench)
    assert await client.reader.readexactly(len(big.data)) == big.data
    await asyncio.sleep(0.6)
    reply = await client.ask(bench.path(FILE), Range="bytes=0-1")
    assert (reply.status, reply.headers["connection"]) == (206, "close")
    assert await client.ended()
    assert await ended_process(bench) == 0


async def test_half_a_request_is_completed_and_answered(bench: Bench) -> None:
    client = await bench.connect()
    text = f"GET {bench.path(FILE)} HTTP/1.1\r\nHost: {bench.host}\r\nRange: bytes=0-4\r\n\r\n".encode()
    client.raw(text[:40])
    await bench.reaches(Count.ACCEPTED, 1)
    await retire(bench)
    client.raw(text[40:])
    reply = await client.reply()
    assert (reply.body, reply.headers["connection"]) == (FILE.data[:5], "close")
    assert await client.ended()


async def test_at_the_end_of_its_time_what_is_idle_is_closed(tmp_path: Path) -> None:
    with running(tmp_path, retire_s=1.0) as bench:
        bench.store_file(FILE)
        bench.start()
        client = await opened(bench)
        await retire(bench)
        assert await client.ended()
        assert await ended_process(bench) == 0


async def test_when_the_box_stops_it_does_not_wait(bench: Bench) -> None:
    client = await opened(bench)
    await retire(bench)
    assert bench.process is not None
    bench.process.send_signal(signal.SIGTERM)
    assert await client.ended()
    assert await ended_process(bench) == 0
