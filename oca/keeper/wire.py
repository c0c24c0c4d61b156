"""What the connections of a capped fill may hold unread, and what they have received, as the kernel counts it.

`struct tcp_info` (linux/tcp.h) names the bytes that came in order and the segments that came; each segment costs its headers at the interface. What came twice is
thrown away and counted by `SO_MEMINFO`: senders repeat themselves to a reader that keeps its window shut (1.6 % of the bytes at 16 Mbit/s over virtual Ethernet).
The structures only ever grow. Where it cannot be had, what was read stands for what came, with the headers of full segments.
"""

from __future__ import annotations

import socket
import struct
from asyncio import BaseTransport
from typing import Any

from oca.keeper.ratecap import received_bytes

TCP_INFO_BYTES = 256
_RECEIVED = struct.Struct("=Q")
_RECEIVED_AT = 128
_U32 = struct.Struct("=I")
_SEGMENT_BYTES_AT = 20
_SEGMENTS_AT = 140
SO_MEMINFO = 55
MEMINFO_BYTES = 64
_DROPPED_AT = 32
FULL_SEGMENT_BYTES = 1400
KERNEL_SHARE = 0.25
"""Of what may be unread the size of the receive buffer: the kernel doubles it, and hands over at most all of it at once."""
READER_SHARE = 0.0625
"""The reader stops the transport at twice this."""
LEAST_KERNEL_BYTES = 4096
LEAST_READER_BYTES = 1024


def reader_bytes(unread_bytes: int) -> int:
    """The low-water mark of a body's reader: aiohttp stops reading at twice of it."""
    return max(LEAST_READER_BYTES, int(unread_bytes * READER_SHARE))


class Meters:
    """By descriptor of the sockets that `new_socket` made: what each has received and was counted."""

    def __init__(self) -> None:
        self._counted: dict[int, int] = {}
        self._unread_bytes = 0

    def bound(self, unread_bytes: int) -> None:
        """What connections that are made from now on may hold unread."""
        self._unread_bytes = unread_bytes

    def new_socket(self, address: Any) -> socket.socket:
        """As aiohttp asks for one (its `AddrInfoType`). Bounded before it connects, because the first window follows from it."""
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        self._counted[made.fileno()] = 0
        if self._unread_bytes:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _kernel_bytes(self._unread_bytes))
        return made

    def of(self, transport: BaseTransport | None, unread_bytes: int) -> Meter:
        """The meter of a connection, which may hold so much unread from now on."""
        found = transport.get_extra_info("socket") if transport is not None else None
        if found is None or transport is None or found.fileno() < 0:
            return Meter(self._counted, None)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _kernel_bytes(unread_bytes))
        limits = getattr(transport, "set_read_buffer_limits", None)
        if limits is not None:  # of TLS: what is neither decrypted nor read
            limits(high=reader_bytes(unread_bytes))
        return Meter(self._counted, found)


class Meter:
    """Counts one exchange of a connection, which others may follow."""

    def __init__(self, counted: dict[int, int], of: socket.socket | None) -> None:
        self._counted = counted
        self._socket = of
        self._read = 0

    def read(self, count_bytes: int) -> None:
        """So much of the body was read."""
        self._read += count_bytes

    def arrived(self) -> int:
        """Bytes that came over the interface since it was asked last."""
        total = _received(self._socket)
        read, self._read = self._read, 0
        if total is None or self._socket is None:
            return received_bytes(read, -(-read // FULL_SEGMENT_BYTES), is_ipv6=False)
        descriptor = self._socket.fileno()
        before = self._counted.get(descriptor, 0)
        self._counted[descriptor] = max(before, total)
        return max(0, total - before)


def _received(of: socket.socket | None) -> int | None:
    """What the interface has received for a connection since it was made; None when nobody can say (it is closed, or no TCP)."""
    if of is None:
        return None
    try:
        info = of.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
        memory = of.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, MEMINFO_BYTES)
    except OSError:
        return None
    if len(info) < _SEGMENTS_AT + _U32.size or len(memory) < _DROPPED_AT + _U32.size:
        return None
    dropped = _U32.unpack_from(memory, _DROPPED_AT)[0]
    payload = _RECEIVED.unpack_from(info, _RECEIVED_AT)[0] + dropped * _U32.unpack_from(info, _SEGMENT_BYTES_AT)[0]
    segments = _U32.unpack_from(info, _SEGMENTS_AT)[0]
    return received_bytes(payload, segments, is_ipv6=of.family == socket.AF_INET6)


def _kernel_bytes(unread_bytes: int) -> int:
    return max(LEAST_KERNEL_BYTES, int(unread_bytes * KERNEL_SHARE))
