"""What lies on one disk, counted exactly, and what may still be stored. Pure.

Live bytes are allocated lengths of extents that exist (rounded up to 4 KiB); pinned bytes the part that a plan holds; dead
bytes are unlinked but may still be held by a worker and therefore still count. Plans may pin at most
`quota × (1 − cache_share)`; what no plan pinned may use everything that is left.

A filesystem that has less than the quota promises (others write there too) is the bound that counts, as long as it is so: `limit_bytes`.
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
    filesystem_bytes: int | None = None
    """What the filesystem can hold of extents; None while nobody looked."""

    @property
    def limit_bytes(self) -> int:
        """What extents may take now."""
        return self.quota_bytes if self.filesystem_bytes is None else min(self.quota_bytes, self.filesystem_bytes)

    @property
    def is_squeezed(self) -> bool:
        """The filesystem gives less than the quota."""
        return self.limit_bytes < self.quota_bytes

    @property
    def used_bytes(self) -> int:
        return self.live_bytes + self.dead_bytes

    @property
    def free_bytes(self) -> int:
        return max(0, self.limit_bytes - self.used_bytes)

    @property
    def pinned_limit_bytes(self) -> int:
        return int(self.quota_bytes * (1.0 - self.cache_share))

    def refusal(self, size: int, pinned: bool) -> NoSpaceReason | None:
        """Why `size` more bytes can never fit beside what is pinned now; None when eviction can make room."""
        if pinned and self.pinned_bytes + size > self.pinned_limit_bytes:
            return NoSpaceReason.PINNED_QUOTA
        if self.pinned_bytes + size > self.quota_bytes:
            return NoSpaceReason.NOT_ADMITTED
        if self.pinned_bytes + size > self.limit_bytes:
            return NoSpaceReason.DISK_FULL
        return None

    def fits(self, size: int) -> bool:
        """True when `size` more bytes fit now, dead ones counted."""
        return self.used_bytes + size <= self.limit_bytes

    def to_evict(self, size: int) -> int:
        """Live bytes that must go so that `size` fits once all dead ones are released."""
        return max(0, self.live_bytes + size - self.limit_bytes)

    def to_evict_ahead(self, high_bytes: int, low_bytes: int) -> int:
        """Live bytes that must go because less than `high_bytes` would be free once all dead ones are released: so many that `low_bytes` are."""
        return self.to_evict(max(high_bytes, low_bytes)) if self.to_evict(high_bytes) else 0

    def look(self, free_bytes: int) -> None:
        """The filesystem has so much left beside what is counted here."""
        self.filesystem_bytes = self.used_bytes + free_bytes

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
