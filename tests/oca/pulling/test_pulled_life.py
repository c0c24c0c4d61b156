"""The life of pulled-through objects on a whole appliance: stored, reused, validated, replaced, and what is said of it."""

from __future__ import annotations

from pathlib import Path

from tests.oca.pulling.web import Page, get, pulled_world


async def test_what_is_fresh_is_asked_for_once(tmp_path: Path) -> None:
    async with pulled_world(tmp_path) as (world, web):
        web.pages["/a"] = Page(b"hello", {"Cache-Control": "max-age=600", "Content-Type": "text/plain"})
        await world.start()
        first = await get(world, "/a")
        assert (first.status, first.body, first.cache) == (200, b"hello", "fwd=uri-miss;stored")
        assert first["content-type"] == "text/plain"
        await world.until(lambda: True)
        second = await get(world, "/a")
        assert (second.status, second.body, second.cache) == (200, b"hello", "hit")
        assert web.count("/a") == 1
