"""What was served of which file, gathered for the keeper, which reports it (popularity is made from it).

Kept per key until the keeper has taken it, so that nothing is lost while the keeper restarts; bounded by the number of keys: beyond
that bytes are counted (`UNREPORTED`) but no longer told apart.
"""

from __future__ import annotations

from oca.link.messages import Served

MAX_KEYS = 100_000
KEYS_PER_FRAME = 2_000


class Accounting:
    """One worker's ledger. Pure: `take` gives the messages that empty it."""

    def __init__(self, max_keys: int = MAX_KEYS) -> None:
        self._max_keys = max_keys
        self._clear()

    def _clear(self) -> None:
        self._clients: dict[str, list[int]] = {}
        self._peers: dict[str, list[int]] = {}
        self._hit_requests = 0
        self._hit_bytes = 0
        self._miss_requests = 0
        self._miss_bytes = 0

    def add(self, key: str, peer: bool, sent: int, missed: int, missed_request: bool) -> bool:
        """One ended answer: `sent` body bytes, `missed` of them asked for. False when the key found no room."""
        self._hit_bytes += sent - missed
        self._miss_bytes += missed
        if missed_request:
            self._miss_requests += 1
        else:
            self._hit_requests += 1
        ledger = self._peers if peer else self._clients
        line = ledger.get(key)
        if line is not None:
            line[0] += 1
            line[1] += sent
            return True
        if len(ledger) >= self._max_keys:
            return False
        ledger[key] = [1, sent]
        return True

    def take(self, connections: int) -> list[Served]:
        """Everything since the last call, in frames of bounded size; the first carries the sums."""
        clients = [(key, line[0], line[1]) for key, line in self._clients.items()]
        peers = [(key, line[0], line[1]) for key, line in self._peers.items()]
        sums = (self._hit_requests, self._hit_bytes, self._miss_requests, self._miss_bytes)
        self._clear()
        frames: list[Served] = []
        step = KEYS_PER_FRAME
        for start in range(0, max(len(clients), len(peers), 1), step):
            part = (tuple(clients[start : start + step]), tuple(peers[start : start + step]))
            frames.append(Served(*part, *(sums if start == 0 else (0, 0, 0, 0)), connections))
        return frames
