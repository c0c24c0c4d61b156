"""Weighted rendezvous hashing: which box of a set a name belongs to (Thaler & Ravishankar 1998; weights after Schindelhauer).

Planner and steering use the same function over the same names, so that the box a miss is sent to is the box tomorrow's
plan would choose. Laws: the order depends on nothing but the names and weights; when a box leaves, only what it was first
for moves; a box is first for a share of names equal to its share of the weights.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence

_SPAN = float(1 << 53)


def score(name: str, box: str, weight: float) -> float:
    """The higher, the better; positive for a positive weight, 0.0 for a box without weight."""
    if weight <= 0.0:
        return 0.0
    digest = hashlib.blake2b(f"{box}\0{name}".encode(), digest_size=8).digest()
    # 53 bits fill a double; the half keeps the logarithm away from 0 and 1.
    unit = ((int.from_bytes(digest, "big") >> 11) + 0.5) / _SPAN
    return -weight / math.log(unit)


def ranked(name: str, boxes: Iterable[tuple[str, float]]) -> list[str]:
    """Boxes `(id, weight)`, best first. Boxes without weight come last, by id."""
    return [box for _, box in sorted((-score(name, box, weight), box) for box, weight in boxes)]


def ranked_places(name: str, boxes: Sequence[str], weights: Sequence[float]) -> list[int]:
    """The positions of boxes, best first: the order of `ranked`, in half of its time where all weights are the same."""
    if len(boxes) == 1:
        return [0]
    places = range(len(boxes))
    if weights and weights[0] > 0.0 and weights.count(weights[0]) == len(weights):
        # The score grows with the digest, so that digests order as scores do.
        tail = f"\0{name}".encode()
        digests = [hashlib.blake2b(box.encode() + tail, digest_size=8).digest() for box in boxes]
        if len(set(digests)) == len(digests):
            return sorted(places, key=digests.__getitem__, reverse=True)
    scores = [-score(name, box, weight) for box, weight in zip(boxes, weights, strict=True)]
    return sorted(places, key=lambda at: (scores[at], boxes[at]))
