"""What rows are made from, asked over HTTP and remembered: the region's shelf, its popularity, the profile's positions."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from chassis.client import ServiceClient
from chassis.clock import Clock
from companions.recommendation.asking import Known, LastKnown, Patience
from companions.recommendation.rows import Tastes
from contracts.catalogue import TitleList, TitleSummary
from contracts.viewing import Popular, Positions

CATALOG = "catalog"
POSITIONS = "playback-positions"
POPULARITY = "playback-popularity"
Shelf = tuple[TitleSummary, ...]


@dataclass(frozen=True, slots=True)
class Gathered:
    """What is known, and the names of what could not be asked."""

    tastes: Tastes
    degraded: tuple[str, ...]


class Sources:
    def __init__(
        self, catalog: ServiceClient, playback: ServiceClient, patience: Patience, clock: Clock, *, shelf_titles: int
    ) -> None:
        self._catalog = catalog
        self._playback = playback
        self._shelf_titles = shelf_titles
        self._shelves: LastKnown[str, Shelf] = LastKnown(CATALOG, patience, clock)
        self._popular: LastKnown[str, Popular] = LastKnown(POPULARITY, patience, clock)
        mine = Patience(0.0, 0.0, patience.pause_s, patience.limit)
        self._positions: LastKnown[str, Positions] = LastKnown(POSITIONS, mine, clock)

    async def gather(self, region: str, profile_id: str, authorization: str) -> Gathered:
        """All three at the same time. `authorization` is the member's own header: positions are the member's."""
        shelf, popular, positions = await asyncio.gather(
            self._shelves.get(region, lambda: self._ask_shelf(region)),
            self._popular.get(region, lambda: self._playback.get("/v1/popular", Popular, query={"region": region})),
            self._positions.get(profile_id, lambda: self._ask_positions(profile_id, authorization)),
        )
        named: tuple[tuple[str, Known[Shelf] | Known[Popular] | Known[Positions]], ...] = (
            (CATALOG, shelf),
            (POSITIONS, positions),
            (POPULARITY, popular),
        )
        tastes = Tastes(
            shelf=shelf.value or (),
            popular=popular.value.titles if popular.value else (),
            positions=positions.value.positions if positions.value else (),
        )
        return Gathered(tastes, tuple(name for name, known in named if known.degraded))

    async def close(self) -> None:
        await asyncio.gather(self._shelves.close(), self._popular.close(), self._positions.close())

    async def _ask_shelf(self, region: str) -> Shelf:
        titles: list[TitleSummary] = []
        page = ""
        while len(titles) < self._shelf_titles:
            query = {"region": region, "page": page}
            answer = await self._catalog.get("/v1/titles", TitleList, query=query)
            titles += answer.titles
            page = answer.next_page
            if not page:
                break
        return tuple(titles[: self._shelf_titles])

    async def _ask_positions(self, profile_id: str, authorization: str) -> Positions:
        path = f"/v1/profiles/{profile_id}/positions"
        return await self._playback.get(path, Positions, headers={"Authorization": authorization})
