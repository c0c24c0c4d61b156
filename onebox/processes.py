"""Real processes: started in a session of their own, watched, restarted, stopped; their logs in one folder.

A child tells that it serves by one JSON line on its `--ready-fd`. When this process dies, the kernel ends the children
(PR_SET_PDEATHSIG), so that nothing is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from chassis.logs import get_logger
from onebox.restarts import Restarts

PR_SET_PDEATHSIG = 1
STOP_GRACE_S = 12.0
LARGEST_LOG_BYTES = 32 << 20
ORPHANS_SERVE_S = 60.0
"""Workers of a dead supervisor serve on for 30 s."""
log = get_logger("onebox")
_libc = ctypes.CDLL(None, use_errno=True)


class StartFailed(Exception):
    """A process did not come to serve; the message carries the end of its log."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """`argv` without `--ready-fd`, which is added."""

    name: str
    argv: tuple[str, ...]
    log_file: Path
    ready_s: float = 40.0


class _ReadyLine(msgspec.Struct):
    listening: dict[str, str]


@dataclass
class Running:
    """One process and its successors. `listening` maps listener names to base URLs, from the last ready line."""

    spec: ProcessSpec
    on_listening: Callable[[dict[str, str]], None] = lambda _urls: None
    process: asyncio.subprocess.Process | None = None
    listening: dict[str, str] = field(default_factory=dict)
    starts: int = 0
    _died: dict[int, float] = field(default_factory=dict)
    """Groups of predecessors → when they died: children that they left behind may still serve."""
    _may_restart: asyncio.Event = field(default_factory=asyncio.Event)
    _watcher: asyncio.Task[None] | None = None
    _stopping: bool = False

    @property
    def pid(self) -> int:
        if self.process is None:
            raise ProcessLookupError(f"{self.spec.name} was never started")
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def __post_init__(self) -> None:
        self._may_restart.set()

    def hold(self) -> None:
        """From now on a death is not followed by a restart, until `release`."""
        self._may_restart.clear()

    def release(self) -> None:
        self._may_restart.set()

    async def start(self) -> None:
        """Returns when the process serves. Raises StartFailed."""
        await self._spawn_and_wait()
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch(), name=f"watch {self.spec.name}")

    def kill_group(self) -> None:
        """kill −9 for the process and all it started: a machine that lost its power."""
        os.killpg(self.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL to the group after the grace time; what predecessors left behind ends too. Ends the watching."""
        self._stopping = True
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        self._end_orphans()
        if self.process is None or self.process.returncode is not None:
            return
        self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), STOP_GRACE_S)
        except TimeoutError:
            log.warning("a process did not stop and was killed", process=self.spec.name)
            self.kill_group()
            await self.process.wait()

    def _note_death(self, group: int) -> None:
        recent = {known: died_s for known, died_s in self._died.items() if _is_recent(died_s)}
        self._died = recent | {group: time.monotonic()}

    def _end_orphans(self) -> None:
        """Ends what lately died predecessors left behind; later on, a group's number may be somebody else's."""
        for group, died_s in self._died.items():
            if _is_recent(died_s):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)
        self._died.clear()

    async def _watch(self) -> None:
        restarts, began = Restarts(), time.monotonic()
        while not self._stopping:
            assert self.process is not None
            code = await self.process.wait()
            self._note_death(self.process.pid)
            await self._may_restart.wait()
            restarts, pause_s = restarts.after_death(time.monotonic() - began)
            log.warning("a process died", process=self.spec.name, code=code, restart_in_s=pause_s)
            await asyncio.sleep(pause_s)
            began = time.monotonic()
            try:
                await self._spawn_and_wait()
            except (StartFailed, OSError) as error:
                log.error("a process could not be started again", process=self.spec.name, error=str(error))

    async def _spawn_and_wait(self) -> None:
        reading, writing = os.pipe()
        self.spec.log_file.parent.mkdir(parents=True, exist_ok=True)
        put_aside(self.spec.log_file)
        try:
            with self.spec.log_file.open("ab") as log_file:
                self.process = await asyncio.create_subprocess_exec(
                    *self.spec.argv,
                    "--ready-fd",
                    str(writing),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log_file,
                    stderr=log_file,
                    pass_fds=(writing,),
                    start_new_session=True,
                    preexec_fn=_die_with_parent,
                )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self.starts += 1
        await self._wait_until_ready(reading)

    async def _wait_until_ready(self, reading: int) -> None:
        try:
            line = await asyncio.wait_for(_read_line(reading), self.spec.ready_s)
            self.listening = msgspec.json.decode(line, type=_ReadyLine).listening
        except (TimeoutError, EOFError, msgspec.MsgspecError) as error:
            await self._end_at_once()
            raise StartFailed(f"{self.spec.name} did not come to serve ({error!r}):\n{self._log_end()}") from error
        self.on_listening(self.listening)

    async def _end_at_once(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.kill_group()
            await self.process.wait()

    def _log_end(self) -> str:
        return "\n".join(self.spec.log_file.read_text(errors="replace").splitlines()[-15:])


def put_aside(log_file: Path, largest_bytes: int = LARGEST_LOG_BYTES) -> None:
    """Before a start: a log that has grown large becomes `NAME.1`, in the place of an earlier one."""
    with contextlib.suppress(FileNotFoundError):
        if log_file.stat().st_size >= largest_bytes:
            log_file.replace(log_file.with_name(f"{log_file.name}.1"))


async def _read_line(descriptor: int) -> bytes:
    """One line from a pipe. Raises EOFError when it closes before. The descriptor is closed in any case."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _protocol = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    try:
        line = await reader.readline()
    finally:
        transport.close()
    if not line:
        raise EOFError("it ended before it was ready")
    return line


def _is_recent(died_s: float) -> bool:
    return time.monotonic() - died_s < ORPHANS_SERVE_S


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
