"""What is not in the store: asked of a keeper that speaks the real link, waits, fails, dies and comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from contracts.digests import BLOCK_BYTES
from oca.http.reasons import Outcome
from oca.link.counters import Count
from oca.link.messages import FetchFailure
from tests.oca.worker.worker_harness import EXTENT_BYTES, Bench, FakeKeeper, publish, running, with_keeper

FILE = publish("v-360.mp4", 2 * EXTENT_BYTES + 300_000)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with running(tmp_path, first_byte_s=1.0, stall_s=1.0) as made:
        yield made


@pytest.fixture
async def keeper(bench: Bench) -> AsyncIterator[FakeKeeper]:
    async with with_keeper(bench) as made:
        made.files[FILE.name.key] = FILE
        bench.start()
        await bench.reaches(Count.KEEPER_LINKED, 1)
        yield made


async def becomes(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_a_miss_is_announced_sent_and_then_a_hit(bench: Bench, keeper: FakeKeeper) -> None:
    client = await bench.connect()
    keeper.delay_s = 0.05
    reply = await client.ask(bench.path(FILE), Range="bytes=300000-700000")
    assert (reply.status, reply.body) == (206, FILE.data[300000:700001])
    assert reply.headers["cache-status"] == "lowtide;fwd=uri-miss"
    assert [(want.head_only, want.first_block, want.last_block) for want in keeper.wants] == [
        (True, 0, 0),
        (False, 1, 2),
    ]
    asked = len(keeper.wants)
    again = await client.ask(bench.path(FILE), Range="bytes=300000-700000")
    assert again.body == reply.body, "announced, and not in the index yet"
    bench.commit()
    third = await client.ask(bench.path(FILE), Range="bytes=300000-700000")
    assert (third.body, third.headers["cache-status"]) == (reply.body, "lowtide;hit")
    assert [want for want in keeper.wants[asked:] if not want.head_only] == []
    await bench.reaches(Outcome.MISS, 2)
    await bench.reaches(Outcome.HIT, 1)
    await client.close()


async def test_only_what_is_missing_is_asked_for(bench: Bench, keeper: FakeKeeper) -> None:
    bench.store_file(FILE, [0, 1, 3, 5])
    client = await bench.connect()
    reply = await client.ask(bench.path(FILE))
    assert (reply.status, reply.body) == (200, FILE.data)
    assert reply.headers["cache-status"] == "lowtide;hit", "the first byte was held"
    assert [(want.first_block, want.last_block) for want in keeper.wants] == [(2, 2), (4, 4), (6, 7), (8, 9)]
    assert {want.version for want in keeper.wants} == {FILE.digests.version}
    await client.close()


async def test_head_asks_for_no_block(bench: Bench, keeper: FakeKeeper) -> None:
    client = await bench.connect()
    reply = await client.ask(bench.path(FILE), "HEAD")
    assert (reply.status, reply.headers["content-length"]) == (200, str(len(FILE.data)))
    assert [want.head_only for want in keeper.wants] == [True]
    reply = await client.ask(bench.path(FILE), If_None_Match=FILE.digests.etag)
    assert reply.status == 304
    assert (await client.ask(bench.path(FILE), Range="bytes=99999999-")).status == 416
    assert all(want.head_only for want in keeper.wants)
    await client.close()


async def test_an_unknown_file_is_404(bench: Bench, keeper: FakeKeeper) -> None:
    client = await bench.connect()
    reply = await client.ask(bench.path(publish("none.mp4", 10)))
    assert (reply.status, reply.problem) == (404, "not-found")
    assert reply.headers["access-control-allow-origin"] == "*"
    await client.close()


@pytest.mark.parametrize("failure", [row for row in FetchFailure if row is not FetchFailure.NOT_FOUND])
async def test_every_failure_of_a_fetch_has_its_status(bench: Bench, keeper: FakeKeeper, failure: FetchFailure) -> None:
    keeper.failure = failure
    client = await bench.connect()
    reply = await client.ask(bench.path(FILE), Range="bytes=0-9")
    assert reply.status == failure.status
    assert ("retry-after" in reply.headers) == (failure.status == 503)
    keeper.failure = None
    assert (await client.ask(bench.path(FILE), Range="bytes=0-9")).body == FILE.data[:10]
    await client.close()


async def test_a_keeper_that_says_nothing_makes_a_504_in_time(bench: Bench, keeper: FakeKeeper) -> None:
    keeper.silent = True
    client = await bench.connect()
    began = time.monotonic()
    reply = await client.ask(bench.path(FILE), Range="bytes=0-9")
    assert (reply.status, reply.problem) == (504, "upstream-timeout")
    assert 0.9 < time.monotonic() - began < 2.0
    await client.close()


async def test_no_keeper_at_all_makes_a_504_and_hits_go_on(bench: Bench) -> None:
    held = publish("held.mp4", 1000)
    bench.store_file(held)
    bench.start()
    client, other = await bench.connect(), await bench.connect()
    client.send(bench.path(FILE), Range="bytes=0-9")
    assert (await other.ask(bench.path(held))).body == held.data
    reply = await client.reply()
    assert (reply.status, reply.problem) == (504, "upstream-timeout")
    await bench.reaches(Outcome.KEEPER_AWAY, 1)
    await client.close()
    await other.close()


async def test_a_stall_after_the_header_aborts_the_connection(bench: Bench, keeper: FakeKeeper) -> None:
    keeper.only_blocks = 2
    client = await bench.connect()
    client.send(bench.path(FILE))
    head = await client.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    with pytest.raises(asyncio.IncompleteReadError) as cut:
        await asyncio.wait_for(client.reader.readexactly(len(FILE.data)), 30)
    assert cut.value.partial == FILE.data[: 2 * BLOCK_BYTES]
    assert await client.ended()


async def test_a_miss_outlives_the_keeper(bench: Bench, keeper: FakeKeeper) -> None:
    keeper.only_blocks = 1
    client = await bench.connect()
    client.send(bench.path(FILE), Range=f"bytes=0-{3 * BLOCK_BYTES - 1}")
    await becomes(lambda: len(keeper.wants) == 2)
    await asyncio.sleep(0.1)
    await keeper.stop()
    keeper.only_blocks = None
    await asyncio.sleep(0.3)
    await keeper.start()
    reply = await client.reply()
    assert (reply.status, reply.body) == (206, FILE.data[: 3 * BLOCK_BYTES])
    again = keeper.wants[-1]
    assert (again.first_block, again.last_block, again.version) == (1, 2, FILE.digests.version)
    assert bench.count(Count.REASKED) == 1
    await client.close()


async def test_a_client_that_leaves_cancels_its_wait_only(bench: Bench, keeper: FakeKeeper) -> None:
    keeper.silent = True
    client = await bench.connect()
    client.send(bench.path(FILE), Range="bytes=0-9")
    await becomes(lambda: len(keeper.wants) == 1)
    client.reset()
    await becomes(lambda: len(keeper.cancelled_requests) == 1)
    assert keeper.cancelled_requests == [keeper.wants[0].request]
    await bench.reaches(Outcome.CLIENT_LEFT, 1)


async def test_many_waiters_of_one_block_all_get_it(bench: Bench, keeper: FakeKeeper) -> None:
    keeper.delay_s = 0.1
    clients = [await bench.connect() for _ in range(40)]
    for client in clients:
        client.send(bench.path(FILE), Range="bytes=10-19")
    for client in clients:
        assert (await client.reply()).body == FILE.data[10:20]
        await client.close()


async def test_what_was_served_is_told_per_file(bench: Bench, keeper: FakeKeeper) -> None:
    held = publish("held.mp4", 1000)
    bench.store_file(held)
    client = await bench.connect()
    await client.ask(bench.path(held), Range="bytes=0-99")
    await client.ask(bench.path(held))
    await client.ask(bench.path(held), "HEAD")
    await client.ask(bench.path(FILE), Range="bytes=0-49")
    expected = {held.name.key: (2, 1100), FILE.name.key: (1, 50)}
    found: dict[str, tuple[int, int]] = {}
    async with asyncio.timeout(30):
        while found != expected:
            found = {}
            for key, requests, sent in (line for report in keeper.reports for line in report.clients):
                earlier = found.get(key, (0, 0))
                found[key] = (earlier[0] + requests, earlier[1] + sent)
            await asyncio.sleep(0.05)
    assert sum(report.hit_bytes for report in keeper.reports) == 1100
    assert sum(report.miss_bytes for report in keeper.reports) == 50
    assert keeper.reports[-1].connections == 1
    assert not any(report.peers for report in keeper.reports)
    await client.close()
