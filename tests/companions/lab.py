"""The four companions as real servers on loopback, one virtual clock for all, and stand-ins for what lies behind them."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohttp import web

from chassis.clock import VirtualClock
from chassis.errors import ProblemError
from chassis.metrics import Metrics
from chassis.routes import Call, Routes, json_response
from chassis.service import Listener, Service, Tcp
from chassis.web import Cors, build_app
from companions.auth.config import Argon2, Auth, Guessing
from companions.catalog.config import Catalog
from companions.config import Companions
from companions.launching import companions_service
from companions.playback.config import Asking, Demo, DemoPlace, Log, Playback, Popularity, Public, Sessions
from companions.recommendation.config import Recommendation
from companions.settings import Http
from contracts.catalogue import FileKind, Licence, PublishedFile, Rendition, Segment, Title, TitleFacts
from contracts.content_steering import LONGEST_TTL_S, PATH, VERSION, SteeringManifest
from contracts.digests import DigestBuilder
from contracts.members import Account, Refresh, SignUp, Tokens
from contracts.pathways import pathway_names, pathways_of
from contracts.problems import CONTENT_TYPE, Problem, ProblemCode
from contracts.urls import MEDIA_SERVICE, cache_key
from contracts.viewing import PlayAnswer, PlayBeat, PlayEvent, PlayRequest, Renewal
from contracts.world import Choice, GroupRanking, Ranking, RankRequest, Why
from onebox.ports import free_port

T = TypeVar("T")
PASSWORD = "correct horse battery"
ORIGIN_URL = "http://127.0.0.9:9009"
HALF_LIFE_S = 200.0
NOWHERE = "http://127.0.0.1:9"
PATIENCE_S = 10.0
"""A busy machine's services are slow, not away."""


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    def as_(self, kind: type[T]) -> T:
        assert self.status < 400, (self.status, self.body)
        return msgspec.json.decode(self.body, type=kind)

    def problem(self, code: ProblemCode) -> Problem:
        """The problem, which must be this one, in the form of RFC 9457."""
        assert self.headers["Content-Type"].partition(";")[0] == CONTENT_TYPE, (self.headers, self.body)
        found = msgspec.json.decode(self.body, type=Problem)
        assert (found.type, found.status, self.status) == (code.type_uri, code.status, code.status), self.body
        return found


class Caller:
    """One client for all."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def call(
        self, method: str, url: str, body: object = None, *, bearer: str = "", headers: dict[str, str] | None = None
    ) -> Heard:
        sent = dict(headers or {})
        if bearer:
            sent["Authorization"] = f"Bearer {bearer}"
        raw = None
        if body is not None:
            raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
            sent.setdefault("Content-Type", "application/json")
        async with self._session.request(method, url, data=raw, headers=sent) as answer:
            return Heard(answer.status, dict(answer.headers), await answer.read())


TWO_AND_THE_ORIGIN = (
    Choice("a1", "site-a", "http://127.1.0.11:8080", Why.HOLDS),
    Choice("a2", "site-a", "http://127.1.0.12:8080", Why.PLANNED),
    Choice("", "", ORIGIN_URL, Why.ORIGIN),
)


@dataclass(slots=True)
class FakeSteering:
    """Answers every group with the same choices, or with an error; remembers what it was asked. `steered` sessions are told
    the manifest's own order for as long as they ask: it knows of no loss."""

    choices: tuple[Choice, ...] = TWO_AND_THE_ORIGIN
    failing: bool = False
    steered: bool = False
    asked: list[RankRequest] = field(default_factory=list)

    async def rank(self, call: Call[RankRequest]) -> Ranking:
        self.asked.append(call.body)
        if self.failing:
            raise ProblemError(ProblemCode.UNAVAILABLE, "no world yet")
        groups = dict.fromkeys(file.group for file in call.body.files)
        ranked = tuple(GroupRanking(group, self.choices) for group in groups)
        steering = f"/v1/steering/{call.body.play}?s=sealed&more=1" if self.steered else ""
        return Ranking(7, "127.1.0.0/16", "site-a", ranked, steering)

    async def steer(self, request: web.Request) -> web.Response:
        priority = pathway_names(len(pathways_of([self.choices])[0]))
        return json_response(SteeringManifest(LONGEST_TTL_S, str(request.url), priority, VERSION))

    async def compose(self, service: Service) -> None:
        routes = Routes("Steering")
        routes.post("/v1/rank", self.rank, summary="Rank")
        routes.raw("GET", PATH, self.steer, summary="Steer")
        app = build_app(routes, metrics=Metrics("steering"), cors=Cors(("*",), under=PATH.partition("{")[0]))
        service.listen(Listener("http", app, Tcp("127.0.0.1", 0)))


@dataclass(slots=True)
class Running:
    """A started service that a test may stop before the lab ends."""

    url: str
    stack: AsyncExitStack

    async def stop(self) -> None:
        await self.stack.aclose()


class Lab:
    """Start what a test needs with `start(...)`, in the order auth, catalog, playback, recommendation."""

    def __init__(self, folder: Path, http: Caller, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.http = http
        self.clock = VirtualClock()
        self.steering = FakeSteering()
        self.recommendation_port = free_port()
        self._stack = stack
        self._running: dict[str, Running] = {}
        self.auth_settings = Auth(
            database=folder / "auth.sqlite",
            key_file=folder / "access.key",
            argon2=Argon2(passes=1, memory_kib=8),
            guessing=Guessing(per_account=3, per_address=50),
        )
        self.catalog_settings = Catalog(folder / "catalog.sqlite", folder / "publisher.secret", page_titles=3)
        self.demo = Demo(allow_demo_network=True, networks=(DemoPlace("Harbour", "127.1.9.50"),))
        self.sessions = Sessions()
        self.public = Public(recommendation_url=f"http://127.0.0.1:{self.recommendation_port}", regions=("DE", "NO"))
        self.content_steering = True
        self.asking = Asking(PATIENCE_S, PATIENCE_S, origin_timeout_s=PATIENCE_S)

    def url(self, name: str) -> str:
        return self._running[name].url if name in self._running else NOWHERE

    async def start(self, *names: str) -> None:
        for name in names:
            self._running[name] = await self._started(name)

    async def stop(self, name: str) -> None:
        """Gone; its address stays in the settings of the others, and nobody else gets it."""
        running = self._running[name]
        await running.stop()
        address = urlsplit(running.url)
        kept = self._stack.enter_context(socket.socket())
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind((address.hostname, address.port))

    @property
    def playback_settings(self) -> Playback:
        return Playback(
            database=self.folder / "playback.sqlite",
            key_file=self.folder / "media.key",
            auth_url=self.url("auth"),
            catalog_url=self.url("catalog"),
            steering_url=self.url("steering"),
            origin_url=ORIGIN_URL,
            public=self.public,
            content_steering=self.content_steering,
            sessions=self.sessions,
            asking=self.asking,
            popularity=Popularity(half_life_s=HALF_LIFE_S, repeat_s=60.0),
            log=Log(self.folder / "log" / "playback.log"),
            demo=self.demo,
        )

    async def sign_up(self, email: str = "ann@example.org", region: str = "DE", plan: str = "standard") -> Member:
        body = SignUp(email, PASSWORD, region, plan)
        tokens = (await self.http.call("POST", self.url("auth") + "/v1/accounts", body)).as_(Tokens)
        member = Member(self, tokens, "")
        return replace(member, profile_id=(await member.account()).profiles[0].id)

    async def publish(self, *titles: Title) -> None:
        secret = (self.folder / "publisher.secret").read_text().strip()
        for title in titles:
            url = f"{self.url('catalog')}/v1/titles/{title.facts.id}"
            heard = await self.http.call("PUT", url, title, bearer=secret)
            assert heard.status in (201, 204), heard

    async def _started(self, name: str) -> Running:
        service = self._service(name)
        stack = AsyncExitStack()
        urls = await stack.enter_async_context(service.running())
        self._stack.push_async_callback(stack.aclose)
        return Running(urls["http"], stack)

    def _service(self, name: str) -> Service:
        if name == "steering":
            return Service("steering", self.steering.compose, clock=self.clock, grace_s=0.1)
        made: dict[str, Any] = {
            "auth": lambda: Companions(auth=self.auth_settings),
            "catalog": lambda: Companions(catalog=self.catalog_settings),
            "playback": lambda: Companions(playback=self.playback_settings),
            "recommendation": lambda: Companions(
                recommendation=Recommendation(
                    self.url("auth"),
                    self.url("catalog"),
                    self.url("playback"),
                    Http(port=self.recommendation_port),
                    timeout_s=PATIENCE_S,
                    because_rows=1,
                )
            ),
        }
        return companions_service(made[name](), (name,), clock=self.clock)


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who signed up."""

    lab: Lab
    tokens: Tokens
    profile_id: str

    async def account(self) -> Account:
        return (await self.ask("GET", "auth", "/v1/account")).as_(Account)

    async def ask(self, method: str, service: str, path: str, body: object = None) -> Heard:
        return await self.lab.http.call(method, self.lab.url(service) + path, body, bearer=self.tokens.access_token)

    async def press_play(self, title_id: str, device_id: str = "tv", **more: Any) -> Heard:
        request = PlayRequest(title_id, more.pop("profile_id", self.profile_id), device_id, **more)
        return await self.ask("POST", "playback", "/v1/play", request)

    async def play(self, title_id: str, device_id: str = "tv", **more: Any) -> PlayAnswer:
        return (await self.press_play(title_id, device_id, **more)).as_(PlayAnswer)

    async def press_renew(self, play: PlayAnswer) -> Heard:
        return await self.lab.http.call("POST", play.renew_url, bearer=self.tokens.access_token)

    async def renew(self, play: PlayAnswer) -> Renewal:
        return (await self.press_renew(play)).as_(Renewal)

    async def log_in_again(self) -> Member:
        """The same member with tokens made now: access tokens are good for five minutes only."""
        body = Refresh(self.tokens.refresh_token)
        heard = await self.lab.http.call("POST", self.lab.url("auth") + "/v1/sessions/refresh", body)
        return replace(self, tokens=heard.as_(Tokens))

    async def beat(self, play: PlayAnswer, position_s: float, event: PlayEvent = PlayEvent.BEAT) -> Heard:
        return await self.lab.http.call("POST", play.heartbeat_url, PlayBeat(event, position_s))


@asynccontextmanager
async def open_lab(folder: Path) -> AsyncIterator[Lab]:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3 * PATIENCE_S))
        )
        yield Lab(folder, Caller(session), stack)


def rendition(title_id: str, name: str, kind: FileKind, tier: str, bps: int, **more: Any) -> Rendition:
    base = f"/media/{title_id}/{tier}/{name}"
    codecs = "avc1.4d401e" if kind is FileKind.VIDEO else "mp4a.40.2"
    facts: dict[str, Any] = {
        "codecs": codecs,
        "init_range": (0, 799),
        "index_range": (800, 1199),
        "segments": (Segment(1200, 90_000, 4.0), Segment(91_200, 80_000, 4.0)),
        "duration_s": 61.44,
        **more,
    }
    return Rendition(
        id=name,
        kind=kind,
        path=base + ".mp4",
        playlist_path=base + ".m3u8",
        tier=tier,
        bandwidth_bps=bps,
        average_bandwidth_bps=bps * 4 // 5,
        **facts,
    )


def ladder(title_id: str) -> tuple[Rendition, ...]:
    """Three rungs in three tiers, and sound."""
    video = FileKind.VIDEO
    return (
        rendition(title_id, "v-360", video, "sd", 600_000, width=640, height=360, frame_rate=30000 / 1001),
        rendition(title_id, "v-1080", video, "hd", 3_000_000, width=1920, height=1080, frame_rate=30000 / 1001),
        rendition(title_id, "v-2160", video, "uhd", 9_000_000, width=3840, height=2160, frame_rate=30000 / 1001),
        rendition(
            title_id, "a-und-96k", FileKind.AUDIO, "base", 98_000, sample_rate_hz=48000, channels=2, language="en"
        ),
    )


def make_title(title_id: str = "tide", name: str = "", **facts: Any) -> Title:
    """A title whose digests are those of a few bytes. `regions` is short for a licence."""
    regions = facts.pop("regions", ())
    published_at = facts.pop("published_at", 1_600_000_000.0)
    licence = facts.pop("licence", Licence(tuple(regions)))
    renditions = facts.pop("renditions", ladder(title_id))
    files = []
    for made in renditions:
        digests = DigestBuilder(cache_key(MEDIA_SERVICE, made.path), "video/mp4")
        digests.update(made.path.encode())
        size = len(made.path)
        files.append(PublishedFile(made.path, made.kind, made.tier, f"{title_id}/{made.id}", size, digests.finish()))
    duration_s = facts.pop("duration_s", 61.44)
    about = TitleFacts(id=title_id, name=name or title_id.title(), licence=licence, **facts)
    return Title(about, duration_s, renditions, tuple(files), published_at=published_at)
