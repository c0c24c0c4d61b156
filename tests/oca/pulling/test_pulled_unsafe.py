"""What an unsafe request leaves of what is stored (RFC 9111 §4.4), on a whole appliance."""

from __future__ import annotations

import pytest

from tests.oca.appliance.world import World
from tests.oca.pulling.web import Page, Web, get

pytestmark = pytest.mark.asyncio(loop_scope="module")
Pulled = tuple[World, Web]
FRESH = {"Cache-Control": "max-age=600, stale-if-error=600", "ETag": '"a"'}


async def stored(world: World, web: Web, path: str) -> None:
    web.pages[path] = Page(b"hello", FRESH)
    await get(world, path)
    assert (await get(world, path)).cache == "hit"


@pytest.mark.parametrize("method", ["POST", "DELETE", "MKCOL"])
async def test_an_unsafe_request_has_its_target_validated(pulled: Pulled, method: str) -> None:
    world, web = pulled
    path = f"/unsafe/{method.lower()}"
    await stored(world, web, path)
    assert (await get(world, path, method, Content_Length="0")).status == 200
    after = await get(world, path)
    assert (after.status, after.body) == (200, b"hello")
    assert after.cache.startswith("fwd=stale;fwd-status=304")
    assert (await get(world, path)).cache == "hit"


async def test_what_the_answer_names_is_validated_too_however_it_is_spelled(pulled: Pulled) -> None:
    world, web = pulled
    await stored(world, web, "/unsafe/~named")
    await stored(world, web, "/unsafe/elsewhere")
    web.pages["/unsafe/form"] = Page(
        b"", {"Location": "%7Enamed?CMCD=bl", "Content-Location": "//other.example/unsafe/elsewhere"}, 201
    )
    assert (await get(world, "/unsafe/form", "POST", Content_Length="0")).status == 201
    assert (await get(world, "/unsafe/~named")).cache.startswith("fwd=stale;fwd-status=304")
    assert (await get(world, "/unsafe/elsewhere")).cache == "hit"


async def test_an_unsafe_request_that_fails_changes_nothing(pulled: Pulled) -> None:
    world, web = pulled
    await stored(world, web, "/unsafe/failing")
    web.pages["/unsafe/failing"] = Page(b"no", {}, 403)
    assert (await get(world, "/unsafe/failing", "PUT", Content_Length="0")).status == 403
    assert (await get(world, "/unsafe/failing")).cache == "hit"


async def test_what_was_made_invalid_does_not_stand_in_for_an_upstream_that_is_down(pulled: Pulled) -> None:
    world, web = pulled
    await stored(world, web, "/unsafe/down")
    assert (await get(world, "/unsafe/down", "POST", Content_Length="0")).status == 200
    web.down = True
    try:
        assert (await get(world, "/unsafe/down")).status in (502, 504)
    finally:
        web.down = False
