from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest
from yarl import URL

from chassis.client import ServiceClient
from chassis.clock import VirtualClock
from chassis.errors import ServiceError
from chassis.linelog import LineLimits, LineLog
from chassis.metrics import Metrics
from chassis.routes import Routes
from chassis.service import Listener, Service, Tcp
from chassis.tls import client_context
from chassis.web import build_app
from contracts.catalogue import Title
from contracts.enrolment import PeerKind
from contracts.keys import KeySet
from contracts.problems import ProblemCode
from contracts.tokens import jwt
from contracts.tokens.claims import MediaClaims, TokenRefusal, TokenRefused
from contracts.tokens.media import TokenFormat, codec_of
from contracts.urls import with_token
from origin.accesslog import AccessLog
from origin.app import MEDIA_PATH
from origin.config import AccessLogging
from origin.jobs import VisibleFile
from origin.media import Answered, MediaDoor
from origin.metrics import MediaMetrics
from origin.tokens import MediaKeys, PlayerTokens
from tests.origin.conftest import Footage
from tests.origin.room import OPERATOR_TOKEN, Room, eventually, running_room


class Published:
    """A room with one published title and a plain HTTP client."""

    def __init__(self, room: Room, title: Title, http: aiohttp.ClientSession) -> None:
        self.room = room
        self.title = title
        self.http = http
        self.path = title.renditions[0].path
        self.data = room.object_of(self.path).read_bytes()
        self.etag = next(file.digests.etag for file in title.files if file.path == self.path)

    def url(self, path: str | None = None, token: str | None = None) -> str:
        path = path or self.path
        return self.room.urls["http"] + with_token(token or self.room.token(), path)

    async def get(
        self, method: str = "GET", url: str | None = None, **headers: str
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.request(method, url or self.url(), headers=sent) as response:
            return response, await response.read()

    async def metric(self, name: str) -> float:
        _, body = await self.get(url=f"{self.room.urls['http']}/metrics")
        line = next(line for line in body.decode().splitlines() if line.startswith(name))
        return float(line.rpartition(" ")[2])


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory, footage: Footage) -> tuple[Path, Title]:
    """The folder of an origin with one published title, made once."""
    folder = tmp_path_factory.mktemp("published")

    async def publish() -> Title:
        async with running_room(folder) as room:
            return await room.published(footage.clip)

    return folder / "state", asyncio.run(publish())


@pytest.fixture
async def published(tmp_path: Path, state: tuple[Path, Title]) -> AsyncIterator[Published]:
    folder, title = state
    shutil.copytree(folder, tmp_path / "state", ignore=shutil.ignore_patterns("identity"))
    async with running_room(tmp_path) as room, aiohttp.ClientSession() as http:
        room.control_plane.titles["t1"] = room.catalog.titles["t1"] = title
        yield Published(room, title, http)


async def code_of(answer: tuple[aiohttp.ClientResponse, bytes]) -> tuple[int, str]:
    response, body = answer
    assert response.content_type == "application/problem+json"
    return response.status, msgspec.json.decode(body)["type"].rpartition("/")[2]


async def test_ranges_are_the_bytes_of_the_file(published: Published) -> None:
    data, size = published.data, len(published.data)
    response, body = await published.get()
    assert (response.status, body) == (200, data)
    assert response.headers["Content-Type"] == "video/mp4"
    assert response.headers["ETag"] == published.etag
    wanted = [(0, 0), (0, size - 1), (size - 1, size - 1), (100, 70_000), (65_535, 131_072), (size - 5, size + 5)]
    wanted += [(s.offset, s.offset + s.length - 1) for s in published.title.renditions[0].segments]
    for first, last in wanted:
        response, body = await published.get(Range=f"bytes={first}-{last}")
        assert response.status == 206
        assert body == data[first : last + 1]
        assert response.headers["Content-Range"] == f"bytes {first}-{min(last, size - 1)}/{size}"
        assert response.headers["Content-Length"] == str(len(body))


async def test_every_published_file_is_served_whole_with_its_validator(published: Published) -> None:
    for file in published.title.files:
        response, body = await published.get(url=published.url(file.path))
        assert body == published.room.object_of(file.path).read_bytes()
        assert response.headers["ETag"] == file.digests.etag
        assert response.headers["Content-Type"] == file.digests.content_type


async def test_head_has_the_same_head_and_no_body(published: Published) -> None:
    response, body = await published.get("HEAD", Range="bytes=0-1")
    assert (response.status, body) == (200, b"")
    assert response.headers["Content-Length"] == str(len(published.data))


async def test_conditions_hold(published: Published) -> None:
    response, body = await published.get(If_None_Match=published.etag)
    assert (response.status, body) == (304, b"")
    assert response.headers["ETag"] == published.etag
    assert (await published.get(If_Range='"other"', Range="bytes=0-1"))[0].status == 200
    assert await code_of(await published.get(If_Match='"other"')) == (412, "precondition-failed")


async def test_an_unsatisfiable_range_is_told_with_the_size(published: Published) -> None:
    answer = await published.get(Range=f"bytes={len(published.data)}-")
    assert await code_of(answer) == (416, "range-not-satisfiable")
    assert answer[0].headers["Content-Range"] == f"bytes */{len(published.data)}"


async def test_a_player_needs_a_token_that_covers_the_path(published: Published) -> None:
    room, base = published.room, published.room.urls["http"]
    assert await code_of(await published.get(url=base + published.path)) == (403, "media-token-missing")
    forged = published.url(token="e30.e30.e30")
    assert await code_of(await published.get(url=forged)) == (403, "media-token-invalid")
    expired = published.url(token=room.token(lasts_s=-100))
    assert await code_of(await published.get(url=expired)) == (403, "media-token-expired")
    foreign = published.url(token=room.token("t2"))
    assert await code_of(await published.get(url=foreign)) == (403, "media-token-scope")
    poor = published.url(token=room.token(tiers=("base",)))
    assert await code_of(await published.get(url=poor)) == (403, "media-token-scope")


async def test_unknown_files_and_other_spellings_are_not_found(published: Published) -> None:
    assert await code_of(await published.get(url=published.url("/media/t1/sd/v-999.mp4"))) == (404, "not-found")
    for other in (published.path.replace("v-", "%76-"), published.path.replace("/sd/", "//sd/")):
        async with published.http.get(URL(published.url(other), encoded=True)) as response:
            assert response.status in (403, 404)
    async with published.http.get(URL(published.url() + "?x=1", encoded=True)) as response:
        assert response.status == 200


async def test_pages_elsewhere_may_read_answers_errors_and_preflights(published: Published) -> None:
    for url in (published.url(), published.url("/media/t1/sd/no.mp4"), published.room.urls["http"] + published.path):
        response, _ = await published.get(url=url, Origin="https://viewer.example")
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert "Content-Range" in response.headers["Access-Control-Expose-Headers"]
    asked = {"Origin": "https://viewer.example", "Access-Control-Request-Method": "GET"}
    async with published.http.options(published.url(token="none"), headers=asked) as preflight:
        assert preflight.status == 204
        assert "Range" in preflight.headers["Access-Control-Allow-Headers"]
        assert preflight.headers["Access-Control-Max-Age"] == "86400"


async def test_an_appliance_needs_a_certificate_and_no_token(published: Published) -> None:
    async with published.room.appliance() as appliance:
        async with appliance.open("GET", published.path, headers={"Range": "bytes=5-9"}) as response:
            assert (response.status, await response.read()) == (206, published.data[5:10])
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.load_verify_locations(cadata=published.room.authority.ca_pem)
    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await published.http.get(published.room.urls["mtls"] + published.path, ssl=bare)


async def test_other_services_have_no_business_at_the_appliances_door(published: Published) -> None:
    files = published.room.authority.issue(PeerKind.SERVICE, "steering")
    async with ServiceClient(published.room.urls["mtls"], ssl=client_context(files=files)) as service:
        with pytest.raises(ServiceError) as refused:
            await service.get(published.path)
    assert refused.value.code is ProblemCode.FORBIDDEN


async def test_bytes_and_requests_are_counted_by_caller(published: Published) -> None:
    await published.get(Range="bytes=0-999")
    await published.get(url=published.room.urls["http"] + published.path)
    async with published.room.appliance() as appliance, appliance.open("GET", published.path) as response:
        await response.read()
    assert await published.metric('lowtide_origin_media_bytes_total{caller="player"}') == 1000
    assert await published.metric('lowtide_origin_media_bytes_total{caller="appliance"}') == len(published.data)
    assert await published.metric('lowtide_origin_media_requests_total{caller="player",status="403"}') == 1


async def test_a_damaged_object_breaks_the_answer_off(published: Published) -> None:
    published.room.object_of(published.path).write_bytes(published.data[:1000])
    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await published.get()
    assert await published.metric('lowtide_origin_media_broken_total{caller="player"}') == 1


async def test_keys_are_asked_for_when_a_new_one_is_shown(published: Published) -> None:
    plane, room = published.room.control_plane, published.room
    known = plane.keys.keys[0]
    plane.keys = KeySet(2, (msgspec.structs.replace(known, kid="k2"),))
    claims = MediaClaims("playback", "s", "/media/t1/", ("sd",), 4e9, 0.0)
    response, _ = await published.get(url=published.url(token=jwt.sign(claims, room.token_key, "k2")))
    assert response.status == 200
    old = published.url(token=room.token())
    assert await code_of(await published.get(url=old)) == (403, "key-unknown")


async def test_a_key_that_has_ended_verifies_nothing_any_more_and_both_formats_open(published: Published) -> None:
    plane, room = published.room.control_plane, published.room
    known = plane.keys.keys[0]
    clock = VirtualClock(wall_s=1_000.0)
    keys = MediaKeys(room.settings.state_dir / "keys-of-this-test.json")
    keys.take(KeySet(1, (msgspec.structs.replace(known, not_after=2_000.0),)))
    tokens = PlayerTokens(keys, clock)
    claims = MediaClaims("playback", "s", "/media/t1/", ("sd",), 4e9, 0.0)
    both = [codec_of(format_).sign(claims, room.token_key, known.kid) for format_ in TokenFormat]
    for token in both:
        await tokens.check(token, "/media/t1/sd/v.mp4")
        assert (await published.get(url=published.url(token=token)))[0].status == 200
    await clock.advance(1_001.0)
    for token in both:
        with pytest.raises(TokenRefused) as caught:
            await tokens.check(token, "/media/t1/sd/v.mp4")
        assert caught.value.why is TokenRefusal.KEY_UNKNOWN


async def test_revoked_sessions_are_refused(published: Published) -> None:
    await published.get()
    plane = published.room.control_plane
    plane.keys = KeySet(2, plane.keys.keys, revoked_sessions=("session-1",))
    unknown = published.url(token="eyJhbGciOiJFUzI1NiIsImtpZCI6Im5ldyJ9.e30.AA")
    await published.get(url=unknown)
    assert await code_of(await published.get()) == (403, "media-token-revoked")


async def test_a_withdrawn_title_is_gone_everywhere(published: Published) -> None:
    room = published.room
    async with published.http.delete(
        f"{room.urls['http']}/v1/titles/t1", headers={"Authorization": f"Bearer {OPERATOR_TOKEN}"}
    ) as response:
        assert response.status == 202
    await room.worker.work_once()
    assert await code_of(await published.get()) == (404, "not-found")
    assert room.control_plane.titles == {}
    assert room.catalog.titles == {}
    assert room.control_plane.heard[-2:] == ["catalog-withdrawal", "control-plane-withdrawal"]
    assert not room.object_of(published.path).exists()
    assert not (room.settings.titles / "t1").exists()
    with pytest.raises(ServiceError) as gone:
        await room.status()
    assert gone.value.status == 404


async def test_the_origin_registers_both_its_addresses(published: Published) -> None:
    await eventually(lambda: bool(published.room.control_plane.origins))
    found = published.room.control_plane.origins[0]
    assert (found.name, found.player_url, found.mtls_url) == (
        "origin",
        published.room.urls["http"],
        published.room.urls["mtls"],
    )


class Endless:
    """Objects of any length, made of zeros."""

    async def put(self, path: str, file: Path) -> None:
        raise AssertionError("nothing is stored here")

    async def read(self, path: str, first: int, length: int) -> AsyncIterator[bytes]:
        for _ in range(length // 65536):
            yield bytes(65536)

    async def size(self, path: str) -> int | None:
        return None

    async def remove(self, path: str) -> None:
        raise AssertionError("nothing is removed here")


async def test_what_players_fetched_here_is_logged_to_the_byte_without_token_and_address(
    published: Published,
) -> None:
    token = published.room.token()
    await published.get(url=published.url(token=token), Range="bytes=0-999")
    await published.get(url=published.url(token=token))
    await published.get(url=published.url(token="nonsense"))
    await published.get(url=published.url("/media/t1/sd/none.mp4", token))
    log = published.room.settings.state_dir / "logs" / "access.jsonl"
    await eventually(lambda: log.exists() and log.read_bytes().count(b"\n") == 4)
    text = log.read_text()
    rows = [msgspec.json.decode(line) for line in text.splitlines()]
    assert [(row["status"], row["cache"], row["bytes"]) for row in rows] == [
        (206, "hit", 1000),
        (200, "hit", len(published.data)),
        (403, "none", 0),
        (404, "none", 0),
    ]
    assert rows[0]["session"] == "session-1"
    assert {row["client"] for row in rows} == {"127.0.0.0/24"}
    assert (token in text, "nonsense" in text) == (False, False)
    sent = await published.metric('lowtide_origin_media_bytes_total{caller="player"}')
    assert sum(row["bytes"] for row in rows) == sent


async def test_an_answer_that_was_broken_off_is_logged_with_the_bytes_that_left(tmp_path: Path) -> None:
    limits = LineLimits(1 << 20, 3600, 1, 3600)
    lines = LineLog(tmp_path, "access", limits, VirtualClock(), lambda _n: None)
    log = AccessLog(lines, AccessLogging(), VirtualClock())
    answered = Answered("GET", "/media/t/sd/v.mp4", "2001:db8:1:2::3", "s-1", status=206)
    with contextlib.suppress(ConnectionResetError), log.watching(answered):
        answered.sent_bytes = 70_000
        raise ConnectionResetError
    with log.watching(Answered("GET", "/~secret/x", "nobody")):
        pass
    await lines.flush()
    rows = [msgspec.json.decode(line) for line in (tmp_path / "access.jsonl").read_bytes().splitlines()]
    assert (rows[0]["bytes"], rows[0]["cache"], rows[0]["client"]) == (70_000, "hit", "2001:db8:1::/48")
    assert (rows[1]["path"], rows[1]["client"], rows[1]["status"]) == ("…", "?", 0)


async def test_a_client_that_takes_nothing_is_dropped() -> None:
    path, size = "/media/t/sd/v.mp4", 256 << 20

    async def find(_path: str) -> VisibleFile | None:
        return VisibleFile(path, size, "00" * 32, "video/mp4")

    metrics = Metrics("origin", process=False)
    counts = MediaMetrics(metrics)
    door = MediaDoor(find, Endless(), AnyToken(), counts, stall_s=0.2)

    async def compose(service: Service) -> None:
        routes = Routes("t")
        routes.raw("GET", "/{token:~[^/]*}" + MEDIA_PATH, door.to_player, summary="media")
        service.listen(Listener("http", build_app(routes, metrics=metrics), Tcp("127.0.0.1", 0)))

    async with Service("t", compose, grace_s=1).running() as urls:
        port = int(urls["http"].rpartition(":")[2])
        sleeper = socket.create_connection(("127.0.0.1", port))
        sleeper.sendall(f"GET /~t{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        in_flight = metrics.http_in_flight.labels("http")
        await eventually(lambda: counts.bytes.labels("player")._value.get() > 0)
        await eventually(lambda: in_flight._value.get() == 0, 5.0)
        assert counts.bytes.labels("player")._value.get() < size
        sleeper.close()


class AnyToken:
    async def check(self, token: str, path: str) -> str:
        return "s-any"
