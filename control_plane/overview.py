"""All that the operator page shows, from the registry and the archive's sums."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from contracts.names import NameFacts
from contracts.overview import ApplianceOverview, FillProgress, Overview, ServedBySource, SiteOverview
from contracts.places import Site
from contracts.reports import FillState, OrderProgress, Purpose, Source
from control_plane.registry import Box, Registry

INSIDE = (Source.HIT, Source.PEER)
MOST_FAILURES = 10


@dataclass(frozen=True, slots=True)
class Sums:
    """Counters over all starts of one appliance. `by_source` is (requests, bytes) by source and purpose."""

    by_source: Mapping[tuple[Source, Purpose], tuple[int, int]]
    client_requests: int = 0
    client_bytes: int = 0
    content_misses: int = 0
    evictions: int = 0


NO_SUMS = Sums({})
NO_NAMES: Mapping[str, NameFacts] = MappingProxyType({})


def overview(
    registry: Registry, sums: Mapping[str, Sums], number: int, now: float, names: Mapping[str, NameFacts] = NO_NAMES
) -> Overview:
    """The picture at `now` (wall clock). `names` by appliance."""
    served = _served(sums.get(box.id, NO_SUMS) for box in registry.boxes.values())
    size = registry.catalogue_size()
    return Overview(
        at=now,
        number=number,
        sites=tuple(_site(registry, site, sums) for site in registry.sites.values()),
        appliances=tuple(
            _appliance(box, sums.get(box.id, NO_SUMS), now, names.get(box.id)) for box in registry.boxes.values()
        ),
        served=served,
        inside_share=inside_share(served),
        titles=size.titles,
        files=size.files,
        catalogue_bytes=size.total_bytes,
        plan=registry.plan,
        triggers_number=registry.triggers_number,
    )


def inside_share(served: Iterable[ServedBySource]) -> float | None:
    """Bytes for players that came from inside the site's network / all that its appliances served. None before any.

    What players fetched past the appliances (straight from the origin) is not in it: nobody inside saw it.
    """
    rows = tuple(served)
    everything = sum(row.client_bytes for row in rows)
    inside = sum(row.client_bytes for row in rows if row.source in INSIDE)
    return inside / everything if everything else None


def fill_progress(boxes: Iterable[Box]) -> FillProgress:
    """Of the orders of the plans in force. An order nobody reported on yet is waiting."""
    orders = waiting = filling = done = failed = bytes_done = bytes_total = 0
    failures: list[str] = []
    for box in boxes:
        for order in box.plan.orders if box.plan else ():
            at = box.progress.get(order.id)
            state = at.state if at else FillState.WAITING
            orders += 1
            waiting += state is FillState.WAITING
            filling += state is FillState.FILLING
            done += state is FillState.DONE
            failed += state is FillState.FAILED
            bytes_total += order.size_bytes
            bytes_done += order.size_bytes if state is FillState.DONE else min(_done(at), order.size_bytes)
            if state is FillState.FAILED and at is not None and len(failures) < MOST_FAILURES:
                failures.append(f"{box.id}: {order.key}: {at.reason or 'no reason given'}")
    return FillProgress(orders, waiting, filling, done, failed, bytes_done, bytes_total, tuple(failures))


def _site(registry: Registry, site: Site, sums: Mapping[str, Sums]) -> SiteOverview:
    boxes = registry.at_site(site.id)
    served = _served(sums.get(box.id, NO_SUMS) for box in boxes)
    return SiteOverview(site, tuple(box.id for box in boxes), served, inside_share(served), fill_progress(boxes))


def _appliance(box: Box, sums: Sums, now: float, name: NameFacts | None) -> ApplianceOverview:
    report, plan = box.report, box.plan
    return ApplianceOverview(
        appliance=box.appliance(),
        health=box.pulse.health(box.id),
        connected=box.pulse.connected,
        report_age_s=round(max(0.0, now - box.reported_at), 1) if report else None,
        plan_number=plan.number if plan else 0,
        reported_plan_number=report.plan_number if report else 0,
        window_opens_at=plan.window_opens_at if plan else 0.0,
        window_closes_at=plan.window_closes_at if plan else 0.0,
        fill=fill_progress((box,)),
        served=_served((sums,)),
        client_requests=sums.client_requests,
        client_bytes=sums.client_bytes,
        content_misses=sums.content_misses,
        evictions=sums.evictions,
        egress_bps=report.egress_bps if report else 0.0,
        connections=report.connections if report else 0,
        held_files=len(box.held),
        held_bytes=sum(holding.present_bytes for holding in box.held.values()),
        disks=report.disks if report else (),
        triggers_applied=box.triggers_applied,
        name=name,
    )


def _served(many: Iterable[Sums]) -> tuple[ServedBySource, ...]:
    """One row per source, all of them, in their order."""
    requests = dict.fromkeys(Source, 0)
    client = dict.fromkeys(Source, 0)
    filled = dict.fromkeys(Source, 0)
    for sums in many:
        for (source, purpose), (count, amount) in sums.by_source.items():
            if purpose is Purpose.CLIENT:
                requests[source] += count
                client[source] += amount
            elif purpose is Purpose.FILL:
                filled[source] += amount
    return tuple(ServedBySource(source, requests[source], client[source], filled[source]) for source in Source)


def _done(progress: OrderProgress | None) -> int:
    return progress.bytes_done if progress else 0
