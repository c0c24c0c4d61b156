"""What people and machines do wrong, each answered precisely, and nothing is lost by it (JSON problems as RFC 9457)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import msgspec
import pytest
import pytest_asyncio

from companions.auth.access import AUDIENCE, ISSUER
from companions.auth.access import sign as sign_access
from companions.signing import OwnKey, load_or_make
from contracts.ingest import TitleState, TitleStatus
from contracts.keys import KeyUse
from contracts.members import AccessClaims, LogIn
from contracts.problems import CONTENT_TYPE, Problem, ProblemCode
from contracts.tokens import jwt
from contracts.tokens.claims import MediaClaims
from contracts.tokens.media import TokenFormat, codec_of
from contracts.viewing import PlayRequest
from demo.footage import SourceTitle
from demo.operator import read_token
from demo.scenario import NETWORKS
from player.membership import Refused
from player.viewer import watch
from tests.system.probes import compare
from tests.system.town import EBB, NEAP, SLACK, SPRING, UPLOAD_IDLE_S, Home, Town, tracebacks

in_town = pytest.mark.asyncio(loop_scope="session")
JSON = {"Content-Type": "application/json"}
PAGE_ORIGIN = {"Origin": "https://viewer.example"}
JUDGED_WITHIN_S = 15.0
HOUR_S = 3600.0
PLACES = ("a1", "b1", "origin")
MANGLE: dict[str, tuple[Callable[[MediaClaims], MediaClaims], ProblemCode]] = {
    "expired": (lambda claims: _with(claims, expires_at=time.time() - 60), ProblemCode.MEDIA_TOKEN_EXPIRED),
    "not yet": (lambda claims: _with(claims, not_before=time.time() + HOUR_S), ProblemCode.MEDIA_TOKEN_NOT_YET),
    "another title": (lambda claims: _with(claims, prefix=f"/media/{NEAP.id}/"), ProblemCode.MEDIA_TOKEN_SCOPE),
    "another tier": (lambda claims: _with(claims, tiers=("base", "uhd")), ProblemCode.MEDIA_TOKEN_SCOPE),
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=20.0, headers=PAGE_ORIGIN) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def home(system: Town) -> Home:
    return await system.move_in(NETWORKS[0])


@pytest.fixture(scope="module")
def media_key(system: Town) -> OwnKey:
    """Playback's own key: what signs every true media token."""
    return load_or_make(system.box.root / "playback" / "media.key", KeyUse.MEDIA)


@pytest.fixture(scope="module")
def access_key(system: Town) -> OwnKey:
    """Auth's own key: what signs every true access token."""
    return load_or_make(system.box.root / "auth" / "access.key", KeyUse.MEMBER)


def problem(response: httpx.Response, code: ProblemCode) -> Problem:
    """The problem of an answer, which must be this one, readable by a page of another origin."""
    assert response.headers["Content-Type"].partition(";")[0] == CONTENT_TYPE, response.text
    found = msgspec.json.decode(response.content, type=Problem)
    assert (response.status_code, found.status, found.type) == (code.status, code.status, code.type_uri), response.text
    assert response.headers["Access-Control-Allow-Origin"] in ("*", PAGE_ORIGIN["Origin"])
    return found


# Ingest


@in_town
async def test_what_is_no_video_is_rejected_with_the_reason_in_words(system: Town, tmp_path: Path) -> None:
    letter = tmp_path / "letter.mp4"
    letter.write_bytes(b"Dear sir or madam,\n" * 4000)
    status = await judged(system, SourceTitle("letter", "A Letter", "", (), 2020), letter)
    assert (status.state, status.reason_code) == (TitleState.REJECTED, "not-media")
    assert status.reason.startswith("The file is not a video in a format that is taken here: ")


@in_town
async def test_half_a_video_is_rejected_as_truncated(system: Town, tmp_path: Path) -> None:
    half = tmp_path / "half.mp4"
    half.write_bytes(system.sources[EBB.id].read_bytes()[: system.sources[EBB.id].stat().st_size // 2])
    status = await judged(system, SourceTitle("half", "Half a Film", "", (), 2020), half)
    assert (status.state, status.reason_code) == (TitleState.REJECTED, "truncated")
    assert status.reason == "The file is truncated: the index at its end (moov) is missing"


@in_town
async def test_an_upload_of_fewer_bytes_than_announced_is_refused_and_can_be_sent_again(system: Town) -> None:
    title = SourceTitle("cut-short", "Cut Short", "", (), 2020)
    source = system.sources[EBB.id]
    sent, announced = source.read_bytes()[:100_000], source.stat().st_size
    async with system.ingest() as ingest:
        await ingest.create(title)
        refused = await half_an_upload(system, title.id, sent, announced)
        assert f"100000 of {announced} announced bytes arrived, then nothing for {UPLOAD_IDLE_S:g} s" in refused.detail
        assert (await ingest.known())[title.id].state is TitleState.CREATED
        await ingest.send(title.id, source)
        assert (await ingest.known())[title.id].state is not TitleState.CREATED
    await withdraw(system, title.id)


# Members


@in_town
async def test_a_wrong_password_is_told_as_such_and_the_right_one_works_after_it(
    system: Town, home: Home, client: httpx.AsyncClient
) -> None:
    body = msgspec.json.encode(LogIn(home.email, "not the password at all"))
    answer = await client.post(f"{system.services.auth}/v1/sessions", content=body, headers=JSON)
    found = problem(answer, ProblemCode.WRONG_PASSWORD)
    assert found.title == "The e-mail address or the password is wrong"
    await home.log_in()


@pytest.mark.parametrize("service", ["auth", "playback", "recommendation"])
@in_town
async def test_an_expired_access_token_is_401_and_says_what_to_do(
    system: Town, home: Home, client: httpx.AsyncClient, access_key: OwnKey, service: str
) -> None:
    token = sign_access(await claims(home, expires_in_s=-60), access_key)
    found = problem(await ask_as(system, client, service, home, token), ProblemCode.TOKEN_EXPIRED)
    assert found.detail == "refresh it or log in again"


@pytest.mark.parametrize("service", ["auth", "playback", "recommendation"])
@in_town
async def test_a_foreign_access_token_is_401_whatever_name_its_key_bears(
    system: Town, home: Home, client: httpx.AsyncClient, access_key: OwnKey, service: str, tmp_path: Path
) -> None:
    foreign = load_or_make(tmp_path / "foreign.key", KeyUse.MEMBER)
    disguised = OwnKey(access_key.kid, foreign.use, foreign.private)
    for key, words in ((foreign, "unknown key"), (disguised, "its signature is wrong")):
        token = sign_access(await claims(home), key)
        found = problem(await ask_as(system, client, service, home, token), ProblemCode.UNAUTHENTICATED)
        assert words in found.detail


@in_town
async def test_a_title_outside_its_region_is_neither_played_nor_shown(
    system: Town, home: Home, client: httpx.AsyncClient
) -> None:
    with pytest.raises(Refused) as refused:
        await home.member.play(SLACK.id, home.profile_id, "sofa")
    assert refused.value.problem.type == ProblemCode.NOT_IN_REGION.type_uri
    assert refused.value.problem.status == 403
    shown = await client.get(f"{system.services.catalog}/v1/titles/{SLACK.id}?region=DE")
    problem(shown, ProblemCode.NOT_IN_REGION)
    assert SLACK.id not in {title.id for title in (await home.member.titles("DE")).titles}
    assert SLACK.id in {title.id for title in (await home.member.titles("NO")).titles}


@in_town
async def test_one_stream_too_many_is_refused_with_the_names_of_those_that_run(system: Town) -> None:
    home = await system.move_in(NETWORKS[1], plan="basic")
    first = await home.member.play(SPRING.id, home.profile_id, "sofa")
    with pytest.raises(Refused) as refused:
        await home.member.play(NEAP.id, home.profile_id, "kitchen")
    found = refused.value.problem
    assert (found.status, found.type) == (403, ProblemCode.TOO_MANY_STREAMS.type_uri)
    assert found.detail == "the plan basic plays on 1 device at a time; stop one of them first"
    assert found.errors[0].startswith("sofa: playing spring-tide, last heard of ")
    assert await home.member.manifest(first.dash_url)
    await home.member.leave(first)
    await home.member.leave(await home.member.play(NEAP.id, home.profile_id, "kitchen"))


# Media


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("how", MANGLE)
@in_town
async def test_a_media_token_that_does_not_open_this_says_why(
    system: Town, client: httpx.AsyncClient, media_key: OwnKey, place: str, how: str
) -> None:
    mangle, code = MANGLE[how]
    token = jwt.sign(mangle(good_claims()), media_key.private, media_key.kid)
    assert problem(await client.get(media_url(system, place, token)), code).detail


@pytest.mark.parametrize("place", PLACES)
@in_town
async def test_a_foreign_a_forged_a_garbled_and_a_missing_media_token_are_told_apart(
    system: Town, client: httpx.AsyncClient, media_key: OwnKey, place: str, tmp_path: Path
) -> None:
    foreign = load_or_make(tmp_path / "foreign.key", KeyUse.MEDIA)
    unknown = jwt.sign(good_claims(), foreign.private, foreign.kid)
    forged = jwt.sign(good_claims(), foreign.private, media_key.kid)
    cases = {
        unknown: ProblemCode.KEY_UNKNOWN,
        forged: ProblemCode.MEDIA_TOKEN_INVALID,
        "garbled": ProblemCode.MEDIA_TOKEN_INVALID,
        None: ProblemCode.MEDIA_TOKEN_MISSING,
    }
    for token, code in cases.items():
        assert problem(await client.get(media_url(system, place, token)), code).detail


@pytest.mark.parametrize("place", PLACES)
@in_town
async def test_a_common_access_token_opens_as_much_as_a_jwt(
    system: Town, client: httpx.AsyncClient, media_key: OwnKey, place: str
) -> None:
    path = system.path_of(SPRING.id)
    for format_ in TokenFormat:
        token = codec_of(format_).sign(good_claims(), media_key.private, media_key.kid)
        answer = await client.get(media_url(system, place, token, path), headers={"Range": "bytes=0-999"})
        assert (answer.status_code, len(answer.content)) == (206, 1000)
        compare(system, path, 0, answer.content)


@in_town
async def test_a_session_that_an_operator_revokes_opens_nothing_on_any_appliance_until_it_is_restored(
    system: Town, client: httpx.AsyncClient, media_key: OwnKey
) -> None:
    claims = msgspec.structs.replace(good_claims(), session="s-shared")
    token = jwt.sign(claims, media_key.private, media_key.kid)

    async def said(place: str) -> int | str:
        answer = await client.get(media_url(system, place, token), headers={"Range": "bytes=0-9"})
        return answer.status_code if answer.status_code == 206 else answer.json()["type"].rpartition("/")[2]

    async def until_all_say(wanted: int | str) -> None:
        until = time.monotonic() + JUDGED_WITHIN_S
        while {await said(place) for place in system.appliances} != {wanted}:
            assert time.monotonic() < until, wanted
            await asyncio.sleep(0.1)

    headers = {"Authorization": f"Bearer {read_token(system.box.operator_token_file)}"}
    revocations = system.box.url("control-plane") + "/v1/revocations"
    await until_all_say(206)
    made = await client.post(revocations, headers=headers, json={"session": "s-shared", "reason": "a test"})
    assert made.status_code == 201, made.text
    await until_all_say("media-token-revoked")
    assert (await client.delete(f"{revocations}/s-shared", headers=headers)).status_code == 204
    await until_all_say(206)


@pytest.mark.parametrize("place", PLACES)
@in_town
async def test_a_file_that_nobody_published_is_404_with_a_good_token(
    system: Town, client: httpx.AsyncClient, media_key: OwnKey, place: str
) -> None:
    token = good_token(media_key)
    unknown = f"/media/{SPRING.id}/sd/v-9000.mp4"
    problem(await client.get(media_url(system, place, token, unknown)), ProblemCode.NOT_FOUND)


@pytest.mark.parametrize("place", PLACES)
@in_town
async def test_a_range_behind_the_end_is_416_and_names_the_size(
    system: Town, client: httpx.AsyncClient, media_key: OwnKey, place: str
) -> None:
    size = system.object_file(system.path_of(SPRING.id)).stat().st_size
    url = media_url(system, place, good_token(media_key), system.path_of(SPRING.id))
    answer = await client.get(url, headers={"Range": f"bytes={size}-"})
    found = problem(answer, ProblemCode.RANGE_NOT_SATISFIABLE)
    assert answer.headers["Content-Range"] == f"bytes */{size}"
    assert str(size) in found.detail
    good = await client.get(url, headers={"Range": f"bytes={size - 1000}-"})
    assert (good.status_code, len(good.content)) == (206, 1000)
    compare(system, system.path_of(SPRING.id), size - 1000, good.content)


# Settings


def test_a_configuration_with_three_mistakes_names_all_three_at_once(tmp_path: Path) -> None:
    config = tmp_path / "oca.yaml"
    config.write_text(
        f"""
        state_dir: {tmp_path / "state"}
        store: {{disks: [{{path: {tmp_path / "disk"}, quota_bytes: plenty}}]}}
        control_plane: {{url: "https://127.0.0.1:9", reprot_s: 2}}
        serving: {{workers: 0}}
        """
    )
    command = [sys.executable, "-m", "lowtide", "oca", "run", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    told = done.stdout + done.stderr
    assert "3 settings are wrong" in told
    assert "store.disks[0].quota_bytes" in told
    assert 'control_plane.reprot_s: is not a setting; did you mean "report_s"?' in told
    assert "serving.workers" in told
    assert "Traceback" not in told
    assert not (tmp_path / "state").exists()


# Afterwards


@in_town
async def test_after_all_of_this_everything_plays_and_no_process_has_written_a_traceback(
    system: Town, home: Home
) -> None:
    played = await watch(
        home.member,
        SPRING.id,
        home.profile_id,
        "sofa",
        source_address=home.address,
        rate=8.0,
        until_s=16.0,
        resume=False,
    )
    assert played.failure == ""
    assert played.checked_bytes >= played.received_bytes > 0
    assert tracebacks(system.box.root / "logs") == []


def media_url(town: Town, place: str, token: str | None, path: str = "") -> str:
    base = town.box.url("origin") if place == "origin" else f"http://{town.box.media_hosts(place)[0]}"
    prefix = f"/~{token}" if token is not None else ""
    return base + prefix + (path or town.path_of(SPRING.id))


def good_claims() -> MediaClaims:
    now = time.time()
    return MediaClaims("lowtide-playback", "s-test", f"/media/{SPRING.id}/", ("base", "sd"), now + HOUR_S, now)


def good_token(key: OwnKey) -> str:
    return jwt.sign(good_claims(), key.private, key.kid)


def _with(claims: MediaClaims, **changed: object) -> MediaClaims:
    return msgspec.structs.replace(claims, **changed)


async def claims(home: Home, expires_in_s: float = 300.0) -> AccessClaims:
    account, now = await home.member.account(), time.time()
    return AccessClaims(
        ISSUER, account.id, AUDIENCE, now + expires_in_s, now, account.plan, account.region, (home.profile_id,)
    )


async def ask_as(town: Town, client: httpx.AsyncClient, service: str, home: Home, token: str) -> httpx.Response:
    """A request that wants a member, at one of the services that do."""
    headers = {"Authorization": f"Bearer {token}", **JSON}
    if service == "auth":
        return await client.get(f"{town.services.auth}/v1/account", headers=headers)
    if service == "recommendation":
        return await client.get(f"{town.services.recommendation}/v1/home?profile_id={home.profile_id}", headers=headers)
    body = msgspec.json.encode(PlayRequest(SPRING.id, home.profile_id, "sofa"))
    return await client.post(f"{town.services.playback}/v1/play", content=body, headers=headers)


async def judged(town: Town, title: SourceTitle, file: Path) -> TitleStatus:
    """Uploads a source and gives what the origin makes of it."""
    async with town.ingest() as ingest, asyncio.timeout(JUDGED_WITHIN_S):
        await ingest.upload(title, file)
        while (status := (await ingest.known())[title.id]).state is TitleState.UPLOADED:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        return status


async def half_an_upload(town: Town, title_id: str, sent: bytes, announced: int) -> Problem:
    """Announces more than it sends, then falls silent with the connection open. Gives the refusal."""
    url = httpx.URL(town.box.url("origin"))
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        head = (
            f"PUT /v1/titles/{title_id}/source HTTP/1.1\r\nHost: {url.host}:{url.port}\r\n"
            f"Authorization: Bearer {read_token(town.box.operator_token_file)}\r\nContent-Length: {announced}\r\n\r\n"
        )
        writer.write(head.encode() + sent)
        await writer.drain()
        async with asyncio.timeout(UPLOAD_IDLE_S + 10):
            answer = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(
                int(line.split(":")[1]) for line in answer.splitlines() if line.lower().startswith("content-length")
            )
            body = await reader.readexactly(length)
    finally:
        writer.close()
    assert answer.startswith("HTTP/1.1 400 "), answer
    assert f"\r\ncontent-type: {CONTENT_TYPE}" in answer.lower()
    found = msgspec.json.decode(body, type=Problem)
    assert found.type == ProblemCode.UPLOAD_TRUNCATED.type_uri
    return found


async def withdraw(town: Town, title_id: str) -> None:
    """Takes a title back, so that nobody encodes it while others are measured."""
    headers = {"Authorization": f"Bearer {read_token(town.box.operator_token_file)}"}
    async with httpx.AsyncClient(base_url=town.box.url("origin"), headers=headers) as client:
        assert (await client.delete(f"/v1/titles/{title_id}")).status_code == 202
