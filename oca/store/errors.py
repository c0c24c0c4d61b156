"""What may leave the store: one base class, leaves by what the caller can do.

A look-up never raises: a disk that cannot be read is a miss. No space, a busy disk and a disk taken out are expected
outcomes of writing.
"""

from __future__ import annotations

from enum import Enum


class Retry(Enum):
    NO = "no"
    YES = "yes"
    ELSEWHERE = "elsewhere"


class NoSpaceReason(Enum):
    """Why nothing more is stored; the value is the log word."""

    QUOTA = "quota"
    """The disk's quota is reached and nothing unpinned is left to evict."""
    PINNED_QUOTA = "pinned-quota"
    """The share of the disk that plans may pin is reached."""
    DEAD_HELD = "dead-held"
    """Room was made, but workers still hold the unlinked extents: try again within a second."""
    DISK_FULL = "disk-full"
    """The filesystem has less room than the quota promises (ENOSPC, EDQUOT)."""
    READ_ONLY = "read-only"
    """The filesystem is mounted read-only (EROFS): serve, do not store."""
    INDEX_FULL = "index-full"
    """The index map is nearly full; it is never resized at runtime."""
    NOT_ADMITTED = "not-admitted"
    """The extent is larger than the part of the disk it may use."""


class StoreError(Exception):
    """Base of everything the store raises. `source` is always ours; `retry` says whether asking again may help."""

    source = "ours"
    retry = Retry.NO
    status = 500


class NoSpace(StoreError):
    """The bytes cannot be stored now; serve them without storing."""

    retry = Retry.YES
    status = 507

    def __init__(self, reason: NoSpaceReason, needed_bytes: int = 0) -> None:
        super().__init__(f"no space: {reason.value} (needed {needed_bytes} bytes)")
        self.reason = reason
        self.needed_bytes = needed_bytes


class DiskFailed(StoreError):
    """The disk erred (also in fsync) and was taken out; its share becomes misses until somebody brings it back."""

    retry = Retry.ELSEWHERE
    status = 503

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"disk {path} was taken out: {what}")
        self.path = path
        self.what = what


class DiskBusy(StoreError):
    """Another keeper holds the disk's lock."""

    retry = Retry.YES

    def __init__(self, path: str) -> None:
        super().__init__(f"disk {path} is locked by another keeper; stop it first")
        self.path = path


class NotADisk(StoreError):
    """The folder is not a Lowtide disk, or not with these settings; the message says which and what to do."""


class FormatTooNew(NotADisk):
    """The disk was written by a newer version; nothing on it was touched."""

    def __init__(self, path: str, found: int, known: int) -> None:
        super().__init__(
            f"disk {path} has format {found}, this version knows {known}: use a newer Lowtide or another folder"
        )
        self.found = found
        self.known = known


class WrongBlock(StoreError):
    """The bytes handed to `write_block` do not have the digest or the length of that block. Nothing was written."""

    source = "upstream"
    retry = Retry.ELSEWHERE
    status = 502


class ExtentGone(StoreError):
    """The extent was evicted, dropped or replaced while a writer still held its handle: open it again."""

    retry = Retry.YES
    status = 503


class Purged(StoreError):
    """The bytes, or what they were verified against, were asked for before a purge that names them: ask anew. Nothing was written."""

    retry = Retry.YES
    status = 503
