"""Plans and their explanations."""

from __future__ import annotations

import math

import msgspec
from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.plans import PlacementExplanation, PlanSummary
from control_plane import records
from fill_planner.plan import Plan


async def next_number(session: AsyncSession) -> int:
    table = records.plans
    return int((await session.execute(select(func.coalesce(func.max(table.c.number), 0)))).scalar_one()) + 1


async def store(session: AsyncSession, plan: Plan, keep: int) -> None:
    """The plan, and nothing of plans older than the last `keep` for all sites."""
    summary = plan.summary
    row = {"number": summary.number, "created_at": summary.created_at, "summary": msgspec.json.encode(summary)}
    await session.execute(insert(records.plans), [row])
    appliances = [
        {"number": summary.number, "appliance_id": item.appliance_id, "document": msgspec.json.encode(item)}
        for item in plan.appliances
    ]
    if appliances:
        await session.execute(insert(records.appliance_plans), appliances)
    why = [
        {
            "number": summary.number,
            "key": item.key,
            "site_id": item.site_id,
            "manifest_cluster": item.manifest_cluster,
            "document": msgspec.json.encode(item),
        }
        for item in plan.explanations
    ]
    if why:
        await session.execute(insert(records.explanations), why)
    whole = [one.number for one in await summaries(session) if not one.sites]
    if len(whole) > keep:
        await session.execute(delete(records.plans).where(records.plans.c.number < whole[keep - 1]))


async def summaries(session: AsyncSession) -> tuple[PlanSummary, ...]:
    """Newest first."""
    statement = select(records.plans.c.summary).order_by(records.plans.c.number.desc())
    return tuple(msgspec.json.decode(row.summary, type=PlanSummary) for row in await session.execute(statement))


async def explaining(session: AsyncSession, site_id: str, made_by: float = math.inf) -> PlanSummary | None:
    """The newest plan that placed files at the site, and explains them, of those made by an instant."""
    for plan in await summaries(session):
        if plan.places and site_id in (plan.sites or (site_id,)) and plan.created_at <= made_by:
            return plan
    return None


async def explanation(
    session: AsyncSession, number: int, key: str, site_id: str, cluster: str | None
) -> PlacementExplanation | None:
    """Of the named cluster, else of the site's first by name."""
    table = records.explanations
    statement = select(table.c.document).where(table.c.number == number, table.c.key == key, table.c.site_id == site_id)
    if cluster is not None:
        statement = statement.where(table.c.manifest_cluster == cluster)
    row = (await session.execute(statement.order_by(table.c.manifest_cluster).limit(1))).one_or_none()
    return msgspec.json.decode(row.document, type=PlacementExplanation) if row is not None else None
