"""`lowtide oca run`: workers first, then what the status listener is made of, then until told to stop."""

from __future__ import annotations

import asyncio
import signal

from chassis import logs
from chassis.errors import ChassisError
from chassis.logs import get_logger
from oca.config import Appliance
from oca.supervisor.supervising import CannotRun, Supervisor, open_status


def run(settings: Appliance, ready_fd: int | None = None) -> int:
    """`lowtide oca run`: serve until told to stop. Gives the exit code; what the operator can mend is one line of the log."""
    import uvloop

    logs.configure("oca", settings.log_level)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(settings, ready_fd))
    except ChassisError as error:
        get_logger("oca.supervisor").error("cannot-run", service="oca", detail=str(error))
        return 1


async def _serve(settings: Appliance, ready_fd: int | None) -> int:
    """Workers first; what the status listener is made of is imported (a quarter of a second) when they serve."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGHUP, signal.SIGUSR1):
        loop.add_signal_handler(number, lambda: None)  # while all starts there is nothing to replace or load again
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    supervisor = Supervisor(settings)
    try:
        supervisor.open(open_status(settings))
    except OSError as error:
        raise CannotRun(f"cannot start: {error}") from error
    starting = asyncio.create_task(supervisor.start())
    try:
        await supervisor.first_served()
        from oca.supervisor.service import serve

        if not told.is_set():
            return await serve(supervisor, starting, ready_fd)
        await supervisor.stop()
        return 0
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
