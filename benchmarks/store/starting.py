"""`store/first-hit-s`: from the start of `lowtide oca run` to the first byte of a hit, over a disk that an earlier life left in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from benchmarks.serve import processes
from benchmarks.serve.rows import Plain, Row, plain
from benchmarks.store import stocking
from contracts.urls import with_token
from oca.config import Appliance, ControlPlane, Disk, Listen, Serving, Store
from oca.link.files import KeeperStatus
from oca.link.settings import store_settings
from oca.store.board import Board, BoardShape
from oca.store.disks import expected_marks
from oca.store.writer import StoreWriter
from onebox.ports import free_port
from tests.oca.worker.worker_harness import Keys, Published, publish, put_file, write_keys

EXTENTS = 1_000_000
WORKERS = 2
PATIENCE_S = 120.0
_EVERY_S = 0.002


class Prepared:
    """An appliance that has an index of so many extents and one real file."""

    def __init__(self, folder: Path, extents: int) -> None:
        self.folder = folder
        self.film: Published = publish("v-360.mp4", 100_000)
        self.keys = Keys()
        stocked = stocking.settings_of(folder / "disk", extents)
        disk = stocked.disks[0]
        self.port = free_port()
        self.settings = Appliance(
            state_dir=str(folder / "state"),
            store=Store((Disk(disk.path, disk.quota_bytes),), stocked.extent_bytes, stocked.index_map_bytes, 1.0),
            control_plane=ControlPlane("https://127.0.0.1:1"),
            serving=Serving(workers=WORKERS, media=Listen("127.0.0.1", self.port)),
            log_level="warning",
        )
        (folder / "state").mkdir(parents=True)
        write_keys(folder / "state", self.keys.public())
        self.stocked = stocking.stock(stocked, extents, files=True)
        self.opened_s = self._put_film()
        """How long a keeper takes to read the index and look at all files."""
        self.config = folder / "oca.json"
        self.config.write_bytes(msgspec.json.encode(self.settings))

    def _put_film(self) -> float:
        settings = store_settings(self.settings)
        marks = expected_marks(self.settings.store.disks[0].quota_bytes, settings.extent_bytes)
        board = Board.create(BoardShape(1, 1, marks))
        began = time.monotonic()
        store = StoreWriter.open(settings, board, time.time)
        opened_s = time.monotonic() - began
        put_file(store, settings.extent_bytes, self.film)
        store.close()
        board.close()
        return opened_s


async def row(prepared: Prepared, rounds: int, say: Callable[[str], None]) -> Row:
    """The median of so many starts, each behind an orderly stop."""
    found = [await asyncio.to_thread(_start_once, prepared) for _ in range(rounds)]
    words = f"s from the start to the first hit, index of {prepared.stocked.extents} extents, {WORKERS} workers, page cache warm"
    made = plain("store/first-hit-s", words, found)
    say(f"  {made.name}: {made.ours:.2f} s")
    return made


def _start_once(prepared: Prepared) -> Plain:
    reading, writing = os.pipe()
    command = [
        sys.executable,
        "-m",
        "lowtide",
        "oca",
        "run",
        "--config",
        str(prepared.config),
        "--ready-fd",
        str(writing),
    ]
    with (prepared.folder / "log").open("ab") as log:
        began = time.monotonic()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(writing,), start_new_session=True
        )
    os.close(writing)
    try:
        listening_s, hit_s = _first_hit(prepared, began)
        with os.fdopen(reading, "rb") as pipe:
            pipe.readline()
        ready_s = _keeper_reports(prepared, process, began)  # only then it can be stopped in order
    finally:
        processes.stop(process, 60.0)
    return Plain(hit_s, {"listening_s": listening_s, "keeper_ready_s": ready_s})


def _keeper_reports(prepared: Prepared, process: subprocess.Popen[bytes], began: float) -> float:
    """Seconds to the first word of the keeper, which has read all of the index before."""
    path = prepared.folder / "state" / "run" / "keeper.json"
    while time.monotonic() - began < PATIENCE_S and process.poll() is None:
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            if msgspec.json.decode(path.read_bytes(), type=KeeperStatus).pid in processes.tree(process.pid):
                return time.monotonic() - began
        time.sleep(0.05)
    raise RuntimeError("the keeper does not report")


def _first_hit(prepared: Prepared, began: float) -> tuple[float, float]:
    """Seconds to an accepted connection, and to the first byte of the right answer."""
    path = with_token(prepared.keys.token(), prepared.film.name.path)
    ask = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{prepared.port}\r\nRange: bytes=0-99\r\n\r\n".encode()
    while time.monotonic() - began < PATIENCE_S:
        try:
            sock = socket.create_connection(("127.0.0.1", prepared.port), PATIENCE_S)
        except OSError:
            time.sleep(_EVERY_S)
            continue
        with sock:
            listening_s = time.monotonic() - began
            sock.sendall(ask)
            said = sock.recv(65536)
            if said.startswith(b"HTTP/1.1 206 ") and said.endswith(prepared.film.data[:100]):
                return listening_s, time.monotonic() - began
            raise RuntimeError(f"no hit: {said[:300]!r}")
    raise RuntimeError("the appliance does not listen")
