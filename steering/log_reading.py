"""Steering logs and access logs read from files while others write and put them aside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import msgspec

from chassis.linelog import opened
from contracts.decisions import Decision
from steering.decided import UnknownFormat, read
from steering.journal import files_in
from steering.misses import Served


@dataclass(slots=True)
class Broken:
    """Lines that were left out since they are no JSON: what a process leaves that is killed while it writes. `first` is where the first is."""

    lines: int = 0
    first: str = ""

    def takes(self, line: bytes, where: str) -> bool:
        """Whether the line is such a one; then it is counted."""
        try:
            msgspec.json.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self.lines += 1
            self.first = self.first or where
            return True
        return False


class AccessLine(msgspec.Struct, frozen=True):
    """What is needed of a line of an appliance's access log (docs/access-log.md)."""

    time: str
    path: str
    bytes: int
    peer: bool = False
    session: str = ""
    cache: str = "none"
    missed_bytes: int = 0


def decisions_of(paths: Sequence[Path], broken: Broken) -> Iterator[Decision]:
    """All decisions of files, and of folders of a steering log, the oldest file of a folder first.

    Raises OSError, and UnknownFormat with file and line for what is JSON and no decision, or of a newer format.
    """
    for given in paths:
        for where, line in _lines(partial(_decisions_in, given)):
            try:
                yield read(line)
            except UnknownFormat as error:
                if not broken.takes(line, where):
                    raise UnknownFormat(f"{where}: {error}") from error


def served_of(given: Sequence[str], broken: Broken) -> Iterator[Served]:
    """Answers to players by `APPLIANCE=PATH` of access logs. Raises OSError, and ValueError with file and line for what is JSON and no such line."""
    decoder = msgspec.json.Decoder(AccessLine)
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or not name or not path:
            raise ValueError(f"{text!r} is not APPLIANCE=PATH")
        for where, line in _lines(partial(_logs_in, Path(path))):
            try:
                one = decoder.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                if broken.takes(line, where):
                    continue
                raise ValueError(f"{where}: no line of an access log: {error}") from error
            if not one.peer and one.cache != "none":
                yield Served(name, one.time, one.session, one.path, one.bytes, one.missed_bytes)


def _lines(list_files: Callable[[], list[Path]]) -> Iterator[tuple[str, bytes]]:
    """(file and number, line) of files that are listed the newest first, the oldest line first."""
    with opened(list_files) as files:
        for path, file in reversed(files):
            yield from _numbered(path, file)


def _numbered(path: Path, file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    for number, line in enumerate(file, start=1):
        yield f"{path}:{number}", line


def _decisions_in(given: Path) -> list[Path]:
    return files_in(given) if given.is_dir() else [given]


def _logs_in(root: Path) -> list[Path]:
    """The newest first. Raises ValueError for a folder with files that are not there as lines: what is in them would be missing in every sum."""
    if not root.is_dir():
        return [root]
    found = sorted(root.glob("access*.jsonl"), reverse=True)
    for columns in sorted(root.glob("access-*.parquet")):
        if columns.with_suffix(".jsonl") not in found:
            raise ValueError(f"{columns}: is not there as JSON lines (log.format: both keeps them)")
    return found
