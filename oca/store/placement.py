"""Which disk an extent lives on: weighted rendezvous hashing. Pure.

Each disk draws a score from (its id, the extent's key); the highest wins. Score = −weight / ln(u) with u uniform in (0, 1):
a disk of double weight wins twice as often, and adding or removing a disk moves only the share it gains or loses
(Schindelhauer & Schomaker, "Weighted distributed hash tables", SPAA 2005). While disks are added or drained, the old
place of an extent is its second rank, so look-up tries two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_U64 = 0xFFFF_FFFF_FFFF_FFFF


@dataclass(frozen=True, slots=True)
class Place:
    """A disk as placement sees it. `salt` is 64 bits of its uuid; `writable` is False while it drains."""

    disk: int
    salt: int
    weight: float
    writable: bool = True


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


def best_writable(places: Sequence[Place], hashed: bytes, extent_number: int) -> int | None:
    """The disk a new extent goes to, or None when no disk takes writes."""
    writable = [place for place in places if place.writable and place.weight > 0.0]
    return ranked(writable, hashed, extent_number)[0] if writable else None
