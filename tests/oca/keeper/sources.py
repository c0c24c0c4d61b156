"""An origin or appliance of a test that serves published files, with the faults that the test sets."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import Counter
from dataclasses import dataclass, field

from aiohttp import web

from contracts.digests import BLOCK_BYTES
from contracts.plans import RankedSource, SourceKind


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
    trickle_in_block: int | None = None
    """From this block on it sends a byte now and then, for ever."""
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
    at_once: int = 0
    most_at_once: int = 0
    """Requests under way together."""
    headers: list[dict[str, str]] = field(default_factory=list)
    block_s: float = 0.0
    """Its uplink: so many seconds for each block that it sends to anybody, one after the other."""
    host: str = "127.0.0.1"
    url: str = ""
    _uplink: asyncio.Lock = field(default_factory=asyncio.Lock)
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
        await web.TCPSite(self.runner, self.host, 0, ssl_context=context).start()
        scheme = "https" if context else "http"
        self.url = f"{scheme}://{self.host}:{self.runner.addresses[0][1]}"

    async def close(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()
            self.runner = None

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._answer(request)
        finally:
            self.at_once -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
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
            if self.block_s:
                async with self._uplink:
                    await asyncio.sleep(self.block_s)
            if number == self.wrong_block:
                piece[7] ^= 0x40
            if number == self.trickle_in_block:
                for byte in piece:
                    await response.write(bytes((byte,)))
                    await asyncio.sleep(0.05)
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
