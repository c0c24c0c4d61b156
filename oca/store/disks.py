"""A disk: a folder on its own filesystem that carries its index and its extents, and nothing of any other disk.

Layout (final)::

    lowtide-disk.json     format, uuid, extent_bytes, block_bytes, map_bytes: fixed when the disk is made
    lock                  flock of the keeper that writes
    index/data.mdb        LMDB (0.9 format), extended to the whole map size with real blocks behind it
    index/lock.mdb
    extents/XX/ID         extent files, `extents.extent_name`

A folder with a newer format, another extent length or another block size is refused in words and not touched.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import msgspec
from annotated_types import Ge, Gt, Le
from typing_extensions import Doc

from contracts.digests import BLOCK_BYTES
from oca.store.errors import DiskBusy, FormatTooNew, NotADisk
from oca.store.index import create_index
from oca.store.placement import DiskClass, Place

FORMAT = 1
DESCRIPTION = "lowtide-disk.json"


@dataclass(frozen=True, slots=True)
class DiskSettings:
    path: Annotated[str, Doc("Folder of this disk, on its own filesystem in production")]
    quota_bytes: Annotated[int, Ge(1 << 20), Doc("Space that extents may take on this disk, in bytes")]
    weight: Annotated[float, Gt(0), Doc("Share of extents relative to the other disks")] = 1.0
    draining: Annotated[bool, Doc("Take no new extents; serve those that are there")] = False
    disk_class: Annotated[DiskClass, Doc("hot (flash) or cold (large)")] = DiskClass.COLD
    removed: Annotated[bool, Doc("Not there any more: its number is not given again while the appliance runs")] = False
    life: Annotated[int, Doc("Grows when a disk that was out comes back under its number: it is opened anew")] = 0
    uuid: Annotated[str, Doc("Which disk it has to be; empty for any")] = ""


@dataclass(frozen=True, slots=True)
class StoreSettings:
    disks: Annotated[tuple[DiskSettings, ...], Doc("The disks, in a fixed order: their position is their number")]
    extent_bytes: Annotated[
        int, Ge(BLOCK_BYTES), Doc("Length of an extent file in bytes, a multiple of 262144; fixed when a disk is made")
    ] = 32 * 1024 * 1024
    index_map_bytes: Annotated[
        int, Ge(1 << 20), Doc("Size of each disk's index map, a memory budget of about 600 B per expected extent")
    ] = 64 * 1024 * 1024
    cache_share: Annotated[
        float, Ge(0), Le(1), Doc("Share of the quota that plans may not pin (pull-through cache)")
    ] = 0.15
    policy: Annotated[str, Doc("Eviction policy of the unpinned part: lru, sieve or s3fifo")] = "lru"
    high_mark: Annotated[
        float,
        Ge(0.5),
        Le(1),
        Doc(
            "Used share of a disk's space from which extents are evicted ahead of need; at least four extents stay free where "
            "that is no more than an eighth; 1 evicts only when needed"
        ),
    ] = 0.985
    low_mark: Annotated[float, Ge(0.5), Le(1), Doc("Used share down to which evicting ahead goes")] = 0.98
    batch_blocks: Annotated[int, Ge(1), Doc("Written blocks after which a batch is made durable")] = 64
    batch_age_s: Annotated[float, Gt(0), Doc("Age at which a batch is made durable, seconds")] = 1.0
    descriptors: Annotated[int, Ge(16), Doc("Extent files one worker keeps open at most while they are idle")] = 1024
    admission: Annotated[str, Doc("Who gets a lasting place: all, second-request or frequent")] = "all"
    admission_max_share: Annotated[float, Gt(0), Le(1), Doc("Share of a disk beyond which one file never lasts")] = 1.0
    admission_remembered: Annotated[int, Ge(16), Doc("Extents per disk whose requests are remembered")] = 100_000
    admission_requests: Annotated[int, Ge(1), Le(15), Doc("Requests that frequent wants of a file of usual size")] = 2
    admission_usual_bytes: Annotated[int, Ge(1), Doc("Size from which each doubling wants one request more")] = 1 << 30
    passing_share: Annotated[
        float, Ge(0), Le(0.5), Doc("Share of a disk for what does not last; beyond it such extents go first")
    ] = 1 / 64
    short_life_s: Annotated[float, Ge(0), Doc("What is fresh for less does not last")] = 60.0


class DiskDescription(msgspec.Struct, frozen=True):
    """The content of `lowtide-disk.json`."""

    format: int
    uuid: str
    extent_bytes: int
    block_bytes: int
    map_bytes: int

    @property
    def salt(self) -> int:
        """64 bits for placement."""
        return uuid.UUID(self.uuid).int & 0xFFFF_FFFF_FFFF_FFFF


def expected_marks(quota_bytes: int, extent_bytes: int) -> int:
    """Marks worth having for a disk: four extents per full-length one (files end in shorter extents), at least 4096."""
    return max(4096, 4 * quota_bytes // extent_bytes)


RESERVE_EXTENTS = 4
"""Evicted space is free only when workers let go of it, up to a second later: what a small disk takes in that time at least."""


def reserve_bytes(quota_bytes: int, settings: StoreSettings) -> tuple[int, int]:
    """Space whose lack makes eviction go ahead of need (above the high mark), and what is free afterwards (the low mark); 0, 0 switches it off."""
    if settings.high_mark >= 1.0:
        return 0, 0
    least = RESERVE_EXTENTS * settings.extent_bytes
    high, low = (
        min(quota_bytes // 8, max(least, round(quota_bytes * (1.0 - mark))))
        for mark in (settings.high_mark, settings.low_mark)
    )
    return high, max(high, low)


def place_of(number: int, settings: DiskSettings, description: DiskDescription) -> Place:
    return Place(number, description.salt, settings.weight, not settings.draining, settings.disk_class)


def check_identity(settings: DiskSettings, description: DiskDescription) -> None:
    """Raises NotADisk when the folder holds another disk than the one that has the number."""
    if settings.uuid and settings.uuid != description.uuid:
        raise NotADisk(
            f"{settings.path} holds another disk ({description.uuid}) than before ({settings.uuid}): "
            "take it in with `lowtide oca disk add`, or mount the one that was there"
        )


def read_description(path: str) -> DiskDescription:
    """The description of an existing disk. Raises NotADisk or FormatTooNew; never touches anything."""
    try:
        with open(os.path.join(path, DESCRIPTION), "rb") as file:
            text = file.read()
    except OSError as error:
        raise NotADisk(f"{path} is not a prepared disk: {error.strerror or error} ({DESCRIPTION})") from error
    try:
        found = msgspec.json.decode(text, type=_FormatOnly).format
    except msgspec.MsgspecError as error:
        raise NotADisk(f"{path}/{DESCRIPTION} cannot be read: {error}") from error
    if found > FORMAT:
        raise FormatTooNew(path, found, FORMAT)
    try:
        description = msgspec.json.decode(text, type=DiskDescription)
    except msgspec.MsgspecError as error:
        raise NotADisk(f"{path}/{DESCRIPTION} cannot be read: {error}") from error
    if description.block_bytes != BLOCK_BYTES:
        raise NotADisk(f"{path} has blocks of {description.block_bytes} bytes, this version {BLOCK_BYTES}")
    return description


class _FormatOnly(msgspec.Struct):
    format: int


def prepare_disk(
    settings: DiskSettings, store: StoreSettings, new_uuid: Callable[[], uuid.UUID] = uuid.uuid4
) -> DiskDescription:
    """Create the disk where there is none, else check that it fits the settings.

    Idempotent; a creation that was interrupted is started over (the description is written last). Raises NotADisk (also for
    a quota that its filesystem can never hold: a slip of the pen, or a disk that is not mounted), FormatTooNew, or OSError
    from the filesystem (ENOSPC: the index map does not fit).
    """
    path = settings.path
    _check_quota(settings)
    if os.path.exists(os.path.join(path, DESCRIPTION)):
        return _checked(path, store)
    if store.extent_bytes % BLOCK_BYTES:
        raise NotADisk(f"extent_bytes {store.extent_bytes} is not a multiple of {BLOCK_BYTES}")
    os.makedirs(os.path.join(path, "index"), exist_ok=True)
    for folder in range(256):
        os.makedirs(os.path.join(path, "extents", f"{folder:02x}"), exist_ok=True)
    create_index(os.path.join(path, "index"), store.index_map_bytes)
    description = DiskDescription(FORMAT, str(new_uuid()), store.extent_bytes, BLOCK_BYTES, store.index_map_bytes)
    _write_description(path, description)
    return description


def _check_quota(settings: DiskSettings) -> None:
    """Looks at the filesystem that the folder lies on, or will lie on. Raises NotADisk."""
    there = os.path.abspath(settings.path)
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    found = os.statvfs(there)
    size = found.f_blocks * found.f_frsize
    if 0 < size < settings.quota_bytes:
        raise NotADisk(
            f"{settings.path}: quota_bytes {settings.quota_bytes} is more than its whole filesystem has ({size} bytes): "
            "is the disk mounted? If so, leave some room beside the quota for the index"
        )


def _checked(path: str, store: StoreSettings) -> DiskDescription:
    description = read_description(path)
    if description.extent_bytes != store.extent_bytes:
        raise NotADisk(
            f"{path} was made with extent_bytes {description.extent_bytes}, the settings say {store.extent_bytes}: "
            "set it back or empty the folder"
        )
    return description


def _write_description(path: str, description: DiskDescription) -> None:
    temporary = os.path.join(path, DESCRIPTION + ".new")
    with open(temporary, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(description), indent=2) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, os.path.join(path, DESCRIPTION))
    for folder in (os.path.join(path, "extents"), os.path.join(path, "index"), path):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def lock_disk(path: str) -> int:
    """Take the keeper's exclusive lock; the descriptor holds it. Raises DiskBusy, or OSError from the filesystem."""
    fd = os.open(os.path.join(path, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise DiskBusy(path) from error
    with contextlib.suppress(OSError):  # the pid is a courtesy to operators
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd
