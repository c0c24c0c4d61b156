"""Who gets in by which door: codes, certificates, tokens; and that every refusal is a problem."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path

import aiohttp
import httpx
import msgspec
import pytest

from chassis.certificates import expires_at, make_csr, make_key, san_uris
from chassis.client import ServiceClient
from chassis.errors import ServiceError
from contracts.digests import FileDigests, SignedDigests
from contracts.enrolment import EnrolAnswer, EnrolRequest, PeerKind, san_uri, split_code
from contracts.keys import KeySet, KeyUse, PublicKey
from contracts.overview import AuditList
from contracts.places import Appliance, ApplianceState, Site, SiteList, StateChange
from contracts.plans import Upstreams
from contracts.problems import CONTENT_TYPE, ProblemCode
from contracts.reports import ReportAnswer
from control_plane.authority import Authority
from tests.control_plane.plane import ORIGIN, Plane, foreign_request, report, running, title


async def refused(call: Awaitable[object]) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await call
    assert caught.value.problem is not None, "a refusal is a problem"
    return caught.value


# --- enrolment


async def test_a_good_code_gives_a_certificate_of_the_name_it_was_made_for(plane: Plane) -> None:
    files = await plane.enrolled(PeerKind.SERVICE, "steering")
    pem = files.certificate.read_text()
    assert san_uris(pem) == (san_uri(PeerKind.SERVICE, "steering"),)
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    assert await plane.caller(files).get("/v1/keys", KeySet)


async def test_a_code_works_once(plane: Plane) -> None:
    code = await plane.code(PeerKind.SERVICE, "steering")
    assert await plane.nobody.post("/v1/enrol", foreign_request(code), EnrolAnswer)
    error = await refused(plane.nobody.post("/v1/enrol", foreign_request(code), EnrolAnswer))
    assert error.code is ProblemCode.ENROLMENT_CODE_INVALID


async def test_of_many_who_use_one_code_at_once_exactly_one_gets_in(plane: Plane) -> None:
    code = await plane.code(PeerKind.SERVICE, "steering")
    calls = [plane.nobody.post("/v1/enrol", foreign_request(code), EnrolAnswer) for _ in range(8)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(answer, EnrolAnswer) for answer in answers) == 1


async def test_a_code_expires(plane: Plane) -> None:
    code = await plane.code(PeerKind.SERVICE, "steering", valid_s=0.001)
    error = await refused(plane.nobody.post("/v1/enrol", foreign_request(code), EnrolAnswer))
    assert error.code is ProblemCode.ENROLMENT_CODE_INVALID


async def test_a_wrong_secret_is_refused_and_the_right_one_still_works(plane: Plane) -> None:
    code = await plane.code(PeerKind.SERVICE, "steering")
    wrong = replace_secret(foreign_request(code), "A" * 26)
    error = await refused(plane.nobody.post("/v1/enrol", wrong, EnrolAnswer))
    assert error.status == 403
    assert await plane.nobody.post("/v1/enrol", foreign_request(code), EnrolAnswer)


def replace_secret(request: EnrolRequest, secret: str) -> EnrolRequest:
    return msgspec.structs.replace(request, secret=secret)


async def test_a_broken_signing_request_does_not_use_up_the_code(plane: Plane) -> None:
    code = await plane.code(PeerKind.SERVICE, "steering")
    broken = EnrolRequest(split_code(code)[0], "-----BEGIN CERTIFICATE REQUEST-----\nnope")
    assert (await refused(plane.nobody.post("/v1/enrol", broken, EnrolAnswer))).status == 400
    assert await plane.nobody.post("/v1/enrol", foreign_request(code), EnrolAnswer)


async def test_a_request_cannot_choose_another_name(plane: Plane) -> None:
    code = await plane.code(PeerKind.SERVICE, "steering")
    greedy = EnrolRequest(split_code(code)[0], make_csr(make_key(), san_uri(PeerKind.SERVICE, "origin")))
    answer = await plane.nobody.post("/v1/enrol", greedy, EnrolAnswer)
    assert san_uris(answer.certificate_pem) == ("lowtide://service/steering",)


async def test_a_code_for_an_appliance_nobody_registered_is_not_made(plane: Plane) -> None:
    assert (await refused(plane.code(PeerKind.APPLIANCE, "ghost"))).status == 404


async def test_secrets_are_not_in_the_database(plane: Plane) -> None:
    code = await plane.code(PeerKind.SERVICE, "steering")
    folder = plane.settings.state_dir
    written = b"".join(path.read_bytes() for path in folder.glob("control_plane.sqlite*"))
    assert split_code(code)[0].encode() not in written
    assert plane.token.encode() not in written


# --- identities


async def test_without_a_certificate_only_the_ca_and_enrolment_are_open(plane: Plane) -> None:
    for path in ("/v1/keys", "/v1/appliance/plan", "/v1/upstreams", "/v1/changes", "/v1/digests?key=x"):
        error = await refused(plane.nobody.get(path))
        assert error.code is ProblemCode.CERTIFICATE_REQUIRED, path


async def test_an_appliance_calls_no_route_of_services_and_a_service_none_of_appliances(plane: Plane) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    service = await plane.service_caller("origin")
    for call in (
        box.put("/v1/titles/sea", title()),
        box.put("/v1/origin", ORIGIN),
        box.get("/v1/changes"),
        box.put("/v1/keys/k", PublicKey("k", KeyUse.MEDIA, "ES256", {})),
        service.post("/v1/appliance/report", report(), ReportAnswer),
        service.get("/v1/appliance/plan"),
        service.get("/v1/upstreams", Upstreams),
    ):
        assert (await refused(call)).code is ProblemCode.FORBIDDEN


async def test_only_the_origin_publishes_titles_and_only_playback_media_keys(plane: Plane) -> None:
    steering = await plane.service_caller("steering")
    assert (await refused(steering.put("/v1/titles/sea", title()))).code is ProblemCode.FORBIDDEN
    key = Authority.open(plane.folder / "other", ("x",), 0.0, 1.0).digests_key
    media = PublicKey("media-1", KeyUse.MEDIA, "ES256", key.jwk)
    assert (await refused(steering.put("/v1/keys/media-1", media))).code is ProblemCode.FORBIDDEN
    playback = await plane.service_caller("playback")
    before = (await playback.get("/v1/keys", KeySet)).number
    after = await playback.put("/v1/keys/media-1", media, KeySet)
    assert after.of(KeyUse.MEDIA) == {"media-1": media}
    assert after.number == before + 1
    assert (await playback.put("/v1/keys/media-1", media, KeySet)).number == after.number
    forged = PublicKey("digests-x", KeyUse.DIGESTS, "ES256", key.jwk)
    assert (await refused(playback.put("/v1/keys/digests-x", forged))).code is ProblemCode.FORBIDDEN


async def test_a_private_key_is_never_published(plane: Plane) -> None:
    playback = await plane.service_caller("playback")
    leaking = PublicKey("k", KeyUse.MEDIA, "ES256", {"kty": "EC", "crv": "P-256", "x": "a", "y": "b", "d": "c"})
    error = await refused(playback.put("/v1/keys/k", leaking))
    assert error.code is ProblemCode.UNPROCESSABLE
    assert "private" in str(error)


async def test_a_certificate_of_another_ca_is_refused_by_the_handshake(plane: Plane, tmp_path: Path) -> None:
    other = Authority.open(tmp_path / "foreign", ("127.0.0.1",), 1_700_000_000.0, 3650.0)
    await plane.enrolled(PeerKind.SERVICE, "steering")
    files = replace(other.server_files, ca=plane.settings.state_dir / "ca.pem")
    with pytest.raises(ServiceError) as caught:
        await plane.caller(files).get("/v1/keys", KeySet)
    assert caught.value.status == 502


async def test_a_retired_appliance_and_a_superseded_certificate_open_nothing(plane: Plane) -> None:
    await plane.add_site()
    first = await plane.add_box("a1")
    assert await first.post("/v1/appliance/report", report(), ReportAnswer)
    second = plane.caller(await plane.enrolled(PeerKind.APPLIANCE, "a1"))
    assert await second.get("/v1/upstreams", Upstreams)
    assert "enrolled again" in str(await refused(first.get("/v1/upstreams", Upstreams)))
    for state in (ApplianceState.DRAINING, ApplianceState.DRAINED, ApplianceState.RETIRED):
        await plane.operator.post("/v1/appliances/a1/state", StateChange(state), Appliance)
    assert (await refused(second.get("/v1/keys", KeySet))).code is ProblemCode.FORBIDDEN
    await plane.operator.delete("/v1/appliances/a1")
    assert (await refused(second.get("/v1/keys", KeySet))).code is ProblemCode.FORBIDDEN


async def test_operators_need_their_token(plane: Plane) -> None:
    for bearer in (None, "wrong"):
        async with ServiceClient(plane.urls["http"], bearer=bearer) as client:
            error = await refused(client.get("/v1/overview"))
            assert error.code is ProblemCode.UNAUTHENTICATED
    assert stat.S_IMODE((plane.settings.state_dir / "operator.token").stat().st_mode) == 0o600
    assert stat.S_IMODE((plane.settings.state_dir / "ca.key").stat().st_mode) == 0o600


# --- problems and documents


async def test_every_error_is_a_problem_with_its_status(plane: Plane) -> None:
    headers = {"Authorization": f"Bearer {plane.token}"}
    async with httpx.AsyncClient(base_url=plane.urls["http"], headers=headers) as client:
        answers = [
            (await client.get("/nowhere"), 404),
            (await client.post("/v1/overview"), 405),
            (await client.get("/v1/sites/x"), 404),
            (await client.put("/v1/sites/x", content=b"{"), 415),
            (await client.put("/v1/sites/x", content=b"{", headers={"Content-Type": "application/json"}), 400),
            (await client.put("/v1/sites/x", json={"id": 5}), 400),
            (await client.get("/v1/files?limit=many"), 400),
            (await client.get("/v1/plans/latest"), 404),
            (await client.get("/v1/plans/latest/explain"), 400),
            (await client.get("/v1/plans/latest/explain?key=k&site=s"), 404),
            (await client.post("/v1/plans"), 409),
            (await client.post("/v1/sites/x/traffic", json={"traffic": []}), 404),
            (await client.post("/v1/enrolment-codes", json={"kind": "appliance", "name": "A B"}), 422),
            (await client.get("/web/../control_plane/app.py"), 404),
            (await client.get("/web/operator/%2e%2e/%2e%2e/setup.cfg"), 404),
        ]
    for answer, status in answers:
        assert answer.status_code == status, answer.text
        assert answer.headers["Content-Type"].startswith(CONTENT_TYPE), answer.url
        assert answer.json()["status"] == status


async def test_everything_that_is_wrong_with_a_site_is_told_at_once(plane: Plane) -> None:
    wrong = {
        "id": "A!",
        "name": "x",
        "isp": "x",
        "region": "DE",
        "prefixes": [{"cidr": "10.0.0.1/8"}],
        "latitude": 91,
        "window": {"start": "25:00", "timezone": "Nowhere"},
    }
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {plane.token}"}) as client:
        answer = await client.put(f"{plane.urls['http']}/v1/sites/a", json=wrong)
    assert answer.status_code == 422
    fields = [line.partition(":")[0] for line in answer.json()["errors"]]
    assert fields == ["id", "prefixes[0].cidr", "latitude", "window.start", "window.timezone"]


@pytest.mark.parametrize("door", ["http", "mtls"])
async def test_the_openapi_document_of_each_door_names_its_routes_and_resolves_its_references(
    plane: Plane, door: str
) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(plane.urls[door] + "/openapi.json", ssl=plane.ca_only) as answer:
            document = await answer.json()
    assert document["openapi"] == "3.1.0"
    wanted = {"http": "/v1/overview", "mtls": "/v1/appliance/report"}[door]
    assert wanted in document["paths"]
    assert ("/v1/enrol" in document["paths"]) == (door == "mtls")
    references = [value for name, value in walk(document) if name == "$ref"]
    assert references
    for reference in references:
        place = document
        for part in str(reference).removeprefix("#/").split("/"):
            place = place[part]
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    schemes = document["components"]["securitySchemes"]
    assert all(name in schemes for item in operations for need in item.get("security", ()) for name in need)
    assert all("default" in operation["responses"] for operation in operations)


def walk(value: object) -> list[tuple[str, object]]:
    if isinstance(value, dict):
        return [pair for name, part in value.items() for pair in [(name, part), *walk(part)]]
    return [pair for part in value for pair in walk(part)] if isinstance(value, list) else []


async def test_each_change_of_an_operator_is_in_the_audit_log(plane: Plane) -> None:
    await plane.add_site()
    await plane.add_box("a1")
    await refused(plane.operator.delete("/v1/sites/a"))
    entries = (await plane.operator.get("/v1/audit", AuditList)).entries
    assert [(entry.action, entry.subject) for entry in entries] == [
        ("make-code", "appliance/a1"),
        ("put-appliance", "a1"),
        ("put-site", "a"),
    ]
    assert msgspec.json.decode(entries[-1].detail, type=Site).id == "a"


async def test_a_site_with_appliances_is_not_deleted_and_an_empty_one_is(plane: Plane) -> None:
    await plane.add_site()
    await plane.add_box("a1")
    assert (await refused(plane.operator.delete("/v1/sites/a"))).code is ProblemCode.CONFLICT
    await plane.operator.post("/v1/appliances/a1/state", StateChange(ApplianceState.RETIRED), Appliance)
    await plane.operator.delete("/v1/appliances/a1")
    await plane.operator.delete("/v1/sites/a")
    assert (await plane.operator.get("/v1/sites", SiteList)).sites == ()


# --- digests


async def test_digests_come_signed_with_the_published_key_and_are_signed_once(plane: Plane) -> None:
    origin = await plane.service_caller("origin")
    sea = title()
    await origin.put("/v1/titles/sea", sea)
    file = sea.files[0]
    signed = await origin.get("/v1/digests", SignedDigests, query={"key": file.key})
    keys = (await origin.get("/v1/keys", KeySet)).of(KeyUse.DIGESTS)
    assert verified(signed.jws, keys) == file.digests
    assert (await origin.get("/v1/digests", SignedDigests, query={"key": file.key})) == signed
    assert (await refused(origin.get("/v1/digests", SignedDigests, query={"key": "vod|/no"}))).status == 404


def verified(text: str, keys: dict[str, PublicKey]) -> FileDigests:
    from joserfc import jws
    from joserfc.jwk import ECKey

    found = jws.extract_compact(text.encode())
    key = ECKey.import_key(dict(keys[str(found.headers()["kid"])].jwk))
    return msgspec.json.decode(jws.deserialize_compact(text, key, algorithms=["ES256"]).payload, type=FileDigests)


async def test_published_bytes_never_change_under_their_address(plane: Plane) -> None:
    origin = await plane.service_caller("origin")
    await origin.put("/v1/titles/sea", title())
    await origin.put("/v1/titles/sea", title())
    assert (await refused(origin.put("/v1/titles/sea", title(seed=b"y")))).code is ProblemCode.CONFLICT
    await origin.delete("/v1/titles/sea")
    await origin.put("/v1/titles/sea", title(seed=b"y"))
    assert (await refused(origin.delete("/v1/titles/other"))).status == 404


async def test_a_title_that_contradicts_itself_is_refused_with_every_reason(plane: Plane) -> None:
    origin = await plane.service_caller("origin")
    sea = title()
    other = msgspec.structs.replace(sea.files[0], path="/media/land/hd/v-360.mp4")
    short = msgspec.structs.replace(sea.files[1], size_bytes=501)
    error = await refused(origin.put("/v1/titles/sea", msgspec.structs.replace(sea, files=(other, short))))
    assert error.code is ProblemCode.UNPROCESSABLE
    assert error.problem is not None
    assert [line.partition(":")[0] for line in error.problem.errors] == ["files[0].path", "files[1].digests"]


# --- a second life


async def test_a_restart_keeps_ca_token_keys_and_certificates(tmp_path: Path) -> None:
    async with running(tmp_path) as plane:
        files = await plane.enrolled(PeerKind.SERVICE, "playback")
        token, keys = plane.token, await plane.caller(files).get("/v1/keys", KeySet)
        ca = (plane.settings.state_dir / "ca.pem").read_text()
    async with running(tmp_path) as plane:
        assert plane.token == token
        assert (plane.settings.state_dir / "ca.pem").read_text() == ca
        assert await plane.caller(files).get("/v1/keys", KeySet) == keys


def test_the_listeners_certificate_is_made_anew_for_other_names_and_before_it_expires(tmp_path: Path) -> None:
    first = Authority.open(tmp_path, ("127.0.0.1",), 0.0, 90.0).server_files.certificate
    pem = first.read_text()
    Authority.open(tmp_path, ("127.0.0.1",), 59 * 86400.0, 90.0)
    assert first.read_text() == pem
    Authority.open(tmp_path, ("127.0.0.1",), 61 * 86400.0, 90.0)
    renewed = first.read_text()
    assert expires_at(renewed) > expires_at(pem)
    Authority.open(tmp_path, ("127.0.0.1", "cp.example"), 61 * 86400.0, 90.0)
    assert first.read_text() != renewed
