"""The shell of the routes: reports and imports are judged, archived, put into the book and told, one at a time.

Laws are those of the desk (control_plane.desk): archive first, then the book, then the stream. Judging a large table happens in a
thread, while other writes wait and heartbeats do not. After a start every source is believed as it was left; its appliance is asked
for the whole table at its next word.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec

from chassis.logs import get_logger
from contracts.places import ApplianceState
from contracts.routes import ALARMS, Route, RouteAnswer, RouteImport, RoutePolicy, RouteReport, SourceFacts, SourceState
from contracts.urls import is_name
from control_plane.archive import access as access_archive
from control_plane.archive import routes as route_archive
from control_plane.config import RouteSettings
from control_plane.desk import Desk
from control_plane.errors import conflict, contradiction, forbidden, unknown
from control_plane.lifecycle import MAY_CALL
from control_plane.registry import Box
from control_plane.routes import explorer, sessions
from control_plane.routes.admission import Gate, Judged, PolicyError, judge_all, ranges_of
from control_plane.routes.book import RouteBook, policy_name
from control_plane.routes.metrics import RouteMetrics
from control_plane.routes.roas import RoaListError, Roas, read_roas
from control_plane.routes.sessions import Arrival, Source

P = ParamSpec("P")
T = TypeVar("T")
TICK_S = 1.0
IN_A_THREAD_FROM = 1_000
"""Routes to judge: ten milliseconds of work."""
MOST_SESSIONS = 16
"""Of one appliance: more are a mistake of its settings, or no appliance of ours."""
TELL_AGAIN = frozenset({Arrival.OUT_OF_STEP, Arrival.OVER_MAXIMUM})
"""After these the whole table is wanted: nothing of the report was taken."""
_LOG = get_logger("control_plane.routes")


class RouteDesk:
    """Everything that changes routes."""

    def __init__(self, desk: Desk, settings: RouteSettings, metrics: RouteMetrics) -> None:
        self.desk = desk
        self.settings = settings
        self._metrics = metrics
        self._roas: Roas | None = None
        self._roas_stamp: tuple[int, int] | None = None

    @property
    def book(self) -> RouteBook:
        return self.desk.registry.routes

    async def load(self) -> None:
        """The book as the archive has it, judged anew. Call it before anybody listens."""
        await self._read_roas()
        async with self.desk.database.read() as session:
            self.book.policies.update(await route_archive.policies(session))
            found = await route_archive.sources(session)
        boxes, now_s = self.desk.registry.boxes, self.desk.clock.monotonic_s()
        for source in found:
            box = boxes.get(source.appliance_id)
            moved = box is not None and box.site_id != source.site_id
            if moved or (box is not None and box.state is ApplianceState.RETIRED):
                continue
            source.policy = self.book.policy_of(source.site_id, policy_name(source))
            source.changed_at_s = now_s
            sessions.rejudge(source, await self._judged(source, source.heard))
            self.book.put(source)
        self._show()

    async def take(self, box: Box, report: RouteReport) -> RouteAnswer:
        """Raises ProblemError: UNPROCESSABLE (a session that can have no name, or one too many), FORBIDDEN (the box is gone by now)."""
        desk, clock = self.desk, self.desk.clock
        async with desk.alone():
            if desk.registry.boxes.get(box.id) is not box or box.state not in MAY_CALL:
                raise forbidden(f"appliance {box.id} was removed or retired while it reported")
            source = self._session(box, report.session)
            source.peer, source.peer_as = report.peer, report.peer_as
            size = len(report.announced) + len(report.withdrawn)
            step = await _aside(size, sessions.step_of, source, report, clock.monotonic_s())
            self._metrics.reports.labels(step.arrival.value).inc()
            async with self._watching((source,)):
                if step.arrival is Arrival.LOST:
                    self.book.lose(source, report, clock.monotonic_s(), clock.wall_s())
                elif step.arrival is Arrival.OVER_MAXIMUM:
                    source.detail = f"{step.size} prefixes"
                    self.book.over(source, clock.wall_s())
                elif step.arrival is not Arrival.OUT_OF_STEP:
                    source.detail = ""
                    judged = await self._judged(source, step.put)
                    await self._keep(source, step)
                    now_s, now = clock.monotonic_s(), clock.wall_s()
                    desk.tell(self.book.take(source, step, judged, report.state, now_s, now))
        return RouteAnswer(want_full=step.arrival in TELL_AGAIN)

    async def put_import(self, site_id: str, name: str, given: RouteImport, operator: str) -> SourceFacts:
        """Raises ProblemError: NOT_FOUND (the site), UNPROCESSABLE (name, kind), CONFLICT (more than the policy lets)."""
        desk, clock = self.desk, self.desk.clock
        if given.kind is given.kind.BGP or not is_name(name):
            raise contradiction((f"{name!r} of kind {given.kind.value} is no import: bgp comes from appliances",))
        async with desk.alone():
            self._known_site(site_id)
            source = self.book.imported(site_id, name, given.kind)
            source.detail = given.origin
            step = await _aside(
                len(given.routes), sessions.step_to, source, given.routes, (), whole=True, now_s=clock.monotonic_s()
            )
            if step.arrival is Arrival.OVER_MAXIMUM:
                most = source.policy.maximum
                raise conflict(
                    f"{step.size} prefixes are more than the {most} that this source may have; set its policy first"
                )
            judged = await self._judged(source, step.put)
            said = f"{len(given.routes)} routes from {given.origin or given.kind.value}"
            await self._keep(source, step, (operator, said))
            if self.book.sources.get(source.id) is not source:
                desk.tell(self.book.put(source))
            desk.tell(self.book.take(source, step, judged, "", clock.monotonic_s(), clock.wall_s()))
        self._show()
        return self.facts(source)

    async def drop_source(self, source_id: str, operator: str) -> None:
        """Forgets a source. A session that still lives is heard again at its next report. Raises ProblemError NOT_FOUND."""
        desk = self.desk
        async with desk.alone():
            if source_id not in self.book.sources:
                raise unknown("source of routes", source_id)
            async with desk.archive() as session:
                await route_archive.drop_source(session, source_id)
                await access_archive.note(session, desk.clock.wall_s(), operator, "drop-routes", source_id)
            desk.tell(self.book.drop(source_id))
        self._show()

    async def put_policy(self, site_id: str, name: str, policy: RoutePolicy | None, operator: str) -> RoutePolicy:
        """Sets the policy of one source of a site, or of all that have none of their own; None takes it back.

        Everything the sources said is judged anew. Raises ProblemError: NOT_FOUND, UNPROCESSABLE.
        """
        desk = self.desk
        try:
            ranges_of(policy or RoutePolicy())
        except PolicyError as error:
            raise contradiction(error.errors) from error
        async with desk.alone():
            self._known_site(site_id)
            async with desk.archive() as session:
                await route_archive.put_policy(session, site_id, name, policy)
                said = msgspec.json.encode(policy).decode() if policy is not None else ""
                await access_archive.note(
                    session, desk.clock.wall_s(), operator, "route-policy", f"{site_id} {name or 'every source'}", said
                )
            await self._rejudge(self.book.put_policy(site_id, name, policy))
            given = self.book.policy_of(site_id, name)
        self._show()
        return given

    async def explored(self, look: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        """What somebody finds who looks at all routes, in a thread while nobody writes. Raises what `look` raises."""
        async with self.desk.alone():
            return await asyncio.to_thread(look, *given, **named)

    def facts(self, source: Source) -> SourceFacts:
        box = self.desk.registry.boxes.get(source.appliance_id)
        cluster = box.registration.manifest_cluster if box is not None else ""
        return explorer.facts_of(source, cluster, self.settings.hold_s)

    async def watch(self) -> None:
        """Background task: held routes go, storms end, a new RPKI list is read."""
        while True:
            await self.desk.clock.sleep(TICK_S)
            await self.pass_time()

    async def pass_time(self) -> None:
        desk, clock = self.desk, self.desk.clock
        if await self._read_roas():
            async with desk.alone():
                await self._rejudge(self.book.sources.values())
        now_s, hold_s = clock.monotonic_s(), self.settings.hold_s
        if not any(sessions.is_ending(source, hold_s, now_s) for source in self.book.sources.values()):
            return
        async with desk.alone():
            async with desk.archive() as session:
                for source in self.book.sources.values():
                    if sessions.is_gone(source, hold_s, now_s):
                        await route_archive.forget_routes(session, source.id)
            async with self._watching(tuple(self.book.sources.values())):
                desk.tell(self.book.pass_time(hold_s, now_s, clock.wall_s()))

    def _session(self, box: Box, name: str) -> Source:
        if not is_name(name):
            raise contradiction((f"session: {name!r} must be lower-case letters, digits, dots, underscores, hyphens",))
        source = self.book.session(box.id, box.site_id, name)
        mine = sum(source.appliance_id == box.id for source in self.book.sources.values())
        if source.id not in self.book.sources and mine >= MOST_SESSIONS:
            raise contradiction((f"session: {box.id} has {MOST_SESSIONS} sessions already",))
        return source

    async def _keep(self, source: Source, step: sessions.Step, audited: tuple[str, str] | None = None) -> None:
        """Archives what a step does to a source; `audited` are the operator and the words of the audit log."""
        async with self.desk.archive() as session:
            if self.book.sources.get(source.id) is not source:
                await route_archive.drop_source(session, source.id)
            await route_archive.put_source(session, source)
            await route_archive.change(session, source.id, step.put, step.drop)
            if audited is not None:
                now = self.desk.clock.wall_s()
                await access_archive.note(session, now, audited[0], "import-routes", source.id, audited[1])

    def _known_site(self, site_id: str) -> None:
        if site_id not in self.desk.registry.sites:
            raise unknown("site", site_id)

    async def _judged(self, source: Source, routes: Mapping[str, Route]) -> Judged:
        return await _aside(len(routes), judge_all, Gate(source.policy, self._roas), routes)

    async def _rejudge(self, changed: Iterable[Source]) -> None:
        for source in tuple(changed):
            self.desk.tell(self.book.rejudge(source, await self._judged(source, source.heard)))
            await asyncio.sleep(0)  # small tables are judged on the loop: others are answered between two of them
        self._show()

    async def _read_roas(self) -> bool:
        """True when there is another list than before. One that cannot be read changes nothing: the last good one is used."""
        path = self.settings.roas_file
        if path is None:
            return False
        try:
            stat = await asyncio.to_thread(path.stat)
            if (stamp := (stat.st_mtime_ns, stat.st_size)) == self._roas_stamp:
                return False
            self._roas_stamp = stamp
            before, self._roas = self._roas, await asyncio.to_thread(_roas_in, path)
        except (OSError, RoaListError) as error:
            if self._metrics.roas_unreadable(True):
                _LOG.error("rpki-list-unusable", path=str(path), detail=str(error), used="the last good one, if any")
            return False
        self._metrics.roas_unreadable(False)
        self._metrics.roas.set(self._roas.count)
        _LOG.info("rpki-list-read", path=str(path), entries=self._roas.count)
        return self._roas != before

    @asynccontextmanager
    async def _watching(self, sources: Iterable[Source]) -> AsyncIterator[None]:
        """Tells of every source whose state is another afterwards."""
        before = [(source, source.state) for source in sources]
        yield
        for source, state in before:
            if source.state is not state:
                say = _LOG.error if source.state in ALARMS else _LOG.info
                sentence = explorer.sentence_of(source, self.settings.hold_s)
                say("route-source", source=source.id, state=source.state.value, before=state.value, sentence=sentence)
        self._show()

    def _show(self) -> None:
        book = self.book
        self._metrics.show(
            {state: sum(source.state is state for source in book.sources.values()) for state in SourceState},
            sum(len(source.taken) for source in book.sources.values()),
            sum(len(source.refused) for source in book.sources.values()),
        )


async def _aside(size: int, work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """What is done with many routes happens in a thread, what is done with few at once. Nobody changes them meanwhile."""
    if size < IN_A_THREAD_FROM:
        return work(*given, **named)
    return await asyncio.to_thread(work, *given, **named)


def _roas_in(path: Path) -> Roas:
    return read_roas(path.read_bytes())
