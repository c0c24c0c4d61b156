"""`python -m oca.keeper`: argv, signals, exit codes (see the package's docstring)."""

from __future__ import annotations

import argparse
import asyncio
import mmap
import os
import resource
import signal
import sys
from collections.abc import Callable

import msgspec
import uvloop

from chassis import config, logs
from chassis.clock import SYSTEM_CLOCK
from oca.config import Appliance
from oca.keeper.app import Keeper, open_store
from oca.keeper.errors import CannotStart
from oca.store.board import Board
from oca.store.errors import StoreError


def main(argv: list[str]) -> int:
    """The exit code: 0 stopped in order, 2 somebody has to look at settings, descriptors or disks."""
    parser = argparse.ArgumentParser(prog="python -m oca.keeper", description="The only writer of an appliance.")
    parser.add_argument("--settings-fd", type=int, required=True, help="descriptor with the settings as JSON")
    parser.add_argument("--board-fd", type=int, required=True, help="descriptor of the store's board")
    parser.add_argument("--ready-fd", type=int, help="descriptor that hears when workers may connect")
    given = parser.parse_args(argv)
    parent = os.getppid()
    logs.configure("oca-keeper")
    log = logs.get_logger("oca.keeper")
    _raise_open_files()
    try:
        settings = read_settings(given.settings_fd)
        logs.configure("oca-keeper", settings.log_level)
        board = Board.attach(given.board_fd)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, board, given.ready_fd, parent))
    except (CannotStart, StoreError, msgspec.MsgspecError, OSError) as error:
        log.error("cannot-run", detail=str(error))
        return 2
    return 0


def read_settings(descriptor: int) -> Appliance:
    """The settings behind an inherited descriptor. Raises OSError, msgspec errors."""
    size = os.fstat(descriptor).st_size
    with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as mapped:
        return config.decode(Appliance, mapped[:])


def _raise_open_files() -> None:
    """The soft limit of open files to the hard one: each connection to a source and each extent being written needs one."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(settings: Appliance, board: Board, ready_fd: int | None, parent: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    # The terminal's Ctrl-C reaches every process of the group; only the supervisor decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keeper = Keeper(settings, await open_store(settings, board, SYSTEM_CLOCK))
    watching = _watch_parent(parent, stop.set)
    try:
        await keeper.start()
        if ready_fd is not None:
            os.write(ready_fd, b"ready\n")
            os.close(ready_fd)
        await stop.wait()
    finally:
        loop.remove_reader(watching)
        os.close(watching)
        await keeper.stop()


def _watch_parent(parent: int, gone: Callable[[], None]) -> int:
    """Calls `gone` when the parent dies: its successor's keeper needs the disks. Gives the descriptor to close."""
    descriptor = os.pidfd_open(parent)
    asyncio.get_running_loop().add_reader(descriptor, gone)
    if os.getppid() != parent:
        gone()
    return descriptor


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
