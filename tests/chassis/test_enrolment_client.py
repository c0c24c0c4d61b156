"""Enrolment against a control plane of a few lines: TLS, CA, one code."""

from __future__ import annotations

import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from chassis import certificates
from chassis.enrolment import enrol, enrolled_name, ensure_enrolled, is_enrolled, kept_files
from chassis.errors import CertificateError, ServiceError
from chassis.tls import TlsFiles, server_context
from contracts.enrolment import CaAnswer, EnrolAnswer, EnrolRequest, PeerKind, san_uri
from contracts.problems import CONTENT_TYPE, Problem, ProblemCode

SECRET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class ControlPlane:
    """Knows one code. `shown_ca` is what it claims its CA is; `lose_answers` enrolments are cut off after the code is spent."""

    def __init__(self, folder: Path) -> None:
        self.key = certificates.make_key()
        self.ca_pem = certificates.make_ca(self.key, "test CA", time.time())
        self.shown_ca = self.ca_pem
        self.kind, self.name = PeerKind.APPLIANCE, "a-1"
        self.requests: list[EnrolRequest] = []
        self.lose_answers = 0
        self.folder = folder
        self.url = ""

    @property
    def code(self) -> str:
        return f"{SECRET}.{certificates.ca_fingerprint(self.ca_pem)}"

    def files(self) -> TlsFiles:
        own = certificates.make_key()
        csr = certificates.make_csr(own, san_uri(PeerKind.SERVICE, "control-plane"))
        uri = san_uri(PeerKind.SERVICE, "control-plane")
        pem = certificates.sign_csr(
            csr, ca_pem=self.ca_pem, ca_key=self.key, uri=uri, addresses=("127.0.0.1",), now=time.time()
        )
        certificates.write_private(self.folder / "server-key.pem", certificates.key_to_pem(own))
        (self.folder / "server.pem").write_text(pem)
        return TlsFiles(self.folder / "server.pem", self.folder / "server-key.pem")

    async def give_ca(self, _request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(CaAnswer(self.shown_ca)))

    async def enrol(self, request: web.Request) -> web.Response:
        asked = msgspec.json.decode(await request.read(), type=EnrolRequest)
        self.requests.append(asked)
        if asked.secret != SECRET:
            problem = Problem.of(ProblemCode.ENROLMENT_CODE_INVALID)
            return web.Response(body=msgspec.json.encode(problem), status=403, content_type=CONTENT_TYPE)
        if self.lose_answers:
            self.lose_answers -= 1
            assert request.transport is not None
            request.transport.abort()
        pem = certificates.sign_csr(
            asked.csr_pem,
            ca_pem=self.ca_pem,
            ca_key=self.key,
            uri=san_uri(self.kind, self.name),
            addresses=asked.addresses,
            now=time.time(),
        )
        return web.Response(body=msgspec.json.encode(EnrolAnswer(self.kind, self.name, pem, self.ca_pem)))


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[ControlPlane]:
    plane = ControlPlane(folder)
    app = web.Application()
    app.router.add_get("/v1/ca", plane.give_ca)
    app.router.add_post("/v1/enrol", plane.enrol)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(plane.files()))
    await site.start()
    plane.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield plane
    finally:
        await runner.cleanup()


async def test_a_code_becomes_a_certificate_whose_key_only_its_owner_may_read(tmp_path: Path) -> None:
    async with running(tmp_path) as plane:
        files = await enrol(
            plane.url, plane.code, kind=PeerKind.APPLIANCE, folder=tmp_path / "tls", addresses=("127.1.0.1",)
        )
    assert is_enrolled(tmp_path / "tls", time.time())
    assert enrolled_name(tmp_path / "tls", PeerKind.APPLIANCE) == "a-1"
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    server_context(files)
    assert plane.requests[0].addresses == ("127.1.0.1",)
    assert "PRIVATE" not in plane.requests[0].csr_pem


async def test_another_ca_than_the_codes_is_refused_before_the_secret_is_sent(tmp_path: Path) -> None:
    async with running(tmp_path) as plane:
        plane.shown_ca = certificates.make_ca(certificates.make_key(), "somebody in between", time.time())
        with pytest.raises(CertificateError, match="another CA"):
            await enrol(plane.url, plane.code, kind=PeerKind.APPLIANCE, folder=tmp_path / "tls")
        assert plane.requests == []
    assert not is_enrolled(tmp_path / "tls", time.time())


async def test_a_server_that_shows_the_right_ca_but_is_not_signed_by_it_never_gets_the_secret(tmp_path: Path) -> None:
    async with running(tmp_path) as plane:
        named = certificates.make_ca(certificates.make_key(), "the operator's CA", time.time())
        plane.shown_ca = named
        code = f"{SECRET}.{certificates.ca_fingerprint(named)}"
        with pytest.raises(ServiceError):
            await enrol(plane.url, code, kind=PeerKind.APPLIANCE, folder=tmp_path / "tls")
        assert plane.requests == []


async def test_a_wrong_secret_and_a_torn_code_are_refused_in_words(tmp_path: Path) -> None:
    async with running(tmp_path) as plane:
        wrong = f"WRONG.{certificates.ca_fingerprint(plane.ca_pem)}"
        with pytest.raises(ServiceError, match="code is unknown, used or expired"):
            await enrol(plane.url, wrong, kind=PeerKind.APPLIANCE, folder=tmp_path / "tls")
        with pytest.raises(CertificateError, match="copy it whole"):
            await enrol(plane.url, SECRET, kind=PeerKind.APPLIANCE, folder=tmp_path / "tls")


async def test_a_code_for_somebody_else_is_not_kept(tmp_path: Path) -> None:
    async with running(tmp_path) as plane:
        with pytest.raises(CertificateError, match="for appliance a-1, not for service steering"):
            await enrol(plane.url, plane.code, kind=PeerKind.SERVICE, name="steering", folder=tmp_path / "tls")
    assert not kept_files(tmp_path / "tls").certificate.exists()


async def test_after_a_lost_answer_the_same_key_is_shown_again(tmp_path: Path) -> None:
    async with running(tmp_path) as plane:
        plane.lose_answers = 1
        with pytest.raises(ServiceError):
            await enrol(plane.url, plane.code, kind=PeerKind.APPLIANCE, folder=tmp_path / "tls")
        kept = kept_files(tmp_path / "tls").key.read_bytes()
        await enrol(plane.url, plane.code, kind=PeerKind.APPLIANCE, folder=tmp_path / "tls")
        assert kept_files(tmp_path / "tls").key.read_bytes() == kept
        assert len(plane.requests) == 2


async def test_who_is_enrolled_asks_nobody_and_the_code_file_is_used_up(tmp_path: Path) -> None:
    code_file = tmp_path / "enrol.code"
    async with running(tmp_path) as plane:
        plane.kind, plane.name = PeerKind.SERVICE, "steering"
        code_file.write_text(plane.code + "\n")
        for _ in range(2):
            await ensure_enrolled(plane.url, code_file, kind=PeerKind.SERVICE, name="steering", folder=tmp_path / "tls")
        assert len(plane.requests) == 1
    assert not code_file.exists()
