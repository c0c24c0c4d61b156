"""The shell of the benchmarks: what fails is left out with its words, what is not measured stays, what is interrupted leaves nothing."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.plan import __main__ as plan
from benchmarks.plan.report import BARS as PLAN_BARS
from benchmarks.serve.rows import Results, Row, decode, encode
from benchmarks.steer import __main__ as steer
from benchmarks.steer.report import AT_LEAST, AT_MOST
from benchmarks.store import __main__ as store
from benchmarks.store.report import BARS as STORE_BARS
from benchmarks.suite.keeping import kept
from benchmarks.suite.shell import FILE_NAME, LeftOut, Measured, Section, arguments_of, command_of, run

RESULTS_OF = {
    "plan": (plan.sections_of(plan.parser().parse_args([])), plan.HERE, [*PLAN_BARS]),
    "store": (store.sections_of(store.parser().parse_args([])), store.HERE, [*STORE_BARS]),
    "steer": (steer.sections_of(steer.parser().parse_args([])), steer.HERE, [*AT_MOST, *AT_LEAST]),
}


def row(name: str, value: float = 1.0) -> Row:
    return Row(name, "s", value, None, None, ())


def giving(*names: str, value: float = 1.0) -> Callable[[Path], Measured]:
    return lambda _folder: ([row(name, value) for name in names], {})


def raising(error: BaseException) -> Callable[[Path], Measured]:
    def measure(folder: Path) -> Measured:
        (folder / "half").write_text("made")
        raise error

    return measure


def ran(out: Path, sections: list[Section], *words: str) -> int:
    arguments = arguments_of("x", None, out).parse_args(list(words))
    return run(sections, arguments, command_of("x", arguments), {"a": "alone"}, lambda found: found.command, out)


def found_in(out: Path) -> Results:
    return decode((out / FILE_NAME).read_bytes())


def test_a_section_that_fails_is_left_out_with_the_first_line_of_its_words_and_the_others_go_on(tmp_path: Path) -> None:
    sections = [
        Section("a", ("x/a",), raising(RuntimeError("no disk\nmore of it"))),
        Section("b", ("x/b",), raising(ZeroDivisionError())),
        Section("c", ("x/c",), raising(LeftOut("needs a list"))),
        Section("d", ("x/d",), lambda _folder: ([row("x/d-1")], {"x/d-2": "no peer"})),
    ]
    assert ran(tmp_path, sections) == 0
    found = found_in(tmp_path)
    assert [one.name for one in found.rows] == ["x/d-1"]
    assert found.left_out == {
        "a": "failed: no disk",
        "b": "failed: ZeroDivisionError",
        "c": "needs a list",
        "x/d-2": "no peer",
    }
    assert list(found.conditions) == ["a", "load before"]
    assert (tmp_path / "RESULTS.md").read_text() == found.command == "make bench-x"


def test_each_section_has_a_folder_of_its_own_that_is_gone_after_it(tmp_path: Path) -> None:
    seen: list[Path] = []

    def measure(folder: Path) -> Measured:
        (folder / "file").write_text("large")
        assert not any(one.exists() for one in seen)
        seen.append(folder)
        return [], {}

    assert ran(tmp_path, [Section("a", ("x/a",), measure), Section("b", ("x/b",), measure)]) == 0
    assert [folder.name for folder in seen] == ["a", "b"]
    assert found_in(tmp_path).left_out == {}, "each found its folder empty and alone"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["RESULTS.md", FILE_NAME]


def test_what_is_told_to_stop_stops_leaves_no_folder_and_writes_nothing(tmp_path: Path) -> None:
    def stopped(folder: Path) -> Measured:
        (folder / "half").write_text("made")
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("went on")

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        ran(tmp_path, [Section("a", ("x/a",), stopped)])
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == before


def test_sections_that_are_not_asked_for_keep_their_rows_in_the_order_of_the_page(tmp_path: Path) -> None:
    first = [
        Section("a", ("x/a",), lambda _folder: ([row("x/a-1")], {"x/a-2": "no peer", "else": "not kept"})),
        Section("b", ("x/b",), giving("x/b")),
        Section("c", ("x/c",), raising(RuntimeError("no disk"))),
    ]
    assert ran(tmp_path, first) == 0
    date = found_in(tmp_path).date
    again = [Section("a", ("x/a",), raising(AssertionError("not asked for"))), *first[1:]]
    again[1] = Section("b", ("x/b",), giving("x/b", value=2.0))
    assert ran(tmp_path, again, "--only", "b") == 0
    found = found_in(tmp_path)
    assert [(one.name, one.ours) for one in found.rows] == [("x/a-1", 1.0), ("x/b", 2.0)]
    assert found.command == "make bench-x ARGS='--only b'"
    assert found.conditions["rows of a"] == f"kept from {date}, `make bench-x`"
    assert found.left_out == {"x/a-2": "no peer", "c": "not asked for"}


def test_a_quick_run_of_some_sections_keeps_nothing(tmp_path: Path) -> None:
    sections = [Section("a", ("x/a",), giving("x/a")), Section("b", ("x/b",), giving("x/b"))]
    assert ran(tmp_path, sections) == 0
    assert ran(tmp_path, sections, "--quick", "--only", "b") == 0
    found = found_in(tmp_path)
    assert [one.name for one in found.rows] == ["x/b"]
    assert (found.left_out, found.command) == ({"a": "not asked for"}, "QUICK=1 make bench-x ARGS='--only b'")


def test_a_section_that_is_none_is_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[Path] = []

    def measure(folder: Path) -> Measured:
        measured.append(folder)
        return [], {}

    sections = [Section(name, (f"x/{name}",), measure) for name in "ab"]
    assert ran(tmp_path, sections, "--only", "a,doors") == 2
    assert "no section is called 'doors'; there are a, b" in capsys.readouterr().err
    assert measured == list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lies_there", [b"{", b'{"rows": 3}'])
def test_rows_that_cannot_be_read_are_not_overwritten_by_a_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lies_there: bytes
) -> None:
    (tmp_path / FILE_NAME).write_bytes(lies_there)
    assert ran(tmp_path, [Section("a", ("x/a",), giving("x/a"))], "--only", "a") == 2
    assert "no rows can be kept of it" in capsys.readouterr().err
    assert (tmp_path / FILE_NAME).read_bytes() == lies_there


def test_rows_that_are_kept_twice_say_when_they_were_made() -> None:
    prefixes = {"a": ("x/a",), "b": ("x/b",)}
    first = Results("a machine", "monday", "make bench-x", (row("x/a"), row("x/b")), {"a": "one thread"}, {})
    found = kept(decode(encode(first)), prefixes, ["b"])
    assert tuple(found) == ([row("x/a")], {"rows of a": "kept from monday, `make bench-x`"}, {})
    second = Results("a machine", "tuesday", "only b", (*found.rows, row("x/b")), found.conditions, {})
    assert kept(second, prefixes, []).conditions == {
        "rows of a": "kept from monday, `make bench-x`",
        "rows of b": "kept from tuesday, `only b`",
    }


@pytest.mark.parametrize("name", RESULTS_OF)
def test_every_row_that_is_there_or_has_a_bar_belongs_to_one_section(name: str) -> None:
    sections, folder, barred = RESULTS_OF[name]
    for its in {*barred, *(one.name for one in found_in(folder).rows)}:
        assert sum(its.startswith(one.begins) for one in sections) == 1, its
    assert len({one.name for one in sections}) == len(sections)


def test_a_command_is_told_as_a_reader_would_repeat_it() -> None:
    arguments = argparse.Namespace(quick=True, only=["a", "b"])
    assert command_of("x", arguments, ["--rounds 3"]) == "QUICK=1 make bench-x ARGS='--only a,b --rounds 3'"
    assert command_of("x", argparse.Namespace(quick=False, only=[])) == "make bench-x"
