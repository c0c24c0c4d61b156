"""A scripted origin on a bare protocol: what goes wrong is decided request by request, what was asked for is kept.

It can run as a process of its own (`benchmarks.store.world`), where it must cost little beside what is measured.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import cast

from contracts.digests import BLOCK_BYTES
from contracts.plans import RankedSource, SourceKind

_RANGE = re.compile(rb"\r\nrange:\s*bytes=(\d+)-(\d+)", re.IGNORECASE)


class Mishap(Enum):
    """What an answer may suffer."""

    NONE = "none"
    ENDS = "the connection ends in the middle of the body"
    STALLS = "silence in the middle of the body, for as long as the other side bears it"
    SILENT = "no answer at all, for as long as the other side bears it"
    REFUSES = "500"
    BUSY = "503"
    WRONG = "one bit of the body is wrong"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: which blocks of which path, and when it came (monotonic seconds)."""

    path: str
    first_block: int
    last_block: int
    at: float


Script = Callable[[Asked], Mishap]


def _all_well(_asked: Asked) -> Mishap:
    return Mishap.NONE


@dataclass
class Origin:
    """`start` it; `script` may be changed at any time."""

    files: dict[str, bytes] = field(default_factory=dict)
    script: Script = _all_well
    gate: asyncio.Event | None = None
    """Bodies wait for it."""
    steps: list[asyncio.Event] = field(default_factory=list)
    """The block of that number waits for its step, where there is one."""
    delay_s: float = 0.0
    """Answers begin so much later."""
    pause_s: float = 0.0
    """Pause behind each block of a body."""
    asked: list[Asked] = field(default_factory=list)
    suffered: Counter[Mishap] = field(default_factory=Counter)
    last_byte_at: dict[tuple[str, int], float] = field(default_factory=dict)
    """When the last byte of (path, block) was handed to the kernel or queued for it."""
    sending: int = 0
    """Answers under way now."""
    url: str = ""
    name: str = "origin"
    _server: asyncio.Server | None = None
    _open: set[_Line] = field(default_factory=set)

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Line(self), "127.0.0.1", 0, backlog=1024)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for line in list(self._open):
            line.cut()

    @property
    def ranked(self) -> RankedSource:
        return RankedSource(SourceKind.ORIGIN, self.name, self.url)

    def blocks_asked(self, path: str) -> Counter[int]:
        """How often each block of a path was asked for."""
        return Counter(n for one in self.asked if one.path == path for n in range(one.first_block, one.last_block + 1))

    def joined(self, line: _Line) -> None:
        self._open.add(line)

    def left(self, line: _Line) -> None:
        self._open.discard(line)


class _Line(asyncio.Protocol):
    """One connection; answers come one after the other."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._text = b""
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._origin.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._origin.left(self)
        self._transport = None
        if self._task is not None:
            self._task.cancel()

    def cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        head, end, rest = (self._text + data).partition(b"\r\n\r\n")
        if not end:
            self._text = head
            return
        self._text = rest
        self._task = asyncio.get_running_loop().create_task(self._answer(head))

    async def _answer(self, head: bytes) -> None:
        self._origin.sending += 1
        try:
            await self._answer_one(head)
        finally:
            self._origin.sending -= 1

    async def _answer_one(self, head: bytes) -> None:
        path = head.split(b" ", 2)[1].decode()
        match = _RANGE.search(head)
        data = self._origin.files.get(path)
        if match is None or data is None:
            self._write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        first, last = int(match[1]), min(int(match[2]), len(data) - 1)
        asked = Asked(path, first // BLOCK_BYTES, last // BLOCK_BYTES, time.monotonic())
        self._origin.asked.append(asked)
        mishap = self._origin.script(asked)
        self._origin.suffered[mishap] += 1
        if self._origin.delay_s:
            await asyncio.sleep(self._origin.delay_s)
        match mishap:
            case Mishap.SILENT:
                return
            case Mishap.REFUSES | Mishap.BUSY:
                self._write(f"HTTP/1.1 {mishap.value} No\r\nContent-Length: 0\r\n\r\n".encode())
            case _:
                await self._send(asked, data, first, last, mishap)

    async def _send(self, asked: Asked, data: bytes, first: int, last: int, mishap: Mishap) -> None:
        origin = self._origin
        count = last - first + 1
        self._write(
            f"HTTP/1.1 206 Partial Content\r\nContent-Type: video/mp4\r\nContent-Length: {count}\r\n"
            f"Content-Range: bytes {first}-{last}/{len(data)}\r\n\r\n".encode()
        )
        if origin.gate is not None:
            await origin.gate.wait()
        middle = (asked.first_block + asked.last_block) // 2
        for block in range(asked.first_block, asked.last_block + 1):
            if block < len(origin.steps):
                await origin.steps[block].wait()
            piece = data[max(first, block * BLOCK_BYTES) : min(last + 1, (block + 1) * BLOCK_BYTES)]
            if block == middle and mishap is Mishap.WRONG:
                piece = bytes((piece[0] ^ 0x40,)) + piece[1:]
            if block == middle and mishap in (Mishap.ENDS, Mishap.STALLS):
                self._write(piece[: len(piece) // 2])
                if mishap is Mishap.ENDS and self._transport is not None:
                    self._transport.close()
                return
            self._write(piece)
            origin.last_byte_at[asked.path, block] = time.monotonic()
            if origin.pause_s:
                await asyncio.sleep(origin.pause_s)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
