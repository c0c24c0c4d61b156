"""An upstream in trouble whose operator has its errors answered again for a moment."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.oca.pulling.web import Page, get, pulled_world


@pytest.mark.asyncio
async def test_an_error_of_the_upstream_is_answered_again_for_as_long_as_the_operator_says(tmp_path: Path) -> None:
    async with pulled_world(tmp_path, server_error_ttl_s=60.0) as (world, web):
        web.pages["/trouble"] = Page(b"busy", {"Retry-After": "3"}, 503)
        web.pages["/silent"] = Page(b"busy", {"Cache-Control": "no-store"}, 503)
        await world.start()
        for _ in range(2):
            reply = await get(world, "/trouble")
            assert (reply.status, reply.body, reply["retry-after"]) == (503, b"busy", "3")
            assert (await get(world, "/silent")).status == 503
        assert (await get(world, "/trouble")).cache == "hit"
        assert web.count("/trouble") == 1
        assert web.count("/silent") > 1
