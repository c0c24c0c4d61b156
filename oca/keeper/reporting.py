"""What is told to the control plane, and how nothing is told twice or lost. Pure.

Laws:
- A report is frozen when it is made, kept on disk before it is sent, and repeated byte for byte until it is acknowledged, also
  by a later keeper: the control plane counts (boot, sequence) once (`control_plane` keeps the same law).
- While one report is under way everything new gathers in file-hours. What gathers is bounded: beyond `MAX_ROWS` hours are merged
  into days, then the oldest days go, both counted.
- Holdings and orders go as what changed since the last acknowledged report of this boot; all of them when asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

import msgspec

from contracts.reports import ApplianceReport, FileTraffic, Holding, NetworkTraffic, OrderProgress
from oca.keeper.networks import Networks
from oca.store.holdings import HeldFile

HOUR_S = 3600
DAY_S = 86400
MAX_ROWS = 200_000
MAX_ROWS_A_REPORT = 20_000
K = TypeVar("K")
V = TypeVar("V")


class Spool(msgspec.Struct, frozen=True):
    """`spool.json`: the report under way and what gathers behind it."""

    under_way: ApplianceReport | None = None
    gathered: tuple[FileTraffic, ...] = ()
    networks: tuple[NetworkTraffic, ...] = ()


@dataclass(slots=True)
class _Row:
    requests: int = 0
    served_bytes: int = 0


class Ledger:
    """Traffic by file and hour that no report carries yet, and the report that is under way."""

    def __init__(self, spool: Spool | None = None) -> None:
        self.under_way: ApplianceReport | None = spool.under_way if spool else None
        self._rows: dict[tuple[str, int], _Row] = {}
        self._merged_rows = 0
        self._dropped_rows = 0
        self.networks = Networks(spool.networks if spool else ())
        for row in spool.gathered if spool else ():
            self._add(row.key, row.hour, row.requests, row.served_bytes)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, key: str, now: float, requests: int, served_bytes: int) -> None:
        self._add(key, int(now) - int(now) % HOUR_S, requests, served_bytes)
        if len(self._rows) > MAX_ROWS:
            self._shrink()

    def take_rows(self) -> tuple[FileTraffic, ...]:
        """The oldest rows, for a new report; they leave the ledger."""
        chosen = sorted(self._rows, key=lambda name: (name[1], name[0]))[:MAX_ROWS_A_REPORT]
        rows = [(key, hour, self._rows.pop((key, hour))) for key, hour in chosen]
        return tuple(FileTraffic(key, hour, row.requests, row.served_bytes) for key, hour, row in rows)

    def take_losses(self) -> tuple[tuple[str, int], ...]:
        """(what, rows) that the bound cost since the last call."""
        lost = (("merged", self._merged_rows), ("dropped", self._dropped_rows))
        self._merged_rows = self._dropped_rows = 0
        return tuple(loss for loss in lost if loss[1])

    def spool(self) -> Spool:
        rows = (FileTraffic(key, hour, row.requests, row.served_bytes) for (key, hour), row in self._rows.items())
        return Spool(self.under_way, tuple(rows), self.networks.rows())

    def _add(self, key: str, hour: int, requests: int, served_bytes: int) -> None:
        row = self._rows.setdefault((key, hour), _Row())
        row.requests += requests
        row.served_bytes += served_bytes

    def _shrink(self) -> None:
        newest = max(hour for _, hour in self._rows)
        before = self._rows
        self._rows = {}
        for (key, hour), row in before.items():
            # The newest hours stay as they are: they are what a planner wants most.
            at = hour if newest - hour < DAY_S else hour - hour % DAY_S
            self._add(key, at, row.requests, row.served_bytes)
        self._merged_rows += len(before) - len(self._rows)
        while len(self._rows) > MAX_ROWS * 3 // 4:
            oldest = min(hour for _, hour in self._rows)
            gone = [name for name in self._rows if name[1] == oldest]
            for name in gone[: len(self._rows) - MAX_ROWS * 3 // 4]:
                del self._rows[name]
                self._dropped_rows += 1


class Changes(Generic[K, V]):
    """What the other side knows of a table, and the difference to how it is now."""

    def __init__(self) -> None:
        self._known: dict[K, V] = {}
        self._sent: Mapping[K, V] | None = None
        self.complete = False
        """The other side acknowledged a full table of this boot."""

    def difference(self, now: Mapping[K, V]) -> tuple[list[V], list[K]]:
        """(values that are new or changed, keys that left) against what is known; everything when nothing is."""
        self._sent = dict(now)
        if not self.complete:
            return list(now.values()), []
        changed = [value for key, value in now.items() if self._known.get(key) != value]
        return changed, [key for key in self._known if key not in now]

    def acknowledged(self) -> None:
        """What the last `difference` was taken from is known now."""
        if self._sent is not None:
            self._known, self._sent, self.complete = dict(self._sent), None, True

    def forgotten(self) -> None:
        """The other side knows nothing any more: the next difference is the full table."""
        self._known, self._sent, self.complete = {}, None, False


def holding_of(file: HeldFile) -> Holding:
    return Holding(file.key, file.present_bytes, file.file_size, file.plan is not None)


def holdings_table(files: Iterable[HeldFile]) -> dict[str, Holding]:
    return {file.key: holding_of(file) for file in files}


def orders_table(progress: Iterable[OrderProgress]) -> dict[str, OrderProgress]:
    return {order.order_id: order for order in progress}


class Ailment(Enum):
    """Why the score is below 1, or what an operator should know: (log word, what it takes from the score)."""

    NO_WORKERS = ("no-workers", 1.0)
    NO_DISK = ("no-disk", 1.0)
    DISK_TAKEN_OUT = ("disk-taken-out", 0.0)
    """The share of disks that are out is taken in proportion."""
    CANNOT_STORE = ("cannot-store", 0.2)
    """Full of pins, or read-only: what is not held cannot be kept."""
    NO_KEYS = ("no-keys", 1.0)
    """No media key is known: no token can be verified."""
    NO_PARENTS = ("no-parents", 0.1)
    NEARLY_FULL_OF_CONNECTIONS = ("nearly-full-of-connections", 0.5)
    INDEX_NOT_LOCKED = ("index-not-locked", 0.0)
    SHEDDING = ("shedding-new-sessions", 0.0)
    """Over capacity: running sessions are served as before, new ones are told to go elsewhere. The heartbeat tells steering."""

    def __init__(self, word: str, costs: float) -> None:
        self.word = word
        self.costs = costs


@dataclass(frozen=True, slots=True)
class Condition:
    """What the score is made from."""

    workers: int
    disks: int
    healthy_disks: int
    can_store: bool
    media_keys: int
    parents: int
    connection_share: float
    index_locked: bool = True
    shedding: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    value: float
    ailments: tuple[Ailment, ...] = field(default=())

    @property
    def reasons(self) -> tuple[str, ...]:
        return tuple(ailment.word for ailment in self.ailments)


def score_of(condition: Condition) -> Score:
    """0 (serves nobody) to 1 (all is well), with every reason."""
    found: list[Ailment] = []
    value = 1.0
    checks = (
        (condition.workers == 0, Ailment.NO_WORKERS),
        (condition.healthy_disks == 0, Ailment.NO_DISK),
        (0 < condition.healthy_disks < condition.disks, Ailment.DISK_TAKEN_OUT),
        (not condition.can_store, Ailment.CANNOT_STORE),
        (condition.media_keys == 0, Ailment.NO_KEYS),
        (condition.parents == 0, Ailment.NO_PARENTS),
        (condition.connection_share > 0.9, Ailment.NEARLY_FULL_OF_CONNECTIONS),
        (not condition.index_locked, Ailment.INDEX_NOT_LOCKED),
        (condition.shedding, Ailment.SHEDDING),
    )
    for ill, ailment in checks:
        if ill:
            found.append(ailment)
            value -= ailment.costs
    if condition.disks:
        value *= condition.healthy_disks / condition.disks
    return Score(round(max(0.0, value), 3), tuple(found))
