"""When a batch of written blocks is made durable: at 64 blocks or after one second, whichever is first. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Batch:
    """Blocks written and not yet durable. `since` is the time of the first; None when there is none."""

    max_blocks: int = 64
    max_age_s: float = 1.0
    blocks: int = 0
    since: float | None = None

    def add(self, now: float) -> None:
        self.blocks += 1
        if self.since is None:
            self.since = now

    def due(self, now: float) -> bool:
        return self.since is not None and (self.blocks >= self.max_blocks or now - self.since >= self.max_age_s)

    def due_in_s(self, now: float) -> float | None:
        """Seconds until it is due (0 when it is), None when there is nothing to commit."""
        if self.since is None:
            return None
        return 0.0 if self.due(now) else self.since + self.max_age_s - now

    def clear(self) -> None:
        self.blocks = 0
        self.since = None
