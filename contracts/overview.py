"""What the operator page shows in one answer (`GET /v1/overview`), and the lists beside it."""

from __future__ import annotations

import msgspec

from contracts.names import NameFacts
from contracts.places import Appliance, Site
from contracts.plans import PlanSummary
from contracts.reports import DiskFacts, Source
from contracts.world import Health


class ServedBySource(msgspec.Struct, frozen=True):
    """Requests and bytes for players by where the bytes came from, and bytes fetched by order, over all starts."""

    source: Source
    client_requests: int = 0
    client_bytes: int = 0
    fill_bytes: int = 0


class FillProgress(msgspec.Struct, frozen=True):
    """How far the orders of the plan in force are. `failures` has the reasons of failed orders, at most ten."""

    orders: int = 0
    waiting: int = 0
    filling: int = 0
    done: int = 0
    failed: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    failures: tuple[str, ...] = ()


class ApplianceOverview(msgspec.Struct, frozen=True):
    """One appliance as it was last heard of. `report_age_s` is None before the first report."""

    appliance: Appliance
    health: Health
    connected: bool
    report_age_s: float | None
    plan_number: int
    """Of the plan made for it; `reported_plan_number` is the one it works by."""
    reported_plan_number: int
    window_opens_at: float
    window_closes_at: float
    fill: FillProgress
    served: tuple[ServedBySource, ...]
    client_requests: int
    client_bytes: int
    content_misses: int
    evictions: int
    egress_bps: float
    connections: int
    held_files: int
    held_bytes: int
    disks: tuple[DiskFacts, ...]
    triggers_applied: int = 0
    """All triggers up to this number are applied there; `Overview.triggers_number` is the newest."""
    name: NameFacts | None = None
    """Its public name and certificate; None where the control plane manages none."""


class SiteOverview(msgspec.Struct, frozen=True):
    """One site. `inside_share` is the share of its players' bytes that came from inside (hit and peer); None before any."""

    site: Site
    appliances: tuple[str, ...]
    served: tuple[ServedBySource, ...]
    inside_share: float | None
    fill: FillProgress


class Overview(msgspec.Struct, frozen=True):
    at: float
    number: int
    """Of the last change of the record."""
    sites: tuple[SiteOverview, ...]
    appliances: tuple[ApplianceOverview, ...]
    served: tuple[ServedBySource, ...]
    inside_share: float | None
    titles: int
    files: int
    catalogue_bytes: int
    plan: PlanSummary | None = None
    triggers_number: int = 0


class FileFact(msgspec.Struct, frozen=True):
    """One published file as the record knows it."""

    key: str
    title_id: str
    tier: str
    group: str
    size_bytes: int
    blake3: str


class FileList(msgspec.Struct, frozen=True):
    files: tuple[FileFact, ...]


class AuditEntry(msgspec.Struct, frozen=True):
    """One change that an operator made. `subject` names what was changed, `detail` the new value as JSON text."""

    number: int
    at: float
    operator: str
    action: str
    subject: str
    detail: str = ""


class AuditList(msgspec.Struct, frozen=True):
    entries: tuple[AuditEntry, ...]


class ImportAnswer(msgspec.Struct, frozen=True):
    """How much of a traffic import was counted."""

    rows: int
    served_bytes: int
