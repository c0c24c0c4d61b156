"""One suite for every CA, the fake included: it signs what was proven, for the key that the request is for, and says why it does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from cryptography import x509

from chassis.certificates import make_key
from contracts.names import NameTrouble
from control_plane.config import AcmeSettings
from control_plane.names.acme_orders import AcmeIssuer
from control_plane.names.ports import Issuer, IssuerError, NameServer
from control_plane.names.signing import check_chain
from control_plane.names.updates import Updates, tsig_key
from control_plane.names.zone import challenges_of
from tests.control_plane.names.fakes import FakeIssuer, FakeNameServer, csr_for
from tests.system.acme_world import HOST, running_knot, running_pebble

ZONE = "cdn.test"
NAME = "a1.cdn.test"


@dataclass
class World:
    """A CA and the zone it looks into."""

    issuer: Issuer
    server: NameServer


@asynccontextmanager
async def real_world(folder: Path) -> AsyncIterator[World]:
    async with running_knot(folder / "knot", ZONE) as knot, running_pebble(folder / "pebble", knot.port) as pebble:
        settings = AcmeSettings(pebble.directory, pebble.ca_file, ("ops@example.net",), terms_agreed=True)
        issuer = AcmeIssuer(settings, folder / "acme.key")
        key = tsig_key("lowtide", knot.key_file.read_text(), "hmac-sha256")
        try:
            yield World(issuer, Updates(HOST, knot.port, ZONE, 5, key))
        finally:
            await issuer.close()


@pytest.fixture(params=["fake", pytest.param("pebble", marks=pytest.mark.system)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    if request.param == "fake":
        server = FakeNameServer()
        yield World(FakeIssuer(server, time.time), server)
    else:
        async with real_world(tmp_path) as made:
            yield made


async def ordered(world: World, csr_pem: str) -> str:
    order = await world.issuer.order(csr_pem)
    texts = {challenge.host: (challenge.text,) for challenge in order.challenges}
    await world.server.publish(challenges_of(texts), {})
    await world.issuer.validate(order)
    return await world.issuer.finish(order)


async def test_what_is_proven_is_signed_for_the_key_of_the_request(world: World) -> None:
    key = make_key()
    csr_pem = csr_for(NAME, key=key)
    chain = await ordered(world, csr_pem)
    valid = check_chain(chain, csr_pem, NAME, time.time())
    assert valid.expires_at > time.time() + 3600
    first, *issuers = x509.load_pem_x509_certificates(chain.encode())
    assert first.public_key() == key.public_key()
    assert issuers


async def test_what_is_not_published_is_not_signed_and_the_ca_says_what_it_missed(world: World) -> None:
    order = await world.issuer.order(csr_for(NAME))
    with pytest.raises(IssuerError) as refused:
        await world.issuer.validate(order)
    assert refused.value.trouble is NameTrouble.CHALLENGE
    assert str(refused.value)


async def test_what_was_not_validated_is_not_signed(world: World) -> None:
    order = await world.issuer.order(csr_for(NAME))
    with pytest.raises(IssuerError) as refused:
        await world.issuer.finish(order)
    assert refused.value.trouble is NameTrouble.CA_REFUSED


async def test_several_orders_at_once_get_each_its_own_certificate(world: World) -> None:
    names = [f"box-{number}.cdn.test" for number in range(5)]
    orders = await asyncio.gather(*(world.issuer.order(csr_for(name)) for name in names))
    texts = {challenge.host: (challenge.text,) for order in orders for challenge in order.challenges}
    await world.server.publish(challenges_of(texts), {})
    await asyncio.gather(*(world.issuer.validate(order) for order in orders))
    chains = await asyncio.gather(*(world.issuer.finish(order) for order in orders))
    for name, order, chain in zip(names, orders, chains, strict=True):
        check_chain(chain, order.csr_pem, name, time.time())


@pytest.mark.system
async def test_the_account_is_found_again_by_its_key(tmp_path: Path) -> None:
    async with real_world(tmp_path) as world:
        await world.issuer.order(csr_for(NAME))
        assert isinstance(world.issuer, AcmeIssuer)
        again = AcmeIssuer(world.issuer._settings, tmp_path / "acme.key")
        assert (await again.order(csr_for(NAME))).challenges
        await again.close()
    assert (tmp_path / "acme.key").stat().st_mode & 0o077 == 0


@pytest.mark.system
async def test_an_account_is_bound_to_the_key_that_the_ca_gave_out_and_refused_without_one(tmp_path: Path) -> None:
    mac_key = tmp_path / "mac.key"
    mac_key.write_text("zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W")
    async with (
        running_knot(tmp_path / "knot", ZONE) as knot,
        running_pebble(tmp_path / "pebble", knot.port, accounts={"kid-1": mac_key.read_text()}) as pebble,
    ):
        bound = AcmeSettings(pebble.directory, pebble.ca_file, terms_agreed=True, eab_kid="kid-1", eab_key_file=mac_key)
        issuer = AcmeIssuer(bound, tmp_path / "bound.key")
        assert (await issuer.order(csr_for(NAME))).challenges
        await issuer.close()
        unbound = AcmeIssuer(replace(bound, eab_kid="", eab_key_file=None), tmp_path / "unbound.key")
        with pytest.raises(IssuerError, match="externalAccountRequired") as refused:
            await unbound.order(csr_for(NAME))
        assert refused.value.trouble is NameTrouble.CA_REFUSED
        await unbound.close()


class _Nonsense(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b"<html>It works!</html>")

    def log_message(self, *_words: object) -> None:
        """Says nothing."""


@contextmanager
def nonsense() -> Iterator[str]:
    """A web server that is no CA."""
    with HTTPServer((HOST, 0), _Nonsense) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_port}/dir"
        finally:
            server.shutdown()
            thread.join()


async def test_a_ca_that_is_away_or_talks_nonsense_is_said_to_be_away(tmp_path: Path) -> None:
    with nonsense() as url:
        for directory in (f"https://{url.removeprefix('http://')}", "https://127.0.0.1:1/dir"):
            issuer = AcmeIssuer(AcmeSettings(directory, terms_agreed=True), tmp_path / "acme.key")
            with pytest.raises(IssuerError) as refused:
                await issuer.order(csr_for(NAME))
            assert refused.value.trouble is NameTrouble.CA_AWAY
            await issuer.close()


async def test_an_account_key_that_is_none_is_said_and_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "acme.key").write_text("a shopping list")
    issuer = AcmeIssuer(AcmeSettings("https://127.0.0.1:1/dir", terms_agreed=True), tmp_path / "acme.key")
    with pytest.raises(IssuerError, match="private key"):
        await issuer.order(csr_for(NAME))
    await issuer.close()
    assert (tmp_path / "acme.key").read_text() == "a shopping list"
