"""Stage one: footage goes in at the origin, titles come out published."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx
import msgspec

from contracts.catalogue import Licence, TitleFacts
from contracts.ingest import TitleState, TitleStatus, TitleStatusList
from demo.footage import Report, SourceTitle
from player.membership import Refused, problem_of

CHUNK = 1 << 20
POLL_S = 0.5


class NotPublished(Exception):
    """A title was rejected; the message carries the origin's reason."""


class Ingest:
    """The origin's ingest API. Close with `aclose`."""

    def __init__(self, origin: str, operator_token: str) -> None:
        headers = {"Authorization": f"Bearer {operator_token}"}
        self._client = httpx.AsyncClient(base_url=origin, headers=headers, timeout=60.0)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def known(self) -> dict[str, TitleStatus]:
        response = await self._client.get("/v1/titles")
        found = msgspec.json.decode(_checked(response).content, type=TitleStatusList)
        return {status.facts.id: status for status in found.titles}

    async def upload(self, title: SourceTitle, file: Path) -> None:
        """Creates a title and sends its source."""
        await self.create(title)
        await self.send(title.id, file)

    async def create(self, title: SourceTitle) -> None:
        facts = TitleFacts(
            title.id, title.name, title.synopsis, title.genres, year=title.year, licence=Licence(title.regions)
        )
        json_header = {"Content-Type": "application/json"}
        _checked(await self._client.post("/v1/titles", content=msgspec.json.encode(facts), headers=json_header))

    async def send(self, title_id: str, file: Path) -> None:
        headers = {"Content-Type": "video/mp4", "Content-Length": str(file.stat().st_size)}
        _checked(await self._client.put(f"/v1/titles/{title_id}/source", content=_pieces(file), headers=headers))


async def publish(
    ingest: Ingest, sources: Mapping[str, Path], titles: tuple[SourceTitle, ...], report: Report
) -> list[TitleStatus]:
    """Uploads what the origin does not know and returns when every title is published. Raises NotPublished."""
    known = await ingest.known()
    for title in titles:
        if title.id not in known:
            await ingest.upload(title, sources[title.id])
    while True:
        states = [state for state in (await ingest.known()).values() if state.facts.id in sources]
        for state in states:
            if state.state is TitleState.REJECTED:
                raise NotPublished(f"{state.facts.name}: {state.reason}")
        report(_what(states), sum(state.progress for state in states) / len(titles))
        if len(states) == len(titles) and all(state.state is TitleState.PUBLISHED for state in states):
            return states
        await asyncio.sleep(POLL_S)


def _what(states: list[TitleStatus]) -> str:
    busy = [state for state in states if state.state is not TitleState.PUBLISHED and state.stage_progress > 0]
    done = sum(state.state is TitleState.PUBLISHED for state in states)
    return f"{done} published" + (f", {busy[0].facts.name}: {busy[0].stage}" if busy else "")


async def _pieces(file: Path) -> AsyncIterator[bytes]:
    with file.open("rb") as source:
        while piece := await asyncio.to_thread(source.read, CHUNK):
            yield piece


def _checked(response: httpx.Response) -> httpx.Response:
    if response.status_code >= 400:
        raise Refused(problem_of(response))
    return response
