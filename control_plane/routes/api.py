"""What appliances report of their BGP sessions, and what operators ask and say about routes."""

from __future__ import annotations

from typing import Annotated

import msgspec

from chassis.auth import Operator, SecretGuard
from chassis.errors import ProblemError
from chassis.routes import Call, Routes
from contracts.problems import ProblemCode
from contracts.routes import (
    InconsistencyList,
    LonelyList,
    QuarantineList,
    RouteAnswer,
    RouteImport,
    RouteList,
    RoutePolicy,
    RouteReport,
    SourceFacts,
    SourceList,
)
from control_plane.access import ApplianceGuard
from control_plane.registry import Box
from control_plane.routes import explorer
from control_plane.routes.book import EVERY_SOURCE
from control_plane.routes.desk import RouteDesk

MAX_REPORT_BYTES = 64 * 1024 * 1024
Limit = Annotated[int, msgspec.Meta(ge=1, le=100_000)]


class RouteQuery(msgspec.Struct, frozen=True):
    """`q`: an address or a prefix; those around it and in it are meant. `site`: only what its sources say."""

    q: str = ""
    site: str = ""
    limit: Limit = 1000


class SiteQuery(msgspec.Struct, frozen=True):
    site: str = ""
    limit: Limit = 1000


class PolicyQuery(msgspec.Struct, frozen=True):
    """`source`: APPLIANCE/SESSION or the name of an import; empty for all of the site that have no policy of their own."""

    source: str = EVERY_SOURCE


class SourceQuery(msgspec.Struct, frozen=True):
    id: str


class RouteApi:
    """Handlers; `add_inside` is the table of appliances, `add_to` that of operators."""

    def __init__(self, routes: RouteDesk) -> None:
        self._routes = routes

    def add_inside(self, routes: Routes) -> None:
        box = ApplianceGuard(self._routes.desk.registry)
        routes.post(
            "/v1/appliance/routes",
            self.report,
            summary="What a BGP session of the calling appliance hears",
            guard=box,
            max_body_bytes=MAX_REPORT_BYTES,
        )

    def add_to(self, routes: Routes, operator: SecretGuard) -> None:
        routes.get("/v1/routes", self.routes, summary="Which prefix comes from where", guard=operator)
        routes.get("/v1/routes/sources", self.sources, summary="Sources of routes and how they are", guard=operator)
        routes.delete("/v1/routes/sources", self.drop, summary="Forget a source", guard=operator)
        routes.get("/v1/routes/quarantine", self.quarantine, summary="Routes not taken, and why", guard=operator)
        routes.get(
            "/v1/routes/inconsistent",
            self.inconsistent,
            summary="What boxes of one cluster do not hear alike",
            guard=operator,
        )
        routes.get("/v1/routes/lonely", self.lonely, summary="Prefixes without an alternative source", guard=operator)
        routes.put(
            "/v1/sites/{site_id}/routes/{name}",
            self.put_import,
            summary="Import routes of a site; what the import said before is replaced",
            guard=operator,
            max_body_bytes=MAX_REPORT_BYTES,
        )
        routes.put(
            "/v1/sites/{site_id}/route-policy", self.put_policy, summary="What sources may announce", guard=operator
        )
        routes.delete(
            "/v1/sites/{site_id}/route-policy", self.drop_policy, summary="Take a policy back", guard=operator
        )

    async def report(self, call: Call[RouteReport]) -> RouteAnswer:
        return await self._routes.take(call.who(Box), call.body)

    async def routes(self, call: Call[None, RouteQuery]) -> RouteList:
        query, registry = call.query, self._routes.desk.registry
        try:
            return await self._routes.explored(
                explorer.routes, registry.routes, registry.sites, query.q, query.site, query.limit
            )
        except explorer.QueryError as error:
            raise ProblemError(ProblemCode.BAD_QUERY, f"q: {error}") from error

    async def sources(self, call: Call[None, SiteQuery]) -> SourceList:
        found = [s for s in self._routes.book.sources.values() if call.query.site in ("", s.site_id)]
        found.sort(key=lambda source: (source.site_id, source.id))
        return SourceList(tuple(self._routes.facts(source) for source in found[: call.query.limit]))

    async def drop(self, call: Call[None, SourceQuery]) -> None:
        await self._routes.drop_source(call.query.id, call.who(Operator).name)

    async def quarantine(self, call: Call[None, SiteQuery]) -> QuarantineList:
        return await self._routes.explored(explorer.quarantine, self._routes.book, call.query.site, call.query.limit)

    async def inconsistent(self, call: Call[None, SiteQuery]) -> InconsistencyList:
        boxes = self._routes.desk.registry.boxes.values()
        places = {
            box.id: (box.site_id, box.registration.manifest_cluster)
            for box in boxes
            if call.query.site in ("", box.site_id)
        }
        return await self._routes.explored(explorer.inconsistencies, self._routes.book, places, call.query.limit)

    async def lonely(self, call: Call[None, SiteQuery]) -> LonelyList:
        registry = self._routes.desk.registry
        query = call.query
        return await self._routes.explored(explorer.lonely, registry.routes, registry.sites, query.site, query.limit)

    async def put_import(self, call: Call[RouteImport]) -> SourceFacts:
        site_id, name = call.path["site_id"], call.path["name"]
        return await self._routes.put_import(site_id, name, call.body, call.who(Operator).name)

    async def put_policy(self, call: Call[RoutePolicy, PolicyQuery]) -> RoutePolicy:
        site_id, name = call.path["site_id"], call.query.source
        return await self._routes.put_policy(site_id, name, call.body, call.who(Operator).name)

    async def drop_policy(self, call: Call[None, PolicyQuery]) -> RoutePolicy:
        site_id, name = call.path["site_id"], call.query.source
        return await self._routes.put_policy(site_id, name, None, call.who(Operator).name)
