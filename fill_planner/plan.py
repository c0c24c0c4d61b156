"""Tonight's plan: snapshot in, plan out, and nothing else happens (DESIGN §4).

The way: traffic → popularity → forecast (`demand`) → placement per manifest cluster → what each appliance lacks
(`schedule`) → whom it may ask (`sources`) → orders, pins, explanations.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from contracts.places import ApplianceState
from contracts.plans import AppliancePlan, Order, PlacementExplanation, PlanSummary, RankedSource, Reason
from fill_planner import schedule
from fill_planner.clusters import GIVING, Cluster, Group, clusters_of, groups_of, may_hold, present_bytes, units_of
from fill_planner.config import PlannerSettings
from fill_planner.demand import SiteDemand, site_demands
from fill_planner.explaining import sentence
from fill_planner.placement import Copy, Day, Placement, place
from fill_planner.popularity import DAY_S, Floats
from fill_planner.schedule import Task, WindowShare
from fill_planner.snapshot import (
    CatalogueFile,
    HourlySeries,
    PlanningAppliance,
    PlanningSite,
    PlanningSnapshot,
    SiteWindow,
)
from fill_planner.sources import Asker, Map, Place, masters, rank_sources

__all__ = [
    "CatalogueFile",
    "HourlySeries",
    "Plan",
    "PlannerSettings",
    "PlanningAppliance",
    "PlanningSite",
    "PlanningSnapshot",
    "SiteWindow",
    "make_plan",
]

DEFAULTS = PlannerSettings()
Sources = dict[tuple[str, str], tuple[RankedSource, ...]]
"""By appliance and group."""


class Plan(msgspec.Struct, frozen=True):
    """One plan per appliance of the snapshot that is not retired, one explanation per file and manifest cluster."""

    summary: PlanSummary
    appliances: tuple[AppliancePlan, ...]
    explanations: tuple[PlacementExplanation, ...]


@dataclass(frozen=True, slots=True)
class _Placed:
    """What placement decided for one cluster."""

    cluster: Cluster
    demand: SiteDemand
    placements: tuple[Placement, ...]


def make_plan(snapshot: PlanningSnapshot, settings: PlannerSettings = DEFAULTS) -> Plan:
    """The plan for the next window of every site, or of `snapshot.only`. Pure and deterministic: the same snapshot gives the same plan.

    Appliances that are enrolling, in burn-in or live are filled; draining, drained, maintained and lost ones keep their pins
    and get no orders; retired ones get no plan. An appliance of a site that the snapshot does not name raises ValueError.
    """
    sites = {site.site.id: site for site in snapshot.sites}
    if homeless := sorted(a.appliance.id for a in snapshot.appliances if a.appliance.site_id not in sites):
        raise ValueError(f"appliances of sites that are not in the snapshot: {', '.join(homeless)}")
    planned = frozenset(snapshot.only or sites)
    groups = groups_of(snapshot.files)
    group_of = {snapshot.files[row].key: group.name for group in groups for row in group.rows}
    size_of = {file.key: file.size_bytes for file in snapshot.files}
    present = {a.appliance.id: present_bytes(a, group_of, size_of) for a in snapshot.appliances}
    # Sites that are not planned lend their demand to silent ones.
    heard = [site for site in snapshot.sites if site.site.id in planned or site.traffic]
    demands = site_demands(heard, snapshot.files, snapshot.now, settings)
    clusters = clusters_of(
        [a for a in snapshot.appliances if a.appliance.site_id in planned], present, group_of, settings.store_overhead
    )
    placed = [
        _Placed(c, demands[c.site_id], _place(snapshot, groups, c, clusters, sites[c.site_id], demands, settings))
        for c in clusters
    ]
    over = Map({s.site.id: s.site for s in snapshot.sites}, snapshot.origin_name, snapshot.origin_url, settings)
    by_name = {group.name: group for group in groups}
    tasks, shares = _scheduled(snapshot, placed, by_name, planned, over)
    sources = _sources(snapshot, placed, groups, present, tasks, shares, over)
    copies = _copies_by_box(placed)
    plans = tuple(
        _appliance_plan(snapshot, entry, by_name, copies.get(box_id), tasks.get(box_id, []), shares[box_id], sources)
        for box_id, entry in sorted({a.appliance.id: a for a in snapshot.appliances}.items())
        if entry.appliance.state is not ApplianceState.RETIRED and entry.appliance.site_id in planned
    )
    explanations = tuple(e for item in placed for e in _explanations(snapshot, by_name, item, sources, settings))
    return Plan(_summary(snapshot, plans, explanations), plans, explanations)


def _place(
    snapshot: PlanningSnapshot,
    groups: Sequence[Group],
    cluster: Cluster,
    clusters: Sequence[Cluster],
    site: PlanningSite,
    demands: Mapping[str, SiteDemand],
    settings: PlannerSettings,
) -> tuple[Placement, ...]:
    """Placement of one cluster, with its part (by disk) of what its site may fetch."""
    demand = demands[cluster.site_id]
    space_of_site = sum(box.space_bytes for c in clusters if c.site_id == cluster.site_id for box in c.boxes)
    part = sum(box.space_bytes for box in cluster.boxes) / (space_of_site or 1)
    budget = int(schedule.fill_budget(site.window, snapshot.now, settings) * part)
    day = Day(site.window.closes_at, site.window.closes_at + DAY_S)
    units = units_of(snapshot, groups, cluster, site, demand)
    return place(units, cluster.boxes, budget, demand.peak_share, settings, day)


def _scheduled(
    snapshot: PlanningSnapshot,
    placed: Sequence[_Placed],
    groups: Mapping[str, Group],
    planned: frozenset[str],
    over: Map,
) -> tuple[dict[str, list[Task]], dict[str, WindowShare]]:
    """(each appliance's fills in sequence, each appliance's share of its site's window)."""
    urls = {a.appliance.id: giving_url(a) for a in snapshot.appliances}
    site_places: dict[tuple[str, str], list[Place]] = defaultdict(list)
    wanted: list[tuple[str, str, Copy]] = []
    for item in placed:
        for placement in item.placements:
            for copy in placement.copies:
                place_ = Place(copy.box_id, item.cluster.site_id, urls[copy.box_id], copy.missing_bytes == 0)
                site_places[(item.cluster.site_id, placement.unit.group)].append(place_)
                if copy.missing_bytes:
                    wanted.append((item.cluster.site_id, placement.unit.group, copy))
    tasks: dict[str, list[Task]] = defaultdict(list)
    for site_id, group, copy in wanted:
        leaders = masters(group, site_places[(site_id, group)], over.masters(site_id))
        follows = bool(leaders) and copy.box_id not in leaders
        due_at = _due_at(snapshot, groups[group], copy)
        tasks[copy.box_id].append(Task(copy.box_id, group, copy.missing_bytes, copy.value, follows, due_at))
    shares: dict[str, WindowShare] = {}
    for site in snapshot.sites:
        if site.site.id not in planned:
            continue
        ordered = {
            a.appliance.id: sum(task.missing_bytes for task in tasks.get(a.appliance.id, ()))
            for a in snapshot.appliances
            if a.appliance.site_id == site.site.id and a.appliance.state is not ApplianceState.RETIRED
        }
        shares |= schedule.split(site.window, snapshot.now, ordered)
    return {box: schedule.sequence(its) for box, its in tasks.items()}, shares


def _due_at(snapshot: PlanningSnapshot, group: Group, copy: Copy) -> float:
    """As `Task.due_at`: a group is a release as long as some of it is still to be shown."""
    if copy.reason is Reason.PINNED:
        return schedule.PINNED
    shown_from = max((snapshot.files[row].shown_from for row in group.rows), default=0.0)
    return shown_from if shown_from > snapshot.now else math.inf


def _sources(
    snapshot: PlanningSnapshot,
    placed: Sequence[_Placed],
    groups: Sequence[Group],
    present: Mapping[str, Mapping[str, int]],
    tasks: Mapping[str, Sequence[Task]],
    shares: Mapping[str, WindowShare],
    over: Map,
) -> Sources:
    """The ranked sources of every task."""
    places = _places(snapshot, groups, present, tasks, shares)
    sources: Sources = {}
    site_of = {box.id: item.cluster.site_id for item in placed for box in item.cluster.boxes}
    for box_id, its in tasks.items():
        asker = Asker(box_id, site_of[box_id], shares[box_id].opens_at, shares[box_id].closes_at)
        for task in its:
            sources[(box_id, task.group)] = rank_sources(task.group, asker, places[task.group], over)
    return sources


def _places(
    snapshot: PlanningSnapshot,
    groups: Sequence[Group],
    present: Mapping[str, Mapping[str, int]],
    tasks: Mapping[str, Sequence[Task]],
    shares: Mapping[str, WindowShare],
) -> dict[str, list[Place]]:
    """Who holds whole, or fetches, each group that somebody fetches."""
    size_of = {group.name: group.size_bytes for group in groups}
    places: dict[str, list[Place]] = {task.group: [] for its in tasks.values() for task in its}
    for entry in snapshot.appliances:
        box, url = entry.appliance, giving_url(entry)
        for group, held in present[box.id].items():
            if group in places and held >= size_of[group] > 0:
                places[group].append(Place(box.id, box.site_id, url, whole=True))
        if its := tasks.get(box.id):
            ends_s = schedule.ends_s(its, shares[box.id].rate_bps)
            for task in its:
                whole_at = shares[box.id].opens_at + ends_s[task.group]
                places[task.group].append(Place(box.id, box.site_id, url, whole=False, whole_at=whole_at))
    return places


def giving_url(entry: PlanningAppliance) -> str:
    """Where others may fetch from it, or empty."""
    gives = entry.appliance.state in GIVING and not entry.suspect
    return entry.appliance.peer_url if gives else ""


def _copies_by_box(placed: Sequence[_Placed]) -> dict[str, dict[str, tuple[_Placed, Copy]]]:
    """Appliance → group → where it was decided and how; every appliance that may be filled is there."""
    copies: dict[str, dict[str, tuple[_Placed, Copy]]] = {b.id: {} for item in placed for b in item.cluster.boxes}
    for item in placed:
        for placement in item.placements:
            for copy in placement.copies:
                copies[copy.box_id][placement.unit.group] = (item, copy)
    return copies


def _appliance_plan(
    snapshot: PlanningSnapshot,
    entry: PlanningAppliance,
    groups: Mapping[str, Group],
    copies: Mapping[str, tuple[_Placed, Copy]] | None,
    tasks: Sequence[Task],
    share: WindowShare,
    sources: Sources,
) -> AppliancePlan:
    """`copies` is None for an appliance that is not filled now: it keeps what it was told to keep."""
    box_id = entry.appliance.id
    if copies is None:
        pins = _still_allowed(snapshot, entry)
    else:
        pins = tuple(snapshot.files[row].key for group in copies for row in groups[group].rows)
    orders: list[Order] = []
    for task in tasks:
        item, copy = (copies or {})[task.group]
        orders += _orders(snapshot, entry, groups[task.group], item, copy, len(orders), sources[(box_id, task.group)])
    return AppliancePlan(
        number=snapshot.number,
        appliance_id=box_id,
        created_at=snapshot.now,
        window_opens_at=share.opens_at,
        window_closes_at=share.closes_at,
        rate_bps=share.rate_bps,
        volume_bytes=share.volume_bytes,
        pins=pins,
        orders=tuple(orders),
    )


def _still_allowed(snapshot: PlanningSnapshot, entry: PlanningAppliance) -> tuple[str, ...]:
    """What an appliance that is not filled goes on keeping."""
    site = next(one for one in snapshot.sites if one.site.id == entry.appliance.site_id)
    kept = set(entry.pins) - set(site.forbidden)
    allowed = {f.key for f in snapshot.files if f.key in kept and may_hold(f.licence, site, snapshot.now)}
    return tuple(key for key in entry.pins if key in allowed)


def _orders(
    snapshot: PlanningSnapshot,
    entry: PlanningAppliance,
    group: Group,
    item: _Placed,
    copy: Copy,
    priority: int,
    sources: tuple[RankedSource, ...],
) -> list[Order]:
    """The orders for the files of a group that are not whole yet; the smallest first, so that playlists never trail."""
    orders: list[Order] = []
    for row in sorted(group.rows, key=lambda r: (snapshot.files[r].size_bytes, snapshot.files[r].key)):
        file = snapshot.files[row]
        missing = file.size_bytes - min(file.size_bytes, entry.held.get(file.key, 0))
        if missing == 0 and file.key in entry.held:
            continue
        forecast_bytes = float(item.demand.expected_bytes[row]) * item.cluster.demand_share
        orders.append(
            Order(
                id=order_id(entry.appliance.id, file),
                key=file.key,
                size_bytes=file.size_bytes,
                version=file.version,
                priority=priority + len(orders),
                sources=sources,
                reason=copy.reason,
                forecast_bytes=forecast_bytes,
                value=forecast_bytes / max(1, missing),
            )
        )
    return orders


def order_id(appliance_id: str, file: CatalogueFile) -> str:
    """The same fetch has the same id in every plan: appliance, key and version."""
    return fetch_id(appliance_id, file.key, file.version)


def fetch_id(appliance_id: str, key: str, version: str) -> str:
    """The id of an order, from the facts that make it the same order."""
    return hashlib.blake2b(f"{appliance_id}\0{key}\0{version}".encode(), digest_size=12).hexdigest()


def _explanations(
    snapshot: PlanningSnapshot,
    groups: Mapping[str, Group],
    item: _Placed,
    sources: Sources,
    settings: PlannerSettings,
) -> list[PlacementExplanation]:
    """One per file, the groups with the highest value first."""
    found: list[PlacementExplanation] = []
    window = next(site.window for site in snapshot.sites if site.site.id == item.cluster.site_id)
    for placement in item.placements:
        group = placement.unit.group
        asked = [sources[(copy.box_id, group)] for copy in placement.copies if (copy.box_id, group) in sources]
        for row in groups[group].rows:
            file = snapshot.files[row]
            rank = len(found) + 1
            forecast_bytes = float(item.demand.expected_bytes[row]) * item.cluster.demand_share
            model = item.demand.models[row]
            found.append(
                PlacementExplanation(
                    key=file.key,
                    site_id=item.cluster.site_id,
                    manifest_cluster=item.cluster.name,
                    size_bytes=file.size_bytes,
                    forecast_bytes=forecast_bytes,
                    forecast_model=model,
                    value=placement.unit.density,
                    rank=rank,
                    files=len(snapshot.files),
                    copies=len(placement.copies),
                    appliances=tuple(copy.box_id for copy in placement.copies),
                    # The one that asks farthest is the fill master's: it says where the bytes come from.
                    sources=min(asked, key=len) if asked else (),
                    reason=placement.reason,
                    sentence=sentence(placement, rank, len(snapshot.files), forecast_bytes, model, settings),
                    plan_number=snapshot.number,
                    window_opens_at=window.opens_at,
                    window_closes_at=window.closes_at,
                    forecast_low_bytes=_part(item, item.demand.low_bytes, row),
                    forecast_high_bytes=_part(item, item.demand.high_bytes, row),
                    forecast_why=item.demand.forecast.explain(row) if item.demand.forecast is not None else "",
                )
            )
    return found


def _part(item: _Placed, of_site: Floats | None, row: int) -> float | None:
    """The cluster's part of what the whole site is expected to take of a file."""
    return None if of_site is None else float(of_site[row]) * item.cluster.demand_share


def _summary(
    snapshot: PlanningSnapshot, plans: Sequence[AppliancePlan], explanations: Sequence[PlacementExplanation]
) -> PlanSummary:
    held = {a.appliance.id: a.held for a in snapshot.appliances}
    expected = sum(e.forecast_bytes for e in explanations)
    inside = sum(e.forecast_bytes for e in explanations if e.copies)
    placed_files = sum(1 for e in explanations if e.copies)
    return PlanSummary(
        number=snapshot.number,
        created_at=snapshot.now,
        appliances=len(plans),
        orders=sum(len(plan.orders) for plan in plans),
        bytes_to_fill=sum(
            max(0, order.size_bytes - held[plan.appliance_id].get(order.key, 0))
            for plan in plans
            for order in plan.orders
        ),
        placed_files=placed_files,
        unplaced_files=len(explanations) - placed_files,
        expected_inside_share=inside / expected if expected > 0 else 0.0,
        cause=snapshot.cause,
        sites=snapshot.only,
    )
