"""`python -m benchmarks.store`: run every section and write `results.json` and `RESULTS.md` (see `make bench-store`)."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.serve import processes, running
from benchmarks.serve.rows import Results, Row, encode
from benchmarks.store import coalescing, costs, live, policies, proxies, purging, report, starting, stocking
from oca.link.settings import store_settings
from oca.store.errors import StoreError

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Section:
    """Rows that are measured together in a folder of their own. What fails is left out with its words, the others go on."""

    name: str
    measure: Callable[[Path], list[Row]]


def main() -> int:
    arguments = _arguments()
    processes.raise_file_limit()
    signal.signal(signal.SIGTERM, _interrupt)  # as Ctrl-C: everything that was started is stopped
    folder = Path(tempfile.mkdtemp(prefix="lowtide-bench-", dir=arguments.folder))
    started = time.monotonic()
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    load_before = os.getloadavg()
    try:
        for section in _sections(arguments, left_out):
            if arguments.only and section.name not in arguments.only:
                left_out[section.name] = "not asked for"
                continue
            _measure(section, folder, rows, left_out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    results = Results(
        machine=processes.machine(),
        date=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        command=arguments.command,
        rows=tuple(rows),
        conditions=_conditions(load_before),
        left_out=left_out,
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "results.json").write_bytes(encode(results))
    (arguments.out / "RESULTS.md").write_text(report.render(results))
    _say(f"{len(rows)} rows in {time.monotonic() - started:.0f} s: {arguments.out / 'RESULTS.md'}")
    return 0


def _measure(section: Section, folder: Path, rows: list[Row], left_out: dict[str, str]) -> None:
    _say(section.name)
    own = folder / section.name
    own.mkdir()
    try:
        rows += section.measure(own)
    except (RuntimeError, AssertionError, OSError, StoreError, running.CannotStart) as error:
        left_out[section.name] = f"failed: {error}".splitlines()[0]
        _say(f"  {left_out[section.name]}")
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _sections(arguments: argparse.Namespace, left_out: dict[str, str]) -> list[Section]:
    rounds, quick = arguments.rounds, arguments.quick

    def coalesce(folder: Path) -> list[Row]:
        return uvloop.run(coalescing.rows(folder, rounds, _say))

    def index(folder: Path) -> list[Row]:
        prepared = starting.Prepared(folder, arguments.extents)
        made = [asyncio.run(starting.row(prepared, 3 if quick else rounds, _say))]
        return [*made, costs.lookup_row(store_settings(prepared.settings), prepared.stocked, rounds, _say)]

    def large_index(folder: Path) -> list[Row]:
        settings = stocking.settings_of(folder / "disk", 10 * arguments.extents)
        stocked = stocking.stock(settings, 10 * arguments.extents, files=False)
        return [costs.lookup_row(settings, stocked, rounds, _say)]

    def policy(_folder: Path) -> list[Row]:
        drift = policies.drift_rows(100_000 if quick else 300_000)
        if quick and not (policies.PEER_FOLDER / "bin" / "python").exists():
            left_out["store/policy/…"] = "libcachesim is not installed here; a run without QUICK installs it"
            return drift
        try:
            return [*policies.policy_rows(None, 100_000 if quick else 300_000), *drift]
        except policies.PeerMissing as error:
            left_out["store/policy/…"] = str(error)
            return drift

    def against_nginx(folder: Path) -> list[Row]:
        return uvloop.run(proxies.rows(folder, rounds, _say))

    def purge(folder: Path) -> list[Row]:
        return uvloop.run(purging.rows(folder, 4 * rounds, _say))

    large = [] if quick else [Section("large-index", large_index)]
    if quick:
        left_out["large-index"] = "look-ups over 10 M extents take minutes and 6 GiB of memory; QUICK leaves them out"
    return [
        Section("coalesce", coalesce),
        Section("index", index),
        *large,
        Section("fill", lambda folder: costs.fill_rows(folder, rounds, _say)),
        Section("purge", purge),
        Section("pull", against_nginx),
        Section("policy", policy),
        Section("live", lambda _folder: live.live_rows(quick)),
    ]


def _conditions(load_before: tuple[float, float, float]) -> dict[str, str]:
    return {
        "coalesce": f"supervisor, {starting.WORKERS} workers, keeper, logger; origin and control plane in one process, readers in another; loopback; all bytes compared",
        "index": "every extent is a file of its own; the appliance was stopped in order before each start; look-ups evenly distributed, one process",
        "fill": "one thread, 256 MiB, files of 32 MiB, blocks of 256 KiB, the disk that the temporary folder lies on",
        "load before": " ".join(f"{number:.2f}" for number in load_before),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="under five minutes: fewer rounds, no index of 10 M extents"
    )
    parser.add_argument("--rounds", type=int, help="rounds per row")
    parser.add_argument("--extents", type=int, default=starting.EXTENTS, help="extents of the large index")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help="sections, such as coalesce,fill")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for results.json and RESULTS.md")
    parser.add_argument("--folder", type=Path, help="where disks are made; not tmpfs")
    arguments = parser.parse_args()
    further = f" ARGS='--rounds {arguments.rounds}'" if arguments.rounds else ""
    arguments.rounds = arguments.rounds or (3 if arguments.quick else 7)
    arguments.command = ("QUICK=1 " if arguments.quick else "") + "make bench-store" + further
    return arguments


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
