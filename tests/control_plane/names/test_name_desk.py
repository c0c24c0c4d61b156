"""Names on a record of their own, with a CA and a name server in memory and a clock that waits for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography import x509
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from chassis.clock import VirtualClock
from chassis.database import Database
from chassis.errors import ProblemError
from chassis.metrics import Metrics
from contracts.names import NameFacts, NameRequest, NameState, NameTrouble
from contracts.places import ApplianceRegistration, ApplianceState, Site
from control_plane import records
from control_plane.archive import access as access_archive
from control_plane.archive import places as place_archive
from control_plane.changes import ChangeLog
from control_plane.config import DnsSettings, NameSettings
from control_plane.desk import Desk
from control_plane.metrics import ControlPlaneMetrics
from control_plane.names.desk import NameDesk
from control_plane.names.metrics import NameMetrics
from control_plane.names.ports import IssuerError
from control_plane.names.zone import CHALLENGE
from control_plane.registry import Box, Registry
from tests.control_plane.names.fakes import DAY_S, FakeIssuer, FakeNameServer, csr_for
from tests.control_plane.plane import report

SETTINGS = NameSettings("cdn.test", dns=DnsSettings(server="127.0.0.1"), settle_s=5.0)
HOST = "a1.cdn.test"
HTTPS = f"https://{HOST}"
A_RECORD = (HOST, "A")
ANSWER = (f"{CHALLENGE}.{HOST}", "TXT")
BROKEN_ARCHIVE = "CREATE TRIGGER broken BEFORE INSERT ON names BEGIN SELECT raise(ABORT, 'disk full'); END"


@dataclass
class Room:
    """A name desk that stands alone. The same folder again is a restart."""

    names: NameDesk
    desk: Desk
    issuer: FakeIssuer
    server: FakeNameServer
    clock: VirtualClock
    metrics: Metrics

    @property
    def box(self) -> Box:
        return self.desk.registry.boxes["a1"]

    @property
    def facts(self) -> NameFacts:
        found = self.names.of("a1")
        assert found is not None
        return found

    def state(self) -> NameState:
        return self.facts.state

    @property
    def urls(self) -> tuple[str, ...]:
        """What players are told."""
        return self.box.appliance().player_urls

    async def rounds(self, count: int = 1, each_s: float = 1.0) -> None:
        for _ in range(count):
            await self.names.pass_time()
            await self.names.settled()
            await self.clock.advance(each_s)

    async def ask(self, csr_pem: str = "", *, has_certificate: bool = False, addresses: tuple[str, ...] = ()) -> None:
        request = NameRequest(csr_pem or csr_for(HOST), addresses or ("127.1.0.11",), has_certificate)
        await self.names.take(self.box, request)

    async def issue(self) -> None:
        await self.rounds()
        await self.ask()
        await self.rounds(12)
        assert self.facts.state is NameState.ISSUED, self.facts.sentence

    async def retire(self) -> None:
        async with self.desk.alone():
            self.desk.tell(self.desk.registry.set_state(self.box, ApplianceState.RETIRED))


@asynccontextmanager
async def room(
    folder: Path,
    server: FakeNameServer | None = None,
    clock: VirtualClock | None = None,
    settings: NameSettings = SETTINGS,
    *,
    has_ca: bool = True,
) -> AsyncIterator[Room]:
    clock, server = clock or VirtualClock(), server or FakeNameServer()
    metrics = Metrics("control-plane", process=False)
    opening = Database.open(folder / "record.sqlite", records.metadata, schema_version=records.SCHEMA_VERSION)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(opening)
        async with database.read() as session:
            registry: Registry = await place_archive.load(session)
        desk = Desk(database, registry, ChangeLog(1), ControlPlaneMetrics(metrics), clock)
        if "a1" not in registry.boxes:
            await _add_box(desk)
        issuer = FakeIssuer(server, clock.wall_s)
        its = issuer if has_ca else None
        names = NameDesk(desk, settings, its, server, NameMetrics(metrics), lambda: 0.0)
        await names.load()
        yield Room(names, desk, issuer, server, clock, metrics)


async def _add_box(desk: Desk) -> None:
    site, registration = Site("a", "A", "isp", "DE"), ApplianceRegistration("a1", "a", "a")
    async with desk.alone():
        async with desk.archive() as session:
            await place_archive.put_site(session, site)
            await place_archive.put_box(session, registration, ApplianceState.LIVE)
        desk.registry.put_site(site)
        desk.registry.put_box(registration)
        box = desk.registry.boxes["a1"]
        box.state, box.report = ApplianceState.LIVE, report(player_urls=("http://127.1.0.11:80", HTTPS))


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Room]:
    async with room(tmp_path) as found:
        yield found


async def test_a_box_gets_a_certificate_for_its_key_and_players_are_told_its_name_from_then_on(made: Room) -> None:
    await made.rounds()
    assert made.state() is NameState.WANTED
    assert "has not sent a signing request" in made.facts.sentence
    assert made.urls == ("http://127.1.0.11:80",)
    csr_pem = csr_for(HOST)
    await made.ask(csr_pem)
    await made.rounds(3)
    assert made.state() is NameState.PUBLISHED
    assert made.server.records[ANSWER] == ("answer-1",)
    assert HTTPS not in made.urls
    await made.rounds(8)
    assert made.state() is NameState.ISSUED
    told = made.names.told(made.box)
    assert (told.host, told.number, told.chain_pem.count("BEGIN CERTIFICATE")) == (HOST, 1, 2)
    assert made.desk.standing(made.box).name_number == 1
    assert made.server.records == {A_RECORD: ("127.1.0.11",)}
    assert HTTPS in made.urls
    assert made.box.appliance().families == (4,)
    assert made.facts.usable


async def test_a_certificate_is_renewed_in_its_last_third_while_the_one_before_serves(made: Room) -> None:
    await made.issue()
    first = made.names.told(made.box).chain_pem
    await made.clock.advance(made.facts.renew_at - made.clock.wall_s() - 1.0)
    await made.rounds()
    assert (made.issuer.orders, made.facts.state) == (1, NameState.ISSUED)
    await made.rounds()
    assert made.facts.state is NameState.RENEWING
    assert HTTPS in made.urls
    await made.rounds(12)
    told = made.names.told(made.box)
    assert (told.number, made.issuer.orders) == (2, 2)
    assert told.chain_pem != first


async def test_a_ca_that_refuses_is_asked_again_later_and_the_last_good_certificate_serves_until_its_end(
    made: Room,
) -> None:
    await made.issue()
    made.issuer.refuses = IssuerError(NameTrouble.RATE_LIMITED, "rateLimited: too many certificates")
    await made.clock.advance(60 * DAY_S)
    await made.rounds(3)
    assert (made.facts.state, made.facts.trouble) == (NameState.FAILED, NameTrouble.RATE_LIMITED)
    assert "too many certificates" in made.facts.sentence
    assert HTTPS in made.urls
    assert b'certificate_failures_total{reason="ca-rate-limit"} 1.0' in made.metrics.exposition()
    for _ in range(40):
        await made.rounds(3, each_s=6 * 3600.0)
    await made.rounds()
    assert made.facts.trouble is NameTrouble.EXPIRED
    assert "ran out" in made.facts.sentence
    assert made.urls == ("http://127.1.0.11:80",)
    assert not made.facts.usable
    made.issuer.refuses = None
    await made.names.order_now("a1", "ann")
    await made.rounds(12)
    assert made.state() is NameState.ISSUED
    assert HTTPS in made.urls


async def test_each_failure_in_a_row_waits_twice_as_long(made: Room) -> None:
    made.issuer.refuses = IssuerError(NameTrouble.CA_AWAY, "the CA cannot be asked: no route")
    await made.rounds()
    await made.ask()
    waits = []
    for failures in range(1, 5):
        while made.facts.failures < failures:
            await made.rounds()
        waits.append(made.facts.retry_at - made.facts.since)
        await made.clock.advance(waits[-1])
    assert waits == [60.0, 120.0, 240.0, 480.0]


async def test_a_zone_that_cannot_be_published_fails_the_order_and_is_said_until_it_is_published(made: Room) -> None:
    made.server.broken = "127.0.0.1 port 53: connection refused"
    await made.rounds()
    await made.ask()
    await made.rounds(3)
    assert made.facts.trouble is NameTrouble.ZONE
    assert made.names.listed().zone_problem == made.server.broken
    assert b"zone_unpublished 1.0" in made.metrics.exposition()
    assert made.facts.published is False
    made.server.broken = ""
    await made.rounds(90)
    assert made.names.listed().zone_problem == ""
    assert b"zone_unpublished 0.0" in made.metrics.exposition()
    assert made.facts.state is NameState.ISSUED


async def test_a_zone_that_fails_an_order_only_is_said_again_within_seconds(made: Room) -> None:
    await made.issue()
    made.server.broken = "127.0.0.1 port 53: connection refused"
    await made.names.order_now("a1", "ann")
    await made.rounds(3)
    assert made.facts.trouble is NameTrouble.ZONE
    made.server.broken = ""
    await made.rounds(8)
    assert made.names.listed().zone_problem == ""


async def test_orders_do_not_ask_a_name_server_again_that_has_just_failed(made: Room) -> None:
    await made.issue()
    made.server.broken = "127.0.0.1 port 53: connection refused"
    await made.names.order_now("a1", "ann")
    await made.rounds(2)
    assert (made.facts.trouble, made.facts.failures) == (NameTrouble.ZONE, 1)
    asked = made.server.asked
    await made.names.order_now("a1", "ann")
    await made.rounds(2)
    assert (made.facts.trouble, made.facts.failures) == (NameTrouble.ZONE, 2)
    assert made.server.asked == asked


async def test_an_ended_certificate_leaves_the_answers_while_the_name_server_does_not_answer(made: Room) -> None:
    csr_pem = csr_for(HOST)
    await made.rounds()
    await made.ask(csr_pem)
    await made.rounds(12)
    made.issuer.refuses = IssuerError(NameTrouble.CA_AWAY, "the CA cannot be asked: no route")
    await made.ask(csr_pem, has_certificate=True, addresses=("127.1.0.11", "127.1.0.99"))
    made.server.answers = asyncio.Event()
    async with asyncio.timeout(30):
        await made.names.pass_time()
        assert HTTPS in made.urls
        await made.clock.advance(90 * DAY_S)
        await made.names.pass_time()
    assert made.server.asked > 1
    assert HTTPS not in made.urls
    made.server.answers.set()
    await made.names.settled()
    assert made.server.records == {A_RECORD: ("127.1.0.11", "127.1.0.99")}


async def test_a_box_that_is_retired_while_its_order_is_placed_leaves_nothing_in_the_zone(made: Room) -> None:
    made.issuer.takes = asyncio.Event()
    await made.rounds()
    await made.ask()
    await made.names.pass_time()
    await made.retire()
    await made.names.pass_time()
    made.issuer.takes.set()
    await made.names.settled()
    await made.rounds(2)
    assert made.issuer.orders == 1
    assert made.server.records == {}


async def test_a_name_whose_withdrawal_cannot_be_archived_is_withdrawn_later(made: Room) -> None:
    await made.issue()
    await made.retire()
    async with made.desk.archive() as session:
        await session.execute(text(BROKEN_ARCHIVE.replace("INSERT", "DELETE")))
    with pytest.raises(IntegrityError):
        await made.rounds()
    assert A_RECORD in made.server.records
    async with made.desk.archive() as session:
        await session.execute(text("DROP TRIGGER broken"))
    await made.rounds(2)
    assert made.server.records == {}
    async with made.desk.database.read() as session:
        actions = [entry.action for entry in await access_archive.audit(session, 10)]
    assert actions == ["withdraw-name", "issue-certificate"]


async def test_a_watch_that_ended_can_be_begun_again_and_certificates_are_still_issued(made: Room) -> None:
    watching = asyncio.create_task(made.names.watch())
    await asyncio.sleep(0)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    await made.issue()


async def test_while_the_archive_cannot_be_written_the_ca_is_asked_less_and_less_often(made: Room) -> None:
    await made.rounds()
    await made.ask()
    async with made.desk.archive() as session:
        await session.execute(text(BROKEN_ARCHIVE))
    await made.rounds(59)
    assert made.issuer.orders == 1
    await made.rounds(119)
    assert made.issuer.orders == 2
    async with made.desk.archive() as session:
        await session.execute(text("DROP TRIGGER broken"))
    await made.rounds(140)
    assert made.facts.state is NameState.ISSUED
    assert made.issuer.orders == 3


async def test_a_retired_box_loses_its_name_in_zone_and_record(made: Room, tmp_path: Path) -> None:
    await made.issue()
    await made.retire()
    await made.rounds(2)
    assert made.server.records == {}
    assert made.names.of("a1") is None
    assert made.names.told(made.box).host == ""
    async with made.desk.database.read() as session:
        actions = [entry.action for entry in await access_archive.audit(session, 10)]
    assert actions == ["withdraw-name", "issue-certificate"]


async def test_names_certificates_and_what_is_published_outlive_a_restart(tmp_path: Path) -> None:
    clock, server = VirtualClock(), FakeNameServer()
    async with room(tmp_path, server, clock) as before:
        await before.issue()
        told = before.names.told(before.box)
    async with room(tmp_path, server, clock) as after:
        after.box.report = report(player_urls=(HTTPS,))
        assert after.names.told(after.box) == told
        assert after.urls == (HTTPS,)
        server.records.clear()
        await after.rounds()
        assert server.records == {A_RECORD: ("127.1.0.11",)}
        assert after.issuer.orders == 0


async def test_an_order_that_a_restart_interrupted_is_made_anew_and_its_answer_leaves_the_zone(tmp_path: Path) -> None:
    clock, server = VirtualClock(), FakeNameServer()
    async with room(tmp_path, server, clock) as before:
        await before.rounds()
        await before.ask()
        await before.rounds(3)
        assert ANSWER in server.records
    async with room(tmp_path, server, clock) as after:
        assert after.state() is NameState.ORDERING
        await after.rounds(12)
        assert after.state() is NameState.ISSUED
        assert server.records == {A_RECORD: ("127.1.0.11",)}


async def test_a_box_that_sends_another_key_in_the_middle_gets_a_certificate_for_that_one(made: Room) -> None:
    await made.rounds()
    await made.ask()
    await made.rounds(3)
    newer = csr_for(HOST)
    await made.ask(newer)
    await made.rounds(14)
    assert made.facts.state is NameState.ISSUED
    assert made.issuer.orders == 2
    leaf = x509.load_pem_x509_certificates(made.names.told(made.box).chain_pem.encode())[0]
    assert leaf.public_key() == x509.load_pem_x509_csr(newer.encode()).public_key()


async def test_a_box_that_sends_key_after_key_uses_up_a_few_orders_and_what_it_does_is_said(made: Room) -> None:
    await made.rounds()
    await made.ask()
    for _ in range(9):
        await made.rounds(3)
        await made.ask()
    assert made.issuer.orders == 6
    assert made.facts.trouble is NameTrouble.KEYS
    assert "the last order failed (too-many-keys: the box sent 5 other keys" in made.facts.sentence
    assert b'certificate_failures_total{reason="too-many-keys"} 1.0' in made.metrics.exposition()
    await made.rounds(2)
    assert made.server.records == {A_RECORD: ("127.1.0.11",)}
    await made.names.order_now("a1", "ann")
    await made.rounds(12)
    assert made.facts.state is NameState.ISSUED


async def test_a_box_that_moved_is_found_at_its_new_address_under_the_same_certificate(made: Room) -> None:
    await made.rounds()
    csr_pem = csr_for(HOST)
    await made.ask(csr_pem)
    await made.rounds(12)
    await made.ask(csr_pem, has_certificate=True, addresses=("127.1.0.99", "2001:db8::99"))
    assert HTTPS not in made.urls, "the name leads to where the box was"
    await made.rounds(2)
    assert HTTPS in made.urls
    assert made.server.records == {A_RECORD: ("127.1.0.99",), (HOST, "AAAA"): ("2001:db8::99",)}
    assert (made.box.appliance().families, made.box.appliance().families_of) == ((4, 6), HOST)
    assert made.names.told(made.box).number == 1


async def test_a_request_for_a_foreign_name_changes_nothing_and_is_counted(made: Room) -> None:
    await made.rounds()
    with pytest.raises(ProblemError, match=r"names b1\.cdn\.test; this box is a1\.cdn\.test only"):
        await made.ask(csr_for("b1.cdn.test"))
    with pytest.raises(ProblemError, match="no IP address that players could dial"):
        await made.ask(addresses=("0.0.0.0",))
    assert made.facts.state is NameState.WANTED
    shown = made.metrics.exposition()
    assert b'name_requests_refused_total{reason="foreign-name"} 1.0' in shown
    assert b'name_requests_refused_total{reason="wrong-address"} 1.0' in shown


async def test_without_a_ca_names_are_published_and_what_is_missing_is_said(tmp_path: Path) -> None:
    async with room(tmp_path, has_ca=False) as made:
        await made.rounds()
        await made.ask()
        await made.rounds(3)
        assert made.server.records == {A_RECORD: ("127.1.0.11",)}
        assert made.facts.trouble is NameTrouble.NO_CA
        assert "no CA is configured" in made.facts.sentence


async def test_another_zone_means_other_names(tmp_path: Path) -> None:
    clock, server = VirtualClock(), FakeNameServer()
    async with room(tmp_path, server, clock) as before:
        await before.issue()
    async with room(tmp_path, server, clock, replace(SETTINGS, zone="other.test")) as after:
        await after.rounds(2)
        assert (after.facts.host, after.facts.state) == ("a1.other.test", NameState.WANTED)
        assert server.records == {}


async def test_an_order_in_a_hurry_is_audited_with_its_operator(made: Room) -> None:
    await made.issue()
    facts = await made.names.order_now("a1", "ann")
    assert facts.renew_at <= made.clock.wall_s()
    await made.rounds(14)
    assert made.names.told(made.box).number == 2
    async with made.desk.database.read() as session:
        entries = await access_archive.audit(session, 10)
    assert [(entry.operator, entry.action, entry.subject) for entry in entries] == [
        ("control-plane", "issue-certificate", HOST),
        ("ann", "order-certificate", HOST),
        ("control-plane", "issue-certificate", HOST),
    ]
    with pytest.raises(ProblemError, match="there is no name of appliance 'z9'"):
        await made.names.order_now("z9", "ann")
