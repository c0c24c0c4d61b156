"""What a whole appliance does not store of a pull-through service: passed on as it comes, and what it makes useless."""

from __future__ import annotations

import pytest

from tests.oca.appliance.world import World
from tests.oca.pulling.web import Page, Web, get

pytestmark = pytest.mark.asyncio(loop_scope="module")
Pulled = tuple[World, Web]
FRESH = {"Cache-Control": "max-age=600"}


async def test_an_answer_that_may_not_be_stored_is_passed_on_whole_and_in_part(pulled: Pulled) -> None:
    world, web = pulled
    body = bytes(range(256)) * 4096
    web.pages["/private"] = Page(body, {"Cache-Control": "private", "ETag": '"p1"', "Set-Cookie": "a=b"})
    for _ in range(2):
        reply = await get(world, "/private", Cookie="s=1")
        assert (reply.status, reply.body, reply.cache) == (200, body, "fwd=miss;stored=?0")
        assert reply["set-cookie"] == "a=b"
    assert web.asked[-1].headers["cookie"] == "s=1"
    part = await get(world, "/private", Range="bytes=70000-70099")
    assert (part.status, part.body) == (206, body[70_000:70_100])
    assert part["content-range"] == f"bytes 70000-70099/{len(body)}"
    assert (await get(world, "/private", If_None_Match='"p1"')).status == 304
    head = await get(world, "/private", "HEAD")
    assert (head.status, head["content-length"]) == (200, str(len(body)))


@pytest.mark.parametrize("method", ["DELETE", "POST", "PATCH", "LOCK"])
async def test_what_an_unsafe_method_changed_is_validated_before_it_is_used_again(pulled: Pulled, method: str) -> None:
    world, web = pulled
    path = f"/changed-{method.lower()}"
    page = web.pages[path] = Page(b"old", FRESH)
    assert (await get(world, path)).body == b"old"
    assert (await get(world, path)).cache == "hit"
    page.status, page.body = 409, b"no"
    refused = await get(world, path, method, Content_Length="0")
    assert (refused.status, refused.body, refused.cache) == (409, b"no", "fwd=method")
    page.status, page.body = 200, b"new"
    assert (await get(world, path)).body == b"old", "an error changes nothing"
    done = await get(world, path, method, Content_Length="0")
    assert (done.status, done.cache) == (200, "fwd=method")
    assert (await get(world, path)).body == b"new"


async def test_a_location_on_the_same_host_is_changed_too_and_others_are_not(pulled: Pulled) -> None:
    world, web = pulled
    web.pages["/there"], web.pages["/form"] = Page(b"old", FRESH), Page(b"", {"Location": "/there"}, 201)
    web.pages["/elsewhere"] = Page(b"", {"Location": "http://other.example/there"}, 201)
    assert (await get(world, "/there")).body == b"old"
    web.pages["/there"].body = b"new"
    assert (await get(world, "/elsewhere", "POST", Content_Length="0")).status == 201
    assert (await get(world, "/there")).body == b"old"
    assert (await get(world, "/form", "POST", Content_Length="0")).status == 201
    assert (await get(world, "/there")).body == b"new"


async def test_options_asks_the_upstream_and_changes_nothing(pulled: Pulled) -> None:
    world, web = pulled
    page = web.pages["/options"] = Page(b"held", FRESH)
    await get(world, "/options")
    page.body, page.headers = b"", {"Allow": "GET, POST"}
    reply = await get(world, "/options", "OPTIONS")
    assert (reply.status, reply["allow"]) == (200, "GET, POST")
    assert (await get(world, "/options")).body == b"held"
