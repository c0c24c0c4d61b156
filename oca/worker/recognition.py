"""What the usual request says, read by comparing it with requests that the strict parser has accepted before. Pure.

Laws
- Header lines are known only when they are, byte for byte, lines that the strict parser has accepted as one whole request. So there is no second
  parser that could be more lenient than the first.
- What may differ from request to request, the target and one simple range, has a grammar narrower than HTTP's.
- What is remembered is bounded; the oldest goes first.
"""

from __future__ import annotations

import re

import msgspec

from contracts.urls import parse_media_path
from oca.http.request import Request
from oca.store.extents import index_key, key_hash

MAX_REQUEST_BYTES = 4096
MAX_FILES = 32_768
"""About 12 MiB."""
MAX_HEADERS = 512
BEYOND = 1 << 62
"""The last byte of a range without an end."""

# Token and path as this system writes them, and a query of RFC 3986 characters.
_TARGET = re.compile(
    rb"GET /~([A-Za-z0-9._-]+)(/media/[a-z0-9._/-]+)(?:\?([A-Za-z0-9%._~!$&'()*+,;=:@/?-]*))? HTTP/1\.1\r\n"
)
_RANGES = (b"\r\nRange: bytes=", b"\r\nrange: bytes=")
_RANGE = re.compile(rb"([0-9]{1,15})-([0-9]{0,15})\r\n")
_EFFECTLESS = frozenset((b"host", b"range", b"origin", b"connection"))
"""Of the headers that decide anything, those whose effect on an answer the short way covers."""


class File:
    """What a path says. `place` is the index key of its first extent."""

    __slots__ = ("hashed", "key", "place", "prefix", "tier")

    def __init__(self, key: str, prefix: str, tier: str) -> None:
        self.key = key
        self.hashed = key_hash(key)
        self.place = index_key(self.hashed, 0)
        self.prefix = prefix
        self.tier = tier


class Head:
    """Header lines without their range: what they say, by name in lower case."""

    __slots__ = ("headers", "host", "origin")

    def __init__(self, headers: dict[bytes, bytes]) -> None:
        self.headers = headers
        self.host = headers.get(b"host")
        self.origin = headers.get(b"origin")


class Usual(msgspec.Struct, gc=False):
    """A GET on HTTP/1.1 of `first` … `end` (inclusive, maybe beyond the file's) with a token, on a connection that stays."""

    data: bytes
    token: bytes
    path: bytes
    query: bytes
    head: Head
    file: File
    first: int
    end: int
    is_range: bool
    """False: all of the file is asked for."""

    def request(self) -> Request:
        """The same as the strict parser gives it, but for the spelling of the range."""
        headers = dict(self.head.headers)
        if self.is_range:
            headers[b"range"] = b"bytes=%d-" % self.first + (b"%d" % self.end if self.end < BEYOND else b"")
        return Request(b"GET", self.data.split(b" ", 2)[1], 1, headers)


class Recognition:
    """One per worker: what was learnt."""

    def __init__(self) -> None:
        self._files: dict[bytes, File] = {}
        self._heads: dict[bytes, Head] = {}

    def learn(self, data: bytes, request: Request) -> None:
        """Remember what the strict parser made of `data`, which was this one request and nothing else."""
        if request.method != b"GET" or not request.minor or not request.keep_alive or len(data) > MAX_REQUEST_BYTES:
            return
        line = _TARGET.match(data)
        if line is None or not _EFFECTLESS.issuperset(request.headers):
            return
        self._learn_head(data, line.end() - 2, request)

    def _learn_head(self, data: bytes, start: int, request: Request) -> None:
        headers = dict(request.headers)
        wanted = headers.pop(b"range", None)
        lines = data[start:]
        if wanted is not None:
            at = max(data.find(name, start) for name in _RANGES)
            asked = _RANGE.match(data, at + len(_RANGES[0])) if at >= 0 else None
            if asked is None or b"bytes=%b-%b" % asked.groups() != wanted:
                return
            lines = data[start:at] + data[asked.end() - 2 :]
        if lines not in self._heads:
            if len(self._heads) >= MAX_HEADERS:
                del self._heads[next(iter(self._heads))]
            self._heads[lines] = Head(headers)

    def _file(self, path: bytes) -> File | None:
        """A path's one spelling is its name (`contracts.urls`): what it means needs no strict parser."""
        name = parse_media_path(path.decode("ascii"))
        if name is None:
            return None
        if len(self._files) >= MAX_FILES:
            del self._files[next(iter(self._files))]
        file = self._files[path] = File(name.key, f"/media/{name.title}/", name.tier)
        return file

    def read(self, data: bytes) -> Usual | None:
        """What `data`, one whole request, says; None when anything about it was not seen before."""
        line = _TARGET.match(data)
        if line is None or data[-4:] != b"\r\n\r\n" or len(data) > MAX_REQUEST_BYTES:
            return None
        start = line.end() - 2
        at = data.find(_RANGES[0], start)
        if at < 0:
            at = data.find(_RANGES[1], start)
        if at < 0:
            asked = None
            first, end = 0, BEYOND
            head = self._heads.get(data[start:])
        else:
            asked = _RANGE.match(data, at + 15)
            if asked is None:
                return None
            stop = asked.end() - 2
            head = self._heads.get(data[start:at] + data[stop:])
            first, end = int(asked[1]), int(asked[2] or BEYOND)
            if end < first:
                return None
        token, path, query = line.groups(b"")
        if head is None:
            return None
        file = self._files.get(path) or self._file(path)
        if file is None:
            return None
        return Usual(data, token, path, query, head, file, first, end, asked is not None)
