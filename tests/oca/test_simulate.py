"""`lowtide oca simulate` on files."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from oca.cli import app
from policies.trace import ZipfLaw, zipf
from policies.traceformats import pack_oracle_general

REQUESTS = list(zipf(ZipfLaw(200), 3000, random.Random(2).random))


def _csv(path: Path) -> Path:
    path.write_text("time,key,size\n" + "".join(f"{t},{key},{size}\n" for t, key, size in REQUESTS))
    return path


def _oracle(path: Path) -> Path:
    path.write_bytes(pack_oracle_general(REQUESTS))
    return path


def test_both_formats_give_the_same_figures(tmp_path: Path) -> None:
    files = (_csv(tmp_path / "t.csv"), _oracle(tmp_path / "t.oracleGeneral"))
    said = [CliRunner().invoke(app, ["simulate", str(file), "--size", "10%", "--json"]) for file in files]
    assert [one.exit_code for one in said] == [0, 0], said[0].output + said[1].output
    first, second = (msgspec.json.decode(one.stdout) for one in said)
    assert first == second
    assert first["requests"] == 3000
    assert [one["policy"] for one in first["sizes"][0]["policies"]] == ["lru", "sieve", "s3fifo"]


def test_the_table_has_a_row_per_policy_and_belady(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["simulate", str(_csv(tmp_path / "t.csv")), "--size", "20", "--policy", "sieve"])
    assert said.exit_code == 0, said.output
    assert [line.split()[2] for line in said.stdout.splitlines()[2:4]] == ["sieve", "belady"]
    assert "no policy misses fewer" in said.stdout


@pytest.mark.parametrize(
    ("content", "options", "code", "words"),
    [
        (b"1,a,3\n2,b\n", [], 1, "line 2: 2 fields"),
        (b"1,a,3\n", ["--size", "many"], 2, "'many' is no size"),
        (b"1,a,3\n", ["--columns", "1,0,2"], 2, "the key has to be in one"),
        (b"1,a,3\n", ["--size", "1%"], 2, "less than one byte"),
        (bytes(30), ["--format", "oracle"], 1, "record 2 is cut off"),
    ],
)
def test_what_is_wrong_is_said_in_words(
    tmp_path: Path, content: bytes, options: list[str], code: int, words: str
) -> None:
    file = tmp_path / "trace.csv"
    file.write_bytes(content)
    said = CliRunner().invoke(app, ["simulate", str(file), *options])
    assert said.exit_code == code
    assert words in said.stderr


def test_a_trace_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["simulate", str(tmp_path / "none")])
    assert said.exit_code == 1
    assert "No such file" in said.stderr
