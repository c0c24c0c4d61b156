"""From the snapshot to what placement decides over: the manifest clusters, their boxes and their groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from contracts.catalogue import Licence
from contracts.places import ApplianceState
from fill_planner.demand import SiteDemand
from fill_planner.placement import Box, Unit
from fill_planner.popularity import DAY_S
from fill_planner.snapshot import CatalogueFile, PlanningAppliance, PlanningSite, PlanningSnapshot

FILLING = frozenset({ApplianceState.ENROLLING, ApplianceState.BURN_IN, ApplianceState.LIVE})
"""States in which an appliance is given files."""
GIVING = FILLING | {ApplianceState.DRAINING}
"""States in which others may fetch from it."""
DISK_PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Group:
    """Files that are placed together: their rows in the snapshot's files."""

    name: str
    rows: tuple[int, ...]
    size_bytes: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """A manifest cluster with at least one appliance that may be filled. `demand_share` is its part of its site's demand."""

    site_id: str
    name: str
    boxes: tuple[Box, ...]
    demand_share: float


def groups_of(files: Sequence[CatalogueFile]) -> tuple[Group, ...]:
    """The groups by name; a file without group is one of its own."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, file in enumerate(files):
        rows[file.group or file.key].append(row)
    return tuple(
        Group(
            name=name,
            rows=tuple(members),
            size_bytes=sum(files[row].size_bytes for row in members),
            disk_bytes=sum(-(-files[row].size_bytes // DISK_PAGE_BYTES) * DISK_PAGE_BYTES for row in members),
        )
        for name, members in sorted(rows.items())
    )


def present_bytes(
    appliance: PlanningAppliance, group_of: Mapping[str, str], size_of: Mapping[str, int]
) -> dict[str, int]:
    """Group → bytes of it that the appliance holds."""
    present: dict[str, int] = defaultdict(int)
    for key, held in appliance.held.items():
        if (group := group_of.get(key)) is not None:
            present[group] += min(held, size_of[key])
    return dict(present)


def clusters_of(
    appliances: Iterable[PlanningAppliance],
    present: Mapping[str, Mapping[str, int]],
    group_of: Mapping[str, str],
    store_overhead: float,
) -> tuple[Cluster, ...]:
    """The manifest clusters, by site and name. `present` is by appliance; `store_overhead` is `PlannerSettings`'s."""
    members: dict[tuple[str, str], list[Box]] = defaultdict(list)
    for entry in sorted(appliances, key=lambda item: item.appliance.id):
        appliance = entry.appliance
        if appliance.state in FILLING and not entry.lost:
            box = Box(
                id=appliance.id,
                domain=appliance.failure_domain or appliance.id,
                space_bytes=int(appliance.disk_bytes * (1.0 - appliance.cache_share) * (1.0 - store_overhead)),
                egress_bps=float(appliance.egress_bps),
                present=present[appliance.id],
                pinned=frozenset(group_of[key] for key in entry.pins if key in group_of),
            )
            members[(appliance.site_id, appliance.manifest_cluster)].append(box)
    egress_of_site: dict[str, float] = defaultdict(float)
    for (site_id, _), boxes in members.items():
        egress_of_site[site_id] += sum(box.egress_bps for box in boxes)
    return tuple(
        Cluster(
            site_id=site_id,
            name=name,
            boxes=tuple(boxes),
            demand_share=sum(box.egress_bps for box in boxes) / (egress_of_site[site_id] or 1.0),
        )
        for (site_id, name), boxes in sorted(members.items())
    )


def units_of(
    snapshot: PlanningSnapshot, groups: Sequence[Group], cluster: Cluster, site: PlanningSite, demand: SiteDemand
) -> list[Unit]:
    """The groups as a cluster sees them: what they are expected to serve there, and whether they may be there."""
    required, forbidden = frozenset(site.required), frozenset(site.forbidden)
    # Adding Python floats keeps the sums, and with them the order of equal groups, independent of numpy's pairwise blocks.
    expected = demand.expected_bytes.tolist()
    return [
        Unit(
            group=group.name,
            size_bytes=group.size_bytes,
            disk_bytes=group.disk_bytes,
            expected_bytes=sum(expected[row] for row in group.rows) * cluster.demand_share,
            licensed=all(may_hold(snapshot.files[row].licence, site, snapshot.now) for row in group.rows),
            required=any(snapshot.files[row].key in required for row in group.rows),
            forbidden=any(snapshot.files[row].key in forbidden for row in group.rows),
        )
        for group in groups
    ]


def may_hold(licence: Licence, site: PlanningSite, now: float) -> bool:
    """True when the licence allows the site's region at some time of the day after its window: releases fill before their date.

    Without `fill_ahead` the licence has begun before anything of the window may move.
    """
    from_t = site.window.closes_at
    if licence.starts_at is not None and not licence.fill_ahead and licence.starts_at > max(now, site.window.opens_at):
        return False
    asked = from_t if licence.starts_at is None else max(from_t, licence.starts_at)
    return asked < from_t + DAY_S and licence.allows(site.site.region, asked)
