"""Access marks: one 64-bit word per extent in shared memory. A hit costs a load and a store, no lock.

Word: extent id (low 40 bits) << 24 | coarse epoch (16 bits) << 8 | saturating count (8 bits). The id is in the word so
that a touch by somebody with an old record never counts for the extent that has the slot now. Two workers that touch at
once lose one count; the keeper that collects may lose a few: both are allowed.
"""

from __future__ import annotations

import re
import sys
from typing import NamedTuple

NO_SLOT = 0xFFFF_FFFF
"""The slot of an extent for which no mark was left: it is never touched and looks cold."""
EPOCH_MASK = 0xFFFF
_ID_MASK = (1 << 40) - 1
_COUNT_BYTE = 0 if sys.byteorder == "little" else 7
_COUNTED = re.compile(rb"[^\0]")
_CHUNK_WORDS = 1 << 16


class Mark(NamedTuple):
    """What was seen of one slot since the last collection. `hits` saturates at 255, `epoch` is the low 16 bits of the toucher's."""

    slot: int
    extent_id_low: int
    hits: int
    epoch: int


class Marks:
    """One disk's marks over the board's words."""

    __slots__ = ("_size", "_words")

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self._size = len(words)

    def __len__(self) -> int:
        return self._size

    def touch(self, slot: int, extent_id: int, epoch: int) -> None:
        """Worker: somebody used the extent. Ignored when the slot belongs to another extent by now."""
        if slot >= self._size:
            return
        word: int = self._words[slot]
        if word >> 24 != extent_id & _ID_MASK:
            return
        count = word & 0xFF
        if count != 0xFF:
            count += 1
        self._words[slot] = (word & ~0xFFFFFF) | (epoch & EPOCH_MASK) << 8 | count

    def assign(self, slot: int, extent_id: int) -> None:
        """Keeper: the slot is this extent's from now on, untouched."""
        if slot < self._size:
            self._words[slot] = (extent_id & _ID_MASK) << 24

    def adopt(self, slot: int, extent_id: int) -> None:
        """A restarted keeper: keep what is counted for this extent, else start anew."""
        if slot < self._size and self._words[slot] >> 24 != extent_id & _ID_MASK:
            self.assign(slot, extent_id)

    def collect(self) -> list[Mark]:
        """Keeper: all marks with a count, set back to zero counts."""
        found: list[Mark] = []
        words = self._words
        bytes_of_words = words.cast("B")
        for first in range(0, self._size, _CHUNK_WORDS):
            # The counts alone, by slices: a million of them in 10 ms, where looking at each word took 300.
            counts = bytes(bytes_of_words[first * 8 : (first + _CHUNK_WORDS) * 8])[_COUNT_BYTE::8]
            for counted in _COUNTED.finditer(counts):
                slot = first + counted.start()
                word: int = words[slot]
                words[slot] = word & ~0xFF
                found.append(Mark(slot, word >> 24, word & 0xFF, word >> 8 & EPOCH_MASK))
        return found


def id_low(extent_id: int) -> int:
    """The part of an extent id that a mark carries."""
    return extent_id & _ID_MASK
