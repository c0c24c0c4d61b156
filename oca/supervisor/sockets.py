"""Listening sockets: one per worker slot and listener, in one `SO_REUSEPORT` group, opened once and kept for life.

A worker's death then loses only its own connections: what waits in the accept queue waits in a socket of this process.
What is set on a listening socket is inherited by every connection it accepts, which saves system calls per connection.
"""

from __future__ import annotations

import contextlib
import socket

from oca.config import Listen

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
