"""Counting bodies: what wrk summed up must be answers of the length asked for."""

from __future__ import annotations

import pytest

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
