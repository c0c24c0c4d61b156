"""What operators call on the `http` listener, with their token."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from chassis.auth import Operator, SecretGuard
from chassis.routes import Answer, Call, Routes
from contracts.enrolment import CodeAnswer, CodeRequest
from contracts.keys import KeyEnding, KeySet, PublicKey, Revocation, RevocationList, RevocationRequest
from contracts.overview import AuditList, FileList, ImportAnswer, Overview
from contracts.places import Appliance, ApplianceList, ApplianceRegistration, Site, SiteList, StateChange
from contracts.plans import PlacementExplanation, PlanCause, PlanList, PlanSummary
from contracts.reports import NetworkList, TrafficImport
from control_plane.archive import access as access_archive
from control_plane.archive import catalogue as catalogue_archive
from control_plane.archive import plans as plan_archive
from control_plane.archive import reports as report_archive
from control_plane.desk import Desk
from control_plane.enrolling import Enrolling
from control_plane.errors import unknown
from control_plane.keys import Keys
from control_plane.names.desk import NameDesk
from control_plane.operators import Operators
from control_plane.overview import overview
from control_plane.planning import Planning
from control_plane.reporting import Reporting
from control_plane.revocations import Revocations
from fill_planner.snapshot import PlanningSnapshot

MAX_IMPORT_BYTES = 256 * 1024 * 1024


class FileQuery(msgspec.Struct, frozen=True):
    """`q`: part of the key."""

    q: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 10_000


class ExplainQuery(msgspec.Struct, frozen=True):
    """`cluster` only where a site has more than one manifest cluster; else the first by name is explained."""

    key: str
    site: str
    cluster: str | None = None


class PlanQuery(msgspec.Struct, frozen=True):
    """`site`: only this one is planned; the others keep their plans."""

    site: str | None = None


class NetworkQuery(msgspec.Struct, frozen=True):
    """`days`: whole days (UTC) back, today included."""

    days: Annotated[int, msgspec.Meta(ge=1, le=3660)] = 7
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100


class AuditQuery(msgspec.Struct, frozen=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100


class OperatorApi:
    """Handlers; `add_to` is their table."""

    def __init__(
        self,
        desk: Desk,
        operators: Operators,
        enrolling: Enrolling,
        reporting: Reporting,
        planning: Planning,
        keys: Keys,
        revocations: Revocations,
        names: NameDesk,
    ) -> None:
        self._desk = desk
        self._operators = operators
        self._enrolling = enrolling
        self._reporting = reporting
        self._planning = planning
        self._keys = keys
        self._revocations = revocations
        self._names = names

    def add_to(self, routes: Routes, operator: SecretGuard) -> None:
        self._add_places(routes, operator)
        routes.post("/v1/enrolment-codes", self.make_code, summary="Make a one-time code", guard=operator, status=201)
        routes.get("/v1/keys", self.keys, summary="Public keys that have not ended", guard=operator)
        routes.post("/v1/keys/{kid}/end", self.end_key, summary="Say when a key ends", guard=operator)
        routes.get("/v1/revocations", self.revoked, summary="Sessions whose tokens open nothing", guard=operator)
        routes.post("/v1/revocations", self.revoke, summary="Revoke a session", guard=operator, status=201)
        routes.delete("/v1/revocations/{session}", self.restore, summary="Take a revocation back", guard=operator)
        routes.get("/v1/files", self.files, summary="Published files, by part of their key", guard=operator)
        routes.post("/v1/plans", self.make_plan, summary="Make tonight's plan now", guard=operator, status=201)
        routes.get("/v1/plans", self.plans, summary="Plans, newest first", guard=operator)
        routes.get("/v1/plans/latest", self.latest, summary="The plan in force", guard=operator)
        routes.get("/v1/plans/snapshot", self.snapshot, summary="What a plan would be made from now", guard=operator)
        routes.get(
            "/v1/plans/latest/explain", self.explain, summary="Why a file is or is not at a site", guard=operator
        )
        routes.get("/v1/overview", self.overview, summary="All that the operator page shows", guard=operator)
        routes.get("/v1/audit", self.audit, summary="What operators changed, newest first", guard=operator)

    def _add_places(self, routes: Routes, operator: SecretGuard) -> None:
        routes.get("/v1/sites", self.sites, summary="All sites", guard=operator)
        routes.get("/v1/sites/{site_id}", self.site, summary="One site", guard=operator)
        routes.put("/v1/sites/{site_id}", self.put_site, summary="Make or change a site", guard=operator)
        routes.delete("/v1/sites/{site_id}", self.drop_site, summary="Delete a site without appliances", guard=operator)
        routes.post(
            "/v1/sites/{site_id}/traffic",
            self.import_traffic,
            summary="Import traffic of the past; repeating an import replaces it",
            guard=operator,
            max_body_bytes=MAX_IMPORT_BYTES,
        )
        routes.get("/v1/sites/{site_id}/networks", self.networks, summary="Bytes by client network", guard=operator)
        routes.get("/v1/appliances", self.appliances, summary="All appliances", guard=operator)
        routes.get("/v1/appliances/{box_id}", self.appliance, summary="One appliance", guard=operator)
        routes.put("/v1/appliances/{box_id}", self.put_appliance, summary="Register or change one", guard=operator)
        routes.delete("/v1/appliances/{box_id}", self.drop_appliance, summary="Delete a retired one", guard=operator)
        routes.post("/v1/appliances/{box_id}/state", self.change_state, summary="Ask for another state", guard=operator)

    async def sites(self, call: Call[None]) -> SiteList:
        return SiteList(tuple(self._desk.registry.sites.values()))

    async def site(self, call: Call[None]) -> Site:
        site = self._desk.registry.sites.get(call.path["site_id"])
        if site is None:
            raise unknown("site", call.path["site_id"])
        return site

    async def put_site(self, call: Call[Site]) -> Site:
        return await self._operators.put_site(call.path["site_id"], call.body, _who(call))

    async def drop_site(self, call: Call[None]) -> None:
        await self._operators.drop_site(call.path["site_id"], _who(call))

    async def import_traffic(self, call: Call[TrafficImport]) -> ImportAnswer:
        return ImportAnswer(*await self._reporting.take_import(call.path["site_id"], call.body, _who(call)))

    async def networks(self, call: Call[None, NetworkQuery]) -> NetworkList:
        site_id = call.path["site_id"]
        if site_id not in self._desk.registry.sites:
            raise unknown("site", site_id)
        since = self._desk.calendar.wall_s() - (call.query.days - 1) * report_archive.DAY_S
        async with self._desk.database.read() as session:
            return await report_archive.networks(session, site_id, since, call.query.limit)

    async def appliances(self, call: Call[None]) -> ApplianceList:
        return ApplianceList(tuple(box.appliance() for box in self._desk.registry.boxes.values()))

    async def appliance(self, call: Call[None]) -> Appliance:
        return self._operators.box(call.path["box_id"]).appliance()

    async def put_appliance(self, call: Call[ApplianceRegistration]) -> Appliance:
        return await self._operators.put_appliance(call.path["box_id"], call.body, _who(call))

    async def drop_appliance(self, call: Call[None]) -> None:
        await self._operators.drop_appliance(call.path["box_id"], _who(call))

    async def change_state(self, call: Call[StateChange]) -> Appliance:
        return await self._operators.change_state(call.path["box_id"], call.body, _who(call))

    async def make_code(self, call: Call[CodeRequest]) -> Answer[CodeAnswer]:
        answer = await self._enrolling.make_code(call.body, _who(call))
        return Answer(answer, 201, {"Cache-Control": "no-store"})

    async def keys(self, call: Call[None]) -> KeySet:
        return self._keys.current()

    async def end_key(self, call: Call[KeyEnding]) -> PublicKey:
        return await self._keys.end(call.path["kid"], call.body, _who(call))

    async def revoked(self, call: Call[None]) -> RevocationList:
        return RevocationList(self._revocations.current())

    async def revoke(self, call: Call[RevocationRequest]) -> Revocation:
        return await self._revocations.revoke(call.body, _who(call))

    async def restore(self, call: Call[None]) -> None:
        await self._revocations.restore(call.path["session"], _who(call))

    async def files(self, call: Call[None, FileQuery]) -> FileList:
        async with self._desk.database.read() as session:
            return FileList(await catalogue_archive.facts(session, call.query.q, call.query.limit))

    async def make_plan(self, call: Call[None, PlanQuery]) -> PlanSummary:
        site_id = call.query.site
        if site_id is not None and site_id not in self._desk.registry.sites:
            raise unknown("site", site_id)
        summary = await self._planning.make(PlanCause.ASKED, (site_id,) if site_id is not None else ())
        async with self._desk.alone(), self._desk.archive() as session:
            now = self._desk.clock.wall_s()
            await access_archive.note(session, now, _who(call), "make-plan", str(summary.number))
        return summary

    async def plans(self, call: Call[None]) -> PlanList:
        async with self._desk.database.read() as session:
            return PlanList(await plan_archive.summaries(session))

    async def latest(self, call: Call[None]) -> PlanSummary:
        if self._desk.registry.plan is None:
            raise unknown("plan", "latest")
        return self._desk.registry.plan

    async def snapshot(self, call: Call[None]) -> PlanningSnapshot:
        return await self._planning.snapshot()

    async def explain(self, call: Call[None, ExplainQuery]) -> PlacementExplanation:
        return await self._planning.explain(call.query.key, call.query.site, call.query.cluster)

    async def overview(self, call: Call[None]) -> Overview:
        async with self._desk.database.read() as session:
            sums = await report_archive.sums(session)
        names = {name.appliance_id: name for name in self._names.listed().names}
        return overview(self._desk.registry, sums, self._desk.log.number, self._desk.clock.wall_s(), names)

    async def audit(self, call: Call[None, AuditQuery]) -> AuditList:
        async with self._desk.database.read() as session:
            return AuditList(await access_archive.audit(session, call.query.limit))


def _who(call: Call[Any, Any]) -> str:
    return call.who(Operator).name
