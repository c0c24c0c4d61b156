"""A keeper with a world around it on loopback: a control plane over mutual TLS, sources with faults, workers on the link.

async with keeper_lab(tmp_path) as lab:
    file = lab.publish("t/hd/v.mp4", 3 * MIB)
    origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
    await lab.start()
    worker = await lab.worker()
    assert await worker.bytes_of(file) == file.data
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from chassis import config
from chassis.tls import ClientCertificate, server_context
from contracts.digests import BLOCK_BYTES, block_count
from contracts.enrolment import PeerKind
from contracts.labtime import REAL_TIME, LabTime
from contracts.plans import AppliancePlan, Order, RankedSource, Reason, SourceKind
from contracts.urls import cache_key
from oca.config import Appliance, ControlPlane, Disk, Fetching, Routes, Serving, Store
from oca.keeper.app import Keeper, open_store
from oca.link.files import Listening
from oca.link.messages import (
    Cancel,
    Done,
    Failed,
    FrameReader,
    Head,
    Hello,
    Ready,
    Reload,
    Served,
    ToWorker,
    Want,
    Welcome,
    decode_to_worker,
    encode,
)
from oca.link.server import connect
from oca.store.board import Board, BoardShape
from oca.store.extents import extent_name
from tests.oca.keeper.plane import FakeControlPlane
from tests.oca.keeper.sources import FakeSource
from tests.oca.store.harness import MadeFile, make_file

MIB = 1 << 20
EXTENT = MIB


async def until(true: Callable[[], object], within_s: float = 30.0) -> None:
    """Waits for something to become true; fails when it does not. An IndexError means that there is nothing to look at yet."""
    end = time.monotonic() + within_s
    while not _holds(true):
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.01)


def _holds(true: Callable[[], object]) -> bool:
    try:
        return bool(true())
    except IndexError:
        return False


class Refused(Exception):
    """The keeper said `Failed`."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(f"{failed.why}: {failed.sentence}")
        self.why = failed.why


class LabWorker:
    """A worker's end of the link that keeps everything it hears."""

    def __init__(self, lab: KeeperLab, number: int) -> None:
        self._lab = lab
        self._number = number
        self._next = 0
        self.heads: dict[int, Head] = {}
        self.ready: dict[int, list[Ready]] = {}
        self.ended: dict[int, asyncio.Future[Done | Failed]] = {}
        self.reloads: list[Reload] = []
        self.welcome: Welcome | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        reader, self._writer = await asyncio.open_unix_connection(sock=connect(self._lab.state_dir))
        self.send(Hello(self._number, os.getpid()))
        self._task = asyncio.create_task(self._listen(reader))
        await until(lambda: self.welcome is not None)

    def send(self, message: Hello | Want | Cancel | Served) -> None:
        assert self._writer is not None
        self._writer.write(encode(message))

    def want(self, key: str, first: int = 0, last: int | None = None, **more: Any) -> int:
        self._next += 1
        request = self._next
        self.ready[request] = []
        self.ended[request] = asyncio.get_running_loop().create_future()
        self.send(Want(request, key, first, last, **more))
        return request

    async def end(self, request: int, within_s: float = 30.0) -> Done | Failed:
        async with asyncio.timeout(within_s):
            return await self.ended[request]

    async def bytes_of(self, file: MadeFile, first: int = 0, last: int | None = None, **more: Any) -> bytes:
        """Want and read blocks from the extent files that the keeper names. Raises Refused."""
        request = self.want(file.key, first, last, **more)
        ended = await self.end(request)
        if isinstance(ended, Failed):
            raise Refused(ended)
        final = block_count(len(file.data)) - 1 if last is None else last
        blocks = self._lab.read_ready(self.ready[request])
        assert sorted(blocks) == list(range(first, final + 1)), "each block is announced exactly once"
        return b"".join(blocks[number] for number in sorted(blocks))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._writer is not None:
            self._writer.transport.abort()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        frames = FrameReader()
        while data := await reader.read(1 << 16):
            for body in frames.feed(data):
                self._hear(decode_to_worker(body))

    def _hear(self, message: ToWorker) -> None:
        match message:
            case Welcome():
                self.welcome = message
            case Head():
                self.heads[message.request] = message
            case Ready():
                self.ready[message.request].append(message)
            case Done() | Failed():
                self.ended[message.request].set_result(message)
            case Reload():
                self.reloads.append(message)


@dataclass
class KeeperLab:
    root: Path
    plane: FakeControlPlane
    quota_bytes: int = 32 * MIB
    cache_share: float = 0.25
    cache_only: bool = False
    stale_s: float = 86_400.0
    fetching: Fetching = field(
        default_factory=lambda: Fetching(connect_s=0.5, first_byte_s=0.5, stall_s=0.5, client_fetches=4)
    )
    serving: Serving = field(default_factory=Serving)
    time: LabTime = REAL_TIME
    routes: Routes = field(default_factory=Routes)
    keeper: Keeper | None = None
    board: Board = field(default_factory=lambda: Board.create(BoardShape(workers=4, disks=1, marks_per_disk=4096)))
    sources: list[FakeSource] = field(default_factory=list)
    workers: list[LabWorker] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None
    clock: SetClock = field(default_factory=lambda: SetClock())
    """Of a keeper in this process."""

    @property
    def state_dir(self) -> Path:
        return self.root / "state"

    @property
    def settings(self) -> Appliance:
        return Appliance(
            state_dir=str(self.state_dir),
            store=Store((Disk(str(self.root / "disk"), self.quota_bytes),), EXTENT, 4 * MIB, self.cache_share),
            control_plane=ControlPlane(
                self.plane.url, str(self.root / "enrol.code"), report_s=0.3, heartbeat_s=0.1, stale_s=self.stale_s
            ),
            serving=self.serving,
            fetching=self.fetching,
            cache_only=self.cache_only,
            routes=self.routes,
            lab=self.time,
            log_level="warning",
        )

    def publish(self, path: str, size: int, seed: int = 0) -> MadeFile:
        """A file whose digest list the control plane signs."""
        file = make_file(cache_key("vod", f"/media/{path}"), size, seed)
        self.plane.lists[file.key] = self.plane.signing.sign(file.digests)
        return file

    async def source(
        self,
        kind: SourceKind,
        name: str,
        files: Iterable[MadeFile],
        *,
        parent: bool = True,
        tls: bool = False,
        **faults: Any,
    ) -> FakeSource:
        """A running source; a parent of misses too, in the order of the calls. `tls`: it wants an appliance's certificate and shows one."""
        held = {file.key.partition("|")[2]: file.data for file in files}
        source = FakeSource(kind, name, held, host=self.plane.host, **faults)
        shown = self.plane.files(name, PeerKind.APPLIANCE) if tls else None
        await source.start(server_context(shown, ClientCertificate.REQUIRED) if shown is not None else None)
        self.sources.append(source)
        if parent:
            self.plane.parents = (*self.plane.parents, source.ranked)
        return source

    def order(self, file: MadeFile, *sources: tuple[FakeSource, float], priority: int = 0) -> Order:
        ranked = tuple(RankedSource(source.kind, source.name, source.url, after) for source, after in sources)
        return Order(
            f"o-{file.digests.blake3[:12]}",
            file.key,
            len(file.data),
            file.digests.blake3,
            priority,
            ranked,
            Reason.POPULAR,
            1e6,
            1.0,
        )

    def plan(self, number: int, *orders: Order, pins: Iterable[str] = (), **more: Any) -> AppliancePlan:
        """A plan whose window is open now; the control plane gives it from now on."""
        now = time.time()
        values: dict[str, Any] = {
            "created_at": now,
            "window_opens_at": now - 60,
            "window_closes_at": now + 600,
            "rate_bps": 0,
            "volume_bytes": 0,
        } | more
        keys = tuple(dict.fromkeys([*(order.key for order in orders), *pins]))
        self.plane.plan = AppliancePlan(number, self.plane.appliance, pins=keys, orders=orders, **values)
        return self.plane.plan

    def write_code(self) -> None:
        (self.root / "enrol.code").write_text(self.plane.code)

    def _write_listening(self) -> None:
        (self.state_dir / "run").mkdir(parents=True, exist_ok=True)
        listening = Listening("http://127.0.0.1:1", "https://127.0.0.1:2", "http://127.0.0.1:3")
        (self.state_dir / "run" / "listening.json").write_bytes(msgspec.json.encode(listening))

    async def start(self, *, joined: bool = True) -> Keeper:
        """A keeper in this process. `joined`: wait until it has keys and parents."""
        self._write_listening()
        self.write_code()
        self.keeper = Keeper(self.settings, await open_store(self.settings, self.board, self.clock), self.clock)
        await self.keeper.start()
        if joined:
            following = self.keeper.following
            await until(lambda: following.keys.number == self.plane.keys.number)
            await until(lambda: following.parents == self.plane.parents)
        return self.keeper

    async def stop(self) -> None:
        if self.keeper is not None:
            await self.keeper.stop()
            self.keeper = None

    def prepare(self) -> None:
        """What a supervisor and an operator leave for a keeper."""
        self._write_listening()
        self.write_code()

    async def start_process(self) -> subprocess.Popen[bytes]:
        """A keeper as the supervisor starts it."""
        self.prepare()
        ready, writing = os.pipe()
        try:
            self.process = self.spawn_process(writing)
            os.close(writing)
            assert await asyncio.to_thread(os.read, ready, 64) == b"ready\n"
        finally:
            os.close(ready)
        return self.process

    def spawn_process(self, ready_fd: int | None = None, through: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """A keeper process; `through` is a command that starts the command it gets as arguments."""
        settings_fd = os.memfd_create("settings")
        os.write(settings_fd, config.encode(self.settings))
        given = {"--settings-fd": settings_fd, "--board-fd": self.board.fd}
        if ready_fd is not None:
            given["--ready-fd"] = ready_fd
        arguments = [text for name, fd in given.items() for text in (name, str(fd))]
        command = [*through, sys.executable, "-m", "oca.keeper", *arguments]
        process = subprocess.Popen(command, pass_fds=tuple(given.values()), stdout=subprocess.PIPE if through else None)
        os.close(settings_fd)
        return process

    async def worker(self, number: int = 0) -> LabWorker:
        worker = LabWorker(self, number)
        await worker.connect()
        self.workers.append(worker)
        return worker

    def read_ready(self, ready: Iterable[Ready]) -> dict[int, bytes]:
        """The announced blocks' bytes from the extent files. A block announced twice fails the test."""
        found: dict[int, bytes] = {}
        per_extent = EXTENT // BLOCK_BYTES
        for message in ready:
            path = self.root / "disk" / extent_name(message.extent_id)
            with path.open("rb") as file:
                for number in range(message.first_block, message.last_block + 1):
                    assert number // per_extent == message.extent_number
                    assert number not in found
                    file.seek(number % per_extent * BLOCK_BYTES)
                    found[number] = file.read(min(BLOCK_BYTES, message.size_bytes - number * BLOCK_BYTES))
        return found

    async def close(self) -> None:
        for worker in self.workers:
            await worker.close()
        await self.stop()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            await asyncio.to_thread(self.process.wait, 10)
        await self.close_world()
        self.board.close()

    async def close_world(self) -> None:
        """Sources and control plane."""
        for source in self.sources:
            await source.close()
        await self.plane.close()


class SetClock:
    """The machine's clock, whose wall somebody may set."""

    def __init__(self) -> None:
        self.set_by_s = 0.0

    def monotonic_s(self) -> float:
        return time.monotonic()

    def wall_s(self) -> float:
        return time.time() + self.set_by_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@asynccontextmanager
async def keeper_lab(root: Path, host: str = "127.0.0.1", **settings: Any) -> AsyncIterator[KeeperLab]:
    plane = FakeControlPlane(root, host)
    await plane.start()
    lab = KeeperLab(root, plane, **settings)
    try:
        yield lab
    finally:
        await lab.close()
