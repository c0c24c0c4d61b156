"""Composition of recommendation."""

from __future__ import annotations

from chassis.auth import member_guard
from chassis.client import ServiceClient
from chassis.https import door_of
from chassis.service import Listener, Service, Tcp
from chassis.web import Cors, build_app
from companions.recommendation.api import RecommendationApi
from companions.recommendation.asking import Patience
from companions.recommendation.config import Recommendation
from companions.recommendation.rows import Shape
from companions.recommendation.sources import CATALOG, POPULARITY, POSITIONS, Sources


async def compose(service: Service, settings: Recommendation, listener: str = "http") -> None:
    """Adds recommendation to a service process under a listener's name."""
    clock = service.clock
    auth = await service.enter(ServiceClient(settings.auth_url, clock=clock))
    catalog = await service.enter(ServiceClient(settings.catalog_url, timeout_s=settings.timeout_s, clock=clock))
    playback = await service.enter(ServiceClient(settings.playback_url, timeout_s=settings.timeout_s, clock=clock))
    patience = Patience(settings.fresh_s, settings.stale_s, settings.pause_s, settings.remembered)
    sources = Sources(catalog, playback, patience, clock, shelf_titles=settings.shelf_titles)
    service.on_close(sources.close)
    degraded = service.metrics.counter(
        "lowtide_recommendation_degraded_total", "Home pages made without asking, by what did not answer", ("question",)
    )
    for name in (CATALOG, POSITIONS, POPULARITY):
        degraded.labels(name)
    api = RecommendationApi(sources, Shape(settings.row_titles, settings.because_rows), degraded)
    app = build_app(
        api.routes(member_guard(auth, clock=clock)),
        metrics=service.metrics,
        health=service.health,
        cors=Cors(settings.http.cors_origins),
        listener=listener,
    )
    https = door_of(settings.http.https)
    service.listen(Listener(listener, app, Tcp(settings.http.host, settings.http.port), https=https))
