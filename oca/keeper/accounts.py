"""What workers served, summed: traffic for the ledger, counters since the start, how busy the box is now."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from chassis.calendar import Calendar
from chassis.clock import Clock
from contracts.reports import Purpose, Source, SourceTraffic
from oca.keeper.metrics import KeeperMetrics
from oca.keeper.reporting import Ledger
from oca.link.messages import Served

EGRESS_OVER_S = 10.0


class Accounts:
    """Takes the workers' `Served` messages."""

    def __init__(self, ledger: Ledger, metrics: KeeperMetrics, clock: Clock, calendar: Calendar) -> None:
        self.client_requests = 0
        self.client_bytes = 0
        self.content_misses = 0
        self.missed_bytes = 0
        self._peering = [0, 0]
        self._ledger = ledger
        self._metrics = metrics
        self._clock = clock
        self._calendar = calendar
        self._connections: dict[int, int] = {}
        self._shedding: dict[int, str] = {}
        self.shedding_changed: Callable[[], None] = lambda: None
        self._sent: deque[tuple[float, int]] = deque()

    def served(self, worker: int, served: Served) -> None:
        now = self._calendar.wall_s()
        for key, requests, count in served.clients:
            self._ledger.add(key, now, requests, count)
            self.client_requests += requests
            self.client_bytes += count
        for network, requests, count in served.networks:
            self._ledger.networks.add(network, now, requests, count)
        for _, requests, count in served.peers:
            self._peering[0] += requests
            self._peering[1] += count
        self.content_misses += served.miss_requests
        self.missed_bytes += served.miss_bytes
        self._connections[worker] = served.connections
        self._heard_shedding(worker, served.shedding)
        sent = sum(count for _, _, count in served.clients) + sum(count for _, _, count in served.peers)
        self._sent.append((self._clock.monotonic_s(), sent))
        self._forget_old()

    def left(self, worker: int) -> None:
        """The worker is gone, its connections with it."""
        self._connections.pop(worker, None)
        self._heard_shedding(worker, "")

    @property
    def shedding(self) -> tuple[str, ...]:
        """Why workers take no new sessions now, each reason once. One worker is enough: nobody can choose which one he comes to."""
        return tuple(sorted(set(self._shedding.values())))

    def _heard_shedding(self, worker: int, why: str) -> None:
        before = self.shedding
        if why:
            self._shedding[worker] = why
        else:
            self._shedding.pop(worker, None)
        if self.shedding != before:
            self.shedding_changed()

    @property
    def connections(self) -> int:
        return sum(self._connections.values())

    @property
    def egress_bps(self) -> float:
        """Bits per second served over the last `EGRESS_OVER_S`."""
        self._forget_old()
        return 8.0 * sum(count for _, count in self._sent) / EGRESS_OVER_S

    def sources(self) -> tuple[SourceTraffic, ...]:
        """Counters since the start, by source and purpose."""
        # Peers are answered from the store only, so that every miss is a player's.
        hit_requests = max(0, self.client_requests - self.content_misses)
        hit_bytes = max(0, self.client_bytes - self.missed_bytes)
        own = [
            SourceTraffic(Source.HIT, Purpose.CLIENT, hit_requests, hit_bytes),
            SourceTraffic(Source.HIT, Purpose.PEERING, *self._peering),
        ]
        metrics = self._metrics
        fetched = [
            SourceTraffic(
                source, purpose, metrics.source_requests[source, purpose], metrics.source_bytes[source, purpose]
            )
            for source in (Source.PEER, Source.TIER, Source.ORIGIN)
            for purpose in (Purpose.CLIENT, Purpose.FILL)
        ]
        return tuple(row for row in (*own, *fetched) if row.requests)

    def _forget_old(self) -> None:
        before = self._clock.monotonic_s() - EGRESS_OVER_S
        while self._sent and self._sent[0][0] < before:
            self._sent.popleft()
