"""Settings of the control plane."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt, Le, MinLen
from typing_extensions import Doc

from chassis.logs import LEVELS
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
