"""The composition root of the origin's two processes: the service (`run`) and the worker (`worker`)."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from chassis.auth import PeerGuard, SecretGuard, read_secret
from chassis.client import ServiceClient
from chassis.database import Database
from chassis.enrolment import ensure_enrolled
from chassis.errors import ServiceError
from chassis.health import NotReady
from chassis.https import door_of
from chassis.linelog import LineLimits, LineLog
from chassis.logs import get_logger
from chassis.routes import Routes
from chassis.service import Listener, Service, Tcp
from chassis.tls import CertificateWatch, ClientCertificate, client_context, server_context
from chassis.web import Cors, build_app
from contracts.enrolment import PeerKind
from contracts.keys import KeySet
from origin import accesslog
from origin.announce import HttpAnnouncer, register
from origin.api import IngestApi
from origin.config import Listen, OriginSettings
from origin.jobs import Jobs
from origin.media import MediaDoor
from origin.metrics import MediaMetrics, UploadMetrics, WorkMetrics
from origin.objects import StoredObjects, open_objects
from origin.programs import found_programs
from origin.records import SCHEMA_VERSION, metadata
from origin.stages import Stages
from origin.tokens import MediaKeys, PlayerTokens
from origin.uploads import remove_leftovers
from origin.worker import Worker

MEDIA_PATH = "/media/{title}/{tier}/{file}"
REGISTER_INTERVAL_S = 30.0
REGISTER_RETRY_S = 1.0
KEYS_TIMEOUT_S = 3.0


def origin_service(settings: OriginSettings, *, ready_fd: int | None = None, ready_file: Path | None = None) -> Service:
    """`lowtide origin run`: ingest API, media for players and appliances, registration at the control plane."""

    async def compose(service: Service) -> None:
        operator = SecretGuard(read_secret(settings.operator_token_file))
        settings.titles.mkdir(parents=True, exist_ok=True)
        remove_leftovers(settings.titles)
        jobs = await _open_jobs(service, settings)
        keys = MediaKeys(settings.state_dir / "keys.json")
        tokens = PlayerTokens(keys, service.clock)
        metrics = MediaMetrics(service.metrics)
        door = _door(service, settings, metrics, jobs, tokens)
        routes = Routes("Lowtide origin")
        IngestApi(settings, jobs, UploadMetrics(service.metrics)).add_to(routes, operator)
        _media_routes(routes, door)
        app = build_app(routes, metrics=service.metrics, health=service.health, cors=_open_cors())
        https = door_of(settings.https)
        service.listen(Listener("http", app, Tcp(settings.http.host, settings.http.port), https=https))
        if settings.control_plane.url:
            await _join_control_plane(service, settings, door, keys)

    return Service("origin", compose, ready_fd=ready_fd, ready_file=ready_file)


def worker_service(settings: OriginSettings, *, ready_fd: int | None = None, ready_file: Path | None = None) -> Service:
    """`lowtide origin worker`: takes jobs from the same folder as the service."""

    async def compose(service: Service) -> None:
        settings.titles.mkdir(parents=True, exist_ok=True)
        jobs = await _open_jobs(service, settings)
        now = service.clock.wall_s
        stages = Stages(settings, jobs, found_programs(), _objects(settings), HttpAnnouncer(settings, now), now)
        metrics = WorkMetrics(service.metrics)
        for slot in range(settings.worker.slots):
            name = f"{socket.gethostname()}:{os.getpid()}:{slot}"
            worker = Worker(name, settings, jobs, stages, metrics, service.clock)
            service.background(f"worker-{slot}", worker.run)
        app = build_app(Routes("Lowtide origin worker"), metrics=service.metrics, health=service.health)
        service.listen(Listener("http", app, Tcp(settings.worker.http.host, settings.worker.http.port)))

    return Service("origin-worker", compose, ready_fd=ready_fd, ready_file=ready_file)


async def _open_jobs(service: Service, settings: OriginSettings) -> Jobs:
    database = await service.enter(Database.open(settings.database, metadata, schema_version=SCHEMA_VERSION))
    service.health.add_check("database", database.check)
    return Jobs(database, service.clock.wall_s)


def _objects(settings: OriginSettings) -> StoredObjects:
    return open_objects(settings.objects_url, settings.state_dir / "objects")


def _door(
    service: Service, settings: OriginSettings, metrics: MediaMetrics, jobs: Jobs, tokens: PlayerTokens
) -> MediaDoor:
    """The door, with its access log where there is to be one."""
    rules = settings.log
    if not rules.access:
        return MediaDoor(jobs.visible, _objects(settings), tokens, metrics)
    folder = settings.state_dir / accesslog.FOLDER
    folder.mkdir(exist_ok=True)
    limits = LineLimits(rules.file_bytes, rules.file_s, rules.files, rules.keep_s)
    lines = LineLog(folder, accesslog.STEM, limits, service.clock, metrics.log_lost.inc)
    service.background("access-log", lines.run)
    service.on_close(lines.flush)
    log = accesslog.AccessLog(lines, rules, service.clock)
    return MediaDoor(jobs.visible, _objects(settings), tokens, metrics, watching=log.watching)


def _media_routes(routes: Routes, door: MediaDoor) -> None:
    for method in ("GET", "HEAD"):
        for path in ("/{token:~[^/]*}" + MEDIA_PATH, MEDIA_PATH):
            documented = method == "GET" and path != MEDIA_PATH
            routes.raw(method, path, door.to_player, summary="Media for players, by range", documented=documented)


def _open_cors() -> Cors:
    """Pages anywhere may play from here: tokens, not cookies, open the door."""
    plain = Cors()
    exposed = (*plain.exposed_headers, "Accept-Ranges", "Date")
    asked = (*plain.request_headers, "If-Range", "If-None-Match", "If-Match", "Repr-Digest")
    return Cors(origins=("*",), request_headers=asked, exposed_headers=exposed)


async def _join_control_plane(service: Service, settings: OriginSettings, door: MediaDoor, keys: MediaKeys) -> None:
    """Certificate, the door for appliances, and what keeps both sides informed."""
    rules = settings.enrolment
    files = await ensure_enrolled(
        settings.control_plane.url,
        rules.code_file,
        kind=PeerKind.SERVICE,
        name=rules.name,
        folder=settings.identity,
        addresses=rules.addresses,
        clock=service.clock,
        patience_s=rules.patience_s,
    )
    context = server_context(files, ClientCertificate.REQUIRED)
    routes = Routes("Lowtide origin, media for appliances")
    appliances = PeerGuard(PeerKind.APPLIANCE)
    for method in ("GET", "HEAD"):
        routes.raw(method, MEDIA_PATH, door.to_appliance, summary="Media by range", guard=appliances)
    app = build_app(routes, metrics=service.metrics, listener="mtls", serve_openapi=False)
    service.listen(Listener("mtls", app, Tcp(settings.mtls.host, settings.mtls.port), context))
    client = await service.enter(ServiceClient(settings.control_plane.url, ssl=client_context(files=files)))
    link = ControlPlaneLink(service, settings, client, keys, CertificateWatch(context, files))
    keys.ask = link.fetch_keys
    service.background("keys", link.follow_keys)
    service.background("registration", link.stay_registered)
    service.health.add_check("control-plane", link.check)


class ControlPlaneLink:
    """What runs beside the listeners: fetches keys, keeps the origin registered, watches the certificate."""

    def __init__(
        self,
        service: Service,
        settings: OriginSettings,
        client: ServiceClient,
        keys: MediaKeys,
        certificate: CertificateWatch,
    ) -> None:
        self._service = service
        self._settings = settings
        self._client = client
        self._keys = keys
        self._certificate = certificate
        self._registered = False
        self._log = get_logger("origin.control-plane")

    async def follow_keys(self) -> None:
        """Fetches the public keys again and again; the last ones stay in use while that fails."""
        interval_s = self._settings.control_plane.keys_interval_s
        while True:
            await self.fetch_keys()
            self._certificate.check()
            await self._service.clock.sleep(interval_s)

    async def fetch_keys(self) -> None:
        """Fetches the public keys once; a failure is logged, the keys at hand stay in use."""
        try:
            found = await self._client.get("/v1/keys", KeySet, timeout_s=KEYS_TIMEOUT_S)
            if self._keys.take(found):
                self._log.info("keys-taken", number=found.number, media=len(self._keys.media))
        except ServiceError as error:
            self._log.warning("keys-not-fetched", detail=str(error), kept=len(self._keys.media))

    async def stay_registered(self) -> None:
        """Tells the control plane the addresses of this origin, and again from time to time in case it forgot."""
        urls, settings = self._service.urls, self._settings
        player_url = _public(settings.http, urls["http"])
        mtls_url = _public(settings.mtls, urls["mtls"])
        while True:
            try:
                await register(self._client, settings.enrolment.name, player_url, mtls_url)
                self._registered = True
            except ServiceError as error:
                self._registered = False
                self._log.warning("not-registered", detail=str(error))
            await self._service.clock.sleep(REGISTER_INTERVAL_S if self._registered else REGISTER_RETRY_S)

    async def check(self) -> str:
        """Readiness: appliances find this origin only once it is registered."""
        if not self._registered:
            raise NotReady("the control plane does not know this origin's addresses yet")
        return "registered"


def _public(listen: Listen, actual: str) -> str:
    return listen.public_url.rstrip("/") or actual
