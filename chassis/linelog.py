"""A log of ours as JSON lines in a folder: gathered, written by a thread, put aside by size and age, the oldest removed.

Laws: who adds a line never waits for the disk; a disk that refuses costs whole lines, which are counted, and no half line stays, nor
one that a process left that was killed while it wrote; a stop writes what gathered; complete files are bounded in number and age, each in size. The current file is `STEM.jsonl`, complete ones are
`STEM-20251121T093436.123Z.jsonl` by the instant of their completion, so that names sort by age.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from chassis.clock import Clock
from chassis.logs import get_logger
from contracts.instants import instant

FLUSH_S = 0.5
TIDY_S = 60.0
MOST_WAITING_BYTES = 16 * 1024 * 1024
_PIECE_BYTES = 64 * 1024
_STAMP = r"([0-9]{8}T[0-9]{6}\.[0-9]{3}Z)"
_LOG = get_logger("chassis.linelog")


@dataclass(frozen=True, slots=True)
class LineLimits:
    """A file is complete at `file_bytes` or an age of `file_s`; at most `files` complete ones are kept, none for longer than `keep_s`."""

    file_bytes: int
    file_s: float
    files: int
    keep_s: float


class LineLog:
    """Takes lines. `on_lost(n)` is told of lines that were not written."""

    def __init__(
        self, folder: Path, stem: str, limits: LineLimits, clock: Clock, on_lost: Callable[[int], None]
    ) -> None:
        self._folder = folder
        self._stem = stem
        self._limits = limits
        self._clock = clock
        self._on_lost = on_lost
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._began_s = clock.wall_s()
        self._is_mended = False
        self._one_writer = asyncio.Lock()

    def add(self, line: bytes) -> None:
        """Keeps a line, its end of line included."""
        if self._waiting_bytes + len(line) > MOST_WAITING_BYTES:
            self._on_lost(1)
            return
        self._waiting.append(line)
        self._waiting_bytes += len(line)

    def files(self) -> list[Path]:
        """All files there are, the newest first."""
        return files_of(self._folder, self._stem)

    async def run(self) -> None:
        tidied_s = self._clock.monotonic_s()
        while True:
            await self._clock.sleep(FLUSH_S)
            await self.flush()
            if self._clock.monotonic_s() - tidied_s >= TIDY_S:
                await self.tidy()
                tidied_s = self._clock.monotonic_s()

    async def flush(self) -> None:
        """Writes what waits, after whatever is being written."""
        async with self._one_writer:
            lines, self._waiting, self._waiting_bytes = self._waiting, [], 0
            if not lines:
                return
            try:
                await asyncio.to_thread(self._write, b"".join(lines))
            except OSError as error:
                self._on_lost(len(lines))
                _LOG.error("lines-not-written", path=str(self._folder), lines=len(lines), detail=str(error))

    async def tidy(self) -> None:
        """Completes a file that is old enough and removes what is too old, also while no line comes."""
        async with self._one_writer:
            try:
                await asyncio.to_thread(self._complete)
            except OSError as error:
                _LOG.error("files-not-tidied", path=str(self._folder), detail=str(error))

    def _write(self, data: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{self._stem}.jsonl"
        self._mend(path)
        with path.open("ab", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            written = file.write(data)
            if written != len(data):
                file.truncate(before)  # half a line would make the rest of the file unreadable
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if before + written >= self._limits.file_bytes or self._age_s() >= self._limits.file_s:
            self._complete()

    def _mend(self, path: Path) -> None:
        """Cuts off, once, the half line of a process that was killed while it wrote: the next line would become part of it."""
        if self._is_mended:
            return
        cut = _cut_half_line(path)
        self._is_mended = True
        if cut:
            self._on_lost(1)
            _LOG.warning("half-line-removed", path=str(path), size=cut)

    def _complete(self) -> None:
        now_s, path = self._clock.wall_s(), self._folder / f"{self._stem}.jsonl"
        self._mend(path)
        size = path.stat().st_size if path.exists() else 0
        if size >= self._limits.file_bytes or (size and self._age_s() >= self._limits.file_s):
            path.replace(self._folder / f"{self._stem}-{_stamp(now_s)}.jsonl")
            self._began_s = now_s
        complete = [file for file in self.files() if file.name != path.name]
        oldest = _stamp(now_s - self._limits.keep_s)
        for number, file in enumerate(complete):
            if number >= self._limits.files or completed(file, self._stem) < oldest:
                file.unlink(missing_ok=True)

    def _age_s(self) -> float:
        return self._clock.wall_s() - self._began_s


def files_of(folder: Path, stem: str) -> list[Path]:
    """The files of a log, the newest first."""
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    current, whole = f"{stem}.jsonl", re.compile(rf"{re.escape(stem)}-{_STAMP}\.jsonl")
    complete = sorted((name for name in names if whole.fullmatch(name)), reverse=True)
    return [folder / name for name in ([current] if current in names else []) + complete]


def completed(file: Path, stem: str) -> str:
    """The instant of a file's completion, as its name has it; empty for the current file."""
    found = re.fullmatch(rf"{re.escape(stem)}-{_STAMP}\.jsonl", file.name)
    return found[1] if found else ""


@contextmanager
def opened(list_files: Callable[[], list[Path]]) -> Iterator[list[tuple[Path, BinaryIO]]]:
    """All files that are listed, open, in the order of the listing: none is missed and none is there twice, whatever is put aside or removed
    meanwhile. Raises OSError, FileNotFoundError only for a file that stays in the listing."""
    while True:
        with ExitStack() as stack:
            names, missing = list_files(), None
            files: list[tuple[Path, BinaryIO]] = []
            for path in names:
                try:
                    files.append((path, stack.enter_context(path.open("rb"))))
                except FileNotFoundError as error:
                    missing = error
            if list_files() != names:
                continue  # a file may have taken another name before it was opened
            if missing is not None:
                raise missing
            yield files
            return


def _cut_half_line(path: Path) -> int:
    """How many bytes behind the last end of line were cut off a file."""
    try:
        file = path.open("rb+")
    except FileNotFoundError:
        return 0
    with file:
        size = file.seek(0, os.SEEK_END)
        whole = _end_of_lines(file, size)
        if whole < size:
            file.truncate(whole)
        return size - whole


def _end_of_lines(file: BinaryIO, size: int) -> int:
    """Where the last end of line of a file is; 0 where it has none."""
    at = size
    while at > 0:
        begin = max(0, at - _PIECE_BYTES)
        file.seek(begin)
        found = file.read(at - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        at = begin
    return 0


def _stamp(wall_s: float) -> str:
    return instant(wall_s).replace("-", "").replace(":", "")
