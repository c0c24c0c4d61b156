"""What processes of steering remember of plays, asked over HTTP: all of them, since each knows only what it decided itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from chassis.client import ServiceClient
from chassis.errors import ServiceError
from contracts.plays import MeantHour, MeantList, PlayList, PlaySearch, PlayTold
from contracts.problems import ProblemCode

NOBODY = "no process of steering is configured (steering.urls)"
T = TypeVar("T")


class SteeringDesk:
    """`clients` are of one process of steering each. One that does not answer is named, and the others are believed."""

    def __init__(self, clients: Sequence[ServiceClient], timeout_s: float) -> None:
        self._clients = clients
        self._timeout_s = timeout_s

    async def plays(self, search: PlaySearch) -> PlayList:
        """The newest plays that any process decided. Raises ServiceError with a refusal of the search itself."""
        query = {name: value for name, value in msgspec.to_builtins(search).items() if value != ""}
        answers, silent = await self._all("/v1/plays", PlayList, query)
        found = sorted((play for answer in answers for play in answer.plays), key=lambda play: play.time, reverse=True)
        return PlayList(
            tuple(found[: search.limit]),
            since=max((answer.since for answer in answers), default=search.since),
            until=max((answer.until for answer in answers), default=search.until),
            whole=len(found) <= search.limit and all(answer.whole for answer in answers),
            unread=sum(answer.unread for answer in answers),
            silent=silent,
        )

    async def told(self, play: str, since: str = "") -> PlayTold:
        """What is known of a session; nothing where nobody knows it. Raises ServiceError with a refusal of `since`."""
        query = {"play": play} | ({"since": since} if since else {})
        answers, silent = await self._all("/v1/plays/told", PlayTold, query, has_all=False)
        told = [one for answer in answers for one in answer.told]
        return PlayTold(tuple(sorted(told, key=lambda one: one.decision.time)), silent)

    async def meant(self) -> tuple[list[MeantHour], tuple[str, ...]]:
        """(hours of all processes, each as it counted them; who is silent)."""
        answers, silent = await self._all("/v1/meant", MeantList, {})
        return [hour for answer in answers for hour in answer.hours], silent

    async def _all(
        self, path: str, kind: type[T], query: Mapping[str, str | int], *, has_all: bool = True
    ) -> tuple[list[T], tuple[str, ...]]:
        """What answered, and who did not. Where not `has_all`, who knows nothing of it (404) is not silent."""
        if not self._clients:
            return [], (NOBODY,)
        asked = [client.get(path, kind, query=query, timeout_s=self._timeout_s) for client in self._clients]
        answers: list[T] = []
        silent: list[str] = []
        for found in await asyncio.gather(*asked, return_exceptions=True):
            if not isinstance(found, BaseException):
                answers.append(found)
            elif not isinstance(found, ServiceError) or _is_refused(found):
                raise found
            elif has_all or found.status != 404:
                silent.append(str(found))
        return answers, tuple(silent)


def _is_refused(error: ServiceError) -> bool:
    """Whether it is the question that was wrong."""
    return error.problem is not None and error.problem.type == ProblemCode.BAD_QUERY.type_uri
