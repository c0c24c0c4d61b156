"""`python -m benchmarks.log`: CPU per record in worker and logger, µs; the disk left out. Prints one line per round."""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from benchmarks.serve.workload import FileClass, asks, media_name
from contracts.cmcd import read_query
from oca.http.reasons import Outcome
from oca.link.records import FrameCutter
from oca.logger.app import PIECE
from oca.logger.lines import encode_lines, line_of
from oca.worker.accesslog import AccessLog

ROUNDS = 7
RECORDS = 51_200
_GROUP = FileClass("log", 20_000, 64 * 1024, ())


class _Frames:
    """In place of the pipe."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def write(self, data: bytes | memoryview) -> int:
        self.taken.append(bytes(data))
        return len(data)

    def dropped(self, records: int) -> None:
        raise RuntimeError(f"{records} records dropped")


def main() -> int:
    stream = asks(_GROUP, 64 * 1024, RECORDS, 1)
    paths = [media_name(_GROUP, ask.file).path.encode() for ask in stream]
    queries = [ask.cmcd.encode() for ask in stream]
    sessions = [f"session-{ask.session}" for ask in stream]
    found: list[tuple[float, ...]] = []
    for number in range(ROUNDS):
        frames = _Frames()
        log = AccessLog(0, frames, frames, lambda _seconds, _call: None)

        def add(log: AccessLog = log) -> None:
            for at, (ask, path, query, session) in enumerate(zip(stream, paths, queries, sessions, strict=True)):
                began = 1.7e9 + at / 1000
                log.add(
                    b"p192.0.2.0/24",
                    began,
                    began + 0.01,
                    b"GET",
                    206,
                    Outcome.HIT,
                    path,
                    query,
                    session,
                    ask.first,
                    65536,
                    0,
                )

        def write(frames: _Frames = frames) -> None:
            cutter = FrameCutter()
            for frame in frames.taken:
                for batch in cutter.feed(frame):
                    for at in range(0, len(batch.records), PIECE):
                        encode_lines([line_of(batch.slot, record) for record in batch.records[at : at + PIECE]])

        def read() -> None:
            for query in queries:
                read_query(query)

        found.append(tuple(_spent(work) for work in (add, write, read)))
        sys.stdout.write(
            f"{number}: worker {found[-1][0]:.2f}  logger {found[-1][1]:.2f} (of it CMCD {found[-1][2]:.2f})\n"
        )
    worker, logger, cmcd = (statistics.median(row) for row in zip(*found[1:], strict=True))
    machine = f"{platform.machine()}, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}"
    sys.stdout.write(
        f"medians of {ROUNDS - 1} rounds of {RECORDS} records, {machine}: "
        f"worker {worker:.2f} µs, logger {logger:.2f} µs (of it CMCD {cmcd:.2f} µs)\n"
    )
    return 0


def _spent(work: Callable[[], None]) -> float:
    """µs of CPU per record."""
    before = time.process_time()
    work()
    return (time.process_time() - before) / RECORDS * 1e6


if __name__ == "__main__":
    raise SystemExit(main())
