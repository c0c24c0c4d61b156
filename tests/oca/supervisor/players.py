"""A player reduced to what a test must know: one keep-alive connection, every body compared, every end of it explained."""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass
from enum import Enum

from tests.oca.worker.worker_harness import Published

REPLY_S = 30.0


class Fault(Enum):
    """What may go wrong with one request; the words are for reports."""

    REFUSED = "the connection was refused"
    BROKEN = "the connection ended before a byte of the answer came"
    CUT = "the connection ended inside the answer"
    WRONG = "the answer was not what was asked for"
    SILENT = "no answer came in time"


class Trouble(Exception):
    """The one error of `Line`."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(f"{fault.value}: {detail}")
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Place:
    """Where to ask, and what for."""

    host: str
    port: int
    path: str
    file: Published
    tls: ssl.SSLContext | None = None
    socket_path: str = ""
    """A Unix socket to connect to; then the host is only a name in the header."""

    def request(self, first: int, last: int) -> bytes:
        host = self.host if self.socket_path else f"{self.host}:{self.port}"
        return f"GET {self.path} HTTP/1.1\r\nHost: {host}\r\nRange: bytes={first}-{last}\r\n\r\n".encode()


class Line:
    """A connection. `ask` gives nothing: it returns when the whole body came and was right."""

    def __init__(self, place: Place, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, began: float) -> None:
        self._place = place
        self._reader = reader
        self._writer = writer
        self.local_port = 0 if place.socket_path else int(writer.get_extra_info("sockname")[1])
        self.opened_at = began
        self.answers = 0
        self.is_last = False
        """The last answer said `Connection: close`."""

    @classmethod
    async def open(cls, place: Place, buffer_bytes: int = 1 << 20) -> Line:
        """Raises Trouble."""
        began = time.monotonic()
        try:
            if place.socket_path:
                reader, writer = await asyncio.open_unix_connection(place.socket_path, limit=buffer_bytes)
            else:
                reader, writer = await asyncio.open_connection(
                    place.host, place.port, limit=buffer_bytes, ssl=place.tls
                )
        except OSError as error:
            raise Trouble(Fault.REFUSED, str(error)) from error
        return cls(place, reader, writer, began)

    async def ask(self, first: int, last: int) -> None:
        """One range, verified. Raises Trouble."""
        begun = False
        try:
            async with asyncio.timeout(REPLY_S):
                self._writer.write(self._place.request(first, last))
                head = await self._reader.readuntil(b"\r\n\r\n")
                begun = True
                self._check_head(head, first, last)
                body = await self._reader.readexactly(last - first + 1)
        except TimeoutError as error:
            raise Trouble(Fault.SILENT, f"bytes {first}-{last}") from error
        except asyncio.IncompleteReadError as error:
            raise Trouble(
                Fault.CUT if begun or error.partial else Fault.BROKEN, f"{len(error.partial)} bytes"
            ) from error
        except OSError as error:
            raise Trouble(Fault.CUT if begun else Fault.BROKEN, str(error)) from error
        if body != self._place.file.data[first : last + 1]:
            raise Trouble(Fault.WRONG, f"bytes {first}-{last} are others than were published")
        self.answers += 1
        self.is_last = b"\r\nconnection: close\r\n" in head.lower()

    async def ask_slowly(self, first: int, last: int, hurry: asyncio.Event) -> None:
        """One range, read at about 200 kB/s until `hurry`. Raises Trouble."""
        self._writer.write(self._place.request(first, last))
        head = await self._reader.readuntil(b"\r\n\r\n")
        self._check_head(head, first, last)
        at = first
        while at <= last:
            if not hurry.is_set():
                await asyncio.sleep(0.05)
            piece = await self._reader.read(min(10_000, last - at + 1))
            if not piece:
                raise Trouble(Fault.CUT, f"{at - first} of {last - first + 1} bytes came")
            if piece != self._place.file.data[at : at + len(piece)]:
                raise Trouble(Fault.WRONG, f"foreign bytes at {at}")
            at += len(piece)
        self.answers += 1

    async def ends(self, wait_s: float = 5.0) -> None:
        """After an answer that said so the connection ends, without a byte and without a reset. Raises Trouble."""
        try:
            async with asyncio.timeout(wait_s):
                rest = await self._reader.read(1)
        except TimeoutError as error:
            raise Trouble(Fault.WRONG, "a connection that was to be closed stays open") from error
        except OSError as error:
            raise Trouble(Fault.WRONG, f"reset behind the last answer: {error}") from error
        if rest:
            raise Trouble(Fault.WRONG, "bytes behind the last answer")

    @property
    def has_ended(self) -> bool:
        """The other side closed, as far as is known now."""
        return self._reader.at_eof()

    def close(self) -> None:
        self._writer.close()

    def _check_head(self, head: bytes, first: int, last: int) -> None:
        wanted = f"content-range: bytes {first}-{last}/{len(self._place.file.data)}\r\n".encode()
        if not head.startswith(b"HTTP/1.1 206 ") or wanted not in head.lower():
            raise Trouble(Fault.WRONG, head.partition(b"\r\n")[0].decode("latin-1"))
