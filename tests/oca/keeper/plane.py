"""A control plane over mutual TLS that keeps the real one's law about reports; everything else is as a test sets it."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import WSMsgType, web
from joserfc import jws
from joserfc.jwk import ECKey

from chassis import certificates
from chassis.auth import peer_identity
from chassis.tls import ClientCertificate, TlsFiles, server_context
from contracts.digests import FileDigests, SignedDigests
from contracts.enrolment import CaAnswer, EnrolAnswer, EnrolRequest, PeerKind, san_uri
from contracts.keys import KeySet, KeyUse, PublicKey
from contracts.plans import AppliancePlan, RankedSource, Upstreams
from contracts.reports import ApplianceReport, Heartbeat, Nudge, ReportAnswer
from contracts.routes import RouteAnswer, RouteReport
from contracts.triggers import Selection, Trigger, Triggers, TriggersApplied, TriggerType
from control_plane.ingestion import Reported, judge

SECRET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class SigningKey:
    """An ES256 key of the control plane."""

    def __init__(self, kid: str, use: KeyUse = KeyUse.DIGESTS) -> None:
        self.kid = kid
        self.key = ECKey.generate_key("P-256")
        public = {name: str(value) for name, value in self.key.as_dict(private=False).items()}
        self.public = PublicKey(kid, use, "ES256", public)

    def sign(self, digests: FileDigests) -> SignedDigests:
        header = {"alg": "ES256", "kid": self.kid}
        return SignedDigests(jws.serialize_compact(header, msgspec.json.encode(digests), self.key))


class FakeControlPlane:
    """Keeps the law of the real one about reports; everything else is as a test sets it."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        """`host` is the address it and the servers of the test listen on."""
        self.host = host
        self.ca_key = certificates.make_key()
        self.ca_pem = certificates.make_ca(self.ca_key, "test CA", time.time())
        self.appliance = "a-1"
        self.signing = SigningKey("d-1")
        self.media_key = SigningKey("m-1", KeyUse.MEDIA)
        self.keys = KeySet(1, (self.signing.public, self.media_key.public))
        self.lists: dict[str, SignedDigests] = {}
        self.parents: tuple[RankedSource, ...] = ()
        self.plan: AppliancePlan | None = None
        self.plans: dict[str, AppliancePlan] = {}
        """By appliance, where they differ."""
        self.state = "live"
        self.triggers: list[Trigger] = []
        self.forgotten = 0
        self.triggers_at_once = 1000
        self.applied: list[int] = []
        """Numbers up to which the appliance said it had applied them, in the order in which it said so."""
        self.reports: list[ApplianceReport] = []
        self.route_reports: list[RouteReport] = []
        self.traffic: Counter[str] = Counter()
        self.reported = Reported()
        self.beats: list[Heartbeat] = []
        self.asked: Counter[str] = Counter()
        self.away = False
        self.lose_answers = 0
        self.refuse = 0
        """Reports to refuse as not possible."""
        self.code_secret = SECRET
        """What the operator copied into the code file."""
        self.url = ""
        self._folder = folder
        self._sockets: set[web.WebSocketResponse] = set()
        self._runner: web.AppRunner | None = None

    @property
    def code(self) -> str:
        return f"{self.code_secret}.{certificates.ca_fingerprint(self.ca_pem)}"

    def files(self, name: str, kind: PeerKind = PeerKind.SERVICE) -> TlsFiles:
        """A certificate of this CA for a server of the test."""
        key = certificates.make_key()
        uri = san_uri(kind, name)
        pem = certificates.sign_csr(
            certificates.make_csr(key, uri),
            ca_pem=self.ca_pem,
            ca_key=self.ca_key,
            uri=uri,
            addresses=(self.host,),
            now=time.time(),
        )
        files = TlsFiles(self._folder / f"{name}.pem", self._folder / f"{name}-key.pem", self._folder / "ca.pem")
        certificates.write_private(files.key, certificates.key_to_pem(key))
        files.certificate.write_text(pem)
        (self._folder / "ca.pem").write_text(self.ca_pem)
        return files

    async def start(self) -> None:
        app = web.Application(client_max_size=64 << 20, middlewares=[self._maybe_away])
        app.router.add_get("/v1/ca", self._ca)
        app.router.add_post("/v1/enrol", self._enrol)
        app.router.add_get("/v1/keys", self._keys)
        app.router.add_get("/v1/digests", self._digests)
        app.router.add_get("/v1/upstreams", self._upstreams)
        app.router.add_get("/v1/appliance/plan", self._plan)
        app.router.add_get("/v1/appliance/triggers", self._triggers)
        app.router.add_post("/v1/appliance/triggers", self._applied)
        app.router.add_post("/v1/appliance/report", self._report)
        app.router.add_get("/v1/appliance/heartbeat", self._heartbeat)
        app.router.add_post("/v1/appliance/routes", self._routes)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        context = server_context(self.files("control-plane"), ClientCertificate.OPTIONAL)
        site = web.TCPSite(self._runner, self.host, 0, ssl_context=context)
        await site.start()
        self.url = f"https://{self.host}:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        for socket in list(self._sockets):
            await socket.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def nudge(self) -> None:
        for socket in list(self._sockets):
            await socket.send_str(msgspec.json.encode(self._standing()).decode())

    def _standing(self) -> Nudge:
        number = self.triggers[-1].number if self.triggers else 0
        return Nudge(self.plan.number if self.plan else 0, self.keys.number, self.state, number)

    async def trigger(self, type_: TriggerType, selection: Selection, text: str = "") -> Trigger:
        """One more trigger, and a nudge."""
        number = self.triggers[-1].number + 1 if self.triggers else self.forgotten + 1
        self.triggers.append(Trigger(number, type_, selection, text, time.time()))
        await self.nudge()
        return self.triggers[-1]

    async def _triggers(self, request: web.Request) -> web.Response:
        after = int(request.query["after"])
        newest = self.triggers[-1].number if self.triggers else 0
        some = tuple(one for one in self.triggers if one.number > after)[: self.triggers_at_once]
        return _json(Triggers(newest, some, self.forgotten))

    async def _applied(self, request: web.Request) -> web.Response:
        self.applied.append(msgspec.json.decode(await request.read(), type=TriggersApplied).number)
        return web.Response(status=204)

    @web.middleware
    async def _maybe_away(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked[request.path] += 1
        if self.away:
            assert request.transport is not None
            request.transport.abort()
            raise ConnectionResetError
        response: web.StreamResponse = await handler(request)
        return response

    async def _ca(self, _request: web.Request) -> web.Response:
        return _json(CaAnswer(self.ca_pem))

    async def _enrol(self, request: web.Request) -> web.Response:
        asked = msgspec.json.decode(await request.read(), type=EnrolRequest)
        if asked.secret != SECRET:
            return web.Response(status=403)
        pem = certificates.sign_csr(
            asked.csr_pem,
            ca_pem=self.ca_pem,
            ca_key=self.ca_key,
            uri=san_uri(PeerKind.APPLIANCE, self.appliance),
            addresses=asked.addresses,
            now=time.time(),
        )
        return _json(EnrolAnswer(PeerKind.APPLIANCE, self.appliance, pem, self.ca_pem))

    async def _keys(self, _request: web.Request) -> web.Response:
        return _json(self.keys)

    async def _digests(self, request: web.Request) -> web.Response:
        found = self.lists.get(request.query["key"])
        return _json(found) if found is not None else web.Response(status=404)

    async def _upstreams(self, _request: web.Request) -> web.Response:
        return _json(Upstreams(1, self.parents))

    async def _plan(self, request: web.Request) -> web.Response:
        asker = peer_identity(request)
        found = self.plans.get(asker.name, self.plan) if asker is not None else self.plan
        return _json(found) if found is not None else web.Response(status=404)

    async def _routes(self, request: web.Request) -> web.Response:
        self.route_reports.append(msgspec.json.decode(await request.read(), type=RouteReport))
        return _json(RouteAnswer())

    async def _report(self, request: web.Request) -> web.Response:
        report = msgspec.json.decode(await request.read(), type=ApplianceReport)
        if self.refuse:
            self.refuse -= 1
            return web.Response(status=422)
        judgement = judge(self.reported, report)
        self.reported = judgement.after
        self.reports.append(report)
        if judgement.counts:
            for row in report.traffic:
                self.traffic[row.key] += row.served_bytes
        if self.lose_answers:
            self.lose_answers -= 1
            assert request.transport is not None
            request.transport.abort()
        standing = self._standing()
        return _json(
            ReportAnswer(
                judgement.stored_sequence,
                standing.plan_number,
                standing.keys_number,
                standing.state,
                judgement.want_full_holdings,
            )
        )

    async def _heartbeat(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets.add(socket)
        await socket.send_str(msgspec.json.encode(self._standing()).decode())
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                self.beats.append(msgspec.json.decode(message.data, type=Heartbeat))
        self._sockets.discard(socket)
        return socket


def _json(value: msgspec.Struct) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
