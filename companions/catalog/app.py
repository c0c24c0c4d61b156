"""Composition of the catalog."""

from __future__ import annotations

from chassis.auth import SecretGuard, read_or_make_secret
from chassis.database import Database
from chassis.https import door_of
from chassis.service import Listener, Service, Tcp
from chassis.web import Cors, build_app
from companions.catalog.api import CatalogApi, PageSizes
from companions.catalog.config import Catalog
from companions.catalog.records import METADATA, SCHEMA_VERSION, Records


async def compose(service: Service, settings: Catalog, listener: str = "http") -> None:
    """Adds the catalog to a service process under a listener's name."""
    secret = read_or_make_secret(settings.secret_file)
    database = await service.enter(Database.open(settings.database, METADATA, schema_version=SCHEMA_VERSION))
    service.health.add_check("catalog-database", database.check)
    api = CatalogApi(
        Records(database),
        service.clock,
        PageSizes(settings.page_titles, settings.search_titles),
        service.metrics.gauge("lowtide_catalog_titles", "Titles in the catalog"),
    )
    await api.measure()
    app = build_app(
        api.routes(SecretGuard(secret, scheme="publisher")),
        metrics=service.metrics,
        health=service.health,
        cors=Cors(settings.http.cors_origins),
        listener=listener,
    )
    https = door_of(settings.http.https)
    service.listen(Listener(listener, app, Tcp(settings.http.host, settings.http.port), https=https))
