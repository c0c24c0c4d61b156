"""The other side of a connection: its network, what of ours has arrived there, how fast it takes what we send."""

from __future__ import annotations

import fcntl
import socket
import termios

from contracts.cmsd import DYNAMIC, render_dynamic
from oca.worker import tcpinfo
from oca.worker.acknowledged import Shortfall, Stream
from oca.worker.suggesting import EVERY_S, Estimate, estimate, said
from oca.worker.tcpinfo import TcpInfo


class Remote:
    """One per connection. `network` is `oca.worker.accesslog.client_of`."""

    __slots__ = ("_estimate", "_is_tls", "_measured_at", "_sock", "network", "stream")

    def __init__(self, sock: socket.socket | None, network: bytes, is_tls: bool) -> None:
        self._sock = sock
        self._is_tls = is_tls
        self._estimate: Estimate | None = None
        self._measured_at = 0.0
        self.network = network
        self.stream = Stream()

    def delivery(self, server: str, now: float, delay_ms: int, *, under_duress: bool) -> bytes:
        """The header line of CMSD-Dynamic, with its CRLF. Asks the kernel once in `EVERY_S` at most."""
        known = self._estimate
        if known is None or not 0 <= now - self._measured_at < EVERY_S:
            info = self._info()
            known = self._estimate = estimate(known or Estimate(), info) if info is not None else Estimate()
            self._measured_at = now
        return DYNAMIC + b": " + render_dynamic(server, said(known, delay_ms, under_duress=under_duress)) + b"\r\n"

    def missing(self, buffered: int) -> list[Shortfall]:
        """What never arrived, at the connection's end. `buffered` bytes were still in the transport. Empty where the kernel does not know."""
        if self._sock is None or not self.stream.wire:
            return []
        info = self._info()
        if info is None:
            return []
        if not self._is_tls:
            return self.stream.missing(info.bytes_acked)
        try:
            unsent = int.from_bytes(fcntl.ioctl(self._sock.fileno(), termios.TIOCOUTQ, bytes(4)), "little")
        except OSError:
            return []
        return self.stream.missing_last(unsent + buffered)

    def _info(self) -> TcpInfo | None:
        """None for a Unix socket, or one that is gone."""
        if self._sock is None:
            return None
        try:
            return tcpinfo.read(self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, tcpinfo.SIZE))
        except OSError:
            return None
