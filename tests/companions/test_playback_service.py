"""Playback by its HTTP API, with a real auth and catalog and a stand-in for steering."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import msgspec
import pytest

from chassis.service import Service
from companions.playback.config import ControlPlane, Demo
from companions.signing import load_or_make
from contracts.content_steering import SteeringManifest
from contracts.enrolment import PeerKind
from contracts.events import PlaybackEvent, PlaybackEventKind
from contracts.keys import KeySet, KeyUse, PublicKey
from contracts.problems import ProblemCode
from contracts.tokens import jwt
from contracts.tokens.claims import MediaClaims
from contracts.urls import split_token
from contracts.viewing import BeatAnswer, PlayAnswer, PlayEvent, Popular, Position, Positions, ViewerConfig
from tests.companions.control_plane import FakeControlPlane
from tests.companions.lab import HALF_LIFE_S, ORIGIN_URL, Lab, Member, make_title

DASH = "{urn:mpeg:dash:schema:mpd:2011}"
T = TypeVar("T")


@pytest.fixture
async def house(lab: Lab) -> Lab:
    """Everything is up and one title is published for DE and NO."""
    await lab.start("auth", "catalog", "steering", "playback")
    await lab.publish(make_title("tide", regions=("DE", "NO")))
    return lab


async def _bases(lab: Lab, play: PlayAnswer) -> dict[str, list[str]]:
    """Rendition → addresses in the DASH manifest."""
    heard = await lab.http.call("GET", play.dash_url)
    assert heard.headers["Content-Type"].startswith("application/dash+xml")
    found = ET.fromstring(heard.body.decode()).iter(DASH + "Representation")
    return {r.get("id", ""): [base.text or "" for base in r.iter(DASH + "BaseURL")] for r in found}


def _claims(lab: Lab, url: str) -> tuple[MediaClaims, str]:
    """The media token in an address, verified with playback's public key, and the path without it."""
    token, path = split_token(urlsplit(url).path)
    public = load_or_make(lab.folder / "media.key", KeyUse.MEDIA).public
    return jwt.verify(token or "", {public.kid: public}), path


async def _position(member: Member, title_id: str = "tide") -> Position | None:
    heard = await member.ask("GET", "playback", f"/v1/profiles/{member.profile_id}/positions")
    return next((p for p in heard.as_(Positions).positions if p.title_id == title_id), None)


async def test_a_play_gives_manifests_whose_addresses_open_the_files_of_this_title_only(house: Lab) -> None:
    ann = await house.sign_up()
    play = await ann.play("tide")
    bases = await _bases(house, play)
    assert list(bases) == ["v-360", "v-1080", "a-und-96k"]
    assert [urlsplit(url).netloc for url in bases["v-360"]] == ["127.1.0.11:8080", "127.1.0.12:8080", "127.0.0.9:9009"]
    claims, path = _claims(house, bases["v-360"][0])
    now = house.clock.wall_s()
    claims.check(path, now)
    assert path == "/media/tide/sd/v-360.mp4"
    assert claims.session == play.session_id
    assert not claims.covers("/media/other/sd/v-360.mp4")
    assert claims.expires_at == pytest.approx(now + 61.44 + 12 * 3600)
    assert play.expires_at == claims.expires_at


async def test_what_the_plan_does_not_include_is_neither_in_the_manifest_nor_in_the_token(house: Lab) -> None:
    for plan, rungs, word in (("basic", ["v-360"], "sd"), ("premium", ["v-360", "v-1080", "v-2160"], "uhd")):
        member = await house.sign_up(f"{plan}@example.org", plan=plan)
        bases = await _bases(house, await member.play("tide"))
        assert [name for name in bases if name.startswith("v-")] == rungs
        claims, _ = _claims(house, bases["a-und-96k"][0])
        assert claims.tiers[-1] == word
        assert claims.covers("/media/tide/uhd/v-2160.mp4") == (plan == "premium")


async def test_the_hls_playlist_names_the_media_playlists_on_every_pathway(house: Lab) -> None:
    play = await (await house.sign_up()).play("tide")
    heard = await house.http.call("GET", play.hls_url)
    assert heard.headers["Content-Type"].startswith("application/vnd.apple.mpegurl")
    text = heard.body.decode()
    assert re.findall(r'STREAM-INF:.*PATHWAY-ID="([^"]+)"', text) == [
        name for name in ("pathway-1", "pathway-2", "origin") for _ in range(2)
    ]
    uris = [line for line in text.splitlines() if not line.startswith("#")]
    for uri in uris:
        claims, path = _claims(house, uri)
        claims.check(path, house.clock.wall_s())


async def test_steering_hears_the_address_that_the_request_comes_from(house: Lab) -> None:
    await (await house.sign_up()).play("tide")
    assert [asked.client for asked in house.steering.asked] == ["127.0.0.1"]
    assert house.steering.asked[0].files[0].group == "tide/v-360"


async def test_a_demo_network_stands_for_the_browser_only_where_that_is_allowed(lab: Lab) -> None:
    await lab.start("auth", "catalog", "steering", "playback")
    await lab.publish(make_title("tide"))
    ann = await lab.sign_up()
    await ann.play("tide", demo_network="127.2.9.50")
    await ann.play("tide", demo_network=" [fd00::0:1%eth0] ")
    (await ann.press_play("tide", demo_network="here")).problem(ProblemCode.UNPROCESSABLE)
    await lab.stop("playback")
    lab.demo = Demo(allow_demo_network=False)
    await lab.start("playback")
    await ann.play("tide", demo_network="127.2.9.50")
    assert [asked.client for asked in lab.steering.asked] == ["127.2.9.50", "fd00::1", "127.0.0.1"]


async def test_without_a_valid_access_token_nothing_is_played(house: Lab) -> None:
    ann = await house.sign_up()
    nobody = replace(ann, tokens=msgspec.structs.replace(ann.tokens, access_token="made.up.token"))
    (await nobody.press_play("tide")).problem(ProblemCode.UNAUTHENTICATED)
    url = house.url("playback") + "/v1/play"
    (await house.http.call("POST", url, b"{}")).problem(ProblemCode.UNAUTHENTICATED)
    await house.clock.advance(400)
    (await ann.press_play("tide")).problem(ProblemCode.TOKEN_EXPIRED)


async def test_a_token_of_another_issuer_opens_nothing(house: Lab, tmp_path: Path) -> None:
    other = Lab(tmp_path / "other", house.http, house._stack)
    await other.start("auth")
    stranger = replace(await other.sign_up(), lab=house)
    (await stranger.press_play("tide")).problem(ProblemCode.UNAUTHENTICATED)


async def test_a_profile_of_another_account_is_refused(house: Lab) -> None:
    ann, bob = await house.sign_up(), await house.sign_up("bob@example.org")
    (await ann.press_play("tide", profile_id=bob.profile_id)).problem(ProblemCode.FORBIDDEN)
    heard = await ann.ask("GET", "playback", f"/v1/profiles/{bob.profile_id}/positions")
    heard.problem(ProblemCode.FORBIDDEN)


async def test_unknown_titles_and_wrong_questions_are_precise_problems(house: Lab) -> None:
    ann = await house.sign_up()
    (await ann.press_play("nothing")).problem(ProblemCode.NOT_FOUND)
    (await ann.press_play("../etc")).problem(ProblemCode.NOT_FOUND)
    (await ann.press_play("tide", device_id="")).problem(ProblemCode.UNPROCESSABLE)
    (await ann.ask("POST", "playback", "/v1/play", b"[]")).problem(ProblemCode.BAD_JSON)
    url = house.url("playback")
    for path in ("/v1/play/~no/manifest.mpd", "/v1/play/~no/master.m3u8", "/nowhere"):
        (await house.http.call("GET", url + path)).problem(ProblemCode.NOT_FOUND)
    beat = b'{"event": "beat", "position_s": 1}'
    (await house.http.call("POST", url + "/v1/play/~no/beat", beat)).problem(ProblemCode.NOT_FOUND)
    (await house.http.call("GET", url + "/v1/popular?region=x")).problem(ProblemCode.BAD_QUERY)


async def test_a_title_outside_the_members_region_is_refused_even_when_another_member_just_played_it(
    house: Lab,
) -> None:
    await (await house.sign_up()).play("tide")
    abroad = await house.sign_up("zoe@example.org", region="FR")
    (await abroad.press_play("tide")).problem(ProblemCode.NOT_IN_REGION)
    await house.clock.advance(60)
    abroad = await house.sign_up("yan@example.org", region="FR")
    (await abroad.press_play("tide")).problem(ProblemCode.NOT_IN_REGION)


async def test_one_stream_too_many_is_refused_naming_the_devices(house: Lab) -> None:
    ann = await house.sign_up()
    await ann.play("tide", "tv")
    await ann.play("tide", "phone")
    refused = (await ann.press_play("tide", "tablet")).problem(ProblemCode.TOO_MANY_STREAMS)
    assert [line.partition(":")[0] for line in refused.errors] == ["tv", "phone"]


async def test_of_many_devices_that_press_play_at_once_only_as_many_play_as_the_plan_has_streams(house: Lab) -> None:
    ann = await house.sign_up()
    heard = await asyncio.gather(*(ann.press_play("tide", f"device-{n}") for n in range(6)))
    assert sorted(answer.status for answer in heard) == [201, 201, 403, 403, 403, 403]


async def test_a_device_that_starts_again_takes_its_own_place_and_its_old_session_ends(house: Lab) -> None:
    ann = await house.sign_up(plan="basic")
    first = await ann.play("tide", "tv")
    second = await ann.play("tide", "tv")
    stopped = (await ann.beat(first, 5.0)).as_(BeatAnswer)
    assert (stopped.go_on, stopped.reason) == (False, "another-play-on-this-device")
    (await house.http.call("GET", first.dash_url)).problem(ProblemCode.NOT_FOUND)
    assert (await ann.beat(second, 5.0)).as_(BeatAnswer).go_on


async def test_a_stopped_deleted_or_silent_session_leaves_its_place(house: Lab) -> None:
    ann = await house.sign_up(plan="basic")
    first = await ann.play("tide", "tv")
    await ann.beat(first, 9.0, PlayEvent.STOP)
    second = await ann.play("tide", "phone")
    end = second.heartbeat_url.removesuffix("/beat")
    assert (await house.http.call("DELETE", end)).status == 204
    assert (await house.http.call("DELETE", end)).status == 204
    third = await ann.play("tide", "tablet")
    (await ann.press_play("tide", "tv")).problem(ProblemCode.TOO_MANY_STREAMS)
    await house.clock.advance(31)
    await ann.play("tide", "tv")
    late = (await ann.beat(third, 9.0)).as_(BeatAnswer)
    assert (late.go_on, late.reason) == (False, "too-many-streams")


async def test_heartbeats_keep_a_session_alive(house: Lab) -> None:
    ann = await house.sign_up(plan="basic")
    play = await ann.play("tide", "tv")
    for second in range(0, 60, 20):
        await house.clock.advance(20)
        assert (await ann.beat(play, float(second))).as_(BeatAnswer).go_on
    (await ann.press_play("tide", "phone")).problem(ProblemCode.TOO_MANY_STREAMS)


async def test_a_second_device_goes_on_where_the_first_one_left(house: Lab) -> None:
    ann = await house.sign_up()
    first = await ann.play("tide", "tv")
    assert first.position_s == 0.0
    await ann.beat(first, 31.5, PlayEvent.STOP)
    assert (await ann.play("tide", "phone")).position_s == 31.5
    kept = await _position(ann)
    assert kept is not None
    assert (kept.position_s, kept.duration_s, kept.finished) == (31.5, 61.44, False)


async def test_a_title_seen_to_its_end_begins_anew(house: Lab) -> None:
    ann = await house.sign_up()
    await ann.beat(await ann.play("tide"), 1e9, PlayEvent.STOP)
    kept = await _position(ann)
    assert kept is not None
    assert (kept.position_s, kept.finished) == (61.44, True)
    assert (await ann.play("tide")).position_s == 0.0


async def test_after_a_restart_sessions_positions_and_manifests_are_the_same(house: Lab) -> None:
    ann = await house.sign_up(plan="basic")
    play = await ann.play("tide", "tv")
    await ann.beat(play, 12.0)
    before = await _bases(house, play)
    await house.stop("playback")
    old = house.url("playback")
    await house.start("playback")
    play = msgspec.json.decode(msgspec.json.encode(play).decode().replace(old, house.url("playback")), type=PlayAnswer)
    after = await _bases(house, play)
    assert {name: len(urls) for name, urls in after.items()} == {name: len(urls) for name, urls in before.items()}
    assert _claims(house, after["v-360"][0]) == _claims(house, before["v-360"][0])
    (await ann.press_play("tide", "phone")).problem(ProblemCode.TOO_MANY_STREAMS)
    assert (await ann.beat(play, 13.0)).as_(BeatAnswer).go_on
    kept = await _position(ann)
    assert kept is not None
    assert kept.position_s == 13.0


async def test_while_steering_is_away_the_last_ranking_for_the_network_is_used_else_the_origin(house: Lab) -> None:
    await house.publish(make_title("other"))
    ann = await house.sign_up()
    await ann.play("tide")
    await house.stop("steering")
    known = await _bases(house, await ann.play("tide"))
    assert urlsplit(known["v-360"][0]).netloc == "127.1.0.11:8080"
    elsewhere = await _bases(house, await ann.play("tide", demo_network="127.2.9.50"))
    never = await _bases(house, await ann.play("other"))
    for bases in (elsewhere, never):
        assert {urlsplit(url).netloc for urls in bases.values() for url in urls} == {urlsplit(ORIGIN_URL).netloc}


async def test_what_steering_said_last_is_known_by_rendition_whatever_plan_asked_for_it(house: Lab) -> None:
    standard, basic = await house.sign_up(), await house.sign_up("basic@example.org", plan="basic")
    await standard.play("tide")
    await basic.play("tide")
    premium = await house.sign_up("premium@example.org", plan="premium")
    await house.stop("steering")
    known = await _bases(house, await standard.play("tide"))
    assert {name: urlsplit(urls[0]).netloc for name, urls in known.items()} == dict.fromkeys(
        ("v-360", "v-1080", "a-und-96k"), "127.1.0.11:8080"
    )
    more = await _bases(house, await premium.play("tide"))
    assert len(more["v-1080"]) == 3
    assert [urlsplit(url).netloc for url in more["v-2160"]] == [urlsplit(ORIGIN_URL).netloc], "nobody asked for it"


async def test_a_steering_that_answers_errors_is_like_one_that_is_away_and_is_asked_again_later(house: Lab) -> None:
    ann = await house.sign_up()
    house.steering.failing = True
    for _ in range(3):
        bases = await _bases(house, await ann.play("tide"))
        assert [urlsplit(url).netloc for url in bases["v-360"]] == ["127.0.0.9:9009"]
    assert len(house.steering.asked) == 1
    house.steering.failing = False
    await house.clock.advance(2)
    assert len((await _bases(house, await ann.play("tide")))["v-360"]) == 3


async def test_while_the_catalog_is_away_known_titles_play_under_their_licence_and_unknown_ones_wait(lab: Lab) -> None:
    lab.asking = replace(lab.asking, title_fresh_s=0.0, pause_s=0.0)
    await lab.start("auth", "catalog", "steering", "playback")
    await lab.publish(make_title("tide", regions=("DE",)), make_title("other"))
    ann, abroad = await lab.sign_up(), await lab.sign_up("zoe@example.org", region="FR")
    await ann.play("tide")
    await lab.stop("catalog")
    assert len(await _bases(lab, await ann.play("tide"))) == 3
    (await abroad.press_play("tide")).problem(ProblemCode.NOT_IN_REGION)
    refused = await ann.press_play("other")
    refused.problem(ProblemCode.UNAVAILABLE)
    assert int(refused.headers["Retry-After"]) > 0


async def test_a_withdrawn_title_is_not_played_from_memory(lab: Lab) -> None:
    lab.asking = replace(lab.asking, title_fresh_s=0.0)
    await lab.start("auth", "catalog", "steering", "playback")
    await lab.publish(make_title("tide"))
    ann = await lab.sign_up()
    await ann.play("tide")
    secret = (lab.folder / "publisher.secret").read_text().strip()
    await lab.http.call("DELETE", lab.url("catalog") + "/v1/titles/tide", bearer=secret)
    (await ann.press_play("tide")).problem(ProblemCode.NOT_FOUND)


async def test_members_play_on_while_auth_is_away_once_its_keys_are_known(house: Lab) -> None:
    ann = await house.sign_up()
    await ann.play("tide")
    await house.stop("auth")
    assert (await ann.press_play("tide")).status == 201


async def test_popular_counts_a_profiles_play_once_in_a_while_in_its_region_and_fades(house: Lab) -> None:
    await house.publish(make_title("other"))
    ann, nora = await house.sign_up(), await house.sign_up("nora@example.org", region="NO")
    for _ in range(3):
        await ann.play("tide")
    await nora.play("other")

    async def popular(region: str) -> list[tuple[str, float]]:
        heard = await house.http.call("GET", f"{house.url('playback')}/v1/popular?region={region}")
        return [(count.title_id, count.plays) for count in heard.as_(Popular).titles]

    assert await popular("DE") == [("tide", 1.0)]
    assert await popular("NO") == [("other", 1.0)]
    await house.clock.advance(HALF_LIFE_S)
    ((title_id, plays),) = await popular("DE")
    assert title_id == "tide"
    assert plays == pytest.approx(0.5, abs=1e-3)


async def test_the_playback_log_tells_starts_beats_ends_and_refusals_without_addresses(house: Lab) -> None:
    ann = await house.sign_up(plan="basic")
    play = await ann.play("tide", "tv")
    await ann.beat(play, 4.0)
    await ann.press_play("tide", "phone")
    await ann.beat(play, 5.0, PlayEvent.STOP)
    await house.stop("playback")
    raw = (house.folder / "log" / "playback.log").read_bytes()
    events = [msgspec.json.decode(line, type=PlaybackEvent) for line in raw.splitlines()]
    kinds = PlaybackEventKind
    assert [event.kind for event in events] == [kinds.STARTED, kinds.BEAT, kinds.REFUSED, kinds.ENDED]
    assert events[0].site_id == "site-a"
    assert (events[1].session_id, events[1].position_s) == (play.session_id, 4.0)
    assert events[2].reason == "too-many-streams"
    assert len({event.event_id for event in events}) == 4
    assert b"127.0.0.1" not in raw
    assert b"example.org" not in raw


async def test_no_session_secret_is_in_the_database(house: Lab) -> None:
    play = await (await house.sign_up()).play("tide")
    await house.stop("playback")
    secret = urlsplit(play.heartbeat_url).path.split("/")[3]
    assert secret.startswith("~")
    stored = b"".join(path.read_bytes() for path in house.folder.glob("playback.sqlite*"))
    assert play.session_id.encode() in stored
    assert secret.encode() not in stored


async def test_the_page_its_files_and_its_configuration_are_served(house: Lab) -> None:
    url = house.url("playback")
    page = await house.http.call("GET", url + "/")
    assert page.headers["Content-Type"].startswith("text/html")
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    config = (await house.http.call("GET", url + "/config.json")).as_(ViewerConfig)
    assert (config.playback_url, config.auth_url) == (url, house.url("auth"))
    assert [network.name for network in config.demo_networks] == ["Harbour"]
    files = re.findall(r'(?:src|href)="(/web/[^"]+)"', page.body.decode())
    assert files
    for file in files:
        assert (await house.http.call("GET", url + file)).status == 200, file
    for outside in ("/web/viewer/../../setup.cfg", "/web/vendor/%2e%2e/%2e%2e/setup.cfg", "/web/viewer/"):
        assert (await house.http.call("GET", url + outside)).status in (403, 404)


async def test_manifests_and_refusals_can_be_read_by_any_page(house: Lab) -> None:
    origin = {"Origin": "https://page.example"}
    play = await (await house.sign_up()).play("tide")
    for url in (play.dash_url, play.hls_url, house.url("playback") + "/v1/play/~no/manifest.mpd"):
        heard = await house.http.call("GET", url, headers=origin)
        assert heard.headers["Access-Control-Allow-Origin"] == "*"


async def test_players_may_send_cmcd_as_headers_with_a_manifest(house: Lab) -> None:
    play = await (await house.sign_up()).play("tide")
    asked = {
        "Origin": "https://page.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "cmcd-object,cmcd-request,cmcd-session,cmcd-status",
    }
    heard = await house.http.call("OPTIONS", play.dash_url, headers=asked)
    allowed = {name.strip().lower() for name in heard.headers["Access-Control-Allow-Headers"].split(",")}
    assert set(asked["Access-Control-Request-Headers"].split(",")) <= allowed


async def _until(condition: object, clock_steps: Lab) -> None:
    """Lets the virtual clock go on until a condition holds; at most five real seconds."""
    for _ in range(250):
        if condition():  # type: ignore[operator]
            return
        await clock_steps.clock.advance(1.0)
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come to pass")


async def test_the_media_key_is_registered_by_mutual_tls_again_when_it_was_forgotten(lab: Lab, tmp_path: Path) -> None:
    from companions.config import Companions
    from companions.launching import companions_service

    plane = FakeControlPlane(tmp_path / "plane")
    async with Service("control-plane", plane.compose, grace_s=0.1).running() as urls:
        (tmp_path / "enrol.code").write_text(plane.code)
        control_plane = ControlPlane(urls["mtls"], tmp_path / "enrol.code", tmp_path / "enrolment")
        settings = replace(lab.playback_settings, control_plane=control_plane)
        service = companions_service(Companions(playback=settings), ("playback",), clock=lab.clock)
        async with service.running() as own:
            await _until(lambda: plane.keys, lab)
            ((kid, key),) = plane.keys.items()
            assert (key.kid, key.use, key.alg) == (kid, KeyUse.MEDIA, "ES256")
            assert "d" not in key.jwk
            assert [(peer.kind, peer.name) for peer in plane.registered_by] == [(PeerKind.SERVICE, "playback")]
            plane.keys.clear()
            await _until(lambda: plane.keys, lab)
            assert list(plane.keys) == [kid]
            ready = await lab.http.call("GET", own["http"] + "/readyz")
            assert ready.status == 200
    restarted = companions_service(Companions(playback=settings), ("playback",), clock=lab.clock)
    async with restarted.running() as own:
        assert (await lab.http.call("GET", own["http"] + "/readyz")).status == 200


async def test_before_the_control_plane_has_the_key_playback_is_not_ready(lab: Lab, tmp_path: Path) -> None:
    from companions.config import Companions
    from companions.launching import companions_service

    control_plane = ControlPlane("https://127.0.0.1:9", tmp_path / "none.code", tmp_path / "enrolment")
    settings = replace(lab.playback_settings, control_plane=control_plane)
    async with companions_service(Companions(playback=settings), ("playback",), clock=lab.clock).running() as own:
        ready = await lab.http.call("GET", own["http"] + "/readyz")
        assert ready.status == 503
        assert b"does not know the media key yet" in ready.body


def test_key_set_round_trip_keeps_the_registered_key(tmp_path: Path) -> None:
    made = load_or_make(tmp_path / "media.key", KeyUse.MEDIA)
    again = load_or_make(tmp_path / "media.key", KeyUse.MEDIA)
    assert made.public == again.public
    known = KeySet(1, (made.public,)).of(KeyUse.MEDIA)
    assert isinstance(known[made.kid], PublicKey)
    claims = MediaClaims("i", "s", "/media/tide/", ("base",), 10.0, 0.0)
    assert jwt.verify(jwt.sign(claims, again.private, again.kid), known) == claims


async def test_a_session_is_steered_where_steering_gives_it_an_address(lab: Lab) -> None:
    lab.steering.steered = True
    lab.public = replace(lab.public, steering_url="https://steer.example/")
    await lab.start("auth", "catalog", "steering", "playback")
    await lab.publish(make_title("tide"))
    ann = await lab.sign_up()
    play = await ann.play("tide")
    address = f"https://steer.example/v1/steering/{play.session_id}?s=sealed&more=1"
    mpd = ET.fromstring((await lab.http.call("GET", play.dash_url)).body.decode())
    named = mpd.find(f"{DASH}ContentSteering")
    assert named is not None
    assert (named.text, named.get("queryBeforeStart")) == (f"{address}&d=dash", "false")
    master = (await lab.http.call("GET", play.hls_url)).body.decode()
    assert f'#EXT-X-CONTENT-STEERING:SERVER-URI="{address}",PATHWAY-ID="pathway-1"' in master.splitlines()
    asked = lab.steering.asked[-1]
    assert (asked.play, asked.until) == (play.session_id, play.expires_at)


@pytest.mark.parametrize("why", ["away", "switched-off"])
async def test_a_session_is_not_steered_by_what_steering_said_for_another_or_where_that_is_off(
    lab: Lab, why: str
) -> None:
    lab.steering.steered = True
    lab.content_steering = why != "switched-off"
    await lab.start("auth", "catalog", "steering", "playback")
    await lab.publish(make_title("tide"))
    ann = await lab.sign_up()
    if why == "away":
        await ann.play("tide")
        lab.steering.failing = True
    play = await ann.play("tide")
    assert next(urlsplit(url).netloc for url in (await _bases(lab, play))["v-360"]) == "127.1.0.11:8080"
    for url in (play.dash_url, play.hls_url):
        assert "steering/s-" not in (await lab.http.call("GET", url)).body.decode()
    own = urljoin(play.hls_url, "steering?_HLS_pathway=%22pathway-1%22")
    answer = await lab.http.call("GET", own)
    assert answer.headers["Cache-Control"] == "private, no-store"
    order = answer.as_(SteeringManifest)
    assert (order.version, order.ttl_s, urljoin(own, order.reload_uri)) == (1, 300, own.partition("?")[0])
    assert order.priority == ("pathway-1", "pathway-2", "origin")
    await lab.http.call("DELETE", play.hls_url.rpartition("/")[0])
    assert (await lab.http.call("GET", own)).status == 404


async def test_a_session_of_an_earlier_release_still_has_its_manifests(house: Lab) -> None:
    """Its record names neither packaged documents nor steering."""
    play = await (await house.sign_up()).play("tide")
    before = await _bases(house, play)
    await house.stop("playback")
    with sqlite3.connect(house.folder / "playback.sqlite") as database:
        (document,) = database.execute("SELECT document FROM sessions").fetchone()
        fields = {
            name: value for name, value in json.loads(document).items() if name not in ("dash", "hls", "steering")
        }
        database.execute("UPDATE sessions SET document = ?", (json.dumps(fields).encode(),))
    database.close()
    await house.start("playback")
    address = house.url("playback") + urlsplit(play.dash_url).path
    assert list(await _bases(house, msgspec.structs.replace(play, dash_url=address))) == list(before)
