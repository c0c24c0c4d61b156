"""What a worker is made of, and its clockwork: the one place where its parts are built and connected.

Clockwork: every 250 ms the store's reader closes what died, and the keeper hears what could not be read; every second the timeouts are
swept, what was served goes to the keeper, changed files of the state folder (keys, certificate, desired state) are loaded, and the
counters of the moment are written.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import socket
import ssl
import time
from collections.abc import Callable
from email.utils import formatdate
from enum import Enum
from functools import partial
from pathlib import Path
from typing import cast

import msgspec

from contracts.places import ApplianceState
from contracts.tokens.media import verify
from oca.http.cors import Cors
from oca.http.disclosure import TrustedNetworks
from oca.http.keys import host_spellings
from oca.http.reasons import Handshake
from oca.http.request import Limits, Request
from oca.link.counters import Count, CounterLine, Counters
from oca.link.files import Desired, TlsStatus, read_roster
from oca.link.handover import DRAIN_S, ORPHAN_S, Handover
from oca.link.messages import ReloadWhat
from oca.link.settings import store_settings
from oca.link.tickets import TicketKeys
from oca.link.worker import LinkClient
from oca.store.board import Board
from oca.store.descriptors import NotOpened
from oca.store.reader import StoreReader
from oca.worker.accepting import Acceptor, Side
from oca.worker.accesslog import AccessLog, Pipe
from oca.worker.accounting import Accounting
from oca.worker.admission import Ceilings, Doors, SharedNetworks
from oca.worker.answering import Desk
from oca.worker.credentials import FillCredentials
from oca.worker.egress import TICK_S, Egress
from oca.worker.express import Express
from oca.worker.following import DiskFollowing
from oca.worker.gate import Gate, HeldObjects
from oca.worker.hints import Hints
from oca.worker.holdings import Holdings
from oca.worker.logs import Log
from oca.worker.offline import OfflineRule
from oca.worker.openfiles import extents_to_keep_open, raise_open_files
from oca.worker.pacing import PaceRules
from oca.worker.passing import Passing
from oca.worker.player_tls import PlayerCertificates
from oca.worker.ports import Machinery
from oca.worker.protocol import Connection, Timeouts
from oca.worker.pulling import Puller
from oca.worker.residency import DiskPools, Residency, StoredFile
from oca.worker.server_names import Hello
from oca.worker.tls import PeerTls
from oca.worker.tokens import Tokens

POLL_S = 0.25
SWEEP_S = 1.0
_CLOSED_TO_NEW = (
    ApplianceState.DRAINING,
    ApplianceState.DRAINED,
    ApplianceState.MAINTENANCE,
    ApplianceState.RETIRED,
)


class Stopping(Enum):
    """Why a worker drains (log word)."""

    TOLD = "told"
    """By the supervisor, or SIGTERM."""
    REPLACED = "replaced"
    """Another worker serves the slot."""
    ORPHANED = "orphaned"
    """The supervisor has been gone for `ORPHAN_S`."""


class Worker:
    """Build it in the process that serves, after exec; `await run()` once. Gives the exit code."""

    def __init__(self, handover: Handover, loop: asyncio.AbstractEventLoop) -> None:
        settings = handover.settings
        self._handover = handover
        self._loop = loop
        self._log = Log(handover.slot, settings.log_level)
        box = Counters.attach(handover.counters_fd)
        self._counters = box.line(handover.line)
        self._counters.reset_gauges()
        self._open_files = raise_open_files(settings.serving.max_connections)
        extents = extents_to_keep_open(self._open_files, 0)
        roster = read_roster(settings.state_dir)
        store = dataclasses.replace(store_settings(settings, roster), descriptors=extents)
        self._reader = StoreReader.open(store, Board.attach(handover.board_fd), handover.line)
        if roster is not None:
            self._reader.follow(store, roster.generation)
        self._pools = DiskPools(loop, len(store.disks), settings.store.verify_reads)
        self._pools.found_bad = self._bad_block
        self._blocks_told = (0, 0)
        self._disks = DiskFollowing(settings, self._reader, self._pools, self._log)
        self._link = LinkClient(Path(settings.state_dir), handover.line, self)
        self._tls = PeerTls(settings.state_dir)
        self._player_tls = _player_tls(handover)
        offline = OfflineRule(settings.control_plane.max_offline_s, settings.control_plane.strict_offline)
        keys = os.path.join(settings.state_dir, "keys.json")
        self._tokens = Tokens(keys, verify, self._count_token, offline=offline)
        self._desired_path = os.path.join(settings.state_dir, "desired.json")
        self._desired = Desired()
        holdings = Holdings(self._reader, store.extent_bytes)
        serving = settings.serving
        egress = Egress(serving.egress_bps, partial(self._counters.add, Count.EGRESS_TAKEN))
        self._passing = Passing(
            loop, Path(settings.state_dir), handover.line, settings.fetching.passing, self._counters
        )
        machinery = Machinery(
            loop,
            holdings,
            Residency(),
            self._pools,
            self._link,
            self._counters,
            egress,
            serving.first_byte_s,
            serving.stall_s,
            self._passing,
        )
        self._seen = box.seen()
        doors = Doors(
            Ceilings.of(serving.capacity, serving.max_connections),
            self._seen,
            SharedNetworks(serving.capacity.shared_networks),
        )
        hints = Hints(HeldObjects(holdings), serving.hints_per_s) if serving.hints_per_s else None
        self._gate = Gate(doors, PaceRules.of(serving.pacing), hints, egress, self._link, box, self._counters)
        self._polled_at = loop.time()
        self._holdings = holdings
        self.desk = Desk(
            machinery,
            Cors(settings.serving.cors_origins),
            self._tokens,
            Accounting(),
            self._counters,
            time.time,
            _date_line,
            self._gate,
            host_spellings(settings.serving.hosts),
        )
        self.desk.credentials = FillCredentials(
            lambda: self._tokens.control_plane_keys, peer_misses=settings.serving.peer_misses
        )
        self.desk.says_delivery = settings.serving.cmsd
        if handover.log_fd >= 0:
            sample = settings.log.sample
            self.desk.log = AccessLog(
                handover.slot, Pipe(handover.log_fd), _Dropped(self._counters), loop.call_later, sample
            )
        self.client_bits = (settings.log.ipv4_bits, settings.log.ipv6_bits)
        if settings.services:
            self.desk.puller = Puller(settings.services, self._reader, machinery)
        self.forwards: Callable[[Request], bool] | None = self.desk.puller.forwards if self.desk.puller else None
        self.express = Express(self.desk)
        self.timeouts = Timeouts(serving.header_timeout_s, serving.idle_timeout_s, serving.send_timeout_s)
        self.limits = Limits(further=self.desk.puller.fields if self.desk.puller is not None else frozenset())
        self._trusted = TrustedNetworks(serving.trusted_networks)
        self._max_connections = serving.max_connections
        self.is_draining = False
        self._connections: set[Connection] = set()
        self._surplus = 0
        self._acceptor = Acceptor(loop, self)
        self._control: _Control | None = None
        self._told_tls: TlsStatus | None = None
        self._retire_s = serving.retire_s
        self._stop: asyncio.Future[Stopping] = loop.create_future()
        self._at_once = False
        self._disk_errors = 0
        self._empty = asyncio.Event()

    async def run(self) -> int:
        """Serve until told to stop, then drain."""
        self._loop.set_exception_handler(self._loop_error)
        control = self._control = _Control(self)
        await self._loop.create_connection(lambda: control, sock=socket.socket(fileno=self._handover.control_fd))
        self._link.start()
        self._tick()
        self._polled_at = self._loop.time()
        self._poll()
        if self._handover.settings.serving.egress_bps:
            self._share()
        self.adopt(self._handover.slot)
        self._counters.set(Count.READY, 1)
        control.say("ready")
        self._log.write("info", "ready", open_files=self._open_files)
        if self._open_files < self._max_connections:
            self._log.write("warning", "few-open-files", limit=self._open_files, max_connections=self._max_connections)
        why = await self._stop
        if why is Stopping.REPLACED:
            await self._retire()
        await self._drain(why)
        control.close()
        return 0

    # What a connection asks of its house.

    @property
    def is_full(self) -> bool:
        return len(self._connections) - self._surplus >= self._max_connections

    @property
    def is_swamped(self) -> bool:
        return self._surplus >= self._max_connections

    def joined(self, connection: Connection) -> None:
        self._connections.add(connection)
        self._surplus += connection.is_surplus

    def left(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._surplus -= connection.is_surplus
        self._gate.leave(connection.session, connection.network)
        if not self._connections:
            self._empty.set()

    def trusts(self, peername: object) -> bool:
        return isinstance(peername, tuple) and self._trusted.contain(str(peername[0]))

    def unexpected(self, error: Exception) -> None:
        self._counters.add(Count.ERRORS)
        self._log.unexpected("connection-failed", error)

    # What the link tells.

    def linked(self) -> None:
        self._counters.set(Count.KEEPER_LINKED, 1)
        self._log.write("info", "keeper-linked")

    def unlinked(self) -> None:
        self._counters.set(Count.KEEPER_LINKED, 0)
        self._counters.add(Count.KEEPER_LOST)
        self._log.write("warning", "keeper-lost")

    def reload(self, what: ReloadWhat) -> None:
        if what is ReloadWhat.PURGE:
            self._reader.poll()
        else:
            self._load_files()

    def reasked(self, asks: int) -> None:
        self._counters.add(Count.REASKED, asks)

    # What the supervisor tells.

    def adopt(self, slot: int) -> None:
        """Accept on a slot's sockets."""
        for fd, side in self._listeners(slot):
            self._acceptor.watch(fd, side)

    def release(self, slot: int) -> None:
        own = {fd for fd, _side in self._listeners(self._handover.slot)}  # a shared one stays watched
        for fd, _side in self._listeners(slot):
            if fd not in own:
                self._acceptor.unwatch(fd)

    def stop(self, why: Stopping) -> None:
        self._at_once = self._at_once or why is Stopping.TOLD
        if not self._stop.done():
            self._stop.set_result(why)

    def orphaned(self) -> None:
        """The supervisor is gone: serve on while a new generation may bind beside us, then drain."""
        if self._stop.done():
            return
        self._log.write("warning", "supervisor-gone", serves_on_s=ORPHAN_S)
        self._loop.call_later(ORPHAN_S, self.stop, Stopping.ORPHANED)

    def load_again(self) -> None:
        """Load certificates and keys anew, whether or not their files look changed."""
        self._load_files(again=True)

    # What the acceptor asks.

    def make(self, is_peer: bool) -> Connection:
        return Connection(self, is_peer)

    def peer_context(self) -> ssl.SSLContext | None:
        return self._tls.context

    def player_context(self, name: str | Hello) -> ssl.SSLContext | None:
        return self._player_tls.context_for(name) if self._player_tls is not None else None

    def has_room(self, handshakes: int) -> bool:
        return len(self._connections) - self._surplus + handshakes < self._max_connections

    def shook_hands(self, end: Handshake, by_kernel: bool) -> None:
        self._counters.ended(end)
        if by_kernel:
            self._counters.add(Count.TLS_KERNEL)

    def out_of_files(self, error: OSError) -> None:
        self._log.write("error", "cannot-accept", detail=str(error))

    # Inside.

    def _listeners(self, slot: int) -> list[tuple[int, Side]]:
        """The listening sockets of a slot; what all slots share is among each slot's."""
        handover = self._handover
        found = [(handover.media_fds[slot], Side.PLAYERS), (handover.peers_fds[slot], Side.PEERS)]
        for further in handover.further:
            fd = further.fds[0] if further.shared else further.fds[slot]
            found.append((fd, Side.PLAYERS_TLS if further.tls else Side.PLAYERS))
        return found

    def _count_token(self, remembered: bool) -> None:
        self._counters.add(Count.TOKENS_REMEMBERED if remembered else Count.TOKENS_VERIFIED)

    def _loop_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        self._counters.add(Count.ERRORS)
        error = context.get("exception")
        if isinstance(error, BaseException):
            self._log.unexpected(str(context.get("message", "loop-error")), error)
        else:
            self._log.write("error", "loop-error", detail=str(context.get("message", "")))

    def _poll(self) -> None:
        self._loop.call_later(POLL_S, self._poll)  # first, so that an error does not stop the clock
        self._reader.poll()
        self._disks.look()
        self._tell_unreadable()
        self._reader.descriptors.resize(extents_to_keep_open(self._open_files, len(self._connections)))
        now = self._loop.time()
        lag_s = max(0.0, now - self._polled_at - POLL_S)
        self._polled_at = now
        if self._gate.sample(now, lag_s, len(self._connections), self._pools.longest_queue):
            why = self._gate.shedding
            self.desk.under_duress = why is not None
            self._log.write("warning", "shedding", why=why.value if why is not None else "no-longer")
            self._report()

    def _share(self) -> None:
        self._loop.call_later(TICK_S, self._share)
        self._gate.share(self._loop.time())

    def _tick(self) -> None:
        self._loop.call_later(SWEEP_S, self._tick)
        now = self._loop.time()
        for connection in tuple(self._connections):
            connection.sweep(now)
        self._holdings.epoch = int(self.desk.now())
        if self._seen.minute != int(self.desk.now() // 60):
            self._seen.minute = int(self.desk.now() // 60)
            self._gate.doors.remember()
        self._load_files()
        self._report()
        self._write_gauges()

    def _tell_unreadable(self) -> None:
        """What could not be read since the last poll, one extent per disk: the keeper reads it itself and judges the disk."""
        files, pools = self._reader.descriptors, self._pools
        not_opened = files.not_opened
        errors = pools.errors + not_opened[NotOpened.DISK_ERROR] + not_opened[NotOpened.WRONG_LENGTH]
        if errors > self._disk_errors:
            self._counters.add(Count.DISK_ERRORS, errors - self._disk_errors)
            self._disk_errors = errors
        verified, bad = self._blocks_told
        self._counters.add(Count.VERIFIED_BLOCKS, pools.verified_blocks - verified)
        self._counters.add(Count.BAD_BLOCKS, pools.bad_blocks - bad)
        self._blocks_told = pools.verified_blocks, pools.bad_blocks
        for disk, extent_id in {**files.unreadable, **pools.unreadable}.items():
            self._log.write("warning", "unreadable", disk=disk, extent=f"{extent_id:x}", errors=errors)
            self._link.unreadable(disk, extent_id)
        files.unreadable.clear()
        pools.unreadable.clear()

    def _bad_block(self, file: StoredFile) -> None:
        """At once: until the keeper has taken it out of service, other workers may send what they have of it in memory."""
        self._reader.descriptors.distrust(file.disk, file.extent_id)
        self._link.unreadable(file.disk, file.extent_id)

    def _report(self) -> None:
        if self._link.is_linked:
            why = self._gate.shedding
            for frame in self.desk.accounting.take(len(self._connections), why.value if why is not None else ""):
                self._link.served(frame)

    def _write_gauges(self) -> None:
        statistics = self._reader.statistics()
        counters = self._counters
        counters.set(Count.CONNECTIONS, len(self._connections))
        counters.set(Count.WAITING, self._link.waiting)
        counters.set(Count.ANNOUNCED, len(self._holdings.announcements))
        counters.set(Count.OPEN_FILES, statistics.open_files + statistics.dying_files)
        counters.set(Count.LOOKUP_FAILURES, sum(statistics.lookup_failures.values()))

    def _load_files(self, *, again: bool = False) -> None:
        self._load_player_tls(again)
        for sentence in (self._tokens.poll(self.desk.now()), self._tls.poll()):
            if sentence:
                self._log.write("info", "loaded", detail=sentence)
        self.desk.own_id = self._tls.own_id
        desired = _read_desired(self._desired_path) or self._desired
        if desired != self._desired:
            self._log.write("info", "state", state=desired.state.value)
        self._desired = desired
        self.desk.refuse_sessions_since = desired.since if desired.state in _CLOSED_TO_NEW else None

    def _load_player_tls(self, again: bool) -> None:
        tls = self._player_tls
        if tls is None:
            return
        for sentence in tls.poll(self.desk.now(), again=again):
            self._log.write("info", "loaded", detail=sentence)
        self.desk.names = tls.managed_names
        status = tls.status()
        if status != self._told_tls and self._control is not None:
            self._told_tls = status
            self._control.say(f"tls {msgspec.json.encode(status).decode()}")
        counters = self._counters
        counters.set(Count.TLS_ASKS_KERNEL, int(tls.asks_kernel))
        counters.set(Count.TLS_RESUMES, int(tls.resumes))
        counters.set(Count.CERTIFICATE_EXPIRES, int(tls.expires_at))
        counters.set(Count.CERTIFICATES_REFUSED, tls.refused)

    async def _retire(self) -> None:
        """Accept no more, and tell every client with its next answer that the connection ends; idle ones are left to themselves.

        Ends when no connection is left, after `retire_s`, or as soon as the box stops.
        """
        self._log.write("info", "retiring", connections=len(self._connections))
        self._counters.set(Count.READY, 0)
        self._acceptor.rest()
        self.desk.keep_alive = False
        ends_at = self._loop.time() + self._retire_s
        # Connections, handshakes, the box and the clock all may end it: a look at the four is simpler than four events.
        while (self._connections or self._acceptor.is_busy) and not self._at_once and self._loop.time() < ends_at:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)

    async def _drain(self, why: Stopping) -> None:
        """Finish what is being answered, close what is idle, at most `DRAIN_S`; then hand over what was counted."""
        self._log.write("info", "draining", why=why.value, connections=len(self._connections))
        self._counters.set(Count.READY, 0)
        self._acceptor.close()
        self.desk.keep_alive = False
        self._empty.clear()
        self.is_draining = True
        for connection in tuple(self._connections):
            connection.drain()
        if not await self._emptied(DRAIN_S - 1.0):
            for connection in tuple(self._connections):
                connection.cut()
            await self._emptied(0.5)
        self._report()
        self.desk.log.flush()
        await asyncio.sleep(0)
        self._passing.close()
        await self._link.close()
        self._pools.close()
        self._write_gauges()
        self._counters.reset_gauges()
        self._reader.close()
        self._log.write("info", "stopped")

    async def _emptied(self, wait_s: float) -> bool:
        """True once no connection is left; False when `wait_s` was not enough."""
        if self._connections:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._empty.wait()
        return not self._connections


def _player_tls(handover: Handover) -> PlayerCertificates | None:
    """None where no listener has TLS."""
    tls = handover.tls
    if tls is None:
        return None
    tickets = None if tls.tickets_reason else TicketKeys.attach(tls.ticket_keys_fd)
    settings = handover.settings
    names = os.path.join(settings.state_dir, "names") if settings.serving.names.managed else ""
    return PlayerCertificates(settings.serving.tls, tickets, tls.tickets_reason, tls.kernel_reason, names)


def _date_line(second: int) -> bytes:
    return f"Date: {formatdate(second, usegmt=True)}\r\n".encode()


def _read_desired(path: str) -> Desired | None:
    """What the control plane wants; None when the file is not there or cannot be read (the last one holds)."""
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=Desired)
    except (OSError, msgspec.MsgspecError):
        return None


class _Dropped:
    """Counts what the access log drops."""

    def __init__(self, counters: CounterLine) -> None:
        self._counters = counters

    def dropped(self, records: int) -> None:
        self._counters.add(Count.LOG_DROPPED, records)


class _Control(asyncio.Protocol):
    """The worker's end of the line to its supervisor (`oca.link.handover`)."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._text = b""
        self._transport: asyncio.Transport | None = None

    def say(self, word: str) -> None:
        if self._transport is not None:
            self._transport.write(word.encode() + b"\n")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            match line.decode().split():
                case ["adopt", slot]:
                    self._worker.adopt(int(slot))
                case ["release", slot]:
                    self._worker.release(int(slot))
                case ["retire"]:
                    self._worker.stop(Stopping.REPLACED)
                case ["reload"]:
                    self._worker.load_again()
                case ["drain"]:
                    self._worker.stop(Stopping.TOLD)

    def connection_lost(self, exc: Exception | None) -> None:
        self._worker.orphaned()
