"""`lowtide oca log`: following and converting from the command line."""

from __future__ import annotations

from pathlib import Path

import duckdb
import msgspec
import pytest
from typer.testing import CliRunner

from oca.cli import app
from oca.link.records import Record
from oca.logger.lines import encode_lines, line_of
from oca.logger.rotation import CURRENT

RECORD = Record(
    b"p192.0.2.0/24", 1763717676.25, 1763717676.5, b"GET", 206, "hit", b"/media/t1/hd/v.mp4", b"", "s1", 0, 10, 0
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings of an appliance with three lines in its log."""
    path = tmp_path / "oca.yaml"
    path.write_text(
        f"state_dir: {tmp_path}/state\n"
        f"store: {{disks: [{{path: {tmp_path}/disk, quota_bytes: 67108864}}]}}\n"
        "control_plane: {url: 'https://127.0.0.1:1'}\n"
    )
    (tmp_path / "state" / "logs").mkdir(parents=True)
    records = [
        RECORD,
        msgspec.structs.replace(RECORD, session="s2", finished_at=1763717678.25),
        msgspec.structs.replace(RECORD, status=403, outcome="token-expired", session=""),
    ]
    lines = encode_lines([line_of(0, record) for record in records])
    (tmp_path / "state" / "logs" / CURRENT).write_bytes(lines + b"no line of a log\n")
    return path


def shown(config: Path, *options: str) -> list[str]:
    done = CliRunner().invoke(app, ["log", "follow", "--config", str(config), "--once", *options])
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def test_follow_shows_lines_for_people(config: Path) -> None:
    first, second, third = shown(config)
    assert first == "09:34:36.250 192.0.2.0/24       GET t1/hd/v.mp4 from 0  206 hit  10 B in 250.0 ms  session s1"
    assert "session s2" in second
    assert "403 token-expired" in third


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (("--status", "403"), 1),
        (("--status", "2"), 2),
        (("--session", "s2"), 1),
        (("--slower-ms", "1000"), 1),
        (("--outcome", "token"), 1),
        (("--path", "/media/t2/"), 0),
        (("--client", "192.0.2.", "--cache", "hit"), 2),
    ],
)
def test_follow_takes_what_is_asked_for(config: Path, options: tuple[str, ...], count: int) -> None:
    assert len(shown(config, *options)) == count


def test_follow_gives_the_lines_as_they_are(config: Path) -> None:
    (line,) = shown(config, "--json", "--session", "s2")
    assert msgspec.json.decode(line)["duration_ms"] == 2000.0


def test_convert_writes_parquet_beside_the_file(config: Path, tmp_path: Path) -> None:
    source = tmp_path / "state" / "logs" / CURRENT
    done = CliRunner().invoke(app, ["log", "convert", str(source)])
    assert (done.exit_code, done.stdout) == (0, f"{source.with_suffix('.parquet')}: 3 rows\n")
    with duckdb.connect(":memory:") as connection:
        query = f"SELECT status FROM read_parquet('{source.with_suffix('.parquet')}')"
        assert connection.execute(query).fetchall() == [(206,), (206,), (403,)]


def test_convert_says_what_is_wrong(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["log", "convert", str(tmp_path / "nothing.jsonl")])
    assert done.exit_code == 1
    assert f"{tmp_path}/nothing.jsonl cannot be converted" in done.stderr
    assert list(tmp_path.iterdir()) == []
