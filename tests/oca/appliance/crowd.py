"""Many readers at little cost: each a kept connection, every byte compared as it comes, every end of an answer named."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import cast

PATIENCE_S = 60.0
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)


class End(Enum):
    """How one request ended."""

    COMPLETE = "complete and right"
    STATUS = "another status than 206"
    CUT = "the connection ended inside the answer"
    BROKEN = "the connection ended before a byte of the answer came"
    REFUSED = "no connection"
    WRONG = "a wrong byte, or another range than was asked for"
    HUNG = "neither an answer nor an end in time"


@dataclass(frozen=True, slots=True)
class Got:
    """What came of one request. Times are seconds behind the request; `first_s` is that of the answer's first byte."""

    end: End
    status: int = 0
    first_s: float = 0.0
    seconds: float = 0.0
    detail: str = ""
    first_at: float = 0.0
    """The same as `first_s` on the monotonic clock."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Bytes first … last (inclusive) of `data` under a request target."""

    host: str
    target: str
    first: int
    last: int
    data: bytes

    @property
    def request(self) -> bytes:
        return (
            f"GET {self.target} HTTP/1.1\r\nHost: {self.host}\r\nRange: bytes={self.first}-{self.last}\r\n\r\n"
        ).encode()


class Reader(asyncio.Protocol):
    """One client. `ask` opens a connection when there is none."""

    def __init__(self, host: str, port: int) -> None:
        self._place = (host, port)
        self._transport: asyncio.Transport | None = None
        self._wanted: Wanted | None = None
        self._done: asyncio.Future[Got] | None = None
        self._head = b""
        self._status = 0
        self._at = 0
        self._left = 0
        self._began = 0.0
        self._first_at = 0.0

    async def open(self) -> bool:
        """False when nobody takes the connection."""
        if self._transport is None:
            try:
                await asyncio.get_running_loop().create_connection(lambda: self, *self._place)
            except OSError:
                return False
        return True

    async def ask(self, wanted: Wanted, patience_s: float = PATIENCE_S) -> Got:
        if not await self.open() or self._transport is None:
            return Got(End.REFUSED)
        done: asyncio.Future[Got] = asyncio.get_running_loop().create_future()
        self._done = done
        self._wanted, self._head, self._status, self._first_at = wanted, b"", 0, 0.0
        self._began = time.monotonic()
        self._transport.write(wanted.request)
        try:
            async with asyncio.timeout(patience_s):
                return await done
        except TimeoutError:
            self.close()
            return self._got(End.HUNG)

    @property
    def received(self) -> int:
        """Body bytes of the answer that came so far, right ones."""
        return self._at - self._wanted.first if self._wanted is not None and self._status else 0

    def leave(self) -> None:
        """Give up what is asked for, as a player that is closed: by a reset, because who only says that no more requests come is answered."""
        if self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    def close(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._end(End.CUT if self._first_at else End.BROKEN)

    def data_received(self, data: bytes) -> None:
        if self._wanted is None:
            self.close()
            return
        if not self._first_at:
            self._first_at = time.monotonic()
        if not self._status:
            head, end, data = (self._head + data).partition(b"\r\n\r\n")
            if not end:
                self._head = head
                return
            self._read_head(head)
        if self._status == 206:
            expected = self._wanted.data[self._at : self._at + len(data)]
            if data != expected or len(data) > self._left:
                self._end(End.WRONG, f"at byte {self._at}")
                self.close()
                return
        self._at += len(data)
        self._left -= len(data)
        if self._left <= 0 and self._wanted is not None:
            self._end(End.COMPLETE if self._status == 206 else End.STATUS)

    def _read_head(self, head: bytes) -> None:
        wanted = self._wanted
        assert wanted is not None, "an answer is read while one is waited for"
        self._status = int(head.split(b" ", 2)[1])
        length = _LENGTH.search(head)
        self._left = int(length[1]) if length is not None else 0
        self._at = wanted.first
        if self._status == 206:
            said = f"content-range: bytes {wanted.first}-{wanted.last}/{len(wanted.data)}".encode()
            if said not in head.lower() or self._left != wanted.last - wanted.first + 1:
                self._end(End.WRONG, head.decode("latin-1"))
                self.close()

    def _got(self, end: End, detail: str = "") -> Got:
        now = time.monotonic()
        first_s = self._first_at - self._began if self._first_at else 0.0
        return Got(end, self._status, first_s, now - self._began, detail, self._first_at)

    def _end(self, end: End, detail: str = "") -> None:
        self._wanted = None
        if self._done is not None and not self._done.done():
            self._done.set_result(self._got(end, detail))


def ends(found: Iterable[Got]) -> Counter[str]:
    """How often each end came; answers of another status by their number."""
    return Counter(str(one.status) if one.end is End.STATUS else one.end.name.lower() for one in found)
