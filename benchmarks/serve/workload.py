"""What is asked for: files, their bytes, their popularity, and the requests of one stream. Pure.

Laws:
- Every server gets the same stream: the same files and ranges in the same order, the same header lines. Only the proof of permission
  differs (a signed token in our path, `md5` and `expires` in the query for the peers).
- A file's bytes are its own: each page starts with the file's number and the page's offset, so that a foreign byte shows.
- Files are `SLACK_BYTES` longer than the range, and ranges start anywhere: no server profits from page or block alignment.
"""

from __future__ import annotations

import base64
import bisect
import hashlib
import itertools
import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from contracts.urls import MediaName, with_token

ALPHA = 0.9
TOKENS = 5_400
"""Sessions; a multiple of every class's titles, so that each title has as many."""
FILES_PER_TITLE = 100
SLACK_BYTES = 4096
_PAGE = 4096
_STAMP = struct.Struct(">QQ")
_BASE_BYTES = 1 << 20
_LARGEST_FILE = 9 << 20
TIER = "hd"
SECRET = "benchmark"
"""Shared secret of the peers' `secure_link`; nothing but a benchmark uses it."""


@dataclass(frozen=True, slots=True)
class FileClass:
    """Files of one working set, and the range sizes asked of them."""

    name: str
    files: int
    range_bytes: int
    sizes: tuple[str, ...]

    @property
    def file_bytes(self) -> int:
        return self.range_bytes + SLACK_BYTES

    @property
    def titles(self) -> int:
        return -(-self.files // FILES_PER_TITLE)

    @property
    def working_set_bytes(self) -> int:
        return self.files * self.file_bytes


SIZES = {"1k": 1024, "16k": 16 * 1024, "64k": 64 * 1024, "512k": 512 * 1024, "2560k": 2560 * 1024}
CLASSES = (
    FileClass("small", 20_000, 64 * 1024, ("1k", "16k", "64k")),
    FileClass("middle", 3_000, 512 * 1024, ("512k",)),
    FileClass("large", 800, 2560 * 1024, ("2560k",)),
)


def smaller(classes: Sequence[FileClass], files: int | None) -> list[FileClass]:
    """The same classes with at most so many files each; all of them for None."""
    return [replace(group, files=min(group.files, files or group.files)) for group in classes]


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: a file's number, the range, and which session asks (a number below `TOKENS`)."""

    file: int
    first: int
    length: int
    session: int
    cmcd: str

    @property
    def range_line(self) -> str:
        return f"bytes={self.first}-{self.first + self.length - 1}"


class Zipf:
    """Draws 0 … n-1 with probability proportional to 1 / (rank + 1)^alpha, rank being the number itself."""

    def __init__(self, n: int, alpha: float) -> None:
        if n < 1:
            raise ValueError("a Zipf distribution needs at least one outcome")
        self._sums = list(itertools.accumulate((rank + 1) ** -alpha for rank in range(n)))

    def draw(self, rng: random.Random) -> int:
        return min(bisect.bisect_right(self._sums, rng.random() * self._sums[-1]), len(self._sums) - 1)

    def share(self, first: int) -> float:
        """The probability of an outcome below `first`."""
        return self._sums[first - 1] / self._sums[-1] if first else 0.0


def media_name(group: FileClass, file: int) -> MediaName:
    """Where a file lies. A hundred files make a title, as an episode has hundreds of files."""
    return MediaName(f"{group.name}-{file // FILES_PER_TITLE}", TIER, f"v{file % FILES_PER_TITLE}.mp4")


def title_of_session(group: FileClass, session: int) -> int:
    """Sessions are dealt out to titles in turn."""
    return session % group.titles


class Contents:
    """The bytes of the files, the same on every run of one seed."""

    def __init__(self, seed: int = 1) -> None:
        self._base = random.Random(seed).randbytes(_BASE_BYTES) * (_LARGEST_FILE // _BASE_BYTES + 2)

    def of(self, group: FileClass, file: int) -> bytes:
        size = group.file_bytes
        turn = file * 4099 % _BASE_BYTES
        if size > _LARGEST_FILE:
            raise ValueError(f"no file is longer than {_LARGEST_FILE} bytes")
        data = bytearray(self._base[turn : turn + size])
        for offset in range(0, size - _STAMP.size + 1, _PAGE):
            _STAMP.pack_into(data, offset, file, offset)
        return bytes(data)


def asks(group: FileClass, length: int, count: int, seed: int) -> list[Ask]:
    """A stream of `count` requests for ranges of `length` bytes; popular files lie in all titles alike."""
    rng = random.Random(seed)
    zipf = Zipf(group.files, ALPHA)
    scattered = list(range(group.files))
    random.Random(0).shuffle(scattered)
    found = []
    for _ in range(count):
        file = scattered[zipf.draw(rng)]
        session = rng.randrange(TOKENS // group.titles) * group.titles + file // FILES_PER_TITLE
        first = rng.randrange(group.file_bytes - length + 1)
        found.append(Ask(file, first, length, session, cmcd(rng, session)))
    return found


def cmcd(rng: random.Random, session: int) -> str:
    """The query a player adds to each request (CTA-5004 §3.2), different each time as in life: `CMCD=…`."""
    buffer_ms = rng.randrange(40, 300) * 100
    throughput_kbps = rng.randrange(30, 400) * 100
    return (
        f"CMCD=bl%3D{buffer_ms}%2Cbr%3D4500%2Ccid%3D%22bench%22%2Cd%3D4000%2Cmtp%3D{throughput_kbps}%2Cot%3Dv%2Crtp%3D9000"
        f"%2Csf%3Dh%2Csid%3D%22{session:08x}-c457-11e9-bb97-0800200c9a66%22%2Cst%3Dv%2Ctb%3D6000"
    )


Target = Callable[[Ask], str]


def token_target(group: FileClass, tokens: Sequence[str]) -> Target:
    """How our appliance is asked: the session's token before the path."""
    paths = [media_name(group, file).path for file in range(group.files)]
    return lambda ask: f"{with_token(tokens[ask.session], paths[ask.file])}?{ask.cmcd}"


def secure_link_target(group: FileClass, expires_at: int) -> Target:
    """How the peers are asked: nginx's documented `secure_link` form; each session has an expiry, and so digests, of its own."""
    paths = [media_name(group, file).path for file in range(group.files)]

    def target(ask: Ask) -> str:
        path, expires = paths[ask.file], expires_at + ask.session
        return f"{path}?md5={secure_link(path, expires)}&expires={expires}&{ask.cmcd}"

    return target


def secure_link(path: str, expires: int) -> str:
    """What `secure_link_md5 "$secure_link_expires$uri SECRET"` expects."""
    digest = hashlib.md5(f"{expires}{path} {SECRET}".encode(), usedforsecurity=False).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def request_text(host: str, target: str, range_line: str | None) -> bytes:
    """One request as a browser's player writes it."""
    ranged = f"Range: {range_line}\r\n" if range_line is not None else ""
    return (
        f"GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nAccept-Encoding: identity\r\n"
        f"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36\r\n"
        f"Origin: http://viewer.example\r\n{ranged}\r\n"
    ).encode()


def whole_file(group: FileClass, file: int) -> Ask:
    """All of a file, asked by the first session of its title."""
    return Ask(file, 0, group.file_bytes, file // FILES_PER_TITLE, "CMCD=sf%3Dh")
