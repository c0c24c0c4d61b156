"""A whole appliance as processes of their own, with a control plane and a scripted origin around it.

async with appliance_world(tmp_path) as world:
    film = world.publish("film.mp4", 3 * MIB)
    await world.start()
    reader = world.reader()
    assert (await reader.ask(world.wanted(film, 0, 99))).end is End.COMPLETE
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import msgspec

from contracts.digests import BLOCK_BYTES
from contracts.plans import RankedSource
from contracts.tokens.claims import MediaClaims
from contracts.tokens.jwt import sign
from contracts.urls import MediaName, with_token
from oca.config import Appliance, ControlPlane, Disk, Fetching, PullService, Serving, Store
from oca.link.files import KeeperStatus
from tests.oca.appliance.crowd import Reader, Wanted
from tests.oca.appliance.origin import Origin
from tests.oca.keeper.plane import FakeControlPlane
from tests.oca.store.harness import MadeFile, make_file
from tests.oca.supervisor.box import Box, box
from tests.oca.worker.worker_harness import Keys

MIB = 1 << 20
TITLE, TIER = "t1", "hd"


@dataclass
class World:
    """`publish` files, `start`, ask. What an appliance is made of may be set before `start`."""

    folder: Path
    plane: FakeControlPlane
    origin: Origin
    disks: int = 1
    quota_bytes: int = 256 * MIB
    extent_bytes: int = 4 * MIB
    index_map_bytes: int = 16 * MIB
    policy: str = "lru"
    serving: Serving = field(default_factory=Serving)
    fetching: Fetching = field(default_factory=Fetching)
    services: tuple[PullService, ...] = ()
    further_parents: tuple[RankedSource, ...] = ()
    """Asked before the origin."""
    appliance: Box | None = None
    _token: str = ""
    _open: ExitStack = field(default_factory=ExitStack)

    @property
    def state_dir(self) -> Path:
        return self.folder / "state"

    def disk(self, number: int = 0) -> Path:
        return self.folder / f"disk{number}"

    @property
    def settings(self) -> Appliance:
        disks = tuple(Disk(str(self.disk(number)), self.quota_bytes) for number in range(self.disks))
        return Appliance(
            state_dir=str(self.state_dir),
            store=Store(disks, self.extent_bytes, self.index_map_bytes, cache_share=1.0, policy=self.policy),  # type: ignore[arg-type]
            control_plane=ControlPlane(self.plane.url, str(self.folder / "enrol.code"), report_s=1.0, heartbeat_s=0.5),
            serving=self.serving,
            fetching=self.fetching,
            services=self.services,
            log_level="warning",
        )

    def publish(self, name: str, size: int, seed: int = 0) -> MadeFile:
        """A file whose digest list the control plane signs and whose bytes the origin has."""
        media = MediaName(TITLE, TIER, name)
        file = make_file(media.key, size, seed)
        self.plane.lists[file.key] = self.plane.signing.sign(file.digests)
        self.origin.files[media.path] = file.data
        return file

    def forget(self, files: list[MadeFile]) -> None:
        """The origin and the control plane know them no more."""
        for file in files:
            self.plane.lists.pop(file.key, None)
            self.origin.files.pop(self.path_of(file), None)

    def path_of(self, file: MadeFile) -> str:
        return file.key.partition("|")[2]

    def token(self, session: int = 0) -> str:
        now = time.time()
        claims = MediaClaims("test", f"session-{session}", f"/media/{TITLE}/", ("base", TIER), now + 86_400, now)
        return sign(claims, self.plane.media_key.key, self.plane.media_key.kid)

    async def start(self, within_s: float = 30.0) -> Box:
        """Processes up, enrolled, with keys and parents at hand."""
        self.plane.parents = (*self.further_parents, self.origin.ranked)
        self.state_dir.mkdir(parents=True, exist_ok=True)
        (self.folder / "enrol.code").write_text(self.plane.code)
        # As an earlier life left them: no worker refuses tokens until the keys have come.
        (self.state_dir / "keys.json").write_bytes(msgspec.json.encode(self.plane.keys))
        keys = Keys(self.plane.media_key.kid)
        keys.key = self.plane.media_key.key
        self.appliance = await asyncio.to_thread(self._open.enter_context, box(self.settings, self.folder, keys))
        await self.until(lambda: len(self.box.children("oca.worker")) == self.serving.workers, within_s)
        await self.until(lambda: (self.state_dir / "upstreams.json").exists(), within_s)
        await self._until_ready(within_s)
        return self.box

    @property
    def box(self) -> Box:
        assert self.appliance is not None, "the world has been started"
        return self.appliance

    @property
    def host(self) -> str:
        return self.box.media.removeprefix("http://")

    def reader(self) -> Reader:
        return Reader(*self.box.address)

    def wanted(self, file: MadeFile, first: int, last: int, token: str = "") -> Wanted:
        self._token = self._token or self.token()
        target = with_token(token or self._token, self.path_of(file))
        return Wanted(self.host, target, first, last, file.data)

    def block(self, file: MadeFile, number: int, token: str = "") -> Wanted:
        """One whole block."""
        first = number * BLOCK_BYTES
        return self.wanted(file, first, min(len(file.data), first + BLOCK_BYTES) - 1, token)

    def keeper_status(self) -> KeeperStatus | None:
        """What the keeper said of itself last, at most a second ago; None before."""
        try:
            return msgspec.json.decode((self.state_dir / "run" / "keeper.json").read_bytes(), type=KeeperStatus)
        except (OSError, msgspec.MsgspecError):
            return None

    def keeper_metric(self, name: str) -> float:
        """The sum of a keeper's metric over its labels; 0 before the first one was written."""
        try:
            text = (self.state_dir / "run" / "keeper.metrics").read_text()
        except OSError:
            return 0.0
        lines = (line.rpartition(" ") for line in text.splitlines() if line.startswith(name))
        return sum(float(value) for said, _, value in lines if said.partition("{")[0] == name)

    async def counter(self, name: str) -> float:
        """A metric of the appliance by its name with labels; 0 where there is none yet."""
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"{self.box.status}/metrics")).text
        found = (line.rpartition(" ") for line in text.splitlines())
        return next((float(value) for said, _, value in found if said == name), 0.0)

    def kill_keeper(self) -> int | None:
        """SIGKILL; the pid, or None while there is none."""
        for pid in self.box.children("oca.keeper"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return pid
        return None

    def kill_worker(self) -> None:
        """SIGKILL to one of them."""
        os.kill(self.box.children("oca.worker")[0], signal.SIGKILL)

    async def until_keeper_serves(self, unlike: int | None = None, within_s: float = 30.0) -> None:
        """A keeper other than `unlike` listens and has said so."""

        def serves() -> bool:
            status = self.keeper_status()
            return status is not None and status.pid != unlike and status.pid in self.box.children("oca.keeper")

        await self.until(serves, within_s)

    async def until_waiting(self, requests: int, within_s: float = 60.0) -> None:
        """So many requests wait for the keeper."""
        end = time.monotonic() + within_s
        while await self.counter("lowtide_oca_waiting") < requests:
            assert time.monotonic() < end, f"fewer requests wait than {requests}:\n{self._log()}"
            await asyncio.sleep(0.05)

    async def until(self, true: object, within_s: float = 30.0) -> None:
        end = time.monotonic() + within_s
        while not true():  # type: ignore[operator]
            assert time.monotonic() < end, f"it did not become true in time:\n{self._log()}"
            await asyncio.sleep(0.02)

    async def _until_ready(self, within_s: float) -> None:
        end = time.monotonic() + within_s
        async with httpx.AsyncClient() as client:
            while (await client.get(f"{self.box.status}/readyz")).status_code != 200:
                assert time.monotonic() < end, f"the appliance is not ready:\n{self._log()}"
                await asyncio.sleep(0.05)

    def _log(self) -> str:
        return self.box.log.read_text()[-4000:] if self.appliance is not None else ""

    async def stop_appliance(self) -> None:
        await asyncio.to_thread(self._open.close)
        self.appliance = None

    async def close(self) -> None:
        await self.stop_appliance()
        await self.origin.close()
        await self.plane.close()


@asynccontextmanager
async def appliance_world(folder: Path, make: type[World] = World, **settings: object) -> AsyncIterator[World]:
    """`settings` are fields of `World`, or of what `make` makes of it."""
    plane = FakeControlPlane(folder)
    await plane.start()
    origin = Origin()
    await origin.start()
    world = make(folder, plane, origin, **settings)  # type: ignore[arg-type]
    try:
        yield world
    finally:
        await world.close()
