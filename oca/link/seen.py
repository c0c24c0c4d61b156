"""Which sessions some worker of the box has seen in the last minutes, in shared memory, so that a running session is known to all.

A word per session: 48 bits of its hash, 16 of the minute. Four places per hash; the oldest gives way. Everybody writes without a lock: what two
write at once costs one of them its word, and a running session is marked again within a minute. Forgetting one too early means that its
next connection, if it comes while new sessions are shed, is shed; remembering a wrong one (1 in 10⁹) lets one more in.
"""

from __future__ import annotations

from hashlib import blake2b

SEEN_MINUTES = 5
TABLE_WORDS = 65_536
_WAYS = 4
_MINUTE = 0xFFFF
_AHEAD = 4


class SeenSessions:
    """`words` are `TABLE_WORDS` of 64 bits. `minute` is set by the worker's clock."""

    __slots__ = ("_words", "minute")

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self.minute = 0

    def has(self, session: str) -> bool:
        place, name = _place(session)
        return any(
            word & ~_MINUTE == name and self._age(word) <= SEEN_MINUTES for word in self._words[place : place + _WAYS]
        )

    def mark(self, session: str) -> None:
        place, name = _place(session)
        words = self._words
        ages: list[int] = []
        for at in range(place, place + _WAYS):
            word = words[at]
            if word & ~_MINUTE == name:
                break
            ages.append(self._age(word) if word else _MINUTE + 1)
        else:
            at = place + ages.index(max(ages))
        words[at] = name | self.minute & _MINUTE

    def _age(self, word: int) -> int:
        # Another worker's minute may have begun before ours.
        return ((self.minute - word + _AHEAD) & _MINUTE) - _AHEAD

    def release(self) -> None:
        self._words.release()


def _place(session: str) -> tuple[int, int]:
    """Where its four words begin, and what they say of it (never 0)."""
    digest = int.from_bytes(blake2b(session.encode("utf-8", "replace"), digest_size=8).digest(), "big")
    return digest % (TABLE_WORDS // _WAYS) * _WAYS, (digest >> 16 or 1) << 16
