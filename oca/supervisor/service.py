"""An appliance as a service: status listener, checks, commands, signals. Imported when the first worker serves: `app` says why."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from chassis.routes import Routes
from chassis.service import Inherited, Listener, OnDeath, Service
from chassis.web import build_app
from oca.config import Appliance
from oca.supervisor.children import Commands
from oca.supervisor.commands import CommandSocket
from oca.supervisor.status import BoxMetrics, Checks
from oca.supervisor.supervising import Supervisor, open_status


async def compose(service: Service, settings: Appliance, commands: Commands | None = None) -> Supervisor:
    """Build one appliance into a service: its status listener, its checks, its children. Raises CannotRun."""
    status = open_status(settings)
    supervisor = Supervisor(settings, service.clock, commands)
    supervisor.open(status)
    await around(service, supervisor)
    await supervisor.start()
    return supervisor


async def around(service: Service, supervisor: Supervisor) -> None:
    """All of it but the start of the children; the service ends them."""
    service.on_close(supervisor.stop)
    run = Path(supervisor.settings.state_dir) / "run"
    metrics = BoxMetrics(supervisor.counters, run / "keeper.metrics", lambda: supervisor.keeper_ready)

    def show_indexes() -> None:
        metrics.index_locked.clear()
        for index in supervisor.disks.pinned.values():
            metrics.index_locked.labels(index.disk_path).set(index.locked)

    show_indexes()
    supervisor.on_disks(show_indexes)
    supervisor.on_death(lambda child: metrics.child_deaths.labels(child).inc())
    checks = Checks(
        supervisor.slots,
        supervisor.board,
        supervisor.disks,
        run / "keeper.json",
        lambda: supervisor.keeper_ready,
    )
    service.health.add_check("workers", checks.workers)
    service.health.add_check("keeper", checks.keeper)
    service.health.add_check("disks", checks.disks)
    service.health.add_check("index", checks.index)
    app = build_app(Routes("oca"), metrics=metrics, health=service.health)
    service.listen(Listener("status", app, Inherited(supervisor.status)))
    service.urls["media"] = supervisor.listening.media
    service.urls["peers"] = supervisor.listening.peers
    for number, url in enumerate(supervisor.listening.further):
        service.urls[f"media-{number + 1}"] = url
    service.background("slots", supervisor.watch, OnDeath.END)
    await service.enter(
        CommandSocket(
            Path(supervisor.settings.state_dir), supervisor.restart, service.clock, supervisor.disks.obey
        ).listening()
    )


async def serve(supervisor: Supervisor, starting: asyncio.Task[None], ready_fd: int | None) -> int:
    """Serve with children that are being started until told to stop; the exit code."""

    async def composed(service: Service) -> None:
        await around(service, supervisor)
        await starting
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, supervisor.restart)
        loop.add_signal_handler(signal.SIGUSR1, supervisor.reload)

    # Workers have their own ten seconds behind those of the status listener, which has nothing long to finish.
    return await Service("oca", composed, ready_fd=ready_fd, grace_s=1.0).serve()
