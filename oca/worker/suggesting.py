"""What an answer says of its delivery when `serving.cmsd` is on (CMSD-Dynamic, `contracts.cmsd`). Pure.

Theory: the kernel measures the rate at which bytes are delivered. While the sender always had more to send it is what the path
carries; else (`app_limited`) only that much was asked for, and what was known before holds until it is exceeded. A player that
trusts `mb` must never be held down by what it asked for itself, so that it is said only when the rate was measured at the path's limit.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.cmsd import CmsdDynamic
from oca.worker.tcpinfo import TcpInfo

EVERY_S = 1.0
"""A connection is measured at most that often."""
NEW_SHARE = 0.5
"""Of a new measurement in the estimate."""
SUGGESTED_SHARE = 0.9
"""Of the estimate, as the highest bitrate: a player needs something over for its buffer."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of one connection. `limited`: the rate was never measured at the path's limit."""

    bytes_s: float = 0.0
    rtt_us: int = 0
    limited: bool = True


def estimate(before: Estimate, info: TcpInfo) -> Estimate:
    """The estimate after a measurement."""
    rate = float(info.delivery_bytes_s)
    if info.app_limited:
        if rate <= before.bytes_s:
            return Estimate(before.bytes_s, info.rtt_us, before.limited)
        return Estimate(rate, info.rtt_us, before.limited)
    if before.bytes_s and not before.limited:
        rate = NEW_SHARE * rate + (1 - NEW_SHARE) * before.bytes_s
    return Estimate(rate, info.rtt_us, False)


def said(known: Estimate, delay_ms: int, *, under_duress: bool = False) -> CmsdDynamic:
    """What is said: nothing of what is not known."""
    throughput = int(known.bytes_s * 8 / 1000)
    return CmsdDynamic(
        etp=throughput or None,
        mb=None if known.limited or not throughput else int(throughput * SUGGESTED_SHARE),
        rd=delay_ms,
        rtt=round(known.rtt_us / 1000) if known.rtt_us else None,
        du=under_duress,
    )
