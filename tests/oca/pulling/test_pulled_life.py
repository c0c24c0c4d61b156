"""The life of pulled-through objects on a whole appliance: stored, reused, validated, replaced, and what is said of it."""

from __future__ import annotations

import asyncio

import pytest

from tests.oca.appliance.world import World
from tests.oca.pulling.web import Page, Web, get

pytestmark = pytest.mark.asyncio(loop_scope="module")
Pulled = tuple[World, Web]
FRESH = {"Cache-Control": "max-age=600"}


async def test_what_is_fresh_is_asked_for_once(pulled: Pulled) -> None:
    world, web = pulled
    web.pages["/fresh"] = Page(b"hello", FRESH | {"Content-Type": "text/plain", "X-Own": "kept"})
    first = await get(world, "/fresh")
    assert (first.status, first.body, first.cache) == (200, b"hello", "fwd=uri-miss;stored")
    second = await get(world, "/fresh")
    assert (second.status, second.body, second.cache) == (200, b"hello", "hit")
    assert (second["content-type"], second["x-own"]) == ("text/plain", "kept")
    assert second["date"] == first["date"]
    assert web.count("/fresh") == 1


async def test_what_belongs_to_one_connection_is_neither_sent_up_nor_stored(pulled: Pulled) -> None:
    world, web = pulled
    web.pages["/hop"] = Page(b"x", FRESH | {"Connection": "X-Hop", "X-Hop": "1", "Keep-Alive": "timeout=5"})
    reply = await get(world, "/hop", Cookie="a=b", Accept="text/*", X_Own="1", CMCD_Request="bl=1")
    assert not reply["x-hop"]
    assert not reply["keep-alive"]
    [asked] = [asked for asked in web.asked if asked.path == "/hop"]
    assert asked.headers["accept"] == "text/*"
    assert asked.headers["via"] == "1.1 lowtide"
    assert asked.headers["cdn-loop"].startswith("lowtide;appliance=")
    assert not {"cookie", "x-own", "cmcd-request", "range", "user-agent"} & asked.headers.keys()


async def test_the_query_is_part_of_the_key_but_for_cmcd(pulled: Pulled) -> None:
    world, web = pulled
    web.pages["/q?a=1"] = Page(b"one", FRESH)
    web.pages["/q?a=2"] = Page(b"two", FRESH)
    assert (await get(world, "/q?a=1&CMCD=bl%3D1")).body == b"one"
    assert (await get(world, "/q?a=2")).body == b"two"
    assert (await get(world, "/q?CMCD=x&a=1")).cache == "hit"


async def test_an_unknown_host_is_misdirected_and_a_peer_loop_refused(pulled: Pulled) -> None:
    world, web = pulled
    web.pages["/h"] = Page(b"x", FRESH)
    assert (await get(world, "/h", Host="other.example")).status == 421
    loop = next(asked for asked in web.asked).headers["cdn-loop"] if web.asked else ""
    if not loop:
        await get(world, "/h")
        loop = web.asked[-1].headers["cdn-loop"]
    assert (await get(world, "/h?loop", CDN_Loop=loop)).status == 508


async def test_what_is_stale_is_validated_and_keeps_its_bytes(pulled: Pulled) -> None:
    world, web = pulled
    page = web.pages["/etag"] = Page(b"same", {"Cache-Control": "max-age=0", "ETag": '"v1"', "X-Said": "first"})
    assert (await get(world, "/etag")).body == b"same"
    page.headers = page.headers | {"X-Said": "second"}
    again = await get(world, "/etag")
    assert (again.body, again.cache) == (b"same", "fwd=stale;fwd-status=304;stored")
    assert again["x-said"] == "second", "the header that is stored takes over what a 304 says"
    assert web.asked[-1].headers["if-none-match"] == '"v1"'
    page.body, page.headers = b"new bytes", {"Cache-Control": "max-age=600", "ETag": '"v2"'}
    assert (await get(world, "/etag")).body == b"new bytes"
    assert (await get(world, "/etag")).cache == "hit"


async def test_a_date_of_modification_validates_too(pulled: Pulled) -> None:
    world, web = pulled
    changed = "Sat, 01 Nov 2025 10:00:00 GMT"
    web.pages["/dated"] = Page(b"dated", {"Cache-Control": "no-cache", "Last-Modified": changed})
    await get(world, "/dated")
    assert (await get(world, "/dated")).cache == "fwd=stale;fwd-status=304;stored;detail=no-cache"
    assert web.asked[-1].headers["if-modified-since"] == changed


async def test_variants_are_kept_apart_and_side_by_side(pulled: Pulled) -> None:
    world, web = pulled
    web.pages["/vary"] = Page(b"in ", FRESH, by_field="accept-language")
    assert (await get(world, "/vary", Accept_Language="de")).body == b"in de"
    other = await get(world, "/vary", Accept_Language="fr")
    assert (other.body, other.cache) == (b"in fr", "fwd=vary-miss;stored")
    assert (await get(world, "/vary", Accept_Language="DE")).cache == "hit"
    assert (await get(world, "/vary", Accept_Language="fr")).cache == "hit"
    assert web.count("/vary") == 2


async def test_what_may_not_be_stored_is_passed_on_each_time(pulled: Pulled) -> None:
    world, web = pulled
    web.pages["/secret"] = Page(b"mine", {"Cache-Control": "private"})
    for _ in range(2):
        reply = await get(world, "/secret")
        assert (reply.status, reply.body, reply["cache-control"]) == (200, b"mine", "private")
    web.pages["/secret"] = Page(b"yours", {"Cache-Control": "private"})
    assert (await get(world, "/secret")).body == b"yours"


async def test_a_head_that_nothing_stored_answers_is_passed_on(pulled: Pulled) -> None:
    world, web = pulled
    web.pages["/headless"] = Page(b"body", FRESH)
    reply = await get(world, "/headless", "HEAD")
    assert (reply.status, reply["content-length"]) == (200, "4")
    assert web.asked[-1].method == "HEAD"


async def test_an_unsafe_method_is_forwarded_and_has_what_is_stored_validated(pulled: Pulled) -> None:
    world, web = pulled
    page = web.pages["/edited"] = Page(b"before", FRESH | {"ETag": '"1"'})
    assert (await get(world, "/edited")).body == b"before"
    page.body, page.headers = b"after", FRESH | {"ETag": '"2"'}
    assert (await get(world, "/edited")).body == b"before", "it is fresh"
    assert (await get(world, "/edited", "DELETE")).status == 200
    assert web.asked[-1].method == "DELETE"
    assert (await get(world, "/edited")).body == b"after"


async def test_an_error_has_a_short_life_and_is_answered_from_the_store(pulled: Pulled) -> None:
    world, web = pulled
    missing = await get(world, "/missing")
    assert (missing.status, missing.body) == (404, b"nothing here")
    again = await get(world, "/missing")
    assert (again.status, again.body, again.cache) == (404, b"nothing here", "hit")
    assert web.count("/missing") == 1


async def test_a_redirection_is_passed_to_the_client_and_not_followed(pulled: Pulled) -> None:
    world, web = pulled
    web.pages["/moved"] = Page(b"", FRESH | {"Location": "/fresh"}, 301)
    reply = await get(world, "/moved")
    assert (reply.status, reply["location"], reply.body) == (301, "/fresh", b"")
    assert (await get(world, "/moved")).cache == "hit"


async def test_conditions_of_clients_are_judged_by_what_is_stored(pulled: Pulled) -> None:
    world, web = pulled
    web.pages["/cond"] = Page(b"conditional", FRESH | {"ETag": '"c"'})
    web.pages["/weak"] = Page(b"weak", FRESH | {"ETag": 'W/"w"'})
    assert (await get(world, "/cond", If_None_Match='"c"')).status == 304
    assert (await get(world, "/cond", If_None_Match='"other"')).status == 200
    assert (await get(world, "/cond", If_Match='"other"')).status == 412
    assert (await get(world, "/weak")).status == 200
    assert (await get(world, "/weak", If_None_Match='W/"w"')).status == 304
    assert (await get(world, "/weak", If_Match='W/"w"')).status == 412, "a weak tag never matches strongly"
    assert web.count("/cond") == 1
    assert "if-none-match" not in web.asked[-1].headers


async def test_a_head_is_answered_by_what_a_get_has_stored(pulled: Pulled) -> None:
    world, web = pulled
    web.pages["/head"] = Page(b"body", FRESH)
    await get(world, "/head")
    reply = await get(world, "/head", "HEAD")
    assert (reply.status, reply["content-length"], reply.cache) == (200, "4", "hit")


async def test_a_client_that_wants_nothing_from_upstream_is_told_so(pulled: Pulled) -> None:
    world, web = pulled
    web.pages["/only"] = Page(b"only", FRESH)
    assert (await get(world, "/only", Cache_Control="only-if-cached")).status == 504
    await get(world, "/only")
    assert (await get(world, "/only", Cache_Control="only-if-cached")).body == b"only"
    assert web.count("/only") == 1


async def test_a_client_that_reloads_has_it_validated(pulled: Pulled) -> None:
    world, web = pulled
    web.pages["/reload"] = Page(b"reload", FRESH | {"ETag": '"r"'})
    await get(world, "/reload")
    reply = await get(world, "/reload", Cache_Control="no-cache")
    assert (reply.body, reply.cache) == (b"reload", "fwd=request;fwd-status=304;stored;detail=request-no-cache")


async def test_something_stale_is_sent_while_it_is_validated_behind(pulled: Pulled) -> None:
    world, web = pulled
    said = {"Cache-Control": "max-age=0, stale-while-revalidate=600", "ETag": '"s1"'}
    page = web.pages["/swr"] = Page(b"old", said)
    await get(world, "/swr")
    page.body, page.headers = b"new", FRESH | {"ETag": '"s2"'}
    stale = await get(world, "/swr")
    assert (stale.body, stale.cache) == (b"old", "hit;detail=stale-while-revalidate")
    await world.until(lambda: web.count("/swr") == 2)
    bodies: list[bytes] = []
    while b"new" not in bodies:
        assert len(bodies) < 200, "it is validated behind the answer"
        bodies.append((await get(world, "/swr")).body)
    assert set(bodies) <= {b"old", b"new"}
    assert web.count("/swr") == 2


async def test_what_the_origin_says_to_cdns_goes_before_what_it_says_to_all(pulled: Pulled) -> None:
    world, web = pulled
    web.pages["/cdn"] = Page(b"cdn", {"CDN-Cache-Control": "max-age=600", "Cache-Control": "no-store"})
    await get(world, "/cdn")
    reply = await get(world, "/cdn")
    assert reply.cache == "hit"
    assert reply["cache-control"] == "no-store"


async def test_age_counts_from_the_origin_over_tiers(pulled: Pulled) -> None:
    world, web = pulled
    web.pages["/aged"] = Page(b"aged", FRESH | {"Age": "100"})
    assert 100 <= int((await get(world, "/aged"))["age"]) < 160
    assert 100 <= int((await get(world, "/aged"))["age"]) < 160


async def test_what_an_upstream_cache_said_comes_first(pulled: Pulled) -> None:
    world, web = pulled
    web.pages["/tiers"] = Page(b"t", FRESH | {"Cache-Status": "tier;hit"})
    assert (await get(world, "/tiers"))["cache-status"].startswith("tier;hit, lowtide;fwd=uri-miss")


async def test_the_origin_says_itself_which_pages_may_read_it(pulled: Pulled) -> None:
    world, web = pulled
    web.pages["/cors"] = Page(b"c", FRESH | {"Access-Control-Allow-Origin": "https://one.example"})
    web.pages["/open"] = Page(b"c", FRESH)
    assert (await get(world, "/cors"))["access-control-allow-origin"] == "https://one.example"
    assert (await get(world, "/open"))["access-control-allow-origin"] == "*"


async def test_a_path_with_dot_segments_leads_nowhere(pulled: Pulled) -> None:
    world, web = pulled
    assert (await get(world, "/a/../b")).status == 400
    assert web.count("/b") == 0


async def test_what_came_with_credentials_is_shared_only_where_the_origin_says_so(pulled: Pulled) -> None:
    world, web = pulled
    web.pages["/own"] = Page(b"own", FRESH)
    web.pages["/shared"] = Page(b"shared", {"Cache-Control": "public, max-age=600"})
    for path in ("/own", "/shared"):
        assert (await get(world, path, Authorization="Basic eA==")).status == 200
    assert any(asked.headers.get("authorization") == "Basic eA==" for asked in web.asked if asked.path == "/own")
    assert (await get(world, "/own")).cache != "hit"
    assert (await get(world, "/shared")).cache == "hit"


async def test_interim_answers_and_trailers_of_the_origin_change_nothing(pulled: Pulled) -> None:
    world, web = pulled
    web.pages["/interim"] = Page(b"interim", FRESH, sized=False, interim=True)
    for _ in range(2):
        reply = await get(world, "/interim")
        assert (reply.status, reply.body) == (200, b"interim")
        assert not reply["link"]
        assert not reply["x-trailer"]
    assert web.count("/interim") == 1


async def test_waiters_for_several_variants_cost_one_fetch_each(pulled: Pulled) -> None:
    world, web = pulled
    gate = asyncio.Event()
    web.pages["/many"] = Page(b"in ", FRESH, by_field="accept-language", sized=False, gate=gate)
    asks = [asyncio.create_task(get(world, "/many", Accept_Language=("de", "fr")[n % 2])) for n in range(20)]
    await world.until(lambda: world.keeper_metric("lowtide_keeper_waiting_wants") >= 20, 30.0)
    gate.set()
    bodies = [reply.body for reply in await asyncio.gather(*asks)]
    assert bodies == [b"in de", b"in fr"] * 10
    assert web.count("/many") == 2
