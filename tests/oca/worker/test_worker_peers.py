"""The peers' side: mutual TLS, the store only, no loops."""

from __future__ import annotations

import asyncio
import http.client
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from chassis.certificates import PrivateKey, key_to_pem, make_ca, make_csr, make_key, sign_csr
from contracts.enrolment import PeerKind, san_uri
from contracts.tokens.fills import FillClaims, sign
from oca.http.reasons import Closing
from oca.link.counters import Count
from tests.oca.keeper.plane import SigningKey
from tests.oca.worker.worker_harness import EXTENT_BYTES, Bench, publish, running, with_keeper, write_keys

FILE = publish("v-360.mp4", EXTENT_BYTES + 600_000)
PART = publish("part.mp4", 900_000)


@dataclass
class Authority:
    folder: Path
    key: PrivateKey
    pem: str

    def issue(self, name: str, uri: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        key = make_key()
        csr = make_csr(key, uri, ["127.0.0.1"])
        pem = sign_csr(csr, ca_pem=self.pem, ca_key=self.key, uri=uri, addresses=["127.0.0.1"], now=time.time())
        (folder / "ca.pem").write_text(self.pem)
        (folder / "key.pem").write_bytes(key_to_pem(key))
        (folder / "cert.pem").write_text(pem)
        return folder


def authority(folder: Path) -> Authority:
    key = make_key()
    return Authority(folder, key, make_ca(key, "test", time.time()))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with running(tmp_path) as made:
        made.store_file(FILE)
        made.store_file(PART, [0, 1])
        made.start()
        yield made


@pytest.fixture
async def ca(bench: Bench) -> Authority:
    """An authority, and the worker's own certificate where the keeper would have put it."""
    made = authority(bench.folder / "ca")
    own = made.issue("own", san_uri(PeerKind.APPLIANCE, "box-1"))
    own.rename(bench.state / "tls")
    deadline = time.monotonic() + 30
    while "let in as appliance box-1" not in bench.log.read_text():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    return made


class Peer:
    """Another appliance, as the standard library speaks HTTP."""

    def __init__(self, bench: Bench, folder: Path | None, ca_pem: str) -> None:
        context = ssl.create_default_context(cadata=ca_pem)
        if folder is not None:
            context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        port = bench.peers.getsockname()[1]
        self.wire = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)

    async def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
        def ask() -> tuple[int, bytes]:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            self.wire.request(method, path, headers=names)
            reply = self.wire.getresponse()
            return reply.status, reply.read()

        return await asyncio.to_thread(ask)


async def test_a_peer_gets_what_is_held_and_no_token_is_asked_for(bench: Bench, ca: Authority) -> None:
    peer = Peer(bench, ca.issue("peer", san_uri(PeerKind.APPLIANCE, "box-2")), ca.pem)
    status, body = await peer.get(FILE.name.path, Range="bytes=1000-1500000", Cache_Control="only-if-cached")
    assert (status, body) == (206, FILE.data[1000:1500001])
    assert await peer.get(FILE.name.path) == (200, FILE.data)
    assert (await peer.get(FILE.name.path, "HEAD")) == (200, b"")
    peer.wire.close()
    await bench.reaches(Count.PEER_BYTES, 1500001 - 1000 + len(FILE.data))
    assert bench.count(Count.CLIENT_BYTES) == 0


async def test_a_peer_never_makes_this_box_fetch(bench: Bench, ca: Authority) -> None:
    async with with_keeper(bench) as keeper:
        await bench.reaches(Count.KEEPER_LINKED, 1)
        keeper.files[PART.name.key] = PART
        peer = Peer(bench, ca.issue("peer", san_uri(PeerKind.APPLIANCE, "box-2")), ca.pem)
        status, body = await peer.get(PART.name.path)
        assert (status, b"not-held" in body) == (504, True)
        status, body = await peer.get(PART.name.path, Range="bytes=0-524287")
        assert (status, body) == (206, PART.data[:524288])
        assert (await peer.get("/media/t1/hd/none.mp4"))[0] == 504
        assert (await peer.get(f"/~{bench.keys.token()}{FILE.name.path}"))[0] == 404
        assert keeper.wants == []
        peer.wire.close()


async def test_a_request_that_has_passed_here_is_refused(bench: Bench, ca: Authority) -> None:
    peer = Peer(bench, ca.issue("peer", san_uri(PeerKind.APPLIANCE, "box-2")), ca.pem)
    assert (await peer.get(FILE.name.path, CDN_Loop="lowtide;appliance=box-2"))[0] == 200
    assert (await peer.get(FILE.name.path, CDN_Loop="lowtide;appliance=box-2, lowtide;appliance=box-1"))[0] == 508
    peer.wire.close()


async def test_a_peer_that_shows_a_fill_credential_gets_what_it_names_and_nothing_else(
    bench: Bench, ca: Authority
) -> None:
    control_plane = SigningKey("d-1")
    write_keys(bench.state, bench.keys.public(), control_plane.public, number=2)
    peer = Peer(bench, ca.issue("peer", san_uri(PeerKind.APPLIANCE, "box-2")), ca.pem)

    def credential(appliance: str = "box-2", key: str = FILE.name.key, left_s: float = 600.0) -> str:
        claims = FillClaims("o-1", appliance, key, time.time() + left_s)
        return sign(claims, control_plane.key, control_plane.kid)

    deadline = time.monotonic() + 30
    while (await peer.get(FILE.name.path, Lowtide_Fill=credential()))[0] == 403:
        assert time.monotonic() < deadline, "the worker never learnt the key"
        await asyncio.sleep(0.05)
    assert await peer.get(FILE.name.path, Lowtide_Fill=credential()) == (200, FILE.data)
    for shown, word in (
        (credential(key=PART.name.key), b"media-token-scope"),
        (credential(appliance="box-3"), b"media-token-scope"),
        (credential(left_s=-100.0), b"media-token-expired"),
        ("made.up.thing", b"media-token-invalid"),
    ):
        status, body = await peer.get(FILE.name.path, Lowtide_Fill=shown)
        assert status in (401, 403), shown
        assert word in body
    peer.wire.close()


async def test_only_appliances_of_the_same_authority_come_in(bench: Bench, ca: Authority) -> None:
    stranger = authority(bench.folder / "other")
    outsiders = [
        None,
        stranger.issue("peer", san_uri(PeerKind.APPLIANCE, "box-2")),
        ca.issue("service", san_uri(PeerKind.SERVICE, "origin")),
    ]
    for folder in outsiders:
        peer = Peer(bench, folder, ca.pem)
        with pytest.raises(OSError):
            await peer.get(FILE.name.path)
        peer.wire.close()
    await bench.reaches(Closing.NO_IDENTITY, 1)
    assert bench.count(Count.PEER_BYTES) == 0


async def test_before_enrolment_peers_are_turned_away(bench: Bench) -> None:
    peer = Peer(bench, None, authority(bench.folder / "ca").pem)
    with pytest.raises(OSError):
        await peer.get(FILE.name.path)
    peer.wire.close()


async def test_a_player_may_ask_for_stored_bytes_only(bench: Bench) -> None:
    client = await bench.connect()
    reply = await client.ask(bench.path(PART), Cache_Control="only-if-cached")
    assert (reply.status, reply.problem) == (504, "not-held")
    reply = await client.ask(bench.path(PART), Cache_Control="only-if-cached", Range="bytes=0-99")
    assert reply.body == PART.data[:100]
    await client.close()
