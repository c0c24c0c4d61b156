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
import re
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import WSMsgType, web
from joserfc import jws
from joserfc.jwk import ECKey

from chassis import certificates, config
from chassis.tls import ClientCertificate, TlsFiles, server_context
from contracts.digests import BLOCK_BYTES, FileDigests, SignedDigests, block_count
from contracts.enrolment import CaAnswer, EnrolAnswer, EnrolRequest, PeerKind, san_uri
from contracts.keys import KeySet, KeyUse, PublicKey
from contracts.plans import AppliancePlan, Order, RankedSource, Reason, SourceKind, Upstreams
from contracts.reports import ApplianceReport, Heartbeat, Nudge, ReportAnswer
from contracts.urls import cache_key
from control_plane.ingestion import Reported, judge
from oca.config import Appliance, ControlPlane, Disk, Fetching, Store
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
from tests.oca.store.harness import MadeFile, make_file

MIB = 1 << 20
EXTENT = MIB
SECRET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


async def until(true: Callable[[], object], within_s: float = 8.0) -> None:
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


class SigningKey:
    """An ES256 key of the control plane."""

    def __init__(self, kid: str, use: KeyUse = KeyUse.DIGESTS) -> None:
        self.kid = kid
        self.key = ECKey.generate_key("P-256")
        public = {name: str(value) for name, value in self.key.as_dict(private=False).items()}
        self.public = PublicKey(kid, use, "ES256", public)

    def sign(self, digests: FileDigests) -> SignedDigests:
        header = {"alg": "ES256", "kid": self.kid}
        return SignedDigests(jws.serialize_compact(header, msgspec.json.encode(digests), self.key))


class FakeControlPlane:
    """Keeps the law of the real one about reports; everything else is as a test sets it."""

    def __init__(self, folder: Path) -> None:
        self.ca_key = certificates.make_key()
        self.ca_pem = certificates.make_ca(self.ca_key, "test CA", time.time())
        self.appliance = "a-1"
        self.signing = SigningKey("d-1")
        self.media_key = SigningKey("m-1", KeyUse.MEDIA)
        self.keys = KeySet(1, (self.signing.public, self.media_key.public))
        self.lists: dict[str, SignedDigests] = {}
        self.parents: tuple[RankedSource, ...] = ()
        self.plan: AppliancePlan | None = None
        self.state = "live"
        self.reports: list[ApplianceReport] = []
        self.traffic: Counter[str] = Counter()
        self.reported = Reported()
        self.beats: list[Heartbeat] = []
        self.asked: Counter[str] = Counter()
        self.away = False
        self.lose_answers = 0
        self.refuse = 0
        """Reports to refuse as not possible."""
        self.code_secret = SECRET
        """What the operator copied into the code file."""
        self.url = ""
        self._folder = folder
        self._sockets: set[web.WebSocketResponse] = set()
        self._runner: web.AppRunner | None = None

    @property
    def code(self) -> str:
        return f"{self.code_secret}.{certificates.ca_fingerprint(self.ca_pem)}"

    def files(self, name: str, kind: PeerKind = PeerKind.SERVICE) -> TlsFiles:
        """A certificate of this CA for a server of the test."""
        key = certificates.make_key()
        uri = san_uri(kind, name)
        pem = certificates.sign_csr(
            certificates.make_csr(key, uri),
            ca_pem=self.ca_pem,
            ca_key=self.ca_key,
            uri=uri,
            addresses=("127.0.0.1",),
            now=time.time(),
        )
        files = TlsFiles(self._folder / f"{name}.pem", self._folder / f"{name}-key.pem", self._folder / "ca.pem")
        certificates.write_private(files.key, certificates.key_to_pem(key))
        files.certificate.write_text(pem)
        (self._folder / "ca.pem").write_text(self.ca_pem)
        return files

    async def start(self) -> None:
        app = web.Application(client_max_size=64 << 20, middlewares=[self._maybe_away])
        app.router.add_get("/v1/ca", self._ca)
        app.router.add_post("/v1/enrol", self._enrol)
        app.router.add_get("/v1/keys", self._keys)
        app.router.add_get("/v1/digests", self._digests)
        app.router.add_get("/v1/upstreams", self._upstreams)
        app.router.add_get("/v1/appliance/plan", self._plan)
        app.router.add_post("/v1/appliance/report", self._report)
        app.router.add_get("/v1/appliance/heartbeat", self._heartbeat)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        context = server_context(self.files("control-plane"), ClientCertificate.OPTIONAL)
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        self.url = f"https://127.0.0.1:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        for socket in list(self._sockets):
            await socket.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def nudge(self) -> None:
        for socket in list(self._sockets):
            await socket.send_str(msgspec.json.encode(self._standing()).decode())

    def _standing(self) -> Nudge:
        return Nudge(self.plan.number if self.plan else 0, self.keys.number, self.state)

    @web.middleware
    async def _maybe_away(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked[request.path] += 1
        if self.away:
            assert request.transport is not None
            request.transport.abort()
            raise ConnectionResetError
        response: web.StreamResponse = await handler(request)
        return response

    async def _ca(self, _request: web.Request) -> web.Response:
        return _json(CaAnswer(self.ca_pem))

    async def _enrol(self, request: web.Request) -> web.Response:
        asked = msgspec.json.decode(await request.read(), type=EnrolRequest)
        if asked.secret != SECRET:
            return web.Response(status=403)
        pem = certificates.sign_csr(
            asked.csr_pem,
            ca_pem=self.ca_pem,
            ca_key=self.ca_key,
            uri=san_uri(PeerKind.APPLIANCE, self.appliance),
            addresses=asked.addresses,
            now=time.time(),
        )
        return _json(EnrolAnswer(PeerKind.APPLIANCE, self.appliance, pem, self.ca_pem))

    async def _keys(self, _request: web.Request) -> web.Response:
        return _json(self.keys)

    async def _digests(self, request: web.Request) -> web.Response:
        found = self.lists.get(request.query["key"])
        return _json(found) if found is not None else web.Response(status=404)

    async def _upstreams(self, _request: web.Request) -> web.Response:
        return _json(Upstreams(1, self.parents))

    async def _plan(self, _request: web.Request) -> web.Response:
        return _json(self.plan) if self.plan is not None else web.Response(status=404)

    async def _report(self, request: web.Request) -> web.Response:
        report = msgspec.json.decode(await request.read(), type=ApplianceReport)
        if self.refuse:
            self.refuse -= 1
            return web.Response(status=422)
        judgement = judge(self.reported, report)
        self.reported = judgement.after
        self.reports.append(report)
        if judgement.counts:
            for row in report.traffic:
                self.traffic[row.key] += row.served_bytes
        if self.lose_answers:
            self.lose_answers -= 1
            assert request.transport is not None
            request.transport.abort()
        standing = self._standing()
        return _json(
            ReportAnswer(
                judgement.stored_sequence,
                standing.plan_number,
                standing.keys_number,
                standing.state,
                judgement.want_full_holdings,
            )
        )

    async def _heartbeat(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets.add(socket)
        await socket.send_str(msgspec.json.encode(self._standing()).decode())
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                self.beats.append(msgspec.json.decode(message.data, type=Heartbeat))
        self._sockets.discard(socket)
        return socket


def _json(value: msgspec.Struct) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


@dataclass
class FakeSource:
    """An origin or appliance that serves published files, with the faults that a test sets."""

    kind: SourceKind
    name: str
    files: dict[str, bytes]
    status: int | None = None
    """Answer everything with this status."""
    wrong_block: int | None = None
    truncate_in_block: int | None = None
    stall_in_block: int | None = None
    stall_head: bool = False
    grown: bool = False
    """It has a longer file under the same name."""
    ignore_range: bool = False
    delay_s: float = 0.0
    held: dict[str, set[int]] | None = None
    """Blocks by path that it has; None: all. A range it does not have whole is 504, as an appliance does."""
    gate: asyncio.Event | None = None
    """Bodies wait for it."""
    asked: list[tuple[str, int, int]] = field(default_factory=list)
    """(path, first block, last block) of each request."""
    sent_bytes: int = 0
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""
    runner: web.AppRunner | None = None

    @property
    def ranked(self) -> RankedSource:
        return RankedSource(self.kind, self.name, self.url)

    def blocks_asked(self, path: str) -> Counter[int]:
        """How often each block was asked for."""
        return Counter(n for asked, first, last in self.asked if asked == path for n in range(first, last + 1))

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._serve)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0, ssl_context=context).start()
        scheme = "https" if context else "http"
        self.url = f"{scheme}://127.0.0.1:{self.runner.addresses[0][1]}"

    async def close(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()
            self.runner = None

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        assert match is not None, "a keeper always asks for a range"
        first, last = int(match[1]), int(match[2])
        data = self.files.get(request.path)
        blocks = range(first // BLOCK_BYTES, last // BLOCK_BYTES + 1)
        self.asked.append((request.path, blocks[0], blocks[-1]))
        self.headers.append(dict(request.headers))
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.stall_head:
            await asyncio.sleep(30)
        if self.status is not None:
            return web.Response(status=self.status)
        if data is None:
            return web.Response(status=404)
        if self.held is not None and not set(blocks) <= self.held.get(request.path, set()):
            return web.Response(status=504)
        return await self._send(request, data, first, last)

    async def _send(self, request: web.Request, data: bytes, first: int, last: int) -> web.StreamResponse:
        size = len(data) + (1 if self.grown else 0)
        response = web.StreamResponse(status=200 if self.ignore_range else 206)
        body = bytearray(data if self.ignore_range else data[first : last + 1])
        response.content_length = len(body)
        if not self.ignore_range:
            response.headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        await response.prepare(request)
        if self.gate is not None:
            await self.gate.wait()
        start = 0 if self.ignore_range else first // BLOCK_BYTES
        for offset in range(0, len(body), BLOCK_BYTES):
            number = start + offset // BLOCK_BYTES
            piece = body[offset : offset + BLOCK_BYTES]
            if number == self.wrong_block:
                piece[7] ^= 0x40
            if number == self.stall_in_block:
                await response.write(piece[: len(piece) // 2])
                await asyncio.sleep(30)
            if number == self.truncate_in_block:
                await response.write(piece[: len(piece) // 2])
                assert request.transport is not None
                request.transport.close()
                return response
            await response.write(piece)
            self.sent_bytes += len(piece)
        await response.write_eof()
        return response


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

    async def end(self, request: int, within_s: float = 15.0) -> Done | Failed:
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
    fetching: Fetching = field(
        default_factory=lambda: Fetching(connect_s=0.5, first_byte_s=0.5, stall_s=0.5, client_fetches=4)
    )
    keeper: Keeper | None = None
    board: Board = field(default_factory=lambda: Board.create(BoardShape(workers=4, disks=1, marks_per_disk=4096)))
    sources: list[FakeSource] = field(default_factory=list)
    workers: list[LabWorker] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    @property
    def state_dir(self) -> Path:
        return self.root / "state"

    @property
    def settings(self) -> Appliance:
        return Appliance(
            state_dir=str(self.state_dir),
            store=Store((Disk(str(self.root / "disk"), self.quota_bytes),), EXTENT, 4 * MIB, self.cache_share),
            control_plane=ControlPlane(self.plane.url, str(self.root / "enrol.code"), report_s=0.3, heartbeat_s=0.1),
            fetching=self.fetching,
            cache_only=self.cache_only,
            log_level="warning",
        )

    def publish(self, path: str, size: int, seed: int = 0) -> MadeFile:
        """A file whose digest list the control plane signs."""
        file = make_file(cache_key("vod", f"/media/{path}"), size, seed)
        self.plane.lists[file.key] = self.plane.signing.sign(file.digests)
        return file

    async def source(
        self, kind: SourceKind, name: str, files: Iterable[MadeFile], *, parent: bool = True, **faults: Any
    ) -> FakeSource:
        """A running source; a parent of misses too, in the order of the calls."""
        source = FakeSource(kind, name, {file.key.partition("|")[2]: file.data for file in files}, **faults)
        await source.start()
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
        self.keeper = Keeper(self.settings, await open_store(self.settings, self.board, _REAL))
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

    async def start_process(self) -> subprocess.Popen[bytes]:
        """A keeper as the supervisor starts it."""
        self._write_listening()
        self.write_code()
        ready, writing = os.pipe()
        try:
            self.process = self.spawn_process(writing)
            os.close(writing)
            assert await asyncio.to_thread(os.read, ready, 64) == b"ready\n"
        finally:
            os.close(ready)
        return self.process

    def spawn_process(self, ready_fd: int | None = None) -> subprocess.Popen[bytes]:
        settings_fd = os.memfd_create("settings")
        os.write(settings_fd, config.encode(self.settings))
        given = {"--settings-fd": settings_fd, "--board-fd": self.board.fd}
        if ready_fd is not None:
            given["--ready-fd"] = ready_fd
        arguments = [text for name, fd in given.items() for text in (name, str(fd))]
        process = subprocess.Popen([sys.executable, "-m", "oca.keeper", *arguments], pass_fds=tuple(given.values()))
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


class _Real:
    def monotonic_s(self) -> float:
        return time.monotonic()

    def wall_s(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


_REAL = _Real()


@asynccontextmanager
async def keeper_lab(root: Path, **settings: Any) -> AsyncIterator[KeeperLab]:
    plane = FakeControlPlane(root)
    await plane.start()
    lab = KeeperLab(root, plane, **settings)
    try:
        yield lab
    finally:
        await lab.close()
