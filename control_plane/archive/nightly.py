"""Nightly reports, and what they are made from that no other archive asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.nightly import NightlyEntry, NightlyReport
from contracts.plans import AppliancePlan
from contracts.reports import OrderProgress, Purpose
from control_plane import records


class Expected(msgspec.Struct, frozen=True):
    """The part of an explanation that a report needs."""

    key: str
    size_bytes: int
    forecast_bytes: float
    copies: int


async def put(session: AsyncSession, report: NightlyReport) -> None:
    table = records.nightly_reports
    values = {"closes_at": report.closes_at, "document": msgspec.json.encode(report)}
    statement = insert(table).values(site_id=report.site_id, day=report.day, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=values))


async def forget(session: AsyncSession, before: float) -> None:
    await session.execute(delete(records.nightly_reports).where(records.nightly_reports.c.closes_at < before))


async def report(session: AsyncSession, site_id: str, day: str) -> NightlyReport | None:
    table = records.nightly_reports
    mine = select(table.c.document).where(table.c.site_id == site_id, table.c.day == day)
    row = (await session.execute(mine)).one_or_none()
    return msgspec.json.decode(row.document, type=NightlyReport) if row is not None else None


async def latest_day(session: AsyncSession, site_id: str) -> str | None:
    """The day of a site's newest report."""
    table = records.nightly_reports
    mine = select(table.c.day).where(table.c.site_id == site_id).order_by(table.c.closes_at.desc()).limit(1)
    return (await session.execute(mine)).scalar_one_or_none()


async def listed(session: AsyncSession) -> tuple[NightlyEntry, ...]:
    """Newest first."""
    table = records.nightly_reports
    rows = await session.execute(select(table.c.document).order_by(table.c.closes_at.desc(), table.c.site_id))
    return tuple(_entry(msgspec.json.decode(row.document, type=NightlyReport)) for row in rows)


async def newest(session: AsyncSession) -> dict[str, float]:
    """Site → when the window of its newest report closed."""
    table = records.nightly_reports
    rows = await session.execute(select(table.c.site_id, func.max(table.c.closes_at)).group_by(table.c.site_id))
    return {site_id: closes_at for site_id, closes_at in rows}


async def expected(session: AsyncSession, number: int, site_id: str) -> tuple[Expected, ...]:
    """What a plan expected of each file at a site, clusters added up; `copies` likewise."""
    table = records.explanations
    mine = select(table.c.document).where(table.c.number == number, table.c.site_id == site_id)
    decoder = msgspec.json.Decoder(Expected)
    sums: dict[str, Expected] = {}
    for row in await session.execute(mine):
        one = decoder.decode(row.document)
        before = sums.get(one.key)
        if before is not None:
            forecast_bytes = before.forecast_bytes + one.forecast_bytes
            one = Expected(one.key, one.size_bytes, forecast_bytes, before.copies + one.copies)
        sums[one.key] = one
    return tuple(sums.values())


async def plans_of(session: AsyncSession, number: int, appliances: Iterable[str]) -> tuple[AppliancePlan, ...]:
    """What a plan told some appliances."""
    table = records.appliance_plans
    mine = select(table.c.document).where(table.c.number == number, table.c.appliance_id.in_(list(appliances)))
    return tuple(msgspec.json.decode(row.document, type=AppliancePlan) for row in await session.execute(mine))


async def progress_since(
    session: AsyncSession, appliances: Iterable[str], since: float
) -> dict[str, tuple[OrderProgress, ...]]:
    """Appliance → its orders that it reported on since an instant."""
    table = records.order_progress
    mine = select(table.c.appliance_id, table.c.document).where(
        table.c.appliance_id.in_(list(appliances)), table.c.updated_at >= since
    )
    found: dict[str, list[OrderProgress]] = {}
    for row in await session.execute(mine):
        found.setdefault(row.appliance_id, []).append(msgspec.json.decode(row.document, type=OrderProgress))
    return {box_id: tuple(orders) for box_id, orders in found.items()}


async def served_between(session: AsyncSession, site_id: str, from_t: float, until_t: float) -> Mapping[str, int]:
    """Key → bytes that clients of the site took in the hours between."""
    table = records.traffic
    mine = (
        select(table.c.key, func.sum(table.c.served_bytes))
        .where(table.c.site_id == site_id, table.c.hour >= from_t - from_t % 3600, table.c.hour < until_t)
        .group_by(table.c.key)
    )
    return {key: int(served) for key, served in await session.execute(mine)}


def _entry(report: NightlyReport) -> NightlyEntry:
    filled = sum(row.bytes for row in report.hours if row.purpose is Purpose.FILL and row.hour > report.opens_at - 3600)
    return NightlyEntry(report.site_id, report.day, report.closes_at, report.inside_share, filled, report.orders_failed)
