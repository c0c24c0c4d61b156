"""What exists, in memory: sites, boxes (appliances with everything known of them), origins. The archive keeps the same.

Every function that changes something gives back the changes that others must hear of, in order, without a number; the
change log numbers them. Nothing here waits: who calls it decides when the archive has been written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

from contracts.catalogue import Title, TitleFacts
from contracts.places import Appliance, ApplianceRegistration, ApplianceState, Site
from contracts.plans import AppliancePlan, PlanSummary
from contracts.reports import ApplianceReport, Holding, OrderProgress
from contracts.world import Change, FallbackOrigin, Holdings
from control_plane.health import Pulse, believed, reported
from control_plane.ingestion import Arrival, Judgement, Reported
from control_plane.names.telling import PublicName, told_families, told_urls
from control_plane.routes.book import RouteBook

UNNUMBERED = 0
FRESH_S = 20.0
"""Four reports: an appliance whose last one is older than that, beside the others', was gone already."""
Changes = tuple[Change, ...]


@dataclass(slots=True)
class Box:
    """One appliance. `report` is the last one that speaks of the present, without its lists of traffic and holdings."""

    registration: ApplianceRegistration
    state: ApplianceState
    serial: str = ""
    """Of the one certificate that is accepted, in upper-case hex; empty before enrolment."""
    pulse: Pulse = field(default_factory=Pulse)
    reported: Reported = field(default_factory=Reported)
    report: ApplianceReport | None = None
    reported_at: float = 0.0
    held: dict[str, Holding] = field(default_factory=dict)
    triggers_applied: int = 0
    """All triggers up to this number are applied there."""
    plan: AppliancePlan | None = None
    """What it is told."""
    standing: AppliancePlan | None = None
    """What the last plan that placed files at its site says, without what is ordered out of cycle."""
    progress: dict[str, OrderProgress] = field(default_factory=dict)
    name: PublicName | None = None
    """None where the control plane manages no zone."""
    name_number: int = 0

    @property
    def id(self) -> str:
        return self.registration.id

    @property
    def site_id(self) -> str:
        return self.registration.site_id

    @property
    def disk_bytes(self) -> int:
        """Quotas of the disks that work."""
        return sum(disk.quota_bytes for disk in self.report.disks if disk.healthy) if self.report else 0

    def appliance(self) -> Appliance:
        """As others are told. Without a failure domain of its own, a box is its own."""
        given, report = self.registration, self.report
        urls = told_urls(report.player_urls if report else (), self.name)
        families = told_families(urls, self.name)
        return Appliance(
            id=given.id,
            site_id=given.site_id,
            manifest_cluster=given.manifest_cluster,
            state=self.state,
            player_urls=urls,
            peer_url=report.peer_url if report else "",
            disk_bytes=self.disk_bytes,
            cache_share=given.cache_share,
            egress_bps=given.egress_bps,
            failure_domain=given.failure_domain or given.id,
            families=families,
            families_of=self.name.host if self.name is not None and families else "",
        )

    def holdings(self) -> Holdings:
        """The whole list with what the plan pins."""
        planned = self.plan.pins if self.plan else ()
        return Holdings(self.id, full=True, held=tuple(self.held.values()), planned=planned)


@dataclass(frozen=True, slots=True)
class CatalogueSize:
    titles: int = 0
    files: int = 0
    total_bytes: int = 0


class Registry:
    """The record in memory."""

    def __init__(self) -> None:
        self.sites: dict[str, Site] = {}
        self.boxes: dict[str, Box] = {}
        self.origins: dict[str, FallbackOrigin] = {}
        self.sizes: dict[str, CatalogueSize] = {}
        """By title id."""
        self.keys_number = 0
        self.triggers_number = 0
        self.plan: PlanSummary | None = None
        """The newest plan for all sites."""
        self.licence_ends: dict[str, float] = {}
        """By title id, of those that end."""
        self.routes = RouteBook()

    def snapshot(self) -> Iterator[Change]:
        """Everything, in the order of the change stream: sites, routes, appliances, health, holdings, origins."""
        for site in self.sites.values():
            yield Change(UNNUMBERED, site=site)
        yield from self.routes.snapshot()
        for box in self.boxes.values():
            yield Change(UNNUMBERED, appliance=box.appliance())
        for box in self.boxes.values():
            yield Change(UNNUMBERED, health=box.pulse.health(box.id))
        for box in self.boxes.values():
            yield Change(UNNUMBERED, holdings=box.holdings())
        for origin in self.origins.values():
            yield Change(UNNUMBERED, origin=origin)

    def put_site(self, site: Site) -> Changes:
        if self.sites.get(site.id) == site:
            return ()
        self.sites[site.id] = site
        return (Change(UNNUMBERED, site=site),)

    def drop_site(self, site_id: str) -> Changes:
        del self.sites[site_id]
        return *self.routes.drop_site(site_id), Change(UNNUMBERED, site_gone=site_id)

    def at_site(self, site_id: str) -> list[Box]:
        return [box for box in self.boxes.values() if box.site_id == site_id]

    def put_box(self, registration: ApplianceRegistration) -> Changes:
        box = self.boxes.get(registration.id)
        if box is None:
            box = self.boxes[registration.id] = Box(registration, ApplianceState.ENROLLING)
            new = Change(UNNUMBERED, appliance=box.appliance())
            return new, Change(UNNUMBERED, health=box.pulse.health(box.id))
        before = box.appliance()
        moved = self.routes.drop_box(box.id) if registration.site_id != box.site_id else ()
        box.registration = registration
        return *moved, *_told(box, before)

    def drop_box(self, box_id: str) -> Changes:
        del self.boxes[box_id]
        return *self.routes.drop_box(box_id), Change(UNNUMBERED, appliance_gone=box_id)

    def set_state(self, box: Box, state: ApplianceState) -> Changes:
        before = box.appliance()
        box.state = state
        gone = self.routes.drop_box(box.id) if state is ApplianceState.RETIRED else ()
        return *gone, *_told(box, before)

    def set_name(self, box: Box, name: PublicName) -> Changes:
        """What is known of its public name; told where players are sent elsewhere for it."""
        if box.name == name:
            return ()
        before = box.appliance()
        box.name = name
        return _told(box, before)

    def change_pulse(self, box: Box, change: Callable[[Pulse], Pulse]) -> Changes:
        """Puts `change` of the pulse in its place; tells others when what they see of it differs."""
        before = box.pulse.health(box.id)
        box.pulse = change(box.pulse)
        after = box.pulse.health(box.id)
        return (Change(UNNUMBERED, health=after),) if after != before else ()

    def silent(self, now_s: float) -> list[Box]:
        """Who has been silent too long (monotonic time) and is not suspect yet."""
        return [
            box for box in self.boxes.values() if box.pulse.silent_at_s is not None and now_s >= box.pulse.silent_at_s
        ]

    def believe(self, now_s: float) -> None:
        """At a start (monotonic time): appliances that still reported when we last listened get time to call again."""
        last = max((box.reported_at for box in self.boxes.values()), default=0.0)
        for box in self.boxes.values():
            if box.report is not None and box.reported_at >= last - FRESH_S:
                box.pulse = believed(box.report.score, box.report.reasons, now_s)

    def take_report(self, box: Box, judgement: Judgement, report: ApplianceReport, now: float) -> Changes:
        """Takes over what a report says of the present. Traffic is the archive's."""
        box.reported = judgement.after
        if judgement.arrival is Arrival.REPEATED and report.boot_id == judgement.after.newest:
            return self.change_pulse(box, lambda pulse: reported(pulse, report.score, report.reasons))
        if not judgement.present:
            return ()
        before = box.appliance()
        box.report = bare(report)
        box.reported_at = now
        box.progress.update((order.order_id, order) for order in report.orders)
        told = list(_told(box, before))
        told += self.change_pulse(box, lambda pulse: reported(pulse, report.score, report.reasons))
        return *told, *_take_holdings(box, report)

    def set_plan(self, box: Box, plan: AppliancePlan, *, stands: bool = True) -> Changes:
        """A new plan, which stands or is told for a while: progress of orders that neither has is forgotten."""
        box.plan = plan
        if stands:
            box.standing = plan
        wanted = {order.id for kept in (plan, box.standing) if kept is not None for order in kept.orders}
        box.progress = {order_id: done for order_id, done in box.progress.items() if order_id in wanted}
        return (Change(UNNUMBERED, holdings=box.holdings()),)

    def put_origin(self, origin: FallbackOrigin) -> Changes:
        if self.origins.get(origin.name) == origin:
            return ()
        self.origins[origin.name] = origin
        return (Change(UNNUMBERED, origin=origin),)

    def put_title(self, title: Title) -> None:
        self.sizes[title.facts.id] = CatalogueSize(1, len(title.files), title.size_bytes)
        self.set_licence_end(title.facts)

    def set_licence_end(self, facts: TitleFacts) -> None:
        self.licence_ends.pop(facts.id, None)
        if facts.licence.ends_at is not None:
            self.licence_ends[facts.id] = facts.licence.ends_at

    def drop_title(self, title_id: str) -> None:
        del self.sizes[title_id]
        self.licence_ends.pop(title_id, None)

    def catalogue_size(self) -> CatalogueSize:
        sizes = self.sizes.values()
        return CatalogueSize(len(sizes), sum(size.files for size in sizes), sum(size.total_bytes for size in sizes))


def bare(report: ApplianceReport) -> ApplianceReport:
    """The report without what is stored elsewhere."""
    return msgspec.structs.replace(report, traffic=(), sources=(), orders=(), holdings=(), dropped=(), networks=())


def _told(box: Box, before: Appliance) -> Changes:
    after = box.appliance()
    return (Change(UNNUMBERED, appliance=after),) if after != before else ()


def _take_holdings(box: Box, report: ApplianceReport) -> Changes:
    """Others hear the whole list when it was reported whole and differs, else what changed."""
    if report.holdings_full:
        held = {holding.key: holding for holding in report.holdings}
        if held == box.held:
            return ()
        box.held = held
        return (Change(UNNUMBERED, holdings=box.holdings()),)
    for holding in report.holdings:
        box.held[holding.key] = holding
    for key in report.dropped:
        box.held.pop(key, None)
    if not report.holdings and not report.dropped:
        return ()
    delta = Holdings(box.id, full=False, held=report.holdings, dropped=report.dropped)
    return (Change(UNNUMBERED, holdings=delta),)
