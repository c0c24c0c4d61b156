"""The disks, and who gets a lasting place on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le
from typing_extensions import Doc

EXTENT_STEP_BYTES = 262_144
"""A block: extents hold whole ones."""


@dataclass(frozen=True, slots=True)
class Disk:
    path: Annotated[str, Doc("Folder of this disk, on its own filesystem in production")]
    quota_bytes: Annotated[int, Ge(1 << 20), Doc("Space that extents may take on this disk, in bytes")]
    weight: Annotated[float, Gt(0), Doc("Share of extents relative to the other disks")] = 1.0
    storage_class: Annotated[
        Literal["hot", "cold"],
        Doc(
            "hot (flash): small files, and what is used much; cold (large): all else. One class alone holds everything"
        ),
    ] = "cold"


@dataclass(frozen=True, slots=True)
class Admission:
    """Who gets a lasting place. The rest is stored too, but goes first (docs/eviction.md). Extents that a plan pins are not asked about."""

    rule: Annotated[
        Literal["all", "second-request", "frequent"],
        Doc(
            "Everything; what is asked for again while it is remembered; what is asked for often lately, larger files oftener"
        ),
    ] = "all"
    max_share: Annotated[float, Gt(0), Le(1), Doc("Share of a disk beyond which one file never lasts")] = 1.0
    remembered: Annotated[int, Ge(16), Doc("Extents per disk whose requests are remembered")] = 100_000
    requests: Annotated[
        int, Ge(1), Le(15), Doc("Requests that `frequent` wants of an extent of a file of usual size")
    ] = 2
    usual_bytes: Annotated[
        int, Ge(1), Doc("File size up to which that is so; each doubling beyond it wants one request more")
    ] = 1 << 30
    passing_share: Annotated[
        float, Ge(0), Le(0.5), Doc("Share of a disk for what does not last; beyond it such extents go first")
    ] = 1 / 64
    short_life_s: Annotated[float, Ge(0), Doc("What is fresh for less than this does not last")] = 60.0


@dataclass(frozen=True, slots=True)
class Store:
    disks: Annotated[tuple[Disk, ...], Doc("The disks of this appliance")]
    extent_bytes: Annotated[
        int, Ge(256 * 1024), Doc("Length of an extent file in bytes, a multiple of 262144; fixed when a disk is made")
    ] = 32 * 1024 * 1024
    index_map_bytes: Annotated[
        int, Ge(1 << 20), Doc("Size of each disk's index map, a memory budget of about 600 B per expected extent")
    ] = 64 * 1024 * 1024
    cache_share: Annotated[
        float, Ge(0), Le(1), Doc("Share of the quota kept for what no plan pinned (pull-through cache)")
    ] = 0.15
    spare_disks: Annotated[
        int,
        Ge(0),
        Le(32),
        Doc("Disks that may be added while the appliance runs (lowtide oca disk add), 40 with the others"),
    ] = 4
    move_bytes_per_s: Annotated[
        int, Ge(1 << 20), Doc("What is moved between disks at most (drain, promotion), all together")
    ] = 64 * 1024 * 1024
    promote_bytes_per_minute: Annotated[
        int, Ge(0), Doc("What is written to hot disks at most because it is used much; 0 promotes nothing")
    ] = 1024 * 1024 * 1024
    policy: Annotated[Literal["lru", "sieve", "s3fifo"], Doc("Eviction policy of the unpinned part")] = "lru"
    high_mark: Annotated[
        float,
        Ge(0.5),
        Le(1),
        Doc(
            "Used share of a disk's space from which extents are evicted ahead of need, so that fills find a reserve; at least "
            "four extents stay free where that is no more than an eighth; 1 evicts only when needed"
        ),
    ] = 0.985
    low_mark: Annotated[float, Ge(0.5), Le(1), Doc("Used share down to which evicting ahead goes")] = 0.98
    admission: Annotated[Admission, Doc("Who gets a lasting place in the unpinned part")] = field(
        default_factory=Admission
    )
    batch_blocks: Annotated[
        int, Ge(1), Doc("Written blocks after which a batch is made durable, at most a second later")
    ] = 64

    scrub_bytes_per_s: Annotated[
        int, Ge(0), Doc("What scrub reads of each disk per second while nothing is written; a round a day; 0 for none")
    ] = 16_777_216
    verify_reads: Annotated[
        float,
        Ge(0),
        Le(1),
        Doc(
            "Share of windows read from a disk whose blocks are compared with their check bytes before they are sent; what is in "
            "memory already is not read. Less saves 43 µs of processor per block, and reads of parts of blocks"
        ),
    ] = 1.0

    def __post_init__(self) -> None:
        if not self.disks:
            raise ValueError("disks: at least one is needed")
        if self.extent_bytes % EXTENT_STEP_BYTES:
            raise ValueError(f"extent_bytes: {self.extent_bytes} is not a multiple of {EXTENT_STEP_BYTES}")
        if self.low_mark > self.high_mark:
            raise ValueError(f"low_mark: {self.low_mark} lies above high_mark {self.high_mark}")
