"""The box's side of its public name: the key is made here and stays, what fits it is installed at once or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509

from chassis.certificates import load_key
from chassis.clock import VirtualClock
from contracts.names import ApplianceName, NameRequest
from oca.config import Listener, PublicNames, Serving
from oca.keeper.names import Names
from oca.keeper.naming import Act, Certified, Here, next_act
from oca.link.files import CertificateStatus, Listening, TlsStatus
from tests.control_plane.names.fakes import DAY_S, FakeIssuer, FakeNameServer, csr_for, names_in

HOST = "a1.cdn.test"
LISTENING = Listening("http://127.1.0.11:80", "", "", further=("https://127.1.0.11:4430", "https://[::1]:4431"))


@dataclass
class Plane:
    """A control plane that signs at once what it is sent, when it is told to."""

    issuer: FakeIssuer
    host: str = HOST
    chain_pem: str = ""
    number: int = 0
    taken: list[NameRequest] = field(default_factory=list)

    async def name(self) -> ApplianceName:
        if not self.host:
            return ApplianceName()
        addresses = self.taken[-1].addresses if self.taken else ()
        return ApplianceName(self.host, self.number, self.chain_pem, addresses)

    async def request_name(self, request: NameRequest) -> ApplianceName:
        self.taken.append(request)
        return await self.name()

    async def sign(self, csr_pem: str = "") -> None:
        order = await self.issuer.order(csr_pem or self.taken[-1].csr_pem)
        self.issuer._signed.add(order.csr_pem)
        self.chain_pem, self.number = await self.issuer.finish(order), self.number + 1


@dataclass
class Box:
    """One box's name and its folder. `shown` is what its workers say."""

    folder: Path
    clock: VirtualClock
    plane: Plane
    settings: PublicNames = field(default_factory=lambda: PublicNames(managed=True))
    shown: TlsStatus | None = None
    listening: Listening = LISTENING

    def __post_init__(self) -> None:
        self.names = self.started()

    def started(self) -> Names:
        """As after a restart of the keeper."""
        nothing: Callable[[], None] = lambda: None  # noqa: E731
        return Names(
            self.plane, self.folder, self.settings, lambda: self.listening, lambda: self.shown, nothing, self.clock
        )

    @property
    def installed(self) -> Path:
        return self.folder / f"{HOST}.pem"

    def fits(self) -> bool:
        """Key and leaf of the installed file belong together."""
        both = self.installed.read_bytes()
        leaf = x509.load_pem_x509_certificates(both)[0]
        return bool(load_key(both).public_key() == leaf.public_key())


@pytest.fixture
def box(tmp_path: Path) -> Box:
    clock = VirtualClock()
    return Box(tmp_path / "names", clock, Plane(FakeIssuer(FakeNameServer(), clock.wall_s)))


async def test_a_key_is_made_asked_for_and_its_certificate_installed_beside_it(box: Box) -> None:
    await box.names.follow_once()
    request = box.plane.taken[0]
    assert (request.addresses, request.has_certificate) == (("127.1.0.11", "::1"), False)
    assert "PRIVATE" not in request.csr_pem
    assert not box.installed.exists()
    await box.plane.sign()
    await box.names.follow_once()
    assert box.fits()
    assert box.installed.read_text().count("BEGIN CERTIFICATE") == 2
    assert box.installed.stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in box.folder.iterdir()) == [f"{HOST}.csr", f"{HOST}.pem"]
    assert len(box.plane.taken) == 1


async def test_players_are_told_the_name_only_once_a_worker_shows_a_certificate_that_is_good(box: Box) -> None:
    await box.names.follow_once()
    await box.plane.sign()
    await box.names.follow_once()
    assert box.names.urls() == ()
    ends_at = box.clock.wall_s() + DAY_S
    box.shown = TlsStatus("OpenSSL", False, "", True, "", (CertificateStatus("x", (HOST,), ends_at),))
    assert box.names.urls() == (f"https://{HOST}:4430",)
    box.settings = PublicNames(managed=True, port=443)
    assert box.started().urls() == (f"https://{HOST}",)
    await box.clock.advance(DAY_S)
    assert box.names.urls() == ()


async def test_a_new_key_is_sent_in_the_second_half_and_the_one_before_serves_until_its_certificate_comes(
    box: Box,
) -> None:
    await box.names.follow_once()
    await box.plane.sign()
    await box.names.follow_once()
    before = box.installed.read_bytes()
    await box.clock.advance(44 * DAY_S)
    await box.names.follow_once()
    assert len(box.plane.taken) == 1
    await box.clock.advance(2 * DAY_S)
    await box.names.follow_once()
    await box.names.follow_once()
    assert [request.has_certificate for request in box.plane.taken] == [False, True]
    assert box.installed.read_bytes() == before
    await box.plane.sign()
    await box.names.follow_once()
    assert box.fits()
    assert load_key(box.installed.read_bytes()).private_numbers() != load_key(before).private_numbers()


async def test_a_renewal_for_the_key_in_use_is_installed_while_a_newer_key_waits(box: Box) -> None:
    await box.names.follow_once()
    await box.plane.sign()
    await box.names.follow_once()
    key = load_key(box.installed.read_bytes()).private_numbers()
    await box.clock.advance(50 * DAY_S)
    await box.names.follow_once()
    await box.plane.sign(box.plane.taken[0].csr_pem)
    await box.names.follow_once()
    assert box.fits()
    assert load_key(box.installed.read_bytes()).private_numbers() == key
    assert (box.folder / "next.key").exists()


async def test_a_certificate_for_another_key_is_never_installed(box: Box) -> None:
    await box.names.follow_once()
    await box.plane.sign(csr_for(HOST))
    await box.names.follow_once()
    assert not box.installed.exists()
    box.plane.chain_pem = "sorry"
    await box.names.follow_once()
    assert not box.installed.exists()


async def test_after_a_restart_the_same_request_is_sent_again_and_its_certificate_fits(box: Box) -> None:
    await box.names.follow_once()
    names = box.started()
    await names.follow_once()
    assert box.plane.taken[0].csr_pem == box.plane.taken[1].csr_pem
    await box.plane.sign()
    await box.started().follow_once()
    assert box.fits()


@pytest.mark.parametrize("lost", ["next.key", "next.csr"])
async def test_half_a_key_is_as_good_as_none(box: Box, lost: str) -> None:
    await box.names.follow_once()
    os.unlink(box.folder / lost)
    await box.started().follow_once()
    assert box.plane.taken[0].csr_pem != box.plane.taken[1].csr_pem
    await box.plane.sign()
    await box.names.follow_once()
    assert box.fits()


async def test_addresses_that_changed_are_sent_with_the_request_that_is_known(box: Box) -> None:
    await box.names.follow_once()
    await box.plane.sign()
    await box.names.follow_once()
    box.listening = Listening("", "", "", further=("https://127.1.0.99:443",))
    await box.names.follow_once()
    assert [request.addresses for request in box.plane.taken] == [("127.1.0.11", "::1"), ("127.1.0.99",)]
    assert box.plane.taken[0].csr_pem == box.plane.taken[1].csr_pem


async def test_a_box_that_is_named_otherwise_begins_anew_and_one_that_is_named_no_more_forgets(box: Box) -> None:
    await box.names.follow_once()
    await box.plane.sign()
    await box.names.follow_once()
    box.plane.host, box.plane.chain_pem, box.plane.taken = "a1.other.test", "", []
    await box.names.follow_once()
    await box.plane.sign()
    await box.names.follow_once()
    assert sorted(path.name for path in box.folder.iterdir()) == ["a1.other.test.csr", "a1.other.test.pem"]
    box.plane.host = ""
    await box.names.follow_once()
    await box.clock.advance(86400.0)
    await box.names.follow_once()
    assert list(box.folder.iterdir()) == []


async def test_a_control_plane_that_has_no_zone_for_a_while_costs_the_address_but_neither_key_nor_certificate(
    box: Box,
) -> None:
    await box.names.follow_once()
    await box.plane.sign()
    await box.names.follow_once()
    box.shown = TlsStatus(
        "OpenSSL", False, "", True, "", (CertificateStatus("x", (HOST,), box.clock.wall_s() + 90 * DAY_S),)
    )
    before = box.installed.read_bytes()
    box.plane.host = ""
    for _ in range(2):
        await box.names.follow_once()
        await box.clock.advance(DAY_S - 1.0)
        assert box.installed.read_bytes() == before
        assert box.names.urls() == ()
        box.plane.host = HOST
        await box.names.follow_once()
        assert box.names.urls() == (f"https://{HOST}:4430",)
        box.plane.host = ""
    assert len(box.plane.taken) == 1


async def test_a_request_for_a_name_that_is_not_the_boxs_any_more_is_given_up_for_one_of_the_new_name(box: Box) -> None:
    await box.names.follow_once()
    box.plane.host = "a1.other.test"
    await box.names.follow_once()
    await box.started().follow_once()
    assert [names_in(request.csr_pem) for request in box.plane.taken] == [[HOST], ["a1.other.test"], ["a1.other.test"]]
    assert box.plane.taken[1].csr_pem == box.plane.taken[2].csr_pem
    await box.plane.sign()
    await box.names.follow_once()
    assert (box.folder / "a1.other.test.pem").exists()


async def test_a_box_that_loses_its_certificate_while_a_newer_key_waits_says_so(box: Box) -> None:
    await box.names.follow_once()
    await box.plane.sign()
    await box.names.follow_once()
    await box.clock.advance(50 * DAY_S)
    await box.names.follow_once()
    await box.names.follow_once()
    box.installed.unlink()
    await box.names.follow_once()
    await box.names.follow_once()
    assert [request.has_certificate for request in box.plane.taken] == [False, True, False]
    assert box.plane.taken[1].csr_pem == box.plane.taken[2].csr_pem


async def test_a_box_whose_clock_is_behind_installs_a_certificate_once_and_asks_for_no_other(box: Box) -> None:
    await box.names.follow_once()
    await box.clock.advance(10 * DAY_S)
    await box.plane.sign()
    behind = Box(box.folder, VirtualClock(), box.plane)
    await behind.names.follow_once()
    before = box.installed.stat()
    for _ in range(3):
        await behind.names.follow_once()
    assert box.installed.stat().st_mtime_ns == before.st_mtime_ns
    assert len({request.csr_pem for request in box.plane.taken}) == 1
    assert not (box.folder / "next.key").exists()


async def test_without_a_listener_with_tls_nothing_is_asked_for(box: Box) -> None:
    box.listening = Listening("http://127.1.0.11:80", "", "", further=("unix:/run/x",))
    await box.names.follow_once()
    assert box.plane.taken == []
    assert not box.folder.exists()


def test_a_wildcard_listener_needs_addresses_to_publish() -> None:
    tls = (Listener("0.0.0.0", 443, tls=True),)
    with pytest.raises(ValueError, match="hosts: needed"):
        Serving(listeners=tls, names=PublicNames(managed=True))
    Serving(listeners=tls, names=PublicNames(managed=True, addresses=("192.0.2.1",)))
    with pytest.raises(ValueError, match="needs a listener with tls"):
        Serving(names=PublicNames(managed=True))
    with pytest.raises(ValueError, match="is no IP address"):
        PublicNames(addresses=("a1.cdn.test",))


def test_a_certificate_that_ends_sooner_replaces_none_that_is_good() -> None:
    mine = Certified(HOST, "key", 0.0, 100.0)
    sooner, later = Certified(HOST, "key", 0.0, 90.0), Certified(HOST, "key", 0.0, 110.0)
    told = ApplianceName(HOST, 1, "chain")
    here = Here(mine, "", is_sent=True)
    assert next_act(told, sooner, here, 10.0) is Act.NOTHING
    assert next_act(told, later, here, 10.0) is Act.INSTALL
    assert next_act(told, later, here, 105.0) is Act.INSTALL
