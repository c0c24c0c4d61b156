"""What the kernel knows of a TCP connection: the fields of `struct tcp_info` (linux/tcp.h) that decide anything here. Pure.

The structure only ever grows; a shorter one is of an older kernel and what it lacks is 0.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

SIZE = 256
"""More than any kernel gives so far."""
_FLAGS = 7
_RTT = 68
_ACKED = 120
_RATE = 160
_U32 = struct.Struct("=I")
_U64 = struct.Struct("=Q")


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """`app_limited`: the rate is what was asked for, not what the path can carry."""

    bytes_acked: int
    rtt_us: int
    delivery_bytes_s: int
    app_limited: bool


def read(info: bytes) -> TcpInfo:
    """Of what `getsockopt(IPPROTO_TCP, TCP_INFO)` gave."""
    return TcpInfo(
        int(_U64.unpack_from(info, _ACKED)[0]) if len(info) >= _ACKED + 8 else 0,
        int(_U32.unpack_from(info, _RTT)[0]) if len(info) >= _RTT + 4 else 0,
        int(_U64.unpack_from(info, _RATE)[0]) if len(info) >= _RATE + 8 else 0,
        bool(info[_FLAGS] & 1) if len(info) > _FLAGS else False,
    )
