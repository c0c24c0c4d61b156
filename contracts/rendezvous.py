"""Weighted rendezvous hashing: which box of a set a name belongs to (Thaler & Ravishankar 1998; weights after Schindelhauer).

Planner and steering use the same function over the same names, so that the box a miss is sent to is the box tomorrow's
plan would choose. Laws: the order depends on nothing but the names and weights; when a box leaves, only what it was first
for moves; a box is first for a share of names equal to its share of the weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from math import log
from struct import unpack
from typing import NamedTuple

_SPAN = float(1 << 53)


def score(name: str, box: str, weight: float) -> float:
    """The higher, the better; positive for a positive weight, 0.0 for a box without weight."""
    if weight <= 0.0:
        return 0.0
    digest = blake2b(f"{box}\0{name}".encode(), digest_size=8).digest()
    # 53 bits fill a double; the half keeps the logarithm away from 0 and 1.
    unit = ((int.from_bytes(digest, "big") >> 11) + 0.5) / _SPAN
    return -weight / log(unit)


def ranked(name: str, boxes: Iterable[tuple[str, float]]) -> list[str]:
    """Boxes `(id, weight)`, best first. Boxes without weight come last, by id."""
    return [box for _, box in sorted((-score(name, box, weight), box) for box, weight in boxes)]


class Salt(NamedTuple):
    """A box as it begins each of its hashes: made once for what is ranked often, and copied at two thirds of the cost of a hash."""

    box: str
    state: blake2b


def salt_of(box: str) -> Salt:
    return Salt(box, blake2b(f"{box}\0".encode(), digest_size=8))


def ranked_places(name: str, salts: Sequence[Salt], weights: Sequence[float]) -> list[int]:
    """The positions of boxes (at least one), best first: the order of `ranked`, in less than half of its time."""
    if len(salts) == 1:
        return [0]
    hashed = unpack(f">{len(salts)}Q", b"".join(_digests(name, salts)))
    if weights[0] > 0.0 and weights.count(weights[0]) == len(weights):
        costs: Sequence[float] = [-(one >> 11) for one in hashed]  # the score grows with the hash
    else:
        costs = [
            weight / log(((one >> 11) + 0.5) / _SPAN) if weight > 0.0 else 0.0
            for weight, one in zip(weights, hashed, strict=True)
        ]
    places = range(len(salts))
    if len(set(costs)) == len(costs):
        return sorted(places, key=costs.__getitem__)
    return sorted(places, key=lambda at: (costs[at], salts[at].box))


def _digests(name: str, salts: Sequence[Salt]) -> list[bytes]:
    tail = name.encode()
    found = []
    for _, state in salts:
        its = state.copy()
        its.update(tail)
        found.append(its.digest())
    return found
