"""`python -m benchmarks.plan`: run every section and write `results.json` and `RESULTS.md` (see `make bench-plan`)."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from benchmarks.plan import report
from benchmarks.plan.keeping import PREFIXES, kept
from benchmarks.serve import processes
from benchmarks.serve.rows import Results, Row, decode, encode

HERE = Path(__file__).parent


class LeftOut(Exception):
    """Why a section is not measured here."""


@dataclass(frozen=True, slots=True)
class Section:
    """Rows that are measured together; the second is what of it was left out. What fails is left out with its words, the others go on."""

    name: str
    measure: Callable[[Path], tuple[list[Row], dict[str, str]]]


def main() -> int:
    arguments = _arguments()
    processes.raise_file_limit()
    signal.signal(signal.SIGTERM, _interrupt)  # as Ctrl-C: everything that was started is stopped
    folder = Path(tempfile.mkdtemp(prefix="lowtide-bench-"))
    started = time.monotonic()
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    load_before = os.getloadavg()
    sections = [one for one in _sections(arguments) if not arguments.only or one.name in arguments.only]
    try:
        for section in sections:
            _measure(section, folder, rows, left_out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    earlier, said = _kept(arguments, [section.name for section in sections])
    rows = sorted([*rows, *earlier], key=lambda row: _place(row.name))
    left_out |= {
        name: "not asked for"
        for name in PREFIXES
        if not any(_is_of(row, name) for row in rows) and name not in left_out
    }
    results = Results(
        machine=processes.machine(),
        date=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        command=arguments.command,
        rows=tuple(rows),
        conditions=_conditions(load_before) | said,
        left_out=left_out,
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "results.json").write_bytes(encode(results))
    (arguments.out / "RESULTS.md").write_text(report.render(results))
    _say(f"{len(rows)} rows in {time.monotonic() - started:.0f} s: {arguments.out / 'RESULTS.md'}")
    return 0


def _kept(arguments: argparse.Namespace, measured: Collection[str]) -> tuple[list[Row], dict[str, str]]:
    """Of the results that lie there; nothing when all was measured, or only quickly."""
    path = arguments.out / "results.json"
    if arguments.quick or not arguments.only or not path.exists():
        return [], {}
    return kept(decode(path.read_bytes()), measured)


def _is_of(row: Row, section: str) -> bool:
    return row.name.startswith(PREFIXES[section])


def _place(name: str) -> int:
    """Sections stand in their order whichever was measured last."""
    return next((place for place, prefixes in enumerate(PREFIXES.values()) if name.startswith(prefixes)), len(PREFIXES))


def _measure(section: Section, folder: Path, rows: list[Row], left_out: dict[str, str]) -> None:
    _say(section.name)
    own = folder / section.name
    own.mkdir()
    try:
        made, without = section.measure(own)
        rows += made
        left_out |= without
    except LeftOut as error:
        left_out[section.name] = str(error)
    except Exception as error:  # noqa: BLE001  a section's border: its words go into the page, the others go on
        left_out[section.name] = f"failed: {error or type(error).__name__}".splitlines()[0]
        _say(f"  {left_out[section.name]}")
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _sections(arguments: argparse.Namespace) -> list[Section]:
    quick = arguments.quick

    def scale(_folder: Path) -> tuple[list[Row], dict[str, str]]:
        return _module("scale").rows(quick, _say)  # type: ignore[no-any-return]

    def gaps(_folder: Path) -> tuple[list[Row], dict[str, str]]:
        return _module("gaps").rows(quick, _say), {}

    def forecast(_folder: Path) -> tuple[list[Row], dict[str, str]]:
        if arguments.top10 is None:
            raise LeftOut("needs Netflix's weekly lists: ARGS='--top10 all-weeks-global.tsv'")
        return _module("forecasting").rows(arguments.top10, _say), {}

    def simulate(_folder: Path) -> tuple[list[Row], dict[str, str]]:
        return _module("simulating").rows(quick, _say), {}

    def fill(folder: Path) -> tuple[list[Row], dict[str, str]]:
        return asyncio.run(_module("filling").rows(folder, _say, quick=quick))

    return [
        Section("scale", scale),
        Section("gap", gaps),
        Section("forecast", forecast),
        Section("simulate", simulate),
        Section("fill", fill),
    ]


def _module(name: str) -> ModuleType:
    """A section's module, loaded when it is its turn. Raises LeftOut where it needs what is not installed or not there."""
    try:
        return importlib.import_module(f"benchmarks.plan.{name}")
    except ModuleNotFoundError as error:
        raise LeftOut(f"{error.name} is not there") from error


def _conditions(load_before: tuple[float, float, float]) -> dict[str, str]:
    return {
        "scale": "one process; CPU seconds from each file's forecast at each site to the encoded message of each appliance; two nights, the first with empty disks",
        "gap": "one thread; greedy and bound on the same arrays; HiGHS' interior point method with crossover",
        "load before": " ".join(f"{number:.2f}" for number in load_before),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under five minutes: fewer seeds, sites and rounds")
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=[],
        help="sections, such as scale,gap; the others keep the rows they have",
    )
    parser.add_argument("--out", type=Path, default=HERE, help="folder for results.json and RESULTS.md")
    parser.add_argument(
        "--top10", type=Path, help="Netflix's weekly lists (all-weeks-global.tsv), for the forecast rows"
    )
    arguments = parser.parse_args()
    further = [f"--only {','.join(arguments.only)}"] if arguments.only else []
    further += [f"--top10 {arguments.top10.name}"] if arguments.top10 else []
    words = f" ARGS='{' '.join(further)}'" if further else ""
    arguments.command = ("QUICK=1 " if arguments.quick else "") + "make bench-plan" + words
    return arguments


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
