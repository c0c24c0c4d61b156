"""Which moves of running sessions count: a state may be brought back as often as somebody likes, and it is one session. Pure.

Every answer is made from the state that was asked with, so that a state which was moved once is moved again whenever it is asked again: by a
player that missed the answer, by a page that was loaded anew, or by somebody who means harm. The answer is the same; what it reserves and what
the log says of it must not be made more than once. Laws
- A move counts when the state it was made from is not older than the session's last one that counted.
- What counted longer ago than `window_s` is forgotten: a session counts once in that time at least if it is moved, however it asks.
- At most `most` sessions are remembered; the one that was moved longest ago is forgotten first. Each process counts for itself.
"""

from __future__ import annotations

from collections import OrderedDict

MOST_SESSIONS = 65_536


class CountedMoves:
    """The last move of each session that counted. Instants are whole seconds."""

    def __init__(self, window_s: int, most: int = MOST_SESSIONS) -> None:
        self._window_s = window_s
        self._most = most
        self._at: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._at)

    def count(self, play: str, moved_at: int, now_s: int) -> bool:
        """Whether a move of `now_s` counts, made from a state whose own last move was at `moved_at`; it is then remembered."""
        last = self._at.get(play)
        if last is not None and now_s - last < self._window_s and moved_at < last:
            return False
        self._at[play] = now_s
        self._at.move_to_end(play)
        self._forget(now_s)
        return True

    def _forget(self, now_s: int) -> None:
        while self._at:
            play = next(iter(self._at))
            if len(self._at) <= self._most and now_s - self._at[play] < self._window_s:
                return
            del self._at[play]
