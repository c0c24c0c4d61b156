"""Purges of pulled-through objects: rows and bytes, by key, prefix, tag and all; hard ones are gone, soft ones validated first."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from contracts.triggers import Selection, TriggerType
from oca.link.commands import PURGE, PurgeCommand, PurgeReport, keeper_socket_path
from tests.oca.appliance.world import World
from tests.oca.pulling.web import Page, Web, get

pytestmark = pytest.mark.asyncio(loop_scope="module")
Pulled = tuple[World, Web]
FRESH = {"Cache-Control": "max-age=600"}
HARD, SOFT = TriggerType.PURGE, TriggerType.INVALIDATE


async def purge(world: World, kind: TriggerType, selection: Selection, text: str = "") -> None:
    """As the operator at the box; every worker obeys when it returns."""
    reader, writer = await asyncio.open_unix_connection(keeper_socket_path(world.state_dir))
    writer.write(PURGE + b" " + msgspec.json.encode(PurgeCommand(kind, selection, text)) + b"\n")
    report = msgspec.json.decode(await asyncio.wait_for(reader.readline(), 20), type=PurgeReport)
    writer.close()
    assert report.number, report.refused


async def stored(world: World, web: Web, path: str, body: bytes = b"before", **headers: str) -> Page:
    page = web.pages[path] = Page(body, FRESH | {name.replace("_", "-"): value for name, value in headers.items()})
    assert (await get(world, path)).body == body
    assert (await get(world, path)).cache == "hit"
    page.body = b"after"
    return page


async def test_a_hard_purge_of_a_key_takes_all_its_variants_and_no_other_key(pulled: Pulled) -> None:
    world, web = pulled
    page = await stored(world, web, "/key")
    page.headers = FRESH | {"Vary": "accept-language"}
    await stored(world, web, "/key2")
    await purge(world, HARD, Selection.OBJECT, "web|/key")
    again = await get(world, "/key")
    assert (again.body, again.cache) == (b"after", "fwd=uri-miss;stored")
    assert (await get(world, "/key2")).cache == "hit"


async def test_a_hard_purge_forgets_bytes_that_the_same_validator_would_bring_back(pulled: Pulled) -> None:
    world, web = pulled
    await stored(world, web, "/tagged", b"before", ETag='"same"')
    web.pages["/tagged"].body = b"AFTER!"  # an origin that changed bytes and kept tag and length: what purges are for
    await purge(world, HARD, Selection.OBJECT, "web|/tagged")
    assert (await get(world, "/tagged")).body == b"AFTER!"


async def test_a_purge_by_prefix_takes_what_is_below_it(pulled: Pulled) -> None:
    world, web = pulled
    for path in ("/below/a", "/below/b?c", "/beside"):
        await stored(world, web, path)
    await purge(world, HARD, Selection.PREFIX, "web|/below/")
    assert (await get(world, "/below/a")).body == b"after"
    assert (await get(world, "/below/b?c")).body == b"after"
    assert (await get(world, "/beside")).cache == "hit"


@pytest.mark.parametrize("name", ["Cache-Tag", "Surrogate-Key"])
async def test_a_purge_by_tag_takes_what_its_origin_named_so(pulled: Pulled, name: str) -> None:
    world, web = pulled
    label = f"news-{name.lower()}"
    web.pages[f"/{label}"] = Page(b"before", FRESH | {name: label})
    await get(world, f"/{label}")
    await stored(world, web, f"/not-{label}")
    web.pages[f"/{label}"].body = b"after"
    assert (await get(world, f"/{label}")).cache == "hit"
    await purge(world, HARD, Selection.TAG, label)
    assert (await get(world, f"/{label}")).body == b"after"
    assert (await get(world, f"/not-{label}")).cache == "hit"


async def test_a_soft_purge_has_it_validated_and_keeps_what_is_current(pulled: Pulled) -> None:
    world, web = pulled
    page = await stored(world, web, "/soft", ETag='"soft"')
    page.body = b"before"
    await purge(world, SOFT, Selection.OBJECT, "web|/soft")
    asked = len(web.asked)
    again = await get(world, "/soft")
    assert (again.body, "fwd-status=304" in again.cache) == (b"before", True)
    assert len(web.asked) == asked + 1
    assert (await get(world, "/soft")).cache == "hit"


async def test_what_was_softly_purged_is_replaced_where_it_has_changed(pulled: Pulled) -> None:
    world, web = pulled
    page = await stored(world, web, "/changed", ETag='"one"')
    page.headers = FRESH | {"ETag": '"two"'}
    await purge(world, SOFT, Selection.OBJECT, "web|/changed")
    assert (await get(world, "/changed")).body == b"after"


async def test_an_object_whose_bytes_have_left_is_fetched_again_at_once(pulled: Pulled) -> None:
    world, web = pulled
    await stored(world, web, "/evicted")
    await stored(world, web, "/evicted-tagged", ETag='"e"')
    await purge(world, HARD, Selection.PREFIX, "web|/evicted#")  # the row stays, as after an eviction
    assert (await get(world, "/evicted")).body == b"after"
    await purge(world, HARD, Selection.PREFIX, "web|/evicted-tagged#")
    web.pages["/evicted-tagged"].body = b"before"
    assert (await get(world, "/evicted-tagged")).body == b"before"


async def test_a_purge_of_all_takes_everything(pulled: Pulled) -> None:
    world, web = pulled
    await stored(world, web, "/one")
    await stored(world, web, "/two")
    await purge(world, HARD, Selection.ALL)
    assert (await get(world, "/one")).body == b"after"
    assert (await get(world, "/two")).body == b"after"


async def test_a_fetch_that_began_before_a_purge_is_not_kept(pulled: Pulled) -> None:
    world, web = pulled
    gate = asyncio.Event()
    web.pages["/slow"] = Page(b"before", FRESH, gate=gate)
    asking = asyncio.create_task(get(world, "/slow"))
    await world.until(lambda: web.count("/slow") == 1)
    await purge(world, HARD, Selection.OBJECT, "web|/slow")
    web.pages["/slow"] = Page(b"after", FRESH)
    gate.set()
    assert (await asking).body == b"after", "it was asked for again, because nothing had been sent yet"
    assert (await get(world, "/slow")).body == b"after"
