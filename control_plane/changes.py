"""The change stream: numbers every change, keeps the last ones, and hands each to whoever listens (`GET /v1/changes`).

Laws
- Numbers grow by one with every change and never repeat; across restarts they grow because the high part counts starts.
- A subscription is taken in one go with its snapshot: nothing lies between them, nothing is in both.
- A reader that falls QUEUE_LINES behind is dropped: it must connect again. Nobody else waits for it.
- Who has the whole record of a number goes on there when all that came since is kept (KEPT_LINES, KEPT_BYTES); else it gets a snapshot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice

import msgspec

from contracts.world import Change, digest_of

QUEUE_LINES = 10_000
NUMBERS_PER_START = 1_000_000_000
KEPT_LINES = 20_000
KEPT_BYTES = 32 * 1024 * 1024
"""For readers that come back: some minutes of a thousand appliances."""


class Subscription:
    """One reader's lines. `wake` is called when there is something to take or the reader was dropped."""

    def __init__(self, snapshot: Iterable[bytes], wake: Callable[[], None], limit: int) -> None:
        self._lines = deque(snapshot)
        self._wake = wake
        self._limit = limit
        self.dropped = False

    def take(self, limit_bytes: int = 256 * 1024) -> bytes:
        """The next lines, about `limit_bytes` of them; empty when there is nothing now."""
        taken = bytearray()
        while self._lines and len(taken) < limit_bytes:
            taken += self._lines.popleft()
        return bytes(taken)

    def add(self, line: bytes) -> None:
        if self.dropped:
            return
        if len(self._lines) >= self._limit:
            self.dropped = True
            self._lines.clear()
        else:
            self._lines.append(line)
        self._wake()

    @property
    def waiting(self) -> int:
        return len(self._lines)


class ChangeLog:
    """The one place that numbers changes."""

    def __init__(self, starts: int, queue_lines: int = QUEUE_LINES) -> None:
        self._number = starts * NUMBERS_PER_START
        self._queue_lines = queue_lines
        self._subscriptions: set[Subscription] = set()
        self._encode = msgspec.json.Encoder().encode
        self._kept: deque[bytes] = deque()
        """The last lines, one for each number up to `number`."""
        self._kept_bytes = 0

    @property
    def number(self) -> int:
        """Of the last change."""
        return self._number

    @property
    def readers(self) -> int:
        return len(self._subscriptions)

    def publish(self, changes: Iterable[Change]) -> None:
        """Numbers the changes and hands them to every reader."""
        for change in changes:
            self._number += 1
            line = self._line(msgspec.structs.replace(change, number=self._number))
            self._keep(line)
            for subscription in tuple(self._subscriptions):
                subscription.add(line)
                if subscription.dropped:
                    self._subscriptions.discard(subscription)

    def subscribe(self, snapshot: Iterable[Change], wake: Callable[[], None], after: int = 0) -> Subscription:
        """A reader that gets the snapshot, `snapshot_complete`, and all changes after it; or, where all since change `after` is
        kept, `resumed` and those: then the snapshot is not asked for anything."""
        missed = self._since(after)
        if missed is None:
            complete = Change(self._number, snapshot_complete=True)
            stamped = (msgspec.structs.replace(change, number=self._number) for change in snapshot)
            lines = [self._line(change) for change in (*stamped, complete)]
        else:
            lines = [self._line(Change(after, resumed=True)), *missed]
        subscription = Subscription(lines, wake, len(lines) + self._queue_lines)
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)

    def tick(self) -> bytes:
        """The line that says: nothing happened, and the stream lives."""
        return self._line(Change(self._number, tick=True))

    def _keep(self, line: bytes) -> None:
        self._kept.append(line)
        self._kept_bytes += len(line)
        while len(self._kept) > KEPT_LINES or self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= len(self._kept.popleft())

    def _since(self, after: int) -> list[bytes] | None:
        """All lines after that number; None when some are gone, or there never was such a number."""
        missing = self._number - after if after else -1
        if not 0 <= missing <= len(self._kept):
            return None
        return list(islice(self._kept, len(self._kept) - missing, None))

    def _line(self, change: Change) -> bytes:
        """A line. Holdings go as packed sets: names of files are a hundred bytes each, for every box that holds them."""
        if change.holdings is not None:
            change = msgspec.structs.replace(change, holdings=None, digest=digest_of(change.holdings))
        return self._encode(change) + b"\n"
