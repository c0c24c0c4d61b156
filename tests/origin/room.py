"""An origin on loopback with the services it talks to, for tests: real doors, real certificates, real encoders."""

from __future__ import annotations

import asyncio
import io
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from joserfc.jwk import ECKey

from chassis import certificates
from chassis.auth import PeerGuard, SecretGuard
from chassis.client import ServiceClient
from chassis.clock import SYSTEM_CLOCK
from chassis.database import Database
from chassis.enrolment import kept_files
from chassis.errors import ProblemError
from chassis.metrics import Metrics
from chassis.routes import Call, Routes
from chassis.service import Listener, Service, Tcp
from chassis.tls import ClientCertificate, TlsFiles, client_context, server_context
from chassis.web import build_app
from contracts.catalogue import Title, TitleFacts
from contracts.enrolment import PeerKind, san_uri
from contracts.ingest import TitleState, TitleStatus
from contracts.keys import KeySet, KeyUse, PublicKey
from contracts.problems import ProblemCode
from contracts.tokens import jwt
from contracts.tokens.claims import MediaClaims
from contracts.world import FallbackOrigin
from origin.announce import HttpAnnouncer
from origin.app import origin_service
from origin.config import Catalog, ControlPlane, Encode, JobRules, OriginSettings
from origin.jobs import Jobs
from origin.ladder import Rung
from origin.metrics import WorkMetrics
from origin.objects import MediaObjects, open_objects
from origin.programs import Programs, found_programs
from origin.records import SCHEMA_VERSION, metadata
from origin.stages import Stages
from origin.worker import Worker

OPERATOR_TOKEN = "o" * 64
CATALOG_SECRET = "c" * 64
LOOPBACK = ("127.0.0.1",)
RUNGS = (
    Rung(180, 200_000, 300_000, "ultrafast"),
    Rung(120, 120_000, 180_000, "ultrafast"),
    Rung(90, 80_000, 120_000, "ultrafast"),
)


def ffmpeg(*arguments: str) -> None:
    programs = found_programs()
    subprocess.run([programs.ffmpeg, "-v", "error", "-y", "-nostdin", *arguments], check=True, timeout=60)


def make_clip(path: Path, seconds: float, *, rate: str = "25", size: str = "320x240", moov_first: bool = True) -> Path:
    """A moving test picture with a tone."""
    picture = ("-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}")
    tone = ("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000")
    codecs = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "37", "-c:a", "aac", "-b:a", "64k")
    order = ("-movflags", "+faststart") if moov_first else ()
    ffmpeg(*picture, *tone, "-t", str(seconds), *codecs, *order, str(path))
    return path


async def eventually(holds: Callable[[], bool], within_s: float = 30.0) -> None:
    """Waits for what another process or task brings about."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110  nothing to wait on: a file, or somebody else's list
            await asyncio.sleep(0.01)


class Authority:
    """A CA and what it signs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = certificates.make_key()
        self.ca_pem = certificates.make_ca(self._key, "test CA", time.time())

    def issue(self, kind: PeerKind, name: str, folder: Path | None = None) -> TlsFiles:
        """Key, certificate and CA in `folder`, as enrolment keeps them."""
        files = kept_files(folder or self._folder / name)
        assert files.ca is not None
        key = certificates.make_key()
        csr = certificates.make_csr(key, san_uri(kind, name), LOOPBACK)
        pem = certificates.sign_csr(
            csr, ca_pem=self.ca_pem, ca_key=self._key, uri=san_uri(kind, name), addresses=LOOPBACK, now=time.time()
        )
        certificates.write_private(files.key, certificates.key_to_pem(key))
        files.certificate.write_text(pem)
        files.ca.write_text(self.ca_pem)
        return files


@dataclass
class ControlPlaneStandIn:
    """What the origin uses of a control plane, with a switch to be away."""

    keys: KeySet = field(default_factory=lambda: KeySet(1, ()))
    titles: dict[str, Title] = field(default_factory=dict)
    origins: list[FallbackOrigin] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    away: bool = False

    async def put_title(self, call: Call[Title]) -> None:
        self.heard.append("control-plane")
        self._present()
        self.titles[call.path["id"]] = call.body

    async def delete_title(self, call: Call[None]) -> None:
        self.heard.append("control-plane-withdrawal")
        self._present()
        if self.titles.pop(call.path["id"], None) is None:
            raise ProblemError(ProblemCode.NOT_FOUND)

    async def put_origin(self, call: Call[FallbackOrigin]) -> None:
        self.origins.append(call.body)

    async def get_keys(self, _call: Call[None]) -> KeySet:
        return self.keys

    def _present(self) -> None:
        if self.away:
            raise ProblemError(ProblemCode.UNAVAILABLE)

    def routes(self) -> Routes:
        routes = Routes("control plane stand-in")
        service = PeerGuard(PeerKind.SERVICE, names=frozenset({"origin"}))
        routes.put("/v1/titles/{id}", self.put_title, summary="title", guard=service, max_body_bytes=1 << 24)
        routes.delete("/v1/titles/{id}", self.delete_title, summary="title", guard=service)
        routes.put("/v1/origin", self.put_origin, summary="origin", guard=service)
        routes.get("/v1/keys", self.get_keys, summary="keys", guard=service)
        return routes


@dataclass
class CatalogStandIn:
    """What the origin uses of a catalog."""

    heard: list[str]
    titles: dict[str, Title] = field(default_factory=dict)
    away: bool = False

    async def put_title(self, call: Call[Title]) -> None:
        self.heard.append("catalog")
        if self.away:
            raise ProblemError(ProblemCode.UNAVAILABLE)
        self.titles[call.path["id"]] = call.body

    async def delete_title(self, call: Call[None]) -> None:
        self.heard.append("catalog-withdrawal")
        self.titles.pop(call.path["id"], None)

    def routes(self) -> Routes:
        routes = Routes("catalog stand-in")
        guard = SecretGuard(CATALOG_SECRET)
        routes.put("/v1/titles/{id}", self.put_title, summary="title", guard=guard, max_body_bytes=1 << 24)
        routes.delete("/v1/titles/{id}", self.delete_title, summary="title", guard=guard)
        return routes


@dataclass
class Room:
    """A running origin and everything around it."""

    settings: OriginSettings
    urls: dict[str, str]
    jobs: Jobs
    worker: Worker
    control_plane: ControlPlaneStandIn
    catalog: CatalogStandIn
    authority: Authority
    operator: ServiceClient
    token_key: ECKey

    async def ingest(self, file: Path, title_id: str = "t1", name: str = "A title") -> TitleStatus:
        """Uploads a file; no work is done yet."""
        await self.operator.post("/v1/titles", TitleFacts(id=title_id, name=name), TitleStatus)
        return await self.upload(file, title_id)

    async def upload(self, file: Path, title_id: str = "t1", **headers: str) -> TitleStatus:
        path = f"/v1/titles/{title_id}/source"
        async with self.operator.open("PUT", path, data=io.BytesIO(file.read_bytes()), headers=headers) as response:
            return msgspec.json.decode(await response.read(), type=TitleStatus)

    async def status(self, title_id: str = "t1") -> TitleStatus:
        return await self.operator.get(f"/v1/titles/{title_id}", TitleStatus)

    async def published(self, file: Path, title_id: str = "t1") -> Title:
        """Ingests and works until the title is published."""
        await self.ingest(file, title_id)
        await self.worker.work_once()
        status = await self.status(title_id)
        assert status.state is TitleState.PUBLISHED, status
        return self.control_plane.titles[title_id]

    def token(self, title_id: str = "t1", tiers: tuple[str, ...] = ("base", "sd"), lasts_s: float = 60.0) -> str:
        now = time.time()
        claims = MediaClaims("playback", "session-1", f"/media/{title_id}/", tiers, now + lasts_s, now)
        return jwt.sign(claims, self.token_key, "k1")

    def appliance(self, name: str = "a1") -> ServiceClient:
        files = self.authority.issue(PeerKind.APPLIANCE, name)
        return ServiceClient(self.urls["mtls"], ssl=client_context(files=files))

    def object_of(self, path: str) -> Path:
        return self.settings.state_dir / "objects" / path.lstrip("/")


def settings_in(folder: Path, control_plane_url: str = "", catalog_url: str = "", **others: object) -> OriginSettings:
    """Settings of a small, quick origin."""
    secrets = {"operator.token": OPERATOR_TOKEN, "catalog.secret": CATALOG_SECRET}
    for name, secret in secrets.items():
        certificates.write_private(folder / name, secret.encode())
    given: dict[str, object] = {
        "encode": Encode(rungs=RUNGS, threads=1, nice=0),
        "jobs": JobRules(lease_s=2.0, poll_s=0.05, first_wait_s=0.01, longest_wait_s=0.05),
        **others,
    }
    return OriginSettings(
        state_dir=folder / "state",
        operator_token_file=folder / "operator.token",
        control_plane=ControlPlane(control_plane_url, keys_interval_s=30.0),
        catalog=Catalog(catalog_url, folder / "catalog.secret"),
        **given,  # type: ignore[arg-type]
    )


@asynccontextmanager
async def running_room(folder: Path, **others: object) -> AsyncIterator[Room]:
    """Stand-ins, the origin's service, and a worker that works when told to."""
    authority = Authority(folder / "pki")
    control_plane = ControlPlaneStandIn()
    catalog = CatalogStandIn(control_plane.heard)
    token_key = ECKey.generate_key("P-256")
    public = {name: str(value) for name, value in token_key.as_dict(private=False).items()}
    control_plane.keys = KeySet(1, (PublicKey("k1", KeyUse.MEDIA, "ES256", public),))
    async with AsyncExitStack() as stack:
        plane_url = await stack.enter_async_context(
            _served(control_plane.routes(), authority.issue(PeerKind.SERVICE, "cp"))
        )
        catalog_url = await stack.enter_async_context(_served(catalog.routes(), None))
        settings = settings_in(folder, plane_url, catalog_url, **others)
        authority.issue(PeerKind.SERVICE, "origin", settings.identity)
        urls = await stack.enter_async_context(origin_service(settings).running())
        database = await stack.enter_async_context(
            Database.open(settings.database, metadata, schema_version=SCHEMA_VERSION)
        )
        jobs = Jobs(database, time.time)
        worker = make_worker(settings, jobs)
        operator = await stack.enter_async_context(ServiceClient(urls["http"], bearer=OPERATOR_TOKEN))
        yield Room(settings, urls, jobs, worker, control_plane, catalog, authority, operator, token_key)


def make_worker(
    settings: OriginSettings, jobs: Jobs, *, objects: MediaObjects | None = None, programs: Programs | None = None
) -> Worker:
    store = objects or open_objects(settings.objects_url, settings.state_dir / "objects")
    announcer = HttpAnnouncer(settings, time.time)
    stages = Stages(settings, jobs, programs or found_programs(), store, announcer, time.time)
    return Worker("w1", settings, jobs, stages, WorkMetrics(Metrics("worker", process=False)), SYSTEM_CLOCK)


@asynccontextmanager
async def _served(routes: Routes, files: TlsFiles | None) -> AsyncIterator[str]:
    """Routes on a free port, with mutual TLS when there are files."""
    context = server_context(files, ClientCertificate.REQUIRED) if files else None

    async def compose(service: Service) -> None:
        app = build_app(routes, metrics=service.metrics)
        service.listen(Listener("door", app, Tcp("127.0.0.1", 0), context))

    async with Service("stand-in", compose).running() as urls:
        yield urls["door"]
