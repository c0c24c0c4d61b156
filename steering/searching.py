"""Finding decisions in the files of a steering log, from the newest line to the oldest.

There is no index: files are read backwards in pieces, and a piece is searched for the bytes that a wanted line must have. A busy hour of a
log is gigabytes of which an operator asks a few times a day; an index would cost every decision something, and memory. A search holds the
interpreter for one piece at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec

from chassis.linelog import opened
from contracts.decisions import Decision
from contracts.urls import MEDIA_SERVICE, cache_key
from steering.decided import UnknownFormat, read

PIECE_BYTES = 256 * 1024
_TIME = b'"time":"'
_TIME_CHARS = len("2026-11-21T09:34:36.123Z")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for; what is empty asks nothing. `client` is an address as the log cuts it; `since` and `until` are instants as lines
    have them, RFC 3339 in UTC with milliseconds, `until` not included."""

    play: str = ""
    client: str = ""
    title: str = ""
    since: str = ""
    until: str = ""

    def needles(self) -> list[bytes]:
        """Bytes that a line must have, what is rarest first."""
        media = cache_key(MEDIA_SERVICE, f"/media/{self.title}/")
        found = [_member("play", self.play)] if self.play else []
        found += [msgspec.json.encode(media)[1:-1]] if self.title else []
        found += [_member("client", self.client)] if self.client else []
        return found or [_TIME]

    def takes(self, decision: Decision) -> bool:
        """Whether a line that has the bytes is one that is wanted."""
        return (
            self.play in ("", decision.play)
            and self.client in ("", decision.client)
            and (not self.until or decision.time < self.until)
            and decision.time >= self.since
        )


@dataclass(slots=True)
class Found:
    """Lines and what they say, the newest first. `whole` is False where there may be older ones that are wanted: there were enough.
    `unread` counts lines that this program does not understand."""

    lines: list[bytes] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    whole: bool = True
    unread: int = 0


def found_in(list_files: Callable[[], list[Path]], wanted: Wanted, limit: int, piece_bytes: int = PIECE_BYTES) -> Found:
    """The newest `limit` lines that are wanted; files are listed the newest first. Blocks: call it in a thread. Raises OSError."""
    found = Found()
    first, *others = wanted.needles()
    with opened(list_files) as files:
        for _path, file in files:
            for line in backwards(file, first, wanted.since.encode(), piece_bytes):
                if all(needle in line for needle in others) and _take(found, wanted, line, limit):
                    return found
    return found


def backwards(file: BinaryIO, needle: bytes, since: bytes = b"", piece_bytes: int = PIECE_BYTES) -> Iterator[bytes]:
    """Whole lines that have the bytes, the last first, until a piece begins with a line from before `since`."""
    at = file.seek(0, os.SEEK_END)
    rest = b""
    while at > 0:
        size = min(piece_bytes, at)
        at -= size
        file.seek(at)
        data = file.read(size) + rest
        begin = 0 if at == 0 else data.find(b"\n") + 1
        if begin == 0 and at > 0:
            rest = data
            continue
        yield from _last_first(data, begin, needle)
        if since and _time_at(data, begin) < since:
            return
        rest = data[:begin]


def _last_first(data: bytes, begin: int, needle: bytes) -> Iterator[bytes]:
    end = len(data)
    while (found := data.rfind(needle, begin, end)) >= 0:
        start = max(begin, data.rfind(b"\n", begin, found) + 1)
        stop = data.find(b"\n", found)
        if stop >= 0:  # else it is still being written
            yield data[start : stop + 1]
        end = start


def _time_at(data: bytes, begin: int) -> bytes:
    """The instant of the line that begins there; the end of all time where it has none, so that nothing ends early."""
    found = data.find(_TIME, begin, begin + 64)
    return data[found + len(_TIME) : found + len(_TIME) + _TIME_CHARS] if found >= 0 else b"~"


def _take(found: Found, wanted: Wanted, line: bytes, limit: int) -> bool:
    """Adds a line that is wanted. True when there are enough."""
    try:
        decision = read(line)
    except UnknownFormat:
        found.unread += 1
        return False
    if wanted.takes(decision):
        found.lines.append(line)
        found.decisions.append(decision)
        found.whole = len(found.lines) < limit
    return len(found.lines) >= limit


def _member(name: str, value: str) -> bytes:
    return b'"%s":%s' % (name.encode(), msgspec.json.encode(value))
