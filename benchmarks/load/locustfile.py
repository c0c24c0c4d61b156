"""Viewers as load: each user signs up, opens the home page, presses play and plays like the scripted player.

Uses the player's own pure modules (manifest, adaptation, playback clock, verification) over locust's client, so that the load has the
shape of real playing, and stalls and wrong bytes are counted. README.md beside this file says how to run it and what the figures mean.
"""

from __future__ import annotations

import itertools
import random
import time
import uuid
from urllib.parse import quote, urlsplit

import gevent
import msgspec
from locust import FastHttpUser, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.exception import RescheduleTask

from contracts.catalogue import TitleDigests
from contracts.members import Account, Refresh, SignUp, Tokens
from contracts.urls import split_token
from contracts.viewing import Home, PlayAnswer, PlayBeat, PlayEvent, PlayRequest, ViewerConfig
from player.adaptation import Throughput, choose
from player.playing import MAX_BUFFER_S
from player.presentation import Address, Representation, SegmentRange, parse_mpd, parse_sidx
from player.timeline import Timeline
from player.verification import Verifier, WrongBytes


@events.init_command_line_parser.add_listener
def _arguments(parser: LocustArgumentParser) -> None:
    parser.add_argument("--playback", default="http://127.0.0.1:8806", help="base URL of the playback service")
    parser.add_argument("--region", default="DE", help="region of the members that are made")
    parser.add_argument("--rate", type=float, default=1.0, help="media seconds per second; 1 is real time")
    parser.add_argument(
        "--network", default="", help="an address to act from; empty takes the demo networks of /config.json in turn"
    )


@events.init.add_listener
def _host(environment: Environment, **_more: object) -> None:
    if environment.parsed_options is not None:
        environment.host = environment.parsed_options.playback


_turn = itertools.count()


class Failed(Exception):
    """A service did not give what was asked for; the figures have it already."""


class Viewer(FastHttpUser):
    """One member on one device who plays one title after the other, each to its end."""

    wait_time = constant(1)
    network_timeout = 15.0
    access = ""
    refresh = ""
    profile_id = ""

    @task
    def play_something(self) -> None:
        """Joins first, where that has not gone well yet."""
        try:
            if not self.profile_id:
                self._join()
            self._choose_and_play()
        except Failed as error:
            raise RescheduleTask from error

    def _join(self) -> None:
        options = self.environment.parsed_options
        self.rate: float = options.rate
        self.config = msgspec.json.decode(
            self.ask("GET", f"{options.playback}/config.json", "config"), type=ViewerConfig
        )
        networks = [options.network] if options.network else [known.address for known in self.config.demo_networks]
        self.network = networks[next(_turn) % len(networks)] if networks else ""
        person = SignUp(f"load-{uuid.uuid4().hex[:12]}@load.example", uuid.uuid4().hex, options.region, "premium")
        self._keep(self.ask("POST", f"{self.config.auth_url}/v1/accounts", "sign up", person))
        account = msgspec.json.decode(self.ask("GET", f"{self.config.auth_url}/v1/account", "account"), type=Account)
        self.profile_id = account.profiles[0].id

    def _choose_and_play(self) -> None:
        """The n-th title of the home page is chosen with weight 1/n."""
        home_url = f"{self.config.recommendation_url}/v1/home?profile_id={self.profile_id}"
        home = msgspec.json.decode(self.ask("GET", home_url, "home"), type=Home)
        titles = list(dict.fromkeys(title.id for row in home.rows for title in row.titles))
        if not titles:
            self.tell("nothing to play", 0.0, LookupError("the home page is empty: publish a title first"))
            gevent.sleep(5)
            return
        self._play(random.choices(titles, [1 / place for place in range(1, len(titles) + 1)])[0])

    def _play(self, title_id: str) -> None:
        pressed = time.monotonic()
        request = PlayRequest(title_id, self.profile_id, "load", self.network)
        answer = msgspec.json.decode(
            self.ask("POST", f"{self.config.playback_url}/v1/play", "play", request), type=PlayAnswer
        )
        listed = self.ask("GET", f"{self.config.catalog_url}/v1/titles/{title_id}/digests", "digests")
        digests = msgspec.json.decode(listed, type=TitleDigests)
        verifier = Verifier({entry.key.partition("|")[2]: entry for entry in digests.files})
        play = _Play(self, answer, verifier, pressed)
        try:
            play.run()
        finally:
            self.ask("POST", answer.heartbeat_url, "beat", PlayBeat(PlayEvent.STOP, play.timeline.position_s))

    def ask(self, method: str, url: str, name: str, body: msgspec.Struct | None = None) -> bytes:
        """The answer of a service; an access token that has expired is renewed once. Raises Failed."""
        status, content = self._once(method, url, name, body, may_renew=bool(self.refresh))
        if status == 401:
            renewed = self._once(
                "POST", f"{self.config.auth_url}/v1/sessions/refresh", "refresh", Refresh(self.refresh)
            )
            self._keep(renewed[1])
            content = self._once(method, url, name, body)[1]
        return content

    def tell(self, name: str, took_ms: float, error: Exception | None = None) -> None:
        """A row of the figures that is no request."""
        self.environment.events.request.fire(
            request_type="PLAY", name=name, response_time=took_ms, response_length=0, exception=error, context={}
        )

    def _once(
        self, method: str, url: str, name: str, body: msgspec.Struct | None, *, may_renew: bool = False
    ) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"}
        if self.access:
            headers["Authorization"] = f"Bearer {self.access}"
        data = msgspec.json.encode(body).decode() if body is not None else None
        with self.client.request(method, url, name=name, data=data, headers=headers, catch_response=True) as response:
            if response.status_code == 401 and may_renew:
                response.success()
            elif not 200 <= response.status_code < 300:
                response.failure(f"{response.status_code} {response.text}" if response.status_code else response.error)
                raise Failed(name)
            return response.status_code, bytes(response.content or b"")

    def _keep(self, answer: bytes) -> None:
        tokens = msgspec.json.decode(answer, type=Tokens)
        self.access, self.refresh = tokens.access_token, tokens.refresh_token


class _Play:
    """The scripted player's loop without asyncio, since locust brings its own way to wait."""

    def __init__(self, user: Viewer, answer: PlayAnswer, verifier: Verifier, pressed: float) -> None:
        self.pressed = pressed
        self.beaten = time.monotonic()
        self.user = user
        self.answer = answer
        self.verifier = verifier
        self.throughput = Throughput()
        self.timeline = Timeline(answer.position_s, user.rate)
        self.indexes: dict[str, tuple[SegmentRange, ...]] = {}

    def run(self) -> None:
        manifest = parse_mpd(self.user.ask("GET", self.answer.dash_url, "manifest").decode())
        at_s, rung, playing = self.timeline.position_s, None, False
        self.timeline.ends_at_s = manifest.duration_s
        while at_s < manifest.duration_s - 0.05:
            rates = [track.bandwidth_bps for track in manifest.video]
            rung = choose(rates, self.throughput.bps / self.user.rate, self.timeline.buffer_s(time.monotonic()), rung)
            segment = self._segment(manifest.video[rung], at_s)
            if manifest.audio:
                self._segment(manifest.audio[0], at_s)
            at_s = segment.starts_at_s + segment.duration_s
            self._appended(at_s)
            if not playing:
                playing = True
                self.timeline.start(time.monotonic())
                self.user.tell("start-up", (time.monotonic() - self.pressed) * 1000)
            self._watch_until(MAX_BUFFER_S)
        self._watch_until(0.0)

    def _appended(self, buffered_s: float) -> None:
        stalled_s = self.timeline.stalled_s
        self.timeline.appended(buffered_s, time.monotonic())
        if self.timeline.stalled_s > stalled_s:
            self.user.tell("stall", (self.timeline.stalled_s - stalled_s) * 1000)

    def _watch_until(self, buffer_s: float) -> None:
        """Sleeps until the buffer has fallen so far, with a beat whenever one is due."""
        while True:
            now = time.monotonic()
            if now - self.beaten >= self.answer.heartbeat_interval_s:
                self.beaten = now
                self.timeline.advance(now)
                beat = PlayBeat(PlayEvent.BEAT, self.timeline.position_s)
                self.user.ask("POST", self.answer.heartbeat_url, "beat", beat)
            wait_s = self.timeline.wait_s(buffer_s, time.monotonic())
            if wait_s <= 0:
                return
            gevent.sleep(min(wait_s, self.answer.heartbeat_interval_s))

    def _segment(self, track: Representation, at_s: float) -> SegmentRange:
        if track.id not in self.indexes:
            first, last = min(track.init[0], track.index[0]), max(track.init[1], track.index[1])
            data = self._range(track, first, last)
            self.indexes[track.id] = parse_sidx(data[track.index[0] - first :], track.index[0], track.index[1] + 1)
        index = self.indexes[track.id]
        segment = next((s for s in index if s.starts_at_s + s.duration_s > at_s + 0.05), index[-1])
        self._range(track, segment.offset, segment.offset + segment.length - 1)
        return segment

    def _range(self, track: Representation, first: int, last: int) -> bytes:
        for address in track.addresses:
            data = self._attempt(track, address, first, last)
            if data is not None:
                return data
        self.user.tell("broken off", 0.0, OSError(f"no address gave bytes of {track.id}"))
        raise Failed("media")

    def _attempt(self, track: Representation, address: Address, first: int, last: int) -> bytes | None:
        cmcd = quote(f'br={track.bandwidth_bps // 1000},ot={track.kind[0]},sid="{self.answer.session_id}"', safe="")
        headers = {"Range": f"bytes={first}-{last}"}
        name = f"media {track.kind}"
        began = time.monotonic()
        with self.user.client.get(f"{address.url}?CMCD={cmcd}", name=name, headers=headers, catch_response=True) as got:
            body = bytes(got.content or b"")
            if got.status_code != 206 or len(body) != last - first + 1:
                what = f"{got.status_code} with {len(body)} of {last - first + 1} bytes"
                got.failure(what if got.status_code else got.error)
                return None
            try:
                self.verifier.add(split_token(urlsplit(address.url).path)[1], first, body)
            except WrongBytes as error:
                got.failure(f"wrong bytes: {error}")
                return None
        self.throughput = self.throughput.with_download(len(body), time.monotonic() - began)
        return body
