"""Child processes: exec with inherited descriptors, a line of control with each worker, the news of readiness and death.

Children are told and listened to over descriptors only; no path and no environment carries anything between them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from chassis import config
from chassis.logs import get_logger
from oca.config import Appliance
from oca.link.handover import FurtherFds, Handover, LoggerHandover, TlsHandover, memfd, write_handover
from oca.supervisor.sockets import Opened

WORKER = (sys.executable, "-m", "oca.worker")
KEEPER = (sys.executable, "-m", "oca.keeper")
LOGGER = (sys.executable, "-m", "oca.logger")
TLS_PROBE = (sys.executable, "-m", "oca.worker.openssl")


@dataclass(frozen=True, slots=True)
class Commands:
    """What is executed. Tests put other programs here."""

    worker: Sequence[str] = WORKER
    keeper: Sequence[str] = KEEPER
    logger: Sequence[str] = LOGGER
    tls_probe: Sequence[str] = TLS_PROBE


class Child:
    """A running process. `ended` is awaited by exactly one task."""

    def __init__(self, process: Process) -> None:
        self.process = process

    @property
    def pid(self) -> int:
        return self.process.pid

    async def ended(self) -> int:
        """The exit code, negative for a signal."""
        return await self.process.wait()

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)


class WorkerChild(Child):
    """A worker and the control line to it."""

    def __init__(self, process: Process, control: asyncio.Transport) -> None:
        super().__init__(process)
        self._control = control

    def say(self, line: str) -> None:
        """One line of `oca.link.handover`'s control protocol; dropped when the worker is gone."""
        if not self._control.is_closing():
            self._control.write(line.encode() + b"\n")

    def close(self) -> None:
        self._control.close()


def _ignore(_said: bytes) -> None:
    """The keeper says nothing of TLS."""


class _Control(asyncio.Protocol):
    """The supervisor's end of a control line."""

    def __init__(self, on_ready: Callable[[], None], on_tls: Callable[[bytes], None] = _ignore) -> None:
        self._on_ready = on_ready
        self._on_tls = on_tls
        self._text = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            if line == b"ready":
                self._on_ready()
            elif line.startswith(b"tls "):
                self._on_tls(line.removeprefix(b"tls "))
            else:
                get_logger("oca.supervisor").warning("unknown-word", word=line.decode("utf-8", "replace")[:80])


async def start_worker(
    command: Sequence[str],
    settings: Appliance,
    slot: int,
    line: int,
    board_fd: int,
    counters_fd: int,
    media: Sequence[socket.socket],
    peers: Sequence[socket.socket],
    on_ready: Callable[[], None],
    log_fd: int = -1,
    further: Sequence[Opened] = (),
    tls: TlsHandover | None = None,
    on_tls: Callable[[bytes], None] = _ignore,
) -> WorkerChild:
    """Exec a worker for a slot, with a line of its own in board and counters. Raises OSError.

    `on_tls` is told what it says of TLS (JSON of a `TlsStatus`).
    """
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    process: Process | None = None
    try:
        media_fds = tuple(sock.fileno() for sock in media)
        peers_fds = tuple(sock.fileno() for sock in peers)
        more = tuple(
            FurtherFds(tuple(sock.fileno() for sock in one.sockets), one.at.tls, bool(one.at.path)) for one in further
        )
        handover = Handover(
            settings, slot, board_fd, counters_fd, theirs.fileno(), media_fds, peers_fds, line, log_fd, more, tls
        )
        fd = write_handover(handover)
        try:
            inherited = {fd, board_fd, counters_fd, theirs.fileno(), *media_fds, *peers_fds}
            inherited.update(number for one in more for number in one.fds)
            if log_fd >= 0:
                inherited.add(log_fd)
            if tls is not None:
                inherited.add(tls.ticket_keys_fd)
            process = await asyncio.create_subprocess_exec(
                *command, "--handover-fd", str(fd), pass_fds=tuple(inherited)
            )
        finally:
            os.close(fd)
        ours.setblocking(False)
        transport, _protocol = await loop.create_connection(lambda: _Control(on_ready, on_tls), sock=ours)
    except BaseException:
        ours.close()
        _end_at_once(process)
        raise
    finally:
        theirs.close()
    return WorkerChild(process, transport)


async def start_keeper(
    command: Sequence[str], settings: Appliance, board_fd: int, on_ready: Callable[[], None]
) -> Child:
    """Exec the keeper. Raises OSError."""
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe()
    pipe = os.fdopen(reading, "rb", buffering=0)
    process: Process | None = None
    try:
        fd = memfd("lowtide-settings", config.encode(settings))
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                "--settings-fd",
                str(fd),
                "--board-fd",
                str(board_fd),
                "--ready-fd",
                str(writing),
                pass_fds=(fd, board_fd, writing),
            )
        finally:
            os.close(fd)
        await loop.connect_read_pipe(lambda: _Control(on_ready), pipe)
    except BaseException:
        pipe.close()
        _end_at_once(process)
        raise
    finally:
        os.close(writing)
    return Child(process)


async def start_logger(command: Sequence[str], handover: LoggerHandover) -> Child:
    """Exec the logger. Raises OSError."""
    fd = write_handover(handover)
    try:
        inherited = (fd, handover.counters_fd, *handover.pipe_fds)
        process = await asyncio.create_subprocess_exec(*command, "--handover-fd", str(fd), pass_fds=inherited)
    finally:
        os.close(fd)
    return Child(process)


def _end_at_once(process: Process | None) -> None:
    """Nobody will hear of a child whose start was broken off: it must not live on alone."""
    if process is not None and process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
