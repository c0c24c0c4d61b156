"""A control plane of a few lines: a CA, one code, mutual TLS, a set of keys that may forget."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from chassis import certificates
from chassis.auth import PeerGuard, PeerIdentity
from chassis.metrics import Metrics
from chassis.routes import Call, Routes
from chassis.service import Listener, Service, Tcp
from chassis.tls import ClientCertificate, TlsFiles, server_context
from chassis.web import build_app
from contracts.enrolment import CaAnswer, EnrolAnswer, EnrolRequest, PeerKind, san_uri
from contracts.keys import KeySet, PublicKey

SECRET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass
class FakeControlPlane:
    folder: Path
    keys: dict[str, PublicKey] = field(default_factory=dict)
    registered_by: list[PeerIdentity] = field(default_factory=list)
    revoked: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._ca_key = certificates.make_key()
        self._ca = certificates.make_ca(self._ca_key, "test CA", time.time())

    @property
    def code(self) -> str:
        return f"{SECRET}.{certificates.ca_fingerprint(self._ca)}"

    async def compose(self, service: Service) -> None:
        routes = Routes("Control plane")
        routes.get("/v1/ca", self.give_ca, summary="CA")
        routes.post("/v1/enrol", self.enrol, summary="Enrol")
        routes.get("/v1/keys", self.give_keys, summary="Keys", guard=PeerGuard())
        routes.put("/v1/keys/{kid}", self.put_key, summary="Key", guard=PeerGuard(PeerKind.SERVICE))
        context = server_context(self._files(), ClientCertificate.OPTIONAL)
        app = build_app(routes, metrics=Metrics("control-plane"))
        service.listen(Listener("mtls", app, Tcp("127.0.0.1", 0), context))

    async def give_ca(self, call: Call[None]) -> CaAnswer:
        return CaAnswer(self._ca)

    async def enrol(self, call: Call[EnrolRequest]) -> EnrolAnswer:
        assert call.body.secret == SECRET
        uri = san_uri(PeerKind.SERVICE, "playback")
        pem = certificates.sign_csr(call.body.csr_pem, ca_pem=self._ca, ca_key=self._ca_key, uri=uri, now=time.time())
        return EnrolAnswer(PeerKind.SERVICE, "playback", pem, self._ca)

    async def give_keys(self, call: Call[None]) -> KeySet:
        return KeySet(len(self.keys), tuple(self.keys.values()), self.revoked)

    async def put_key(self, call: Call[PublicKey]) -> KeySet:
        self.keys[call.path["kid"]] = call.body
        self.registered_by.append(call.who(PeerIdentity))
        return await self.give_keys(Call(None, None, {}, call.request))

    def _files(self) -> TlsFiles:
        self.folder.mkdir(exist_ok=True)
        own, uri = certificates.make_key(), san_uri(PeerKind.SERVICE, "control-plane")
        pem = certificates.sign_csr(
            certificates.make_csr(own, uri),
            ca_pem=self._ca,
            ca_key=self._ca_key,
            uri=uri,
            addresses=("127.0.0.1",),
            now=time.time(),
        )
        certificates.write_private(self.folder / "key.pem", certificates.key_to_pem(own))
        (self.folder / "certificate.pem").write_text(pem)
        (self.folder / "ca.pem").write_text(self._ca)
        return TlsFiles(self.folder / "certificate.pem", self.folder / "key.pem", self.folder / "ca.pem")
