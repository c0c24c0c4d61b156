"""The keeper's task over a scripted daemon and a scripted control plane; the command that shows what it wrote."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import yaml
from typer.testing import CliRunner

from chassis.clock import VirtualClock
from chassis.errors import Retry, ServiceError, Source
from contracts.routes import Route, RouteAnswer, RouteReport
from oca.cli import app
from oca.config import BgpSession, Routes
from oca.routes.following import STATUS_FILE, RouteFollowing, sessions_of
from oca.routes.table import Heard, RoutesStatus, RoutesUnreadable

SETTINGS = Routes("bird", 64600, "", (BgpSession("r1", "192.0.2.1", 64500, "192.0.2.2"),), look_s=2.0)
ROUTES = {"81.2.0.0/16": Route("81.2.0.0/16", (64500,))}
UP = Heard("r1", True, ROUTES, "192.0.2.1", 64500)


class Script:
    """Daemon and control plane at once."""

    def __init__(self, folder: Path) -> None:
        self.says: Heard | RoutesUnreadable = UP
        self.is_away = False
        self.reports: list[RouteReport] = []
        self.folder = folder
        self.following = RouteFollowing(SETTINGS, folder, self, self.tell, "boot", VirtualClock())

    async def heard(self) -> tuple[Heard, ...]:
        if isinstance(self.says, RoutesUnreadable):
            raise self.says
        return (self.says,)

    async def close(self) -> None:
        pass

    async def tell(self, report: RouteReport) -> RouteAnswer:
        if self.is_away:
            raise ServiceError("away", source=Source.UPSTREAM, retry=Retry.YES, status=502)
        self.reports.append(report)
        return RouteAnswer()

    @property
    def status(self) -> RoutesStatus:
        return msgspec.json.decode((self.folder / STATUS_FILE).read_bytes(), type=RoutesStatus)


async def test_what_is_heard_is_told_once_and_shown(tmp_path: Path) -> None:
    it = Script(tmp_path)
    for _ in range(3):
        await it.following.look()
    assert [report.up for report in it.reports] == [True]
    (row,) = it.status.sessions
    assert (row.up, row.routes, row.told, it.status.problem) == (True, 1, 1, "")


async def test_a_daemon_that_cannot_be_read_is_a_session_that_is_down_with_its_words(tmp_path: Path) -> None:
    it = Script(tmp_path)
    await it.following.look()
    it.says = RoutesUnreadable("BIRD at /x: No such file")
    for _ in range(2):
        await it.following.look()
    assert [(report.up, report.detail) for report in it.reports] == [(True, ""), (False, "BIRD at /x: No such file")]
    assert it.status.problem == "BIRD at /x: No such file"
    it.says = UP
    await it.following.look()
    assert (it.reports[-1].up, it.reports[-1].after) == (True, "")


async def test_a_control_plane_that_is_away_is_told_when_it_is_back(tmp_path: Path) -> None:
    it = Script(tmp_path)
    it.is_away = True
    for _ in range(3):
        await it.following.look()
    assert it.status.sessions[0].told == 0
    it.is_away = False
    await it.following.look()
    assert [len(report.announced) for report in it.reports] == [1]


async def test_a_bird_that_is_not_there_is_said_so_in_words(tmp_path: Path) -> None:
    socket = str(tmp_path / "none")
    sessions = sessions_of(replace(SETTINGS, bird_socket=socket), tmp_path)
    assert sessions is not None
    with pytest.raises(RoutesUnreadable, match=r"BIRD at .*none: No such file"):
        await sessions.heard()
    assert sessions_of(Routes(), tmp_path) is None


def configured(folder: Path, **routes: object) -> list[str]:
    session = {"name": "r1", "peer": "192.0.2.1", "peer_as": 64500, "local": "192.0.2.2", "password": "s3cret"}
    config = {
        "state_dir": str(folder),
        "store": {"disks": [{"path": str(folder / "disk"), "quota_bytes": 1 << 30}]},
        "control_plane": {"url": "https://127.0.0.1:1"},
        "routes": {"daemon": "bird", "local_as": 64600, "sessions": [session], **routes},
    }
    (folder / "oca.yaml").write_text(yaml.safe_dump(config))
    return ["--config", str(folder / "oca.yaml")]


def test_the_command_shows_every_session_and_is_content_only_when_all_are_up(tmp_path: Path) -> None:
    runner, options = CliRunner(), configured(tmp_path)
    assert runner.invoke(app, ["routes", *options]).exit_code == 1
    row = {"name": "r1", "up": True, "peer": "192.0.2.1", "peer_as": 64500, "routes": 3, "told": 3}
    path = tmp_path / STATUS_FILE
    path.parent.mkdir()
    for is_up, age_s, code in ((True, 0, 0), (False, 0, 1), (True, 3600, 1)):
        status = {
            "written_at": time.time() - age_s,
            "daemon": "bird",
            "sessions": [{**row, "up": is_up, "detail": "reset"}],
        }
        path.write_bytes(msgspec.json.encode(status))
        result = runner.invoke(app, ["routes", *options])
        assert (result.exit_code, "AS 64500" in result.stdout) == (code, True)
    none = configured(tmp_path, daemon="none")
    assert "no BGP sessions" in runner.invoke(app, ["routes", *none]).stdout


def test_the_command_writes_configurations_that_only_the_owner_and_its_group_read(tmp_path: Path) -> None:
    runner, options = CliRunner(), configured(tmp_path)
    bird, exabgp = tmp_path / "bird.conf", tmp_path / "exabgp.conf"
    result = runner.invoke(app, ["routes", *options, "--write-bird", str(bird), "--write-exabgp", str(exabgp)])
    assert result.exit_code == 0, result.stderr
    assert "protocol bgp r1" in bird.read_text()
    assert f"oca.routes.forward {tmp_path}/run/exabgp.sock" in exabgp.read_text()
    assert [path.stat().st_mode & 0o137 for path in (bird, exabgp)] == [0, 0]
