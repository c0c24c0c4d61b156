"""What appliances reported: traffic, counters, holdings, progress."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Table, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.nightly import SourceHour
from contracts.reports import (
    OTHER_NETWORKS,
    ApplianceReport,
    FileTraffic,
    NetworkList,
    NetworkSum,
    NetworkTraffic,
    OrderProgress,
    Purpose,
    Source,
)
from control_plane import records
from control_plane.ingestion import Judgement
from control_plane.overview import Sums
from control_plane.registry import Box, bare

DAY_S = 86400
MOST_NETWORKS = 10_000
MOST_NAMES = 10_000
"""In one statement: SQLite takes 32,766 values."""


async def store(
    session: AsyncSession, box: Box, judgement: Judgement, report: ApplianceReport, now: float, today: float
) -> None:
    """Everything of a report that must outlive this process, in the transaction that stores its sequence.

    `now` is when it came, `today` what the calendar shows then: progress of orders is told by the calendar, as plans are.
    """
    await _put_boot(session, box.id, report)
    await _put_sources(session, box, report, today)
    await add_traffic(session, box.site_id, box.id, report.traffic)
    await _add_networks(session, box.site_id, box.id, report.networks)
    if not judgement.present:
        return
    await _put_holdings(session, box.id, report)
    await _put_progress(session, box.id, report, today)
    values = {
        "report": msgspec.json.encode(bare(report)),
        "reported_at": now,
        "newest_boot": judgement.after.newest,
        "holdings_known": judgement.after.holdings_known,
    }
    table = records.appliances
    await session.execute(update(table).where(table.c.id == box.id).values(**values))


async def add_traffic(session: AsyncSession, site_id: str, appliance_id: str, rows: Iterable[FileTraffic]) -> None:
    """Adds to what is known of the same file and hour."""
    table = records.traffic
    values = [
        {
            "site_id": site_id,
            "key": row.key,
            "hour": row.hour - row.hour % 3600,
            "appliance_id": appliance_id,
            "requests": row.requests,
            "served_bytes": row.served_bytes,
        }
        for row in rows
    ]
    if not values:
        return
    statement = insert(table)
    summed = {
        "requests": table.c.requests + statement.excluded.requests,
        "served_bytes": table.c.served_bytes + statement.excluded.served_bytes,
    }
    await session.execute(statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=summed), values)


async def _add_networks(session: AsyncSession, site_id: str, appliance_id: str, rows: Iterable[NetworkTraffic]) -> None:
    """By day. Of a day and appliance `MOST_NETWORKS` are told apart: those that were there first; each hour's report names the largest."""
    table = records.network_traffic
    sums: dict[int, dict[str, list[int]]] = {}
    for row in rows:
        line = sums.setdefault(row.hour - row.hour % DAY_S, {}).setdefault(row.network, [0, 0])
        line[0] += row.requests
        line[1] += row.served_bytes
    for day, networks in sums.items():
        here = (table.c.site_id == site_id, table.c.day == day, table.c.appliance_id == appliance_id)
        known = set((await session.execute(select(table.c.network).where(*here))).scalars())
        room = MOST_NETWORKS - len(known)
        fresh = sorted(networks.keys() - known, key=lambda network: networks[network][1], reverse=True)
        other = [0, 0]
        for network in fresh[max(0, room) :]:
            requests, served = networks.pop(network)
            other = [other[0] + requests, other[1] + served]
        if other[0]:
            line = networks.setdefault(OTHER_NETWORKS, [0, 0])
            networks[OTHER_NETWORKS] = [line[0] + other[0], line[1] + other[1]]
        values = [
            {
                "site_id": site_id,
                "day": day,
                "network": network,
                "appliance_id": appliance_id,
                "requests": requests,
                "served_bytes": served,
            }
            for network, (requests, served) in networks.items()
        ]
        statement = insert(table)
        added = {
            "requests": table.c.requests + statement.excluded.requests,
            "served_bytes": table.c.served_bytes + statement.excluded.served_bytes,
        }
        statement = statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=added)
        await session.execute(statement, values)


async def networks(session: AsyncSession, site_id: str, since: float, limit: int) -> NetworkList:
    """What players of each network took from a site's appliances in the days from `since` on."""
    table = records.network_traffic
    here = (table.c.site_id == site_id, table.c.day >= since - since % DAY_S)
    served = func.sum(table.c.served_bytes).label("served")
    statement = (
        select(table.c.network, func.sum(table.c.requests), served, func.group_concat(table.c.appliance_id.distinct()))
        .where(*here)
        .group_by(table.c.network)
        .order_by(served.desc(), table.c.network)
        .limit(limit)
    )
    rows = tuple(
        NetworkSum(network, requests, amount, tuple(sorted(boxes.split(","))))
        for network, requests, amount, boxes in await session.execute(statement)
    )
    totals = select(func.coalesce(func.sum(table.c.requests), 0), func.coalesce(func.sum(table.c.served_bytes), 0))
    requests, amount = (await session.execute(totals.where(*here))).one()
    return NetworkList(rows, int(requests), int(amount))


async def replace_import(session: AsyncSession, site_id: str, rows: Sequence[FileTraffic]) -> None:
    """Imported traffic of the same file and hour is replaced, so that an import may be repeated."""
    table = records.traffic
    merged: dict[tuple[str, int], tuple[int, int]] = {}
    for row in rows:
        place = (row.key, row.hour - row.hour % 3600)
        requests, served = merged.get(place, (0, 0))
        merged[place] = (requests + row.requests, served + row.served_bytes)
    values = [
        {
            "site_id": site_id,
            "key": key,
            "hour": hour,
            "appliance_id": records.IMPORTED,
            "requests": requests,
            "served_bytes": served,
        }
        for (key, hour), (requests, served) in merged.items()
    ]
    if values:
        await _upsert(session, table, values)


async def traffic_by_site(
    session: AsyncSession, since: float, sites: Iterable[str] | None = None
) -> dict[str, dict[str, tuple[list[int], list[int]]]]:
    """Site → key → (hours, bytes), hours ascending: what clients of the site took, whoever served it. None: of all sites."""
    table = records.traffic
    here = table.c.hour >= since
    statement = (
        select(table.c.site_id, table.c.key, table.c.hour, func.sum(table.c.served_bytes).label("served"))
        .where(here if sites is None else here & table.c.site_id.in_(list(sites)))
        .group_by(table.c.site_id, table.c.key, table.c.hour)
        .order_by(table.c.site_id, table.c.key, table.c.hour)
    )
    found: dict[str, dict[str, tuple[list[int], list[int]]]] = {}
    for site_id, key, hour, served in await session.execute(statement):
        hours, amounts = found.setdefault(site_id, {}).setdefault(key, ([], []))
        hours.append(hour)
        amounts.append(served)
    return found


async def hours_served(
    session: AsyncSession, since: float, sites: Iterable[str] | None = None
) -> dict[str, dict[str, frozenset[int]]]:
    """Site → appliance → hours in which it reported to have served anything. None: of all sites. What was imported is nobody's."""
    table = records.traffic
    here = (table.c.hour >= since) & (table.c.appliance_id != records.IMPORTED)
    statement = (
        select(table.c.site_id, table.c.appliance_id, table.c.hour)
        .where(here if sites is None else here & table.c.site_id.in_(list(sites)))
        .distinct()
    )
    found: dict[str, dict[str, set[int]]] = {}
    for site_id, box_id, hour in await session.execute(statement):
        found.setdefault(site_id, {}).setdefault(box_id, set()).add(hour)
    return {site: {box: frozenset(hours) for box, hours in boxes.items()} for site, boxes in found.items()}


async def hours_by_source(session: AsyncSession, site_id: str, from_t: float, until_t: float) -> tuple[SourceHour, ...]:
    """What a site's appliances served and fetched in each hour, the hour in which `from_t` lies first."""
    table = records.source_hours
    statement = (
        select(table.c.hour, table.c.source, table.c.purpose, func.sum(table.c.requests), func.sum(table.c.bytes))
        .where(table.c.site_id == site_id, table.c.hour >= from_t - from_t % 3600, table.c.hour < until_t)
        .group_by(table.c.hour, table.c.source, table.c.purpose)
        .order_by(table.c.hour, table.c.source, table.c.purpose)
    )
    return tuple(
        SourceHour(hour, Source(source), Purpose(purpose), int(requests), int(amount))
        for hour, source, purpose, requests, amount in await session.execute(statement)
    )


async def fetched_since(session: AsyncSession, site_id: str, since: float) -> dict[str, int]:
    """Appliance → bytes fetched by order in the hours from the one of `since` on: never less than since then."""
    table = records.source_hours
    statement = (
        select(table.c.appliance_id, func.sum(table.c.bytes))
        .where(table.c.site_id == site_id, table.c.purpose == Purpose.FILL.value, table.c.hour >= since - since % 3600)
        .group_by(table.c.appliance_id)
    )
    return {box_id: int(amount) for box_id, amount in await session.execute(statement)}


async def served_since(session: AsyncSession, key: str, appliances: Sequence[str], since: float) -> int:
    """Bytes of one file served by the appliances in the hours from `since` on."""
    table = records.traffic
    statement = select(func.coalesce(func.sum(table.c.served_bytes), 0)).where(
        table.c.key == key, table.c.appliance_id.in_(appliances), table.c.hour >= since - since % 3600
    )
    return int((await session.execute(statement)).scalar_one())


async def filled_since(session: AsyncSession, key: str, appliances: Sequence[str], since: float) -> int:
    """Bytes of one file fetched by orders that were worked on since."""
    table = records.order_progress
    statement = select(func.coalesce(func.sum(table.c.bytes_done), 0)).where(
        table.c.key == key, table.c.appliance_id.in_(appliances), table.c.updated_at >= since
    )
    return int((await session.execute(statement)).scalar_one())


async def progress_of(session: AsyncSession, order_ids: Collection[str]) -> dict[tuple[str, str], OrderProgress]:
    """(appliance, order) → how far it was reported to be."""
    table = records.order_progress
    columns = (table.c.appliance_id, table.c.order_id, table.c.document)
    found: dict[tuple[str, str], OrderProgress] = {}
    wanted = sorted(order_ids)
    for start in range(0, len(wanted), MOST_NAMES):
        mine = select(*columns).where(table.c.order_id.in_(wanted[start : start + MOST_NAMES]))
        for row in await session.execute(mine):
            found[row.appliance_id, row.order_id] = msgspec.json.decode(row.document, type=OrderProgress)
    return found


async def forget(session: AsyncSession, before: float) -> None:
    """Traffic of hours before, and progress of orders that nobody reported on since."""
    await session.execute(delete(records.traffic).where(records.traffic.c.hour < before))
    await session.execute(delete(records.network_traffic).where(records.network_traffic.c.day < before))
    await session.execute(delete(records.order_progress).where(records.order_progress.c.updated_at < before))
    await session.execute(delete(records.source_hours).where(records.source_hours.c.hour < before))


async def sums(session: AsyncSession) -> dict[str, Sums]:
    """By appliance."""
    table = records.source_counters
    statement = select(
        table.c.appliance_id, table.c.source, table.c.purpose, func.sum(table.c.requests), func.sum(table.c.bytes)
    ).group_by(table.c.appliance_id, table.c.source, table.c.purpose)
    by_source: dict[str, dict[tuple[Source, Purpose], tuple[int, int]]] = {}
    for appliance_id, source, purpose, requests, amount in await session.execute(statement):
        by_source.setdefault(appliance_id, {})[Source(source), Purpose(purpose)] = (requests, amount)
    boots = records.boots
    totals = select(
        boots.c.appliance_id,
        func.sum(boots.c.client_requests),
        func.sum(boots.c.client_bytes),
        func.sum(boots.c.content_misses),
        func.sum(boots.c.evictions),
    ).group_by(boots.c.appliance_id)
    return {row[0]: Sums(by_source.get(row[0], {}), *row[1:]) for row in await session.execute(totals)}


async def _put_boot(session: AsyncSession, box_id: str, report: ApplianceReport) -> None:
    values = {
        "appliance_id": box_id,
        "boot_id": report.boot_id,
        "started_at": report.started_at,
        "sequence": report.sequence,
        "client_requests": report.client_requests,
        "client_bytes": report.client_bytes,
        "content_misses": report.content_misses,
        "evictions": report.evictions,
    }
    await _upsert(session, records.boots, [values])


async def _put_sources(session: AsyncSession, box: Box, report: ApplianceReport, today: float) -> None:
    """The counters of a boot; what they have grown by belongs to the hour of this report."""
    merged: dict[tuple[str, str], tuple[int, int]] = {}
    for row in report.sources:
        requests, amount = merged.get((row.source.value, row.purpose.value), (0, 0))
        merged[row.source.value, row.purpose.value] = (requests + row.requests, amount + row.bytes)
    values = [
        {
            "appliance_id": box.id,
            "boot_id": report.boot_id,
            "source": source,
            "purpose": purpose,
            "requests": requests,
            "bytes": amount,
        }
        for (source, purpose), (requests, amount) in merged.items()
    ]
    if values:
        await _add_source_hours(session, box, report.boot_id, merged, today)
        await _upsert(session, records.source_counters, values)


async def _add_source_hours(
    session: AsyncSession, box: Box, boot_id: str, merged: Mapping[tuple[str, str], tuple[int, int]], today: float
) -> None:
    counters, table = records.source_counters, records.source_hours
    mine = (counters.c.appliance_id == box.id) & (counters.c.boot_id == boot_id)
    before = {
        (row.source, row.purpose): (row.requests, row.bytes)
        for row in await session.execute(select(counters).where(mine))
    }
    grown = []
    for kind, (requests, amount) in merged.items():
        old_requests, old_amount = before.get(kind, (0, 0))
        if requests > old_requests or amount > old_amount:
            grown.append(
                {
                    "site_id": box.site_id,
                    "hour": int(today - today % 3600),
                    "appliance_id": box.id,
                    "source": kind[0],
                    "purpose": kind[1],
                    "requests": max(0, requests - old_requests),
                    "bytes": max(0, amount - old_amount),
                }
            )
    if grown:
        statement = insert(table)
        summed = {
            "requests": table.c.requests + statement.excluded.requests,
            "bytes": table.c.bytes + statement.excluded.bytes,
        }
        await session.execute(
            statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=summed), grown
        )


async def _put_holdings(session: AsyncSession, box_id: str, report: ApplianceReport) -> None:
    table = records.holdings
    if report.holdings_full:
        await session.execute(delete(table).where(table.c.appliance_id == box_id))
    values = {
        holding.key: {
            "appliance_id": box_id,
            "key": holding.key,
            "present_bytes": holding.present_bytes,
            "size_bytes": holding.size_bytes,
            "pinned": holding.pinned,
        }
        for holding in report.holdings
    }
    if values:
        await _upsert(session, table, list(values.values()))
    for key in () if report.holdings_full else report.dropped:
        await session.execute(delete(table).where(table.c.appliance_id == box_id, table.c.key == key))


async def _put_progress(session: AsyncSession, box: str, report: ApplianceReport, now: float) -> None:
    values = {
        order.order_id: {
            "appliance_id": box,
            "order_id": order.order_id,
            "key": order.key,
            "bytes_done": order.bytes_done,
            "updated_at": now,
            "document": msgspec.json.encode(order),
        }
        for order in report.orders
    }
    if values:
        await _upsert(session, records.order_progress, list(values.values()))


async def _upsert(session: AsyncSession, table: Table, values: list[dict[str, Any]]) -> None:
    """Writes rows over those with the same key."""
    statement = insert(table)
    keys = {column.name for column in table.primary_key}
    changed = {name: statement.excluded[name] for name in values[0] if name not in keys}
    await session.execute(statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=changed), values)
