"""What lies on one disk, counted exactly, and what may still be stored. Pure.

Live bytes are allocated lengths of extents that exist (rounded up to 4 KiB); pinned bytes the part that a plan holds; dead
bytes are unlinked but may still be held by a worker and therefore still count. Plans may pin at most
`quota × (1 − cache_share)`; what no plan pinned may use everything that is left.
"""

from __future__ import annotations

from dataclasses import dataclass

from oca.store.errors import NoSpaceReason

PAGE = 4096


def allocated(length: int) -> int:
    """Bytes that a file of `length` takes."""
    return -(-length // PAGE) * PAGE


@dataclass(slots=True)
class Space:
    quota_bytes: int
    cache_share: float = 0.15
    live_bytes: int = 0
    pinned_bytes: int = 0
    dead_bytes: int = 0

    @property
    def used_bytes(self) -> int:
        return self.live_bytes + self.dead_bytes

    @property
    def free_bytes(self) -> int:
        return max(0, self.quota_bytes - self.used_bytes)

    @property
    def pinned_limit_bytes(self) -> int:
        return int(self.quota_bytes * (1.0 - self.cache_share))

    def refusal(self, size: int, pinned: bool) -> NoSpaceReason | None:
        """Why `size` more bytes can never fit beside what is pinned now; None when eviction can make room."""
        if pinned and self.pinned_bytes + size > self.pinned_limit_bytes:
            return NoSpaceReason.PINNED_QUOTA
        if self.pinned_bytes + size > self.quota_bytes:
            return NoSpaceReason.NOT_ADMITTED
        return None

    def fits(self, size: int) -> bool:
        """True when `size` more bytes fit now, dead ones counted."""
        return self.used_bytes + size <= self.quota_bytes

    def to_evict(self, size: int) -> int:
        """Live bytes that must go so that `size` fits once all dead ones are released."""
        return max(0, self.live_bytes + size - self.quota_bytes)

    def add(self, size: int, pinned: bool) -> None:
        self.live_bytes += size
        if pinned:
            self.pinned_bytes += size

    def pin(self, size: int) -> None:
        self.pinned_bytes += size

    def unpin(self, size: int) -> None:
        self.pinned_bytes -= size

    def kill(self, size: int, pinned: bool) -> None:
        """An extent was unlinked: it stays counted until `release`."""
        self.live_bytes -= size
        self.dead_bytes += size
        if pinned:
            self.pinned_bytes -= size

    def release(self, size: int) -> None:
        self.dead_bytes -= size
