"""The one place that builds and connects."""

from __future__ import annotations

import random
from pathlib import Path

from chassis.auth import SecretGuard, read_or_make_secret
from chassis.client import ServiceClient
from chassis.clock import Clock
from chassis.database import Database
from chassis.errors import ConfigError
from chassis.logs import get_logger
from chassis.pages import add_pages
from chassis.routes import Routes
from chassis.service import Listener, Service, Tcp
from chassis.tls import ClientCertificate, server_context
from chassis.web import build_app
from contracts.keys import KeyUse
from contracts.labtime import LabTime
from control_plane import records
from control_plane.appliance_api import ApplianceApi
from control_plane.archive import places as place_archive
from control_plane.authority import Authority
from control_plane.changes import ChangeLog
from control_plane.config import ControlPlaneSettings, NameSettings
from control_plane.desk import Desk
from control_plane.enrolling import Enrolling
from control_plane.feeds import Feeds
from control_plane.heartbeats import Heartbeats
from control_plane.keys import Keys
from control_plane.licences import Licences
from control_plane.metrics import ControlPlaneMetrics
from control_plane.names.api import NameApi
from control_plane.names.desk import NameDesk
from control_plane.names.metrics import NameMetrics
from control_plane.names.ports import Issuer, NameServer
from control_plane.names.zone import Apex
from control_plane.names.zone_file import ZoneFile
from control_plane.nightly import Nightly
from control_plane.operator_api import OperatorApi
from control_plane.operators import Operators
from control_plane.pins import Pins
from control_plane.planning import Planning
from control_plane.plays_api import PlaysApi
from control_plane.prepositions import Prepositions
from control_plane.registry import Registry
from control_plane.reporting import Reporting
from control_plane.revocations import Revocations
from control_plane.routes.api import RouteApi
from control_plane.routes.desk import RouteDesk
from control_plane.routes.metrics import RouteMetrics
from control_plane.service_api import ServiceApi
from control_plane.steering_desk import SteeringDesk
from control_plane.stream import ChangeStream
from control_plane.trigger_api import TriggerApi
from control_plane.triggers import TriggerDesk
from control_plane.wish_api import WishApi

DATABASE = "control_plane.sqlite"
OPERATOR_TOKEN = "operator.token"
ACME_KEY = "acme.key"
CONTENT_SECURITY = "default-src 'self'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"


async def compose(service: Service, settings: ControlPlaneSettings, issuer: Issuer | None = None) -> None:
    """Builds the control plane into a service; `issuer` is another CA than the configured one. Raises ChassisError in words where the state folder cannot be used."""
    folder = settings.state_dir
    clock = service.clock
    certificates = settings.certificates
    authority = Authority.open(folder, _names(settings), clock.wall_s(), certificates.valid_days)
    operator = SecretGuard(read_or_make_secret(folder / OPERATOR_TOKEN))
    desk = await _open_desk(service, folder, clock, settings.lab)
    publishers = {KeyUse.MEDIA: certificates.media_publishers, KeyUse.MEMBER: certificates.member_publishers}
    revocations = Revocations(desk)
    await revocations.load()
    keys = Keys(desk, authority, publishers, revocations)
    await keys.load()
    triggers = TriggerDesk(desk)
    await triggers.load()
    route_desk = RouteDesk(desk, settings.routes, RouteMetrics(service.metrics))
    await route_desk.load()
    heartbeats = Heartbeats(desk)
    enrolling = Enrolling(desk, authority, certificates.valid_days)
    reporting = Reporting(desk)
    planning = Planning(desk, settings.plans, settings.planner)
    pins, feeds = Pins(desk), Feeds(desk)
    await pins.load()
    prepositions = Prepositions(desk, planning, settings.planner)
    await prepositions.load()
    licences = Licences(desk, planning, triggers)
    await licences.load()
    nightly = Nightly(desk, settings.plans)
    asked = settings.steering
    steering = SteeringDesk([await service.enter(ServiceClient(url)) for url in asked.urls], asked.timeout_s)
    await nightly.load()
    issuer = issuer or _issuer(settings.names, folder, clock)
    if issuer is not None:
        service.on_close(issuer.close)
    names = NameDesk(
        desk, settings.names, issuer, _name_server(settings.names, clock), NameMetrics(service.metrics), random.random
    )
    await names.load()

    inside = Routes("Lowtide control plane: appliances and services")
    ApplianceApi(enrolling, reporting, keys, heartbeats, triggers).add_to(inside)
    ServiceApi(desk, keys, triggers, ChangeStream(desk), certificates.origins).add_to(inside)
    route_api = RouteApi(route_desk)
    route_api.add_inside(inside)
    name_api = NameApi(names)
    name_api.add_inside(inside)
    outside = Routes("Lowtide control plane: operators")
    operators = Operators(desk, heartbeats)
    OperatorApi(desk, operators, enrolling, reporting, planning, keys, revocations, names).add_to(outside, operator)
    TriggerApi(triggers).add_to(outside, operator)
    WishApi(pins, prepositions, feeds, nightly).add_to(outside, operator)
    route_api.add_to(outside, operator)
    name_api.add_to(outside, operator)
    PlaysApi(desk, steering).add_to(outside, operator)
    add_pages(
        outside,
        page="operator",
        folders=("operator", "vendor"),
        content_security=CONTENT_SECURITY,
        root=settings.page_dir,
    )

    service.health.add_check("database", desk.database.check)
    http = build_app(outside, metrics=service.metrics, health=service.health, listener="http")
    service.listen(Listener("http", http, Tcp(settings.http.host, settings.http.port)))
    context = server_context(authority.server_files, ClientCertificate.OPTIONAL)
    mtls = build_app(inside, metrics=service.metrics, listener="mtls")
    service.listen(Listener("mtls", mtls, Tcp(settings.mtls.host, settings.mtls.port), context))
    service.background("watch-heartbeats", heartbeats.watch)
    service.background("watch-triggers", triggers.watch)
    service.background("watch-routes", route_desk.watch)
    service.background("nightly-plan", planning.run)
    service.background("watch-losses", planning.watch)
    service.background("watch-prepositions", prepositions.watch)
    service.background("watch-licences", licences.watch)
    service.background("nightly-reports", nightly.watch)
    if settings.names.zone:
        service.background("watch-names", names.watch)


async def _open_desk(service: Service, folder: Path, clock: Clock, lab: LabTime) -> Desk:
    """The record as it was left; who was well then is believed for a while."""
    opening = Database.open(folder / DATABASE, records.metadata, schema_version=records.SCHEMA_VERSION, durable=True)
    database = await service.enter(opening)
    async with database.write() as session:
        starts = await place_archive.add_to_counter(session, place_archive.STARTS)
    async with database.read() as session:
        registry: Registry = await place_archive.load(session)
    registry.believe(clock.monotonic_s())
    get_logger("control_plane").info(
        "record-loaded", sites=len(registry.sites), appliances=len(registry.boxes), titles=len(registry.sizes)
    )
    metrics = ControlPlaneMetrics(service.metrics)
    metrics.plan_number.set(registry.plan.number if registry.plan else 0)
    desk = Desk(database, registry, ChangeLog(starts), metrics, clock, lab)
    if lab.is_lab:
        get_logger("control_plane").warning(
            "lab-time", speed=desk.calendar.speed, shows=desk.calendar.wall_s(), until=lab.meets_at
        )
    desk.count_suspects()
    return desk


def _issuer(settings: NameSettings, folder: Path, clock: Clock) -> Issuer | None:
    """The configured CA; None where none is."""
    if not settings.zone or not settings.acme.directory:
        return None
    # Only here: the library costs a third of a second that a control plane without names need not pay.
    from control_plane.names.acme_orders import AcmeIssuer

    return AcmeIssuer(settings.acme, folder / ACME_KEY, clock)


def _name_server(settings: NameSettings, clock: Clock) -> NameServer | None:
    """Where the configured zone is published. Raises ConfigError where the key cannot be read."""
    dns = settings.dns
    if not settings.zone:
        return None
    if dns.file is not None:
        return ZoneFile(dns.file, Apex(settings.zone, dns.name_servers, dns.hostmaster, dns.ttl_s), dns.reload, clock)
    from control_plane.names.updates import Updates, tsig_key

    key = None
    if dns.key_file is not None:
        try:
            key = tsig_key(dns.key_name, dns.key_file.read_text(encoding="ascii").strip(), dns.key_algorithm)
        except (OSError, ValueError) as error:
            raise ConfigError((f"names.dns.key_file: {error}",)) from error
    return Updates(dns.server, dns.port, settings.zone, dns.ttl_s, key)


def _names(settings: ControlPlaneSettings) -> tuple[str, ...]:
    """The configured names, and the bound address unless it is a wildcard."""
    host = settings.mtls.host
    bound = () if host in ("0.0.0.0", "::") or host in settings.mtls.names else (host,)
    return (*settings.mtls.names, *bound)
