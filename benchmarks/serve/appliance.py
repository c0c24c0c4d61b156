"""Our side of the comparison: one worker process and the logger as the supervisor starts them, over a store that its writer filled.

Tokens are verified, counters and the access log are written, and what was served is reported every second to the keeper's end of the
link, which this process holds. The supervisor and the keeper do nothing for a hit; they are left out.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
from joserfc.jwk import ECKey

from benchmarks.serve import certificates, processes
from benchmarks.serve.workload import TIER, TOKENS, Contents, FileClass, media_name, title_of_session
from contracts.digests import BLOCK_BYTES, DigestBuilder
from contracts.keys import KeySet, KeyUse, PublicKey
from contracts.tokens.claims import MediaClaims
from contracts.tokens.jwt import sign
from oca.config import Appliance, ControlPlane, Disk, Listen, Listener, Pacing, PlayerTls, Serving, Store
from oca.link.counters import Count, Counters
from oca.link.handover import FurtherFds, Handover, LoggerHandover, TlsHandover, write_handover
from oca.link.messages import Failed, FetchFailure, Served, Unreadable, Want
from oca.link.server import Link, LinkServer
from oca.link.settings import store_settings
from oca.link.tickets import TicketKeys
from oca.store.board import Board, BoardShape
from oca.store.disks import expected_marks
from oca.store.extents import ExtentSpec, key_hash
from oca.store.syscalls import RealSyscalls
from oca.store.writer import StoreWriter
from oca.supervisor.logpipes import LogPipes
from oca.supervisor.sockets import open_group
from oca.supervisor.tls import why_no_door, why_no_kernel_tls

KID = "bench-1"
EXTENT_BYTES = 32 << 20
_BATCH = 500
_HEADER = (
    b"Content-Type: video/mp4\r\nETag: %s\r\nCache-Control: public, max-age=31536000, immutable\r\n"
    b"Last-Modified: Sat, 01 Nov 2025 10:00:00 GMT\r\n"
)


class _Unsynced(RealSyscalls):
    """A store that lives as long as the benchmark need not wait for the device."""

    def sync(self, fd: int) -> None:
        """Left to the kernel."""

    def sync_folder(self, path: str) -> None:
        """Left to the kernel."""


class LinkEnd:
    """The keeper's end: takes the reports, refuses every want. A benchmark of hits has none of these."""

    def __init__(self) -> None:
        self.reported_bytes = 0
        self.wants = 0
        self.unread = 0

    def joined(self, link: Link) -> None: ...

    def left(self, link: Link) -> None: ...

    def cancelled(self, link: Link, request: int) -> None: ...

    def unreadable(self, link: Link, found: Unreadable) -> None:
        self.unread += 1

    def served(self, link: Link, served: Served) -> None:
        self.reported_bytes += served.hit_bytes

    def wanted(self, link: Link, want: Want) -> None:
        self.wants += 1
        link.send(Failed(want.request, FetchFailure.NOT_FOUND.name))


class OurAppliance:
    """`fill` it, `await start()`, ask at `port` (by TLS at `tls_port`), `await stop()`."""

    def __init__(self, folder: Path, *further: Path) -> None:
        """`further` are folders of more disks; figures about the store (`disk`, `extents`) are of the first."""
        self.folder = folder
        self.certificate = certificates.write(folder)
        self.state = folder / "state"
        (self.state / "run").mkdir(parents=True)
        self.disk = folder / "disk"
        self.extents = self.disk / "extents"
        self.log = folder / "worker.log"
        disks = tuple(Disk(str(disk), 6 << 30) for disk in (self.disk, *further))
        self.settings = Appliance(
            state_dir=str(self.state),
            store=Store(disks, EXTENT_BYTES, 64 << 20, cache_share=1.0),
            control_plane=ControlPlane("https://127.0.0.1:1"),
            # Pacing does its work with every request; its floor is above what any connection takes, or it would hold back the load.
            serving=Serving(
                workers=1,
                listeners=(Listener("127.0.0.1", tls=True),),
                tls=PlayerTls((self.certificate,)),
                pacing=Pacing(floor_bps=1_000_000_000_000),
            ),
        )
        settings = store_settings(self.settings)
        marks = expected_marks(self.settings.store.disks[0].quota_bytes, EXTENT_BYTES)
        self.board = Board.create(BoardShape(workers=1, disks=len(disks), marks_per_disk=max(marks, 1 << 16)))
        self.counters = Counters.create(2)
        self._log_pipes = LogPipes(1)
        self.store = StoreWriter.open(settings, self.board, time.time, _Unsynced())
        self._key = ECKey.generate_key("P-256")
        jwk = {name: str(value) for name, value in self._key.as_dict(private=False).items() if isinstance(value, str)}
        keys = KeySet(1, (PublicKey(KID, KeyUse.MEDIA, "ES256", jwk),), ())
        (self.state / "keys.json").write_bytes(msgspec.json.encode(keys))
        self.media = open_group(Listen(), 1, large_answers=True)[0]
        self.peers = open_group(Listen(), 1, large_answers=True)[0]
        self.port = int(self.media.getsockname()[1])
        self.tls = open_group(Listen(), 1, large_answers=True)[0]
        self.tls_port = int(self.tls.getsockname()[1])
        self._tickets = TicketKeys.create()
        self.link_end = LinkEnd()
        self._link = LinkServer(self.state, self.link_end, lambda _worker, _why: None)
        self._control: socket.socket | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self._logger: subprocess.Popen[bytes] | None = None

    def fill(self, group: FileClass, contents: Contents) -> None:
        """Put the files of a class into the store."""
        for file in range(group.files):
            self._put(media_name(group, file).key, contents.of(group, file))
            if file % _BATCH == 0:  # until a commit the writer keeps what it wrote open
                self._commit()
        self._commit()

    def tokens(self, group: FileClass) -> list[str]:
        """One per session, each for its title."""
        now = time.time()
        prefixes = [media_name(group, title * 100).path.rsplit("/", 2)[0] + "/" for title in range(group.titles)]
        return [
            sign(self._claims(session, prefixes[title_of_session(group, session)], now), self._key, KID)
            for session in range(TOKENS)
        ]

    async def start(self) -> None:
        """Exec both and wait until the worker is ready and linked. Raises RuntimeError with its log when it is not."""
        await self._link.start()
        self._start_logger()
        ours, theirs = socket.socketpair()
        fds = (self.board.fd, self.counters.fd, theirs.fileno(), self.media.fileno(), self.peers.fileno())
        log_fd = self._log_pipes.writing(0)
        no_door = await why_no_door((sys.executable, "-m", "oca.worker.openssl"))
        handover = Handover(
            *(self.settings, 0, fds[0], fds[1], fds[2], (fds[3],), (fds[4],)),
            log_fd=log_fd,
            further=(FurtherFds((self.tls.fileno(),), tls=True),),
            tls=TlsHandover(self._tickets.fd, no_door, why_no_kernel_tls()),
        )
        fd = write_handover(handover)
        command = [sys.executable, "-m", "oca.worker", "--handover-fd", str(fd)]
        self.process = processes.start(
            command, self.log, pass_fds=(fd, *fds, log_fd, self.tls.fileno(), self._tickets.fd)
        )
        os.close(fd)
        theirs.close()
        ours.settimeout(20)
        self._control = ours
        said = b""
        while not said.endswith(b"ready\n"):  # what it says of TLS comes first
            more = ours.recv(65536)
            if not more:
                raise RuntimeError(f"our worker is not ready:\n{self.log.read_text()}")
            said += more

    async def stop(self) -> None:
        if self.process is not None:
            processes.stop(self.process)
        if self._logger is not None:
            processes.stop(self._logger)
        self._log_pipes.close()
        if self._control is not None:
            self._control.close()
        await self._link.close()
        self.store.close()
        for sock in (self.media, self.peers, self.tls):
            sock.close()
        self._tickets.close()

    def pids(self) -> list[int]:
        return processes.tree(self.process.pid) if self.process is not None else []

    def logger_pids(self) -> list[int]:
        return processes.tree(self._logger.pid) if self._logger is not None else []

    def misses(self) -> int:
        """Wants and windows that were not in memory: a round of hits has none of either."""
        return self.counters.total(Count.WANTS) + self.counters.total(Count.COLD_WINDOWS)

    def unproven_windows(self) -> int:
        """Windows in memory that were compared before they were sent: more extents than may be open are opened again and again."""
        return self.counters.total(Count.UNPROVEN_WINDOWS)

    def _start_logger(self) -> None:
        reading = self._log_pipes.reading
        handover = LoggerHandover(self.settings.log, str(self.folder / "logs"), reading, self.counters.fd, 1)
        fd = write_handover(handover)
        command = [sys.executable, "-m", "oca.logger", "--handover-fd", str(fd)]
        self._logger = processes.start(command, self.log, pass_fds=(fd, self.counters.fd, *reading))
        os.close(fd)

    def _claims(self, session: int, prefix: str, now: float) -> MediaClaims:
        return MediaClaims(
            "https://bench.example", f"session-{session}", prefix, ("base", "sd", TIER), now + 43200, now
        )

    def _commit(self) -> None:
        for disk in self.store.disks.values():
            disk.commit_batch()

    def _put(self, key: str, data: bytes) -> None:
        builder = DigestBuilder(key, "video/mp4")
        builder.update(data)
        digests = builder.finish()
        header = _HEADER % digests.etag.encode()
        disk = self.store.place(key_hash(key), 0)
        if disk is None or len(data) > EXTENT_BYTES:
            raise RuntimeError(f"the store has no place for {key}")
        extent = disk.open_extent(ExtentSpec(key, digests.version, len(data), 0, header))
        for block in range(digests.block_count):
            piece = memoryview(data)[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES]
            disk.write_block(extent, block, piece, digests.block(block))
        disk.close_extent(extent)
