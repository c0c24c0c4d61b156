"""`make fuzz`: all targets in turn for SECONDS, with a new seed each time; a finding is kept in `crashers/` and ends with 1."""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Callable

from tests.fuzz.running import CRASHERS, Finding, Progress, run
from tests.fuzz.targets import TARGETS

TURN_S = 5.0


def main() -> int:
    """Gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="in all")
    parser.add_argument("--seed", type=int, default=None, help="repeat a run; by default the time of day")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(target.name for target in TARGETS))
    wanted = parser.parse_args()
    unknown = set(wanted.targets) - {target.name for target in TARGETS}
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    chosen = [target for target in TARGETS if not wanted.targets or target.name in wanted.targets]
    seed = int(time.time()) if wanted.seed is None else wanted.seed
    end = time.monotonic() + wanted.seconds
    turn_s = min(TURN_S, wanted.seconds / len(chosen))
    while time.monotonic() < end:
        for target in chosen:
            progress = Progress()
            finding = run(target, seed, _until(min(end, time.monotonic() + turn_s)), progress)
            _say(f"{target.name:12} seed {seed}: {progress.tried} inputs, {progress.signs} kinds of answers")
            if finding is not None:
                _keep(finding)
                return 1
        seed += 1
    return 0


def _until(moment: float) -> Callable[[], bool]:
    return lambda: time.monotonic() < moment


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _keep(finding: Finding) -> None:
    folder = CRASHERS / finding.target
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{hashlib.sha256(finding.data).hexdigest()[:12]}.bin"
    file.write_bytes(finding.data)
    _say(f"{finding.target}: {finding.error}\n  {finding.data!r}\n  kept as {file}; it is a test from now on")


if __name__ == "__main__":
    sys.exit(main())
