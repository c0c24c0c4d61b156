"""`lowtide token`: what is signed opens what it says; what is wrong is one line and exit code 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey
from typer.testing import CliRunner, Result

from lowtide.tokens import app

PATH = "/media/bbb/hd/v-720.mp4"


def token_command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(params=["EC", "Ed25519"])
def key(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    made = ECKey.generate_key("P-256") if request.param == "EC" else OKPKey.generate_key("Ed25519")
    file = tmp_path / "key.pem"
    file.write_bytes(made.as_pem(private=True))
    return file


@pytest.fixture
def keys(key: Path, tmp_path: Path) -> Path:
    file = tmp_path / "keys.json"
    file.write_text(token_command("public", "--key", key).stdout)
    return file


def signed(key: Path, *more: str) -> str:
    done = token_command(
        "sign", "--key", key, "--session", "s1", "--title", "bbb", "--tier", "hd", "--tier", "base", *more
    )
    assert done.exit_code == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("format_", ["jwt", "cat"])
def test_a_signed_token_opens_what_it_says_and_nothing_else(format_: str, key: Path, keys: Path) -> None:
    token = signed(key, "--format", format_)
    done = token_command("inspect", f"http://edge.example/~{token}{PATH}?x=1", "--keys", keys)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == f"opens {PATH}"
    assert f"format       {format_}, " in done.stdout
    other = PATH.replace("hd", "uhd")
    done = token_command("inspect", token, "--keys", keys, "--path", other)
    assert done.exit_code == 1
    assert f"does not open {other}: 403 media-token-scope" in done.stdout


def test_inspect_without_keys_says_that_it_verified_nothing(key: Path) -> None:
    done = token_command("inspect", signed(key))
    assert done.exit_code == 0
    assert "sub          s1" in done.stdout
    assert done.stdout.splitlines()[-1] == "unverified: no --keys"


def test_a_key_is_called_as_the_services_call_theirs(tmp_path: Path) -> None:
    made = ECKey.generate_key("P-256")
    file = tmp_path / "key.jwk"
    file.write_text(_json(made))
    assert f"kid          media-{made.thumbprint()[:16]}" in token_command("inspect", signed(file)).stdout


def test_what_is_wrong_is_one_line_and_exit_code_2(key: Path, keys: Path, tmp_path: Path) -> None:
    secret, broken = tmp_path / "secret.jwk", tmp_path / "broken.json"
    secret.write_text(_json(OctKey.import_key("a shared secret of many bytes, thirty-two of them")))
    broken.write_text("{")
    good = ("--session", "s", "--title", "bbb", "--tier", "hd")
    token = signed(key)
    for arguments in (
        ("sign", "--key", tmp_path / "nothing", *good),
        ("sign", "--key", keys, *good),
        ("sign", "--key", secret, *good),
        ("sign", "--key", key, "--session", "s", "--tier", "hd"),
        ("sign", "--key", key, "--session", "s", "--title", "b", "--prefix", "/media/b/", "--tier", "hd"),
        ("sign", "--key", key, "--session", "s", "--title", "Not A Name", "--tier", "hd"),
        ("sign", "--key", key, "--session", "s", "--title", "b", "--tier", "../x"),
        ("sign", "--key", key, "--session", "", "--title", "b", "--tier", "hd"),
        ("sign", "--key", key, *good, "--valid-s", "0"),
        ("sign", "--key", key, *good, "--valid-s", "1e300"),
        ("sign", "--key", key, *good, "--alg", "HS256"),
        ("public", "--key", key, "--alg", "none"),
        ("inspect", "garbage"),
        ("inspect", "https://edge.example/media/b/hd/v.mp4"),
        ("inspect", token, "--keys", tmp_path / "nothing", "--path", PATH),
        ("inspect", token, "--keys", broken, "--path", PATH),
        ("inspect", token, "--keys", keys),
    ):
        done = token_command(*arguments)
        assert (done.exit_code, done.stdout) == (2, ""), arguments
        assert done.stderr.startswith("lowtide token: ")
        assert len(done.stderr.splitlines()) == 1


def _json(key: ECKey | OctKey) -> str:
    return json.dumps(key.as_dict(private=True))
