"""What operators call about triggers on the `http` listener, with their token."""

from __future__ import annotations

from typing import Annotated

import msgspec

from chassis.auth import Operator, SecretGuard
from chassis.routes import Call, Routes
from contracts.triggers import TriggerList, TriggerRequest, TriggerStatus
from control_plane.errors import unknown
from control_plane.triggers import TriggerDesk


class TriggerListQuery(msgspec.Struct, frozen=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50


class TriggerApi:
    """Handlers; `add_to` is their table."""

    def __init__(self, triggers: TriggerDesk) -> None:
        self._triggers = triggers

    def add_to(self, routes: Routes, operator: SecretGuard) -> None:
        routes.post(
            "/v1/triggers", self.make, summary="Purge or invalidate on every appliance", guard=operator, status=201
        )
        routes.get(
            "/v1/triggers", self.listed, summary="Triggers and who has applied them, newest first", guard=operator
        )
        routes.get("/v1/triggers/{number}", self.status, summary="One trigger", guard=operator)

    async def make(self, call: Call[TriggerRequest]) -> TriggerStatus:
        return await self._triggers.make(call.body, call.who(Operator).name)

    async def listed(self, call: Call[None, TriggerListQuery]) -> TriggerList:
        return await self._triggers.listed(call.query.limit)

    async def status(self, call: Call[None]) -> TriggerStatus:
        text = call.path["number"]
        if not text.isdecimal():
            raise unknown("trigger", text)
        return await self._triggers.status(int(text))
