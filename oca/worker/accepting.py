"""Accepting connections on the slots' listening sockets: the worker's own, and those of a slot whose worker cannot live.

The sockets belong to the supervisor for life (DESIGN §3.1): to stop accepting is to stop looking, never to close or shut down.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable

import aiofastnet

from oca.worker.protocol import Connection

BATCH = 64
"""Connections taken in one turn of the loop."""
RETRY_S = 1.0
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
# The buffers of aiofastnet's TLS are per connection: the default of 256 KiB for what comes in is for downloads.
_INCOMING_BYTES = 16 * 1024 + 64


class Acceptor:
    """`make(is_peer)` makes the protocol; `context()` gives the TLS context of peers, None while there is none."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        make: Callable[[bool], Connection],
        context: Callable[[], ssl.SSLContext | None],
        exhausted: Callable[[OSError], None],
    ) -> None:
        self._loop = loop
        self._make = make
        self._context = context
        self._exhausted = exhausted
        self._watched: dict[int, bool] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sockets: dict[int, socket.socket] = {}

    def watch(self, fd: int, is_peer: bool) -> None:
        """Begin to accept on an inherited listening socket. Doing it twice is doing it once."""
        if fd in self._watched:
            return
        listener = self._sockets.get(fd)
        if listener is None:
            listener = self._sockets[fd] = socket.socket(fileno=fd)
            listener.setblocking(False)
        self._watched[fd] = is_peer
        self._loop.add_reader(fd, self._accept, listener, is_peer)

    def unwatch(self, fd: int) -> None:
        """Leave what waits in its queue to the next who watches."""
        if self._watched.pop(fd, None) is not None:
            self._loop.remove_reader(fd)

    @property
    def is_busy(self) -> bool:
        """True while a connection was taken from a queue and is not made yet."""
        return bool(self._tasks)

    def rest(self) -> None:
        """Stop accepting for good; handshakes that run go on."""
        for fd in list(self._watched):
            self.unwatch(fd)
        for listener in self._sockets.values():
            listener.detach()  # the descriptor stays open: it is the supervisor's

    def close(self) -> None:
        """Stop accepting for good; handshakes that run are ended."""
        self.rest()
        for task in self._tasks:
            task.cancel()

    def _accept(self, listener: socket.socket, is_peer: bool) -> None:
        for _ in range(BATCH):
            try:
                sock, _address = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._exhausted(error)
                    fd = listener.fileno()
                    self.unwatch(fd)
                    self._loop.call_later(RETRY_S, self._again, fd, is_peer)
                    return
                continue  # this connection died in the queue (ECONNABORTED and the network errors of accept(2))
            context = self._context() if is_peer else None
            if is_peer and context is None:
                sock.close()
                continue
            task = self._loop.create_task(self._connect(sock, is_peer, context))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _again(self, fd: int, is_peer: bool) -> None:
        if fd in self._sockets and self._sockets[fd].fileno() == fd:
            self.watch(fd, is_peer)

    async def _connect(self, sock: socket.socket, is_peer: bool, context: ssl.SSLContext | None) -> None:
        try:
            if context is None:
                await aiofastnet.connect_accepted_socket(self._loop, lambda: self._make(is_peer), sock)
            else:
                await aiofastnet.connect_accepted_socket(
                    self._loop,
                    lambda: self._make(is_peer),
                    sock,
                    ssl=context,
                    ssl_handshake_timeout=10.0,
                    ssl_shutdown_timeout=2.0,
                    ssl_incoming_bio_size=_INCOMING_BYTES,
                )
        except (OSError, TimeoutError):
            # A handshake that failed: no certificate, another CA, or a client that left.
            with contextlib.suppress(OSError):
                sock.close()
