"""`lowtide control-plane …`: what operators type, against a running control plane."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from chassis.errors import ServiceError
from contracts.enrolment import split_code
from contracts.keys import KeySet, KeyUse, PublicKey
from contracts.places import Appliance, ApplianceState
from contracts.reports import ReportAnswer
from control_plane.cli import app, usual_cluster
from fill_planner.cli import app as planner
from tests.control_plane.plane import ORIGIN, Plane, report, title


async def typed(plane: Plane, *words: str) -> Result:
    """The command's outcome; it has an event loop of its own. The control plane's log lines may stand before its words."""
    token = plane.settings.state_dir / "operator.token"
    environ = {"LOWTIDE_CONTROL_PLANE_URL": plane.urls["http"], "LOWTIDE_OPERATOR_TOKEN_FILE": str(token)}
    return await told(app, *words, environ=environ)


async def told(what: typer.Typer, *words: str, environ: dict[str, str] | None = None) -> Result:
    return await asyncio.to_thread(lambda: CliRunner().invoke(what, words, env=environ))


def box(box_id: str, site: str, cluster: str) -> Appliance:
    return Appliance(box_id, site, cluster, ApplianceState.LIVE)


def test_an_appliance_joins_the_cluster_of_its_site_unless_there_are_several() -> None:
    found = [box("a1", "a", "a-main"), box("a2", "a", "a-main"), box("b1", "b", "one"), box("b2", "b", "two")]
    assert usual_cluster(found, "a3", "a") == "a-main"
    assert usual_cluster(found, "b2", "b") == "two", "a change of registration keeps it where it is"
    assert usual_cluster(found, "b3", "b") == "b"
    assert usual_cluster(found, "c1", "c") == "c"


async def test_a_site_document_with_words_that_nobody_knows_changes_nothing_and_names_them_all(
    plane: Plane, tmp_path: Path
) -> None:
    file = tmp_path / "site.yaml"
    good = "id: harbour\nname: Harbour\nisp: Example Net\nregion: DE\nprefixes: [{cidr: 81.2.0.0/16}]\n"
    file.write_text(good + 'windows: {start: "02:00"}\nwindow: {start: "03:00", rate: 7}\n')
    refused = await typed(plane, "sites", "put", str(file))
    assert refused.exit_code == 2
    assert "windows: nothing is known by this name" in refused.stderr
    assert "window.rate: nothing is known by this name" in refused.stderr
    file.write_text(good + 'window: {start: "03:00", end: "05:00", timezone: Europe/Berlin}\n')
    assert (await typed(plane, "sites", "put", str(file))).exit_code == 0


async def test_an_operator_installs_an_appliance_and_retires_it(plane: Plane) -> None:
    await plane.add_site("a")
    put = await typed(plane, "appliances", "put", "a1", "--site", "a")
    assert put.stdout.endswith("appliance a1 at site a, cluster a, is enrolling\n")
    code = await typed(plane, "codes", "make", "appliance", "a1")
    assert split_code(code.stdout.splitlines()[-1])
    overview = await typed(plane, "overview")
    (line,) = (line for line in overview.stdout.splitlines() if line.split()[:1] == ["a1"])
    assert line.split()[:4] == ["a1", "a", "enrolling", "–"], line
    assert "a: nothing served yet" in overview.stdout
    retired = await typed(plane, "appliances", "state", "a1", "retired", "--reason", "test")
    assert retired.stdout.endswith("appliance a1 is retired\n")
    gone = await typed(plane, "appliances", "delete", "a1")
    assert gone.exit_code == 0
    assert gone.stdout.endswith("appliance a1 is gone\n")


async def test_a_pipe_gets_whole_addresses(plane: Plane) -> None:
    await plane.add_site("a")
    caller = await plane.add_box("a1")
    url = "https://an-appliance-with-a-rather-long-name.cache.an-isp-with-a-long-name.example:8443"
    await caller.post("/v1/appliance/report", report(peer_url=url, player_urls=(url,)), ReportAnswer)
    found = await typed(plane, "appliances", "list")
    assert found.stdout.count(url) == 2


async def test_refusals_are_one_line_on_stderr_each(plane: Plane) -> None:
    refused = await typed(plane, "appliances", "put", "a1", "--site", "nowhere")
    assert refused.exit_code == 1
    assert refused.stderr.endswith("answered 422: site_id: there is no site 'nowhere'\n")
    assert refused.stderr.count("\n") == 1


async def test_a_snapshot_of_the_record_is_what_the_planner_explains(plane: Plane, tmp_path: Path) -> None:
    await plane.add_site("a")
    caller = await plane.add_box("a1")
    origin = await plane.service_caller("origin")
    await origin.put("/v1/origin", ORIGIN)
    await origin.put("/v1/titles/sea", title("sea"))
    await caller.post("/v1/appliance/report", report(), ReportAnswer)
    file = tmp_path / "snapshot.json"
    saved = await typed(plane, "plan", "snapshot", str(file))
    assert saved.stdout.endswith(f"{file}: 2 files, 1 appliances, 1 sites\n")
    offline = await told(planner, "explain", str(file), "--key", "sea/hd/v-360.mp4")
    made = await typed(plane, "plan", "make")
    online = await typed(plane, "explain", "/media/sea/hd/v-360.mp4", "--site", "a")
    assert (offline.exit_code, made.exit_code, online.exit_code) == (0, 0, 0), made.stderr + online.stderr
    assert online.stdout.splitlines()[0] in offline.stdout
    token = plane.settings.state_dir / "operator.token"
    environ = {"LOWTIDE_CONTROL_PLANE_URL": plane.urls["http"], "LOWTIDE_OPERATOR_TOKEN_FILE": str(token)}
    asked = await told(planner, "explain", "/media/sea/hd/v-360.mp4", "--site", "a", environ=environ)
    assert asked.stdout == online.stdout
    assert "since plan 1: 0 bytes served, 0 bytes filled" in asked.stdout
    siteless = await told(planner, "explain", "/media/sea/hd/v-360.mp4", environ=environ)
    assert (siteless.exit_code, "say --site" in siteless.stderr) == (2, True)
    elsewhere = await told(planner, "explain", "/media/sea/hd/v-360.mp4", "--site", "zz", environ=environ)
    assert (elsewhere.exit_code, "zz" in elsewhere.stderr) == (1, True)


async def test_an_operator_revokes_a_session_looks_and_takes_it_back(plane: Plane) -> None:
    made = await typed(plane, "sessions", "revoke", "s/1", "--valid-s", "60", "--reason", "shared")
    assert made.exit_code == 0, made.stderr
    assert "session s/1 is revoked until 20" in made.stdout
    listed = await typed(plane, "sessions", "revoked")
    (line,) = (line for line in listed.stdout.splitlines() if line.split()[:1] == ["s/1"])
    assert line.split()[-1] == "shared"
    assert (await typed(plane, "sessions", "restore", "s/1")).exit_code == 0
    again = await typed(plane, "sessions", "restore", "s/1")
    assert again.exit_code == 1
    assert "there is no revoked session 's/1'" in again.stderr


async def test_an_operator_ends_a_key_and_its_owner_cannot_undo_it(plane: Plane) -> None:
    playback = await plane.service_caller("playback")
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    media = PublicKey("media-1", KeyUse.MEDIA, "EdDSA", jwk)
    number = (await playback.put("/v1/keys/media-1", media, KeySet)).number
    ended = await typed(plane, "keys", "end", "media-1", "--in-s", "3600")
    assert ended.exit_code == 0, ended.stderr
    listed = await typed(plane, "keys", "list")
    (line,) = (line for line in listed.stdout.splitlines() if line.split()[:1] == ["media-1"])
    assert line.split()[1:3] == ["media", "EdDSA"]
    found = await playback.get("/v1/keys", KeySet)
    assert found.number == number + 1
    at = found.of(KeyUse.MEDIA)["media-1"].not_after
    assert at is not None
    with pytest.raises(ServiceError, match="never moves away"):
        await playback.put("/v1/keys/media-1", media, KeySet)
    assert (await typed(plane, "keys", "end", "media-1", "--in-s", "7200")).exit_code == 0, "the sooner end stays"
    assert (await playback.get("/v1/keys", KeySet)).of(KeyUse.MEDIA)["media-1"].not_after == at
    assert (await typed(plane, "keys", "end", "media-1")).exit_code == 0
    assert (await playback.get("/v1/keys", KeySet)).of(KeyUse.MEDIA) == {}
    gone = await typed(plane, "keys", "end", "media-1")
    assert gone.exit_code == 1
    (own,) = (await playback.get("/v1/keys", KeySet)).of(KeyUse.DIGESTS)
    refused = await typed(plane, "keys", "end", own)
    assert refused.exit_code == 1
    assert "the control plane's own" in refused.stderr
    wrong = await typed(plane, "keys", "end", own, "--in-s", "-1")
    assert wrong.exit_code == 1
