"""Handing over one end of a pair of sockets with SCM_RIGHTS: a line of its own beside the link, one per worker (DESIGN §3.2).

The line keeps message borders (SOCK_SEQPACKET), so that a descriptor belongs to its message, and nothing else is read from it: the event
loop's own transports would drop what comes with the bytes. It carries no state: what was handed over lives and ends by itself, and a
descriptor that nobody took is closed by the kernel together with the line.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec

from oca.link import unix
from oca.link.messages import PROTOCOL
from oca.link.passing import SOCKET_BYTES

_LONGEST_BYTES = 256
_AT_ONCE = 64
"""Messages that are taken from one line before others have their turn."""


class Handed(msgspec.Struct, frozen=True):
    """What goes with a descriptor."""

    worker: int
    protocol: int = PROTOCOL


def socket_path(state_dir: Path) -> Path:
    """Where the keeper listens for what is handed over."""
    return state_dir / "run" / "passing.sock"


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected, non-blocking ends that hold little. Raises OSError."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        end.setblocking(False)
    return ends


class Hander:
    """A worker's end. Connects when there is something to hand over, and once again when the keeper is another one."""

    def __init__(self, state_dir: Path, worker: int) -> None:
        self._path = socket_path(state_dir)
        self._message = msgspec.msgpack.encode(Handed(worker))
        self._line: socket.socket | None = None

    def hand(self, end: socket.socket) -> bool:
        """Never waits. False when nobody takes it now. The caller closes its own copy either way."""
        if self._line is not None and self._send(end):
            return True
        self.close()
        try:
            self._line = unix.connect(self._path, socket.SOCK_SEQPACKET)
        except OSError:
            return False
        self._line.setblocking(False)
        return self._send(end)

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    def _send(self, end: socket.socket) -> bool:
        assert self._line is not None, "the line is open"
        try:
            socket.send_fds(self._line, [self._message], [end.fileno()])
        except OSError:
            return False
        return True


class HandingServer:
    """The keeper's end: `take(end, worker)` gets each non-blocking socket that was handed over, and closes it."""

    def __init__(self, state_dir: Path, take: Callable[[socket.socket, int], None]) -> None:
        self._path = socket_path(state_dir)
        self._take = take
        self._listener: socket.socket | None = None
        self._lines: set[socket.socket] = set()

    def start(self) -> None:
        """Raises OSError. A socket that a dead keeper left is replaced."""
        self._listener = unix.listen(self._path, socket.SOCK_SEQPACKET)
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Takes nothing more. What was handed over goes on."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        asyncio.get_running_loop().remove_reader(listener)
        listener.close()
        self._path.unlink(missing_ok=True)
        for line in tuple(self._lines):
            self._end(line)

    def _accept(self) -> None:
        assert self._listener is not None, "it listens"
        with contextlib.suppress(OSError):
            line, _address = self._listener.accept()
            line.setblocking(False)
            self._lines.add(line)
            asyncio.get_running_loop().add_reader(line, self._read, line)

    def _read(self, line: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                said, fds, _flags, _address = socket.recv_fds(line, _LONGEST_BYTES, 4, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except OSError:
                said, fds = b"", []
            if not said:
                self._end(line)
                return
            self._give(said, fds)

    def _give(self, said: bytes, fds: list[int]) -> None:
        """What is not one stream of a worker that speaks this protocol is closed: its worker sees the end."""
        try:
            handed = msgspec.msgpack.decode(said, type=Handed)
        except msgspec.MsgspecError:
            handed = Handed(-1, -1)
        if handed.protocol != PROTOCOL or len(fds) != 1:
            for fd in fds:
                os.close(fd)
            return
        end = socket.socket(fileno=fds[0])
        end.setblocking(False)
        self._take(end, handed.worker)

    def _end(self, line: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(line)
        self._lines.discard(line)
        line.close()
