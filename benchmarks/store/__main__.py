"""`python -m benchmarks.store`: run every section and write `results.json` and `RESULTS.md` (see `make bench-store`)."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import uvloop

from benchmarks.serve import processes
from benchmarks.store import coalescing, costs, live, policies, proxies, purging, report, starting, stocking
from benchmarks.suite.shell import LeftOut, Measured, Section, arguments_of, command_of, run, say
from oca.link.settings import store_settings

HERE = Path(__file__).parent
CONDITIONS = {
    "coalesce": f"supervisor, {starting.WORKERS} workers, keeper, logger; origin and control plane in one process, readers in another; loopback; all bytes compared",
    "index": "every extent is a file of its own; the appliance was stopped in order before each start; look-ups evenly distributed, one process",
    "fill": "one thread, 256 MiB, files of 32 MiB, blocks of 256 KiB, the disk that the temporary folder lies on",
}


def main() -> int:
    arguments = parser().parse_args()
    processes.raise_file_limit()
    further = [f"--rounds {arguments.rounds}"] if arguments.rounds else []
    command = command_of("store", arguments, further)
    return run(sections_of(arguments), arguments, command, CONDITIONS, report.render, arguments.folder)


def parser() -> argparse.ArgumentParser:
    made = arguments_of("store", __doc__, HERE)
    made.add_argument("--rounds", type=int, help="rounds per row")
    made.add_argument("--extents", type=int, default=starting.EXTENTS, help="extents of the large index")
    made.add_argument("--folder", type=Path, help="where disks are made; not tmpfs")
    return made


def sections_of(arguments: argparse.Namespace) -> list[Section]:
    """All of them, in the order of the page."""
    quick = arguments.quick
    rounds = arguments.rounds or (3 if quick else 7)

    def coalesce(folder: Path) -> Measured:
        return uvloop.run(coalescing.rows(folder, rounds, say)), {}

    def index(folder: Path) -> Measured:
        prepared = starting.Prepared(folder, arguments.extents)
        made = [asyncio.run(starting.row(prepared, 3 if quick else rounds, say))]
        return [*made, costs.lookup_row(store_settings(prepared.settings), prepared.stocked, rounds, say)], {}

    def large_index(folder: Path) -> Measured:
        if quick:
            raise LeftOut("look-ups over 10 M extents take minutes and 6 GiB of memory; QUICK leaves them out")
        settings = stocking.settings_of(folder / "disk", 10 * arguments.extents)
        stocked = stocking.stock(settings, 10 * arguments.extents, files=False)
        return [costs.lookup_row(settings, stocked, rounds, say)], {}

    def fill(folder: Path) -> Measured:
        return costs.fill_rows(folder, rounds, say), {}

    def purge(folder: Path) -> Measured:
        return uvloop.run(purging.rows(folder, 4 * rounds, say)), {}

    def against_nginx(folder: Path) -> Measured:
        return uvloop.run(proxies.rows(folder, rounds, say)), {}

    return [
        Section("coalesce", ("store/coalesce/",), coalesce),
        Section("index", ("store/first-hit-s", "store/lookups/1m"), index),
        Section("large-index", ("store/lookups/10m",), large_index),
        Section("fill", ("store/fill/",), fill),
        Section("purge", ("store/purge/",), purge),
        Section("pull", ("store/pull/",), against_nginx),
        Section("policy", ("store/policy/", "store/drift/"), lambda _folder: _policy(quick)),
        Section("live", ("store/live/",), lambda _folder: (live.live_rows(quick), {})),
    ]


def _policy(quick: bool) -> Measured:
    """Ours beside libcachesim's where that is or can be installed; how far they drift needs none."""
    requests = 100_000 if quick else 300_000
    drift, name = policies.drift_rows(requests), "store/policy/…"
    if quick and not (policies.PEER_FOLDER / "bin" / "python").exists():
        return drift, {name: "libcachesim is not installed here; a run without QUICK installs it"}
    try:
        return [*policies.policy_rows(None, requests), *drift], {}
    except policies.PeerMissing as error:
        return drift, {name: str(error)}


if __name__ == "__main__":
    raise SystemExit(main())
