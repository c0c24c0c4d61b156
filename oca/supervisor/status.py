"""What an operator's tools see of an appliance: readiness in words, and the metrics of all its processes in one text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from chassis.health import NotReady
from chassis.logs import get_logger
from chassis.metrics import Metrics
from oca.link.counters import Count, CounterKind, Counters, ReasonMetric
from oca.link.files import KeeperStatus
from oca.store.board import Board, DiskState
from oca.supervisor.disks import Disks
from oca.supervisor.slots import Slots


class WorkerCounters:
    """A collector over the shared counters: sums over all slots."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        for row in Count:
            family = CounterMetricFamily if row.kind is CounterKind.COUNTER else GaugeMetricFamily
            yield family(row.metric, row.text, value=self._counters.total(row))
        for reasons in ReasonMetric:
            found = CounterMetricFamily(reasons.metric, reasons.text, labels=(reasons.label,))
            for word, total in self._counters.by_reason(reasons):
                found.add_metric((word,), total)
            yield found


class BoxMetrics(Metrics):
    """The supervisor's own metrics, the workers' counters, and behind them the text that the keeper writes every second."""

    def __init__(self, counters: Counters, keeper_text: Path, keeper_ready: Callable[[], bool]) -> None:
        super().__init__("oca")
        self.registry.register(WorkerCounters(counters))
        self._keeper_text = keeper_text
        self._keeper_ready = keeper_ready
        self.child_deaths = self.counter(
            "lowtide_oca_child_deaths_total", "Children that ended although nobody told them to", ("child",)
        )
        self.index_locked = self.gauge(
            "lowtide_oca_index_locked", "1 where the disk's index is locked in memory", ("disk",)
        )
        self.keeper_up = self.gauge("lowtide_oca_keeper_up", "1 while the keeper has reported ready and lives")
        self.keeper_up.set_function(lambda: float(keeper_ready()))

    def exposition(self) -> bytes:
        own = super().exposition()
        if not self._keeper_ready():
            return own  # a dead keeper's last figures would look alive
        try:
            return own + self._keeper_text.read_bytes()
        except OSError as error:
            get_logger("oca.supervisor").debug("no-keeper-metrics", detail=str(error))
            return own


class Checks:
    """The named checks of `/readyz`."""

    def __init__(
        self,
        slots: Slots,
        board: Board,
        disks: Disks,
        keeper_file: Path,
        keeper_ready: Callable[[], bool],
    ) -> None:
        self._board = board
        self._disks = disks
        self._slots = slots
        self._keeper_file = keeper_file
        self._keeper_ready = keeper_ready

    async def workers(self) -> str:
        sentence = self._slots.sentence()
        if not self._slots.ready_count:
            raise NotReady(sentence)
        return sentence

    async def keeper(self) -> str:
        if not self._keeper_ready():
            raise NotReady("the keeper is not there: hits go on, misses wait")
        try:
            status = msgspec.json.decode(self._keeper_file.read_bytes(), type=KeeperStatus)
        except (OSError, msgspec.MsgspecError):
            return "the keeper serves workers"
        return status.sentence or f"the keeper serves workers, state {status.state or 'unknown'}"

    async def disks(self) -> str:
        """Not ready when no disk is left: nothing can be served, not even a miss."""
        states = {disk.path: self._board.disk_state(number) for number, disk in self._disks.roster.present}
        out = [path for path, state in states.items() if state is DiskState.FAILED]
        if not out:
            return f"{len(states)} disks take part"
        words = (
            f"{', '.join(out)} taken out: its files are misses until it is sound and added again (lowtide oca disk add)"
        )
        if len(out) == len(states):
            raise NotReady(words)
        return words

    async def index(self) -> str:
        """Ready in any case: service goes on unlocked, and says so."""
        pinned = self._disks.pinned.values()
        unlocked = [index for index in pinned if not index.locked]
        if not unlocked:
            return f"{len(pinned)} indexes are locked in memory"
        return "; ".join(f"{index.disk_path} is not locked: {index.reason}" for index in unlocked)
