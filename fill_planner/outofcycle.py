"""Out of cycle: a few files to a few sites now, in a small window of their own (DESIGN §4.4).

Laws
- One copy per manifest cluster of each site: at the appliance that holds most of it, else the one that rendezvous hashing names; at a suspect
  only where there is nobody else, at one that is lost never.
- Nothing that is placed by plan gives way. The room is taken from what no plan pins, at most `ROOM_SHARE` of it on one appliance.
- A site is asked for what fits: what its rate carries until the end and what is left of its volume. What does not fit is refused in a sentence.
- A licence holds here as it does at night; so does what an operator forbids.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contracts.catalogue import Licence
from contracts.pins import PlacedOrder
from contracts.plans import Order, Reason
from contracts.rendezvous import ranked
from fill_planner.clusters import FILLING, Group, groups_of, present_bytes
from fill_planner.config import PlannerSettings
from fill_planner.explaining import words_of_bytes
from fill_planner.plan import giving_url, order_id
from fill_planner.popularity import DAY_S
from fill_planner.snapshot import PlanningAppliance, PlanningSite, PlanningSnapshot
from fill_planner.sources import Asker, Map, Place, rank_sources

ROOM_SHARE = 0.5
"""Of the part of an appliance's disk that is its cache."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Orders in their sequence. `held` files were whole where they are wanted: their orders only keep them."""

    orders: tuple[PlacedOrder, ...]
    held: int
    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Choice:
    """One group at one appliance."""

    entry: PlanningAppliance
    group: Group
    missing_bytes: int


def place_now(
    snapshot: PlanningSnapshot,
    keys: frozenset[str],
    until: float,
    rate_bps: int,
    taken: Mapping[str, int],
    settings: PlannerSettings,
) -> Placed:
    """Orders for the groups of `keys` at the sites `snapshot.only`, from `snapshot.now` to `until`.

    `rate_bps` 0 is each site's own. `taken` bytes of an appliance's room belong to earlier orders out of cycle.
    """
    groups = [g for g in groups_of(snapshot.files) if any(snapshot.files[row].key in keys for row in g.rows)]
    group_of = {snapshot.files[row].key: group.name for group in groups for row in group.rows}
    size_of = {snapshot.files[row].key: snapshot.files[row].size_bytes for group in groups for row in group.rows}
    present = {a.appliance.id: present_bytes(a, group_of, size_of) for a in snapshot.appliances}
    over = Map({s.site.id: s.site for s in snapshot.sites}, snapshot.origin_name, snapshot.origin_url, settings)
    choices: list[_Choice] = []
    refused: list[str] = []
    rooms = {a.appliance.id: _room(a) - taken.get(a.appliance.id, 0) for a in snapshot.appliances}
    for site in sorted((s for s in snapshot.sites if s.site.id in snapshot.only), key=lambda s: s.site.id):
        its, words = _choose(snapshot, site, groups, until, present, rooms)
        its, too_much = _that_fit(site, its, snapshot.now, until, rate_bps, settings)
        choices += its
        refused += words + too_much
    return Placed(_orders(snapshot, choices, present, over, until, rate_bps), _held(snapshot, choices), tuple(refused))


def _room(entry: PlanningAppliance) -> int:
    return int(entry.appliance.disk_bytes * entry.appliance.cache_share * ROOM_SHARE)


def _choose(
    snapshot: PlanningSnapshot,
    site: PlanningSite,
    groups: Sequence[Group],
    until: float,
    present: Mapping[str, Mapping[str, int]],
    rooms: dict[str, int],
) -> tuple[list[_Choice], list[str]]:
    """(one choice per group and manifest cluster, what cannot be had there). Takes the room that it chooses."""
    clusters: dict[str, list[PlanningAppliance]] = defaultdict(list)
    for entry in snapshot.appliances:
        box = entry.appliance
        if box.site_id == site.site.id and box.state in FILLING and not entry.lost:
            clusters[box.manifest_cluster].append(entry)
    if not clusters:
        return [], [f"{site.site.id}: no appliance there can be filled now"]
    choices: list[_Choice] = []
    refused: list[str] = []
    for group in groups:
        if why := _why_not(snapshot, site, group, until):
            refused.append(f"{site.site.id}: {group.name}: {why}")
            continue
        for name, boxes in sorted(clusters.items()):
            chosen = _box_for(group, boxes, snapshot, present, rooms)
            if chosen is None:
                most = max(rooms[entry.appliance.id] for entry in boxes)
                refused.append(
                    f"{site.site.id}: {group.name}: needs {words_of_bytes(group.disk_bytes)}, and no appliance of cluster {name}"
                    f" has more than {words_of_bytes(max(0, most))} left for orders out of cycle"
                )
            else:
                choices.append(chosen)
    return choices, refused


def _why_not(snapshot: PlanningSnapshot, site: PlanningSite, group: Group, until: float) -> str:
    """Why it may not be there, or empty."""
    if any(snapshot.files[row].key in site.forbidden for row in group.rows):
        return "an operator wants it nowhere here"
    licences = [snapshot.files[row].licence for row in group.rows]
    if not all(_may_go(licence, site.site.region, snapshot.now) for licence in licences):
        return "its licence does not cover this site now or within a day"
    if any(licence.ends_at is not None and licence.ends_at < until for licence in licences):
        return "its licence ends before the order does"
    return ""


def _may_go(licence: Licence, region: str, now: float) -> bool:
    starts_at = licence.starts_at or now
    asked = max(now, starts_at)
    return (licence.fill_ahead or starts_at <= now) and asked < now + DAY_S and licence.allows(region, asked)


def _box_for(
    group: Group,
    boxes: Sequence[PlanningAppliance],
    snapshot: PlanningSnapshot,
    present: Mapping[str, Mapping[str, int]],
    rooms: dict[str, int],
) -> _Choice | None:
    """The appliance of a cluster that gets it: what lies there by plan needs no room."""
    keys = {snapshot.files[row].key for row in group.rows}
    by_id = {entry.appliance.id: entry for entry in boxes}
    order = ranked(group.name, ((box_id, float(entry.appliance.disk_bytes)) for box_id, entry in by_id.items()))
    order.sort(key=lambda box_id: (by_id[box_id].suspect, -present[box_id].get(group.name, 0)))
    for box_id in order:
        planned = keys <= set(by_id[box_id].pins)
        if planned or rooms[box_id] >= group.disk_bytes:
            if not planned:
                rooms[box_id] -= group.disk_bytes
            missing = max(0, group.size_bytes - present[box_id].get(group.name, 0))
            return _Choice(by_id[box_id], group, missing)
    return None


def _that_fit(
    site: PlanningSite,
    choices: list[_Choice],
    now: float,
    until: float,
    rate_bps: int,
    settings: PlannerSettings,
) -> tuple[list[_Choice], list[str]]:
    """All of a site's choices, or none with the sentence why."""
    wanted = sum(choice.missing_bytes for choice in choices)
    rate = rate_of(site, rate_bps)
    carried = int(rate / 8 * max(0.0, until - now) * settings.window_share)
    if wanted > carried:
        return [], [
            f"{site.site.id}: {words_of_bytes(wanted)} do not fit: {rate / 1e6:.1f} Mb/s until the end carry {words_of_bytes(carried)}"
        ]
    if wanted > site.window.volume_bytes:
        left = words_of_bytes(site.window.volume_bytes)
        return [], [f"{site.site.id}: {words_of_bytes(wanted)} do not fit: {left} are left of the site's volume"]
    return choices, []


def rate_of(site: PlanningSite, rate_bps: int) -> int:
    """The rate of an order out of cycle at a site: what is asked for, never above the site's own."""
    return min(rate_bps, site.window.rate_bps) if rate_bps else site.window.rate_bps


def _orders(
    snapshot: PlanningSnapshot,
    choices: Sequence[_Choice],
    present: Mapping[str, Mapping[str, int]],
    over: Map,
    until: float,
    rate_bps: int,
) -> tuple[PlacedOrder, ...]:
    places = _places(snapshot, choices, present, rate_bps)
    orders: list[PlacedOrder] = []
    counts: dict[str, int] = defaultdict(int)
    for choice in choices:
        box = choice.entry.appliance
        sources = rank_sources(
            choice.group.name, Asker(box.id, box.site_id, snapshot.now, until), places[choice.group.name], over
        )
        for row in sorted(choice.group.rows, key=lambda r: (snapshot.files[r].size_bytes, snapshot.files[r].key)):
            file = snapshot.files[row]
            order = Order(
                id=order_id(box.id, file),
                key=file.key,
                size_bytes=file.size_bytes,
                version=file.version,
                priority=counts[box.id],
                sources=sources,
                reason=Reason.PINNED,
                forecast_bytes=0.0,
                value=0.0,
            )
            counts[box.id] += 1
            orders.append(PlacedOrder(box.id, order))
    return tuple(orders)


def _places(
    snapshot: PlanningSnapshot,
    choices: Sequence[_Choice],
    present: Mapping[str, Mapping[str, int]],
    rate_bps: int,
) -> dict[str, list[Place]]:
    """Who holds each group whole, or is told to fetch it now."""
    places: dict[str, list[Place]] = {choice.group.name: [] for choice in choices}
    size_of = {choice.group.name: choice.group.size_bytes for choice in choices}
    rates = {site.site.id: rate_of(site, rate_bps) for site in snapshot.sites}
    amounts: dict[str, int] = defaultdict(int)
    for choice in choices:
        amounts[choice.entry.appliance.site_id] += choice.missing_bytes
    for entry in snapshot.appliances:
        box, url = entry.appliance, giving_url(entry)
        for group, size in size_of.items():
            if present[box.id].get(group, 0) >= size > 0:
                places[group].append(Place(box.id, box.site_id, url, whole=True))
    for choice in choices:
        if choice.missing_bytes:
            box = choice.entry.appliance
            whole_at = snapshot.now + amounts[box.site_id] * 8 / rates[box.site_id]
            places[choice.group.name].append(
                Place(box.id, box.site_id, giving_url(choice.entry), whole=False, whole_at=whole_at)
            )
    return places


def _held(snapshot: PlanningSnapshot, choices: Sequence[_Choice]) -> int:
    return sum(
        choice.entry.held.get(file.key, -1) >= file.size_bytes
        for choice in choices
        for file in (snapshot.files[row] for row in choice.group.rows)
    )
