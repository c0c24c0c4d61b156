"""What appliances send and fetch of their names, and what operators see and ask."""

from __future__ import annotations

from chassis.auth import Operator, SecretGuard
from chassis.routes import Call, Routes
from contracts.names import ApplianceName, NameFacts, NameList, NameRequest
from control_plane.access import ApplianceGuard
from control_plane.names.desk import NameDesk
from control_plane.registry import Box

MAX_REQUEST_BYTES = 32 * 1024


class NameApi:
    """Handlers; `add_inside` is the table of appliances, `add_to` that of operators."""

    def __init__(self, names: NameDesk) -> None:
        self._names = names

    def add_inside(self, routes: Routes) -> None:
        box = ApplianceGuard(self._names.desk.registry)
        routes.get("/v1/appliance/name", self.told, summary="Host name and chain of the calling appliance", guard=box)
        routes.post(
            "/v1/appliance/name",
            self.take,
            summary="A signing request for the calling appliance's name",
            guard=box,
            max_body_bytes=MAX_REQUEST_BYTES,
        )

    def add_to(self, routes: Routes, operator: SecretGuard) -> None:
        routes.get("/v1/names", self.listed, summary="Public host names and their certificates", guard=operator)
        routes.post(
            "/v1/names/{box_id}/order",
            self.order,
            summary="Order a certificate now, not when it is due",
            guard=operator,
        )

    async def told(self, call: Call[None]) -> ApplianceName:
        return self._names.told(call.who(Box))

    async def take(self, call: Call[NameRequest]) -> ApplianceName:
        return await self._names.take(call.who(Box), call.body)

    async def listed(self, call: Call[None]) -> NameList:
        return self._names.listed()

    async def order(self, call: Call[None]) -> NameFacts:
        return await self._names.order_now(call.path["box_id"], call.who(Operator).name)
