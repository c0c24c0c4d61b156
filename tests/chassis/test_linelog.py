"""A log of lines: what a killed process left, and files that are opened while others are put aside."""

from __future__ import annotations

from pathlib import Path

import pytest

from chassis.clock import VirtualClock
from chassis.linelog import LineLimits, LineLog, files_of, opened

LIMITS = LineLimits(file_bytes=1 << 20, file_s=3600.0, files=3, keep_s=86_400.0)


def log_in(folder: Path, lost: list[int], limits: LineLimits = LIMITS) -> LineLog:
    return LineLog(folder, "log", limits, VirtualClock(1_763_726_400.0), lost.append)


@pytest.mark.parametrize("kept", [b"", b"one\n", b"one\ntwo\n"])
@pytest.mark.parametrize("half", [b'{"half', b"x" * 200_000])
async def test_the_half_line_of_a_killed_process_is_cut_off_and_counted_before_another_comes(
    tmp_path: Path, kept: bytes, half: bytes
) -> None:
    (tmp_path / "log.jsonl").write_bytes(kept + half)
    lost: list[int] = []
    log = log_in(tmp_path, lost)
    for line in (b"next\n", b"last\n"):
        log.add(line)
        await log.flush()
    assert ((tmp_path / "log.jsonl").read_bytes(), lost) == (kept + b"next\nlast\n", [1])


async def test_whole_lines_are_kept_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(b"one\n")
    lost: list[int] = []
    log = log_in(tmp_path, lost)
    log.add(b"two\n")
    await log.flush()
    assert ((tmp_path / "log.jsonl").read_bytes(), lost) == (b"one\ntwo\n", [])


async def test_a_file_that_was_large_enough_is_completed_without_its_half_line(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(b"1\n" * 600_000 + b"half")
    lost: list[int] = []
    await log_in(tmp_path, lost).tidy()
    (complete,) = files_of(tmp_path, "log")
    assert (complete.stat().st_size, complete.name != "log.jsonl", lost) == (1_200_000, True, [1])


def test_a_file_that_is_put_aside_between_listing_and_opening_is_there_once(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(b"older\n")
    listings = 0

    def listed() -> list[Path]:
        nonlocal listings
        listings += 1
        found = files_of(tmp_path, "log")
        if listings == 1:
            (tmp_path / "log.jsonl").rename(tmp_path / "log-20251121T120000.000Z.jsonl")
            (tmp_path / "log.jsonl").write_bytes(b"newer\n")
        return found

    with opened(listed) as files:
        assert [file.read() for _path, file in files] == [b"newer\n", b"older\n"]


def test_a_file_that_is_named_and_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), opened(lambda: [tmp_path / "none"]):
        pass
