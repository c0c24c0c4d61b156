"""Renewing a session's media token by playback's HTTP API."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from chassis.service import Service
from companions.config import Companions
from companions.launching import companions_service
from companions.playback.config import ControlPlane, Sessions
from companions.playback.entitlement import Stream
from companions.playback.sessions import Session, renewal_refusal
from companions.signing import load_or_make
from contracts.keys import KeyUse
from contracts.members import MemberPlan
from contracts.problems import ProblemCode
from contracts.tokens.claims import MediaClaims
from contracts.tokens.media import TokenFormat, format_of, verify
from contracts.urls import split_token
from contracts.viewing import BeatAnswer, PlayAnswer, PlayEvent
from tests.companions.control_plane import FakeControlPlane
from tests.companions.lab import Lab, Member, make_title

TOKEN_S = 20.0
LIFE_S = 61.44 + 12 * 3600
DURATION_S = 61.44


@pytest.fixture
async def house(lab: Lab) -> Lab:
    """Media tokens live for twenty seconds; one title is published for DE."""
    lab.sessions = Sessions(token_s=TOKEN_S)
    await lab.start("auth", "catalog", "steering", "playback")
    await lab.publish(make_title("tide", regions=("DE",)))
    return lab


def claims_of(lab: Lab, token: str) -> MediaClaims:
    public = load_or_make(lab.folder / "media.key", KeyUse.MEDIA).public
    return verify(token, {public.kid: public})


async def manifest_token(lab: Lab, play: PlayAnswer) -> MediaClaims:
    """The claims of the first media address of the HLS manifest as it is now."""
    text = (await lab.http.call("GET", play.hls_url)).body.decode()
    uri = next(line for line in text.splitlines() if line.startswith("http"))
    token, _path = split_token(urlsplit(uri).path)
    return claims_of(lab, token or "")


async def test_a_renewed_token_opens_what_the_first_one_opened_for_as_long_again(house: Lab) -> None:
    ann = await house.sign_up()
    play = await ann.play("tide")
    first = await manifest_token(house, play)
    began = house.clock.wall_s()
    assert (first.expires_at, play.expires_at, play.expires_in_s) == (began + TOKEN_S, began + TOKEN_S, TOKEN_S)
    await house.clock.advance(15)
    renewal = await ann.renew(play)
    now = house.clock.wall_s()
    claims = claims_of(house, renewal.token)
    assert claims == msgspec.structs.replace(first, issued_at=now, expires_at=now + TOKEN_S)
    assert claims.began_at == began, "a draining appliance knows it for a running session"
    assert (renewal.expires_at, renewal.expires_in_s) == (claims.expires_at, TOKEN_S)


async def test_a_manifest_that_is_fetched_again_carries_a_token_of_then(house: Lab) -> None:
    play = await (await house.sign_up()).play("tide")
    await house.clock.advance(300)
    assert (await manifest_token(house, play)).expires_at == house.clock.wall_s() + TOKEN_S


async def test_a_renewal_lets_the_session_live_on_from_now(house: Lab) -> None:
    ann = await house.sign_up()
    play = await ann.play("tide")
    await house.clock.advance(100)
    ann = await ann.log_in_again()
    await ann.renew(play)
    await house.clock.advance(LIFE_S - 1)
    assert (await house.http.call("GET", play.dash_url)).status == 200
    await house.clock.advance(2)
    (await house.http.call("GET", play.dash_url)).problem(ProblemCode.NOT_FOUND)


async def test_a_session_that_was_renewed_is_steered_until_steering_takes_it_for_over(lab: Lab) -> None:
    lab.steering.steered = True
    lab.public = replace(lab.public, steering_url="https://steer.example/")
    await lab.start("auth", "catalog", "steering", "playback")
    await lab.publish(make_title("tide"))
    ann = await lab.sign_up()
    play = await ann.play("tide")
    await lab.clock.advance(100)
    await (await ann.log_in_again()).renew(play)
    until = lab.steering.asked[-1].until
    for after_s, is_steered in ((until - 1 - lab.clock.wall_s(), True), (1.0, False)):
        await lab.clock.advance(after_s)
        for url in (play.dash_url, play.hls_url):
            heard = await lab.http.call("GET", url)
            assert heard.status == 200
            assert ("/v1/steering/" in heard.body.decode()) is is_steered


async def test_a_token_never_outlives_its_session(house: Lab) -> None:
    play = await (await house.sign_up()).play("tide")
    await house.clock.advance(LIFE_S - 5)
    assert (await manifest_token(house, play)).expires_at == play.expires_at - TOKEN_S + LIFE_S


async def test_where_no_lifetime_is_set_tokens_are_good_as_long_as_their_session(lab: Lab) -> None:
    await lab.start("auth", "catalog", "steering", "playback")
    await lab.publish(make_title("tide"))
    ann = await lab.sign_up()
    play = await ann.play("tide")
    await lab.clock.advance(100)
    assert (await manifest_token(lab, play)).expires_at == play.expires_at
    renewal = await ann.renew(play)
    assert renewal.expires_in_s == pytest.approx(LIFE_S)


async def test_common_access_tokens_are_renewed_as_well(lab: Lab) -> None:
    lab.sessions = Sessions(token_s=TOKEN_S, token_format="cat")
    await lab.start("auth", "catalog", "steering", "playback")
    await lab.publish(make_title("tide", regions=("DE",)))
    ann = await lab.sign_up()
    play = await ann.play("tide")
    first = await manifest_token(lab, play)
    await lab.clock.advance(15)
    renewal = await ann.renew(play)
    assert format_of(renewal.token) is TokenFormat.CAT
    now = lab.clock.wall_s()
    assert claims_of(lab, renewal.token) == msgspec.structs.replace(first, issued_at=now, expires_at=now + TOKEN_S)
    assert claims_of(lab, renewal.token).covers("/media/tide/sd/v-360.mp4")


async def test_only_the_member_who_plays_renews(house: Lab) -> None:
    ann, bob = await house.sign_up(), await house.sign_up("bob@example.org")
    play = await ann.play("tide")
    (await bob.press_renew(play)).problem(ProblemCode.NOT_FOUND)
    (await house.http.call("POST", play.renew_url)).problem(ProblemCode.UNAUTHENTICATED)
    made_up = replace(ann, tokens=msgspec.structs.replace(ann.tokens, access_token="made.up.token"))
    (await made_up.press_renew(play)).problem(ProblemCode.UNAUTHENTICATED)
    nothing = msgspec.structs.replace(play, renew_url=house.url("playback") + "/v1/play/~no/renew")
    (await ann.press_renew(nothing)).problem(ProblemCode.NOT_FOUND)


async def test_an_ended_session_gets_no_token_and_stays_ended(house: Lab) -> None:
    ann = await house.sign_up()
    stopped, replaced = await ann.play("tide", "phone"), await ann.play("tide", "tv")
    await ann.beat(stopped, 5.0, PlayEvent.STOP)
    await ann.play("tide", "tv")
    for play, why in ((stopped, "stopped"), (replaced, "another-play-on-this-device")):
        refused = (await ann.press_renew(play)).problem(ProblemCode.NOT_FOUND)
        assert why in refused.detail


async def test_a_session_that_expired_while_the_device_slept_is_renewed_when_a_stream_is_left(house: Lab) -> None:
    ann = await house.sign_up(plan="basic")
    play = await ann.play("tide", "tv")
    await house.clock.advance(LIFE_S + 1)
    ann = await ann.log_in_again()
    (await house.http.call("GET", play.dash_url)).problem(ProblemCode.NOT_FOUND)
    other = await ann.play("tide", "phone")
    assert "too-many-streams" in (await ann.press_renew(play)).problem(ProblemCode.NOT_FOUND).detail
    await ann.beat(other, 5.0, PlayEvent.STOP)
    await ann.renew(play)
    assert (await house.http.call("GET", play.dash_url)).status == 200
    assert (await ann.beat(play, 6.0)).as_(BeatAnswer).go_on


async def test_what_the_catalog_took_back_is_renewed_no_more(lab: Lab) -> None:
    lab.asking = replace(lab.asking, title_fresh_s=0.0)
    await lab.start("auth", "catalog", "steering", "playback")
    await lab.publish(make_title("tide", regions=("DE",)))
    ann = await lab.sign_up()
    play = await ann.play("tide")
    await lab.publish(make_title("tide", regions=("FR",)))
    (await ann.press_renew(play)).problem(ProblemCode.NOT_IN_REGION)


async def test_renewals_are_counted_by_outcome(house: Lab) -> None:
    ann = await house.sign_up()
    play = await ann.play("tide")
    await ann.renew(play)
    await ann.beat(play, 5.0, PlayEvent.STOP)
    await ann.press_renew(play)
    metrics = (await house.http.call("GET", house.url("playback") + "/metrics")).body.decode()
    assert 'lowtide_playback_renewals_total{outcome="renewed"} 1.0' in metrics
    assert 'lowtide_playback_renewals_total{outcome="not-found"} 1.0' in metrics


async def test_a_session_that_the_key_set_names_as_revoked_ends(house: Lab, tmp_path: Path) -> None:
    ann = await house.sign_up()
    play, other = await ann.play("tide", "tv"), await ann.play("tide", "phone")
    await house.stop("playback")
    plane = FakeControlPlane(tmp_path / "plane", revoked=(play.session_id,))
    async with Service("control-plane", plane.compose, grace_s=0.1).running() as urls:
        (tmp_path / "enrol.code").write_text(plane.code)
        control_plane = ControlPlane(urls["mtls"], tmp_path / "enrol.code", tmp_path / "enrolment")
        settings = replace(house.playback_settings, control_plane=control_plane)
        service = companions_service(Companions(playback=settings), ("playback",), clock=house.clock)
        async with service.running() as own:
            moved = [_moved(one, house.url("playback"), own["http"]) for one in (play, other)]
            assert "revoked" in await _refused_in_the_end(ann, moved[0])
            assert (await ann.beat(moved[0], 5.0)).as_(BeatAnswer) == BeatAnswer(False, "revoked")
            (await house.http.call("GET", moved[0].dash_url)).problem(ProblemCode.NOT_FOUND)
            await ann.renew(moved[1])


def _moved(play: PlayAnswer, old: str, new: str) -> PlayAnswer:
    return msgspec.json.decode(msgspec.json.encode(play).decode().replace(old, new), type=PlayAnswer)


async def _refused_in_the_end(member: Member, play: PlayAnswer) -> str:
    """Why the renewal is refused, as soon as it is; at most five real seconds."""
    for _ in range(250):
        heard = await member.press_renew(play)
        if heard.status != 200:
            return heard.problem(ProblemCode.NOT_FOUND).detail
        await asyncio.sleep(0.02)
    raise AssertionError("it is still renewed")


def _stream(name: str, seen_at: float) -> Stream:
    return Stream(f"s-{name}", name, "tide", seen_at)


@pytest.mark.parametrize(
    ("seen_at", "expires_at", "running", "refusal"),
    [
        (95.0, 1000.0, [_stream("phone", 99.0)], ""),
        (10.0, 1000.0, [], ""),
        (10.0, 1000.0, [_stream("phone", 99.0)], "too-many-streams"),
        (95.0, 100.0, [], ""),
        (95.0, 100.0, [_stream("phone", 99.0)], "too-many-streams"),
    ],
    ids=["live", "silent", "silent-and-taken", "expired", "expired-and-taken"],
)
def test_a_session_is_renewed_while_it_lives_or_a_stream_is_left(
    seen_at: float, expires_at: float, running: Sequence[Stream], refusal: str
) -> None:
    plan = MemberPlan.BASIC
    session = Session(
        id="s-tv", account_id="a", profile_id="p", title_id="tide", device_id="tv", region="DE", plan=plan.word,
        tiers=plan.tiers, routes=(), duration_s=60.0, site_id="", started_at=0.0, seen_at=seen_at, expires_at=expires_at,
    )  # fmt: skip
    assert renewal_refusal(session, running, ttl_s=30.0, now=100.0) == refusal
