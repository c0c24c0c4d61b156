"""The one place that builds and connects steering."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

from chassis.client import ServiceClient
from chassis.clock import Clock
from chassis.enrolment import ensure_enrolled
from chassis.logs import get_logger
from chassis.service import Listener, Service, Tcp
from chassis.tls import client_context
from chassis.web import build_app
from contracts.enrolment import PeerKind
from contracts.world import Change
from steering import archive
from steering.api import Api, routes_of
from steering.config import NAME, SteeringSettings
from steering.errors import ArchiveError
from steering.feed import ChangeSource, Feed, State, StreamEnd
from steering.metrics import SteeringMetrics
from steering.ranking import Rules
from steering.trie import make_table
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

    def changes() -> AsyncIterator[Change]:
        return client.stream_lines(CHANGES_PATH, Change, idle_s=control_plane.silent_after_s)

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
        make_table,
        service.clock,
        longest_wait_s=settings.control_plane.longest_wait_s,
        rng=random.Random(),
        on_change=show,
        on_end=ended,
    )
    saver = Saver(state, path, metrics, service.clock, settings.save_every_s)
    rules = Rules(settings.unhealthy_below, settings.overloaded_from, settings.load_factor)
    api = Api(state, rules, metrics, service.clock)
    service.health.add_check("world", feed.ready)
    app = build_app(routes_of(api), metrics=service.metrics, health=service.health)
    service.listen(Listener("http", app, Tcp(settings.http.host, settings.http.port)))
    service.background("feed", feed.run)
    service.background("saver", saver.run)
    service.on_close(saver.save)
    _show(metrics, state)
    return state


class Saver:
    """Keeps the last world in a file."""

    def __init__(self, state: State, path: Path, metrics: SteeringMetrics, clock: Clock, every_s: float) -> None:
        self._state = state
        self._path = path
        self._metrics = metrics
        self._clock = clock
        self._every_s = every_s
        self._saved = state.world

    async def run(self) -> None:
        while True:
            await self._clock.sleep(self._every_s)
            await self.save()

    async def save(self) -> None:
        """Saves the world when it is another than the one saved last. A disk that refuses is logged and asked again later."""
        world = self._state.world
        if world is self._saved or world.is_empty:
            return
        try:
            await asyncio.to_thread(archive.save, world, self._path)
        except OSError as error:
            self._metrics.saves.labels("failed").inc()
            _LOG.error("world-not-saved", path=str(self._path), detail=str(error))
        else:
            self._metrics.saves.labels("saved").inc()
            self._saved = world


def _last_world(path: Path) -> World:
    try:
        world = archive.load(path, make_table)
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
    metrics.suspects.set(len(state.watch.since_s))
    metrics.doubted.set(len(world.doubted))
    metrics.stream_live.set(1 if state.live else 0)
