"""Which blocks of a file are asked of which source, when several are asked at once. Pure.

Laws
- A block is asked of one source at a time. What a source did not give goes back and is somebody else's; what a source does not hold is not
  asked of it again here.
- Who comes back first has the next run, so that each source gives as it can; runs of a slower source are shorter, and all get shorter towards the end.
- At the end a source with nothing to do overtakes the one that would be last by far: it is handed the later half of what that one still owes,
  or its only block.

Theory: guided self-scheduling (Polychronopoulos and Kuck, IEEE Transactions on Computers, 1987).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

GAIN = 0.3
OVERTAKEN_BY = 2.0
"""A source is overtaken when it would need so many times as long …"""
OVERTAKEN_S = 0.5
"""… and so much longer as the one with nothing to do."""

Blocks = tuple[int, int]
"""First and last, inclusive."""


@dataclass(slots=True)
class _Giver:
    """A source: what it was asked for and when it gave last."""

    asked: list[int]
    since: float
    blocks_per_s: float = 0.0


class Division:
    """Of the `missing` runs of one file; `run_blocks` are asked for at once at most. Sources go by their URLs."""

    def __init__(self, missing: Iterable[Blocks], run_blocks: int) -> None:
        self._free = {block for first, last in missing for block in range(first, last + 1)}
        self._low = min(self._free, default=0)
        self._end = max(self._free, default=-1) + 1
        self._run_blocks = run_blocks
        self._givers: dict[str, _Giver] = {}
        self._lacking: dict[str, set[int]] = {}
        self._came: set[int] = set()

    @property
    def is_done(self) -> bool:
        return not self._free and not any(giver.asked for giver in self._givers.values())

    def offers(self, source: str) -> bool:
        """Whether blocks wait for somebody that this source may hold."""
        return not self._free <= self._lacking.get(source, set())

    def take(self, source: str, now: float) -> Blocks | None:
        """The next run to ask a source for; None when nothing waits for it."""
        lacking = self._lacking.get(source, set())
        while self._low < self._end and self._low not in self._free:
            self._low += 1
        first = next(
            (block for block in range(self._low, self._end) if block in self._free and block not in lacking), None
        )
        if first is None:
            return None
        most = self._fair(source)
        last = first
        while last - first + 1 < most and last + 1 in self._free and last + 1 not in lacking:
            last += 1
        self._give(source, range(first, last + 1), now)
        return first, last

    def overtake(self, source: str, now: float) -> tuple[str, Blocks] | None:
        """Whom a source with nothing to do should help out, and with which blocks, which are its own from now on."""
        mine = self._givers.get(source)
        if mine is None or mine.blocks_per_s <= 0.0:
            return None
        lacking = self._lacking.get(source, set())
        slowest, longest_s = None, 0.0
        for url, giver in self._givers.items():
            if url != source and giver.asked:
                left_s = self._left_s(giver, now)
                if left_s > longest_s:
                    slowest, longest_s = url, left_s
        if slowest is None:
            return None
        owed = self._givers[slowest].asked
        blocks = _last_run(owed[len(owed) // 2 :])
        needed_s = len(blocks) / mine.blocks_per_s
        if longest_s < OVERTAKEN_BY * needed_s or longest_s < needed_s + OVERTAKEN_S or lacking & set(blocks):
            return None
        for block in blocks:
            owed.remove(block)
        self._give(source, blocks, now)
        return slowest, (blocks[0], blocks[-1])

    def came(self, source: str, block: int, now: float) -> bool:
        """A block is there; False when that was known."""
        giver = self._givers.get(source)
        if giver is not None and block in giver.asked:
            giver.asked.remove(block)
            rate = 1.0 / max(now - giver.since, 1e-6)
            giver.blocks_per_s = (
                rate if giver.blocks_per_s == 0.0 else giver.blocks_per_s + GAIN * (rate - giver.blocks_per_s)
            )
            giver.since = now
        for other in self._givers.values():
            if block in other.asked:
                other.asked.remove(block)
        if block in self._came:
            return False
        self._came.add(block)
        return True

    def back(self, source: str, run: Blocks, *, lacking: bool = False) -> list[int]:
        """What has not come of a run goes back; `lacking`: the source does not hold it. Those blocks."""
        giver = self._givers.get(source)
        left = [block for block in range(run[0], run[1] + 1) if giver is not None and block in giver.asked]
        if lacking:
            self._lacking.setdefault(source, set()).update(left)
        if giver is not None:
            giver.asked = [block for block in giver.asked if block not in left]
        self._free.update(left)
        self._low = min([self._low, *left])
        return left

    def may_help(self, source: str) -> bool:
        """Whether a source with nothing to do may have something later: others still owe blocks, or blocks wait that it may hold."""
        owed = any(giver.asked for url, giver in self._givers.items() if url != source)
        return owed or self.offers(source)

    def _fair(self, source: str) -> int:
        """Half of an equal share of what waits, less for a source that is slower than the quickest."""
        speeds = {url: giver.blocks_per_s for url, giver in self._givers.items()}
        crowd = len({*speeds, source})
        quickest = max(speeds.values(), default=0.0)
        own = speeds.get(source, 0.0)
        pace = own / quickest if quickest > 0.0 and own > 0.0 else 1.0
        return max(1, min(self._run_blocks, round(pace * len(self._free) / (2 * crowd))))

    def _give(self, source: str, blocks: Iterable[int], now: float) -> None:
        giver = self._givers.setdefault(source, _Giver([], now))
        if not giver.asked:
            giver.since = now
        given = set(blocks)
        giver.asked = sorted({*giver.asked, *given})
        self._free -= given

    @staticmethod
    def _left_s(giver: _Giver, now: float) -> float:
        """Seconds it would still need for what it was asked for; of one that has given nothing yet, as slow as it has been so far."""
        silent_s = now - giver.since
        each_s = max(silent_s, 1.0 / giver.blocks_per_s if giver.blocks_per_s > 0.0 else 0.0)
        return len(giver.asked) * each_s


def _last_run(blocks: list[int]) -> list[int]:
    """The neighbours at the end of rising numbers."""
    start = len(blocks) - 1
    while start > 0 and blocks[start - 1] == blocks[start] - 1:
        start -= 1
    return blocks[start:]
