"""`lowtide oca simulate` on files."""

from __future__ import annotations

import random
import types
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from oca.cli import app
from oca.simulate import decompressed
from policies.trace import ZipfLaw, zipf
from policies.traceformats import TraceError, pack_oracle_general

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


class _Run:
    """A frame of a compression that runs backwards: a length, then so many bytes, reversed."""

    def __init__(self) -> None:
        self.eof = False
        self.unused_data = b""
        self._held = b""

    def decompress(self, data: bytes, /) -> bytes:
        self._held += data
        if self._held[:1] == b"!":
            raise _Odd("odd")
        if len(self._held) <= self._held[0]:
            return b""
        self.eof, whole, self.unused_data = True, self._held[1 : self._held[0] + 1], self._held[self._held[0] + 1 :]
        return whole[::-1]


class _Odd(Exception):
    pass


def test_frames_follow_each_other_and_the_last_has_to_be_whole(tmp_path: Path) -> None:
    library = types.ModuleType("backwards")
    library.ZstdDecompressor, library.ZstdError = _Run, _Odd  # type: ignore[attr-defined]
    whole = b"\x03cba\x02ed\x01f"
    for cut in range(1, 8):
        assert b"".join(decompressed([whole[:cut], whole[cut:]], library)) == b"abcdef"
    for wrong, words in ((whole + b"\x05a", "ends in the middle of a frame"), (b"!", "odd")):
        with pytest.raises(TraceError, match=words):
            list(decompressed([wrong], library))
