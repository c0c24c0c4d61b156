"""The playback clock of a player that shows nothing: buffer, stalls and position. Pure; `now` comes in.

`rate` is media seconds per second of wall time: 1 plays as people watch, 8 plays a minute in 7.5 s.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Timeline:
    """`position_s` is what the viewer has reached, `buffered_s` where the downloaded media ends (both media time)."""

    position_s: float
    rate: float
    buffered_s: float = 0.0
    stalls: int = 0
    stalled_s: float = 0.0
    ends_at_s: float = float("inf")
    """Reaching this position is the end, not a stall."""
    _moved_at: float = 0.0
    _playing: bool = False
    _stalled_since: float | None = None

    def __post_init__(self) -> None:
        self.buffered_s = max(self.buffered_s, self.position_s)

    def start(self, now: float) -> None:
        self._playing = True
        self._moved_at = now

    def advance(self, now: float) -> None:
        """Moves the position to `now`; running dry begins a stall."""
        if not self._playing or self._stalled_since is not None:
            return
        dry_at = self._moved_at + (self.buffered_s - self.position_s) / self.rate
        if now <= dry_at:
            self.position_s += (now - self._moved_at) * self.rate
        else:
            self.position_s = self.buffered_s
            if self.position_s < self.ends_at_s:
                self._stalled_since = dry_at
                self.stalls += 1
        self._moved_at = now

    def appended(self, buffered_s: float, now: float) -> None:
        """Media is there up to `buffered_s`: ends a stall."""
        self.advance(now)
        self.buffered_s = buffered_s
        if self._stalled_since is not None and self.buffered_s > self.position_s:
            self.stalled_s += now - self._stalled_since
            self._stalled_since = None
            self._moved_at = now

    def buffer_s(self, now: float) -> float:
        self.advance(now)
        return self.buffered_s - self.position_s

    def close(self, now: float) -> None:
        """The viewer leaves: a stall that lasts counts up to now, and nothing moves any more."""
        self.advance(now)
        if self._stalled_since is not None:
            self.stalled_s += now - self._stalled_since
            self._stalled_since = None
        self._playing = False

    def wait_s(self, wanted_buffer_s: float, now: float) -> float:
        """Wall seconds until the buffer has fallen to `wanted_buffer_s`; 0 when it already has."""
        return max(0.0, (self.buffer_s(now) - wanted_buffer_s) / self.rate)
