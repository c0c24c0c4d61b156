"""The bytes of pulled-through objects: ranges, parts under one validator, versions that change, bodies that break off, many waiters."""

from __future__ import annotations

import asyncio
import random

import pytest

from contracts.digests import BLOCK_BYTES
from tests.oca.appliance.world import World
from tests.oca.pulling.web import Page, Reply, Web, get

pytestmark = pytest.mark.asyncio(loop_scope="module")
Pulled = tuple[World, Web]
FRESH = {"Cache-Control": "max-age=600"}
RUN_BYTES = 16 * BLOCK_BYTES
PATIENCE_S = 30.0
"""How long a disk that others keep busy may take to let go of a version."""


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(f"{size}:{seed}").randbytes(size)


async def part(world: World, path: str, first: int, last: int) -> Reply:
    return await get(world, path, Range=f"bytes={first}-{last}")


async def test_ranges_are_the_origins_bytes_and_only_what_is_near_them_is_fetched(pulled: Pulled) -> None:
    world, web = pulled
    body = noise(10 * RUN_BYTES + 777)
    web.pages["/big"] = Page(body, FRESH | {"ETag": '"big"'})
    places = random.Random(7)
    for _ in range(12):
        first = places.randrange(len(body))
        last = min(len(body) - 1, first + places.randrange(1, 600_000))
        reply = await part(world, "/big", first, last)
        assert (reply.status, reply.whole) == (206, True)
        assert reply["content-range"] == f"bytes {first}-{last}/{len(body)}"
        assert reply.body == body[first : last + 1]
    assert all("range" in asked.headers for asked in web.asked if asked.path == "/big")
    suffix = await get(world, "/big", Range="bytes=-100")
    assert suffix.body == body[-100:]
    assert (await get(world, "/big", Range="bytes=99999999-")).status == 416
    several = await get(world, "/big", Range="bytes=0-9,100-109")
    assert body[100:110] in several.body
    assert several["content-type"].startswith("multipart/byteranges")
    assert (await get(world, "/big")).body == body
    fetched = [asked.headers["range"] for asked in web.asked if asked.path == "/big" and "range" in asked.headers]
    assert len(fetched) == len(set(fetched)), "nothing is fetched twice"


async def test_parts_without_a_strong_validator_are_never_combined(pulled: Pulled) -> None:
    world, web = pulled
    body = noise(2 * RUN_BYTES)
    web.pages["/parts"] = Page(body, FRESH | {"ETag": 'W/"weak"'})
    reply = await part(world, "/parts", RUN_BYTES, RUN_BYTES + 99)
    assert reply.body == body[RUN_BYTES : RUN_BYTES + 100]
    last = web.asked[-1]
    assert (last.path, "range" in last.headers) == ("/parts", False), "all of it was fetched, as one"
    assert (await get(world, "/parts")).body == body


async def test_an_upstream_that_knows_no_ranges_is_read_once(pulled: Pulled) -> None:
    world, web = pulled
    body = noise(RUN_BYTES + 5)
    web.pages["/whole"] = Page(body, FRESH | {"ETag": '"w"'}, ranges=False)
    assert (await part(world, "/whole", 100, 199)).body == body[100:200]
    assert (await get(world, "/whole")).body == body
    assert web.count("/whole") == 1


async def test_an_answer_never_mixes_two_versions(pulled: Pulled) -> None:
    world, web = pulled
    old, new = noise(4 * RUN_BYTES, 1), noise(4 * RUN_BYTES, 2)
    page = web.pages["/changing"] = Page(old, FRESH | {"ETag": '"old"'})
    assert (await part(world, "/changing", 0, 99)).body == old[:100]
    page.body, page.headers = new, FRESH | {"ETag": '"new"'}
    async with asyncio.timeout(PATIENCE_S):
        while (reply := await get(world, "/changing")).body != new:
            assert not reply.whole
            assert old.startswith(reply.body)


async def test_the_same_tag_with_another_length_is_another_version(pulled: Pulled) -> None:
    world, web = pulled
    old, new = noise(3 * RUN_BYTES, 3), noise(3 * RUN_BYTES + 1, 4)
    page = web.pages["/length"] = Page(old, FRESH | {"ETag": '"tag"'})
    assert (await part(world, "/length", 0, 9)).body == old[:10]
    page.body = new
    first = await part(world, "/length", 2 * RUN_BYTES, 2 * RUN_BYTES + 9)
    assert first.body == new[2 * RUN_BYTES : 2 * RUN_BYTES + 10]
    assert (await get(world, "/length")).body == new


async def test_a_body_that_breaks_off_goes_on_under_its_validator(pulled: Pulled) -> None:
    world, web = pulled
    body = noise(5 * BLOCK_BYTES + 11)
    page = web.pages["/resumed"] = Page(body, FRESH | {"ETag": '"r"'}, cut_at=2 * BLOCK_BYTES + 100)
    reply = await get(world, "/resumed")
    page.cut_at = None
    assert (reply.whole, reply.body == body) == (True, True)
    assert web.asked[-1].headers["if-range"] == '"r"'
    assert (await get(world, "/resumed")).body == body


async def test_a_body_without_validator_that_breaks_off_is_not_kept(pulled: Pulled) -> None:
    world, web = pulled
    body = noise(3 * BLOCK_BYTES)
    page = web.pages["/broken"] = Page(body, FRESH, cut_at=BLOCK_BYTES + 5)
    reply = await get(world, "/broken")
    assert not reply.whole or reply.status >= 500
    assert body.startswith(reply.body) or reply.status >= 500
    page.cut_at = None
    assert (await get(world, "/broken")).body == body
    assert (await get(world, "/broken")).cache == "hit"


async def test_a_hundred_who_wait_for_a_body_of_unknown_length_cost_one_fetch(pulled: Pulled) -> None:
    world, web = pulled
    body = noise(300_000)
    gate = asyncio.Event()
    web.pages["/unsized"] = Page(body, FRESH, sized=False, gate=gate)
    asks = [asyncio.create_task(get(world, "/unsized")) for _ in range(100)]
    await world.until(lambda: world.keeper_metric("lowtide_keeper_waiting_wants") >= 100, 30.0)
    gate.set()
    replies = await asyncio.gather(*asks)
    assert all(reply.body == body and reply["content-length"] == "300000" for reply in replies)
    assert web.count("/unsized") == 1
    assert sum("collapsed" in reply["cache-status"] for reply in replies) == 99


async def test_a_hundred_who_want_a_cold_object_cost_one_fetch(pulled: Pulled) -> None:
    world, web = pulled
    body = noise(6 * BLOCK_BYTES + 1)
    gate = asyncio.Event()
    web.pages["/crowd"] = Page(body, FRESH, gate=gate)
    asks = [asyncio.create_task(get(world, "/crowd")) for _ in range(100)]
    await world.until(lambda: world.keeper_metric("lowtide_keeper_waiting_wants") >= 100, 30.0)
    gate.set()
    assert all(reply.body == body for reply in await asyncio.gather(*asks))
    assert web.count("/crowd") == 1


async def test_a_client_that_leaves_does_not_stop_the_fetch(pulled: Pulled) -> None:
    world, web = pulled
    body = noise(2 * BLOCK_BYTES)
    gate = asyncio.Event()
    web.pages["/left"] = Page(body, FRESH, gate=gate)
    leaving = asyncio.create_task(get(world, "/left"))
    await world.until(lambda: web.count("/left") == 1)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    gate.set()
    assert (await get(world, "/left")).body == body
    assert web.count("/left") == 1


async def test_an_empty_object_is_an_object(pulled: Pulled) -> None:
    world, web = pulled
    web.pages["/empty"] = Page(b"", FRESH)
    for expected in ("fwd=uri-miss;stored", "hit"):
        reply = await get(world, "/empty")
        assert (reply.status, reply.body, reply["content-length"], reply.cache) == (200, b"", "0", expected)


async def test_of_what_can_be_had_in_ranges_no_more_is_fetched_than_somebody_is_near(pulled: Pulled) -> None:
    world, web = pulled
    body = noise(12 * RUN_BYTES)
    page = web.pages["/huge"] = Page(body, FRESH | {"ETag": '"huge"'}, pause_s=0.1)
    reader, writer = await asyncio.open_connection(*world.box.address)
    writer.write(b"GET /huge HTTP/1.1\r\nHost: web.example\r\n\r\n")
    await reader.readexactly(1000)
    writer.transport.abort()
    await world.until(lambda: "/huge" in web.broken_off, 30.0)
    page.pause_s = 0.0
    assert (await part(world, "/huge", len(body) - 100, len(body) - 1)).body == body[-100:]
    assert (await get(world, "/huge")).body == body


async def test_a_slow_body_does_not_take_the_place_of_what_came_after_it(pulled: Pulled) -> None:
    world, web = pulled
    gate = asyncio.Event()
    landed = world.keeper_metric("lowtide_keeper_pull_flights_total")
    web.pages["/race"] = Page(b"old", FRESH, gate=gate)
    slow = asyncio.create_task(get(world, "/race"))
    await world.until(lambda: world.keeper_metric("lowtide_keeper_pull_flights_total") > landed, 30.0)
    web.pages["/race"] = Page(b"newer", FRESH)
    assert (await get(world, "/race", Cache_Control="no-cache")).body == b"newer"
    gate.set()
    assert (await slow).body == b"old"
    await world.until(lambda: world.keeper_metric("lowtide_keeper_disk_unsynced_blocks") == 0, 30.0)
    again = await get(world, "/race")
    assert (again.body, again.cache) == (b"newer", "hit")
