"""Viewers as load: each user logs in, opens the home page, presses play and plays like the scripted player.

Uses the player's own pure modules (manifest, adaptation, playback clock, verification) over locust's client, so that the load has the
shape of real playing and wrong bytes show as failures. Run against a running system:

    locust -f benchmarks/load/locustfile.py --headless -u 20 -r 2 -t 2m --playback http://127.0.0.1:8806

Other addresses are read from `/config.json` at playback.
"""

from __future__ import annotations

import time
import uuid
from urllib.parse import quote, urlsplit

import gevent
import msgspec
from locust import FastHttpUser, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from contracts.catalogue import TitleDigests
from contracts.members import Account, SignUp, Tokens
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
    parser.add_argument("--network", default="", help="a demo network's address to act from")


@events.init.add_listener
def _host(environment: Environment, **_more: object) -> None:
    environment.host = environment.parsed_options.playback


class Viewer(FastHttpUser):
    """One member on one device who plays one title after the other."""

    wait_time = constant(1)
    network_timeout = 15.0

    def on_start(self) -> None:
        options = self.environment.parsed_options
        self.rate: float = options.rate
        self.config = msgspec.json.decode(
            self._json("GET", f"{options.playback}/config.json", "config"), type=ViewerConfig
        )
        person = SignUp(f"load-{uuid.uuid4().hex[:12]}@load.example", uuid.uuid4().hex, options.region, "premium")
        made = self._json("POST", f"{self.config.auth_url}/v1/accounts", "sign up", person)
        self.access = msgspec.json.decode(made, type=Tokens).access_token
        account = msgspec.json.decode(self._json("GET", f"{self.config.auth_url}/v1/account", "account"), type=Account)
        self.profile_id = account.profiles[0].id

    @task
    def play_something(self) -> None:
        home_url = f"{self.config.recommendation_url}/v1/home?profile_id={self.profile_id}"
        home = msgspec.json.decode(self._json("GET", home_url, "home"), type=Home)
        titles = [title for row in home.rows for title in row.titles]
        if not titles:
            gevent.sleep(5)
            return
        self._play(titles[hash(self.profile_id) % len(titles)].id)

    def _play(self, title_id: str) -> None:
        network = self.environment.parsed_options.network
        request = PlayRequest(title_id, self.profile_id, "load", network)
        answer = msgspec.json.decode(
            self._json("POST", f"{self.config.playback_url}/v1/play", "play", request), type=PlayAnswer
        )
        listed = self._json("GET", f"{self.config.catalog_url}/v1/titles/{title_id}/digests", "digests")
        digests = msgspec.json.decode(listed, type=TitleDigests)
        verifier = Verifier({entry.key.partition("|")[2]: entry for entry in digests.files})
        play = _Play(self, answer, verifier)
        try:
            play.run()
        finally:
            self._json("POST", answer.heartbeat_url, "beat", PlayBeat(PlayEvent.STOP, play.timeline.position_s))

    def _json(self, method: str, url: str, name: str, body: msgspec.Struct | None = None) -> bytes:
        headers = {"Content-Type": "application/json"}
        if getattr(self, "access", ""):
            headers["Authorization"] = f"Bearer {self.access}"
        data = msgspec.json.encode(body) if body is not None else None
        with self.client.request(method, url, name=name, data=data, headers=headers, catch_response=True) as response:
            if response.status_code >= 400 or response.content is None:
                response.failure(f"{response.status_code} {response.text}")
                raise RuntimeError(f"{name} failed")
            return bytes(response.content)


class _Play:
    """The scripted player's loop without asyncio, since locust brings its own way to wait."""

    def __init__(self, user: Viewer, answer: PlayAnswer, verifier: Verifier) -> None:
        self.user = user
        self.answer = answer
        self.verifier = verifier
        self.throughput = Throughput()
        self.timeline = Timeline(answer.position_s, user.rate)
        self.indexes: dict[str, tuple[SegmentRange, ...]] = {}

    def run(self) -> None:
        manifest = parse_mpd(self.user._json("GET", self.answer.dash_url, "manifest").decode())
        at_s, rung, playing = self.timeline.position_s, None, False
        last_beat = time.monotonic()
        while at_s < manifest.duration_s - 0.05:
            rates = [track.bandwidth_bps for track in manifest.video]
            rung = choose(rates, self.throughput.bps / self.user.rate, self.timeline.buffer_s(time.monotonic()), rung)
            segment = self._segment(manifest.video[rung], at_s)
            if manifest.audio:
                self._segment(manifest.audio[0], at_s)
            at_s = segment.starts_at_s + segment.duration_s
            self.timeline.appended(at_s, time.monotonic())
            if not playing:
                playing = True
                self.timeline.start(time.monotonic())
            if time.monotonic() - last_beat > self.answer.heartbeat_interval_s:
                last_beat = time.monotonic()
                beat = PlayBeat(PlayEvent.BEAT, self.timeline.position_s)
                self.user._json("POST", self.answer.heartbeat_url, "beat", beat)
            gevent.sleep(self.timeline.wait_s(MAX_BUFFER_S, time.monotonic()))

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
        raise RuntimeError(f"no address gave bytes {first}-{last} of {track.id}")

    def _attempt(self, track: Representation, address: Address, first: int, last: int) -> bytes | None:
        cmcd = quote(f'br={track.bandwidth_bps // 1000},ot={track.kind[0]},sid="{self.answer.session_id}"', safe="")
        headers = {"Range": f"bytes={first}-{last}"}
        name = f"media {track.kind}"
        began = time.monotonic()
        with self.user.client.get(f"{address.url}?CMCD={cmcd}", name=name, headers=headers, catch_response=True) as got:
            body = bytes(got.content or b"")
            if got.status_code != 206 or len(body) != last - first + 1:
                got.failure(f"{got.status_code} with {len(body)} of {last - first + 1} bytes")
                return None
            try:
                self.verifier.add(split_token(urlsplit(address.url).path)[1], first, body)
            except WrongBytes as error:
                got.failure(f"wrong bytes: {error}")
                raise
        self.throughput = self.throughput.with_download(len(body), time.monotonic() - began)
        return body
