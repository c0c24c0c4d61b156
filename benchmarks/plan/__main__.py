"""`python -m benchmarks.plan`: run every section and write `results.json` and `RESULTS.md` (see `make bench-plan`)."""

from __future__ import annotations

import argparse
import asyncio
import importlib
from pathlib import Path
from types import ModuleType

from benchmarks.plan import report
from benchmarks.serve import processes
from benchmarks.suite.shell import LeftOut, Measured, Section, arguments_of, command_of, run, say

HERE = Path(__file__).parent
CONDITIONS = {
    "scale": "one process; CPU seconds from each file's forecast at each site to the encoded message of each appliance; two nights, the first with empty disks",
    "gap": "one thread; greedy and bound on the same arrays; HiGHS' interior point method with crossover",
}


def main() -> int:
    arguments = parser().parse_args()
    processes.raise_file_limit()
    further = [f"--top10 {arguments.top10.name}"] if arguments.top10 else []
    return run(sections_of(arguments), arguments, command_of("plan", arguments, further), CONDITIONS, report.render)


def parser() -> argparse.ArgumentParser:
    made = arguments_of("plan", __doc__, HERE)
    made.add_argument("--top10", type=Path, help="Netflix's weekly lists (all-weeks-global.tsv), for the forecast rows")
    return made


def sections_of(arguments: argparse.Namespace) -> list[Section]:
    """All of them, in the order of the page."""
    quick = arguments.quick

    def scale(_folder: Path) -> Measured:
        return _module("scale").rows(quick, say)  # type: ignore[no-any-return]

    def gaps(_folder: Path) -> Measured:
        return _module("gaps").rows(quick, say), {}

    def forecast(_folder: Path) -> Measured:
        if arguments.top10 is None:
            raise LeftOut("needs Netflix's weekly lists: ARGS='--top10 all-weeks-global.tsv'")
        return _module("forecasting").rows(arguments.top10, say), {}

    def simulate(_folder: Path) -> Measured:
        return _module("simulating").rows(quick, say), {}

    def fill(folder: Path) -> Measured:
        found: Measured = asyncio.run(_module("filling").rows(folder, say, quick=quick))
        return found

    return [
        Section("scale", ("plan/time-s", "plan/memory-gib", "plan/growth/"), scale),
        Section("gap", ("plan/gap",), gaps),
        Section("forecast", ("plan/wape-", "plan/band"), forecast),
        Section("simulate", ("plan/inside-gain", "plan/peak-upstream"), simulate),
        Section("fill", ("fill/",), fill),
    ]


def _module(name: str) -> ModuleType:
    """A section's module, loaded when it is its turn. Raises LeftOut where it needs what is not installed or not there."""
    try:
        return importlib.import_module(f"benchmarks.plan.{name}")
    except ModuleNotFoundError as error:
        raise LeftOut(f"{error.name} is not there") from error


if __name__ == "__main__":
    raise SystemExit(main())
