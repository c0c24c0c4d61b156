"""`python -m benchmarks.steer`: run every section and write `results.json` and `RESULTS.md` (see `make bench-steer`)."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.serve import processes
from benchmarks.steer import deciding, door, dying, reloads, report, spread, worlds
from benchmarks.steer.playing import first_frame, killing
from benchmarks.steer.playing.figures import ROWS as SESSIONS
from benchmarks.suite.shell import Measured, Section, arguments_of, command_of, run, say

HERE = Path(__file__).parent
CONDITIONS = {
    "decision": "one thread, CPU time; requests made before, garbage collection off while timing",
    "door": "one steering process on core 0, wrk with 32 connections on core 1, loopback; per second of the server's CPU, since the machine is shared; reloads: sessions that steering itself sealed, of eight renditions each",
    "spread": "benchmarks/instances/steering.yaml with real decisions over simulated boxes; not a measurement of time, the same on any machine",
    "dead-box": "control plane, steering and three appliances on loopback; kill -9 to a whole appliance, rankings asked for every 20 ms",
    "sessions": "the whole system on loopback and two processes of scripted players, all on the same cores; kill -9 to a whole appliance while all play, started again later",
    "first-frame": "the viewer page in headless Chromium and the whole system on the same cores, loopback; one play before the first that counts",
}
SPREAD = tuple(f"steer/{name}" for name in ("hottest", "holders", "moved", "distinct", "content-misses"))


def main() -> int:
    arguments = parser().parse_args()
    processes.raise_file_limit()
    further = [f"--rounds {arguments.rounds}"] if arguments.rounds else []
    return run(sections_of(arguments), arguments, command_of("steer", arguments, further), CONDITIONS, report.render)


def parser() -> argparse.ArgumentParser:
    made = arguments_of("steer", __doc__, HERE)
    made.add_argument("--rounds", type=int, help="rounds of what is measured over HTTP")
    return made


def sections_of(arguments: argparse.Namespace) -> list[Section]:
    """All of them, in the order of the page."""
    quick = arguments.quick
    rounds = arguments.rounds or (1 if quick else 5)

    def decision(_folder: Path) -> Measured:
        return deciding.rows(quick=quick, say=say), {}

    def at_the_door(folder: Path) -> Measured:
        return door.rows(folder, rounds=rounds, say=say), {}

    def memory(folder: Path) -> Measured:
        return worlds.rows(rounds, folder), {}

    def spreading(_folder: Path) -> Measured:
        return spread.rows(quick=quick, say=say), {}

    def dead_box(folder: Path) -> Measured:
        return dying.rows(folder, rounds=rounds, say=say), {}

    def sessions(folder: Path) -> Measured:
        return killing.rows(folder, quick=quick, say=say), {}

    def pressing(folder: Path) -> Measured:
        return first_frame.rows(folder, presses=3 if quick else 11, say=say), {}

    return [
        Section("decision", ("steer/decision-us",), decision),
        Section("door", ("steer/requests-per-s", reloads.NAME), at_the_door),
        Section("worlds", ("steer/world-",), memory),
        Section("spread", SPREAD, spreading),
        Section("dead-box", ("steer/dead-box-s",), dead_box),
        Section("sessions", SESSIONS, sessions),
        Section("first-frame", (first_frame.NAME,), pressing),
    ]


if __name__ == "__main__":
    raise SystemExit(main())
