"""A worker under load: paced players, the egress cap, limits, shedding and prefetch hints, at its sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from contracts.digests import BLOCK_BYTES
from oca.config import Capacity, Pacing
from oca.http.reasons import Closing, HintFate, Outcome, Pressure
from oca.link.counters import Count
from tests.oca.worker.worker_harness import Client, publish, running, with_keeper

MB = 1_000_000


def cmcd(payload: str) -> str:
    return "?CMCD=" + quote(payload, safe="")


async def timed(client: Client, path: str, **headers: str) -> float:
    began = time.monotonic()
    reply = await client.ask(path, **headers)
    assert reply.status == 200
    return time.monotonic() - began


@pytest.mark.parametrize("in_headers", [False, True])
async def test_a_player_with_a_healthy_buffer_is_paced_by_the_kernel_and_freed_when_the_buffer_shrinks(
    tmp_path: Path, in_headers: bool
) -> None:
    file = publish("v.mp4", 3 * MB)
    with running(tmp_path, pacing=Pacing(floor_bps=8_000_000)) as bench:
        bench.store_file(file)
        bench.start()
        client = await bench.connect()
        path = bench.path(file)
        for payload, paced in (("bl=20000,rtp=2000", True), ("bl=1000,rtp=2000", False), ("bl=20000,mtp=2000", False)):
            if in_headers:
                bl, rate = payload.split(",")
                took = await timed(client, path, CMCD_Request=bl, CMCD_Status=rate)
            else:
                took = await timed(client, path + cmcd(payload))
            if paced:
                assert took > 1.2, "3 MB at 8 Mbit/s"
                held_back = took
            else:
                assert took < held_back
        await bench.reaches(Count.PACED, 2)
        await client.close()


async def test_a_request_that_says_nothing_frees_a_paced_connection(tmp_path: Path) -> None:
    file = publish("v.mp4", 2 * BLOCK_BYTES)
    with running(tmp_path, pacing=Pacing(floor_bps=80 * MB)) as bench:
        bench.store_file(file)
        bench.start()
        client = await bench.connect()
        for number, size in enumerate((1000, 200_000)):  # header and body at once, and behind each other
            wanted = f"bytes=0-{size - 1}"
            for said in (cmcd("bl=20000,rtp=100"), ""):
                assert (await client.ask(bench.path(file) + said, Range=wanted)).status == 206
            await bench.reaches(Count.PACED, 2 * number + 2)
        await client.close()


async def test_switched_off_nobody_is_paced(tmp_path: Path) -> None:
    file = publish("v.mp4", 2 * BLOCK_BYTES)
    with running(tmp_path, pacing=Pacing(enabled=False, floor_bps=1 * MB)) as bench:
        bench.store_file(file)
        bench.start()
        client = await bench.connect()
        await client.ask(bench.path(file) + cmcd("bl=20000,rtp=100"))
        await bench.reaches(Outcome.HIT, 1)
        assert bench.count(Count.PACED) == 0
        await client.close()


async def test_all_bodies_together_stay_below_the_egress_cap_and_get_fair_parts(tmp_path: Path) -> None:
    file = publish("v.mp4", 2 * MB)
    with running(tmp_path, egress_bps=16 * MB) as bench:
        bench.store_file(file)
        bench.start()
        clients = [await bench.connect() for _ in range(4)]
        began = time.monotonic()
        ends: list[float] = []

        async def download(client: Client, number: int) -> None:
            reply = await client.ask(bench.path(file, session=f"s{number}"))
            ends.append(time.monotonic() - began)
            assert reply.body == file.data

        await asyncio.gather(*(download(client, number) for number, client in enumerate(clients)))
        burst = 2 * 16 * MB / 8 * 0.2
        assert (4 * 2 * MB - burst) / max(ends) <= 1.05 * 16 * MB / 8
        assert min(ends) > 0.5 * max(ends), "nobody was served before the others"
        assert bench.count(Count.EGRESS_TAKEN) == 4 * 2 * MB
        for client in clients:
            await client.close()


async def test_small_answers_of_the_short_way_wait_for_the_cap_too(tmp_path: Path) -> None:
    file = publish("v.mp4", 2 * MB)
    with running(tmp_path, egress_bps=8 * MB) as bench:
        bench.store_file(file)
        bench.start()
        client = await bench.connect()
        began = time.monotonic()
        for number in range(40):
            reply = await client.ask(bench.path(file), Range=f"bytes={number * 50_000}-{number * 50_000 + 49_999}")
            assert reply.body == file.data[number * 50_000 :][:50_000]
        assert time.monotonic() - began > 1.0, "2 MB at 1 MB/s"
        await client.close()


async def test_a_client_that_leaves_while_it_waits_for_its_part_holds_up_nobody(tmp_path: Path) -> None:
    file = publish("v.mp4", 2 * MB)
    with running(tmp_path, egress_bps=8 * MB) as bench:
        bench.store_file(file)
        bench.start()
        leaver, stayer = await bench.connect(), await bench.connect()
        leaver.send(bench.path(file, session="leaver"))
        stayer.send(bench.path(file, session="stayer"))
        await asyncio.sleep(0.3)
        leaver.reset()
        assert (await stayer.reply()).body == file.data
        await bench.reaches(Outcome.CLIENT_LEFT, 1)
        await stayer.close()


async def test_a_session_with_too_many_connections_is_told_429_and_its_connection_ends(tmp_path: Path) -> None:
    file = publish("v.mp4", 1000)
    with running(tmp_path, capacity=Capacity(session_connections=2)) as bench:
        bench.store_file(file)
        bench.start()
        clients = [await bench.connect() for _ in range(3)]
        for client in clients[:2]:
            assert (await client.ask(bench.path(file))).status == 200
        reply = await clients[2].ask(bench.path(file), Origin="https://page.example")
        assert (reply.status, reply.problem) == (429, "too-many-requests")
        assert int(reply.headers["retry-after"]) > 0
        assert "access-control-allow-origin" in reply.headers
        assert await clients[2].ended()
        await bench.reaches(Outcome.SESSION_CONNECTIONS, 1)
        again = await bench.connect()
        assert (await again.ask(bench.path(file, session="another"))).status == 200, "another session is let in"
        await clients[0].close()
        await bench.reaches(Closing.CLIENT, 1)
        late = await bench.connect()
        assert (await late.ask(bench.path(file))).status == 200
        for client in (clients[1], again, late):
            await client.close()


async def test_a_client_network_with_too_many_connections_is_told_429_unless_it_is_shared(tmp_path: Path) -> None:
    file = publish("v.mp4", 1000)
    with running(tmp_path, capacity=Capacity(network_connections=2, shared_networks=())) as bench:
        bench.store_file(file)
        bench.start()
        held = [await bench.connect() for _ in range(2)]
        for number, client in enumerate(held):
            assert (await client.ask(bench.path(file, session=f"s{number}"))).status == 200
        refused = await bench.connect()
        reply = await refused.reply()
        assert (reply.status, reply.headers["connection"]) == (429, "close")
        assert await refused.ended()
        await bench.reaches(Closing.NETWORK_FULL, 1)
        await bench.reaches(Outcome.NETWORK_CONNECTIONS, 1)
        await held[0].close()
        await bench.reaches(Closing.CLIENT, 1)
        after = await bench.connect()
        assert (await after.ask(bench.path(file))).status == 200
        await after.close()
        await held[1].close()


async def test_one_session_too_many_gets_503_and_the_running_one_goes_on_over_a_new_connection(tmp_path: Path) -> None:
    file = publish("v.mp4", 1000)
    with running(tmp_path, capacity=Capacity(sessions=1)) as bench:
        bench.store_file(file)
        bench.start()
        first, second, third = [await bench.connect() for _ in range(3)]
        assert (await first.ask(bench.path(file, session="running"))).status == 200
        reply = await second.ask(bench.path(file, session="new"))
        assert (reply.status, reply.problem) == (503, "unavailable")
        assert int(reply.headers["retry-after"]) > 0
        assert (await third.ask(bench.path(file, session="running"))).status == 200
        await bench.reaches(Outcome.SHED, 1)
        await bench.reaches(Pressure.SESSIONS, 1)
        for client in (first, second, third):
            await client.close()


async def test_over_capacity_new_sessions_are_shed_the_keeper_is_told_and_all_ends_when_it_is_calm(
    tmp_path: Path,
) -> None:
    file = publish("v.mp4", 1000)
    capacity = Capacity(connection_share=0.03)
    with running(tmp_path, max_connections=100, capacity=capacity) as bench:
        bench.store_file(file)
        bench.start()
        async with with_keeper(bench) as keeper:
            clients = [await bench.connect() for _ in range(4)]
            assert (await clients[0].ask(bench.path(file, session="running"))).status == 200
            await _until(lambda: bench.count(Count.SHEDDING) == 1)
            await _until(lambda: bool(keeper.reports) and keeper.reports[-1].shedding == "connections")
            reply = await clients[1].ask(bench.path(file, session="new"))
            assert (reply.status, reply.problem) == (503, "unavailable")
            assert (await clients[0].ask(bench.path(file, session="running"))).status == 200
            assert (await clients[2].ask(bench.path(file, session="running"))).status == 200, "also on a new connection"
            await bench.reaches(Pressure.CONNECTIONS, 1)
            for client in clients[1:]:
                await client.close()
            await _until(lambda: bench.count(Count.SHEDDING) == 0)
            await _until(lambda: keeper.reports[-1].shedding == "")
            late = await bench.connect()
            assert (await late.ask(bench.path(file, session="new"))).status == 200
            await late.close()
            await clients[0].close()


async def test_a_hint_makes_the_keeper_fetch_and_the_next_request_is_a_hit(tmp_path: Path) -> None:
    file = publish("v.mp4", 4 * BLOCK_BYTES)
    with running(tmp_path) as bench:
        bench.store_file(file, [0])
        bench.start()
        async with with_keeper(bench) as keeper:
            keeper.files[file.name.key] = file
            await bench.reaches(Count.KEEPER_LINKED, 1)
            client = await bench.connect()
            span = f"{BLOCK_BYTES}-{2 * BLOCK_BYTES - 1}"
            first = await client.ask(
                bench.path(file) + cmcd(f'bl=9000,nrr="{span}"'), Range=f"bytes=0-{BLOCK_BYTES - 1}"
            )
            assert first.status == 206
            await bench.reaches(HintFate.SENT, 1)
            await _until(lambda: bool(keeper.wants))
            want = keeper.wants[0]
            assert (want.hint, want.key, want.first_block, want.last_block) == (True, file.name.key, 1, 1)
            assert want.version == file.digests.version
            await asyncio.sleep(0.1)
            bench.commit()
            second = await client.ask(bench.path(file), Range=f"bytes={span}")
            assert second.body == file.data[BLOCK_BYTES : 2 * BLOCK_BYTES]
            await bench.reaches(Outcome.HIT, 2)
            assert [want.hint for want in keeper.wants] == [True], "nobody had to be asked"
            await client.close()


async def test_hints_that_lead_elsewhere_are_counted_and_nothing_else(tmp_path: Path) -> None:
    file, other = publish("v.mp4", 2 * BLOCK_BYTES), publish("o.mp4", 2 * BLOCK_BYTES, title="t2")
    with running(tmp_path) as bench:
        bench.store_file(file, [0])
        bench.store_file(other, [0])
        bench.start()
        async with with_keeper(bench) as keeper:
            await bench.reaches(Count.KEEPER_LINKED, 1)
            client = await bench.connect()
            outside = ("../../t2/hd/o.mp4", "/media/t2/hd/o.mp4", "http://elsewhere.example/v.mp4", "..%2fv.mp4")
            hints = [*(f'nor="{path}"' for path in outside), 'nor="unknown.mp4"', 'nrr="9-1"', 'nrr="0-99"']
            for number, hint in enumerate(hints):
                path = bench.path(file, session=f"s{number}") + cmcd(hint)
                assert (await client.ask(path, Range="bytes=0-99")).status == 206
            await bench.reaches(HintFate.OUTSIDE, len(outside))
            await bench.reaches(HintFate.UNKNOWN, 1)
            await bench.reaches(HintFate.MALFORMED, 1)
            await bench.reaches(HintFate.HELD, 1)
            assert keeper.wants == []
            await client.close()


async def test_a_session_that_hints_with_each_request_is_followed_once_a_second(tmp_path: Path) -> None:
    file = publish("v.mp4", 40 * BLOCK_BYTES)
    with running(tmp_path) as bench:
        bench.store_file(file, [0])
        bench.start()
        async with with_keeper(bench) as keeper:
            keeper.silent = True
            await bench.reaches(Count.KEEPER_LINKED, 1)
            client = await bench.connect()
            began = time.monotonic()
            for block in range(1, 30):
                path = bench.path(file) + cmcd(f'nrr="{block * BLOCK_BYTES}-{block * BLOCK_BYTES}"')
                assert (await client.ask(path, Range="bytes=0-9")).status == 206
            seconds = time.monotonic() - began
            await bench.reaches(Outcome.HIT, 29)
            assert 1 <= len(keeper.wants) <= seconds + 1
            await client.close()


async def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it did not come"
        await asyncio.sleep(0.02)
