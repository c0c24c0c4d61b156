"""How long each parent takes to begin its answers, and when a second one is asked beside it (hedging). Pure.

Theory: Dean and Barroso, *The Tail at Scale* (CACM 2013): a second request after the time that most answers have begun by costs a few
per cent more requests and cuts the tail. The time is estimated as RFC 6298 §2 estimates a retransmission time-out: the smoothed
time plus four times its smoothed deviation.
"""

from __future__ import annotations

from dataclasses import dataclass

_TIME_GAIN = 1 / 8
_DEVIATION_GAIN = 1 / 4
_DEVIATIONS = 4.0
MAX_PARENTS = 1024


@dataclass(slots=True)
class _Estimate:
    time_s: float
    deviation_s: float


class FirstBytes:
    """By URL; the parents noted first are forgotten first."""

    def __init__(self) -> None:
        self._known: dict[str, _Estimate] = {}

    def note(self, url: str, took_s: float) -> None:
        """An answer began after so long; or was given up then, which is the least that it would have taken."""
        known = self._known.get(url)
        if known is None:
            if len(self._known) >= MAX_PARENTS:
                del self._known[next(iter(self._known))]
            self._known[url] = _Estimate(took_s, took_s / 2)
            return
        known.deviation_s += _DEVIATION_GAIN * (abs(took_s - known.time_s) - known.deviation_s)
        known.time_s += _TIME_GAIN * (took_s - known.time_s)

    def late_s(self, url: str, least_s: float, most_s: float) -> float:
        """After how long an answer that has not begun is late, between the two bounds; of a parent nobody has asked, the least."""
        known = self._known.get(url)
        if known is None:
            return least_s
        return max(least_s, min(most_s, known.time_s + _DEVIATIONS * known.deviation_s))
