"""The rate cap of a fill: how fast its bodies are read, and what its connections may hold unread. Pure; `now` is a clock that does not jump.

Laws
- What counts is what the interface received: payload, TLS records, and the headers of every segment.
- A receiver can only stop reading; TCP's window then stops the sender (RFC 9293 §3.8.6). What the connections hold unread together is therefore
  bounded to `BUFFER_S` of the rate, and what came counts when it came, not when it was read.
- Over t seconds at most rate × (t + BURST_S + BUFFER_S) come in, whatever sources and readers do: over ten seconds 1.04 × the rate.
- What came too much is waited for; what was not used for `BURST_S` is lost.

Theory: a token bucket whose tokens are taken before a piece is read and corrected by what arrived.
"""

from __future__ import annotations

from contracts.digests import BLOCK_BYTES
from oca.keeper.sourcing import RUN_BLOCKS

BURST_S = 0.15
BUFFER_S = 0.25
RUN_S = 0.2
PIECE_S = 0.02
LEAST_PIECE_BYTES = 4 << 10
LEAST_BUFFER_BYTES = 64 << 10
"""Less than this makes a connection wait for its round trips."""
MOST_CONNECTIONS = 16
UNCAPPED_BPS = 1 << 50

LINK_HEADER_BYTES = 14
"""Ethernet, as the interface's counters have it."""
TCP_HEADER_BYTES = 32
"""With the timestamps that practically every sender adds (RFC 7323)."""
IPV4_HEADER_BYTES, IPV6_HEADER_BYTES = 20, 40


def received_bytes(payload_bytes: int, segments: int, *, is_ipv6: bool) -> int:
    """What a connection has cost at the interface: `payload_bytes` in so many `segments`."""
    header = LINK_HEADER_BYTES + (IPV6_HEADER_BYTES if is_ipv6 else IPV4_HEADER_BYTES) + TCP_HEADER_BYTES
    return payload_bytes + segments * header


def connections(rate_bps: int) -> int:
    """How many connections a fill may read from at once, so that each may hold enough to keep going."""
    return max(1, min(MOST_CONNECTIONS, int(rate_bps / 8 * BUFFER_S) // LEAST_BUFFER_BYTES))


def buffer_bytes(rate_bps: int) -> int:
    """What each of them may hold unread, in the kernel and here."""
    return max(1, int(rate_bps / 8 * BUFFER_S) // connections(rate_bps))


class RateCap:
    """A rate, and how much of it was used. It begins with nothing to spend."""

    def __init__(self, rate_bps: int, now: float) -> None:
        self._bytes_per_s = max(1.0, rate_bps / 8)
        self._level = 0.0
        self._at = now

    def set_rate(self, rate_bps: int, now: float) -> None:
        self._refill(now)
        self._bytes_per_s = max(1.0, rate_bps / 8)
        self._level = min(self._level, self._burst)

    def reserve(self, count_bytes: int, now: float) -> float:
        """Seconds to wait before `count_bytes` more may be read. Always takes, so that readers have their turn in the order in which they ask."""
        self._refill(now)
        self._level -= count_bytes
        return max(0.0, -self._level / self._bytes_per_s)

    def settle(self, reserved_bytes: int, received: int, now: float) -> None:
        """Instead of what was reserved so much came in."""
        self._refill(now)
        self._level = min(self._burst, self._level + reserved_bytes - received)

    @property
    def piece_bytes(self) -> int:
        """How much is read at a time."""
        return max(LEAST_PIECE_BYTES, min(BLOCK_BYTES, int(self._bytes_per_s * PIECE_S)))

    @property
    def run_blocks(self) -> int:
        """Blocks to ask for at once: about what may come in `RUN_S`."""
        return max(1, min(RUN_BLOCKS, int(self._bytes_per_s * RUN_S) // BLOCK_BYTES))

    @property
    def _burst(self) -> float:
        return self._bytes_per_s * BURST_S

    def _refill(self, now: float) -> None:
        self._level = min(self._burst, self._level + max(0.0, now - self._at) * self._bytes_per_s)
        self._at = max(now, self._at)
