"""Accepting connections on the slots' listening sockets: the worker's own, and those of a slot whose worker cannot live.

The sockets belong to the supervisor for life (DESIGN §3.1): to stop accepting is to stop looking, never to close or shut down.

A player's TLS connection is looked at before its handshake begins: the name it asks for decides the context (`server_names`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from enum import Enum
from typing import Protocol

import aiofastnet

from oca.http.reasons import Handshake
from oca.worker.protocol import Connection
from oca.worker.server_names import HELLO_BYTES, Hello, server_name

BATCH = 64
"""Connections taken in one turn of the loop."""
RETRY_S = 1.0
HANDSHAKE_S = 10.0
SHUTDOWN_S = 2.0
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
# The buffers of aiofastnet's TLS are per connection: the default of 256 KiB for what comes in is for downloads.
_INCOMING_BYTES = 16 * 1024 + 64
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.005, 0.1


class Side(Enum):
    """Who connects to a listener, and how."""

    PLAYERS = "players"
    PLAYERS_TLS = "players by TLS"
    PEERS = "peers"


class Gate(Protocol):
    """The worker, as its acceptor sees it."""

    def make(self, is_peer: bool) -> Connection: ...

    def peer_context(self) -> ssl.SSLContext | None:
        """None while peers cannot be let in."""

    def player_context(self, name: str | Hello) -> ssl.SSLContext | None:
        """None while there is no certificate."""

    def has_room(self, handshakes: int) -> bool:
        """False when so many unfinished handshakes are too many besides the connections."""

    def shook_hands(self, end: Handshake, by_kernel: bool) -> None:
        """A player's handshake ended so; with `by_kernel` the kernel encrypts from now on."""

    def out_of_files(self, error: OSError) -> None: ...


class Acceptor:
    """`watch` listening sockets; each connection becomes a `Connection` that the gate makes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, gate: Gate) -> None:
        self._loop = loop
        self._gate = gate
        self._watched: dict[int, Side] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sockets: dict[int, socket.socket] = {}
        self._rests = False

    def watch(self, fd: int, side: Side) -> None:
        """Begin to accept on an inherited listening socket. Doing it twice is doing it once; after `rest` it is nothing."""
        if fd in self._watched or self._rests:
            return
        listener = self._sockets.get(fd)
        if listener is None:
            listener = self._sockets[fd] = socket.socket(fileno=fd)
            listener.setblocking(False)
        self._watched[fd] = side
        self._loop.add_reader(fd, self._accept, listener, side)

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
        self._rests = True
        for fd in list(self._watched):
            self.unwatch(fd)
        for listener in self._sockets.values():
            listener.detach()  # the descriptor stays open: it is the supervisor's

    def close(self) -> None:
        """Stop accepting for good; handshakes that run are ended."""
        self.rest()
        for task in self._tasks:
            task.cancel()

    def _accept(self, listener: socket.socket, side: Side) -> None:
        for _ in range(BATCH):
            try:
                sock, _address = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._gate.out_of_files(error)
                    fd = listener.fileno()
                    self.unwatch(fd)
                    self._loop.call_later(RETRY_S, self._again, fd, side)
                    return
                continue  # this connection died in the queue (ECONNABORTED and the network errors of accept(2))
            task = self._loop.create_task(self._connect(sock, side))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _again(self, fd: int, side: Side) -> None:
        if fd in self._sockets and self._sockets[fd].fileno() == fd:
            self.watch(fd, side)

    async def _connect(self, sock: socket.socket, side: Side) -> None:
        try:
            match side:
                case Side.PLAYERS:
                    await aiofastnet.connect_accepted_socket(self._loop, lambda: self._gate.make(False), sock)
                case Side.PLAYERS_TLS:
                    await self._greet(sock)
                case Side.PEERS:
                    context = self._gate.peer_context()
                    if context is None:
                        sock.close()
                    else:
                        await self._shake_hands(sock, context, is_peer=True)
        except (OSError, TimeoutError):
            # A handshake that failed: no certificate, another CA, or a client that left.
            with contextlib.suppress(OSError):
                sock.close()
        except asyncio.CancelledError:
            sock.close()
            raise

    async def _greet(self, sock: socket.socket) -> None:
        """A player's handshake: the name first, then the context for it. Raises what ended it."""
        gate, by_kernel, end = self._gate, False, Handshake.CLIENT_LEFT
        if not gate.has_room(len(self._tasks)):
            gate.shook_hands(Handshake.FULL_HOUSE, False)
            sock.close()
            return
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                context = gate.player_context(await self._asked_name(sock))
            if context is None:
                end = Handshake.NO_CERTIFICATE
                sock.close()
                return
            transport = await self._shake_hands(sock, context, is_peer=False)
            end = Handshake.RESUMED if transport.get_extra_info("ssl_object").session_reused else Handshake.FULL
            by_kernel = bool(transport.get_extra_info("ktls_send_enabled"))
        except ssl.SSLError:
            end = Handshake.REFUSED
            raise
        except (TimeoutError, ConnectionAbortedError):
            end = Handshake.TIMEOUT
            raise
        finally:
            gate.shook_hands(end, by_kernel)

    async def _asked_name(self, sock: socket.socket) -> str | Hello:
        """Look at the first bytes and leave them where they are. Raises OSError when the player left."""
        sock.setblocking(False)
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                data = sock.recv(HELLO_BYTES, socket.MSG_PEEK)
            except BlockingIOError:
                await self._readable(sock)
                continue
            if not data:
                raise ConnectionResetError("the player left before it said anything")
            name = server_name(data)
            if name is not Hello.INCOMPLETE or len(data) == HELLO_BYTES:
                return name
            # What was looked at keeps the socket readable: nothing tells when more has come.
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _readable(self, sock: socket.socket) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()

        def tell() -> None:
            if not ready.done():
                ready.set_result(None)

        self._loop.add_reader(sock, tell)
        try:
            await ready
        finally:
            self._loop.remove_reader(sock)

    async def _shake_hands(self, sock: socket.socket, context: ssl.SSLContext, *, is_peer: bool) -> asyncio.Transport:
        transport, _protocol = await aiofastnet.connect_accepted_socket(
            self._loop,
            lambda: self._gate.make(is_peer),
            sock,
            ssl=context,
            ssl_handshake_timeout=HANDSHAKE_S,
            ssl_shutdown_timeout=SHUTDOWN_S,
            ssl_incoming_bio_size=_INCOMING_BYTES,
        )
        return transport
