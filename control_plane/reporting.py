"""Takes reports in: counted once, archived, shown, and the appliance's life moved on."""

from __future__ import annotations

from chassis.logs import get_logger
from contracts.places import ApplianceState
from contracts.reports import ApplianceReport, FileTraffic, ReportAnswer, TrafficImport
from control_plane.archive import access as access_archive
from control_plane.archive import places as place_archive
from control_plane.archive import reports as report_archive
from control_plane.desk import Desk
from control_plane.errors import contradiction, unknown
from control_plane.ingestion import Judgement, judge, wrong_numbers, wrong_traffic
from control_plane.lifecycle import LifeEvent, after, turn_up
from control_plane.names.telling import wrong_urls
from control_plane.registry import Box


class Reporting:
    """The inbox of reports and imports."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def take(self, box: Box, report: ApplianceReport) -> ReportAnswer:
        """Raises ProblemError UNPROCESSABLE when the numbers cannot be true, or a URL cannot be dialled."""
        desk = self.desk
        now, today = desk.clock.wall_s(), desk.calendar.wall_s()
        wrong = (
            *wrong_numbers(report),
            *wrong_urls(report.player_urls),
            *wrong_traffic(report.traffic, today),
            *wrong_traffic(report.networks, today, "networks"),
        )
        if wrong:
            raise contradiction(wrong)
        async with desk.alone():
            judgement = judge(box.reported, report)
            event = _life_event(box, report, judgement)
            state = (after(box.state, event) if event else None) or box.state
            if judgement.counts:
                async with desk.archive() as session:
                    await report_archive.store(session, box, judgement, report, now, today)
                    if state is not box.state:
                        await place_archive.set_state(session, box.id, state)
            told = desk.registry.take_report(box, judgement, report, now)
            if state is not box.state:
                get_logger("control_plane.lifecycle").info(
                    "state",
                    appliance=box.id,
                    before=box.state.value,
                    after=state.value,
                    why=event.value if event else "",
                )
                told = (*told, *desk.registry.set_state(box, state))
            desk.tell(told)
        desk.metrics.reports.labels(judgement.arrival.value).inc()
        standing = desk.standing(box)
        return ReportAnswer(
            judgement.stored_sequence,
            standing.plan_number,
            standing.keys_number,
            standing.state,
            judgement.want_full_holdings,
        )

    async def take_import(self, site_id: str, given: TrafficImport, operator: str) -> tuple[int, int]:
        """(rows, bytes) of another system's traffic. What was imported before for the same hours is replaced.

        Raises ProblemError: NOT_FOUND, UNPROCESSABLE.
        """
        desk = self.desk
        if site_id not in desk.registry.sites:
            raise unknown("site", site_id)
        now = desk.clock.wall_s()
        wrong = wrong_traffic(given.traffic, desk.calendar.wall_s())
        if wrong:
            raise contradiction(wrong)
        rows, served = len(given.traffic), _served(given.traffic)
        async with desk.alone(), desk.archive() as session:
            await report_archive.replace_import(session, site_id, given.traffic)
            await access_archive.note(session, now, operator, "import-traffic", site_id, f"{rows} rows, {served} bytes")
        return rows, served


def _life_event(box: Box, report: ApplianceReport, judgement: Judgement) -> LifeEvent | None:
    """What a report means for the appliance's life."""
    if not judgement.present:
        return None
    if box.state is ApplianceState.BURN_IN and not turn_up(report):
        return LifeEvent.TURNED_UP
    knows = report.state == ApplianceState.DRAINING.value
    if box.state is ApplianceState.DRAINING and knows and report.connections == 0:
        return LifeEvent.EMPTIED
    return None


def _served(rows: tuple[FileTraffic, ...]) -> int:
    return sum(row.served_bytes for row in rows)
