"""Sends reports: frozen, kept, sent, repeated until acknowledged (laws in `reporting`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from chassis.clock import Clock
from chassis.errors import ServiceError
from chassis.logs import get_logger
from contracts.reports import ApplianceReport, BlamedSource, DiskFacts, Holding, OrderProgress, ReportAnswer
from oca.keeper.accounts import Accounts
from oca.keeper.connection import ControlPlane
from oca.keeper.errors import NotConnected
from oca.keeper.metrics import KeeperMetrics
from oca.keeper.reporting import Changes, Ledger, Score, Spool
from oca.keeper.state import StateFolder, write_atomically

DEBOUNCE_S = 0.5
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 30.0
SPOOL = "spool.json"


@dataclass(frozen=True, slots=True)
class View:
    """How the box is at the moment of a report."""

    score: Score
    player_urls: tuple[str, ...]
    peer_url: str
    state: str
    plan_number: int
    keys_number: int
    disks: tuple[DiskFacts, ...]
    holdings: dict[str, Holding]
    orders: dict[str, OrderProgress]
    evictions: int
    blamed: tuple[BlamedSource, ...] = ()


class Reporter:
    """One report under way at most."""

    def __init__(
        self,
        control_plane: ControlPlane,
        ledger: Ledger,
        accounts: Accounts,
        view: Callable[[], View],
        state: StateFolder,
        boot_id: str,
        report_s: float,
        metrics: KeeperMetrics,
        clock: Clock,
        answered: Callable[[ReportAnswer], None],
    ) -> None:
        self._control_plane = control_plane
        self._ledger = ledger
        self._accounts = accounts
        self._view = view
        self._state = state
        self._boot_id = boot_id
        self._report_s = report_s
        self._metrics = metrics
        self._clock = clock
        self._answered = answered
        self._started_at = clock.wall_s()
        self._sequence = 0
        self._holdings: Changes[str, Holding] = Changes()
        self._orders: Changes[str, OrderProgress] = Changes()
        self._poked = asyncio.Event()
        self._log = get_logger("oca.keeper.reporter")

    def poke(self) -> None:
        """Something changed that the control plane should hear soon."""
        self._poked.set()

    async def run(self) -> None:
        """Reports until cancelled. Call it when the box is enrolled."""
        failures = 0
        while True:
            try:
                await self.report_once()
                failures = 0
            except (ServiceError, NotConnected) as error:
                failures += 1
                self._metrics.reports.labels("failed").inc()
                if failures == 1:
                    self._log.warning("report-failed", detail=str(error), then="kept and repeated")
                await (
                    self.keep()
                )  # what gathers behind the report, so that a keeper killed now takes seconds with it, not hours
            if failures:
                await self._clock.sleep(min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(failures - 1, 5)))
            else:
                await self._wait()

    async def report_once(self) -> None:
        """Repeats what is under way, then says how things are now. Raises ServiceError, NotConnected."""
        if self._ledger.under_way is not None:
            await self._send(self._ledger.under_way)
        self._poked.clear()
        report = self._freeze()
        self._ledger.under_way = report
        await self.keep()
        await self._send(report)

    async def keep(self) -> None:
        """Write what is not acknowledged to the disk."""
        for what, rows in self._ledger.take_losses():
            self._metrics.traffic_dropped.labels(what).inc(rows)
        data = msgspec.json.encode(self._ledger.spool())
        try:
            await asyncio.to_thread(write_atomically, self._state.folder / SPOOL, data)
        except OSError as error:
            self._log.error("spool-not-kept", detail=str(error))

    def _freeze(self) -> ApplianceReport:
        view = self._view()
        holdings, dropped = self._holdings.difference(view.holdings)
        orders, _ = self._orders.difference(view.orders)
        self._sequence += 1
        return ApplianceReport(
            sequence=self._sequence,
            boot_id=self._boot_id,
            started_at=self._started_at,
            score=view.score.value,
            reasons=view.score.reasons,
            player_urls=view.player_urls,
            peer_url=view.peer_url,
            state=view.state,
            plan_number=view.plan_number,
            keys_number=view.keys_number,
            egress_bps=self._accounts.egress_bps,
            connections=self._accounts.connections,
            disks=view.disks,
            traffic=self._ledger.take_rows(),
            sources=self._accounts.sources(),
            orders=tuple(orders),
            holdings=tuple(holdings),
            holdings_full=not self._holdings.complete,
            dropped=tuple(dropped),
            evictions=view.evictions,
            blamed=view.blamed,
            content_misses=self._accounts.content_misses,
            client_requests=self._accounts.client_requests,
            client_bytes=self._accounts.client_bytes,
            networks=self._ledger.networks.take_rows(),
        )

    async def _send(self, report: ApplianceReport) -> None:
        try:
            answer = await self._control_plane.report(report)
        except ServiceError as error:
            if error.status in (400, 413, 422):
                # Repeating it would never help, and would hold up all that comes after it.
                self._log.error("report-refused", sequence=report.sequence, detail=str(error))
                self._metrics.reports.labels("refused").inc()
                self._metrics.traffic_dropped.labels("refused").inc(len(report.traffic))
                self._ledger.under_way = None
                self._holdings.forgotten()
                self._orders.forgotten()
            raise
        self._metrics.reports.labels("acknowledged").inc()
        self._ledger.under_way = None
        if report.boot_id == self._boot_id:
            self._holdings.acknowledged()
            self._orders.acknowledged()
            if answer.want_full_holdings:
                self._holdings.forgotten()
                self._orders.forgotten()
                self.poke()
        self._answered(answer)

    async def _wait(self) -> None:
        """Until the next report is due, or `DEBOUNCE_S` after a poke."""
        poked = asyncio.ensure_future(self._poked.wait())
        due = asyncio.ensure_future(self._clock.sleep(self._report_s))
        try:
            await asyncio.wait((poked, due), return_when=asyncio.FIRST_COMPLETED)
        finally:
            poked.cancel()
            due.cancel()
        if self._poked.is_set():
            await self._clock.sleep(DEBOUNCE_S)


def load_ledger(state: StateFolder) -> Ledger:
    """What an earlier keeper could not deliver."""
    return Ledger(state.read(SPOOL, Spool))
