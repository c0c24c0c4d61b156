"""A whole appliance as a process of its own over a stocked disk, for tests that kill, stop and restart its parts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec

from oca.config import Appliance, ControlPlane, Disk, Serving, Store
from oca.link.settings import store_settings
from oca.store.board import Board, BoardShape
from oca.store.writer import StoreWriter
from tests.oca.worker.worker_harness import Keys, Published, publish, put_file, write_keys

FILE = publish("v-360.mp4", 3_000_000)
SCRIPT = Path(__file__).with_name("appliance_process.py")


@dataclass
class Box:
    """A running appliance."""

    settings: Appliance
    keys: Keys
    process: subprocess.Popen[bytes]
    media: str
    status: str
    log: Path

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.media.removeprefix("http://").rpartition(":")
        return host, int(port)

    def children(self, module: str) -> list[int]:
        """Pids of living children of the supervisor that run `module`, in the order they were started."""
        found = []
        for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                if module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(int(pid))
        return found

    async def get(self, client: httpx.AsyncClient, first: int, last: int) -> bytes:
        path = f"/~{self.keys.token()}{FILE.name.path}"
        reply = await client.get(self.media + path, headers={"Range": f"bytes={first}-{last}"})
        assert reply.status_code == 206, reply.text
        return reply.content

    async def metric(self, name: str) -> float:
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"{self.status}/metrics")).text
        return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name + " "))


def settings_of(folder: Path, **changes: object) -> Appliance:
    return Appliance(
        state_dir=str(folder / "state"),
        store=Store(
            disks=(Disk(str(folder / "disk"), 64 << 20),),
            extent_bytes=1 << 20,
            index_map_bytes=4 << 20,
            cache_share=1.0,
        ),
        control_plane=ControlPlane(url="https://127.0.0.1:1"),
        serving=Serving(**{"workers": 2, **changes}),  # type: ignore[arg-type]
    )


def stock(settings: Appliance, files: list[Published]) -> Keys:
    """Fill the disk as an earlier life would have left it, cleanly closed."""
    keys = Keys()
    Path(settings.state_dir, "run").mkdir(parents=True)
    write_keys(Path(settings.state_dir), keys.public())
    board = Board.create(BoardShape(1, 1, 4096))
    store = StoreWriter.open(store_settings(settings), board, time.time)
    for file in files:
        put_file(store, settings.store.extent_bytes, file)
    store.close()
    board.close()
    return keys


@contextlib.contextmanager
def box(settings: Appliance, folder: Path, keys: Keys, before: tuple[str, ...] = ()) -> Iterator[Box]:
    """`before` are words of a command that starts the appliance by `exec`."""
    path = folder / "settings.json"
    path.write_bytes(msgspec.json.encode(settings))
    reading, writing = os.pipe()
    log = folder / "log"
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [*before, sys.executable, str(SCRIPT), str(path), str(writing)],
            pass_fds=(writing,),
            stderr=errors,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        )
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        line = pipe.readline()
    assert line, log.read_text()
    urls = msgspec.json.decode(line)["listening"]
    found = Box(settings, keys, process, urls["media"], urls["status"], log)
    try:
        yield found
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(25)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


async def until(condition: object, wait_s: float = 30.0) -> None:
    deadline = time.monotonic() + wait_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not become true in time"
        await asyncio.sleep(0.02)


async def until_metric(appliance: Box, name: str, value: float, wait_s: float = 30.0) -> None:
    deadline = time.monotonic() + wait_s
    while (found := await appliance.metric(name)) != value:
        assert time.monotonic() < deadline, f"{name} stays at {found}"
        await asyncio.sleep(0.05)
