"""What a slow disk does to hits that are in memory (`serve/cold-disk-p99-ms`).

One worker, two disks. wrk asks for 64 KiB ranges of files of the first disk, all in memory. In half of the rounds readers ask besides
for ranges of the second disk's files, which are dropped from memory before each request, while each read of that disk takes 50 ms: its
four threads are busy all the time, with a queue before them. The value is by how much that raises the p99 of the hits.

The slow disk is the tests' FUSE filesystem (`tests/faults/faulty_disk.py`), a process of its own on the client's core.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from benchmarks.serve import load, memory
from benchmarks.serve.appliance import OurAppliance
from benchmarks.serve.rows import Plain
from benchmarks.serve.workload import Contents, FileClass, Target, asks, media_name, token_target, whole_file
from oca.link.counters import Count
from oca.store.extents import extent_name, key_hash

ROUNDS = 6
SECONDS = 1
DELAY_S = 0.05
READERS = 8
"""Twice the threads of a disk: some always wait."""
_GROUP = FileClass("cold", 300, 192 * 1024, ())
_RANGE_BYTES = 64 * 1024
_FAULTY_DISK = Path(__file__).parents[2] / "tests" / "faults" / "faulty_disk.py"


def why_not() -> str:
    """Why this row cannot be measured here; empty when it can."""
    if os.geteuid() or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "the slow disk is a FUSE filesystem: needs root and /dev/fuse"
    return ""


async def measure(folder: Path) -> list[Plain]:
    """One value per round. Raises RuntimeError when the hits were not hits or the slow disk was not asked."""
    slow = folder / "slow"
    with _slow_disk(folder / "behind", slow) as becomes:
        contents = Contents()
        ours = OurAppliance(folder, slow)
        ours.fill(_GROUP, contents)
        cold = _files_on(ours, 1)
        hot = sorted(set(range(_GROUP.files)) - cold.keys())
        if len(hot) < READERS or len(cold) < READERS:
            raise RuntimeError("the files do not lie on both disks")
        target = token_target(_GROUP, ours.tokens(_GROUP))
        host = f"127.0.0.1:{ours.port}"
        stream = [ask for ask in asks(_GROUP, _RANGE_BYTES, 8_000, seed=2) if ask.file not in cold]
        load.write_requests(folder / "requests", host, stream, target)
        await ours.start()
        try:
            load.check_sample(ours.port, host, _GROUP, contents, target, [whole_file(_GROUP, file) for file in hot])
            if missing := memory.missing_bytes(ours.extents):
                raise RuntimeError(f"{missing} bytes of the first disk are not in memory")
            becomes(delay_s=DELAY_S)
            found = []
            for number in range(ROUNDS):
                found.append(await _round(ours, folder / "requests", number, cold, contents, target))
            return found
        finally:
            becomes()
            await ours.stop()


async def _round(
    ours: OurAppliance, requests: Path, number: int, cold: dict[int, Path], contents: Contents, target: Target
) -> Plain:
    """The hits alone and beside readers of the slow disk, in turn first."""
    alone: load.Wrk | None = None
    if number % 2 == 0:
        alone = await load.measure(ours.port, requests, SECONDS, number * 1000)
    before = ours.counters.total(Count.COLD_WINDOWS)
    with _Readers(ours.port, cold, contents, target) as readers:
        beside = await load.measure(ours.port, requests, SECONDS, number * 1000)
    windows = ours.counters.total(Count.COLD_WINDOWS) - before
    alone = alone or await load.measure(ours.port, requests, SECONDS, number * 1000)
    for one in (alone, beside):
        load.check_volume(one, _RANGE_BYTES)
    if windows < READERS or not readers.answers:
        raise RuntimeError(f"the slow disk was asked for {windows} windows only")
    facts = {
        "alone_p99_ms": alone.p99_us / 1000,
        "beside_p99_ms": beside.p99_us / 1000,
        "alone_p50_ms": alone.p50_us / 1000,
        "beside_p50_ms": beside.p50_us / 1000,
        "alone_requests": float(alone.requests),
        "beside_requests": float(beside.requests),
        "cold_windows": float(windows),
        "cold_answers": float(readers.answers),
    }
    return Plain((beside.p99_us - alone.p99_us) / 1000, facts)


class _Readers:
    """`READERS` clients that ask for what lies on the slow disk and is not in memory. Wrong bytes are raised at the end."""

    def __init__(self, port: int, cold: dict[int, Path], contents: Contents, target: Target) -> None:
        self.answers = 0
        self._port = port
        self._cold = list(cold.items())
        self._contents = contents
        self._target = target
        self._stop = threading.Event()
        self._errors: list[Exception] = []
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(READERS)]

    def __enter__(self) -> _Readers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def _run(self, number: int) -> None:
        own = self._cold[number::READERS]
        rng = random.Random(number)
        host = f"127.0.0.1:{self._port}"
        checker = load.Checker(self._port, host, _GROUP, self._contents, self._target)
        try:
            while not self._stop.is_set():
                file, path = rng.choice(own)
                _forget(path)
                checker.range(whole_file(_GROUP, file))
                self.answers += 1
        except Exception as error:  # noqa: BLE001  the border of a thread: raised by the one who joins it
            self._errors.append(error)
        finally:
            checker.close()


def _forget(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def _files_on(ours: OurAppliance, disk: int) -> dict[int, Path]:
    """The extent files of what lies on a disk, by the file's number."""
    found: dict[int, Path] = {}
    root = Path(ours.settings.store.disks[disk].path)
    for file in range(_GROUP.files):
        record = ours.store.find(key_hash(media_name(_GROUP, file).key), 0)
        if record is not None and record.disk == disk:
            found[file] = root / extent_name(record.extent_id)
    return found


class _Becomes:
    """Tells the slow disk what is wrong with it (`faulty_disk.Faults`)."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, **faults: float) -> None:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the slow disk has no pipes")
        self._process.stdin.write(json.dumps(faults) + "\n")
        self._process.stdin.flush()
        if not self._process.stdout.readline():
            raise RuntimeError("the slow disk is gone")


@contextlib.contextmanager
def _slow_disk(backing: Path, mount: Path) -> Iterator[_Becomes]:
    backing.mkdir(parents=True)
    mount.mkdir(parents=True)
    with subprocess.Popen(
        [sys.executable, str(_FAULTY_DISK), str(backing), str(mount)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            becomes = _Becomes(process)
            becomes()
            yield becomes
        finally:
            if process.stdin is not None:
                process.stdin.close()  # it unmounts and ends
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
