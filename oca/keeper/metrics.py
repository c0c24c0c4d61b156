"""What the keeper counts: one registry of its own, written out for the supervisor, and the same figures for reports.

The names carry `lowtide_keeper_`, so that the text can be appended to that of other processes of the box.
"""

from __future__ import annotations

import os
import time
from collections import Counter as Tally
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import generate_latest

from contracts.reports import Purpose, Source
from oca.keeper.yielding import Strain
from oca.store.writer import DiskStatistics


class KeeperMetrics:
    """Counters since the keeper's start."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.source_requests: Tally[tuple[Source, Purpose]] = Tally()
        """Requests made to sources, for the report."""
        self.source_bytes: Tally[tuple[Source, Purpose]] = Tally()
        self.requests = self._counter("upstream_requests", "Requests to sources", "source", "purpose")
        self.fetched = self._counter("fetched_bytes", "Bytes that came from sources", "source", "purpose")
        self.outcomes = self._counter("upstream_outcomes", "How requests to sources ended", "source", "outcome")
        self.hedges = self._counter(
            "hedges", "Sources asked beside one whose first byte was late, by who began first", "end"
        )
        self.retries_refused = self._counter(
            "retries_refused", "Further requests to sources that were not made because too many had failed lately"
        )
        self.joined = self._counter("joined_blocks", "Blocks that an asker did not fetch because a fetch was under way")
        self.failures = self._counter("failed_fetches", "Fetches that gave up, by the reason clients hear", "reason")
        self.wants = self._counter("wants", "What workers asked for, by how it ended", "end")
        self.passed = self._counter(
            "passed_exchanges", "Exchanges that passed through without being stored, by how they ended", "end"
        )
        self.passed_bytes = self._counter(
            "passed_bytes",
            "Bytes that passed through: of published objects without room (span), of requests (request) and answers (answer) of services",
            "what",
        )
        self.flights = self._counter(
            "pull_flights", "Exchanges of pull-through services for an object, by what waiters heard", "service", "end"
        )
        self.pulled_versions = self._counter(
            "pulled_versions", "Versions of pulled objects whose fetching ended for good", "end"
        )
        self.orders = self._counter("orders", "Fill orders that ended", "state")
        self._yields = self._counter("fill_yields", "Times that fills made more way for viewers, by why", "why")
        self._given_up = self._gauge(
            "fill_given_up_share", "Share of their rate that fills give up to viewers now, 0 to 1"
        )
        self.reports = self._counter("reports", "Reports to the control plane, by how they ended", "end")
        self.disk_failures = self._counter("disk_failures", "Disks taken out because of errors", "disk")
        self.moves = self._counter("moves", "Extents moved between disks, by why and how it ended", "reason", "end")
        self.moved_bytes = self._counter("moved_bytes", "Bytes written to another disk by moves", "reason")
        self.task_deaths = self._counter("background_deaths", "Tasks that died unexpectedly", "task")
        self.evictions = self._counter("removed_extents", "Extents that left the store", "reason")
        self.admissions = self._counter(
            "admissions", "New extents, and passing ones asked for again, by what admission said", "decision"
        )
        self.purges = self._counter("purges", "Purges that every worker obeys", "kind", "mode")
        self.swept = self._counter("swept_extents", "Extents that purges removed")
        self.purge_seconds = self._gauge(
            "purge_obeyed_seconds", "How long the last purge took from its commit until every worker obeyed"
        )
        self._purge_epoch = self._gauge("purge_epoch", "Number of the last purge")
        self._purge_waiting = self._gauge("purges_waiting", "Purges whose content is not swept yet")
        self._triggers_current = self._gauge("triggers_current", "1 when all known triggers are applied")
        self.traffic_dropped = self._counter(
            "traffic_rows_dropped", "File-hours of traffic dropped or merged because the spool is full", "what"
        )
        self._waiting = self._gauge("waiting_wants", "Wants of workers that wait for blocks now")
        self._under_way = self._gauge("blocks_under_way", "Blocks that are being fetched now")
        self._passed_now = self._gauge("passing", "Exchanges that pass through now")
        self._circuits = self._gauge(
            "open_circuits", "Sources that are left in peace because they failed again and again"
        )
        self._links = self._gauge("workers_linked", "Workers connected to the keeper")
        self._used = self._gauge("disk_used_bytes", "Space that extents take, held ones of the dead included", "disk")
        self._quota = self._gauge("disk_quota_bytes", "Space that extents may take", "disk")
        self._limit = self._gauge(
            "disk_limit_bytes", "Space that extents may take now: the quota, or what the filesystem can hold", "disk"
        )
        self._pinned = self._gauge("disk_pinned_bytes", "Space of what a plan holds", "disk")
        self._passing = self._gauge("disk_passing_bytes", "Space of what goes first: not admitted, short-lived", "disk")
        self._dead = self._gauge("disk_dead_bytes", "Space of unlinked extents that some worker may still hold", "disk")
        self._extents = self._gauge("disk_extents", "Extents in the store", "disk")
        self._healthy = self._gauge("disk_healthy", "1 while the disk takes part, 0 once it was taken out", "disk")
        self._read_only = self._gauge("disk_read_only", "1 while the disk serves and takes no writes", "disk")
        self._reach = self._gauge(
            "reach", "Ranks of disks that look-up asks at most; 0 for all, after the disks have changed"
        )
        self._unsynced = self._gauge("disk_unsynced_blocks", "Blocks written and not durable yet", "disk")
        self._index_used = self._gauge("index_used_share", "Used share of the index map", "disk")
        self._readers = self._gauge("index_oldest_reader_lag", "Transactions the oldest index reader is behind", "disk")
        self._bad_blocks = self._gauge(
            "disk_bad_blocks", "Blocks that were not what was stored, found by scrubs and examinations", "disk"
        )
        self._scrubbed = self._gauge(
            "disk_scrubbed_blocks", "Blocks that scrubs have read since the keeper began", "disk"
        )
        self._scrub_share = self._gauge("disk_scrub_share", "How far the scrub at idle is in its round, 0 to 1", "disk")
        self._scrub_ended = self._gauge(
            "disk_scrub_ended_seconds", "When a scrub of the whole disk ended last, seconds since the epoch", "disk"
        )
        self._connected = self._gauge("control_plane_connected", "1 while the heartbeat stream is open")
        self._cpu = self._gauge("cpu_seconds", "User and system time of the keeper since its start")
        self._started = self._gauge("start_time_seconds", "When the keeper started, seconds since the epoch")
        self._started.set(time.time())
        self._last_given_up = 0.0
        self._seen_gone: Tally[tuple[int, str]] = Tally()
        self._seen_admissions: Tally[tuple[int, str]] = Tally()

    def observe(
        self, *, waiting: int, under_way: int, open_circuits: int, passing: int, links: int, connected: bool
    ) -> None:
        self._waiting.set(waiting)
        self._under_way.set(under_way)
        self._passed_now.set(passing)
        self._circuits.set(open_circuits)
        self._links.set(links)
        self._connected.set(1.0 if connected else 0.0)
        spent = os.times()
        self._cpu.set(spent.user + spent.system)

    def fill_yielding(self, why: Strain | None, share: float) -> None:
        """Fills use `share` of their rate from now on; `why` None when nothing keeps them from more."""
        given_up = 1.0 - share
        if why is not None and given_up > self._last_given_up:
            self._yields.labels(why.value).inc()
        self._last_given_up = given_up
        self._given_up.set(given_up)

    def observe_purges(self, *, epoch: int, waiting: int, current: bool) -> None:
        self._purge_epoch.set(epoch)
        self._purge_waiting.set(waiting)
        self._triggers_current.set(1.0 if current else 0.0)

    def observe_disks(self, disks: Iterable[DiskStatistics]) -> None:
        for disk in disks:
            name = str(disk.number)
            self._used.labels(name).set(disk.used_bytes)
            self._quota.labels(name).set(disk.quota_bytes)
            self._limit.labels(name).set(disk.limit_bytes)
            self._pinned.labels(name).set(disk.pinned_bytes)
            self._passing.labels(name).set(disk.passing_bytes)
            self._dead.labels(name).set(disk.dead_bytes)
            self._extents.labels(name).set(disk.extents)
            self._healthy.labels(name).set(0.0 if disk.failure else 1.0)
            self._read_only.labels(name).set(float(disk.read_only))
            self._unsynced.labels(name).set(disk.unsynced_blocks)
            self._bad_blocks.labels(name).set(disk.scrub_bad_blocks)
            self._scrubbed.labels(name).set(disk.scrubbed_blocks)
            self._scrub_share.labels(name).set(disk.scrub.share)
            self._scrub_ended.labels(name).set(disk.scrub.ended_at)
            if disk.index is not None:
                self._index_used.labels(name).set(disk.index.used_bytes / max(1, disk.index.map_bytes))
                oldest = disk.index.oldest_reader_transaction
                self._readers.labels(name).set(0 if oldest is None else disk.index.last_transaction - oldest)
            for reason, count in disk.gone.items():
                before = self._seen_gone[disk.number, reason.value]
                self._seen_gone[disk.number, reason.value] = count
                self.evictions.labels(reason.value).inc(count - before)
            for decision, count in disk.admissions.items():
                before = self._seen_admissions[disk.number, decision.value]
                self._seen_admissions[disk.number, decision.value] = count
                self.admissions.labels(decision.value).inc(count - before)

    def observe_reach(self, reach: int) -> None:
        self._reach.set(reach)

    def text(self) -> bytes:
        """Prometheus text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"lowtide_keeper_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"lowtide_keeper_{name}", text, labels, registry=self.registry)
