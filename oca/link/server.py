"""The keeper's end of the link: a Unix stream socket, one connection per worker (laws in `oca.link.messages`).

`Link.send` never waits, so that one slow worker delays nobody; a worker whose answers pile up beyond `MAX_UNSENT_BYTES` is
cut off, reconnects and asks for the remainder.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

from oca.link import unix
from oca.link.messages import (
    PROTOCOL,
    BrokenFrame,
    Cancel,
    FrameReader,
    Hello,
    Served,
    ToKeeper,
    ToWorker,
    Unreadable,
    Want,
    Welcome,
    decode_to_keeper,
    encode,
)

MAX_UNSENT_BYTES = 4 << 20


class LinkHandler(Protocol):
    """What the keeper does with what workers say. Calls come from the event loop and must not block."""

    def joined(self, link: Link) -> None:
        """A worker said `Hello`."""

    def wanted(self, link: Link, want: Want) -> None: ...

    def cancelled(self, link: Link, request: int) -> None: ...

    def served(self, link: Link, served: Served) -> None: ...

    def unreadable(self, link: Link, found: Unreadable) -> None: ...

    def left(self, link: Link) -> None:
        """The connection ended; only for links that joined."""


class Link(asyncio.Protocol):
    """One worker's connection. `worker` is -1 before its `Hello`."""

    def __init__(self, handler: LinkHandler, gone: Callable[[Link, str], None]) -> None:
        self.worker = -1
        self.worker_pid = 0
        self._handler = handler
        self._gone = gone
        self._frames = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._why = "the worker closed"

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, message: ToWorker) -> None:
        """Queue a message; dropped when the worker is gone. A worker that does not read is cut off."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(encode(message))
        if transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.cut("it does not take its answers")

    def cut(self, why: str) -> None:
        """End the connection now."""
        self._why = why
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._frames.feed(data):
                self._take(body)
        except BrokenFrame as error:
            self.cut(f"broken frame: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self.worker >= 0:
            self._handler.left(self)
        self._gone(self, self._why)

    def _take(self, body: bytes) -> None:
        message = decode_to_keeper(body)
        if self.worker < 0:
            self._greet(message)
            return
        match message:
            case Want():
                self._handler.wanted(self, message)
            case Cancel():
                self._handler.cancelled(self, message.request)
            case Served():
                self._handler.served(self, message)
            case Unreadable():
                self._handler.unreadable(self, message)
            case Hello():
                raise BrokenFrame("a second hello")

    def _greet(self, message: ToKeeper) -> None:
        if not isinstance(message, Hello):
            raise BrokenFrame("the first frame is no hello")
        if message.protocol != PROTOCOL or message.worker < 0:
            raise BrokenFrame(f"worker {message.worker} speaks protocol {message.protocol}, this keeper {PROTOCOL}")
        self.worker = message.worker
        self.worker_pid = message.pid
        self.send(Welcome(os.getpid()))
        self._handler.joined(self)


class LinkServer:
    """All links of a keeper. `start` listens, `close` ends every connection and removes the socket."""

    def __init__(self, state_dir: Path, handler: LinkHandler, log: Callable[[int, str], None]) -> None:
        """`log(worker, why)` is told of each connection that ended."""
        self._state_dir = state_dir
        self._handler = handler
        self._log = log
        self._links: set[Link] = set()
        self._server: asyncio.AbstractServer | None = None

    @property
    def links(self) -> tuple[Link, ...]:
        """The workers that said hello."""
        return tuple(link for link in self._links if link.worker >= 0 and link.is_open)

    async def start(self) -> None:
        """Raises OSError. A socket that a dead keeper left is replaced; the caller holds the disks' locks, so nobody lives there."""
        listener = unix.listen(socket_path(self._state_dir))
        try:
            self._server = await asyncio.get_running_loop().create_unix_server(self._accept, sock=listener)
        except BaseException:
            listener.close()
            raise

    def broadcast(self, message: ToWorker) -> None:
        for link in self.links:
            link.send(message)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            socket_path(self._state_dir).unlink(missing_ok=True)
        for link in tuple(self._links):
            link.cut("the keeper stops")
        if self._server is not None:
            await self._server.wait_closed()

    def _accept(self) -> Link:
        link = Link(self._handler, self._forget)
        self._links.add(link)
        return link

    def _forget(self, link: Link, why: str) -> None:
        self._links.discard(link)
        self._log(link.worker, why)


def socket_path(state_dir: Path) -> Path:
    """Where the keeper listens."""
    return state_dir / "run" / "keeper.sock"


def connect(state_dir: Path) -> socket.socket:
    """A connected, non-blocking socket to the keeper. Raises OSError when nobody listens."""
    sock = unix.connect(socket_path(state_dir))
    sock.setblocking(False)
    return sock
