"""The logger as a process: fed by pipes, watched by its files and counters."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from oca.config import AccessLogging
from oca.link.counters import Count, Counters
from oca.link.handover import LoggerHandover, write_handover
from oca.link.records import Row, encode_frame
from oca.logger.columnar import COLUMNS, cmcd_columns, convert
from oca.logger.folder import LogFolder
from oca.logger.lines import AccessLine
from oca.logger.reading import Wanted, follow, in_words, read_line
from oca.logger.rotation import CURRENT, Limits, Rotated, due, surplus, unconverted

QUERY = b"CMCD=bl%3D21300%2Cbs%2Cmtp%3D4000%2Csid%3D%226e2f%22%2Cx-a%3D1"
DOCS = Path(__file__).parents[3] / "docs" / "access-log.md"


def row(number: int, session: str = "s1", **_: object) -> Row:
    path = b"/media/t1/hd/v.mp4"
    return (
        b"p192.0.2.0/24",
        1763717676.0 + number,
        1763717676.5 + number,
        b"GET",
        206,
        "hit",
        path,
        QUERY,
        session,
        number,
        10,
        0,
    )


@dataclass
class Running:
    """A logger, the writing ends of its pipes, and what it counted."""

    process: subprocess.Popen[bytes]
    pipes: list[int]
    counters: Counters
    folder: Path

    def write(self, slot: int, *rows: Row) -> None:
        assert os.write(self.pipes[slot], encode_frame(slot, rows)) > 0

    def lines(self) -> list[AccessLine]:
        found = [path.read_bytes() for path in sorted(self.folder.glob("access-*.jsonl"))]
        with contextlib.suppress(FileNotFoundError):
            found.append((self.folder / CURRENT).read_bytes())
        return [msgspec.json.decode(text, type=AccessLine) for text in b"".join(found).splitlines()]

    def current_size(self) -> int:
        """-1 for the moment in which one is put aside and the next has not begun."""
        try:
            return (self.folder / CURRENT).stat().st_size
        except FileNotFoundError:
            return -1

    def firsts(self) -> list[int | None]:
        return [line.first for line in self.lines()]

    def end(self) -> int:
        for fd in self.pipes:
            os.close(fd)
        self.pipes.clear()
        return self.process.wait(20)


def ask(question: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Columns and rows."""
    with duckdb.connect(":memory:") as connection:
        found = connection.execute(question)
        return [column[0] for column in found.description or ()], found.fetchall()


def until(condition: Callable[[], bool], wait_s: float = 20.0) -> None:
    deadline = time.monotonic() + wait_s
    while not condition():
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.02)


@contextlib.contextmanager
def running(
    folder: Path, settings: AccessLogging, slots: int = 2, largest_file: int | None = None
) -> Iterator[Running]:
    counters = Counters.create(slots + 1)
    pairs = [os.pipe() for _ in range(slots)]
    reading = tuple(pair[0] for pair in pairs)
    fd = write_handover(LoggerHandover(settings, str(folder), reading, counters.fd, slots))

    def limited() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    process = subprocess.Popen(
        [sys.executable, "-m", "oca.logger", "--handover-fd", str(fd)],
        pass_fds=(fd, counters.fd, *reading),
        preexec_fn=limited,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    for inherited in (fd, *reading):
        os.close(inherited)
    found = Running(process, [pair[1] for pair in pairs], counters, folder)
    try:
        yield found
    finally:
        for pipe in found.pipes:
            os.close(pipe)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
        os.close(counters.fd)


def test_rows_of_all_workers_become_lines_and_the_last_writers_end_ends_the_logger(tmp_path: Path) -> None:
    with running(tmp_path / "logs", AccessLogging()) as logger:
        logger.write(0, row(1), row(2))
        logger.write(1, row(3))
        until(lambda: len(logger.lines()) == 3)
        logger.write(0, row(4))
        assert logger.end() == 0
        assert sorted(number for number in logger.firsts() if number is not None) == [1, 2, 3, 4]
        assert {line.worker for line in logger.lines()} == {0, 1}
        assert logger.counters.total(Count.LOG_RECORDS) == 4
        assert logger.counters.total(Count.LOG_BYTES) == (tmp_path / "logs" / CURRENT).stat().st_size
        assert logger.counters.total(Count.LOG_DROPPED) == 0


def test_what_a_killed_worker_left_unfinished_is_counted_and_its_successor_is_heard(tmp_path: Path) -> None:
    with running(tmp_path / "logs", AccessLogging(), slots=1) as logger:
        torn = encode_frame(0, [row(1)] * 5)[:400]
        os.write(logger.pipes[0], torn)
        logger.write(0, row(2))
        logger.write(0, *[row(number) for number in range(3, 13)])
        assert logger.end() == 0
        assert logger.firsts() == list(range(2, 13))
        assert logger.counters.total(Count.LOG_TORN) == 400


def test_a_complete_file_is_put_aside_and_the_oldest_go(tmp_path: Path) -> None:
    with running(tmp_path / "logs", AccessLogging(file_bytes=4096, files=2), slots=1) as logger:
        for turn in range(5):
            logger.write(0, *[row(turn * 20 + number) for number in range(20)])
            until(lambda turn=turn: logger.counters.total(Count.LOG_RECORDS) == (turn + 1) * 20)  # type: ignore[misc]
            until(lambda: logger.current_size() == 0)
        assert logger.end() == 0
        assert len(list((tmp_path / "logs").glob("access-*.jsonl"))) == 2
        assert logger.firsts() == list(range(60, 100))


def test_somebody_may_rename_the_current_file(tmp_path: Path) -> None:
    with running(tmp_path / "logs", AccessLogging(), slots=1) as logger:
        logger.write(0, row(1))
        until(lambda: len(logger.lines()) == 1)
        os.rename(tmp_path / "logs" / CURRENT, tmp_path / "mine")
        logger.write(0, row(2))
        until(lambda: logger.firsts() == [2])
        assert (tmp_path / "mine").read_bytes().count(b"\n") == 1


def test_what_a_full_disk_does_not_take_is_dropped_whole_and_counted(tmp_path: Path) -> None:
    with running(tmp_path / "logs", AccessLogging(), slots=1, largest_file=3000) as logger:
        for turn in range(4):
            logger.write(0, *[row(turn * 5 + number) for number in range(5)])
            until(
                lambda turn=turn: (
                    logger.counters.total(Count.LOG_RECORDS) + logger.counters.total(Count.LOG_DROPPED)  # type: ignore[misc]
                    == (turn + 1) * 5
                )
            )
        assert logger.process.poll() is None, "it goes on"
        assert logger.firsts() == list(range(5)), "no half line stays"
        assert logger.counters.total(Count.LOG_DROPPED) == 15


@pytest.mark.parametrize(("form", "left"), [("both", {".jsonl", ".parquet"}), ("parquet", {".parquet"})])
def test_complete_files_are_converted_beside_the_service(tmp_path: Path, form: str, left: set[str]) -> None:
    settings = msgspec.convert({"format": form, "file_bytes": 4096}, AccessLogging)
    with running(tmp_path, settings, slots=1) as logger:
        logger.write(0, *[row(number) for number in range(20)])
        until(lambda: {path.suffix for path in tmp_path.glob("access-*")} == left)
        (target,) = tmp_path.glob("access-*.parquet")
        query = f"SELECT count(*), sum(cmcd_bl), any_value(cmcd_other['x-a']) FROM read_parquet('{target}')"
        assert ask(query)[1] == [(20, 20 * 21300, "1")]


def log_file(folder: Path, *extra: bytes) -> Path:
    from oca.link.records import Record
    from oca.logger.lines import encode_lines, line_of

    path = folder / "it's.jsonl"
    lines = [line_of(0, Record(*row(number, session=f"s{number % 2}"))) for number in range(50)]
    path.write_bytes(encode_lines(lines) + b"".join(extra))
    return path


def test_the_columnar_form_has_the_same_fields_and_leaves_out_what_is_no_line(tmp_path: Path) -> None:
    source = log_file(tmp_path, b'{"time": "2025-11-21T09:3', b"\n", b'{"other": 1}\n')
    target = tmp_path / "out.parquet"
    assert convert(source, target) == 50
    columns, rows = ask(f"SELECT * FROM read_parquet('{target}')")
    assert columns == [*COLUMNS, *cmcd_columns()]
    first = dict(zip(columns, rows[7], strict=True))
    assert (first["first"], first["session"], first["missed_bytes"], first["cmcd_bs"]) == (7, "s1", 0, True)
    assert str(first["time"]) == "2025-11-21 09:34:43"
    assert first["cmcd_br"] is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["it's.jsonl", "out.parquet"]


def test_the_questions_of_the_page_are_answered(tmp_path: Path) -> None:
    source = log_file(tmp_path)
    (tmp_path / "logs").mkdir()
    convert(source, tmp_path / "logs" / "a.parquet")
    text = DOCS.read_text(encoding="utf-8").split("```sql\n")[1].split("```")[0]
    questions = [
        question.strip() for question in text.replace("'logs/", f"'{tmp_path}/logs/").split(";") if question.strip()
    ]
    answers = [ask(question)[1] for question in questions]
    assert len(answers) == 4
    assert answers[0][0][:5] == ("t1", "hd", "v.mp4", 500, 50)
    assert answers[1][0] == ("192.0.2.0/24", 2, 50, 4000.0)


LIMITS = Limits(file_bytes=100, file_s=10.0, files=2)


@pytest.mark.parametrize(
    ("size", "age_s", "why"),
    [(0, 99.0, None), (99, 9.9, None), (100, 0.0, Rotated.SIZE), (1, 10.0, Rotated.AGE)],
)
def test_a_file_is_complete_by_size_or_age_and_never_empty(size: int, age_s: float, why: Rotated | None) -> None:
    assert due(LIMITS, size, age_s) is why


def test_the_oldest_files_go_with_both_their_forms_and_nobody_elses() -> None:
    stems = [f"access-20251121T09340{second}.000Z" for second in range(4)]
    names = [
        f"{stems[0]}.jsonl",
        f"{stems[0]}.parquet",
        f"{stems[1]}.parquet",
        f"{stems[2]}.jsonl",
        f"{stems[3]}.jsonl",
    ]
    names += [CURRENT, "access-old.jsonl", "notes"]
    assert surplus(LIMITS, names) == names[:3]
    assert unconverted(names) == [f"{stems[2]}.jsonl", f"{stems[3]}.jsonl"]


def test_following_goes_on_behind_a_rotation_and_takes_what_is_wanted(tmp_path: Path) -> None:
    source = log_file(tmp_path).read_bytes().splitlines(keepends=True)
    folder = LogFolder(tmp_path / "logs", Limits(1, 1e9, 9))
    folder.open(0.0)
    folder.write(source[0], 0.0)
    steps: list[Callable[[], object]] = [
        lambda: folder.write(source[1][:30], 0.0),
        lambda: folder.write(source[1][30:] + source[2], 0.0),
        lambda: folder.rotate(1.0),
        lambda: folder.write(source[3], 2.0),
    ]

    def wait() -> bool:
        if not steps:
            return False
        steps.pop(0)()
        return True

    lines = [read_line(text) for text in follow(tmp_path / "logs" / CURRENT, wait)]
    folder.close()
    assert [line.first for line in lines if line] == [1, 2, 3], "new lines only, whole ones"
    wanted = Wanted(status="2", session="s1", client="192.0.2.", path="/media/t1/")
    taken = [line for line in lines if line is not None and wanted.takes(line)]
    assert [line.first for line in taken] == [1, 3]
    assert not Wanted(status="4").takes(taken[0])
    assert not Wanted(slower_ms=501.0).takes(taken[0])
    assert "t1/hd/v.mp4 from 1  206 hit  10 B in 500.0 ms" in in_words(taken[0])
