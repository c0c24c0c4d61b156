"""Telling control plane and catalog of titles, and both of them of withdrawals.

Order: the control plane first (it signs the digests that fills verify against), the catalog second (members see a title
only when it can be filled). A withdrawal goes the other way round. Every call is idempotent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from chassis.auth import read_secret
from chassis.client import ServiceClient
from chassis.enrolment import is_enrolled, kept_files
from chassis.errors import ServiceError, Source
from chassis.tls import client_context
from contracts.catalogue import Title
from contracts.world import FallbackOrigin
from origin.config import OriginSettings
from origin.errors import StageFailed


class Announcer(Protocol):
    """Both methods raise StageFailed until everybody has taken the news."""

    async def announce(self, title: Title) -> None: ...

    async def withdraw(self, title_id: str) -> None: ...


class HttpAnnouncer:
    """The announcer of a configured origin."""

    def __init__(self, settings: OriginSettings, now: Callable[[], float]) -> None:
        self._settings = settings
        self._now = now

    async def announce(self, title: Title) -> None:
        path = f"/v1/titles/{title.facts.id}"
        async with self._told("the control plane"), control_plane_client(self._settings, self._now) as client:
            if client is not None:
                await client.put(path, title)
        async with self._told("the catalog"), self._catalog() as client:
            if client is not None:
                await client.put(path, title)

    async def withdraw(self, title_id: str) -> None:
        path = f"/v1/titles/{title_id}"
        async with self._told("the catalog"), self._catalog() as client:
            if client is not None:
                await _delete(client, path)
        async with self._told("the control plane"), control_plane_client(self._settings, self._now) as client:
            if client is not None:
                await _delete(client, path)

    @asynccontextmanager
    async def _told(self, who: str) -> AsyncIterator[None]:
        try:
            yield
        except ServiceError as error:
            raise StageFailed(f"{who} has not taken the news: {error}", Source.UPSTREAM) from error

    @asynccontextmanager
    async def _catalog(self) -> AsyncIterator[ServiceClient | None]:
        catalog = self._settings.catalog
        if not catalog.url:
            yield None
            return
        bearer = read_secret(catalog.secret_file) if catalog.secret_file else None
        async with ServiceClient(catalog.url, bearer=bearer) as client:
            yield client


@asynccontextmanager
async def control_plane_client(
    settings: OriginSettings, now: Callable[[], float]
) -> AsyncIterator[ServiceClient | None]:
    """A client with the origin's certificate; None when no control plane is configured. Raises StageFailed before
    enrolment."""
    if not settings.control_plane.url:
        yield None
        return
    if not is_enrolled(settings.identity, now()):
        raise StageFailed("the origin has no valid certificate yet: start `lowtide origin run`")
    files = kept_files(settings.identity)
    async with ServiceClient(settings.control_plane.url, ssl=client_context(files=files)) as client:
        yield client


async def register(client: ServiceClient, name: str, player_url: str, mtls_url: str) -> None:
    """Tells the control plane where this origin is reached. Raises ServiceError."""
    await client.put("/v1/origin", FallbackOrigin(name, player_url, mtls_url))


async def _delete(client: ServiceClient, path: str) -> None:
    """A title that is not known there is gone already."""
    try:
        await client.delete(path)
    except ServiceError as error:
        if error.status != 404:
            raise
