"""Pulled-through objects when the upstream is down, the keeper dies, or the whole appliance was off."""

from __future__ import annotations

from pathlib import Path

from contracts.digests import BLOCK_BYTES
from oca.config import Serving
from tests.oca.appliance.world import World
from tests.oca.pulling.test_pulled_bytes import noise
from tests.oca.pulling.web import Page, Web, get, pulled_world

FRESH = {"Cache-Control": "max-age=600"}


async def test_while_the_upstream_is_down_what_may_be_stale_is_served_and_the_rest_is_504(tmp_path: Path) -> None:
    async with pulled_world(tmp_path) as (world, web):
        web.pages["/lasting"] = Page(b"lasting", {"Cache-Control": "max-age=0, stale-if-error=600", "ETag": '"l"'})
        web.pages["/strict"] = Page(b"strict", {"Cache-Control": "max-age=0, must-revalidate", "ETag": '"s"'})
        web.pages["/fresh"] = Page(b"fresh", FRESH)
        await world.start()
        for path in ("/lasting", "/strict", "/fresh"):
            assert (await get(world, path)).status == 200
        web.down = True
        assert (await get(world, "/fresh")).body == b"fresh"
        stale = await get(world, "/lasting")
        assert (stale.status, stale.body) == (200, b"lasting")
        assert stale.cache == "fwd=stale;detail=stale-if-error"
        assert (await get(world, "/strict")).status == 504
        assert (await get(world, "/unknown")).status == 504
        web.down = False
        web.pages["/lasting"].status = 503
        assert (await get(world, "/lasting")).body == b"lasting", "an error of the upstream is no better than silence"
        web.pages["/lasting"].status = 200
        assert (await get(world, "/strict")).body == b"strict"


async def test_the_next_upstream_is_asked_when_the_first_is_gone(tmp_path: Path) -> None:
    other = Web()
    await other.start()
    gone = Web()
    await gone.start()
    await gone.close()
    async with pulled_world(tmp_path, upstreams=(gone.url, other.url)) as (world, _web):
        other.pages["/a"] = Page(b"from the second", FRESH)
        await world.start()
        assert (await get(world, "/a")).body == b"from the second"
    await other.close()


async def _stored(world: World, web: Web, path: str, body: bytes, **headers: str) -> None:
    web.pages[path] = Page(body, {"Cache-Control": "max-age=600", **headers})
    assert (await get(world, path)).body == body
    await world.until(lambda: world.keeper_metric("lowtide_keeper_disk_unsynced_blocks") == 0)


async def test_a_restart_keeps_objects_with_their_freshness_and_bytes(tmp_path: Path) -> None:
    async with pulled_world(tmp_path) as (world, web):
        await world.start()
        whole, parts = noise(BLOCK_BYTES + 9), noise(3 * BLOCK_BYTES, 1)
        await _stored(world, web, "/whole", whole)
        await _stored(world, web, "/parts", parts, ETag='"p"')
        asked = len(web.asked)
        await world.stop_appliance()
        await world.start()
        assert (await get(world, "/whole")).body == whole
        again = await get(world, "/parts")
        assert (again.body, again.cache) == (parts, "hit")
        assert len(web.asked) == asked


async def test_a_keeper_that_is_killed_leaves_nothing_wrong(tmp_path: Path) -> None:
    async with pulled_world(tmp_path) as (world, web):
        await world.start()
        bodies = {f"/{number}": noise(2 * BLOCK_BYTES + number, number) for number in range(6)}
        for number, (path, body) in enumerate(bodies.items()):
            web.pages[path] = Page(body, FRESH | ({"ETag": f'"{number}"'} if number % 2 else {}))
        for path in list(bodies)[:4]:
            await get(world, path)
        killed = world.kill_keeper()
        await world.until_keeper_serves(unlike=killed)
        for path, body in bodies.items():
            reply = await get(world, path)
            assert (reply.status, reply.body == body) == (200, True), path


async def test_an_upstream_that_hangs_does_not_keep_what_may_be_stale_waiting(tmp_path: Path) -> None:
    async with pulled_world(tmp_path) as (world, web):
        page = web.pages["/hangs"] = Page(b"held", {"Cache-Control": "max-age=0, stale-if-error=600", "ETag": '"h"'})
        world.serving = Serving(workers=1, first_byte_s=4.0, stall_s=20.0)
        await world.start()
        assert (await get(world, "/hangs")).body == b"held"
        page.hangs = True
        stale = await get(world, "/hangs")
        assert (stale.body, stale.cache) == (b"held", "fwd=stale;detail=stale-if-error")


async def test_on_several_disks_and_workers_every_object_is_found_again(tmp_path: Path) -> None:
    async with pulled_world(tmp_path, disks=3, workers=2) as (world, web):
        await world.start()
        bodies = {f"/{number}": noise(1000 + number, number) for number in range(30)}
        for path, body in bodies.items():
            web.pages[path] = Page(body, FRESH)
            assert (await get(world, path)).body == body
        await world.until(lambda: world.keeper_metric("lowtide_keeper_disk_unsynced_blocks") == 0)
        asked = len(web.asked)
        for _ in range(2):
            for path, body in bodies.items():
                reply = await get(world, path)
                assert (reply.body, reply.cache) == (body, "hit")
            await world.stop_appliance()
            await world.start()
        assert len(web.asked) == asked
