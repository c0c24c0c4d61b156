"""One working set, every server over it, and the rounds between them: A B C A B C, the same stretch of the stream for all in a round.

Before each round every file that a server would read must be in memory; during a run no server may read from a device, ask its
origin, or (ours) meet a cold window. A round for which that does not hold is an error, not a slow round.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks.serve import load, memory, processes, running
from benchmarks.serve.appliance import OurAppliance
from benchmarks.serve.rows import Measured, Round
from benchmarks.serve.running import CannotStart, Running
from benchmarks.serve.workload import (
    FILES_PER_TITLE,
    SIZES,
    TOKENS,
    Ask,
    Contents,
    FileClass,
    Target,
    asks,
    secure_link_target,
    title_of_session,
    token_target,
    whole_file,
)

STREAM = 30_000
SAMPLE = 40
EXPIRES_AT = 4_000_000_000
_WARM_UP_S = 1
_TAIL_S = 0.1
"""What is still on its way when wrk ends is part of the cost."""
_READS = 4
_STRAY_BYTES = 256 * 1024
"""A program may read a page of its own code; a working set that is not in memory shows as megabytes."""
PEERS = ("nginx-static", "nginx-cache", "varnish", "trafficserver")


class NotInMemory(Exception):
    """A server had to fetch what it should have held."""


@dataclass(frozen=True, slots=True)
class Pace:
    rounds: int
    seconds: int


class Contest:
    """Built around a working set; `await open()`, `await size(…)`, `await close()`."""

    def __init__(self, folder: Path, group: FileClass, versions: dict[str, str], say: Callable[[str], None]) -> None:
        self._folder = folder
        self._group = group
        self._versions = versions
        self._say = say
        self._contents = Contents()
        self._stack = ExitStack()
        self.failed: dict[str, str] = {}
        """Peers that did not start, and what they said."""
        self.unproven_windows = 0
        """Of ours, in all rounds: see `OurAppliance.unproven_windows`."""
        self.peers: list[Running] = []
        self.tls_peers: list[Running] = []
        self._origin: Running | None = None
        self.ours = OurAppliance(folder / "ours")
        self.host = f"127.0.0.1:{self.ours.port}"
        self.tls_host = f"127.0.0.1:{self.ours.tls_port}"

    async def open(self) -> None:
        """Write the working set, start every server, let each serve all of it once, every body compared."""
        group, root = self._group, self._folder / "files"
        await asyncio.to_thread(running.write_files, root, group, self._contents)
        await asyncio.to_thread(self.ours.fill, group, self._contents)
        self._our_target = token_target(group, self.ours.tokens(group))
        self._peer_target = secure_link_target(group, EXPIRES_AT)
        await self.ours.start()
        self._start_peers(root)
        await asyncio.to_thread(os.sync)
        self._say("written; warming")
        await asyncio.to_thread(self._warm, self.ours.port, self._our_target)
        await asyncio.to_thread(self._show_every_token)
        for peer in self.peers:
            for _ in range(peer.warm_ups):
                await asyncio.to_thread(self._warm, peer.port, self._peer_target)
        stream = asks(group, group.range_bytes, STREAM, 7)
        for folder in self._kept_in_memory():
            await asyncio.to_thread(self._keep, folder)
        self._say("all bodies compared; warming up")
        for tls in (False, True):
            port, files = self._ours_at(tls), self._write_streams(stream, tls)
            for at, path in ((port, files[0]), *((peer.port, files[1]) for peer in self._peers_of(tls))):
                await load.measure(at, path, _WARM_UP_S, 0, tls=tls)

    async def close(self) -> None:
        self._stack.close()
        await self.ours.stop()

    async def size(
        self, size: str, pace: Pace, *, tls: bool = False
    ) -> tuple[list[Measured], dict[tuple[str, str], list[Round]]]:
        """(our measurements, rounds by peer and configuration) for ranges of one size, plain or by TLS."""
        length = SIZES[size]
        stream = asks(self._group, length, STREAM, length)
        our_file, peer_file = self._write_streams(stream, tls)
        alone: list[Measured] = []
        found: dict[tuple[str, str], list[Round]] = {}
        peers = self._peers_of(tls)
        for number in range(pace.rounds):
            first = number * STREAM // pace.rounds
            mine = await self._in_memory(partial(self._ours, our_file, length, pace.seconds, first, tls))
            alone.append(mine)
            for peer in list(peers):
                try:
                    theirs = await self._in_memory(partial(self._peer, peer, peer_file, length, pace.seconds, first))
                except NotInMemory as error:
                    self.failed[f"{peer.name} from {size} on"] = str(error)
                    peers.remove(peer)
                    found.pop((peer.name, peer.configuration), None)
                    continue
                found.setdefault((peer.name, peer.configuration), []).append(Round(mine, theirs))
        await asyncio.to_thread(self._check, stream, tls)
        return alone, found

    def _peers_of(self, tls: bool) -> list[Running]:
        return self.tls_peers if tls else self.peers

    def _ours_at(self, tls: bool) -> int:
        return self.ours.tls_port if tls else self.ours.port

    async def _in_memory(self, run: Callable[[], Awaitable[Measured]]) -> Measured:
        """A run that fetched nothing. Somebody else on the machine may drop what was in memory: such a run is thrown away, twice at most.

        Raises NotInMemory for the third.
        """
        for _ in range(2):
            await asyncio.to_thread(self._assert_in_memory)
            with suppress(NotInMemory):
                return await run()
        await asyncio.to_thread(self._assert_in_memory)
        return await run()

    def _start_peers(self, root: Path) -> None:
        """All that are installed; nginx with both settings of `tcp_nopush`. The caching ones are filled from an nginx."""
        nginx = self._versions.get("nginx")
        if nginx is None:
            self.failed = {name: "nginx is not installed, which fills the other peers" for name in PEERS}
            return
        origin = self._origin = running.start_origin(self._folder / "origin", root)
        self._stack.callback(origin.stop)
        memory_mib = (self._group.working_set_bytes >> 20) * 3 // 2 + 512
        self._add(
            "nginx-static",
            partial(running.start_static, self._folder / "nginx-static", root, nginx, self.ours.certificate),
        )
        self._add("nginx-cache", partial(running.start_cache, self._folder / "nginx-cache", origin, nginx))
        for name, start in (("varnish", running.start_varnish), ("trafficserver", running.start_trafficserver)):
            if name in self._versions:
                self._add(name, partial(start, self._folder / name, origin, self._versions[name], memory_mib))

    def _add(self, name: str, start: Callable[[], list[Running]]) -> None:
        try:
            started = start()
        except CannotStart as error:
            self.failed[name] = str(error)
        else:
            self._stack.callback(started[0].stop)
            for one in started:
                self._peers_of(one.tls).append(one)

    def _warm(self, port: int, target: Target) -> None:
        load.warm(port, self.host, self._group, self._contents, target)

    def _show_every_token(self) -> None:
        """A signature is verified once per worker and session: no part of what a request costs."""
        group = self._group
        sessions = [
            replace(whole_file(group, title_of_session(group, session) * FILES_PER_TITLE), length=16, session=session)
            for session in range(TOKENS)
        ]
        load.check_sample(self.ours.port, self.host, group, self._contents, self._our_target, sessions)

    def _write_streams(self, stream: Sequence[Ask], tls: bool) -> tuple[Path, Path]:
        files = self._folder / "ours.requests", self._folder / "peers.requests"
        for path, target in zip(files, (self._our_target, self._peer_target), strict=True):
            load.write_requests(path, self._host(tls), stream, target)
        return files

    def _host(self, tls: bool) -> str:
        return self.tls_host if tls else self.host

    def _check(self, stream: Sequence[Ask], tls: bool) -> None:
        sample = random.Random(len(stream)).sample(list(stream), SAMPLE)
        peers = ((peer.port, self._peer_target) for peer in self._peers_of(tls))
        for port, target in ((self._ours_at(tls), self._our_target), *peers):
            load.check_sample(port, self._host(tls), self._group, self._contents, target, sample, tls=tls)

    def _kept_in_memory(self) -> set[Path]:
        return {peer.cached for peer in self.peers if peer.cached is not None} | {self.ours.extents}

    def _keep(self, folder: Path) -> None:
        """Nothing of it leaves memory before `close`. Where that is not allowed, the assertion before each round has to do."""
        command = [sys.executable, "-m", "benchmarks.serve.memory", str(folder)]
        keeper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._stack.callback(keeper.communicate)
        assert keeper.stdout is not None, "it was started with a pipe"
        if not keeper.stdout.readline():
            self._say(f"{folder.name} cannot be locked into memory here")

    def _assert_in_memory(self) -> None:
        for folder in self._kept_in_memory():
            for _ in range(_READS):
                missing = memory.missing_bytes(folder)
                if not missing:
                    break
                memory.read_all(folder)
            else:
                raise NotInMemory(f"{missing} bytes below {folder.name} do not stay in memory")

    async def _ours(self, requests: Path, length: int, seconds: int, first: int, tls: bool) -> Measured:
        misses, unproven = self.ours.misses(), self.ours.unproven_windows()
        found = await _measured(
            "ours",
            "tokens, access log, accounting, metrics" + (", TLS 1.3, ECDSA P-256" if tls else ""),
            self._ours_at(tls),
            self.ours.pids(),
            self.ours.logger_pids(),
            requests,
            length,
            seconds,
            first,
            tls,
        )
        if self.ours.misses() != misses:
            raise NotInMemory(f"{self.ours.misses() - misses} windows of ours were not in memory during a round")
        self.unproven_windows += self.ours.unproven_windows() - unproven
        return found

    async def _peer(self, peer: Running, requests: Path, length: int, seconds: int, first: int) -> Measured:
        assert self._origin is not None, "no peer runs without an origin"
        held = processes.resident_kib(peer.pids()) * 1024
        if peer.cached is None and held < self._group.working_set_bytes:
            raise NotInMemory(f"{peer.name} holds {held} bytes of {self._group.working_set_bytes}")
        asked = running.requests_of(self._origin)
        found = await _measured(
            *(peer.name, peer.configuration, peer.port, peer.pids(), peer.logger_pids()),
            *(requests, length, seconds, first, peer.tls),
        )
        if peer.is_copy and running.requests_of(self._origin) != asked + 1:
            raise NotInMemory(f"{peer.name} asked its origin during a round of hits")
        return found


async def _measured(
    server: str,
    configuration: str,
    port: int,
    pids: list[int],
    loggers: list[int],
    requests: Path,
    length: int,
    seconds: int,
    first: int,
    tls: bool,
) -> Measured:
    everybody = pids + loggers
    from_disk = processes.read_from_disk_bytes(everybody)
    before, log_before = processes.cpu_of(pids), processes.cpu_of(loggers)
    busy = processes.core_busy_s()
    found = await load.measure(port, requests, seconds, first, tls=tls)
    await asyncio.sleep(_TAIL_S)
    busy = processes.core_busy_s() - busy
    log = processes.cpu_of(loggers) - log_before
    spent = processes.cpu_of(pids) - before + log
    load.check_volume(found, length)
    read = processes.read_from_disk_bytes(everybody) - from_disk
    if read > _STRAY_BYTES:
        raise NotInMemory(f"{server} read {read} bytes from the disk during a round")
    each = 1e6 / found.requests
    return Measured(
        server=server,
        configuration=configuration,
        requests=found.requests,
        seconds=found.duration_us / 1e6,
        user_us=round(spent.user_s * each, 2),
        system_us=round(spent.system_s * each, 2),
        requests_per_s=round(found.requests / (found.duration_us / 1e6), 1),
        p50_us=found.p50_us,
        p99_us=found.p99_us,
        resident_kib=processes.resident_kib(everybody),
        log_user_us=round(log.user_s * each, 2),
        log_system_us=round(log.system_s * each, 2),
        load_1m=round(os.getloadavg()[0], 2),
        core_us=round(busy * each, 2),
    )
