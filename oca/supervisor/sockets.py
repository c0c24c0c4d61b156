"""Listening sockets: one per worker slot and listener, in one `SO_REUSEPORT` group, opened once and kept for life.

A worker's death then loses only its own connections: what waits in the accept queue waits in a socket of this process. A Unix socket has
no such group: all slots accept on the same one.
What is set on a listening socket is inherited by every connection it accepts, which saves system calls per connection.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from dataclasses import dataclass

from oca.config import Listen, Listener

BACKLOG = 4096
NOT_SENT_LOW_WATER_BYTES = 128 * 1024
"""How much a slow reader may pin in the kernel beyond what is on its way (`TCP_NOTSENT_LOWAT`, unlimited by default)."""


class CannotListen(Exception):
    """The address cannot be bound; the message names it and says why."""


def open_group(at: Listen, slots: int, *, large_answers: bool) -> list[socket.socket]:
    """A socket per slot on the same port; port 0 takes one free port for all. Raises CannotListen.

    `large_answers` sets what helps sending media: the low-water mark, and BBR where the kernel has it.
    """
    opened: list[socket.socket] = []
    port = at.port
    try:
        for _ in range(slots):
            opened.append(_open(at.host, port, large_answers))
            port = opened[0].getsockname()[1]
    except OSError as error:
        for sock in opened:
            sock.close()
        raise CannotListen(f"cannot listen on {at.host} port {at.port}: {error.strerror or error}") from error
    return opened


@dataclass(frozen=True, slots=True)
class Opened:
    """A further listener of players: its sockets by slot (the same one for all where it is a Unix socket) and its address in words."""

    at: Listener
    sockets: tuple[socket.socket, ...]
    url: str
    inode: int = 0
    """Of the path of a Unix socket."""

    def close(self) -> None:
        """Close it, and take the path of a Unix socket away unless a later generation has made it its own."""
        if self.at.path:
            with contextlib.suppress(OSError):
                if os.stat(self.at.path).st_ino == self.inode:
                    os.unlink(self.at.path)
        for sock in self.sockets:
            sock.close()


def open_further(at: Listener, slots: int) -> Opened:
    """One more listener of players. Raises CannotListen."""
    if not at.path:
        group = open_group(Listen(at.host, at.port), slots, large_answers=True)
        return Opened(at, tuple(group), url_of("https" if at.tls else "http", group[0]))
    try:
        sock = _open_unix(at.path)
        inode = os.stat(at.path).st_ino
    except OSError as error:
        raise CannotListen(f"cannot listen on {at.path}: {error.strerror or error}") from error
    return Opened(at, (sock,) * slots, f"{'unix+tls' if at.tls else 'unix'}:{at.path}", inode)


def facts_of(sock: socket.socket) -> tuple[str, int]:
    """(congestion control, low-water mark) of a TCP listener, as the kernel tells them; empty and 0 where it does not."""
    name, low = b"", 0
    with contextlib.suppress(OSError):
        name = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        low = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
    return name.partition(b"\0")[0].decode(), low


def url_of(scheme: str, sock: socket.socket) -> str:
    """The base URL of a listening socket."""
    host, port = sock.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _open(host: str, port: int, large_answers: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if large_answers:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOT_SENT_LOW_WATER_BYTES)
            with contextlib.suppress(OSError):  # not every kernel has it, nor lets everybody choose it
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _open_unix(path: str) -> socket.socket:
    """Listen under another name, then rename: who connects finds the old listener or the new one, never none."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, "the path exists and is no socket")
    making = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(making)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.bind(making)
        os.chmod(making, 0o660)
        sock.listen(BACKLOG)
        sock.setblocking(False)
        os.rename(making, path)
    except BaseException:
        sock.close()
        raise
    return sock
