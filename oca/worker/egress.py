"""The appliance's egress cap: what a worker may hand over, so that all together stay below it. Pure; `now` is the loop's time.

Laws
- One account for the box: a level that rises by the cap and falls by what all workers took (a word of each in shared memory), at most
  `BURST_S` high and without a bottom. Every worker keeps it for itself from the same words, so that an excess is paid back.
- At each tick a worker may take its part of the level, and of what has come in: by its askers among all askers.
- Who waits is served in the order of coming, a piece at a time; nobody overtakes.

Theory: a token bucket with a shared fill. Over t seconds at most cap × (t + BURST_S) bytes leave, plus what two ticks of different
phase hand out twice; a tick is 1/200 of the ten seconds over which the cap is judged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

TICK_S = 0.05
BURST_S = 0.2
LEAST_BURST_BYTES = 128 * 1024
LEAST_PIECE_BYTES = 16 * 1024
"""Less than this is not handed over as a part of something longer."""
JUDGED_OVER_S = 5.0


@dataclass(frozen=True, slots=True)
class Crowd:
    """All workers together: bytes taken since the beginning, askers of the last tick, and how many workers there are."""

    taken: int
    askers: int
    workers: int


class Egress:
    """One worker's part. `cap_bps` 0 is no cap: `take` is then not to be called."""

    def __init__(self, cap_bps: int, count: Callable[[int], None]) -> None:
        """`count` adds to this worker's word of taken bytes."""
        self.is_capped = cap_bps > 0
        self.askers = 0
        """Askers of the last whole tick, for the shared word."""
        self.used = 0.0
        """Share of the cap in use by all workers, over the last seconds."""
        self._count = count
        self._rate = cap_bps / 8
        self._burst = max(self._rate * BURST_S, float(LEAST_BURST_BYTES))
        self._level = 0.0
        self._budget = 0
        self._asking: set[object] = set()
        self._at: float | None = None
        self._taken = 0
        self._queue: dict[object, Callable[[], None]] = {}
        self._is_serving = False

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def take(self, who: object, length: int, *, whole: bool = False) -> int:
        """How many of `length` bytes may `who` hand over now: none, some (never with `whole`), or all. They count as gone."""
        self._asking.add(who)
        if self._queue and not self._is_serving:
            return 0
        granted = min(length, self._budget)
        if granted < length and (whole or granted < LEAST_PIECE_BYTES):
            return 0
        self._budget -= granted
        self._count(granted)
        return granted

    def wait(self, who: object, come: Callable[[], None]) -> None:
        """`come` is called once when `who` may ask again."""
        self._queue[who] = come

    def forget(self, who: object) -> None:
        self._queue.pop(who, None)
        self._asking.discard(who)

    def tick(self, now: float, crowd: Crowd) -> None:
        """Every `TICK_S`: a new budget, and those who wait."""
        if self._at is None:
            self._at, self._taken = now, crowd.taken
        elapsed, gone = now - self._at, crowd.taken - self._taken
        self._at, self._taken = now, crowd.taken
        self._level = min(self._level + self._rate * elapsed - gone, self._burst)
        if elapsed > 0:
            weight = min(1.0, elapsed / JUDGED_OVER_S)
            self.used += weight * (gone / (self._rate * elapsed) - self.used)
        mine = len(self._asking)
        self._asking = set(self._queue)
        # The word of the crowd still has this worker's askers of the tick before.
        everybody = max(crowd.askers - self.askers, 0) + mine
        self.askers = mine
        self._budget = self._next_budget(elapsed, mine, everybody, max(crowd.workers, 1))
        self._serve()

    def _next_budget(self, elapsed: float, mine: int, everybody: int, workers: int) -> int:
        if self._level <= 0:
            return 0
        if not mine:
            share = self._level / workers
            return int(min(self._budget, share) if everybody else share)
        part = mine / everybody
        # What is too little for a piece is kept, or one asker among many would wait for ever.
        kept = min(self._budget + part * self._rate * elapsed, self._level)
        return int(max(kept, part * self._level))

    def _serve(self) -> None:
        waiting, self._queue = self._queue, {}
        self._is_serving = True
        try:
            while waiting and self._budget >= LEAST_PIECE_BYTES:
                who = next(iter(waiting))
                waiting.pop(who)()
        finally:
            self._is_serving = False
            came_again, self._queue = self._queue, waiting
            self._queue.update(came_again)
