from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from chassis.config import load
from chassis.errors import ConfigError
from contracts.ingest import TitleState
from origin.config import OriginSettings
from tests.origin.conftest import Footage
from tests.origin.room import Room


async def command(room: Room, *arguments: str) -> tuple[int, str]:
    """Exit code and everything said by `origin …` against the room."""
    where = ("--url", room.urls["http"], "--token-file", str(room.settings.operator_token_file))
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "origin", *arguments, *where),
        env={**os.environ, "PYTHONPATH": ".", "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(child.communicate(), 60)
    assert child.returncode is not None
    return child.returncode, said.decode()


async def test_a_file_is_brought_in_followed_listed_and_taken_back_by_command(room: Room, footage: Footage) -> None:
    working = asyncio.create_task(room.worker.run())
    try:
        code, said = await command(
            room, "ingest", str(footage.clip), "--title", "A Clip", "--id", "clip", "--genre", "test", "--region", "DE",
            "--available-from", "2020-01-01T01:00+01:00", "--franchise", "clips",
        )  # fmt: skip
        assert (code, "published clip" in said) == (0, True), said
        facts = room.control_plane.titles["clip"].facts
        assert (facts.name, facts.genres, facts.licence.regions) == ("A Clip", ("test",), ("DE",))
        assert (facts.available_from, facts.licence.starts_at, facts.franchise) == (1577836800.0, 1577836800.0, "clips")
        code, said = await command(room, "ingest", str(footage.sound), "--title", "Sound", "--id", "sound")
        assert code == 1
        assert "rejected sound: The file has no video stream: it holds sound only" in said
        code, said = await command(room, "titles")
        assert code == 0
        assert "published" in said
        assert "rejected" in said
        assert (await command(room, "delete", "clip"))[0] == 0
        code, said = await command(room, "retry", "nothing")
        assert code == 1
        assert "there is no title nothing" in said
        assert "Traceback" not in said
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def test_three_mistakes_in_a_configuration_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        "state_dir: /nowhere\nhttp: {port: 99999}\nencode: {rungs: [{height: 4, bitrate_bps: 1}]}\nsurprise: 1\n"
    )
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "origin", "run", "--config", str(file)),
        env={**os.environ, "PYTHONPATH": "."},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(child.communicate(), 30)
    assert child.returncode == 2
    for words in (b"http.port", b"encode.rungs", b"operator_token_file", b"surprise"):
        assert words in said
    assert b"Traceback" not in said


async def test_a_title_waits_for_a_worker_and_says_so(room: Room, footage: Footage) -> None:
    code, said = await command(room, "ingest", str(footage.clip), "--title", "A Clip", "--id", "clip", "--no-wait")
    assert (code, "uploaded clip" in said) == (0, True)
    assert (await room.status("clip")).state is TitleState.UPLOADED
    code, said = await command(room, "jobs")
    assert code == 0
    assert "probe" in said


def test_an_address_that_nobody_can_dial_is_a_wrong_setting(tmp_path: Path) -> None:
    file = tmp_path / "origin.yaml"
    text = "state_dir: s\noperator_token_file: t\ncontrol_plane: {url: 'https://cp'}\nhttp: {host: 0.0.0.0}\nmtls: {host: '::'}\n"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"http\.public_url: must be set.*mtls\.public_url: must be set"):
        load(OriginSettings, file, environ={})
    file.write_text(text.replace("{host: 0.0.0.0}", "{host: 0.0.0.0, public_url: 'http://o'}").replace("'::'", "'::1'"))
    assert load(OriginSettings, file, environ={}).http.public_url == "http://o"
