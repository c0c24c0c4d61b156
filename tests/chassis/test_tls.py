"""Certificates over real TLS: enrolment, mutual TLS, identities, reload."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from chassis import certificates, enrolment
from chassis.auth import PeerGuard, PeerIdentity
from chassis.client import ServiceClient
from chassis.clock import VirtualClock
from chassis.errors import CertificateError, ProblemError, ServiceError
from chassis.https import Https, door_of
from chassis.metrics import Metrics
from chassis.routes import Call, Routes
from chassis.service import Listener, Service, Tcp
from chassis.tls import WATCH_EVERY_S, CertificateWatch, ClientCertificate, TlsFiles, client_context, server_context
from chassis.web import build_app
from contracts.enrolment import CaAnswer, CodeAnswer, EnrolAnswer, EnrolRequest, PeerKind, san_uri
from contracts.problems import ProblemCode


class Authority:
    """The control plane's part of enrolment, with one open code."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.key = certificates.make_key()
        self.pem = certificates.make_ca(self.key, name, time.time())
        self.files = self.issue(folder / name, san_uri(PeerKind.SERVICE, "control-plane"), ("127.0.0.1",))
        self.secret = "ONETIME"
        self.gives = PeerKind.APPLIANCE, "a1"

    def issue(self, folder: Path, uri: str, addresses: tuple[str, ...], days: float = 1) -> TlsFiles:
        key = certificates.make_key()
        pem = certificates.sign_csr(
            certificates.make_csr(key, "lowtide://service/liar", ("evil.example",)),
            ca_pem=self.pem, ca_key=self.key, uri=uri, addresses=addresses, now=time.time(), days=days,
        )  # fmt: skip
        files = TlsFiles(folder / "certificate.pem", folder / "key.pem", folder / "ca.pem")
        certificates.write_private(files.key, certificates.key_to_pem(key))
        files.certificate.write_text(pem)
        (folder / "ca.pem").write_text(self.pem)
        return files

    @property
    def code(self) -> str:
        return f"{self.secret}.{certificates.ca_fingerprint(self.pem)}"

    async def ca(self, _call: Call[None]) -> CaAnswer:
        return CaAnswer(self.pem)

    async def enrol(self, call: Call[EnrolRequest]) -> EnrolAnswer:
        if call.body.secret != self.secret:
            raise ProblemError(ProblemCode.ENROLMENT_CODE_INVALID)
        kind, name = self.gives
        pem = certificates.sign_csr(
            call.body.csr_pem, ca_pem=self.pem, ca_key=self.key, uri=san_uri(kind, name),
            addresses=call.body.addresses, now=time.time(), days=1,
        )  # fmt: skip
        self.secret = "used"
        return EnrolAnswer(kind, name, pem, self.pem)

    async def who(self, call: Call[None]) -> CodeAnswer:
        peer = call.who(PeerIdentity)
        return CodeAnswer(f"{peer.kind.value}/{peer.name}", 0.0)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def url(authority: Authority) -> AsyncIterator[str]:
    routes = Routes("CA")
    routes.get("/v1/ca", authority.ca, summary="CA")
    routes.post("/v1/enrol", authority.enrol, summary="Enrol")
    routes.get("/v1/who", authority.who, summary="Who", guard=PeerGuard(PeerKind.APPLIANCE))

    async def compose(service: Service) -> None:
        app = build_app(routes, metrics=Metrics("ca", process=False), listener="mtls")
        context = server_context(authority.files, ClientCertificate.OPTIONAL)
        service.listen(Listener("mtls", app, Tcp("127.0.0.1", 0), context))

    async with Service("ca", compose, grace_s=0.2).running() as urls:
        yield urls["mtls"]


async def test_a_newcomer_enrols_with_a_code_and_is_known_by_its_certificate(
    authority: Authority, url: str, tmp_path: Path
) -> None:
    code_file = tmp_path / "enrol.code"
    code_file.write_text(authority.code + "\n")
    folder = tmp_path / "box"
    options = {"kind": PeerKind.APPLIANCE, "name": "a1", "folder": folder, "addresses": ("127.0.0.1", "box.example")}
    files = await enrolment.ensure_enrolled(url, code_file, **options)  # type: ignore[arg-type]
    assert not code_file.exists()
    assert files.key.stat().st_mode & 0o777 == 0o600
    async with ServiceClient(url, ssl=client_context(files=files)) as client:
        assert (await client.get("/v1/who", CodeAnswer)).code == "appliance/a1"
    again = await enrolment.ensure_enrolled(url, code_file, **options)  # type: ignore[arg-type]
    assert again == files


async def test_a_used_code_is_refused_at_once(authority: Authority, url: str, tmp_path: Path) -> None:
    code = authority.code
    await enrolment.enrol(url, code, kind=PeerKind.APPLIANCE, name="a1", folder=tmp_path / "first")
    with pytest.raises(ServiceError) as caught:
        await enrolment.enrol(url, code, kind=PeerKind.APPLIANCE, name="a1", folder=tmp_path / "second")
    assert caught.value.code is ProblemCode.ENROLMENT_CODE_INVALID
    assert not (tmp_path / "second" / "certificate.pem").exists()


async def test_a_foreign_ca_is_noticed_before_the_secret_is_sent(
    authority: Authority, url: str, tmp_path: Path
) -> None:
    foreign = Authority(tmp_path, "foreign")
    code = f"ONETIME.{certificates.ca_fingerprint(foreign.pem)}"
    with pytest.raises(CertificateError, match="another CA"):
        await enrolment.enrol(url, code, kind=PeerKind.APPLIANCE, name="a1", folder=tmp_path / "box")
    assert authority.secret == "ONETIME"


async def test_a_code_for_somebody_else_is_noticed(authority: Authority, url: str, tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="not for appliance a2"):
        await enrolment.enrol(url, authority.code, kind=PeerKind.APPLIANCE, name="a2", folder=tmp_path / "box")


async def test_without_a_certificate_or_with_that_of_another_kind_the_door_stays_shut(
    authority: Authority, url: str, tmp_path: Path
) -> None:
    async with ServiceClient(url, ssl=client_context(ca_pem=authority.pem)) as client:
        with pytest.raises(ServiceError) as caught:
            await client.get("/v1/who", CodeAnswer)
    assert caught.value.code is ProblemCode.CERTIFICATE_REQUIRED
    service = authority.issue(tmp_path / "s", "lowtide://service/origin", ("127.0.0.1",))
    async with ServiceClient(url, ssl=client_context(files=service)) as client:
        with pytest.raises(ServiceError) as caught:
            await client.get("/v1/who", CodeAnswer)
    assert caught.value.code is ProblemCode.FORBIDDEN


async def test_a_certificate_of_a_foreign_ca_does_not_get_in(authority: Authority, url: str, tmp_path: Path) -> None:
    foreign = Authority(tmp_path, "foreign").issue(tmp_path / "f", "lowtide://appliance/a1", ())
    context = client_context(authority.files.ca, foreign)
    async with ServiceClient(url, ssl=context) as client:
        with pytest.raises(ServiceError) as caught:
            await client.get("/v1/who", CodeAnswer)
    assert caught.value.status == 502


async def test_a_server_that_is_not_of_the_ca_is_not_trusted(url: str, tmp_path: Path) -> None:
    foreign = Authority(tmp_path, "foreign")
    async with ServiceClient(url, ssl=client_context(ca_pem=foreign.pem)) as client:
        with pytest.raises(ServiceError):
            await client.get("/v1/ca", CaAnswer)


def test_a_signature_takes_nothing_but_the_key_from_the_request(authority: Authority) -> None:
    pem = authority.files.certificate.read_text()
    assert certificates.san_uris(pem) == ("lowtide://service/control-plane",)
    assert b"evil.example" not in certificates.load_certificate(pem).public_bytes(serialization.Encoding.DER)


def test_a_tampered_signing_request_is_refused(authority: Authority) -> None:
    with pytest.raises(CertificateError):
        certificates.sign_csr(
            "nonsense", ca_pem=authority.pem, ca_key=authority.key, uri="lowtide://appliance/x", now=0.0
        )


def test_a_changed_certificate_is_loaded_and_a_broken_one_leaves_the_old(authority: Authority, tmp_path: Path) -> None:
    context = server_context(authority.files)
    watch = CertificateWatch(context, authority.files)
    assert watch.check() is False
    authority.issue(tmp_path / "ca", san_uri(PeerKind.SERVICE, "control-plane"), ("127.0.0.2",))
    assert watch.check() is True
    authority.files.certificate.write_text("half")
    with pytest.raises(CertificateError):
        watch.check()


async def test_a_watch_goes_on_after_a_broken_certificate_until_a_good_one_comes(
    authority: Authority, tmp_path: Path
) -> None:
    clock = VirtualClock()
    watch = CertificateWatch(server_context(authority.files), authority.files)
    task = asyncio.create_task(watch.run(clock))
    authority.files.certificate.write_text("half")
    await clock.advance(30)
    assert not task.done()
    authority.issue(tmp_path / "ca", san_uri(PeerKind.SERVICE, "control-plane"), ("127.0.0.2",))
    await clock.advance(30)
    assert watch.check() is False
    task.cancel()


def test_contexts_ask_for_tls_1_2_and_say_which_file_is_wrong(authority: Authority, tmp_path: Path) -> None:
    assert server_context(authority.files).minimum_version == ssl.TLSVersion.TLSv1_2
    missing = TlsFiles(tmp_path / "no.pem", tmp_path / "no.key")
    with pytest.raises(CertificateError, match=r"no\.pem"):
        server_context(missing)
    with pytest.raises(CertificateError, match="CA"):
        server_context(TlsFiles(authority.files.certificate, authority.files.key), ClientCertificate.REQUIRED)


async def test_a_second_door_serves_the_same_by_tls_and_shows_a_new_certificate_without_a_restart(
    authority: Authority, tmp_path: Path
) -> None:
    files = authority.issue(tmp_path / "door", "lowtide://service/door", ("127.0.0.1",))
    clock = VirtualClock()
    settings = Https("127.0.0.1", 0, files.certificate, files.key)

    async def compose(service: Service) -> None:
        routes = Routes("door")
        routes.get("/v1/ca", authority.ca, summary="the CA")
        app = build_app(routes, metrics=service.metrics)
        service.listen(Listener("http", app, Tcp("127.0.0.1", 0), https=door_of(settings)))

    async with Service("door", compose, clock=clock).running() as urls:
        assert urls["https"].startswith("https://127.0.0.1:")
        context = client_context(ca_pem=authority.pem)
        for url, tls in ((urls["http"], None), (urls["https"], context)):
            async with ServiceClient(url, ssl=tls) as client:
                assert (await client.get("/v1/ca", CaAnswer)).ca_pem == authority.pem
        at = ("127.0.0.1", int(urls["https"].rpartition(":")[2]))
        before = await asyncio.to_thread(ssl.get_server_certificate, at)
        authority.issue(tmp_path / "door", "lowtide://service/door", ("127.0.0.1",))
        await clock.advance(WATCH_EVERY_S)
        assert await asyncio.to_thread(ssl.get_server_certificate, at) != before


def test_a_door_needs_both_files_and_none_is_opened_without_an_address() -> None:
    with pytest.raises(ValueError, match="certificate, key: both are needed"):
        Https("127.0.0.1", 0, Path("cert.pem"))
    assert door_of(Https()) is None
    with pytest.raises(CertificateError, match="nothing"):
        door_of(Https("127.0.0.1", 0, Path("nothing.pem"), Path("nothing.key")))
