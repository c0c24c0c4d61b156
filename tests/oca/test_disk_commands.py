"""`lowtide oca disk …` as an operator types and reads it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from oca.cli import app
from oca.disk_cli import disk_words, parse_bytes
from oca.link.files import DiskStatus, KeeperStatus


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1048576", 1 << 20),
        ("900G", 900 << 30),
        ("4T", 4 << 40),
        ("1.5 TiB", 3 << 39),
        ("64MB", 64 << 20),
        ("7 x", None),
    ],
)
def test_sizes_are_read_as_disks_tools_say_them(text: str, size: int | None) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    ("disk", "words"),
    [
        (DiskStatus(0, "/a", "cold", "takes part"), "takes part"),
        (DiskStatus(0, "/a", "cold", "takes part", read_only=True), "takes part, READ-ONLY"),
        (DiskStatus(0, "/a", "cold", "draining", left_bytes=3 << 30), "draining, 3.0 GiB left to move"),
        (DiskStatus(0, "/a", "cold", "out", "sync failed: EIO"), "OUT: sync failed: EIO"),
    ],
)
def test_how_a_disk_is_is_said_in_words(disk: DiskStatus, words: str) -> None:
    assert disk_words(disk) == words


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "oca.yaml"
    path.write_text(
        f"state_dir: {tmp_path / 'state'}\n"
        f"store: {{disks: [{{path: {tmp_path / 'disk'}, quota_bytes: 1048576}}]}}\n"
        "control_plane: {url: 'https://127.0.0.1:1'}\n"
    )
    return path


def test_the_list_names_every_disk_and_fails_when_one_is_out(config: Path, tmp_path: Path) -> None:
    run = tmp_path / "state" / "run"
    run.mkdir(parents=True)
    disks = (DiskStatus(0, "/a", "hot", "takes part"), DiskStatus(1, "/b", "cold", "out", "gone"))
    for found, code in ((disks[:1], 0), (disks, 1)):
        (run / "keeper.json").write_bytes(msgspec.json.encode(KeeperStatus(disks=found)))
        result = CliRunner().invoke(app, ["disk", "list", "--json", "--config", str(config)])
        assert result.exit_code == code, result.output
        assert [disk["path"] for disk in msgspec.json.decode(result.stdout)] == [disk.path for disk in found]


def test_without_a_running_appliance_an_order_says_so(config: Path) -> None:
    result = CliRunner().invoke(app, ["disk", "drain", "0", "--config", str(config)])
    assert result.exit_code == 1
    assert "No appliance" in result.output


def test_a_quota_that_is_no_size_is_refused(config: Path) -> None:
    result = CliRunner().invoke(app, ["disk", "add", "/x", "--quota", "much", "--config", str(config)])
    assert result.exit_code == 2
    assert "900G" in result.output
