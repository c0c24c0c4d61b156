"""The shell of the names: requests are checked, certificates ordered, the zone published, one round a second.

Laws
- Those of the desk (control_plane.desk): archive first, then memory, then whoever has to hear of it.
- What an order brings is taken only if the name still waits for it: a box may have sent another key meanwhile, or be gone.
- What may lie in the zone is archived before it is sent, so that nothing is left there that nobody knows of.
- After a start, and every hour, the whole zone is said again: a name server that lost it gets it back.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import msgspec

from chassis.logs import get_logger
from contracts.names import ApplianceName, NameFacts, NameList, NameRequest, NameState, NameTrouble, RequestRefusal
from contracts.places import ApplianceState
from control_plane.archive import access as access_archive
from control_plane.archive import names as name_archive
from control_plane.config import NameSettings
from control_plane.desk import Desk
from control_plane.errors import contradiction, unknown
from control_plane.names import states
from control_plane.names.metrics import NameMetrics
from control_plane.names.ports import Issuer, IssuerError, NameServer, NameServerError, Order
from control_plane.names.signing import ChainUnusable, RequestRefused, check_addresses, check_chain, check_request
from control_plane.names.states import Act, NameEvent, NameRecord, Patience
from control_plane.names.telling import PublicName
from control_plane.names.wording import sentence_of
from control_plane.names.zone import addresses_of, challenges_of, host_of
from control_plane.registry import Box

TICK_S = 1.0
ORDERS_AT_ONCE = 8
ZONE_RETRY_S = 5.0
SAID_AGAIN_S = 3600.0
WHO = "control-plane"
"""In the audit log, of what no operator asked for."""
Published = dict[tuple[str, str], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class PutOff:
    """A name whose work ended with nothing archived: not before `until_s` (monotonic). `times` in a row."""

    times: int
    until_s: float


_KINDS = ((4, "A"), (6, "AAAA"))
_LOG = get_logger("control_plane.names")


class NameDesk:
    """All names of one zone. `issuer` is None where no CA is configured, `server` where no zone is. `chance` gives numbers in [0, 1)."""

    def __init__(
        self,
        desk: Desk,
        settings: NameSettings,
        issuer: Issuer | None,
        server: NameServer | None,
        metrics: NameMetrics,
        chance: Callable[[], float],
    ) -> None:
        self.desk = desk
        self._settings = settings
        self._patience = Patience(settings.settle_s, settings.first_retry_s, settings.longest_retry_s)
        self._issuer = issuer
        self._server = server
        self._metrics = metrics
        self._chance = chance
        self._records: dict[str, NameRecord] = {}
        self._orders: dict[str, Order] = {}
        self._working: dict[str, asyncio.Task[None]] = {}
        self._put_off: dict[str, PutOff] = {}
        self._publishing: asyncio.Task[None] | None = None
        self._published: Published = {}
        self._is_said = False
        self._say_at_s = 0.0
        self._one_publisher = asyncio.Lock()
        self._zone_problem = ""
        self._ended_one = asyncio.Event()

    async def load(self) -> None:
        """Names as the archive has them. Call it before anybody listens."""
        if not self._settings.zone:
            return
        async with self.desk.database.read() as session:
            self._records = await name_archive.names(session)
            self._published = await name_archive.published(session)
        now = self.desk.clock.wall_s()
        self._records = {box_id: states.order_lost(record, now) for box_id, record in self._records.items()}
        for box in self.desk.registry.boxes.values():
            box.name = self._public(box)
            box.name_number = self._number(box)

    def told(self, box: Box) -> ApplianceName:
        """What the appliance is told of its name; nothing where none is managed for it."""
        record = self._records.get(box.id)
        if record is None or not record.host:
            return ApplianceName()
        return ApplianceName(record.host, record.number, record.chain_pem, record.addresses)

    async def take(self, box: Box, request: NameRequest) -> ApplianceName:
        """Raises ProblemError UNPROCESSABLE for a request that is not for this box's name alone."""
        async with self.desk.alone():
            record = self._records.get(box.id)
            try:
                if record is None or not record.host:
                    raise RequestRefused(RequestRefusal.UNNAMED, f"the control plane has no host name for {box.id}")
                check_request(request.csr_pem, record.host)
                check_addresses(request.addresses)
            except RequestRefused as error:
                self._metrics.refused.labels(error.why.value).inc()
                _LOG.warning("name-request-refused", appliance=box.id, reason=error.why.value, detail=str(error))
                raise contradiction((str(error),)) from error
            now = self.desk.clock.wall_s()
            after = states.requested(record, request.csr_pem, request.addresses, request.has_certificate, now)
            if after != record:
                await self._keep(after)
            if after.trouble is NameTrouble.KEYS and after.failures != record.failures:
                self._metrics.failed.labels(NameTrouble.KEYS.value).inc()
                _LOG.error(
                    "certificate-order-failed", host=after.host, reason=NameTrouble.KEYS.value, detail=after.detail
                )
        return self.told(box)

    async def order_now(self, box_id: str, operator: str) -> NameFacts:
        """What waits for its time waits no longer. Raises ProblemError NOT_FOUND."""
        async with self.desk.alone():
            record = self._records.get(box_id)
            if record is None:
                raise unknown("name of appliance", box_id)
            hurried = states.hurried(record, self.desk.clock.wall_s())
            self._put_off.pop(box_id, None)
            await self._keep(hurried, (operator, "order-certificate", ""))
        return self.facts(hurried)

    def listed(self) -> NameList:
        records = sorted(self._records.values(), key=lambda record: record.appliance_id)
        return NameList(self._settings.zone, tuple(self.facts(record) for record in records), self._zone_problem)

    def of(self, box_id: str) -> NameFacts | None:
        record = self._records.get(box_id)
        return self.facts(record) if record is not None else None

    def facts(self, record: NameRecord) -> NameFacts:
        """One name as an operator sees it."""
        now = self.desk.clock.wall_s()
        trouble, published = self._trouble(record, now), bool(self._families(record))
        return NameFacts(
            appliance_id=record.appliance_id,
            host=record.host,
            state=record.state,
            since=record.since,
            usable=states.is_good(record, now) and published,
            sentence=sentence_of(record, trouble, published=published, now=now),
            addresses=record.addresses,
            expires_at=record.expires_at,
            renew_at=record.renew_at,
            retry_at=record.retry_at,
            failures=record.failures,
            trouble=trouble,
            detail=record.detail,
            published=published,
        )

    async def watch(self) -> None:
        """Background task: everything that time brings, until it is cancelled. It may be begun again: who made the issuer closes it."""
        if not self._settings.zone:
            return
        try:
            while True:
                self._ended_one.clear()
                await self.pass_time()
                await self._tick()
        finally:
            tasks = self._under_way()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _tick(self) -> None:
        """Until the next second, or until some work has ended: what follows from it is not waited for."""
        both = {asyncio.create_task(self._ended_one.wait()), asyncio.create_task(self.desk.clock.sleep(TICK_S))}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()

    async def pass_time(self) -> None:
        """One round: names for those who are there, the zone as it should be, work that is due."""
        await self._follow_boxes()
        self._begin_publishing()
        self._begin_work()
        self._show()

    async def settled(self) -> None:
        """Returns when nothing that was begun is under way (for tests, which pass the time themselves)."""
        while tasks := self._under_way():
            await asyncio.gather(*tasks, return_exceptions=True)

    def _under_way(self) -> list[asyncio.Task[None]]:
        return [*self._working.values(), *(() if self._publishing is None else (self._publishing,))]

    async def _follow_boxes(self) -> None:
        """Names for new boxes, none for those that are gone or retired, another where the zone is another."""
        boxes = self.desk.registry.boxes
        there = {box.id for box in boxes.values() if box.state is not ApplianceState.RETIRED}
        wanted = {box_id: host_of(box_id, self._settings.zone) for box_id in there}
        gone = [box_id for box_id in self._records if box_id not in there]
        changed = [b for b, host in wanted.items() if (r := self._records.get(b)) is None or r.host != host]
        for box in boxes.values():
            self._refresh(box)
        if gone or changed:
            async with self.desk.alone():
                for box_id in gone:
                    await self._withdraw(box_id)
                for box_id in changed:
                    if box_id in boxes:
                        await self._keep(NameRecord(box_id, wanted[box_id], since=self.desk.clock.wall_s()))
        for box_id in [box_id for box_id, order in self._orders.items() if not self._is_for(order.csr_pem, box_id)]:
            del self._orders[box_id]

    def _is_for(self, csr_pem: str, box_id: str) -> bool:
        """The name is there, and still waits for a certificate for this request."""
        record = self._records.get(box_id)
        return record is not None and record.csr_pem == csr_pem

    async def _withdraw(self, box_id: str) -> None:
        """Its records leave the zone with the next publishing."""
        record, now = self._records[box_id], self.desk.clock.wall_s()
        async with self.desk.archive() as session:
            await name_archive.drop_name(session, box_id)
            await access_archive.note(session, now, WHO, "withdraw-name", record.host)
        del self._records[box_id]
        self._orders.pop(box_id, None)
        self._put_off.pop(box_id, None)
        _LOG.info("name-withdrawn", appliance=box_id, host=record.host)
        if (box := self.desk.registry.boxes.get(box_id)) is not None:
            self._refresh(box)

    def _begin_publishing(self) -> None:
        """In a task of its own: a name server that is slow to answer keeps no certificate that ends in the answers."""
        is_due = self.desk.clock.monotonic_s() >= self._say_at_s
        if self._publishing is not None or not (
            is_due or (not self._zone_problem and self._wanted() != self._published)
        ):
            return
        self._publishing = asyncio.create_task(self._said(anew=is_due), name=f"zone {self._settings.zone}")
        self._publishing.add_done_callback(self._ended_publishing)

    def _ended_publishing(self, _task: asyncio.Task[None]) -> None:
        self._publishing = None

    async def _said(self, *, anew: bool) -> None:
        try:
            await self._publish(anew=anew)
        except NameServerError:
            return
        except Exception as error:  # noqa: BLE001  the border of a task: traceback, tried again later
            _LOG.exception("zone-not-said", zone=self._settings.zone)
            self._zone_failed(repr(error))
            return
        for box in self.desk.registry.boxes.values():
            self._refresh(box)

    def _zone_failed(self, problem: str) -> None:
        self._zone_problem, self._is_said = problem, False
        self._say_at_s = self.desk.clock.monotonic_s() + ZONE_RETRY_S

    async def _publish(self, *, anew: bool = False) -> None:
        """Makes the zone what it should be now; all of it is said again if `anew`. Raises NameServerError, which is logged once.

        Whoever waited while another one failed fails with it: the name server is not asked in turn by all of them.
        """
        assert self._server is not None, "a zone has a server"
        async with self._one_publisher:
            if self._zone_problem and self.desk.clock.monotonic_s() < self._say_at_s:
                raise NameServerError(self._zone_problem)
            self._is_said = self._is_said and not anew
            wanted = self._wanted()
            if self._is_said and wanted == self._published:
                return
            # Values that are not known to be there are said again.
            before: Published = self._published if self._is_said else dict.fromkeys(self._published, ())
            async with self.desk.archive() as session:
                await name_archive.replace_published(session, {**self._published, **wanted})
            try:
                await self._server.publish(wanted, before)
            except NameServerError as error:
                if str(error) != self._zone_problem:
                    _LOG.error("zone-not-published", zone=self._settings.zone, detail=str(error), then="trying again")
                self._zone_failed(str(error))
                raise
            self._published = wanted
            async with self.desk.archive() as session:
                await name_archive.replace_published(session, wanted)
            if self._zone_problem:
                _LOG.info("zone-published-again", zone=self._settings.zone, records=len(wanted))
            self._zone_problem, self._is_said = "", True
            self._say_at_s = self.desk.clock.monotonic_s() + SAID_AGAIN_S

    def _wanted(self) -> Published:
        texts: dict[str, tuple[str, ...]] = {}
        for order in self._orders.values():
            for challenge in order.challenges:
                texts[challenge.host] = (*texts.get(challenge.host, ()), challenge.text)
        found: Published = challenges_of(texts)
        for record in self._records.values():
            if record.host:
                found |= addresses_of(record.host, record.addresses)
        return found

    def _begin_work(self) -> None:
        if self._issuer is None:
            return
        now, now_s = self.desk.clock.wall_s(), self.desk.clock.monotonic_s()
        for record in self._records.values():
            if len(self._working) >= ORDERS_AT_ONCE:
                return
            put_off = self._put_off.get(record.appliance_id)
            if put_off is not None and now_s < put_off.until_s:
                continue
            step = states.next_step(record, now, self._patience)
            if step.act is Act.WAIT or now < step.at or not record.host or record.appliance_id in self._working:
                continue
            task = asyncio.create_task(self._work(record, step.act), name=f"name {record.host}")
            self._working[record.appliance_id] = task
            task.add_done_callback(partial(self._ended, record.appliance_id))

    def _ended(self, box_id: str, task: asyncio.Task[None]) -> None:
        """Work whose outcome could not be archived would be done again at once, and the CA asked each time: it waits instead."""
        del self._working[box_id]
        error = None if task.cancelled() else task.exception()
        if error is None:
            self._put_off.pop(box_id, None)
            self._ended_one.set()
            return
        times = self._put_off[box_id].times + 1 if box_id in self._put_off else 1
        wait_s = states.wait_after(times, self._patience)
        self._put_off[box_id] = PutOff(times, self.desk.clock.monotonic_s() + wait_s)
        _LOG.error("name-not-kept", appliance=box_id, detail=repr(error), then=f"again in {wait_s:g} s")

    async def _work(self, record: NameRecord, act: Act) -> None:
        try:
            await self._done(record, act)
        except IssuerError as error:
            await self._went_wrong(record, error.trouble, str(error))
        except NameServerError as error:
            await self._went_wrong(record, NameTrouble.ZONE, str(error))
        except ChainUnusable as error:
            await self._went_wrong(record, NameTrouble.CHAIN, str(error))
        except Exception as error:  # noqa: BLE001  the border of a task: traceback, counter, tried again later
            _LOG.exception("name-work-died", host=record.host, act=act.value)
            await self._went_wrong(record, NameTrouble.BROKEN, repr(error))

    async def _done(self, record: NameRecord, act: Act) -> None:
        """One act, and what follows from it."""
        assert self._issuer is not None, "nothing is ordered without a CA"
        box_id, clock = record.appliance_id, self.desk.clock
        if act is Act.BEGIN:
            await self._follow(record, lambda now: states.begun(now, clock.wall_s()))
        elif act is Act.ORDER:
            order = await self._issuer.order(record.csr_pem)
            if not self._is_for(record.csr_pem, box_id):
                return
            self._orders[box_id] = order
            await self._publish()
            await self._follow(record, lambda now: states.after(now, NameEvent.ORDERED, clock.wall_s()))
        elif (known := self._orders.get(box_id)) is None or known.csr_pem != record.csr_pem:
            await self._follow(record, lambda now: states.order_lost(now, clock.wall_s()))
        elif act is Act.VALIDATE:
            await self._issuer.validate(known)
            await self._follow(record, lambda now: states.after(now, NameEvent.SEEN, clock.wall_s()))
        else:
            await self._take_chain(record, await self._issuer.finish(known))

    async def _take_chain(self, record: NameRecord, chain_pem: str) -> None:
        now = self.desk.clock.wall_s()
        valid = check_chain(chain_pem, record.csr_pem, record.host, now)
        chance = self._chance()
        self._orders.pop(record.appliance_id, None)
        was_taken = await self._follow(
            record,
            lambda it: states.signed(it, chain_pem, valid.begins_at, valid.expires_at, now, chance),
            (WHO, "issue-certificate", msgspec.json.encode({"expires_at": valid.expires_at}).decode()),
        )
        if was_taken:
            self._metrics.issued.inc()
            _LOG.info("certificate-issued", host=record.host, expires_at=valid.expires_at)
            self.desk.nudge(record.appliance_id)

    async def _went_wrong(self, record: NameRecord, trouble: NameTrouble, detail: str) -> None:
        self._orders.pop(record.appliance_id, None)
        now, chance = self.desk.clock.wall_s(), self._chance()
        self._metrics.failed.labels(trouble.value).inc()
        _LOG.error("certificate-order-failed", host=record.host, reason=trouble.value, detail=detail)
        if (record.state, NameEvent.WENT_WRONG) in states.TABLE:
            await self._follow(record, lambda it: states.failed(it, trouble, detail, now, self._patience, chance))

    async def _follow(
        self,
        record: NameRecord,
        change: Callable[[NameRecord], NameRecord],
        audited: tuple[str, str, str] | None = None,
    ) -> bool:
        """Changes the name if it is still where the work found it. True when it was."""
        async with self.desk.alone():
            current = self._records.get(record.appliance_id)
            if current is None or (current.state, current.csr_pem) != (record.state, record.csr_pem):
                return False
            await self._keep(change(current), audited)
        return True

    async def _keep(self, record: NameRecord, audited: tuple[str, str, str] | None = None) -> None:
        """Archives a name, with a line of the audit log (who, action, detail), and tells. Inside `desk.alone`."""
        async with self.desk.archive() as session:
            await name_archive.put_name(session, record)
            if audited is not None:
                who, action, detail = audited
                await access_archive.note(session, self.desk.clock.wall_s(), who, action, record.host, detail)
        before = self._records.get(record.appliance_id)
        self._records[record.appliance_id] = record
        if before is None or before.state is not record.state:
            said = before.state.value if before is not None else ""
            _LOG.info("name", host=record.host, state=record.state.value, before=said)
        box = self.desk.registry.boxes.get(record.appliance_id)
        if box is not None:
            self._refresh(box)

    def _refresh(self, box: Box) -> None:
        """Puts into the record what others may know of the name now, and tells it."""
        box.name_number, public = self._number(box), self._public(box)
        if public != box.name:
            self.desk.tell(self.desk.registry.set_name(box, public))

    def _public(self, box: Box) -> PublicName:
        record = self._records.get(box.id)
        if record is None:
            return PublicName(self._settings.zone)
        families = self._families(record)
        usable = bool(families) and states.is_good(record, self.desk.clock.wall_s())
        return PublicName(self._settings.zone, record.host, usable, families)

    def _number(self, box: Box) -> int:
        record = self._records.get(box.id)
        return record.number if record is not None else 0

    def _families(self, record: NameRecord) -> tuple[int, ...]:
        """IP versions in which the name leads to this box, and nowhere where it was before."""
        its = addresses_of(record.host, record.addresses)
        found = (
            (version, self._published.get((record.host, kind), ()), its.get((record.host, kind), ()))
            for version, kind in _KINDS
        )
        return tuple(version for version, published, wanted in found if published and set(published) <= set(wanted))

    def _trouble(self, record: NameRecord, now: float) -> NameTrouble | None:
        if not record.host:
            return NameTrouble.NO_HOST
        found = states.trouble_of(record, now)
        if found is None and self._issuer is None:
            return NameTrouble.NO_CA
        return found

    def _show(self) -> None:
        now = self.desk.clock.wall_s()
        records: Mapping[str, NameRecord] = self._records
        counts: Mapping[NameState, int] = Counter(record.state for record in records.values())
        expires = min((record.expires_at for record in records.values() if record.chain_pem), default=0.0)
        in_trouble = sum(self._trouble(record, now) is not None for record in records.values())
        self._metrics.show(counts, in_trouble, expires, zone_failing=bool(self._zone_problem))
