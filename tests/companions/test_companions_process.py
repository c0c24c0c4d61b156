"""The command: real processes, their ready line, wrong settings, and a kill −9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import yaml

from chassis.service import Listening
from contracts.members import SignUp, Tokens
from contracts.problems import ProblemCode
from tests.companions.lab import PASSWORD, Caller, Lab

Start = Callable[..., tuple[subprocess.Popen[bytes], dict[str, str]]]


def _settings(folder: Path) -> dict[str, object]:
    return {
        "auth": {
            "database": str(folder / "auth.sqlite"),
            "key_file": str(folder / "access.key"),
            "argon2": {"passes": 1, "memory_kib": 8},
        },
        "catalog": {"database": str(folder / "catalog.sqlite"), "secret_file": str(folder / "secret")},
    }


def _command(config: Path, *names: str) -> list[str]:
    return [sys.executable, "-m", "companions", "run", *names, "--config", str(config)]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts companions and waits for their ready line; what still runs is ended afterwards."""
    started: list[subprocess.Popen[bytes]] = []
    config = tmp_path / "companions.yaml"
    config.write_text(yaml.safe_dump(_settings(tmp_path)))

    def run(*names: str) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
        reading, writing = os.pipe()
        process = subprocess.Popen(
            [*_command(config, *names), "--ready-fd", str(writing)], pass_fds=(writing,), stderr=subprocess.DEVNULL
        )
        os.close(writing)
        started.append(process)
        with os.fdopen(reading, "rb") as pipe:
            return process, msgspec.json.decode(pipe.readline(), type=Listening).listening

    yield run
    for process in started:
        process.kill()
        process.wait()


async def _sign_up(http: Caller, url: str) -> Tokens:
    heard = await http.call("POST", url + "/v1/accounts", SignUp("ann@example.org", PASSWORD, "DE"))
    return heard.as_(Tokens)


async def test_one_process_runs_several_companions_each_on_its_own_listener(start: Start, lab: Lab) -> None:
    process, urls = start()
    assert set(urls) == {"auth", "catalog"}
    await _sign_up(lab.http, urls["auth"])
    assert (await lab.http.call("GET", urls["catalog"] + "/v1/titles?region=DE")).status == 200
    (await lab.http.call("GET", urls["catalog"] + "/v1/account")).problem(ProblemCode.NOT_FOUND)
    process.terminate()
    assert process.wait(10) == 0


async def test_one_companion_alone_listens_as_http_and_survives_being_killed(start: Start, lab: Lab) -> None:
    process, urls = start("auth")
    assert set(urls) == {"http"}
    tokens = await _sign_up(lab.http, urls["http"])
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, urls = start("auth")
    heard = await lab.http.call("GET", urls["http"] + "/v1/account", bearer=tokens.access_token)
    assert heard.status == 200


def test_three_mistakes_in_a_configuration_are_told_at_once(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    settings["auth"] = {"databse": "x", "key_file": "k", "access_ttl_s": -1}
    config = tmp_path / "wrong.yaml"
    config.write_text(yaml.safe_dump(settings))
    done = subprocess.run(
        _command(config, "auth"), capture_output=True, text=True, env={**os.environ, "COLUMNS": "300"}, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("3 settings are wrong")
    assert 'did you mean "database"?' in done.stderr
    assert "auth.database: is missing" in done.stderr
    assert "auth.access_ttl_s" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_companion_that_is_none_or_has_no_section_is_named(tmp_path: Path) -> None:
    config = tmp_path / "companions.yaml"
    config.write_text(yaml.safe_dump(_settings(tmp_path)))
    done = subprocess.run(
        _command(config, "auht", "playback"),
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "300"},
        timeout=60,
    )
    assert done.returncode == 2
    assert "auht: is no companion" in done.stderr
    assert "playback: has no section" in done.stderr
