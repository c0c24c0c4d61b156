"""Which disk an extent lives on: weighted rendezvous hashing. Pure.

Each disk draws a score from (its id, the extent's key); the highest wins. Score = −weight / ln(u) with u uniform in (0, 1):
a disk of double weight wins twice as often, and adding or removing a disk moves only the share it gains or loses
(Schindelhauer & Schomaker, "Weighted distributed hash tables", SPAA 2005). A disk that joins pushes the old place of an extent to
its second rank, one that leaves pulls up its second, so that look-up finds everything in the two best ranks while one disk changes.

Disks are of two classes, each ranked by itself: hot (flash) and cold (large). Look-up asks the hot ones first. What is new goes to the
class that `class_of_new` names, what is used much is promoted (`promotion`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_U64 = 0xFFFF_FFFF_FFFF_FFFF


HOT_AT_ONCE_BYTES = 1 << 20
"""Files up to this size (manifests, init segments, subtitles) go to a hot disk at once: each costs a large disk as many seeks as a long one."""


class DiskClass(Enum):
    """The value is the word in settings, files and metrics."""

    HOT = "hot"
    COLD = "cold"


@dataclass(frozen=True, slots=True)
class Place:
    """A disk as placement sees it. `salt` is 64 bits of its uuid; `writable` is False while it drains."""

    disk: int
    salt: int
    weight: float
    writable: bool = True
    disk_class: DiskClass = DiskClass.COLD


def class_of_new(planned: bool, size_bytes: int) -> DiskClass:
    """Where a new file belongs before anybody knows how much it is used: what a plan wants, and what is large, on a cold disk."""
    return DiskClass.COLD if planned or size_bytes > HOT_AT_ONCE_BYTES else DiskClass.HOT


def by_class(places: Sequence[Place]) -> tuple[tuple[Place, ...], ...]:
    """The disks of each class, in the order in which look-up asks; a class without disks is left out."""
    groups = (tuple(place for place in places if place.disk_class is wanted) for wanted in DiskClass)
    return tuple(group for group in groups if group)


def score(place: Place, hashed: bytes, extent_number: int) -> float:
    """Higher is better; −inf for weight 0."""
    if place.weight <= 0.0:
        return -math.inf
    word = int.from_bytes(hashed[:8], "little") ^ place.salt
    word = (word + (extent_number + 1) * 0x9E3779B97F4A7C15) & _U64
    word = ((word ^ (word >> 30)) * _MIX_1) & _U64
    word = ((word ^ (word >> 27)) * _MIX_2) & _U64
    word ^= word >> 31
    uniform = (word >> 11) * 2.0**-53 + 2.0**-54
    return -place.weight / math.log(uniform)


def ranked(places: Sequence[Place], hashed: bytes, extent_number: int) -> list[int]:
    """Disk indices, best first."""
    if len(places) == 1:
        return [places[0].disk]
    order = sorted(places, key=lambda place: (-score(place, hashed, extent_number), place.disk))
    return [place.disk for place in order]


def best_writable(
    places: Sequence[Place], hashed: bytes, extent_number: int, wanted: DiskClass | None = None
) -> int | None:
    """The disk a new extent goes to, of the wanted class where one takes writes; None when no disk does."""
    writable = [place for place in places if place.writable and place.weight > 0.0]
    preferred = [place for place in writable if place.disk_class is wanted] or writable
    return ranked(preferred, hashed, extent_number)[0] if preferred else None


def rank_of(places: Sequence[Place], hashed: bytes, extent_number: int, disk: int) -> int:
    """The position of a disk among those of its class, 0 for the best. Raises StopIteration when it is not among them."""
    own = next(place.disk_class for place in places if place.disk == disk)
    return ranked([place for place in places if place.disk_class is own], hashed, extent_number).index(disk)
