"""What appliances call on the `mtls` listener, and what everybody with a certificate may read there."""

from __future__ import annotations

import msgspec

from chassis.auth import AnyOf, PeerGuard
from chassis.routes import Call, Routes
from contracts.digests import SignedDigests
from contracts.enrolment import CaAnswer, EnrolAnswer, EnrolRequest, PeerKind
from contracts.keys import KeySet
from contracts.plans import AppliancePlan, Upstreams
from contracts.reports import ApplianceReport, ReportAnswer
from contracts.triggers import Triggers, TriggersApplied
from control_plane.access import ApplianceGuard
from control_plane.enrolling import Enrolling
from control_plane.errors import unknown
from control_plane.heartbeats import Heartbeats
from control_plane.keys import Keys
from control_plane.registry import Box
from control_plane.reporting import Reporting
from control_plane.triggers import TriggerDesk
from control_plane.upstreams import parents

MAX_REPORT_BYTES = 64 * 1024 * 1024


class KeyQuery(msgspec.Struct, frozen=True):
    """The cache key of a file."""

    key: str


class TriggerQuery(msgspec.Struct, frozen=True):
    """The number of the last trigger that the caller has applied."""

    after: int = 0


class ApplianceApi:
    """Handlers; `add_to` is their table."""

    def __init__(
        self, enrolling: Enrolling, reporting: Reporting, keys: Keys, heartbeats: Heartbeats, triggers: TriggerDesk
    ) -> None:
        self._enrolling = enrolling
        self._reporting = reporting
        self._keys = keys
        self._heartbeats = heartbeats
        self._triggers = triggers
        self._desk = reporting.desk

    def add_to(self, routes: Routes) -> None:
        box = ApplianceGuard(self._desk.registry)
        anybody = AnyOf(box, PeerGuard(PeerKind.SERVICE))
        routes.get("/v1/ca", self.ca, summary="The CA's certificate; compare it with the code's fingerprint")
        routes.post("/v1/enrol", self.enrol, summary="Trade a one-time code for a certificate")
        routes.raw(
            "GET",
            "/v1/appliance/heartbeat",
            self._heartbeats.handle,
            summary="WebSocket: Heartbeat up every second, Nudge down at connect and on change",
            guard=box,
            content_type="application/json",
        )
        routes.post(
            "/v1/appliance/report",
            self.report,
            summary="What an appliance sees and served since its last report",
            guard=box,
            max_body_bytes=MAX_REPORT_BYTES,
        )
        routes.get("/v1/appliance/plan", self.plan, summary="The plan of the calling appliance", guard=box)
        routes.get("/v1/appliance/triggers", self.triggers, summary="What is to be purged, above a number", guard=box)
        routes.post("/v1/appliance/triggers", self.applied, summary="Up to where the caller has purged", guard=box)
        routes.get("/v1/upstreams", self.upstreams, summary="Whom the calling appliance asks on a miss", guard=box)
        routes.get("/v1/keys", self.keys, summary="All public keys", guard=anybody)
        routes.get("/v1/digests", self.digests, summary="The signed block digests of one file", guard=anybody)

    async def ca(self, call: Call[None]) -> CaAnswer:
        return self._enrolling.ca()

    async def enrol(self, call: Call[EnrolRequest]) -> EnrolAnswer:
        return await self._enrolling.enrol(call.body)

    async def report(self, call: Call[ApplianceReport]) -> ReportAnswer:
        return await self._reporting.take(call.who(Box), call.body)

    async def plan(self, call: Call[None]) -> AppliancePlan:
        plan = call.who(Box).plan
        if plan is None:
            raise unknown("plan yet for appliance", call.who(Box).id)
        return await self._keys.with_credentials(plan)

    async def triggers(self, call: Call[None, TriggerQuery]) -> Triggers:
        return self._triggers.after(call.query.after)

    async def applied(self, call: Call[TriggersApplied]) -> None:
        await self._triggers.acknowledge(call.who(Box), call.body)

    async def upstreams(self, call: Call[None]) -> Upstreams:
        return Upstreams(self._desk.log.number, parents(self._desk.registry, call.who(Box)))

    async def keys(self, call: Call[None]) -> KeySet:
        return self._keys.current()

    async def digests(self, call: Call[None, KeyQuery]) -> SignedDigests:
        return await self._keys.digests(call.query.key)
