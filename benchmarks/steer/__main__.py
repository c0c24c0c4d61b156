"""`python -m benchmarks.steer`: run every section and write `results.json` and `RESULTS.md` (see `make bench-steer`)."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.serve import processes
from benchmarks.serve.rows import Results, Row, encode
from benchmarks.steer import deciding, door, dying, report, spread, worlds

HERE = Path(__file__).parent
Section = Callable[[Path], list[Row]]


def main() -> int:
    arguments = _arguments()
    processes.raise_file_limit()
    signal.signal(signal.SIGTERM, _interrupt)  # as Ctrl-C: everything that was started is stopped
    folder = Path(tempfile.mkdtemp(prefix="lowtide-bench-"))
    started = time.monotonic()
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    load_before = os.getloadavg()
    try:
        for name, measure in _sections(arguments).items():
            if arguments.only and name not in arguments.only:
                left_out[name] = "not asked for"
                continue
            _say(name)
            own = folder / name
            own.mkdir()
            try:
                rows += measure(own)
            except (RuntimeError, AssertionError, OSError) as error:
                left_out[name] = f"failed: {error}".splitlines()[0]
                _say(f"  {left_out[name]}")
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


def _sections(arguments: argparse.Namespace) -> dict[str, Section]:
    quick, rounds = arguments.quick, arguments.rounds
    return {
        "decision": lambda _folder: deciding.rows(quick=quick, say=_say),
        "door": lambda folder: door.rows(folder, rounds=rounds, say=_say),
        "worlds": lambda folder: worlds.rows(rounds, folder),
        "spread": lambda _folder: spread.rows(quick=quick, say=_say),
        "dead-box": lambda folder: dying.rows(folder, rounds=rounds, say=_say),
    }


def _conditions(load_before: tuple[float, float, float]) -> dict[str, str]:
    return {
        "decision": "one thread, CPU time; requests made before, garbage collection off while timing",
        "door": "one steering process on core 0, wrk with 32 connections on core 1, loopback; per second of the server's CPU, since the machine is shared",
        "spread": "benchmarks/instances/steering.yaml with real decisions over simulated boxes; not a measurement of time, the same on any machine",
        "dead-box": "control plane, steering and three appliances on loopback; kill -9 to a whole appliance, rankings asked for every 20 ms",
        "load before": " ".join(f"{number:.2f}" for number in load_before),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steer", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under five minutes: fewer and shorter rounds")
    parser.add_argument("--rounds", type=int, help="rounds of what is measured over HTTP")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help="sections, such as decision,door")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for results.json and RESULTS.md")
    arguments = parser.parse_args()
    arguments.command = ("QUICK=1 " if arguments.quick else "") + "make bench-steer"
    if arguments.only:
        arguments.command += f" ARGS='--only {','.join(arguments.only)}'"
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 5)
    return arguments


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
