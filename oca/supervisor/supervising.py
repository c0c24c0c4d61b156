"""One appliance's processes: sockets, shared memory, locked indexes, keeper, logger and workers, from the start to the end.

Order: disks are prepared and their indexes locked before any child runs; sockets listen before workers exist, so that nobody is
refused; keeper and logger start when the first worker serves, which needs neither for a hit; `--ready-fd` is told when the first worker serves and the keeper takes asks (or `START_S` have passed: then `/readyz` says
what is missing).

A rolling restart (`lowtide oca restart`, SIGHUP) is decided by `rolling` and seen over `run/supervisor.sock`.

The end (SIGTERM, SIGINT): workers drain for at most `DRAIN_S`, then the keeper leaves its disks clean and the logger writes what
workers left in their pipes, then this process ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from chassis.clock import SYSTEM_CLOCK, Clock
from chassis.errors import ChassisError
from chassis.logs import get_logger
from oca.config import Appliance, Listen
from oca.link.counters import Counters
from oca.link.files import Listening, PurgeReached, replace_file
from oca.link.handover import DRAIN_S, LoggerHandover
from oca.store.board import Board, BoardShape
from oca.store.disks import expected_marks
from oca.supervisor.children import Child, Commands, WorkerChild, start_keeper, start_logger, start_worker
from oca.supervisor.disks import CannotUseDisks, Disks
from oca.supervisor.logpipes import LogPipes
from oca.supervisor.rolling import Rolling
from oca.supervisor.slots import Action, Adopt, Kill, Release, Retire, Slots, Start, keeper_pause_s
from oca.supervisor.sockets import CannotListen, Opened, facts_of, open_further, open_group, url_of
from oca.supervisor.tls import SharedTls, shared_tls

START_S = 10.0
WORKERS_FIRST_S = 1.0
"""So long the first worker has the processor to itself: keeper, logger and status come behind it."""
TICK_S = 0.1
KEEPER_STOP_S = 10.0
KEEPER_STEADY_S = 30.0
LOGGER_STOP_S = 3.0
EXEC_RETRY_S = 1.0
LINES_PER_SLOT = 2
"""A worker and its successor, or the one it succeeded."""


class CannotRun(ChassisError):
    """The appliance cannot start; the message says what to mend."""


class Supervisor:
    """One appliance's processes. `open` once, then `start`, then `watch` until `stop`."""

    def __init__(self, settings: Appliance, clock: Clock = SYSTEM_CLOCK, commands: Commands | None = None) -> None:
        self.settings = settings
        self._clock = clock
        self._commands = commands or Commands()
        self._log = get_logger("oca.supervisor")
        # A worker that retires has that time, then drains as at the end of the box.
        self.slots = Slots(settings.serving.workers, settings.serving.retire_s + 2 * DRAIN_S)
        self.rolling: Rolling | None = None
        self.disks = Disks(settings, self._disks_changed)
        self.keeper_ready = False
        self._workers: dict[int, WorkerChild] = {}
        self._keeper: Child | None = None
        self._logger: Child | None = None
        self._log_pipes = LogPipes(0)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._broken: BaseException | None = None
        self._served = asyncio.Event()
        self._kept = asyncio.Event()
        self._on_death: Callable[[str], None] = lambda _child: None
        self._on_disks: Callable[[], None] = lambda: None
        self.further: list[Opened] = []
        self._tls: SharedTls | None = None
        self._tls_said = b""

    def open(self, status: socket.socket) -> None:
        """Prepare, bind, lock, and say in `run/listening.json` where. Raises CannotRun."""
        self.status = status
        try:
            disks = self.disks.open()
        except CannotUseDisks as error:
            raise CannotRun(str(error)) from error
        settings = dataclasses.replace(self.settings, store=dataclasses.replace(self.settings.store, disks=disks))
        serving, store = settings.serving, settings.store
        try:
            self.media = open_group(serving.media, serving.workers, large_answers=True)
            self.peers = open_group(serving.peers, serving.workers, large_answers=True)
            for listener in serving.listeners:
                self.further.append(open_further(listener, serving.workers))
        except CannotListen as error:
            raise CannotRun(str(error)) from error
        self._log_pipes = LogPipes(serving.workers * LINES_PER_SLOT if settings.log.access else 0)
        marks = max(expected_marks(disk.quota_bytes, store.extent_bytes) for disk in store.disks)
        lines = serving.workers * LINES_PER_SLOT
        most = self.disks.most
        self.board = Board.create(BoardShape(lines, most, marks, most - len(disks)))
        self.board.purge_epoch = _purge_epoch(Path(settings.state_dir))
        self.counters = Counters.create(lines + 1)  # the last line is the logger's
        self.settings = dataclasses.replace(
            settings,
            serving=dataclasses.replace(serving, media=_actual(self.media[0]), peers=_actual(self.peers[0])),
            status=_actual(status),
        )
        self.listening = Listening(
            url_of("http", self.media[0]),
            url_of("https", self.peers[0]),
            url_of("http", status),
            self._index_locked(),
            tuple(one.url for one in self.further),
            *facts_of(self.media[0]),
        )
        self._write("listening.json", msgspec.json.encode(self.listening))
        try:
            self.disks.attach(self.board)
        except OSError as error:
            raise CannotRun(f"cannot write into state_dir {self.settings.state_dir}: {error}") from error
        (Path(settings.state_dir) / "run" / "tls.json").unlink(missing_ok=True)  # of an earlier life

    def _index_locked(self) -> tuple[bool, ...]:
        """By number; a disk that was removed has nothing to lock."""
        pinned = self.disks.pinned
        return tuple(number not in pinned or pinned[number].locked for number in range(len(self.disks.roster.disks)))

    def _disks_changed(self) -> None:
        self.listening = msgspec.structs.replace(self.listening, index_locked=self._index_locked())
        try:
            self._write("listening.json", msgspec.json.encode(self.listening))
        except CannotRun as error:
            self._log.warning("listening-not-written", detail=str(error))
        self._on_disks()

    def on_disks(self, told: Callable[[], None]) -> None:
        """`told()` hears of each change of the disks."""
        self._on_disks = told

    def on_death(self, told: Callable[[str], None]) -> None:
        """`told(child)` hears of each child that ended untold."""
        self._on_death = told

    async def start(self) -> None:
        """Start everything; returns when the first worker and the keeper are ready, or after `START_S`."""
        self._spawn(self._keep_keeper(), "keeper")
        if self.settings.log.access:
            self._spawn(self._keep_logger(), "logger")
        if any(one.at.tls for one in self.further):
            rotation_s = self.settings.serving.tls.ticket_rotation_s
            self._tls = await shared_tls(self._commands.tls_probe, rotation_s, self._clock.monotonic_s())
        self._act(self.slots.start())
        try:
            async with asyncio.timeout(START_S):
                await self._served.wait()
                await self._kept.wait()
        except TimeoutError:
            self._log.warning("slow-start", workers=self.slots.sentence(), keeper_ready=self.keeper_ready)

    async def first_served(self) -> None:
        """Returns when a worker serves, or after `WORKERS_FIRST_S`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WORKERS_FIRST_S):
                await self._served.wait()

    async def watch(self) -> None:
        """The clock of the slot table. Raises what ended a task that keeps a child: without it the child would stay dead."""
        while True:
            await self._clock.sleep(TICK_S)
            if self._broken is not None:
                raise self._broken
            self._act(self.slots.tick(self._clock.monotonic_s()))
            self._roll()
            if self._tls is not None and self._tls.rotate_when_due(self._clock.monotonic_s()):
                self._log.info("ticket-keys-rotated")

    def restart(self) -> Rolling | None:
        """Begin a rolling restart; None while another one runs, or the box stops."""
        if self._stopping or (self.rolling is not None and not self.rolling.has_ended):
            self._log.warning("restart-refused", stopping=self._stopping)
            return None
        self._log.info("restart-begun")
        self.rolling = Rolling(len(self.slots.slots))
        return self.rolling

    def reload(self) -> None:
        """Have every worker load its certificates and keys again."""
        for worker in self._workers.values():
            worker.say("reload")

    async def stop(self) -> None:
        """Drain, then end every child. Never longer than both limits together."""
        self._stopping = True
        workers = list(self._workers.values())
        for worker in workers:
            worker.say("drain")
        await _ended(workers, DRAIN_S)
        if self._keeper is not None:
            self._keeper.terminate()
            await _ended([self._keeper], KEEPER_STOP_S)
        self._log_pipes.close_writing()
        if self._logger is not None:
            await _ended([self._logger], LOGGER_STOP_S)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for worker in self._workers.values():  # started while the others drained: a life without clients so far
            worker.kill()
        for sock in (*self.media, *self.peers):
            sock.close()
        self._log_pipes.close()
        for opened in self.further:
            opened.close()

    def _act(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Start(slot, line):
                    if not self._stopping:
                        self._spawn(self._run_worker(slot, line), f"worker-{slot}")
                case Adopt(by, slot):
                    self._log.warning("slot-adopted", slot=slot, by=by)
                    self._say(by, f"adopt {slot}")
                case Release(by, slot):
                    self._log.info("slot-released", slot=slot, by=by)
                    self._say(by, f"release {slot}")
                case Retire(line):
                    self._workers[line].say("retire")
                case Kill(line):
                    self._log.error("worker-overdue", slot=self.slots.slot_of(line))
                    if line in self._workers:
                        self._workers[line].kill()

    def _roll(self) -> None:
        """Go on with the rolling restart that runs, and tell what it came to."""
        rolling = self.rolling
        if rolling is None or self._stopping:
            return
        before = list(rolling.turns)
        actions = rolling.step(self.slots, self._clock.monotonic_s())
        changed = [slot for slot, earlier in enumerate(before) if rolling.turns[slot] is not earlier]
        for slot in changed:
            self._log.info("restart", slot=slot, turn=rolling.turns[slot].word)
        if changed and rolling.has_ended:
            self._log.info("restart-ended", succeeded=rolling.succeeded)
        self._act(actions)

    def _say(self, slot: int, words: str) -> None:
        worker = self._workers.get(self.slots.line_of(slot))
        if worker is not None:
            worker.say(words)

    async def _run_worker(self, slot: int, line: int) -> None:
        """One life of a worker, from exec to its end."""
        try:
            worker = await start_worker(
                self._commands.worker,
                self.settings,
                slot,
                line,
                self.board.fd,
                self.counters.fd,
                self.media,
                self.peers,
                lambda: self._worker_ready(slot, line),
                self._log_pipes.writing(line),
                self.further,
                self._tls.handover if self._tls is not None else None,
                self._tls_changed,
            )
        except OSError as error:
            self._log.error("cannot-exec", child=f"worker-{slot}", detail=str(error))
            await self._clock.sleep(EXEC_RETRY_S)
            self._act(self.slots.died(line, self._clock.monotonic_s()))
            return
        self._workers[line] = worker
        code = await worker.ended()
        del self._workers[line]
        worker.close()
        self.board.clear_worker(line)
        self.counters.forget(line)
        if self._stopping:
            return
        expected = code == 0 and self.slots.is_leaving(line)
        actions = self.slots.died(line, self._clock.monotonic_s(), code == -signal.SIGKILL)
        if expected:
            self._log.info("worker-retired", slot=slot, pid=worker.pid)
            self._act(actions)
            return
        found = self.slots.slots[slot]
        self._log.error(
            "worker-died",
            slot=slot,
            pid=worker.pid,
            code=code,
            phase=found.phase.value,
            early_deaths=found.early_deaths,
        )
        self._on_death("worker")
        self._act(actions)

    def _worker_ready(self, slot: int, line: int) -> None:
        self._log.info("worker-ready", slot=slot)
        self._act(self.slots.ready(line, self._clock.monotonic_s()))
        self._served.set()

    async def _keep_keeper(self) -> None:
        """Every life of the keeper, with growing pauses while it dies young."""
        await self.first_served()
        deaths = 0
        while True:
            began = self._clock.monotonic_s()
            try:
                self._keeper = await start_keeper(
                    self._commands.keeper, self.settings, self.board.fd, self._keeper_is_ready
                )
                code = await self._keeper.ended()
            except OSError as error:
                code = -1
                self._log.error("cannot-exec", child="keeper", detail=str(error))
            self.keeper_ready = False
            if self._stopping:
                return
            deaths = 1 if self._clock.monotonic_s() - began >= KEEPER_STEADY_S else deaths + 1
            pause_s = keeper_pause_s(deaths)
            self._log.error("keeper-died", code=code, deaths_in_a_row=deaths, again_in_s=pause_s)
            self._on_death("keeper")
            await self._clock.sleep(pause_s)

    async def _keep_logger(self) -> None:
        """Every life of the logger. Workers never wait for it: while it is away their pipes fill up."""
        await self.first_served()
        settings, deaths = self.settings, 0
        folder = settings.log.folder or str(Path(settings.state_dir) / "logs")
        line = settings.serving.workers * LINES_PER_SLOT
        while True:
            began = self._clock.monotonic_s()
            handover = LoggerHandover(settings.log, folder, self._log_pipes.reading, self.counters.fd, line)
            try:
                self._logger = await start_logger(self._commands.logger, handover)
                code = await self._logger.ended()
            except OSError as error:
                code = -1
                self._log.error("cannot-exec", child="logger", detail=str(error))
            if self._stopping:
                return
            deaths = 1 if self._clock.monotonic_s() - began >= KEEPER_STEADY_S else deaths + 1
            pause_s = keeper_pause_s(deaths)
            self._log.error("logger-died", code=code, deaths_in_a_row=deaths, again_in_s=pause_s)
            self._on_death("logger")
            await self._clock.sleep(pause_s)

    def _keeper_is_ready(self) -> None:
        self.keeper_ready = True
        self._kept.set()
        self._log.info("keeper-ready")

    def _spawn(self, work: Awaitable[None], name: str) -> None:
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task), "a coroutine becomes a task"
        task.set_name(name)
        self._tasks.add(task)
        task.add_done_callback(self._ended_task)

    def _ended_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and self._broken is None:
            self._broken = error

    def _tls_changed(self, said: bytes) -> None:
        """A worker tells what it loaded. All load the same files: the last word holds."""
        if said == self._tls_said:
            return
        self._tls_said = said
        try:
            self._write("tls.json", said)
        except CannotRun as error:
            self._log.warning("tls-status-not-written", detail=str(error))

    def _write(self, name: str, content: bytes) -> None:
        """Write a file of the run folder whole. Raises CannotRun."""
        try:
            replace_file(Path(self.settings.state_dir) / "run" / name, content, durable=False)
        except OSError as error:
            raise CannotRun(f"cannot write into state_dir {self.settings.state_dir}: {error}") from error


def open_status(settings: Appliance) -> socket.socket:
    """The listening socket of `/healthz`, `/readyz` and `/metrics`. Raises CannotRun."""
    try:
        (status,) = open_group(settings.status, 1, large_answers=False)
    except CannotListen as error:
        raise CannotRun(str(error)) from error
    return status


def _purge_epoch(state_dir: Path) -> int:
    """The purge that the keeper reached in an earlier life of the box; 0 before any."""
    try:
        return msgspec.json.decode((state_dir / "purge.json").read_bytes(), type=PurgeReached).epoch
    except (OSError, msgspec.MsgspecError):
        return 0  # the disks know it, too


def _actual(sock: socket.socket) -> Listen:
    """The address that was really bound."""
    host, port = sock.getsockname()[:2]
    return Listen(host, port)


async def _ended(children: list[WorkerChild] | list[Child], limit_s: float) -> None:
    """Wait for children that were told to end; kill those that do not."""
    if not children:
        return
    waiting = [asyncio.ensure_future(child.ended()) for child in children]
    _done, late = await asyncio.wait(waiting, timeout=limit_s)
    if late:
        for child in children:
            child.kill()
        await asyncio.wait(late, timeout=5.0)
