"""A real worker process, the keeper's forwarding part in the test's process, and an upstream that does what the test scripts.

async with forwarding(tmp_path, upstream) as bench:
    client = await bench.worker.connect()
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from oca.config import Fetching, PullService
from oca.keeper.forwarding import HttpForwarding
from oca.keeper.metrics import KeeperMetrics
from oca.keeper.passing import Passing
from oca.keeper.unstored import Unstored
from oca.link.counters import Count
from oca.link.handing import HandingServer
from oca.link.messages import Failed, FetchFailure, Want
from oca.link.passing import PassEnd
from oca.link.server import Link
from tests.oca.worker.worker_harness import Bench, FakeKeeper, running

SERVICE = "api.example"
LIMIT = 80 << 20


@dataclass
class Asked:
    """A request as it reached the upstream. `body` is read by the script."""

    line: str
    fields: list[tuple[str, str]]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    trailers: bytes = b""

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name]

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it is framed."""
        if self.values("transfer-encoding"):
            while size := int(await self.reader.readline(), 16):
                yield await self.reader.readexactly(size)
                await self.reader.readexactly(2)
            while (line := await self.reader.readline()) not in (b"\r\n", b""):
                self.trailers += line
            return
        left = int((self.values("content-length") or ["0"])[0])
        while left:
            piece = await self.reader.read(min(left, 1 << 16))
            if not piece:
                raise ConnectionResetError
            left -= len(piece)
            yield piece

    async def body(self) -> bytes:
        return b"".join([piece async for piece in self.pieces()])

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


Script = Callable[[Asked], Awaitable[None]]


async def ok(asked: Asked) -> None:
    """Says back what came."""
    body = await asked.body()
    await asked.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Said: yes\r\n\r\n" % len(body) + body)


@dataclass
class Upstream:
    script: Script = ok
    asked: list[Asked] = field(default_factory=list)
    gone: int = 0
    """Connections that ended."""
    port: int = 0
    _server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                    line, *lines = head[:-4].split("\r\n")
                    fields = [(name, value.strip()) for name, _, value in (text.partition(":") for text in lines)]
                    asked = Asked(line, fields, reader, writer)
                    self.asked.append(asked)
                    await self.script(asked)
        finally:
            self.gone += 1
            writer.close()


class NothingStorable(FakeKeeper):
    """What it is asked for has to be passed on."""

    def wanted(self, link: Link, want: Want) -> None:
        link.send(Failed(want.request, FetchFailure.NOT_STORABLE.name))


@dataclass
class ForwardingBench:
    worker: Bench
    keeper: FakeKeeper
    upstream: Upstream
    passing: Passing
    handing: HandingServer
    metrics: KeeperMetrics
    changed: list[str]
    """Service keys that unsafe requests changed."""
    in_peace: set[str]
    """Upstreams that are to be asked last."""

    def ended(self, how: PassEnd) -> float:
        found = self.metrics.registry.get_sample_value("lowtide_keeper_passed_exchanges_total", {"end": how.value})
        return found or 0.0

    @property
    def rss_bytes(self) -> int:
        """Of the worker."""
        assert self.worker.process is not None
        pages = Path(f"/proc/{self.worker.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    @property
    def open_files(self) -> int:
        assert self.worker.process is not None
        return len(os.listdir(f"/proc/{self.worker.process.pid}/fd"))

    async def stop_keeper(self) -> None:
        """It cuts what is under way and takes nothing more."""
        self.handing.close()
        await self.passing.close()


@contextlib.asynccontextmanager
async def forwarding(
    folder: Path, upstream: Upstream, *, also: tuple[str, ...] = (), stall_s: float = 10.0, **serving: object
) -> AsyncIterator[ForwardingBench]:
    """`also`: upstreams that are asked before."""
    await upstream.start()
    service = PullService("api", (SERVICE,), (*also, f"http://127.0.0.1:{upstream.port}/base"), max_request_bytes=LIMIT)
    with running(folder, stall_s=stall_s, **serving) as worker:
        worker.settings = dataclasses.replace(worker.settings, services=(service,))
        metrics = KeeperMetrics()
        changed: list[str] = []
        in_peace: set[str] = set()

        async def invalidate(keys: Sequence[str]) -> None:
            changed.extend(keys)

        forwarder = HttpForwarding((service,), Fetching(), stall_s, invalidate, metrics, lambda: in_peace)
        passing = Passing(cast(Unstored, None), forwarder, 100, stall_s, metrics)
        handing = HandingServer(worker.state, passing.take)
        handing.start()
        keeper = NothingStorable(worker)
        await keeper.start()
        try:
            worker.start()
            await worker.reaches(Count.KEEPER_LINKED, 1)
            bench = ForwardingBench(worker, keeper, upstream, passing, handing, metrics, changed, in_peace)
            try:
                yield bench
            finally:
                await bench.stop_keeper()
                await forwarder.close()
        finally:
            await keeper.stop()
    await upstream.close()
