"""Content steering as it runs: a session asks over HTTP, with a world that the test changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import msgspec
import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from chassis.client import ServiceClient
from chassis.clock import SYSTEM_CLOCK
from chassis.https import Https
from chassis.service import Service
from contracts.content_steering import SteeringManifest
from contracts.decisions import PlayExplanation
from contracts.plays import PlayList
from contracts.problems import CONTENT_TYPE, Problem, ProblemCode
from contracts.world import Change, RankFile, Ranking, RankRequest, WorldFacts
from steering.app import assemble
from steering.cli import app
from steering.config import ContentSteering, ControlPlane, Http, SteeringSettings, Viewer
from steering.decided import read
from steering.keyring import FILE_NAME as KEY_FILE
from steering.keyring import Keyring
from steering.misses import account
from tests.steering.worlds import key, suspect, two_networks, well

FOREVER = 4_000_000_000.0


@dataclass
class Plane:
    """A change stream that says what the test says."""

    queue: asyncio.Queue[Change] = field(default_factory=asyncio.Queue)

    async def changes(self, after: int) -> AsyncIterator[Change]:
        for change in (*two_networks(), Change(1, snapshot_complete=True)):
            yield change
        while True:
            yield await self.queue.get()


@dataclass
class Running:
    url: str
    client: ServiceClient
    http: aiohttp.ClientSession
    plane: Plane
    viewer_url: str = ""

    async def begin(self, play: str = "s-1", client: str = "10.1.7.9", until: float = FOREVER) -> Ranking:
        files = (RankFile(key(), "t/v-360"),)
        return await self.client.post("/v1/rank", RankRequest(client, files, play=play, until=until), Ranking)

    async def ask(self, address: str, **headers: str) -> SteeringManifest:
        url = address if "://" in address else self.url + address
        async with self.http.get(url, headers=headers) as response:
            assert response.status == 200, await response.text()
            assert response.headers["Cache-Control"] == "no-store"
            return msgspec.json.decode(await response.read(), type=SteeringManifest)

    async def refused(self, address: str) -> tuple[int, Problem, Mapping[str, str]]:
        async with self.http.get(self.url + address, headers={"Origin": "https://player.example"}) as response:
            assert response.content_type == CONTENT_TYPE
            return response.status, msgspec.json.decode(await response.read(), type=Problem), response.headers


@asynccontextmanager
async def steering(
    folder: Path, content_steering: ContentSteering | None = None, viewer: Viewer | None = None
) -> AsyncIterator[Running]:
    plane = Plane()
    settings = SteeringSettings(
        folder,
        ControlPlane("https://127.0.0.1:1"),
        Http(port=0),
        viewer=viewer or Viewer(),
        content_steering=content_steering or ContentSteering(),
    )

    async def composed(service: Service) -> None:
        folder.mkdir(exist_ok=True)
        assemble(service, settings, plane.changes)

    async with (
        Service("steering", composed, grace_s=0.5).running() as urls,
        ServiceClient(urls["http"]) as client,
        aiohttp.ClientSession() as http,
    ):
        while not (await client.get("/v1/world", WorldFacts)).live:  # noqa: ASYNC110  what is waited for happens behind a queue
            await asyncio.sleep(0.01)
        yield Running(urls["http"], client, http, plane, urls.get("viewer", ""))


async def test_a_session_is_told_the_order_of_its_manifest_while_all_is_well(tmp_path: Path) -> None:
    async with steering(tmp_path) as running:
        ranking = await running.begin()
        assert urlsplit(ranking.steering).path == "/v1/steering/s-1"
        answer = await running.ask(ranking.steering)
        assert answer.priority == ("pathway-1", "pathway-2", "pathway-3", "origin")
        assert (answer.version, answer.clones, answer.ttl_s) == (1, (), 60)
        assert answer.reload_uri.startswith(running.url + "/v1/steering/s-1?")
        assert (await running.ask(answer.reload_uri)).priority == answer.priority


def test_a_door_by_tls_is_refused_where_there_is_no_listener_for_players_alone(tmp_path: Path) -> None:
    door = Https("127.0.0.1", 0, Path("/tls.pem"), Path("/tls.key"))
    plane = ControlPlane("https://127.0.0.1:1")
    with pytest.raises(ValueError, match=r"https: .* viewer.enabled"):
        SteeringSettings(tmp_path, plane, https=door)
    assert SteeringSettings(tmp_path, plane, https=door, viewer=Viewer(enabled=True)).https is door


async def test_the_listener_of_players_answers_them_and_tells_nobody_anything_else(tmp_path: Path) -> None:
    async with steering(tmp_path, viewer=Viewer(enabled=True, port=0)) as running:
        address = (await running.begin()).steering
        async with running.http.get(running.viewer_url + address) as response:
            assert response.status == 200
            answer = msgspec.json.decode(await response.read(), type=SteeringManifest)
        assert answer.reload_uri.startswith(running.viewer_url + "/v1/steering/s-1?")
        for path in (
            "/v1/world",
            "/v1/plays",
            "/v1/explain?play=s-1",
            "/v1/meant",
            "/v1/routes?client=10.1.0.1",
            "/openapi.json",
        ):
            async with running.http.get(running.viewer_url + path) as response:
                assert response.status == 404, path
        async with running.http.post(running.viewer_url + "/v1/rank", json={}) as response:
            assert response.status == 404


async def test_a_ranking_for_no_session_has_no_address(tmp_path: Path) -> None:
    async with steering(tmp_path) as running:
        assert (await running.begin(play="")).steering == ""
        assert (await running.begin(until=0.0)).steering == ""


async def test_players_on_other_origins_read_answers_and_refusals_and_nothing_else(tmp_path: Path) -> None:
    async with steering(tmp_path) as running:
        ranking = await running.begin()
        origin = {"Origin": "https://player.example"}
        async with running.http.get(running.url + ranking.steering, headers=origin) as response:
            assert response.headers["Access-Control-Allow-Origin"] == "*"
        async with running.http.get(running.url + "/v1/world", headers=origin) as response:
            assert "Access-Control-Allow-Origin" not in response.headers
        _status, _problem, headers = await running.refused("/v1/steering/s-1")
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert headers["Cache-Control"] == "no-store"


async def test_what_is_no_state_of_this_session_is_refused_in_words_and_counted(tmp_path: Path) -> None:
    async with steering(tmp_path) as running:
        mine = (await running.begin("s-1")).steering
        state = mine.partition("?s=")[2]
        keys = Keyring(tmp_path / KEY_FILE, SYSTEM_CLOCK).keys
        ended = keys.seal(replace(keys.open(state), until=1_763_000_000))
        for address, code in (
            ("/v1/steering/s-1", ProblemCode.BAD_QUERY),
            ("/v1/steering/s-1?s=%20", ProblemCode.BAD_QUERY),
            (f"/v1/steering/s-2?s={state}", ProblemCode.STEERING_STATE_INVALID),
            (f"/v1/steering/s-1?s={ended}", ProblemCode.STEERING_OVER),
            (f"/v1/steering/s-1?s={state[:-4]}AAAA", ProblemCode.STEERING_STATE_INVALID),
            ("/v1/steering/s-1?s=" + "a" * 5000, ProblemCode.URI_TOO_LONG),
        ):
            status, problem, _headers = await running.refused(address)
            assert (status, problem.type) == (code.status, code.type_uri), address
            assert problem.detail
        async with running.http.get(running.url + "/metrics") as response:
            text = await response.text()
        for line in ('{reason="forged"} 1.0', '{reason="of-another-session"} 1.0', '{reason="too-long"} 1.0'):
            assert "lowtide_steering_sessions_refused_total" + line in text


@pytest.mark.parametrize("public", ["https://steering.example", "https://steering.example/"])
async def test_the_next_address_is_where_players_reach_steering(tmp_path: Path, public: str) -> None:
    async with steering(tmp_path, ContentSteering(public_url=public)) as running:
        answer = await running.ask((await running.begin()).steering)
        assert answer.reload_uri.startswith("https://steering.example/v1/steering/s-1?s=")


async def test_another_process_with_the_same_keys_goes_on_with_the_session(tmp_path: Path) -> None:
    shared = ContentSteering(key_file=tmp_path / "keys")
    async with steering(tmp_path / "one", shared) as one, steering(tmp_path / "two", shared) as two:
        address = (await one.begin()).steering
        assert (await two.ask(address)).priority == (await one.ask(address)).priority
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600


async def move(running: Running, answer: SteeringManifest, change: Change, **headers: str) -> SteeringManifest:
    """Tells the world a change and asks until the session is moved by it."""
    running.plane.queue.put_nowait(change)
    before = answer.priority[0]
    async with asyncio.timeout(30.0):
        while answer.priority[0] == before:
            answer = await running.ask(answer.reload_uri, **headers)
    return answer


async def test_a_session_leaves_who_falls_silent_and_the_whole_story_is_told(tmp_path: Path) -> None:
    async with steering(tmp_path) as running:
        ranking = await running.begin()
        assert ranking.groups[0].choices[0].appliance_id == "a2"
        first = await move(running, await running.ask(ranking.steering), suspect("a2"))
        assert (first.priority[0], first.ttl_s) == ("pathway-2", 10)
        second = await move(running, first, well(ranking.groups[0].choices[1].appliance_id, serving=False))
        told = await running.client.get("/v1/explain", PlayExplanation, query={"play": "s-1"})
        assert told.decision.steered == ""
        assert [one.why for one in told.moves] == ["place-suspect", "place-gone"]
        assert [one.course for one in told.moves] == [first.priority, second.priority]
        assert "was moved from a2 to" in told.moves[0].sentence
        said = await asyncio.to_thread(CliRunner().invoke, app, ["why", "s-1", "--url", running.url])
        assert all(one.sentence in said.stdout for one in told.moves)
        listed = await running.client.get("/v1/plays", PlayList, query={"play": "s-1"})
        assert len(listed.plays) == 3
        async with running.http.get(running.url + "/metrics") as response:
            assert 'lowtide_steering_sessions_answered_total{reason="place-suspect"} 1.0' in await response.text()
    lines = [read(line) for line in (tmp_path / "decisions" / "steering.jsonl").read_bytes().splitlines(keepends=True)]
    assert [(line.v, line.steered) for line in lines] == [(1, ""), (2, "place-suspect"), (2, "place-gone")]
    counted = account(lines, ())
    assert sum(sum(one.plays.values()) for one in counted.values()) == 1, "a moved play is one play"


async def test_a_state_that_is_brought_back_is_answered_and_counts_once_and_head_moves_nobody(tmp_path: Path) -> None:
    async with steering(tmp_path) as running:
        other, mine = await running.begin("s-2"), await running.begin("s-1")
        answer = await move(running, await running.ask(other.steering), suspect("a2"))
        for _ in range(3):
            async with running.http.head(running.url + mine.steering) as response:
                assert response.status == 200
        told = await running.client.get("/v1/explain", PlayExplanation, query={"play": "s-1"})
        assert told.moves == ()
        for _ in range(5):
            assert (await running.ask(mine.steering)).priority == answer.priority
        told = await running.client.get("/v1/explain", PlayExplanation, query={"play": "s-1"})
        assert [one.why for one in told.moves] == ["place-suspect"]


@pytest.mark.parametrize(
    ("first", "said", "is_dash"),
    [
        ("&d=dash", "", True),
        ("", "&_DASH_pathway=%22pathway-1%22", True),
        ("", "", False),
        ("", "&_HLS_pathway=pathway-1", False),
    ],
)
async def test_the_next_address_says_that_a_player_of_dash_asks(
    tmp_path: Path, first: str, said: str, is_dash: bool
) -> None:
    async with steering(tmp_path) as running:
        answer = await running.ask((await running.begin()).steering + first + said)
        assert answer.reload_uri.endswith("&d=dash") is is_dash
        assert (await running.ask(answer.reload_uri)).reload_uri.endswith("&d=dash") is is_dash


async def test_a_restarted_steering_tells_the_story_from_its_files(tmp_path: Path) -> None:
    async with steering(tmp_path) as running:
        answer = await running.ask((await running.begin()).steering)
        await move(running, answer, suspect("a2"))
    async with steering(tmp_path) as running:
        told = await running.client.get("/v1/explain", PlayExplanation, query={"play": "s-1"})
        assert [one.why for one in told.moves] == ["place-suspect"]


async def test_a_forwarding_header_is_believed_from_configured_proxies_only(tmp_path: Path) -> None:
    elsewhere = {"X-Forwarded-For": "10.2.3.4"}
    async with steering(tmp_path) as running:
        answer = await running.ask((await running.begin()).steering, **elsewhere)
        assert answer.priority[0] == "pathway-1"
    async with steering(tmp_path, ContentSteering(trusted_proxies=("127.0.0.0/8",))) as running:
        answer = await running.ask((await running.begin()).steering, **elsewhere)
        answer = await running.ask(answer.reload_uri, **elsewhere)
        assert answer.priority[0] == "b1"
    switched_off = ContentSteering(trusted_proxies=("127.0.0.0/8",), follow_clients=False)
    async with steering(tmp_path, switched_off) as running:
        answer = await running.ask((await running.begin()).steering, **elsewhere)
        answer = await running.ask(answer.reload_uri, **elsewhere)
        assert answer.priority[0] == "pathway-1"


@pytest.mark.parametrize(
    "said", ["_HLS_pathway=%00&_HLS_throughput=garbage", "_DASH_throughput=,,,&_DASH_pathway=%22", "_HLS_throughput"]
)
async def test_what_a_player_says_wrongly_does_no_harm(tmp_path: Path, said: str) -> None:
    async with steering(tmp_path) as running:
        address = (await running.begin()).steering
        assert (await running.ask(f"{address}&{said}")).priority[0] == "pathway-1"


@pytest.mark.parametrize("host", ["[::1", "x:999999", "a b", "", "ä", "[zz]:1", "steering.example:80"])
async def test_a_host_that_is_none_is_no_reason_to_fail(tmp_path: Path, host: str) -> None:
    async with steering(tmp_path) as running:
        address = (await running.begin()).steering
        parts = urlsplit(running.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(f"GET {address} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        status = int(answer.split(b" ", 2)[1])
        assert status in (200, 400), answer
        assert status == 400 or b'"RELOAD-URI":"' in answer
