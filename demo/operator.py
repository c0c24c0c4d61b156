"""The operator's hands in the demo: the control plane's and the origin's HTTP APIs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import httpx
import msgspec

from contracts.overview import Overview
from contracts.places import ApplianceRegistration, Site, StateChange
from contracts.plans import PlacementExplanation, PlanSummary
from contracts.reports import FileTraffic, TrafficImport
from player.membership import Refused, problem_of

T = TypeVar("T")
IMPORT_ROWS = 2000


class Operator:
    """Close with `aclose`. Raises player.membership.Refused with the service's problem."""

    def __init__(self, control_plane: str, token: str) -> None:
        self._base = control_plane
        self._client = httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60.0)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def put_site(self, site: Site) -> None:
        await self._send("PUT", f"/v1/sites/{site.id}", site)

    async def put_appliance(self, registration: ApplianceRegistration) -> None:
        await self._send("PUT", f"/v1/appliances/{registration.id}", registration)

    async def put_state(self, appliance_id: str, change: StateChange) -> None:
        """Asks for another state of an appliance: drain, drained, maintenance, live, retired."""
        await self._send("POST", f"/v1/appliances/{appliance_id}/state", change)

    async def overview(self) -> Overview:
        return msgspec.json.decode(await self._send("GET", "/v1/overview"), type=Overview)

    async def import_traffic(self, site_id: str, rows: Sequence[FileTraffic]) -> None:
        for first in range(0, len(rows), IMPORT_ROWS):
            body = TrafficImport(tuple(rows[first : first + IMPORT_ROWS]))
            await self._send("POST", f"/v1/sites/{site_id}/traffic", body)

    async def make_plan(self) -> PlanSummary:
        return msgspec.json.decode(await self._send("POST", "/v1/plans"), type=PlanSummary)

    async def explain(self, key: str, site_id: str) -> PlacementExplanation:
        query = httpx.QueryParams({"key": key, "site": site_id})
        return msgspec.json.decode(
            await self._send("GET", f"/v1/plans/latest/explain?{query}"), type=PlacementExplanation
        )

    async def _send(self, method: str, path: str, body: msgspec.Struct | None = None) -> bytes:
        content = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        response = await self._client.request(method, self._base + path, content=content, headers=headers)
        if response.status_code >= 400:
            raise Refused(problem_of(response))
        return response.content


def read_token(file: Path) -> str:
    return file.read_text().strip()
