"""Sites, appliances and origins; counters; and everything that a start needs to fill the registry."""

from __future__ import annotations

import msgspec
from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.catalogue import TitleFacts
from contracts.places import ApplianceRegistration, ApplianceState, Site
from contracts.plans import AppliancePlan, PlanSummary
from contracts.reports import ApplianceReport, Holding, OrderProgress
from contracts.world import FallbackOrigin
from control_plane import records
from control_plane.ingestion import Boot, Reported
from control_plane.registry import Box, CatalogueSize, Registry

STARTS = "starts"
KEYS_NUMBER = "keys"


async def add_to_counter(session: AsyncSession, name: str) -> int:
    """The counter's next value, from 1."""
    table = records.counters
    statement = insert(table).values(name=name, value=1)
    statement = statement.on_conflict_do_update(index_elements=[table.c.name], set_={"value": table.c.value + 1})
    return int((await session.execute(statement.returning(table.c.value))).scalar_one())


async def put_site(session: AsyncSession, site: Site) -> None:
    table = records.sites
    statement = insert(table).values(id=site.id, document=msgspec.json.encode(site))
    statement = statement.on_conflict_do_update(
        index_elements=[table.c.id], set_={"document": statement.excluded.document}
    )
    await session.execute(statement)


async def drop_site(session: AsyncSession, site_id: str) -> None:
    await session.execute(delete(records.sites).where(records.sites.c.id == site_id))


async def put_box(session: AsyncSession, registration: ApplianceRegistration, state: ApplianceState) -> None:
    table = records.appliances
    values = {"site_id": registration.site_id, "registration": msgspec.json.encode(registration)}
    statement = insert(table).values(id=registration.id, state=state.value, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=[table.c.id], set_=values))


async def set_state(session: AsyncSession, box_id: str, state: ApplianceState) -> None:
    table = records.appliances
    await session.execute(update(table).where(table.c.id == box_id).values(state=state.value))


async def drop_box(session: AsyncSession, box_id: str) -> None:
    await session.execute(delete(records.appliances).where(records.appliances.c.id == box_id))


async def put_origin(session: AsyncSession, origin: FallbackOrigin) -> None:
    table = records.origins
    statement = insert(table).values(name=origin.name, document=msgspec.json.encode(origin))
    statement = statement.on_conflict_do_update(
        index_elements=[table.c.name], set_={"document": statement.excluded.document}
    )
    await session.execute(statement)


async def load(session: AsyncSession) -> Registry:
    """The registry as the tables have it. Pulses are those of appliances that were never heard."""
    registry = Registry()
    for row in await session.execute(select(records.sites.c.document).order_by(records.sites.c.id)):
        registry.put_site(msgspec.json.decode(row.document, type=Site))
    for row in await session.execute(select(records.origins.c.document).order_by(records.origins.c.name)):
        registry.put_origin(msgspec.json.decode(row.document, type=FallbackOrigin))
    for row in await session.execute(select(records.appliances).order_by(records.appliances.c.id)):
        registration = msgspec.json.decode(row.registration, type=ApplianceRegistration)
        box = Box(registration, ApplianceState(row.state), serial=row.serial, reported_at=row.reported_at)
        if row.report is not None:
            box.report = msgspec.json.decode(row.report, type=ApplianceReport)
        box.reported = Reported({}, row.newest_boot, row.holdings_known)
        registry.boxes[box.id] = box
    await _load_lists(session, registry)
    await _load_catalogue(session, registry)
    await _load_plan(session, registry)
    counter = select(records.counters.c.value).where(records.counters.c.name == KEYS_NUMBER)
    registry.keys_number = int((await session.execute(counter)).scalar_one_or_none() or 0)
    return registry


async def _load_lists(session: AsyncSession, registry: Registry) -> None:
    boots: dict[str, dict[str, Boot]] = {}
    for row in await session.execute(select(records.boots)):
        boots.setdefault(row.appliance_id, {})[row.boot_id] = Boot(row.boot_id, row.started_at, row.sequence)
    for box_id, found in boots.items():
        box = registry.boxes[box_id]
        box.reported = Reported(found, box.reported.newest, box.reported.holdings_known)
    for row in await session.execute(select(records.holdings)):
        holding = Holding(row.key, row.present_bytes, row.size_bytes, row.pinned)
        registry.boxes[row.appliance_id].held[row.key] = holding
    for row in await session.execute(select(records.order_progress)):
        progress = msgspec.json.decode(row.document, type=OrderProgress)
        registry.boxes[row.appliance_id].progress[row.order_id] = progress


async def _load_catalogue(session: AsyncSession, registry: Registry) -> None:
    for row in await session.execute(select(records.titles.c.id, records.titles.c.facts)):
        registry.sizes[row.id] = CatalogueSize(1)
        registry.set_licence_end(msgspec.json.decode(row.facts, type=TitleFacts))
    for row in await session.execute(select(records.files.c.title_id, records.files.c.size_bytes)):
        size = registry.sizes[row.title_id]
        registry.sizes[row.title_id] = CatalogueSize(1, size.files + 1, size.total_bytes + row.size_bytes)


async def _load_plan(session: AsyncSession, registry: Registry) -> None:
    """Each appliance's newest plan that stands, then its newest of all."""
    summaries = select(records.plans.c.summary).order_by(records.plans.c.number)
    plans = [msgspec.json.decode(row.summary, type=PlanSummary) for row in await session.execute(summaries)]
    registry.plan = next((plan for plan in reversed(plans) if not plan.sites), None)
    told = await _newest_plans(session, [plan.number for plan in plans])
    standing = await _newest_plans(session, [plan.number for plan in plans if plan.stands])
    for box_id, plan in told.items():
        if (box := registry.boxes.get(box_id)) is not None:
            box.standing = standing.get(box_id)
            registry.set_plan(box, plan, stands=box.standing == plan)


async def _newest_plans(session: AsyncSession, numbers: list[int]) -> dict[str, AppliancePlan]:
    """Appliance → its newest among the plans of these numbers."""
    table = records.appliance_plans
    newest = (
        select(table.c.appliance_id, func.max(table.c.number).label("number"))
        .where(table.c.number.in_(numbers))
        .group_by(table.c.appliance_id)
        .subquery()
    )
    mine = (table.c.appliance_id == newest.c.appliance_id) & (table.c.number == newest.c.number)
    rows = await session.execute(select(table.c.appliance_id, table.c.document).join(newest, mine))
    return {row.appliance_id: msgspec.json.decode(row.document, type=AppliancePlan) for row in rows}
