"""The addresses of playback."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
from aiohttp import web

from chassis.auth import Guard
from chassis.clients import Network, client_address, spelled
from chassis.clock import Clock
from chassis.errors import ProblemError
from chassis.routes import Answer, Call, Routes
from companions.playback import manifest_mpd, master_m3u8
from companions.playback.devices import device_faults
from companions.playback.entitlement import profile_refusal
from companions.playback.plays import Plays
from companions.playback.records import Records
from companions.playback.sheets import OWN_ORDER
from contracts.content_steering import SteeringManifest
from contracts.members import AccessClaims
from contracts.problems import ProblemCode
from contracts.viewing import BeatAnswer, PlayAnswer, PlayBeat, PlayRequest, Popular, Positions, Renewal, ViewerConfig

MAX_DEVICE_CHARS = 128
MAX_SMALL_BODY_BYTES = 16 * 1024
_REGION = re.compile(r"[A-Z]{2}")
_NO_STORE = {"Cache-Control": "private, no-store"}


class PopularQuery(msgspec.Struct, frozen=True):
    region: str


@dataclass(frozen=True, slots=True)
class ApiRules:
    """`base_url` gives this service's public address, `viewer` the page's configuration, both once it listens."""

    base_url: Callable[[], str]
    viewer: Callable[[], ViewerConfig]
    trusted: Sequence[Network]
    allow_demo_network: bool
    popular_titles: int


class PlaybackApi:
    def __init__(self, plays: Plays, records: Records, clock: Clock, rules: ApiRules) -> None:
        self._plays = plays
        self._records = records
        self._clock = clock
        self._rules = rules

    def routes(self, member: Guard) -> Routes:
        made = Routes("Playback")
        small = MAX_SMALL_BODY_BYTES
        made.post(
            "/v1/play",
            self.play,
            summary="Play a title: opens a session",
            guard=member,
            status=201,
            max_body_bytes=small,
        )
        for name, handler, kind in (
            ("manifest.mpd", self.dash, manifest_mpd.CONTENT_TYPE),
            ("master.m3u8", self.hls, master_m3u8.CONTENT_TYPE),
        ):
            path = f"/v1/play/{{secret}}/{name}"
            for method in ("GET", "HEAD"):
                made.raw(method, path, handler, summary="The session's manifest", content_type=kind)
        own_order = f"/v1/play/{{secret}}/{OWN_ORDER}"
        made.get(own_order, self.order, summary="The order of pathways of a session that steering does not know")
        made.post("/v1/play/{secret}/beat", self.beat, summary="Where the player is", max_body_bytes=small)
        made.post("/v1/play/{secret}/renew", self.renew, summary="A fresh media token for a session", guard=member)
        made.delete("/v1/play/{secret}", self.end, summary="End a session")
        made.get("/v1/profiles/{profile_id}/positions", self.positions, summary="How far a profile got", guard=member)
        made.get("/v1/popular", self.popular, summary="Titles played most in a region, fading with time")
        made.get("/config.json", self.config, summary="Where the viewer page finds the services")
        return made

    async def play(self, call: Call[PlayRequest]) -> Answer[PlayAnswer]:
        device = call.body.device_id
        if not device.strip() or len(device) > MAX_DEVICE_CHARS or not device.isprintable():
            words = f"device_id: takes 1 to {MAX_DEVICE_CHARS} printable characters"
            raise ProblemError(ProblemCode.UNPROCESSABLE, words)
        faults = device_faults(call.body.device)
        if faults:
            raise ProblemError(ProblemCode.UNPROCESSABLE, "the device's limits make no sense", errors=faults)
        client = self._client(call.request, call.body.demo_network)
        answer = await self._plays.play(call.who(AccessClaims), call.body, client, self._rules.base_url())
        return Answer(answer, 201, _NO_STORE)

    async def dash(self, request: web.Request) -> web.Response:
        text = await self._plays.dash(request.match_info["secret"])
        return _text(text, manifest_mpd.CONTENT_TYPE)

    async def hls(self, request: web.Request) -> web.Response:
        text = await self._plays.hls(request.match_info["secret"])
        return _text(text, master_m3u8.CONTENT_TYPE)

    async def order(self, call: Call[None]) -> Answer[SteeringManifest]:
        return Answer(await self._plays.order(call.path["secret"]), headers=_NO_STORE)

    async def renew(self, call: Call[None]) -> Answer[Renewal]:
        return Answer(await self._plays.renew(call.who(AccessClaims), call.path["secret"]), headers=_NO_STORE)

    async def beat(self, call: Call[PlayBeat]) -> BeatAnswer:
        return await self._plays.beat(call.path["secret"], call.body)

    async def end(self, call: Call[None]) -> None:
        await self._plays.end(call.path["secret"])

    async def positions(self, call: Call[None]) -> Answer[Positions]:
        profile_id = call.path["profile_id"]
        refusal = profile_refusal(call.who(AccessClaims), profile_id)
        if refusal is not None:
            raise ProblemError(refusal.code, refusal.detail)
        return Answer(Positions(await self._records.positions(profile_id)), headers=_NO_STORE)

    async def popular(self, call: Call[None, PopularQuery]) -> Popular:
        region = call.query.region
        if _REGION.fullmatch(region) is None:
            raise ProblemError(ProblemCode.BAD_QUERY, f"region: {region[:20]!r} is not an ISO 3166 code such as DE")
        return Popular(await self._records.popular(region, self._clock.wall_s(), self._rules.popular_titles))

    async def config(self, call: Call[None]) -> Answer[ViewerConfig]:
        return Answer(self._rules.viewer(), headers={"Cache-Control": "no-cache"})

    def _client(self, request: web.Request, demo_network: str) -> str:
        """Whose network decides: the connection's, or the named one where that is allowed."""
        if self._rules.allow_demo_network and demo_network:
            named = spelled(demo_network)
            if named is None:
                raise ProblemError(ProblemCode.UNPROCESSABLE, "demo_network: is not an IP address")
            return named
        forwarded = request.headers.getall("X-Forwarded-For", [])
        return client_address(request.remote, forwarded, self._rules.trusted)


def _text(text: str, content_type: str) -> web.Response:
    return web.Response(body=text.encode(), content_type=content_type, charset="utf-8", headers=_NO_STORE)
