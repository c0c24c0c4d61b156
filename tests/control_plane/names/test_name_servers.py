"""One suite for every way to publish the zone, the fake included."""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.update
import dns.zone
import pytest

from chassis.clock import VirtualClock
from control_plane.config import DnsSettings
from control_plane.names.ports import NameServer, NameServerError
from control_plane.names.updates import Updates, tsig_key
from control_plane.names.zone import Apex, Rrsets, addresses_of, challenges_of, serial_in
from control_plane.names.zone_file import ZoneFile
from tests.control_plane.names.fakes import FakeNameServer
from tests.system.acme_world import HOST, KEY_NAME, running_knot

ZONE = "cdn.test"
SECRET = base64.b64encode(b"a secret of thirty-two bytes....").decode()
APEX = Apex(ZONE, ("ns1.example.net",), "dns@example.net", 60)
Look = Callable[[str, str], Awaitable[tuple[str, ...]]]


@dataclass
class Published:
    """A way to publish, and to look at what was published."""

    server: NameServer
    look: Look


@dataclass
class SmallServer:
    """Takes updates over TCP (RFC 2136 §3.4), signed with one key."""

    key: object
    records: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    port: int = 0
    messages: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            wire = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            keyring = {self.key.name: self.key}  # type: ignore[attr-defined]
            message = dns.message.from_wire(wire, keyring=keyring)
            answer = dns.message.make_response(message)
            if message.had_tsig and isinstance(message, dns.update.UpdateMessage):
                self._apply(message)
            else:
                answer.set_rcode(dns.rcode.REFUSED)
            out = answer.to_wire()
            writer.write(len(out).to_bytes(2, "big") + out)
            await writer.drain()
        except dns.exception.DNSException:
            pass  # a wrong signature: the connection ends without an answer
        finally:
            writer.close()

    def _apply(self, message: dns.update.UpdateMessage) -> None:
        self.messages += 1
        for rrset in message.update:
            owner = (rrset.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(rrset.rdtype))
            if rrset.deleting == dns.rdataclass.ANY:
                self.records.pop(owner, None)
            else:
                self.records.setdefault(owner, set()).update(value.to_text().strip('"') for value in rrset)

    async def look(self, owner: str, kind: str) -> tuple[str, ...]:
        return tuple(sorted(self.records.get((owner, kind), ())))


@asynccontextmanager
async def small_server() -> AsyncIterator[SmallServer]:
    made = SmallServer(tsig_key(KEY_NAME, SECRET, "hmac-sha256"))
    server = await asyncio.start_server(made.serve, HOST, 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


@pytest.fixture(params=["fake", "file", "updates", pytest.param("knot", marks=pytest.mark.system)])
async def published(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Published]:
    if request.param == "fake":
        fake = FakeNameServer()

        async def in_memory(owner: str, kind: str) -> tuple[str, ...]:
            return tuple(sorted(fake.records.get((owner, kind), ())))

        yield Published(fake, in_memory)
    elif request.param == "file":
        path = tmp_path / "deep" / "zone"

        async def in_file(owner: str, kind: str) -> tuple[str, ...]:
            found = dns.zone.from_text(path.read_text(), origin=f"{ZONE}.").get_rdataset(f"{owner}.", kind)
            return tuple(sorted(value.to_text().strip('"') for value in found or ()))

        yield Published(ZoneFile(path, APEX), in_file)
    elif request.param == "updates":
        async with small_server() as small:
            yield Published(Updates(HOST, small.port, ZONE, 60, tsig_key(KEY_NAME, SECRET, "hmac-sha256")), small.look)
    else:
        async with running_knot(tmp_path / "knot", ZONE) as knot:
            key = tsig_key(KEY_NAME, knot.key_file.read_text(), "hmac-sha256")
            yield Published(Updates(HOST, knot.port, ZONE, 5, key), knot.look)


A1 = addresses_of("a1.cdn.test", ("192.0.2.1", "192.0.2.2", "2001:db8::1"))
ANSWER: Rrsets = challenges_of({"a1.cdn.test": ("first-answer", "second-answer")})


async def test_addresses_and_answers_are_found_where_they_were_published(published: Published) -> None:
    await published.server.publish({**A1, **ANSWER}, {})
    assert await published.look("a1.cdn.test", "A") == ("192.0.2.1", "192.0.2.2")
    assert await published.look("a1.cdn.test", "AAAA") == ("2001:db8::1",)
    assert await published.look("_acme-challenge.a1.cdn.test", "TXT") == ("first-answer", "second-answer")


async def test_what_is_not_wanted_any_more_goes_and_what_changed_is_replaced(published: Published) -> None:
    await published.server.publish({**A1, **ANSWER}, {})
    moved = addresses_of("a1.cdn.test", ("192.0.2.7",))
    await published.server.publish(moved, {**A1, **ANSWER})
    assert await published.look("a1.cdn.test", "A") == ("192.0.2.7",)
    assert await published.look("a1.cdn.test", "AAAA") == ()
    assert await published.look("_acme-challenge.a1.cdn.test", "TXT") == ()


async def test_saying_the_same_again_changes_nothing_even_where_nobody_knows_what_was_there(
    published: Published,
) -> None:
    await published.server.publish(A1, {})
    await published.server.publish(A1, dict.fromkeys((*A1, ("gone.cdn.test", "A")), ()))
    assert await published.look("a1.cdn.test", "A") == ("192.0.2.1", "192.0.2.2")


async def test_a_large_zone_is_published_in_several_messages() -> None:
    wanted = {(f"box-{number}.cdn.test", "A"): (f"192.0.2.{number % 250 + 1}",) for number in range(1_000)}
    async with small_server() as small:
        server = Updates(HOST, small.port, ZONE, 60, tsig_key(KEY_NAME, SECRET, "hmac-sha256"))
        await server.publish(wanted, {})
        assert len(small.records) == 1_000
        assert small.messages == 5


async def test_updates_with_a_wrong_key_without_one_and_without_a_server_are_said_in_words() -> None:
    async with small_server() as small:
        other = base64.b64encode(b"another secret of 32 bytes......").decode()
        with pytest.raises(NameServerError, match=f"{HOST} port {small.port}"):
            await Updates(HOST, small.port, ZONE, 60, tsig_key(KEY_NAME, other, "hmac-sha256")).publish(A1, {})
        with pytest.raises(NameServerError, match=r"refused the update of cdn\.test\.: REFUSED"):
            await Updates(HOST, small.port, ZONE, 60).publish(A1, {})
        assert small.records == {}
    with pytest.raises(NameServerError, match=f"{HOST} port {small.port}"):
        await Updates(HOST, small.port, ZONE, 60).publish(A1, {})


@pytest.mark.parametrize(("secret", "algorithm"), [("not base64!", "hmac-sha256"), (SECRET, "hmac md5 ..")])
def test_a_key_that_is_none_is_said_in_words(secret: str, algorithm: str) -> None:
    with pytest.raises(ValueError, match="the TSIG key lowtide cannot be used"):
        tsig_key(KEY_NAME, secret, algorithm)


async def test_the_serial_of_the_file_grows_with_every_writing_whatever_the_clock_says(tmp_path: Path) -> None:
    path, clock = tmp_path / "zone", VirtualClock()
    server = ZoneFile(path, APEX, clock=clock)
    serials = []
    for _ in range(3):
        await server.publish(A1, {})
        serials.append(serial_in(path.read_text()))
    assert serials == [1_700_000_000, 1_700_000_001, 1_700_000_002]
    path.write_text("somebody's shopping list")
    await server.publish(A1, {})
    assert serial_in(path.read_text()) == 1_700_000_000


async def test_the_command_runs_after_every_writing_and_its_failure_is_said_in_its_words(tmp_path: Path) -> None:
    path, told = tmp_path / "zone", tmp_path / "told"
    script = f"import pathlib; pathlib.Path({str(told)!r}).write_bytes(pathlib.Path({str(path)!r}).read_bytes())"
    await ZoneFile(path, APEX, (sys.executable, "-c", script)).publish(A1, {})
    assert told.read_text() == path.read_text()
    failing = (sys.executable, "-c", "raise SystemExit('no such zone')")
    with pytest.raises(NameServerError, match="ended with 1: no such zone"):
        await ZoneFile(path, APEX, failing).publish(A1, {})
    with pytest.raises(NameServerError, match="No such file"):
        await ZoneFile(path, APEX, (str(tmp_path / "nothing"),)).publish(A1, {})


async def test_a_file_that_cannot_be_written_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NameServerError, match="zone"):
        await ZoneFile(tmp_path / "file" / "zone", APEX).publish(A1, {})


async def test_a_zone_that_is_no_ascii_cannot_be_published_and_is_no_setting(tmp_path: Path) -> None:
    apex = replace(APEX, hostmaster="dns@m\xfcller.example")
    with pytest.raises(NameServerError, match="a zone file is ASCII"):
        await ZoneFile(tmp_path / "zone", apex).publish(A1, {})
    with pytest.raises(ValueError, match="hostmaster: ASCII only"):
        DnsSettings(tmp_path / "zone", name_servers=("ns.example.net",), hostmaster=apex.hostmaster)
