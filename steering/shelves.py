"""What the boxes of one site hold, asked of all of them at once. Pure.

Every file that a box holds or is to hold has a word with two bits for each of up to `ABREAST` boxes, so that one search tells what 32
boxes have of it: asked one by one, twenty boxes of 10,000 files cost 40 us, and this 2.

Laws
- The answers are those of the boxes' own sets (`Held`), collisions of hashes included.
- What a box's set tells differently from its sorted base (contracts.keysets: the deltas since) is looked up apart, until the set has
  made a new base of it; then the words of that box are made anew, and of no other.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from operator import is_
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from contracts.keysets import NO_KEYS, KeySet
from steering.world import Held

ABREAST = 32
_HOLDS = (1 << ABREAST) - 1
_WORD = np.uint64
_NOTHING: array[int] = array("Q")


class Stock(NamedTuple):
    """Which boxes have all of some files: bit n is the box that is number n."""

    holders: int
    """They hold each of the files."""
    planned: int
    """They hold each of the files or are to, and are no holders."""


class _Part(NamedTuple):
    """Up to `ABREAST` boxes. `hashes` ascend; `words[n]` says who has `hashes[n]`: bit b holds it, bit ABREAST + b is to."""

    sets: tuple[KeySet, ...]
    """What is held by each box, then what is planned, ABREAST apart."""
    hashes: array[int]
    words: array[int]
    deltas: tuple[tuple[int, frozenset[int], frozenset[int]], ...]
    """(bit, hashes that came since, hashes that went since) of the sets that have any."""

    def word(self, hashed: int) -> int:
        """Who has the file of a hash."""
        hashes = self.hashes
        at = bisect_left(hashes, hashed)
        word = self.words[at] if at < len(hashes) and hashes[at] == hashed else 0
        for bit, came, went in self.deltas:
            if hashed in came:
                word |= bit
            elif hashed in went:
                word &= ~bit
        return word


class Shelf:
    """The holdings of a site's boxes, in the order of the boxes. It never changes."""

    __slots__ = ("_parts", "held")

    def __init__(self, held: tuple[Held, ...], before: Shelf | None = None) -> None:
        """`before` is a shelf of the same site: of what did not change nothing is made again."""
        self.held = held
        known: tuple[_Part, ...] = before._parts if before is not None else ()
        cuts = range(0, len(held), ABREAST)
        self._parts: tuple[_Part, ...] = tuple(
            _part(held[cut : cut + ABREAST], known[at] if at < len(known) else None) for at, cut in enumerate(cuts)
        )

    def is_of(self, held: Sequence[Held]) -> bool:
        """True for the very holdings that it was made of."""
        return len(held) == len(self.held) and all(map(is_, held, self.held))

    def stock(self, hashes: Sequence[int]) -> Stock:
        """Who has all of the files, by the hashes of their keys."""
        holders = planned = 0
        for at, part in enumerate(self._parts):
            whole = known = _HOLDS
            for hashed in hashes:
                word = part.word(hashed)
                whole &= word
                known &= word | word >> ABREAST
            holders |= whole << at * ABREAST
            planned |= (known & ~whole) << at * ABREAST
        return Stock(holders, planned)


def _part(held: Sequence[Held], before: _Part | None) -> _Part:
    padding = (NO_KEYS,) * (ABREAST - len(held))
    sets = (*(one.whole for one in held), *padding, *(one.planned for one in held), *padding)
    known = before.sets if before is not None else (NO_KEYS,) * len(sets)
    anew = [number for number, (old, new) in enumerate(zip(known, sets, strict=True)) if old.base is not new.base]
    hashes, words = (before.hashes, before.words) if before is not None else (_NOTHING, _NOTHING)
    if anew:
        hashes, words = _merged(hashes, words, [(1 << number, sets[number].base) for number in anew])
    deltas = [(1 << number, one.added, one.gone) for number, one in enumerate(sets) if one.added or one.gone]
    return _Part(sets, hashes, words, tuple(deltas))


def _merged(
    hashes: array[int], words: array[int], anew: Sequence[tuple[int, array[int]]]
) -> tuple[array[int], array[int]]:
    """Hashes and words where some bits are of exactly the hashes given with them."""
    old, its = _numbers(hashes), _numbers(words) & ~_WORD(sum(bit for bit, _ in anew))
    told = its != 0
    runs = [old[told], *(_numbers(base) for _, base in anew)]
    bits = [its[told], *(np.full(len(base), bit, _WORD) for bit, base in anew)]
    every, its = np.concatenate(runs), np.concatenate(bits)
    order = np.argsort(every, kind="stable")  # merges what is in order already: a third of the time of any other sort
    every, its = every[order], its[order]
    first = np.flatnonzero(np.concatenate([np.ones(min(1, len(every)), np.bool_), every[1:] != every[:-1]]))
    its = np.bitwise_or.reduceat(its, first) if len(first) else its
    return array("Q", every[first].tobytes()), array("Q", its.tobytes())


def _numbers(numbers: array[int]) -> NDArray[np.uint64]:
    return np.frombuffer(numbers, _WORD) if numbers else np.empty(0, _WORD)
