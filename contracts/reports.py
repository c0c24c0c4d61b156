"""What appliances tell the control plane: a heartbeat every second, a report every five, and what served what."""

from __future__ import annotations

from enum import Enum

import msgspec


class Source(Enum):
    """Where bytes came from."""

    HIT = "hit"
    """Served from this appliance's store without asking anybody."""
    PEER = "peer"
    """Fetched from an appliance of the same site."""
    TIER = "tier"
    """Fetched from an appliance of another site: it crossed the border."""
    ORIGIN = "origin"
    """Fetched from the origin: it crossed the border."""


class Heartbeat(msgspec.Struct, frozen=True):
    """One message a second on the heartbeat WebSocket, appliance to control plane."""

    sequence: int
    load: float = 0.0
    serving: bool = True
    """False when no worker is ready: the appliance leaves the answers."""
    shedding: bool = False
    """True while new sessions are refused for want of capacity: the appliance leaves the answers for those, and serves on."""


class Nudge(msgspec.Struct, frozen=True):
    """Control plane to appliance on the heartbeat WebSocket: fetch what has a higher number than yours."""

    plan_number: int
    keys_number: int
    state: str
    triggers_number: int = 0
    name_number: int = 0
    """Certificates issued for its public name so far (contracts.names)."""


class FileTraffic(msgspec.Struct, frozen=True):
    """What one appliance served of one file in one hour (`hour` = seconds since the epoch, floored to 3600)."""

    key: str
    hour: int
    requests: int
    served_bytes: int


OTHER_NETWORKS = "other"
"""Stands for all networks that are not told apart."""


class NetworkTraffic(msgspec.Struct, frozen=True):
    """What one appliance served to players of one network in one hour. Networks are cut as the appliance's settings say."""

    network: str
    hour: int
    requests: int
    served_bytes: int


class Purpose(Enum):
    CLIENT = "client"
    """Served to players (source `hit`), or fetched because a player asked (peer, tier, origin)."""
    FILL = "fill"
    """Fetched by order."""
    PEERING = "peering"
    """Served to other appliances."""


class SourceTraffic(msgspec.Struct, frozen=True):
    """Counters since the appliance's start (`ApplianceReport.started_at`), by purpose and source."""

    source: Source
    purpose: Purpose
    requests: int
    bytes: int


class FillState(Enum):
    WAITING = "waiting"
    FILLING = "filling"
    DONE = "done"
    FAILED = "failed"


class OrderProgress(msgspec.Struct, frozen=True):
    order_id: str
    key: str
    state: FillState
    bytes_done: int
    bytes_total: int
    by_source: dict[str, int] = {}
    """Bytes by Source value."""
    reason: str = ""


class Holding(msgspec.Struct, frozen=True, array_like=True):
    """One object in the store: its key, bytes present, file size, and whether a plan pinned it."""

    key: str
    present_bytes: int
    size_bytes: int
    pinned: bool


class BlamedSource(msgspec.Struct, frozen=True):
    """A source that sent other bytes of a file than its signed digest list names, lately."""

    url: str
    key: str


class DiskFacts(msgspec.Struct, frozen=True):
    path: str
    quota_bytes: int
    used_bytes: int
    pinned_bytes: int
    healthy: bool = True
    index_locked: bool = False
    reason: str = ""


class ApplianceReport(msgspec.Struct, frozen=True):
    """`POST /v1/appliance/report`, every 5 s and at once after a fill or a change of holdings that matters.

    `traffic` holds what was not reported before; the control plane answers which `sequence` it has stored, so that a lost
    answer does not count twice. `holdings` is the full list when `holdings_full`, else only what changed; `dropped` are
    keys that left since the last report.
    """

    sequence: int
    boot_id: str
    started_at: float
    score: float
    reasons: tuple[str, ...]
    player_urls: tuple[str, ...]
    peer_url: str
    state: str
    plan_number: int
    keys_number: int
    egress_bps: float
    connections: int
    disks: tuple[DiskFacts, ...]
    traffic: tuple[FileTraffic, ...] = ()
    sources: tuple[SourceTraffic, ...] = ()
    orders: tuple[OrderProgress, ...] = ()
    holdings: tuple[Holding, ...] = ()
    holdings_full: bool = False
    dropped: tuple[str, ...] = ()
    evictions: int = 0
    content_misses: int = 0
    """Client requests that needed at least one block from upstream, since start."""
    client_requests: int = 0
    client_bytes: int = 0
    blamed: tuple[BlamedSource, ...] = ()
    """Asked last for these files."""
    networks: tuple[NetworkTraffic, ...] = ()
    """Like `traffic`, by client network; the hours with most networks name those with most bytes and sum the others up."""


class ReportAnswer(msgspec.Struct, frozen=True):
    """`want_full_holdings` when the control plane does not know this boot's list (it restarted, or a delta was lost)."""

    stored_sequence: int
    plan_number: int
    keys_number: int
    state: str
    want_full_holdings: bool = False


class TrafficImport(msgspec.Struct, frozen=True):
    """Operator: past traffic of a site from another system (`POST /v1/sites/ID/traffic`).

    What was imported before for the same key and hour is replaced, so that an import may be repeated: keep the rows of one
    key and hour in one import.
    """

    traffic: tuple[FileTraffic, ...]


class NetworkSum(msgspec.Struct, frozen=True):
    """Requests and bytes of one client network over the days asked for; `appliances` served it."""

    network: str
    requests: int
    served_bytes: int
    appliances: tuple[str, ...]


class NetworkList(msgspec.Struct, frozen=True):
    """`GET /v1/sites/ID/networks`: most bytes first. `total_bytes` counts those that are not listed, too."""

    networks: tuple[NetworkSum, ...]
    total_requests: int
    total_bytes: int
