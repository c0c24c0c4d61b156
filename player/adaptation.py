"""Which rendition next: throughput estimate with a buffer guard, as the common players do it.

The estimate is the lower of a fast and a slow exponentially weighted mean of bytes over time (half-lives 2 s and 6 s of
download time). A rung is affordable when its bandwidth is below `SAFETY` of the estimate; with less than
`PANIC_S` of buffer the lowest rung is taken; an up-switch needs `CALM_S` of buffer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SAFETY = 0.8
PANIC_S = 2.0
CALM_S = 6.0
FAST_HALF_LIFE_S = 2.0
SLOW_HALF_LIFE_S = 6.0


@dataclass(frozen=True, slots=True)
class Mean:
    """An exponentially weighted mean with bias correction; `weight` is the share of history it has seen."""

    half_life_s: float
    value: float = 0.0
    weight: float = 0.0

    def with_sample(self, value: float, duration_s: float) -> Mean:
        keep = 0.5 ** (duration_s / self.half_life_s)
        return Mean(self.half_life_s, keep * self.value + (1 - keep) * value, keep * self.weight + (1 - keep))

    @property
    def estimate(self) -> float:
        return self.value / self.weight if self.weight > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Throughput:
    """Bits per second as seen so far; 0 before the first sample."""

    fast: Mean = Mean(FAST_HALF_LIFE_S)
    slow: Mean = Mean(SLOW_HALF_LIFE_S)

    def with_download(self, size_bytes: int, took_s: float) -> Throughput:
        duration = max(took_s, 1e-3)
        rate = size_bytes * 8 / duration
        return Throughput(self.fast.with_sample(rate, duration), self.slow.with_sample(rate, duration))

    @property
    def bps(self) -> float:
        return min(self.fast.estimate, self.slow.estimate)


def choose(bandwidths_bps: Sequence[int], throughput_bps: float, buffer_s: float, current: int | None) -> int:
    """Index into `bandwidths_bps` (ascending). The first choice, without an estimate, is the lowest."""
    if not bandwidths_bps:
        raise ValueError("there is nothing to choose from")
    if throughput_bps <= 0 or (current is not None and buffer_s < PANIC_S):
        return 0
    affordable = max((i for i, need in enumerate(bandwidths_bps) if need <= throughput_bps * SAFETY), default=0)
    if current is None or affordable <= current:
        return affordable
    return min(affordable, current + 1) if buffer_s >= CALM_S or current == 0 else current
