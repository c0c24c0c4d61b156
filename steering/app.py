"""The one place that builds and connects steering."""

from __future__ import annotations

import asyncio
import ipaddress
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from chassis.client import ServiceClient
from chassis.clock import Clock
from chassis.enrolment import ensure_enrolled
from chassis.front import Front
from chassis.https import door_of
from chassis.logs import get_logger
from chassis.routes import Routes
from chassis.service import Listener, Service, Tcp
from chassis.tls import client_context
from chassis.web import Cors, build_app
from contracts.content_steering import PATH
from contracts.enrolment import PeerKind
from contracts.world import Change
from steering import archive
from steering.api import RANK_PATH, Api, Keeping, routes_of
from steering.candidates import Rules
from steering.config import NAME, SteeringSettings
from steering.content_steering import Course, SteeringRules
from steering.decided import Recorder
from steering.decisions import Decisions
from steering.errors import ArchiveError
from steering.feed import ChangeSource, Feed, State, StreamEnd
from steering.journal import FOLDER, Journal
from steering.keyring import FILE_NAME as KEY_FILE
from steering.keyring import Keyring
from steering.metrics import SteeringMetrics
from steering.plays import Tally
from steering.plays_api import PlaysApi
from steering.prefixes import HashedPrefixes
from steering.reservations import ReservationRules
from steering.sessions_api import Publicity, Sessions, add_to
from steering.world import World

CHANGES_PATH = "/v1/changes"
_LOG = get_logger("steering.app")


async def compose(service: Service, settings: SteeringSettings) -> None:
    """Builds steering over the control plane's change stream."""
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    control_plane = settings.control_plane
    files = await ensure_enrolled(
        control_plane.url,
        control_plane.code_file,
        kind=PeerKind.SERVICE,
        name=NAME,
        folder=settings.state_dir / "tls",
        clock=service.clock,
        patience_s=control_plane.patience_s,
    )
    client = await service.enter(ServiceClient(control_plane.url, ssl=client_context(files=files)))

    def changes(after: int) -> AsyncIterator[Change]:
        query = {"after": after} if after else None
        return client.stream_lines(CHANGES_PATH, Change, query=query, idle_s=control_plane.silent_after_s)

    assemble(service, settings, changes)


def assemble(service: Service, settings: SteeringSettings, changes: ChangeSource) -> State:
    """Steering over any source of changes; the last world of the state folder answers until one comes."""
    path = settings.state_dir / archive.FILE_NAME
    state = State(_last_world(path))
    metrics = SteeringMetrics(service.metrics)

    def show(is_change: bool) -> None:
        if is_change:
            metrics.changes.inc()
        _show(metrics, state)

    def ended(reason: StreamEnd) -> None:
        metrics.stream_ends.labels(reason.value).inc()

    feed = Feed(
        changes,
        state,
        HashedPrefixes,
        service.clock,
        longest_wait_s=settings.control_plane.longest_wait_s,
        rng=random.Random(),
        on_change=show,
        on_end=ended,
    )
    saver = Saver(state, path, metrics, service.clock, settings.save_every_s, settings.save_routes_every_s)
    decisions = _decisions(settings, state, service.clock)
    keeping = _keeping(service, settings, metrics)
    sessions = _sessions(service, settings, metrics, state, decisions, keeping)
    api = Api(state, decisions, metrics, service.clock, sessions, keeping)
    service.health.add_check("world", feed.ready)
    routes = routes_of(api, sessions)
    PlaysApi(keeping, service.clock).add_to(routes)
    cors = Cors(settings.content_steering.cors_origins, methods=("GET", "HEAD"), under=PATH.partition("{")[0])
    app = build_app(routes, metrics=service.metrics, health=service.health, cors=cors)
    front = Front(RANK_PATH, api.answer, service.metrics)
    service.listen(Listener("http", app, Tcp(settings.http.host, settings.http.port), front=front))
    if settings.viewer.enabled:
        players = Routes("Lowtide steering: players")
        add_to(players, sessions)
        outside = build_app(players, metrics=service.metrics, cors=cors, listener="viewer", serve_openapi=False)
        door = door_of(settings.https)
        service.listen(Listener("viewer", outside, Tcp(settings.viewer.host, settings.viewer.port), https=door))
    service.background("feed", feed.run)
    service.background("saver", saver.run)
    service.background("standings", decisions.run)
    service.on_close(saver.save_all)
    _show(metrics, state)
    return state


def _decisions(settings: SteeringSettings, state: State, clock: Clock) -> Decisions:
    rules = Rules(
        unhealthy_below=settings.unhealthy_below,
        overloaded_from=settings.overloaded_from,
        load_factor=settings.load_factor,
        spill_from=settings.spill_from,
        slow_start_s=settings.slow_start_s,
        ladder=settings.overflow.ladder(),
    )
    given = settings.reserving
    return Decisions(state, rules, ReservationRules(given.play_bps, given.fade_s, given.processes), clock)


def _sessions(
    service: Service,
    settings: SteeringSettings,
    metrics: SteeringMetrics,
    state: State,
    decisions: Decisions,
    keeping: Keeping | None,
) -> Sessions:
    its = settings.content_steering
    keyring = Keyring(its.key_file or settings.state_dir / KEY_FILE, service.clock)
    service.background("session-keys", keyring.run)

    def moved(course: Course, now_s: float) -> None:
        if keeping is not None:
            keeping.journal.move(course.session.play, keeping.recorder.move(course, now_s))

    return Sessions(
        state,
        decisions,
        lambda: keyring.keys,
        metrics,
        service.clock,
        SteeringRules(its.ttl_s, its.trouble_ttl_s, its.slow_move_s),
        Publicity(
            its.public_url.rstrip("/"), tuple(map(ipaddress.ip_network, its.trusted_proxies)), its.follow_clients
        ),
        moved,
    )


def _keeping(service: Service, settings: SteeringSettings, metrics: SteeringMetrics) -> Keeping | None:
    """Where decisions are kept; None when they are not."""
    log = settings.decision_log
    if not log.enabled:
        return None
    journal = Journal(settings.state_dir / FOLDER, log, service.clock, metrics.decisions_lost.inc)
    service.background("journal", journal.run)
    service.on_close(journal.flush)
    return Keeping(journal, Recorder(log.ipv4_bits, log.ipv6_bits), Tally(service.clock.wall_s()))


class Saver:
    """Keeps the last world in files: routes less often than the rest, for they are many and outlive a restart of theirs."""

    def __init__(
        self, state: State, path: Path, metrics: SteeringMetrics, clock: Clock, every_s: float, routes_every_s: float
    ) -> None:
        self._state = state
        self._path = path
        self._metrics = metrics
        self._clock = clock
        self._every_s = every_s
        self._routes_every_s = routes_every_s
        self._saved = state.world
        self._saved_routes = state.world

    async def run(self) -> None:
        routes_at_s = self._clock.monotonic_s()
        while True:
            await self._clock.sleep(self._every_s)
            await self.save()
            if self._clock.monotonic_s() - routes_at_s >= self._routes_every_s:
                await self.save_routes()
                routes_at_s = self._clock.monotonic_s()

    async def save_all(self) -> None:
        await self.save()
        await self.save_routes()

    async def save(self) -> None:
        """Saves the world when it is another than the one saved last. A disk that refuses is logged and asked again later."""
        world = self._state.world
        if world is not self._saved and not world.is_empty and await self._written(archive.save, world):
            self._saved = world

    async def save_routes(self) -> None:
        """Saves the routes when they are others than those saved last, likewise."""
        world, saved = self._state.world, self._saved_routes
        if world.prefixes is saved.prefixes and world.guesses is saved.guesses:
            return
        if await self._written(archive.save_routes, world):
            self._saved_routes = world

    async def _written(self, write: Callable[[World, Path], int], world: World) -> bool:
        try:
            await asyncio.to_thread(write, world, self._path)
        except OSError as error:
            self._metrics.saves.labels("failed").inc()
            _LOG.error("world-not-saved", path=str(self._path), detail=str(error))
            return False
        self._metrics.saves.labels("saved").inc()
        return True


def _last_world(path: Path) -> World:
    try:
        world = archive.load(path, HashedPrefixes)
    except ArchiveError as error:
        _LOG.warning("last-world-unusable", detail=str(error))
        return World()
    if world is None:
        return World()
    _LOG.info("last-world-read", number=world.number, appliances=len(world.appliances))
    return world


def _show(metrics: SteeringMetrics, state: State) -> None:
    world = state.world
    metrics.world_number.set(world.number)
    metrics.appliances.set(len(world.appliances))
    metrics.prefixes.set(len(world.prefixes))
    metrics.guesses.set(len(world.guesses))
    metrics.quarantined.set(len(world.quarantined))
    metrics.suspects.set(len(state.watch.since_s))
    metrics.doubted.set(len(world.doubted))
    metrics.stream_live.set(1 if state.live else 0)
