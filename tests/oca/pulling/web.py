"""An upstream of a pull-through service that does what a test scripts, and a client that reads every header line.

async with pulled_world(tmp_path) as (world, web):
    web.pages["/a"] = Page(b"hello", {"Cache-Control": "max-age=60"})
    reply = await get(world, "/a")
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

from oca.config import Fetching, PullService, Serving
from onebox.ports import free_port
from tests.oca.appliance.world import World, appliance_world

HOST = "web.example"
PIECE_BYTES = 1 << 20
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass
class Page:
    """What is behind a path. An `ETag` or `Last-Modified` among the headers answers conditions and ranges."""

    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200
    sized: bool = True
    """Says its length; otherwise chunked."""
    by_field: str = ""
    """`Vary`: the body is followed by the value of this request field."""
    ranges: bool = True
    cut_at: int | None = None
    """The connection ends before this byte of what is sent."""
    gate: asyncio.Event | None = None
    """Bodies wait for it."""
    pause_s: float = 0.0
    """Between the pieces of a sized body, so that the network's buffers do not take it whole before the other side breaks off."""
    interim: bool = False
    """103 before the answer, and a trailer behind a chunked body."""
    hangs: bool = False
    """There is no answer, for as long as the other side bears it."""


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]


class Web:
    """`start` it; what was asked for is kept in `asked`."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.asked: list[Asked] = []
        self.broken_off: set[str] = set()
        """Paths whose body the other side did not take to its end."""
        self.down = False
        """Connections end without an answer."""
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def count(self, path: str) -> int:
        return sum(asked.path == path for asked in self.asked)

    async def start(self) -> None:
        """Again at the same port."""
        self.port = self.port or free_port()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head[:-4].split("\r\n")
        method, path, _version = line.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
        self.asked.append(Asked(method, path, headers))
        if self.down:
            return False
        page = self.pages.get(path) or Page(b"nothing here", {}, 404)
        if page.hangs:
            await reader.read()
            return False
        try:
            return await self._answer(writer, page, method, headers)
        except ConnectionError:
            self.broken_off.add(path)
            raise

    async def _answer(self, writer: asyncio.StreamWriter, page: Page, method: str, asked: dict[str, str]) -> bool:
        body = page.body + asked.get(page.by_field, "none").encode() if page.by_field else page.body
        said = {"Date": formatdate(usegmt=True), **page.headers}
        if page.by_field:
            said.setdefault("Vary", page.by_field)
        status = page.status
        etag, changed = said.get("ETag"), said.get("Last-Modified")
        if status == 200 and _not_modified(asked, etag, changed):
            status, body = 304, b""
        elif status == 200 and page.ranges and body and asked.get("if-range") in (None, etag, changed):
            match = _RANGE.fullmatch(asked.get("range", ""))
            first = int(match[1]) if match else 0
            last = min(int(match[2] or len(body)), len(body) - 1) if match else len(body) - 1
            if first and first >= len(body):
                status, body = 416, b""
            elif match:
                said["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
                status, body = 206, body[first : last + 1]
        framing = {"Content-Length": str(len(body))} if page.sized else {"Transfer-Encoding": "chunked"}
        if status != 304:
            said |= framing
        text = "".join(f"{name}: {value}\r\n" for name, value in said.items())
        if page.interim:
            writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
        writer.write(f"HTTP/1.1 {status} Said\r\n{text}\r\n".encode("latin-1"))
        if method == "HEAD" or status == 304:
            return True
        if page.gate is not None:
            await page.gate.wait()
        if page.cut_at is not None and page.cut_at < len(body):
            writer.write(body[: page.cut_at])
            await writer.drain()
            await asyncio.sleep(0.3)  # what came is read before the end is seen
            return False
        if page.sized:
            for at in range(0, len(body), PIECE_BYTES):
                writer.write(body[at : at + PIECE_BYTES])
                if page.pause_s:
                    await writer.drain()
                    await asyncio.sleep(page.pause_s)
        else:
            for at in range(0, len(body), 65536):
                piece = body[at : at + 65536]
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
            writer.write(b"0\r\nX-Trailer: 1\r\n\r\n" if page.interim else b"0\r\n\r\n")
        await writer.drain()
        return True


def _not_modified(asked: dict[str, str], etag: str | None, changed: str | None) -> bool:
    if "if-none-match" in asked:
        return etag is not None and etag in asked["if-none-match"]
    return changed is not None and asked.get("if-modified-since") == changed


@dataclass
class Reply:
    status: int
    lines: list[tuple[str, str]]
    body: bytes
    whole: bool = True
    """False when the connection ended before the body did."""

    def __getitem__(self, name: str) -> str:
        return ", ".join(value for said, value in self.lines if said == name)

    @property
    def cache(self) -> str:
        """`Cache-Status` without the name of the cache and what is left of the freshness."""
        return re.sub(r";ttl=-?\d+", "", self["cache-status"]).removeprefix("lowtide;")


async def get(world: World, path: str, method: str = "GET", **headers: str) -> Reply:
    """One request on a connection of its own."""
    reader, writer = await asyncio.open_connection(*world.box.address)
    try:
        return await ask(reader, writer, path, method, **headers)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, method: str = "GET", **headers: str
) -> Reply:
    given = {"Host": HOST, **{name.replace("_", "-"): value for name, value in headers.items()}}
    text = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    writer.write(f"{method} {path} HTTP/1.1\r\n{text}\r\n".encode("latin-1"))
    async with asyncio.timeout(60):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head[:-4].split("\r\n")
        status = int(line.split(" ")[1])
        said = [(name.lower(), value.strip()) for name, _, value in (one.partition(":") for one in lines)]
        length = int(dict(said).get("content-length", "0"))
        if method == "HEAD" or status in (204, 304):
            return Reply(status, said, b"")
        if dict(said).get("transfer-encoding") == "chunked":
            return Reply(status, said, *await _chunks(reader))
        try:
            return Reply(status, said, await reader.readexactly(length))
        except asyncio.IncompleteReadError as error:
            return Reply(status, said, error.partial, whole=False)


async def _chunks(reader: asyncio.StreamReader) -> tuple[bytes, bool]:
    """A chunked body, and whether it came to its end."""
    body = b""
    try:
        while length := int(await reader.readuntil(b"\r\n"), 16):
            body += await reader.readexactly(length)
            await reader.readexactly(2)
    except asyncio.IncompleteReadError:
        return body, False
    await reader.readexactly(2)
    return body, True


@asynccontextmanager
async def pulled_world(
    folder: Path, disks: int = 1, workers: int = 1, **service: object
) -> AsyncIterator[tuple[World, Web]]:
    """An appliance with one pull-through service, not yet started. `service` are fields of `PullService`."""
    web = Web()
    await web.start()
    settings = {"name": "web", "hosts": (HOST,), "upstreams": (web.url,), **service}
    async with appliance_world(
        folder,
        services=(PullService(**settings),),  # type: ignore[arg-type]
        disks=disks,
        serving=Serving(workers=workers, first_byte_s=20.0, stall_s=20.0),
        fetching=Fetching(first_byte_s=10.0, stall_s=10.0),
    ) as world:
        try:
            yield world, web
        finally:
            await web.close()
