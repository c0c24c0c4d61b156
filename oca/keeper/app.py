"""The composition root of the keeper: builds every part, runs them side by side, stops them in order.

Order of a start: disks (locks, recovery) → link → ready → enrolment → keys, plan, heartbeat, reports. Order of a stop: link →
tasks → fetches → spool → disks, with the clean mark.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

from chassis.calendar import Calendar
from chassis.clock import SYSTEM_CLOCK, Clock
from chassis.logs import get_logger
from contracts.plans import AppliancePlan
from contracts.reports import BlamedSource, DiskFacts, Nudge, ReportAnswer
from oca.config import Appliance
from oca.keeper.accounts import Accounts
from oca.keeper.asking import Sources
from oca.keeper.commanding import KeeperCommands
from oca.keeper.connection import Connection
from oca.keeper.digests import DigestLibrary
from oca.keeper.errors import CannotStart
from oca.keeper.fetching import Fetcher
from oca.keeper.following import Following, Pulse
from oca.keeper.forwarding import HttpForwarding
from oca.keeper.lineup import Lineup
from oca.keeper.metrics import KeeperMetrics
from oca.keeper.misses import Misses
from oca.keeper.names import Names, read_shown
from oca.keeper.orders import Filler
from oca.keeper.origins import HttpOrigins
from oca.keeper.passing import Passing
from oca.keeper.promoting import Promoting
from oca.keeper.pulling import Pulling
from oca.keeper.purging import Purging
from oca.keeper.reporter import Reporter, View, load_ledger
from oca.keeper.reporting import Condition, Score, holdings_table, orders_table, score_of
from oca.keeper.state import StateFolder, write_atomically
from oca.keeper.storing import Storing
from oca.keeper.tidying import Tidying
from oca.keeper.unstored import MemoryBlocks, Unstored
from oca.keeper.upstream import HttpUpstream
from oca.keeper.yielding import Demand
from oca.link.files import KeeperStatus, Listening, read_roster
from oca.link.handing import HandingServer
from oca.link.messages import Reload, ReloadWhat
from oca.link.server import LinkServer
from oca.link.settings import store_settings
from oca.routes.following import RouteFollowing, sessions_of
from oca.store.board import Board
from oca.store.disk_writer import Gone
from oca.store.errors import DiskBusy, StoreError
from oca.store.writer import StoreWriter

LOCK_PATIENCE_S = 5.0
STATUS_EVERY_S = 1.0
LINKED_WITHIN_S = 3.0
"""Workers that serve find a new keeper within a moment: until then it does not take them for gone."""
FIRST_RESTART_S = 0.5
LONGEST_RESTART_S = 15.0


async def open_store(settings: Appliance, board: Board, clock: Clock) -> StoreWriter:
    """Raises CannotStart. A disk that another keeper still closes is waited for."""
    until_s = clock.monotonic_s() + LOCK_PATIENCE_S
    while True:
        try:
            return await asyncio.to_thread(
                StoreWriter.open, store_settings(settings, read_roster(settings.state_dir)), board, clock.wall_s
            )
        except DiskBusy as error:
            if clock.monotonic_s() >= until_s:
                raise CannotStart(str(error)) from error
            await clock.sleep(0.25)
        except (StoreError, OSError) as error:
            raise CannotStart(f"no disk can be opened: {error}") from error


def dialled_addresses(settings: Appliance) -> tuple[str, ...]:
    """Names and addresses that the certificate should carry: where others dial this box."""
    serving = settings.serving
    names = [serving.peers.host, serving.media.host, *(urlsplit(f"//{host}").hostname or "" for host in serving.hosts)]
    return tuple(dict.fromkeys(name.strip("[]") for name in names if not _is_unspecified(name)))


def _is_unspecified(name: str) -> bool:
    try:
        return ipaddress.ip_address(name.strip("[]")).is_unspecified
    except ValueError:
        return not name


class Keeper:
    """One keeper over an opened store."""

    def __init__(self, settings: Appliance, store: StoreWriter, clock: Clock = SYSTEM_CLOCK) -> None:
        self.settings = settings
        self.store = store
        self.state = StateFolder(Path(settings.state_dir))
        self.metrics = KeeperMetrics()
        self._clock = clock
        self._log = get_logger("oca.keeper")
        self._tasks: set[asyncio.Task[None]] = set()
        self._began_s = clock.monotonic_s()
        if settings.lab.is_lab:
            self._log.warning("lab-time", speed=settings.lab.speed, until=settings.lab.meets_at)
        self._build()

    def _build(self) -> None:
        settings, state, clock = self.settings, self.state, self._clock
        calendar = Calendar(clock, settings.lab)
        ledger = load_ledger(state)
        self.storing = Storing(self.store, settings.store.extent_bytes, clock)
        rate = settings.store.scrub_bytes_per_s
        self.tidying = Tidying(self.store, rate, lambda: self.storing.is_idle, clock)
        self.lineup = Lineup(settings, self.storing, self.tidying, self.metrics, clock)
        self.lineup.changed = self._changed
        self.promoting = Promoting(self.store, self.lineup, settings.store.promote_bytes_per_minute, clock)
        self.connection = Connection(settings.control_plane, state.tls, dialled_addresses(settings), clock)
        self.accounts = Accounts(ledger, self.metrics, clock, calendar)
        self.following = Following(
            self.connection, state, self._tell, None if settings.cache_only else self._take_plan, self._changed, clock
        )
        self.digests = DigestLibrary(
            self.connection,
            state.folder / "digests",
            lambda: self.following.keys,
            self.following.want_keys,
            clock,
            self.store.purges,
            serve_stale=settings.control_plane.stale_s > 0,
        )
        self.upstream = HttpUpstream(
            settings.fetching, lambda: self.connection.appliance_id, lambda: self.connection.tls
        )
        self.sources = Sources(self.upstream, lambda: self.following.parents, settings.fetching, self.metrics, clock)
        self.fetcher = Fetcher(self.digests, self.storing, self.sources, self.metrics)
        self.filler = Filler(
            self.fetcher,
            self.sources,
            self.storing,
            state,
            settings.fetching.fill_orders,
            self.metrics,
            clock,
            calendar,
            self._changed,
            self._demand,
        )
        self.origins = HttpOrigins(
            settings.fetching, lambda: self.connection.appliance_id, clock.wall_s, clock.monotonic_s
        )
        patience_s = settings.serving.first_byte_s / 2
        self.pulling = Pulling(settings.services, self.storing, self.origins, self.metrics, clock, patience_s)
        self.misses = Misses(
            self.fetcher, self.accounts, self.filler.plan_of, settings.fetching.prefetches, self.metrics, self.pulling
        )
        self.misses.on_worker_left = self._worker_left
        self.misses.on_unreadable = self._unreadable
        self.accounts.shedding_changed = self._changed
        self.link = LinkServer(state.folder, self.misses, self._link_ended)
        self.unstored = Unstored(
            Fetcher(
                self.digests,
                MemoryBlocks(lambda: self.storing.purge_epoch),
                self.sources,
                self.metrics,
            )
        )
        self.forwarding = HttpForwarding(
            settings.services,
            settings.fetching,
            settings.serving.stall_s,
            self.pulling.invalidate,
            self.metrics,
            lambda: self.origins.open_circuits,
        )
        self.passing = Passing(
            self.unstored, self.forwarding, settings.fetching.passing, settings.serving.stall_s, self.metrics
        )
        self.handing = HandingServer(state.folder, self.passing.take)
        self.purging = Purging(
            self.storing,
            self.connection,
            self._revalidate,
            self._tell,
            state,
            settings.control_plane.stale_s,
            self.metrics,
            clock,
        )
        self.commands = KeeperCommands(state.folder, self.tidying.scrub_all, self.purging.command)
        self.names = Names(
            self.connection,
            state.folder / "names",
            settings.serving.names,
            lambda: self.listening,
            lambda: read_shown(state.run),
            self._changed,
            clock,
        )
        self.reporter = Reporter(
            self.connection,
            ledger,
            self.accounts,
            self.view,
            state,
            uuid.uuid4().hex,
            settings.control_plane.report_s,
            self.metrics,
            clock,
            self._answered,
        )
        self.pulse = Pulse(
            self.connection,
            settings.control_plane.heartbeat_s,
            self._standing,
            self._nudged,
            clock,
            self.purging.unconnected,
        )

    # -- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listens for workers and starts everything else behind it. Raises OSError when the link cannot be opened."""
        if not self.settings.cache_only:
            await self.filler.load()
        self.handing.start()
        await self.link.start()
        await self.commands.start()
        for name, run in (
            ("storing", self.storing.run),
            ("tidying", self.tidying.tidy),
            ("scrub", self.tidying.scrub_at_idle),
            ("sweeping", self.purging.sweep),
            ("lineup", self.lineup.run),
            ("moves", self.lineup.run_moves),
            ("promoting", self.promoting.run),
            ("probes", self.lineup.run_probes),
            ("filler", self.filler.run),
            ("pulling", self.pulling.run),
            ("status", self._keep_status),
            ("control-plane", self._join_control_plane),
            ("routes", self._follow_routes),
            ("names", self._follow_names),
        ):
            self._background(name, run)

    async def stop(self) -> None:
        """Ends in order; the disks are left clean."""
        self.handing.close()
        await self.link.close()
        await self.commands.close()
        await self.misses.close()
        await self.passing.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.filler.close()
        await self.fetcher.close()
        await self.unstored.close()
        await self.pulling.close()
        await self.digests.close()
        await self.reporter.keep()
        await self.forwarding.close()
        await self.upstream.close()
        await self.origins.close()
        await self.connection.close()
        await self.tidying.close()
        await self.storing.close()

    async def _join_control_plane(self) -> None:
        known = self.connection.enrolled.is_set()
        await self.connection.open()
        if not known:
            self._tell(Reload(ReloadWhat.TLS))
        async with asyncio.TaskGroup() as together:
            for run in (self.pulse.run, self.purging.follow, self.following.run, self.reporter.run):
                together.create_task(run())

    async def _follow_routes(self) -> None:
        """A task of its own: what a BGP daemon does must not end the heartbeat."""
        sessions = sessions_of(self.settings.routes, self.state.folder)
        if sessions is None:
            return
        await self.connection.enrolled.wait()
        boot = uuid.uuid4().hex
        settings, tell = self.settings.routes, self.connection.routes
        await RouteFollowing(settings, self.state.folder, sessions, tell, boot, self._clock).run()

    async def _follow_names(self) -> None:
        """A task of its own: what a CA does must not end the heartbeat."""
        await self.connection.enrolled.wait()
        await self.names.run()

    def _background(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        task = asyncio.create_task(self._keep_running(name, run), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_running(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        wait_s = FIRST_RESTART_S
        while True:
            try:
                await run()
            except Exception:  # noqa: BLE001  the border of a task: counted, logged with traceback, started again
                self.metrics.task_deaths.labels(name).inc()
                self._log.exception("task-died", task=name, then=f"again in {wait_s:g} s")
                await self._clock.sleep(wait_s)
                wait_s = min(LONGEST_RESTART_S, wait_s * 2)
            else:
                return

    # -- what parts tell each other --------------------------------------------------------------------------------

    def _tell(self, reload: Reload) -> None:
        self.link.broadcast(reload)

    async def _take_plan(self, plan: AppliancePlan) -> None:
        await self.filler.take(plan)

    def _changed(self) -> None:
        self.reporter.poke()

    def _answered(self, answer: ReportAnswer) -> None:
        self.following.heard(answer)

    async def _revalidate(self, key: str) -> bool:
        return not (await self.fetcher.facts(key)).stale

    def _nudged(self, nudge: Nudge) -> None:
        self.purging.nudged(nudge.triggers_number)
        self.following.nudged(nudge)
        self.names.nudged(nudge.name_number)

    def _worker_left(self) -> None:
        task = asyncio.create_task(self.storing.check_readers(), name="reader-check")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _unreadable(self, disk: int, extent_id: int) -> None:
        task = asyncio.create_task(self.storing.examine(disk, extent_id), name="examine")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _link_ended(self, worker: int, why: str) -> None:
        self._log.info("worker-left", worker=worker, why=why)

    # -- how things are --------------------------------------------------------------------------------------------

    @property
    def listening(self) -> Listening:
        return self.state.read("run/listening.json", Listening) or Listening("", "", "")

    def _standing(self) -> tuple[float, bool, bool]:
        return self._load(), bool(self.link.links) and self.purging.is_current, bool(self.accounts.shedding)

    def _load(self) -> float:
        """How full the box is: of connections, or of its egress cap where there is one."""
        cap = self.settings.serving.egress_bps
        return min(1.0, max(self._connection_share(), self.accounts.egress_bps / cap if cap else 0.0))

    def _demand(self) -> Demand:
        """What viewers need, for fills to make way."""
        cap, egress_bps = self.settings.serving.egress_bps, self.accounts.egress_bps
        shedding = self.accounts.shedding
        return Demand(egress_bps / cap if cap else 0.0, shedding, self.storing.write_s, is_serving=egress_bps > 0)

    def _connection_share(self) -> float:
        serving = self.settings.serving
        return min(1.0, self.accounts.connections / (serving.max_connections * serving.workers))

    def score(self, listening: Listening) -> Score:
        disks = list(self.store.disks.values())
        return score_of(
            Condition(
                workers=len(self.link.links) or int(self._clock.monotonic_s() - self._began_s < LINKED_WITHIN_S),
                disks=len(self.lineup.status()),
                healthy_disks=sum(disk.failure is None for disk in disks),
                can_store=any(disk.failure is None and not disk.read_only for disk in disks),
                media_keys=self.following.media_keys,
                parents=len(self.following.parents),
                connection_share=self._connection_share(),
                index_locked=all(listening.index_locked),
                shedding=bool(self.accounts.shedding),
            )
        )

    def disk_facts(self, listening: Listening) -> tuple[DiskFacts, ...]:
        known = {disk.number: disk for disk in self.store.statistics()}
        facts: list[DiskFacts] = []
        for disk in self.lineup.status():
            number, found = disk.number, known.get(disk.number)
            facts.append(
                DiskFacts(
                    path=disk.path,
                    quota_bytes=disk.quota_bytes,
                    used_bytes=found.used_bytes if found else 0,
                    pinned_bytes=found.pinned_bytes if found else 0,
                    healthy=found is not None and found.failure is None,
                    index_locked=number < len(listening.index_locked) and listening.index_locked[number],
                    reason=disk.reason,
                )
            )
        return tuple(facts)

    def view(self) -> View:
        """Everything a report says beside traffic."""
        listening = self.listening
        hosts = self.settings.serving.hosts
        scheme = urlsplit(listening.media).scheme or "http"
        urls = tuple(f"{scheme}://{host}" for host in hosts) if hosts else _given(listening.media)
        return View(
            score=self.score(listening),
            player_urls=(*urls, *self.names.urls()),
            peer_url="".join(_given(listening.peers)),
            state=self.following.desired.state.value,
            plan_number=self.filler.plan_number,
            keys_number=max(0, self.following.keys.number),
            disks=self.disk_facts(listening),
            holdings=holdings_table(self.storing.files()),
            orders=orders_table(self.filler.progress()),
            evictions=sum(disk.gone[Gone.SPACE] for disk in self.store.disks.values()),
            blamed=tuple(BlamedSource(url, key) for url, key in self.sources.blamed),
        )

    def status(self) -> KeeperStatus:
        disks = self.store.statistics()
        score = self.score(self.listening)
        enrolled = self.connection.enrolled.is_set()
        healthy = any(disk.failure is None for disk in self.store.disks.values())
        sentence = "" if enrolled else "not enrolled yet: the control plane has not signed a certificate"
        return KeeperStatus(
            pid=os.getpid(),
            ready=enrolled and healthy,
            sentence=sentence if healthy else "no disk takes part",
            written_at=self._clock.wall_s(),
            enrolled=enrolled,
            connected=self.pulse.connected,
            appliance_id=self.connection.appliance_id,
            state=self.following.desired.state.value,
            plan_number=self.filler.plan_number,
            keys_number=max(0, self.following.keys.number),
            orders=self.filler.counts(),
            score=score.value,
            reasons=score.reasons,
            held_files=sum(disk.objects for disk in disks),
            held_bytes=sum(disk.live_bytes for disk in disks),
            purge_epoch=self.store.purges.epoch,
            trigger=self.purging.applied,
            purges_waiting=self.purging.waiting,
            triggers_current=self.purging.is_current,
            disks=self.lineup.status(),
        )

    async def _keep_status(self) -> None:
        """Every second: `run/keeper.json` and `run/keeper.metrics`."""
        while True:
            self.metrics.observe(
                waiting=self.misses.waiting,
                under_way=self.fetcher.blocks_under_way,
                passing=self.passing.under_way,
                open_circuits=len(self.sources.open_circuits) + len(self.origins.open_circuits),
                links=len(self.link.links),
                connected=self.pulse.connected,
            )
            self.metrics.observe_purges(
                epoch=self.store.purges.epoch, waiting=self.purging.waiting, current=self.purging.is_current
            )
            self.metrics.observe_disks(self.store.statistics())
            self.metrics.observe_reach(self.store.board.reach)
            try:
                self.state.write("run/keeper.json", self.status(), durable=False)
                write_atomically(self.state.run / "keeper.metrics", self.metrics.text(), durable=False)
            except OSError as error:
                self._log.warning("status-not-written", detail=str(error))
            await self._clock.sleep(STATUS_EVERY_S)


def _given(url: str) -> tuple[str, ...]:
    """The URL, unless it is that of a wildcard address: nobody else can dial `0.0.0.0`."""
    return (url,) if url and not _is_unspecified(urlsplit(url).hostname or "") else ()
