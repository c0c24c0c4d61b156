"""Packaged manifests fetched from an origin: once, by their digest, and never in the way of a play."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
import pytest
from aiohttp import web

from chassis.client import ServiceClient
from chassis.clock import VirtualClock
from chassis.metrics import Metrics
from chassis.routes import Routes
from chassis.service import Listener, Service, Tcp
from chassis.web import build_app
from companions.catalog.titles import details_of
from companions.playback.manifests import DASH, HLS, Form, Manifests
from companions.playback.metrics import ManifestSource, PlaybackMetrics
from companions.playback.pathways import routes
from companions.playback.sheets import PackagedFile, Sheet, packaged_file
from contracts.manifests.bad import MAX_BYTES
from contracts.manifests.elements import Element
from tests.companions.lab import ORIGIN_URL, make_title
from tests.companions.packaged import DASH_PATH, HLS_PATH, TITLE, published_m3u8, published_mpd, renditions

D = TypeVar("D")
SHEET = Sheet(8.0, routes(TITLE, renditions(), None, ORIGIN_URL), "token")


@dataclass
class Origin:
    """Gives what it has under a path, when it is let; remembers what it was asked."""

    files: dict[str, bytes]
    status: int = 200
    asked: list[str] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def media(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        self.heard.set()
        await self.open.wait()
        body = self.files.get(request.path.removeprefix("/~token"), b"")
        return web.Response(status=self.status, body=body)

    async def compose(self, service: Service) -> None:
        made = Routes("Origin")
        made.raw("GET", "/{token}/media/{title}/{tier}/{file}", self.media, summary="Media", content_type="*/*")
        service.listen(Listener("http", build_app(made, metrics=Metrics("origin")), Tcp("127.0.0.1", 0)))


@dataclass
class Bed:
    origin: Origin
    client: ServiceClient
    clock: VirtualClock
    metrics: PlaybackMetrics

    def manifests(self) -> Manifests[Element]:
        return self.of(DASH)

    def of(self, form: Form[D]) -> Manifests[D]:
        return Manifests(form, self.client, self.metrics, self.clock, idle_s=5.0, pause_s=1.0, limit=10)

    def count(self, source: ManifestSource) -> float:
        return float(self.metrics.manifests.labels(source.value)._value.get())


@pytest.fixture
async def bed() -> AsyncIterator[Bed]:
    origin = Origin({DASH_PATH: published_mpd(), HLS_PATH: published_m3u8()})
    origin.open.set()
    clock = VirtualClock()
    async with Service("origin", origin.compose, grace_s=0.1).running() as urls, ServiceClient(urls["http"]) as client:
        yield Bed(origin, client, clock, PlaybackMetrics(Metrics("playback")))


def known_as(path: str, document: bytes) -> PackagedFile:
    return PackagedFile(path, len(document), hashlib.sha256(document).hexdigest())


DASH_FILE = known_as(DASH_PATH, published_mpd())
HLS_FILE = known_as(HLS_PATH, published_m3u8())


async def test_both_manifests_are_made_from_what_the_packager_wrote(bed: Bed) -> None:
    assert 'par="4:3"' in await bed.manifests().text(SHEET, DASH_FILE)
    assert "EXT-X-I-FRAME-STREAM-INF" in await bed.of(HLS).text(SHEET, HLS_FILE)
    assert bed.count(ManifestSource.PACKAGED) == 2


async def test_a_document_is_fetched_once_however_many_ask_for_it(bed: Bed) -> None:
    bed.origin.open.clear()
    made = bed.manifests()
    asking = [asyncio.create_task(made.text(SHEET, DASH_FILE)) for _ in range(20)]
    await bed.origin.heard.wait()
    asking[0].cancel()
    bed.origin.open.set()
    texts = await asyncio.gather(*asking[1:])
    texts.append(await made.text(SHEET, DASH_FILE))
    assert len(set(texts)) == 1
    assert bed.origin.asked == [f"/~token{DASH_PATH}"]
    assert bed.count(ManifestSource.PACKAGED) == 20


async def test_a_title_without_manifests_has_them_from_its_facts(bed: Bed) -> None:
    text = await bed.manifests().text(SHEET, None)
    assert all(f'<Representation id="{one.id}"' in text for one in renditions())
    assert bed.origin.asked == []
    assert bed.count(ManifestSource.NONE_PUBLISHED) == 1


async def test_other_bytes_than_the_published_ones_are_not_believed_and_asked_for_again(bed: Bed) -> None:
    made = bed.manifests()
    bed.origin.files[DASH_PATH] = published_mpd().replace(b"PT8S", b"PT9S")
    assert 'par="4:3"' not in await made.text(SHEET, DASH_FILE)
    assert bed.count(ManifestSource.OTHER_BYTES) == 1
    bed.origin.files[DASH_PATH] = published_mpd()
    assert 'par="4:3"' in await made.text(SHEET, DASH_FILE)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"not a manifest",
        b"<!DOCTYPE a [<!ENTITY b 'c'>]><MPD>&b;</MPD>",
        published_mpd().replace(b"a-en", b"a-no"),
    ],
    ids=["empty", "text", "entities", "another-title"],
)
async def test_a_published_document_that_is_wrong_is_judged_once_and_stood_in_for(bed: Bed, document: bytes) -> None:
    bed.origin.files[DASH_PATH] = document
    made = bed.manifests()
    for _ in range(2):
        assert '<Representation id="v-120"' in await made.text(SHEET, known_as(DASH_PATH, document))
    assert bed.count(ManifestSource.MALFORMED) == 2
    assert len(bed.origin.asked) == 1


async def test_an_origin_that_fails_is_left_alone_for_a_while(bed: Bed) -> None:
    made = bed.manifests()
    bed.origin.status = 503
    for _ in range(3):
        assert '<Representation id="v-120"' in await made.text(SHEET, DASH_FILE)
    assert len(bed.origin.asked) == 1
    bed.origin.status = 200
    await bed.clock.advance(1.1)
    assert 'par="4:3"' in await made.text(SHEET, DASH_FILE)
    assert bed.count(ManifestSource.UNREACHABLE) == 3


async def test_a_file_that_the_origin_does_not_have_keeps_no_other_title_waiting(bed: Bed) -> None:
    made = bed.manifests()
    bed.origin.status = 404
    await made.text(SHEET, known_as("/media/gone/base/manifest.mpd", b"gone"))
    bed.origin.status = 200
    assert 'par="4:3"' in await made.text(SHEET, DASH_FILE)


def test_a_file_too_large_to_be_a_manifest_is_none() -> None:
    details = details_of(make_title(TITLE))
    file = details.files[0]
    assert packaged_file(details, "") is None
    assert packaged_file(details, "/media/tide/base/other.mpd") is None
    assert packaged_file(details, file.path) == PackagedFile(file.path, file.size_bytes, file.sha256)
    large = msgspec.structs.replace(file, size_bytes=MAX_BYTES + 1)
    assert packaged_file(msgspec.structs.replace(details, files=(large,)), file.path) is None
