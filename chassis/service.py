"""The life of a service process: compose, listen, say that it is ready, run background tasks, stop gracefully.

    async def compose(service: Service) -> None:
        records = await service.enter(Database.open(...))
        service.listen(Listener("http", app, Tcp("127.0.0.1", 0)))
        service.background("feed", feed.run)

    raise SystemExit(run(Service("steering", compose, ready_fd=3)))

Stopping (SIGTERM, SIGINT, `stop()`): `/readyz` turns 503 → streams are told (`web.STOPPING`) → listeners stop accepting →
running requests have `grace_s` to end → background tasks are cancelled → what was entered is closed, last first.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl as ssl_module
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from chassis.clock import SYSTEM_CLOCK, Clock
from chassis.errors import ChassisError
from chassis.front import Front
from chassis.health import Health
from chassis.https import Door
from chassis.logs import get_logger
from chassis.metrics import Metrics
from chassis.tls import CertificateWatch
from chassis.web import STOPPING

T = TypeVar("T")
GRACE_S = 10.0
FIRST_RESTART_S = 0.5
LONGEST_RESTART_S = 30.0
HEALTHY_AFTER_S = 60.0
BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Tcp:
    """A TCP address; port 0 means any free port."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class UnixPath:
    """A Unix stream socket; a left-over of a dead process is replaced."""

    path: Path
    mode: int = 0o600


@dataclass(frozen=True, slots=True)
class Inherited:
    """A listening socket that somebody else opened."""

    socket: socket.socket


@dataclass(frozen=True, slots=True)
class Listener:
    """One door of a service with its own application. `ssl` makes it TLS; `front` is a short way past the application.

    `https` is a second door to the same application: `https` beside `http`, `NAME-https` beside another name.
    """

    name: str
    app: web.Application
    at: Tcp | UnixPath | Inherited
    ssl: ssl_module.SSLContext | None = None
    front: Front | None = None
    https: Door | None = None


class OnDeath(Enum):
    """What a background task's death means."""

    RESTART = "restart"
    """It is started again, after a growing wait."""
    END = "end"
    """The process ends with exit code 1."""


class Listening(msgspec.Struct, frozen=True):
    """The line on the ready descriptor: URL by listener name."""

    listening: dict[str, str]


class Service:
    """One process. `compose` builds it: it opens what it needs and names listeners and background tasks."""

    def __init__(
        self,
        name: str,
        compose: Callable[[Service], Awaitable[None]],
        *,
        ready_fd: int | None = None,
        ready_file: Path | None = None,
        grace_s: float = GRACE_S,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.name = name
        self.metrics = Metrics(name)
        self.health = Health(name)
        self.clock = clock
        self.urls: dict[str, str] = {}
        self._compose = compose
        self._ready_fd = ready_fd
        self._ready_file = ready_file
        self._grace_s = grace_s
        self._listeners: list[Listener] = []
        self._planned: list[tuple[str, Callable[[], Awaitable[None]], OnDeath]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()
        self._stop = asyncio.Event()
        self._failure: str | None = None
        self._running = False

    def listen(self, listener: Listener) -> None:
        """Names a listener; it opens after `compose` has ended."""
        if any(other.name == listener.name for other in self._listeners):
            raise ValueError(f"there is a listener {listener.name!r} already")
        self._listeners.append(listener)
        if listener.https is not None:
            watch = CertificateWatch(listener.https.context, listener.https.files)
            self.background(f"{_second(listener.name)}-certificate", partial(watch.run, self.clock))

    def background(self, name: str, run: Callable[[], Awaitable[None]], on_death: OnDeath = OnDeath.RESTART) -> None:
        """Runs `run()` beside the listeners. Its return is its end; its error is a death: logged, counted, then `on_death`."""
        if self._running:
            self._start_task(name, run, on_death)
        else:
            self._planned.append((name, run, on_death))

    async def enter(self, context: AbstractAsyncContextManager[T]) -> T:
        """Opens something that is closed when the service ends."""
        return await self._stack.enter_async_context(context)

    def on_close(self, close: Callable[[], Awaitable[None]]) -> None:
        """Awaits `close()` when the service ends."""
        self._stack.push_async_callback(close)

    def stop(self) -> None:
        """Begins a graceful shutdown. May be called more than once."""
        self._stop.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[dict[str, str]]:
        """The whole life, as a context: gives the URLs by listener name while it serves."""
        async with self._stack:
            await self._composed()
            runners: list[web.AppRunner] = []
            try:
                for listener in self._listeners:
                    self.urls[listener.name] = await self._open(listener, runners)
                self._running = True
                for name, run_task, on_death in self._planned:
                    self._start_task(name, run_task, on_death)
                self._say_ready()
                yield self.urls
            finally:
                self._running = False
                await asyncio.shield(self._shut(runners))

    async def serve(self) -> int:
        """Serves until `stop()`, SIGTERM or SIGINT, which end `compose` too while it still waits. Gives the exit code."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, self.stop)
        life = asyncio.create_task(self._live())
        told = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({life, told}, return_when=asyncio.FIRST_COMPLETED)
            if not self._running:
                life.cancel()
            await asyncio.wait({life})
            if not life.cancelled():
                life.result()
        finally:
            told.cancel()
            life.cancel()
            await asyncio.wait({life})
            for number in signals:
                loop.remove_signal_handler(number)
        if self._failure is not None:
            get_logger("chassis.service").error("ended", why=self._failure)
        return 1 if self._failure is not None else 0

    async def _live(self) -> None:
        async with self.running():
            await self._stop.wait()

    async def _composed(self) -> None:
        """A folder or file that the settings name and that cannot be used is told in words."""
        try:
            await self._compose(self)
        except OSError as error:
            raise ChassisError(f"{self.name}: cannot start: {error}") from error

    async def _open(self, listener: Listener, runners: list[web.AppRunner]) -> str:
        runner = _Runner(listener, self._grace_s)
        await runner.setup()
        runners.append(runner)
        site, url = _site(runner, listener)
        try:
            await site.start()
        except OSError as error:
            raise ChassisError(f"{self.name}: cannot listen on {url}: {error.strerror or error}") from error
        if isinstance(listener.at, UnixPath):
            listener.at.path.chmod(listener.at.mode)
            return url
        if listener.https is not None:
            self.urls[_second(listener.name)] = await self._open_second(listener.https, runner)
        scheme = "https" if listener.ssl is not None else "http"
        return _tcp_url(scheme, runner.addresses[0])

    async def _open_second(self, door: Door, runner: web.AppRunner) -> str:
        site = web.TCPSite(runner, door.host, door.port, ssl_context=door.context, backlog=BACKLOG)
        try:
            await site.start()
        except OSError as error:
            where = f"{door.host}:{door.port}"
            raise ChassisError(f"{self.name}: cannot listen on {where}: {error.strerror or error}") from error
        return _tcp_url("https", runner.addresses[1])

    def _start_task(self, name: str, run_task: Callable[[], Awaitable[None]], on_death: OnDeath) -> None:
        task = asyncio.create_task(self._supervise(name, run_task, on_death), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _supervise(self, name: str, run_task: Callable[[], Awaitable[None]], on_death: OnDeath) -> None:
        deaths = 0
        while True:
            started_s = self.clock.monotonic_s()
            try:
                await run_task()
            except Exception:  # noqa: BLE001  the border of a task: counted, logged with traceback, restarted or the end
                self.metrics.task_deaths.labels(name).inc()
                get_logger("chassis.service").exception("task-died", task=name, then=on_death.value)
            else:
                return
            if on_death is OnDeath.END:
                self._failure = f"the task {name} died"
                self.stop()
                return
            if self.clock.monotonic_s() - started_s >= HEALTHY_AFTER_S:
                deaths = 0
            await self.clock.sleep(min(LONGEST_RESTART_S, FIRST_RESTART_S * 2.0**deaths))
            deaths += 1

    def _say_ready(self) -> None:
        line = msgspec.json.encode(Listening(self.urls)) + b"\n"
        get_logger("chassis.service").info("ready", listening=self.urls)
        if self._ready_file is not None:
            temporary = self._ready_file.with_name(self._ready_file.name + ".new")
            temporary.write_bytes(line)
            temporary.replace(self._ready_file)
        if self._ready_fd is not None:
            with os.fdopen(self._ready_fd, "wb") as pipe:
                pipe.write(line)
            self._ready_fd = None

    async def _shut(self, runners: list[web.AppRunner]) -> None:
        self.health.stopping()
        for listener in self._listeners:
            if STOPPING in listener.app:
                listener.app[STOPPING].set()
        await asyncio.gather(*(runner.cleanup() for runner in runners))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for listener in self._listeners:
            if isinstance(listener.at, UnixPath):
                listener.at.path.unlink(missing_ok=True)


def run(service: Service) -> int:
    """Runs a service on uvloop until it is told to stop; gives the exit code. What the operator can mend is one line."""
    import uvloop

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(service.serve())
    except ChassisError as error:
        get_logger("chassis.service").error("cannot-run", service=service.name, detail=str(error))
        return 1


class _Runner(web.AppRunner):
    """The application's runner; where there is a front, new connections begin there."""

    def __init__(self, listener: Listener, grace_s: float) -> None:
        super().__init__(listener.app, handle_signals=False, access_log=None, shutdown_timeout=grace_s)
        self._front = listener.front

    @property
    def server(self) -> Any:
        behind = super().server
        return behind if self._front is None or behind is None else partial(self._front.connection, behind)

    async def cleanup(self) -> None:
        if self._front is not None:
            self._front.close()
        await super().cleanup()


def _site(runner: web.AppRunner, listener: Listener) -> tuple[web.BaseSite, str]:
    match listener.at:
        case Tcp(host, port):
            site = web.TCPSite(runner, host, port, ssl_context=listener.ssl, backlog=BACKLOG)
            return site, f"{host}:{port}"
        case UnixPath(path):
            if path.is_socket():
                path.unlink()
            return web.UnixSite(runner, path, ssl_context=listener.ssl), f"unix:{path}"
        case Inherited(given):
            return web.SockSite(runner, given, ssl_context=listener.ssl, backlog=BACKLOG), "an inherited socket"


def _second(name: str) -> str:
    return "https" if name == "http" else f"{name}-https"


def _tcp_url(scheme: str, address: object) -> str:
    assert isinstance(address, tuple), f"a TCP listener has an address, not {address!r}"
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{scheme}://{host}:{address[1]}"
