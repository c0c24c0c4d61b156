"""Counting bodies: what wrk summed up must be answers of the length asked for. And what has to stay in memory does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.serve import memory
from benchmarks.serve.load import Wrk, WrongBytes, check_volume


def counted(requests: int, volume: int, status: int = 0) -> Wrk:
    return Wrk(requests, 1_000_000, volume, 1, 1, 0, 0, 0, status, 0)


def test_bodies_of_the_right_length_with_their_headers_pass() -> None:
    check_volume(counted(1000, 1000 * (65536 + 600)), 65536)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (counted(1000, 1000 * 65000), "not answers of 65536"),
        (counted(1000, 1000 * (65536 + 4096)), "not answers of 65536"),
        (counted(1000, 1000 * (65536 + 600), status=1), "not answers of 65536"),
        (counted(0, 20_000), "not one answer"),
    ],
    ids=["short bodies", "whole files", "refusals", "nothing complete"],
)
def test_anything_else_ends_the_benchmark(found: Wrk, why: str) -> None:
    with pytest.raises(WrongBytes, match=why):
        check_volume(found, 65536)


def test_a_locked_folder_stays_in_memory_until_its_keeper_ends(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name, size in (("a", 5000), ("below/b", 1), ("empty", 0)):
        (tmp_path / name).write_bytes(bytes(size))
    command = [sys.executable, "-m", "benchmarks.serve.memory", str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as keeper:
        assert keeper.stdout is not None
        assert keeper.stdin is not None
        assert keeper.stdout.readline() == b"5001\n"
        for name in ("a", "below/b"):
            fd = os.open(tmp_path / name, os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)
        assert memory.missing_bytes(tmp_path) == 0
        keeper.stdin.close()
        assert keeper.wait(30) == 0
