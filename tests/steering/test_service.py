"""Steering as it runs: a control plane of a few lines over mutual TLS, rankings over HTTP, broken streams, restarts."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

import aiohttp
import msgspec
import pytest
import yaml
from aiohttp import web

from chassis import certificates
from chassis.client import ServiceClient
from chassis.errors import ServiceError
from chassis.service import Listening, Service
from chassis.tls import ClientCertificate, TlsFiles, server_context
from contracts.decisions import PlayExplanation
from contracts.enrolment import CaAnswer, EnrolAnswer, EnrolRequest, PeerKind, san_uri
from contracts.plays import MeantList, PlayList, PlayTold
from contracts.world import Change, Covering, RankExplanation, Ranking, RankRequest, WorldFacts
from steering.app import compose
from steering.config import ControlPlane, DecisionLog, Http, SteeringSettings
from tests.steering.worlds import asking, routes, suspect, two_networks

SECRET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SERVER_URI = san_uri(PeerKind.SERVICE, "control-plane")
PATIENCE_S = 30.0


class FakeControlPlane:
    """Enrols whoever has the code and streams changes. `ticking` False makes its streams fall silent."""

    def __init__(self, folder: Path) -> None:
        self.key = certificates.make_key()
        self.ca_pem = certificates.make_ca(self.key, "test CA", time.time())
        self.snapshot: list[Change] = two_networks()
        self.ticking = True
        self.streams: list[asyncio.Queue[Change | None]] = []
        self.seen: list[str] = []
        self.folder = folder
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def code(self) -> str:
        return f"{SECRET}.{certificates.ca_fingerprint(self.ca_pem)}"

    def say(self, *changes: Change | None) -> None:
        for stream in self.streams:
            for change in changes:
                stream.put_nowait(change)

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/v1/ca", self._ca)
        app.router.add_post("/v1/enrol", self._enrol)
        app.router.add_get("/v1/changes", self._changes)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        tls = server_context(self._files(), ClientCertificate.OPTIONAL)
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=tls).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        self.say(None)
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _files(self) -> TlsFiles:
        own = certificates.make_key()
        files = TlsFiles(self.folder / "cp.pem", self.folder / "cp.key", self.folder / "ca.pem")
        csr = certificates.make_csr(own, SERVER_URI)
        certificates.write_private(files.key, certificates.key_to_pem(own))
        files.certificate.write_text(self._signed(csr, SERVER_URI, ("127.0.0.1",)))
        (self.folder / "ca.pem").write_text(self.ca_pem)
        return files

    def _signed(self, csr: str, uri: str, addresses: Iterable[str]) -> str:
        return certificates.sign_csr(
            csr, ca_pem=self.ca_pem, ca_key=self.key, uri=uri, addresses=tuple(addresses), now=time.time()
        )

    async def _ca(self, _request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(CaAnswer(self.ca_pem)))

    async def _enrol(self, request: web.Request) -> web.Response:
        asked = msgspec.json.decode(await request.read(), type=EnrolRequest)
        assert asked.secret == SECRET
        pem = self._signed(asked.csr_pem, san_uri(PeerKind.SERVICE, "steering"), asked.addresses)
        return web.Response(body=msgspec.json.encode(EnrolAnswer(PeerKind.SERVICE, "steering", pem, self.ca_pem)))

    async def _changes(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        certificate = request.transport.get_extra_info("peercert")
        self.seen.append(next((value for kind, value in certificate["subjectAltName"] if kind == "URI"), ""))
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        queue: asyncio.Queue[Change | None] = asyncio.Queue()
        for line in (*self.snapshot, Change(1, snapshot_complete=True)):
            queue.put_nowait(line)
        self.streams.append(queue)
        try:
            while True:
                change = await self._next(queue)
                if change is None:
                    break
                if self.ticking or not change.tick:
                    await response.write(msgspec.json.encode(change) + b"\n")
        finally:
            self.streams.remove(queue)
        return response

    @staticmethod
    async def _next(queue: asyncio.Queue[Change | None]) -> Change | None:
        try:
            async with asyncio.timeout(0.1):
                return await queue.get()
        except TimeoutError:
            return Change(1, tick=True)


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[FakeControlPlane]:
    folder = tmp_path / "control-plane"
    folder.mkdir()
    it = FakeControlPlane(folder)
    await it.start()
    try:
        yield it
    finally:
        await it.stop()


def settings_for(plane: FakeControlPlane, tmp_path: Path, silent_after_s: float = PATIENCE_S) -> SteeringSettings:
    code = tmp_path / "enrol.code"
    state_dir = tmp_path / "steering"
    if not state_dir.exists():
        code.write_text(plane.code)
    control_plane = ControlPlane(plane.url, code, silent_after_s=silent_after_s, longest_wait_s=0.3)
    return SteeringSettings(state_dir, control_plane, Http(port=0), save_every_s=0.1)


@asynccontextmanager
async def steering(settings: SteeringSettings) -> AsyncIterator[ServiceClient]:
    async def composed(service: Service) -> None:
        await compose(service, settings)

    async with Service("steering", composed, grace_s=0.5).running() as urls, ServiceClient(urls["http"]) as client:
        yield client


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Asks again and again: what is waited for happens in another process or behind a socket."""
    async with asyncio.timeout(PATIENCE_S):
        while not await true():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def until_live(client: ServiceClient, live: bool = True) -> None:
    async def is_so() -> bool:
        return (await client.get("/v1/world", WorldFacts)).live is live

    await until(is_so)


async def until_gone(client: ServiceClient, appliance_id: str) -> None:
    async def is_gone() -> bool:
        return appliance_id not in await names(client, asking())

    await until(is_gone)


async def names(client: ServiceClient, request: RankRequest) -> list[str]:
    ranking = await client.post("/v1/rank", request, Ranking)
    return [choice.appliance_id or "origin" for choice in ranking.groups[0].choices]


async def status_of(client: ServiceClient, path: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(client.base_url + path) as response:
        return response.status


async def metric(client: ServiceClient, line: str) -> float:
    async with aiohttp.ClientSession() as session, session.get(client.base_url + "/metrics") as response:
        text = await response.text()
    return next(float(row.rpartition(" ")[2]) for row in text.splitlines() if row.startswith(line + " "))


async def test_steering_enrols_follows_the_stream_and_ranks(plane: FakeControlPlane, tmp_path: Path) -> None:
    async with steering(settings_for(plane, tmp_path)) as client:
        await until_live(client)
        assert plane.seen == ["lowtide://service/steering"]
        assert not (tmp_path / "enrol.code").exists(), "a used code is deleted"
        assert await names(client, asking()) == ["a2", "a3", "a1", "origin"]
        assert await status_of(client, "/readyz") == 200
        plane.say(suspect("a2"))
        await until_gone(client, "a2")
        assert await names(client, asking()) == ["a3", "a1", "origin"]
        found = await client.post("/v1/explain", asking(), RankExplanation)
        sentences = {fact.appliance_id: fact.sentence for fact in found.candidates["t/v-360"]}
        assert sentences["a2"].startswith("a2 is left out: it is suspect")
        assert await metric(client, 'lowtide_steering_first_choices_total{why="holds-the-file"}') >= 1
        assert await metric(client, "lowtide_steering_suspects") == 1


async def test_a_silent_stream_is_broken_the_last_world_answers_and_the_alarm_is_raised(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    async with steering(settings_for(plane, tmp_path, silent_after_s=0.6)) as client:
        await until_live(client)
        plane.ticking = False
        await until_live(client, live=False)
        assert await names(client, asking()) == ["a2", "a3", "a1", "origin"]
        assert await metric(client, 'lowtide_steering_stream_ends_total{reason="silent"}') >= 1
        plane.ticking = True

        async def is_ready() -> bool:
            return await status_of(client, "/readyz") == 200

        await until(is_ready)


async def test_a_restart_answers_from_the_last_world_while_the_control_plane_is_away(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    settings = settings_for(plane, tmp_path)
    async with steering(settings) as client:
        await until_live(client)
        plane.say(suspect("a2"))
        await until_gone(client, "a2")
    await plane.stop()
    async with steering(settings) as client:
        assert await names(client, asking()) == ["a3", "a1", "origin"]
        assert await status_of(client, "/readyz") == 503
        assert await status_of(client, "/healthz") == 200
        assert await metric(client, "lowtide_steering_stream_live") == 0
        await plane.start()
        await until_live(client)
        assert await names(client, asking()) == ["a2", "a3", "a1", "origin"], "the new snapshot says that it is well"


async def test_a_world_file_that_cannot_be_read_is_no_reason_not_to_start(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    settings = settings_for(plane, tmp_path)
    settings.state_dir.mkdir()
    (settings.state_dir / "world.ndjson").write_text("not json\n")
    async with steering(settings) as client:
        await until_live(client)
        assert await status_of(client, "/readyz") == 200


async def test_the_operator_can_ask_why_for_a_play_also_after_a_restart(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    request = msgspec.structs.replace(asking(), play="s-17")
    async with steering(settings_for(plane, tmp_path)) as client:
        await until_live(client)
        answer = await client.post("/v1/rank", request, Ranking)
        told = await client.get("/v1/explain", PlayExplanation, query={"play": "s-17"})
        assert [name for name, _, _ in told.decision.groups[0].choices] == [
            choice.appliance_id for choice in answer.groups[0].choices
        ]
        assert told.sentences["t/v-360"][0].startswith("a2 was number 1: it holds the file")
        with pytest.raises(ServiceError) as caught:
            await client.get("/v1/explain", PlayExplanation, query={"play": "s-18"})
        assert caught.value.status == 404
    async with steering(settings_for(plane, tmp_path)) as client:
        again = await client.get("/v1/explain", PlayExplanation, query={"play": "s-17"})
        assert again == told


async def test_plays_of_the_last_hour_are_found_and_counted_by_what_was_meant(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    async with steering(settings_for(plane, tmp_path)) as client:
        await until_live(client)
        for number, address in enumerate(("10.1.0.1", "10.1.0.200", "10.2.0.1")):
            await client.post("/v1/rank", msgspec.structs.replace(asking(address), play=f"s-{number}"), Ranking)
        found = await client.get("/v1/plays", PlayList, query={"client": "10.1.0.77"})
        assert [play.play for play in found.plays] == ["s-1", "s-0"]
        assert (found.whole, found.plays[0].first, found.plays[0].meant) == (True, {"a2": 1}, {"inside": 1})
        assert (await client.get("/v1/plays", PlayList, query={"title": "other"})).plays == ()
        with pytest.raises(ServiceError, match="since: 'soon' is no instant"):
            await client.get("/v1/plays", PlayList, query={"since": "soon"})
        await client.post("/v1/rank", msgspec.structs.replace(asking("10.2.0.1"), play="s-0"), Ranking)
        told = await client.get("/v1/plays/told", PlayTold, query={"play": "s-0"})
        assert [one.decision.site for one in told.told] == ["a", "b"]
        assert told.told[0].sentences["t/v-360"][0].startswith("a2 was number 1: it holds the file")
        meant = await client.get("/v1/meant", MeantList)
        assert {row.site: (row.plays, row.meant["inside"]) for row in meant.hours} == {"a": (2, 2), "b": (2, 2)}


async def test_a_steering_that_keeps_no_log_says_so_and_never_that_it_does_not_know_the_play(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    settings = dataclasses.replace(settings_for(plane, tmp_path), decision_log=DecisionLog(enabled=False))
    async with steering(settings) as client:
        for address in ("/v1/plays", "/v1/plays/told?play=s-1", "/v1/meant", "/v1/explain?play=s-1"):
            path, _, play = address.partition("?play=")
            with pytest.raises(ServiceError, match="the steering log is off") as caught:
                await client.get(path, PlayList, query={"play": play} if play else None)
            assert caught.value.status == 503


async def test_a_session_is_looked_for_no_further_back_than_it_was_asked_for(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    settings = dataclasses.replace(settings_for(plane, tmp_path), decision_log=DecisionLog(memory_bytes=0))
    async with steering(settings) as client:
        await until_live(client)
        await client.post("/v1/rank", msgspec.structs.replace(asking(), play="s-1"), Ranking)
        for path, kind in (("/v1/plays/told", PlayTold), ("/v1/explain", PlayExplanation)):
            await client.get(path, kind, query={"play": "s-1"})
            with pytest.raises(ServiceError, match="is kept here since 2999") as caught:
                await client.get(path, kind, query={"play": "s-1", "since": "2999-01-01T00:00Z"})
            assert caught.value.status == 404
            with pytest.raises(ServiceError, match="since: 'soon' is no instant"):
                await client.get(path, kind, query={"play": "s-1", "since": "soon"})


async def test_a_forged_forwarding_header_moves_nobody(plane: FakeControlPlane, tmp_path: Path) -> None:
    async with steering(settings_for(plane, tmp_path)) as client:
        await until_live(client)
        forged = {"X-Forwarded-For": "10.2.0.1", "Forwarded": "for=10.2.0.1", "X-Real-IP": "10.2.0.1"}
        found = await client.post("/v1/rank", asking("10.1.0.1"), Ranking, headers=forged)
        assert (found.site_id, found.prefix) == ("a", "10.1.0.0/16")


async def test_bad_requests_are_refused_with_what_is_wrong(plane: FakeControlPlane, tmp_path: Path) -> None:
    async with steering(settings_for(plane, tmp_path)) as client:
        await until_live(client)
        with pytest.raises(ServiceError) as caught:
            await client.post("/v1/rank", RankRequest("here", (), 99, "gopher"), Ranking)
        assert caught.value.status == 422
        assert caught.value.problem is not None
        assert len(caught.value.problem.errors) == 4
        async with (
            aiohttp.ClientSession() as session,
            session.post(client.base_url + "/v1/rank", data=b"{") as response,
        ):
            assert response.status in (400, 415)
            assert response.content_type == "application/problem+json"


async def test_before_the_first_world_there_is_a_503_with_a_time_to_come_back(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    plane.snapshot = []
    async with steering(settings_for(plane, tmp_path)) as client:
        with pytest.raises(ServiceError) as caught:
            await client.post("/v1/rank", asking(), Ranking)
        assert (caught.value.status, caught.value.retry_after_s) == (503, 1.0)


async def test_the_process_killed_hard_answers_again_from_its_folder(plane: FakeControlPlane, tmp_path: Path) -> None:
    settings = settings_for(plane, tmp_path)
    config = tmp_path / "steering.yaml"
    control_plane = {"url": plane.url, "code_file": str(tmp_path / "enrol.code")}
    wanted = {
        "state_dir": str(settings.state_dir),
        "control_plane": control_plane,
        "http": {"port": 0},
        "save_every_s": 0.1,
    }
    config.write_text(yaml.safe_dump(wanted))
    first, url = await start_process(config)
    try:
        async with ServiceClient(url) as client:
            await until_live(client)

            async def is_saved() -> bool:
                return (settings.state_dir / "world.ndjson").exists()

            await until(is_saved)
    finally:
        first.kill()
        first.wait()
    await plane.stop()
    second, url = await start_process(config)
    try:
        async with ServiceClient(url) as client:
            assert await names(client, asking()) == ["a2", "a3", "a1", "origin"]
        second.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(second.wait, 10) == 0
    finally:
        second.kill()
        second.wait()


def spawn(config: Path) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """A real `lowtide steering run` and the pipe on which it says that it is ready."""
    read, write = os.pipe()
    command = [sys.executable, "-c", "from steering.cli import app; app()", "run", "--config", str(config)]
    process = subprocess.Popen(
        [*command, "--ready-fd", str(write)], pass_fds=(write,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(write)
    return process, os.fdopen(read, "rb")


async def start_process(config: Path) -> tuple[subprocess.Popen[bytes], str]:
    """The process once it serves, and the URL it says it listens on."""
    process, pipe = spawn(config)
    with pipe:
        try:
            line = await asyncio.wait_for(asyncio.to_thread(pipe.readline), 60)
        except TimeoutError:
            process.kill()  # ends the thread's read as well, which the pipe's closing would wait for
            process.wait()
            raise
    if not line:
        process.kill()
        process.wait()
        raise AssertionError("steering ended before it was ready")
    return process, msgspec.json.decode(line, type=Listening).listening["http"]


async def test_an_address_is_answered_with_what_covers_it_and_routes_survive_a_restart(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    plane.snapshot = [*two_networks(), routes("b", "10.1.2.0/24"), routes("b", "10.0.0.0/8", guessed=True)]

    async def covering(client: ServiceClient) -> list[tuple[str, list[str], bool]]:
        found = await client.get("/v1/routes", Covering, query={"client": "10.1.2.3"})
        return [(one.cidr, [a.site_id for a in one.announcers], one.guessed) for one in found.prefixes]

    expected = [("10.1.2.0/24", ["b"], False), ("10.1.0.0/16", ["a"], False), ("10.0.0.0/8", ["b"], True)]
    async with steering(settings_for(plane, tmp_path)) as client:
        await until_live(client)
        assert await covering(client) == expected
        with pytest.raises(ServiceError) as caught:
            await client.get("/v1/routes", Covering, query={"client": "10.1.2"})
        assert caught.value.status == 422
    await plane.stop()
    async with steering(settings_for(plane, tmp_path)) as client:
        assert await covering(client) == expected
        facts = await client.get("/v1/world", WorldFacts)
        assert (facts.live, facts.prefixes, facts.guessed) == (False, 3, 1)
