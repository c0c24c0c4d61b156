"""Order among appliances of one kind: rendezvous hashing with bounded loads.

Holders are equal in what they have, so a client's address spreads the sessions of one group over them, by what each has left.
Those that do not hold it are ordered by the group alone and by weights that stand still: the misses for one file go to one box,
and its second request is a hit. A box over the bound (`standing`) goes behind the others of its kind: bounded loads after
Mirrokni, Thorup and Zadimoghaddam 2018, on loads that are told and reserved instead of counted.

Law: when one leaves, the others keep their order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TypeVar

from contracts.rendezvous import Salt, ranked_places

B = TypeVar("B")


class Kind(IntEnum):
    """What a box has of a group; the lower, the better."""

    HOLDS = 0
    PLANNED = 1
    LACKS = 2


def name_of(group: str, client: str, kind: Kind) -> str:
    """What is hashed: the group with its client where any of them will do, the group alone where one is to learn it."""
    return group if kind is Kind.LACKS else f"{group}\0{client}"


def by_rendezvous(
    name: str,
    boxes: Sequence[B],
    salt_of: Callable[[B], Salt],
    weight_of: Callable[[B], float],
    crowded: Callable[[B], bool] | None,
) -> list[B]:
    """Best first: those within the bound before the crowded, then by rendezvous score, then by id. `crowded` is None for nobody."""
    found = [boxes[at] for at in ranked_places(name, list(map(salt_of, boxes)), list(map(weight_of, boxes)))]
    if crowded is not None:
        found.sort(key=crowded)
    return found
