"""Composition of playback."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection
from functools import partial

from chassis.auth import member_guard
from chassis.client import ServiceClient
from chassis.clock import Clock
from chassis.database import Database
from chassis.https import door_of
from chassis.pages import add_pages
from chassis.service import Listener, Service, Tcp
from chassis.web import Cors, build_app
from companions.playback.api import ApiRules, PlaybackApi
from companions.playback.config import Log, Playback
from companions.playback.manifests import DASH, HLS, Manifests
from companions.playback.media_keys import KeyRegistration
from companions.playback.metrics import PlaybackMetrics
from companions.playback.playlog import LogFile, NoEvents, PlaybackEvents, PlayLog
from companions.playback.plays import Desk, PlayRules, Plays
from companions.playback.rankings import Rankings
from companions.playback.records import METADATA, SCHEMA_VERSION, Limits, Records
from companions.playback.titlebook import TitleBook
from companions.signing import OwnKey, load_or_make
from contracts.keys import KeyUse
from contracts.tokens.media import TokenFormat
from contracts.viewing import DemoNetwork, ViewerConfig

CONTENT_SECURITY = (
    "default-src 'self'; connect-src *; media-src * blob: data:; img-src * data:; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
"""Media, and the other services, come from anywhere; Shaka Player makes tracks of subtitles from `data:,WEBVTT`."""
COUNT_S = 5.0
SWEEP_S = 3600.0


async def compose(service: Service, settings: Playback, listener: str = "http") -> None:
    """Adds playback to a service process under a listener's name."""
    clock = service.clock
    metrics = PlaybackMetrics(service.metrics)
    key = load_or_make(settings.key_file, KeyUse.MEDIA)
    database = await service.enter(Database.open(settings.database, METADATA, schema_version=SCHEMA_VERSION))
    service.health.add_check("playback-database", database.check)
    limits = Limits(settings.sessions.ttl_s, settings.popularity.half_life_s, settings.popularity.repeat_s)
    records = Records(database, limits)
    _register_key(service, settings, key, metrics, records)
    asking = settings.asking
    auth = await service.enter(ServiceClient(settings.auth_url, clock=clock))
    catalog = ServiceClient(settings.catalog_url, timeout_s=asking.catalog_timeout_s, clock=clock)
    steering = ServiceClient(settings.steering_url, timeout_s=asking.steering_timeout_s, clock=clock)
    origin = await service.enter(ServiceClient(settings.origin_url, timeout_s=asking.origin_timeout_s, clock=clock))
    desk = Desk(
        records=records,
        titles=TitleBook(
            await service.enter(catalog),
            metrics,
            clock,
            fresh_s=asking.title_fresh_s,
            pause_s=asking.pause_s,
            limit=asking.titles,
        ),
        rankings=Rankings(
            await service.enter(steering),
            metrics,
            clock,
            scheme=settings.media_scheme,
            pause_s=asking.pause_s,
            limit=asking.rankings,
        ),
        dash=Manifests(
            DASH, origin, metrics, clock, idle_s=asking.origin_timeout_s, pause_s=asking.pause_s, limit=asking.manifests
        ),
        hls=Manifests(
            HLS, origin, metrics, clock, idle_s=asking.origin_timeout_s, pause_s=asking.pause_s, limit=asking.manifests
        ),
        events=_play_log(service, settings.log, metrics),
        key=key,
        clock=clock,
        metrics=metrics,
    )
    rules = PlayRules(
        origin_url=settings.public.origin_url or settings.origin_url,
        steering_url=_players_steering(settings),
        heartbeat_s=settings.sessions.heartbeat_s,
        token_extra_s=settings.sessions.token_extra_s,
        token_s=settings.sessions.token_s,
        token_format=TokenFormat(settings.sessions.token_format),
    )
    base_url = partial(_base_url, service, settings, listener)
    api = PlaybackApi(Plays(desk, rules), records, clock, _api_rules(settings, base_url))
    routes = api.routes(member_guard(auth, clock=clock))
    add_pages(routes, page="viewer", folders=("viewer", "vendor"), content_security=CONTENT_SECURITY)
    app = build_app(
        routes,
        metrics=service.metrics,
        health=service.health,
        cors=Cors(settings.http.cors_origins),
        listener=listener,
    )
    service.background("playback-streams", partial(_count_streams, records, metrics, clock))
    service.background("playback-sweep", partial(_sweep, records, settings.sessions.keep_s, clock))
    https = door_of(settings.http.https)
    service.listen(Listener(listener, app, Tcp(settings.http.host, settings.http.port), https=https))


def _register_key(
    service: Service, settings: Playback, key: OwnKey, metrics: PlaybackMetrics, records: Records
) -> None:
    if not settings.control_plane.url:
        return
    note = settings.key_file.with_name(settings.key_file.name + ".accepted")

    async def revoke(sessions: Collection[str]) -> None:
        await records.revoke(sessions, service.clock.wall_s())

    registration = KeyRegistration(settings.control_plane, key, note, metrics.key_registered, revoke, service.clock)
    service.health.add_check("playback-media-key", registration.check)
    service.background("playback-media-key", registration.run)


def _play_log(service: Service, settings: Log, metrics: PlaybackMetrics) -> PlaybackEvents:
    if settings.file is None:
        return NoEvents()
    file = LogFile(settings.file, rotate_bytes=settings.rotate_bytes, keep_files=settings.keep_files)
    log = PlayLog(file, metrics.log_dropped, service.clock)
    service.background("playback-log", log.run)
    service.on_close(log.close)
    return log


def _players_steering(settings: Playback) -> str:
    if not settings.content_steering:
        return ""
    return (settings.public.steering_url or settings.steering_url).rstrip("/")


def _base_url(service: Service, settings: Playback, listener: str) -> str:
    return (settings.public.playback_url or service.urls[listener]).rstrip("/")


def _api_rules(settings: Playback, base_url: Callable[[], str]) -> ApiRules:
    public, demo = settings.public, settings.demo
    networks = tuple(DemoNetwork(place.name, place.address) for place in demo.networks)

    def viewer() -> ViewerConfig:
        return ViewerConfig(
            auth_url=(public.auth_url or settings.auth_url).rstrip("/"),
            catalog_url=(public.catalog_url or settings.catalog_url).rstrip("/"),
            recommendation_url=public.recommendation_url.rstrip("/"),
            playback_url=base_url(),
            demo_networks=networks if demo.allow_demo_network else (),
            regions=public.regions,
        )

    return ApiRules(
        base_url=base_url,
        viewer=viewer,
        trusted=tuple(ipaddress.ip_network(network) for network in settings.http.trusted_proxies),
        allow_demo_network=demo.allow_demo_network,
        popular_titles=settings.popularity.titles,
    )


async def _count_streams(records: Records, metrics: PlaybackMetrics, clock: Clock) -> None:
    while True:
        metrics.streams.set(await records.live_count(clock.wall_s()))
        await clock.sleep(COUNT_S)


async def _sweep(records: Records, keep_s: float, clock: Clock) -> None:
    while True:
        await records.sweep(clock.wall_s() - keep_s)
        await clock.sleep(SWEEP_S)
