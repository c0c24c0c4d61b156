"""How often something was asked for lately, in little memory: a count-min sketch that forgets. Pure and seeded.

Four rows of counters up to 15; a key raises the smallest of its four only (conservative update), the estimate is that smallest: never below
the truth since the last ageing, seldom above. After ten requests per counter all are halved, so that yesterday's favourite fades (TinyLFU: Einziger,
Friedman & Manes, ACM TOS 2017).
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable

_ROWS = 4
_MOST = 15
_SAMPLE = 10
_HALVES = bytes(count >> 1 for count in range(256))


class Frequencies:
    """Counts of about `remembered` keys; one byte per counter. The same `seed` counts the same way, in every process."""

    def __init__(self, remembered: int, seed: int = 0) -> None:
        self._width = 1 << max(4, (remembered - 1).bit_length())
        self._rows = [bytearray(self._width) for _ in range(_ROWS)]
        self._seed = seed.to_bytes(8, "little", signed=True)
        self._since_halved = 0

    def add(self, key: Hashable) -> int:
        """Count one request; the estimate with it, at most 15."""
        places = self._places(key)
        least = min(row[place] for row, place in zip(self._rows, places, strict=True))
        if least < _MOST:
            for row, place in zip(self._rows, places, strict=True):
                if row[place] == least:
                    row[place] += 1
            least += 1
        self._since_halved += 1
        if self._since_halved >= _SAMPLE * self._width:
            self._since_halved = 0
            self._rows = [row.translate(_HALVES) for row in self._rows]
        return least

    def estimate(self, key: Hashable) -> int:
        return min(row[place] for row, place in zip(self._rows, self._places(key), strict=True))

    def _places(self, key: Hashable) -> list[int]:
        text = key if isinstance(key, bytes) else repr(key).encode()
        digest = hashlib.blake2b(text, digest_size=4 * _ROWS, key=self._seed).digest()
        return [int.from_bytes(digest[at : at + 4], "little") % self._width for at in range(0, 4 * _ROWS, 4)]
