"""Runs the sections of a benchmark one after the other and writes `results.json` and `RESULTS.md`."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.serve import processes
from benchmarks.serve.rows import Results, Row, decode, encode
from benchmarks.suite.keeping import Kept, kept, place

Measured = tuple[list[Row], dict[str, str]]
"""Rows, and what was left out with its reason."""
FILE_NAME = "results.json"


class LeftOut(Exception):
    """Why a section is not measured here."""


class Refused(Exception):
    """Why nothing can be run as it was asked for."""


@dataclass(frozen=True, slots=True)
class Section:
    """Rows that are measured together in a folder of their own. What fails is left out with its words, the others go on."""

    name: str
    begins: tuple[str, ...]
    """What the names of its rows begin with."""
    measure: Callable[[Path], Measured]


def arguments_of(name: str, description: str | None, here: Path) -> argparse.ArgumentParser:
    """What all of them take: `--quick`, `--only`, `--out`."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--quick", action="store_true", help="under five minutes: fewer and shorter rounds")
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=[],
        help="some sections, with commas between them; the others keep the rows they have",
    )
    parser.add_argument("--out", type=Path, default=here, help="folder for results.json and RESULTS.md")
    return parser


def command_of(name: str, arguments: argparse.Namespace, further: Sequence[str] = ()) -> str:
    """As a reader would repeat it."""
    words = [*([f"--only {','.join(arguments.only)}"] if arguments.only else []), *further]
    said = f" ARGS='{' '.join(words)}'" if words else ""
    return f"{'QUICK=1 ' if arguments.quick else ''}make bench-{name}{said}"


def run(
    sections: Sequence[Section],
    arguments: argparse.Namespace,
    command: str,
    conditions: Mapping[str, str],
    render: Callable[[Results], str],
    within: Path | None = None,
) -> int:
    """Exit code: 0, or 2 for what was refused before anything was measured.

    `within` is where the sections' folders are made, None the usual place for what is temporary. Rows of sections that are not
    run stay as an earlier, whole or partial, run left them; a quick run keeps nothing. What is interrupted writes nothing.
    """
    prefixes = {one.name: one.begins for one in sections}
    try:
        wanted = _wanted(sections, arguments.only)
        earlier = _earlier(arguments)
    except Refused as error:
        sys.stderr.write(f"{error}\n")
        return 2
    started_s, load_before = time.monotonic(), os.getloadavg()
    rows, left_out = _measured(wanted, within)
    names = [one.name for one in wanted]
    old = kept(earlier, prefixes, names) if earlier is not None else Kept([], {}, {})
    rows = sorted([*rows, *old.rows], key=lambda row: place(row, prefixes))
    left_out |= old.left_out
    for name, begins in prefixes.items():
        if name not in names and not any(row.name.startswith(begins) for row in rows):
            left_out[name] = "not asked for"
    results = Results(
        machine=processes.machine(),
        date=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        command=command,
        rows=tuple(rows),
        conditions={**conditions, "load before": " ".join(f"{load:.2f}" for load in load_before), **old.conditions},
        left_out=left_out,
    )
    write(results, arguments.out, render)
    say(f"{len(rows)} rows in {time.monotonic() - started_s:.0f} s: {arguments.out / 'RESULTS.md'}")
    return 0


@contextmanager
def scratch(within: Path | None = None) -> Iterator[Path]:
    """A folder for what is temporary. SIGTERM is as Ctrl-C in here: everything that was started is stopped, the folder removed."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with tempfile.TemporaryDirectory(prefix="lowtide-bench-", dir=within, ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    finally:
        signal.signal(signal.SIGTERM, before)


def write(results: Results, folder: Path, render: Callable[[Results], str]) -> None:
    """`results.json` and the page made of it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE_NAME).write_bytes(encode(results))
    (folder / "RESULTS.md").write_text(render(results))


def say(text: str) -> None:
    """Progress, with the time."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def _wanted(sections: Sequence[Section], only: Sequence[str]) -> list[Section]:
    """Raises Refused for a name that is none."""
    names = [one.name for one in sections]
    if unknown := [name for name in only if name not in names]:
        raise Refused(f"--only: no section is called {', '.join(map(repr, unknown))}; there are {', '.join(names)}")
    return [one for one in sections if not only or one.name in only]


def _earlier(arguments: argparse.Namespace) -> Results | None:
    """What lies there, when this run leaves something of it. Raises Refused for what is no results: it would be lost."""
    path: Path = arguments.out / FILE_NAME
    if not arguments.only or arguments.quick or not path.exists():
        return None
    try:
        return decode(path.read_bytes())
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise Refused(f"{path}: no rows can be kept of it ({error}); remove it or give another --out") from error


def _measured(wanted: Sequence[Section], within: Path | None) -> Measured:
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    with scratch(within) as folder:
        for section in wanted:
            say(section.name)
            made, without = _of_one(section, folder / section.name)
            rows += made
            left_out |= without
    return rows, left_out


def _of_one(section: Section, folder: Path) -> Measured:
    folder.mkdir()
    try:
        return section.measure(folder)
    except LeftOut as error:
        return [], {section.name: str(error)}
    except Exception as error:  # noqa: BLE001  a section's border: its words go into the page, the others go on
        why = f"failed: {str(error) or type(error).__name__}".splitlines()[0]
        say(f"  {why}")
        return [], {section.name: why}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
