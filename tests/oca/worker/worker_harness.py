"""A real worker process over a real store, with a keeper that does what the test says. Nothing of ours is patched."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from joserfc.jwk import ECKey

from contracts.digests import BLOCK_BYTES, DigestBuilder, FileDigests
from contracts.keys import KeySet, KeyUse, PublicKey
from contracts.tokens.claims import MediaClaims
from contracts.tokens.jwt import sign
from contracts.urls import MediaName, with_token
from oca.config import Appliance, ControlPlane, Disk, Serving, Store
from oca.link.counters import Count, Counters, Reason
from oca.link.handover import Handover, write_handover
from oca.link.messages import Done, Failed, FetchFailure, Head, Ready, Served, Unreadable, Want
from oca.link.server import Link, LinkServer
from oca.link.settings import store_settings
from oca.store.board import Board, BoardShape
from oca.store.extents import ExtentSpec, key_hash
from oca.store.writer import StoreWriter

EXTENT_BYTES = 1024 * 1024
KID = "test-1"


@dataclass
class Published:
    """A file as it was published: its bytes are what every answer is compared with."""

    name: MediaName
    data: bytes
    digests: FileDigests

    @property
    def header(self) -> bytes:
        return (
            b"Content-Type: video/mp4\r\n"
            b"ETag: " + self.digests.etag.encode() + b"\r\n"
            b"Cache-Control: public, max-age=31536000, immutable\r\n"
            b"Last-Modified: Sat, 01 Nov 2025 10:00:00 GMT\r\n"
        )  # fmt: skip


def publish(file: str, size: int, title: str = "t1", tier: str = "hd") -> Published:
    name = MediaName(title, tier, file)
    data = (b"%s-%d|" % (file.encode(), size) * (size // 4 + 1))[:size]
    data = bytes(data[i % len(data)] ^ (i // 251 & 0xFF) for i in range(size)) if size < 5000 else _scramble(data, file)
    builder = DigestBuilder(name.key, "video/mp4")
    builder.update(data)
    return Published(name, data, builder.finish())


def _scramble(data: bytes, seed: str) -> bytes:
    return random.Random(seed).randbytes(len(data))


def put_block(store: StoreWriter, extent_bytes: int, file: Published, block: int) -> Ready:
    """Write one block of a file; not durable before the next commit."""
    number, inside = divmod(block, extent_bytes // BLOCK_BYTES)
    disk = store.place(key_hash(file.name.key), number)
    assert disk is not None
    extent = disk.open_extent(ExtentSpec(file.name.key, file.digests.version, len(file.data), number, file.header))
    data = file.data[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES]
    said = disk.write_block(extent, inside, data, file.digests.block(block))
    disk.close_extent(extent)
    return Ready(0, said.disk, said.extent_id, number, block, block, said.version, said.file_size, said.slot)


def put_file(store: StoreWriter, extent_bytes: int, file: Published) -> None:
    """All blocks of a file, durable."""
    for block in range(file.digests.block_count):
        put_block(store, extent_bytes, file, block)
    for disk in store.disks.values():
        disk.commit_batch()


def write_keys(state: Path, *keys: PublicKey, number: int = 1, revoked: tuple[str, ...] = ()) -> None:
    path = state / "keys.json"
    temporary = path.with_suffix(".new")
    temporary.write_bytes(msgspec.json.encode(KeySet(number, keys, revoked)))
    temporary.replace(path)


class Keys:
    """A signing key and the key set that publishes it."""

    def __init__(self, kid: str = KID) -> None:
        self.kid = kid
        self.key = ECKey.generate_key("P-256")

    def public(self) -> PublicKey:
        jwk = {name: str(value) for name, value in self.key.as_dict(private=False).items() if isinstance(value, str)}
        return PublicKey(self.kid, KeyUse.MEDIA, "ES256", jwk)

    def token(self, **changes: object) -> str:
        now = time.time()
        claims = MediaClaims("test", "session-1", "/media/t1/", ("base", "hd"), now + 3600, now)
        return sign(msgspec.structs.replace(claims, **changes), self.key, self.kid)


@dataclass
class FakeKeeper:
    """The keeper's end of the link, and the writer's hand. What it does with a want is `self.script`."""

    bench: Bench
    wants: list[Want] = field(default_factory=list)
    reports: list[Served] = field(default_factory=list)
    cancelled_requests: list[int] = field(default_factory=list)
    unread: list[Unreadable] = field(default_factory=list)
    files: dict[str, Published] = field(default_factory=dict)
    delay_s: float = 0.0
    silent: bool = False
    failure: FetchFailure | None = None
    only_blocks: int | None = None
    """Announce so many blocks of a want, then fall silent."""
    server: LinkServer | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        self.server = LinkServer(self.bench.state, self, lambda _worker, _why: None)
        await self.server.start()

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self.server is not None:
            await self.server.close()
            self.server = None

    def joined(self, link: Link) -> None: ...

    def left(self, link: Link) -> None: ...

    def cancelled(self, link: Link, request: int) -> None:
        self.cancelled_requests.append(request)

    def unreadable(self, link: Link, found: Unreadable) -> None:
        self.unread.append(found)

    def served(self, link: Link, served: Served) -> None:
        self.reports.append(served)

    def wanted(self, link: Link, want: Want) -> None:
        self.wants.append(want)
        if not self.silent:
            task = asyncio.get_running_loop().create_task(self._answer(link, want))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, link: Link, want: Want) -> None:
        await asyncio.sleep(self.delay_s)
        if self.failure is not None and not want.head_only:
            link.send(Failed(want.request, self.failure.name))
            return
        file = self.files.get(want.key)
        if file is None:
            link.send(Failed(want.request, FetchFailure.NOT_FOUND.name))
            return
        if not want.version:
            link.send(Head(want.request, file.digests.version, len(file.data), file.header))
        if want.head_only:
            link.send(Done(want.request))
            return
        assert want.last_block is not None
        for count, block in enumerate(range(want.first_block, want.last_block + 1)):
            if self.only_blocks is not None and count >= self.only_blocks:
                return
            link.send(msgspec.structs.replace(self.bench.write_block(file, block), request=want.request))
        link.send(Done(want.request))


class Bench:
    """One appliance without supervisor and keeper: a store, its writer, a worker process."""

    def __init__(self, folder: Path, serving: Serving, extent_bytes: int = EXTENT_BYTES, workers: int = 1) -> None:
        self.folder = folder
        self.state = folder / "state"
        (self.state / "run").mkdir(parents=True)
        self.settings = Appliance(
            state_dir=str(self.state),
            store=Store(
                disks=(Disk(str(folder / "disk"), 256 << 20),),
                extent_bytes=extent_bytes,
                index_map_bytes=4 << 20,
                cache_share=0.5,
            ),
            control_plane=ControlPlane(url="https://127.0.0.1:1"),
            serving=serving,
            log_level="info",
        )
        self.board = Board.create(BoardShape(workers=workers, disks=1, marks_per_disk=4096))
        self.counters = Counters.create(workers)
        self.store = StoreWriter.open(store_settings(self.settings), self.board, time.time)
        self.keys = Keys()
        self.write_keys(self.keys.public())
        self.media = _listener()
        self.peers = _listener()
        self.port = self.media.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None
        self.control: socket.socket | None = None
        self.log = folder / "worker.log"
        self.log_pipe, self._log_fd = os.pipe()
        """What the logger would read."""

    def write_keys(self, *keys: PublicKey, number: int = 1, revoked: tuple[str, ...] = ()) -> None:
        write_keys(self.state, *keys, number=number, revoked=revoked)

    def store_file(self, file: Published, blocks: list[int] | None = None) -> None:
        """Put blocks of a file (all of them by default) into the store and make them durable."""
        for block in range(file.digests.block_count) if blocks is None else blocks:
            self.write_block(file, block)
        self.commit()

    def commit(self) -> None:
        for disk in self.store.disks.values():
            disk.commit_batch()

    def write_block(self, file: Published, block: int) -> Ready:
        return put_block(self.store, self.settings.store.extent_bytes, file, block)

    def start(self) -> None:
        ours, theirs = socket.socketpair()
        self.control = ours
        fds = (self.board.fd, self.counters.fd, theirs.fileno(), self.media.fileno(), self.peers.fileno())
        handover = Handover(self.settings, 0, fds[0], fds[1], fds[2], (fds[3],), (fds[4],), log_fd=self._log_fd)
        fd = write_handover(handover)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "oca.worker", "--handover-fd", str(fd)],
                pass_fds=(fd, *fds, self._log_fd),
                stderr=log,
            )
        os.close(fd)
        theirs.close()
        ours.settimeout(20)
        assert ours.recv(64) == b"ready\n", self.log.read_text()

    def say(self, line: str) -> None:
        assert self.control is not None
        self.control.sendall(line.encode() + b"\n")

    def stop(self) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait(10)
        if self.control is not None:
            self.control.close()
        for sock in (self.media, self.peers):
            sock.close()
        os.close(self.log_pipe)
        os.close(self._log_fd)
        self.store.close()

    def path(self, file: Published, **token: object) -> str:
        return with_token(self.keys.token(**token), file.name.path)

    def count(self, row: Count) -> int:
        return self.counters.total(row)

    async def reaches(self, row: Count | Reason, number: int) -> None:
        """Wait until a counter has this value: it is written behind the answer."""
        found = -1
        deadline = time.monotonic() + 30
        while found != number:
            assert time.monotonic() < deadline, f"{row} stays at {found}, not {number}"
            await asyncio.sleep(0.01)
            found = self.counters.total(row)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def connect(self) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
        return Client(self, reader, writer)


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes
    version: str = "HTTP/1.1"

    @property
    def problem(self) -> str:
        return str(msgspec.json.decode(self.body)["type"]).rsplit("/", 1)[-1]


class Client:
    """Raw bytes over one connection, with a strict reading of what comes back."""

    def __init__(self, bench: Bench, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.bench = bench
        self.reader = reader
        self.writer = writer

    async def ask(self, path: str, method: str = "GET", version: str = "HTTP/1.1", **headers: str) -> Reply:
        self.send(path, method, version, **headers)
        return await self.reply(head=method == "HEAD")

    def send(self, path: str, method: str = "GET", version: str = "HTTP/1.1", **headers: str) -> None:
        lines = {"Host": self.bench.host, **{name.replace("_", "-"): value for name, value in headers.items()}}
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
        self.raw(f"{method} {path} {version}\r\n{text}\r\n".encode())

    def raw(self, data: bytes) -> None:
        self.writer.write(data)

    async def reply(self, head: bool = False) -> Reply:
        """One answer. Raises IncompleteReadError when the connection ends inside it."""
        block = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)).decode()
        status_line, *lines = block[:-4].split("\r\n")
        version, status, _reason = status_line.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        assert len(headers) == len(lines), f"a header came twice: {lines}"
        length = 0 if head or int(status) in (204, 304) else int(headers["content-length"])
        body = await asyncio.wait_for(self.reader.readexactly(length), 20)
        return Reply(int(status), headers, body, version)

    async def ended(self) -> bool:
        """True when the other side has closed, with nothing left to read. Closes this side, too."""
        try:
            return await asyncio.wait_for(self.reader.read(1), 10) == b""
        except ConnectionResetError:
            return True
        finally:
            await self.close()

    def reset(self) -> None:
        """Break the connection, as a host that goes away does."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


def _listener() -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 128 * 1024)
    sock.bind(("127.0.0.1", 0))
    sock.listen(128)
    return sock


@contextlib.contextmanager
def running(folder: Path, **serving: object) -> Iterator[Bench]:
    """A bench with its worker not yet started; stopped at the end."""
    bench = Bench(folder, Serving(**serving))  # type: ignore[arg-type]
    try:
        yield bench
    finally:
        bench.stop()


@contextlib.asynccontextmanager
async def with_keeper(bench: Bench) -> AsyncIterator[FakeKeeper]:
    keeper = FakeKeeper(bench)
    await keeper.start()
    try:
        yield keeper
    finally:
        await keeper.stop()
