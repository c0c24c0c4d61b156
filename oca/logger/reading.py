"""Following the access log: lines as they come, over rotations; filters; a line for people."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from oca.logger.lines import AccessLine

_decoder: msgspec.json.Decoder[AccessLine] = msgspec.json.Decoder(AccessLine)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines to show. Empty fields ask nothing; text fields are compared with their beginning, `status` likewise (`5`, `404`)."""

    status: str = ""
    outcome: str = ""
    cache: str = ""
    session: str = ""
    client: str = ""
    path: str = ""
    slower_ms: float = 0.0

    def takes(self, line: AccessLine) -> bool:
        return (
            str(line.status).startswith(self.status)
            and line.outcome.startswith(self.outcome)
            and line.cache.startswith(self.cache)
            and line.session.startswith(self.session)
            and line.client.startswith(self.client)
            and line.path.startswith(self.path)
            and line.duration_ms >= self.slower_ms
        )


def read_line(text: bytes) -> AccessLine | None:
    """None for what is no line of an access log."""
    try:
        return _decoder.decode(text)
    except msgspec.MsgspecError:
        return None


def in_words(line: AccessLine) -> str:
    """One line for a terminal."""
    span = "" if line.first is None else f" from {line.first}"
    place = line.path if line.title is None else f"{line.title}/{line.tier}/{line.file}"
    parts = [
        f"{line.time[11:23]} {line.client:<18} {line.method} {place}{span}",
        f"{line.status} {line.outcome}",
        f"{line.bytes} B in {line.duration_ms:.1f} ms",
    ]
    if line.cache in ("miss", "partial"):
        parts.append(f"{line.missed_bytes} B fetched")
    if line.session:
        parts.append(f"session {line.session}")
    if line.cmcd:
        parts.append(
            " ".join(_word(key, value) for key, value in line.cmcd.items() if key not in ("sid", "cid", "nor", "nrr"))
        )
    return "  ".join(parts)


def follow(path: Path, wait: Callable[[], bool], from_start: bool = False) -> Iterator[bytes]:
    """Whole lines as they are appended to whatever `path` names. `wait` is called when there is nothing; False ends it."""
    file = None
    rest = b""
    try:
        while True:
            if file is None and path.exists():
                file = path.open("rb")
                if not from_start:
                    file.seek(0, os.SEEK_END)
                from_start = True  # what comes after a rotation is new from its first line
            data = file.read(1 << 20) if file is not None else b""
            if data:
                *lines, rest = (rest + data).split(b"\n")
                yield from lines
            elif file is not None and not _is_same(path, file.fileno()):
                file.close()
                file, rest = None, b""
            elif not wait():
                return
    finally:
        if file is not None:
            file.close()


def _is_same(path: Path, fd: int) -> bool:
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return True  # renamed, and the next one has not begun
    opened = os.fstat(fd)
    return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)


def _word(key: str, value: object) -> str:
    return key if value is True else f"{key}={value}"
