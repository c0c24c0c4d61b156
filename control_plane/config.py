"""Settings of the control plane."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt, Le, MinLen
from typing_extensions import Doc

from chassis.logs import LEVELS
from contracts.hosts import is_host
from contracts.labtime import LabTime
from fill_planner.config import PlannerSettings

NAME = "control-plane"


@dataclass(frozen=True, slots=True)
class Http:
    """The listener of operators and of the operator page."""

    host: Annotated[str, MinLen(1), Doc("IP address to bind; an IPv6 address without brackets.")] = "127.0.0.1"
    port: Annotated[int, Ge(0), Le(65535), Doc("TCP port; 0 takes any free one.")] = 8080


@dataclass(frozen=True, slots=True)
class Mtls:
    """The listener of appliances and services."""

    host: Annotated[str, MinLen(1), Doc("IP address to bind; an IPv6 address without brackets.")] = "127.0.0.1"
    port: Annotated[int, Ge(0), Le(65535), Doc("TCP port; 0 takes any free one.")] = 8443
    names: Annotated[
        tuple[str, ...],
        Doc("Host names and IP addresses that appliances and services dial, put into the server certificate."),
    ] = ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True)
class Certificates:
    """What the local CA signs."""

    valid_days: Annotated[
        float, Gt(0), Le(825), Doc("Days a certificate of an appliance, a service or this listener is valid.")
    ] = 365.0
    media_publishers: Annotated[tuple[str, ...], Doc("Services that may publish keys of media tokens.")] = ("playback",)
    member_publishers: Annotated[tuple[str, ...], Doc("Services that may publish keys of members' tokens.")] = ("auth",)
    origins: Annotated[tuple[str, ...], Doc("Services that may publish titles and the address of an origin.")] = (
        "origin",
    )


@dataclass(frozen=True, slots=True)
class Plans:
    """When plans are made and what is kept."""

    at: Annotated[
        str, Doc("Time of day, HH:MM in UTC, at which tonight's plan is made; empty means only when asked.")
    ] = "01:00"
    keep: Annotated[int, Ge(1), Doc("Plans that are kept with their explanations.")] = 14
    replan_after_s: Annotated[
        float,
        Ge(0.0),
        Doc("Seconds an appliance is suspect, or a disk gone, before its site is planned anew with what is left."),
    ] = 600.0
    report_days: Annotated[int, Ge(1), Doc("Days for which the nightly report of each site is kept.")] = 60
    traffic_days: Annotated[
        int, Ge(1), Le(3660), Doc("Days of traffic per file and hour that are kept; at least planner.history_days.")
    ] = 60

    def __post_init__(self) -> None:
        if self.at and re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", self.at) is None:
            raise ValueError(f"plans.at: {self.at!r} is not a time of day as HH:MM")


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """How routes of sites are taken."""

    hold_s: Annotated[
        float, Ge(0), Doc("Seconds for which the routes of a lost BGP session stand, so that a reset moves nobody.")
    ] = 30.0
    roas_file: Annotated[
        Path | None,
        Doc("Validated RPKI list in JSON, as rpki-client and Routinator write it; read again whenever it changes."),
    ] = None


@dataclass(frozen=True, slots=True)
class AcmeSettings:
    """The CA that public certificates are ordered from (RFC 8555)."""

    directory: Annotated[str, Doc("URL of the CA's directory; empty orders nothing")] = ""
    ca_file: Annotated[
        Path | None,
        Doc("PEM file of the CA that the directory's own certificate comes from; nothing takes the system's"),
    ] = None
    contacts: Annotated[tuple[str, ...], Doc("Mail addresses the CA may write to")] = ()
    terms_agreed: Annotated[bool, Doc("You agree to the CA's terms of service; without it no account is made")] = False
    eab_kid: Annotated[str, Doc("Key id of the external account binding, where the CA wants one")] = ""
    eab_key_file: Annotated[Path | None, Doc("File with its MAC key in base64url")] = None
    timeout_s: Annotated[float, Gt(0), Doc("Time the CA has to look at a challenge, and to sign")] = 90.0

    def __post_init__(self) -> None:
        if self.directory and not self.directory.startswith("https://"):
            raise ValueError(f"directory: {self.directory!r} is not an https URL")
        if self.directory and not self.terms_agreed:
            raise ValueError("terms_agreed: the CA wants it; set it to true when you have read its terms of service")
        if bool(self.eab_kid) != (self.eab_key_file is not None):
            raise ValueError("eab_kid, eab_key_file: the one needs the other")


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """Where the zone is published: in a file, or by updates at a name server. One of both."""

    file: Annotated[Path | None, Doc("Zone file that a name server loads; nothing writes none")] = None
    reload: Annotated[
        tuple[str, ...], Doc("Command and arguments that make the name server load the file; run without a shell")
    ] = ()
    name_servers: Annotated[
        tuple[str, ...], Doc("Host names of the zone's name servers, for the file's NS records")
    ] = ()
    hostmaster: Annotated[str, Doc("Mail address of who looks after the zone, for the file's SOA record")] = ""
    server: Annotated[str, Doc("IP address of a name server that takes updates (RFC 2136); empty sends none")] = ""
    port: Annotated[int, Ge(1), Le(65535), Doc("Its TCP port")] = 53
    key_name: Annotated[str, Doc("Name of the TSIG key; empty signs nothing")] = ""
    key_file: Annotated[Path | None, Doc("File with the key's secret in base64")] = None
    key_algorithm: Annotated[str, Doc("Algorithm of the key (RFC 8945)")] = "hmac-sha256"
    ttl_s: Annotated[int, Ge(1), Le(86400), Doc("How long resolvers may remember an address")] = 60

    def __post_init__(self) -> None:
        if self.file is not None and self.server:
            raise ValueError("file, server: the zone is published in one of both ways")
        if self.file is not None and not (self.name_servers and "@" in self.hostmaster):
            raise ValueError("name_servers, hostmaster: a zone file needs at least one name server and a mail address")
        if not all(text.isascii() for text in (self.hostmaster, *self.name_servers)):
            raise ValueError(
                "name_servers, hostmaster: ASCII only; write other names as DNS has them (xn--…, RFC 5891)"
            )
        if bool(self.key_name) != (self.key_file is not None):
            raise ValueError("key_name, key_file: the one needs the other")
        if self.server:
            ipaddress.ip_address(self.server)


@dataclass(frozen=True, slots=True)
class NameSettings:
    """Public host names of appliances and their certificates (docs/names.md)."""

    zone: Annotated[
        str, Doc("Zone in which every appliance is ID.ZONE, of its own for this purpose; empty manages no names")
    ] = ""
    acme: Annotated[AcmeSettings, Doc("Who signs the certificates")] = field(default_factory=AcmeSettings)
    dns: Annotated[DnsSettings, Doc("Where the zone is published")] = field(default_factory=DnsSettings)
    settle_s: Annotated[
        float,
        Ge(0),
        Doc("Seconds after a challenge is published until the CA is asked to look: secondaries follow in it"),
    ] = 10.0
    first_retry_s: Annotated[float, Gt(0), Doc("Wait after a failed order; it doubles with each failure in a row")] = (
        60.0
    )
    longest_retry_s: Annotated[float, Gt(0), Doc("Longest such wait")] = 6 * 3600.0

    def __post_init__(self) -> None:
        if self.zone and not is_host(self.zone):
            raise ValueError(f"zone: {self.zone!r} is no host name in lower case without a dot at its end")
        if self.zone and self.dns.file is None and not self.dns.server:
            raise ValueError("dns: a zone needs a file or a server to be published")


@dataclass(frozen=True, slots=True)
class SteeringSettings:
    """Whom operators' questions about plays go to."""

    urls: Annotated[
        tuple[str, ...], Doc("Base URLs of the inner listeners of all processes of steering; none: nobody is asked.")
    ] = ()
    timeout_s: Annotated[float, Gt(0), Doc("Longest wait for one of them, in seconds.")] = 25.0


@dataclass(frozen=True, slots=True)
class ControlPlaneSettings:
    """Configuration of `lowtide control-plane run`."""

    state_dir: Annotated[
        Path,
        Doc("Folder of the database, the CA, the digest-signing key and the operator token; only its owner reads."),
    ]
    http: Annotated[Http, Doc("Where operators are served")] = field(default_factory=Http)
    mtls: Annotated[Mtls, Doc("Where appliances and services are served")] = field(default_factory=Mtls)
    certificates: Annotated[Certificates, Doc("What the CA signs, and who may publish what")] = field(
        default_factory=Certificates
    )
    plans: Annotated[Plans, Doc("When plans are made and what is kept")] = field(default_factory=Plans)
    planner: Annotated[PlannerSettings, Doc("How the planner weighs")] = field(default_factory=PlannerSettings)
    routes: Annotated[RouteSettings, Doc("How routes of sites are taken")] = field(default_factory=RouteSettings)
    names: Annotated[NameSettings, Doc("Public host names of appliances")] = field(default_factory=NameSettings)
    steering: Annotated[SteeringSettings, Doc("Whom questions about plays go to")] = field(
        default_factory=SteeringSettings
    )
    page_dir: Annotated[Path | None, Doc("Folder `web` with the operator page; nothing takes the installed one.")] = (
        None
    )
    log_level: Annotated[str, Doc("debug, info, warning, error or critical.")] = "info"
    lab: Annotated[LabTime, Doc("Compressed time, for a laboratory on loopback (docs/decisions/0012)")] = field(
        default_factory=LabTime
    )

    def __post_init__(self) -> None:
        self.lab.refuse_to_leave({"http.host": self.http.host, "mtls.host": self.mtls.host})
        if self.log_level not in LEVELS:
            raise ValueError(f"log_level: {self.log_level!r} is not one of {', '.join(LEVELS)}")
        if self.plans.traffic_days < self.planner.history_days:
            raise ValueError("plans.traffic_days: must be at least planner.history_days")
