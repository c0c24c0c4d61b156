"""Settings of steering."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt, Le, MinLen
from typing_extensions import Doc

from chassis.https import Https
from chassis.logs import LEVELS
from contracts.content_steering import LONGEST_TTL_S
from steering.ladder import USUAL, Cdn, Ladder, Rung, problem_of

NAME = "steering"


@dataclass(frozen=True, slots=True)
class Http:
    """Where rankings are asked for."""

    host: Annotated[str, MinLen(1), Doc("IP address to bind; an IPv6 address without brackets.")] = "127.0.0.1"
    port: Annotated[int, Ge(0), Le(65535), Doc("TCP port; 0 takes any free one.")] = 8090


@dataclass(frozen=True, slots=True)
class Viewer:
    """A listener for running players alone: all that `http` answers beside `/v1/steering/` is for services inside."""

    enabled: Annotated[bool, Doc("Whether there is one; else players have to reach `http`.")] = False
    host: Annotated[str, MinLen(1), Doc("IP address to bind; an IPv6 address without brackets.")] = "127.0.0.1"
    port: Annotated[int, Ge(0), Le(65535), Doc("TCP port; 0 takes any free one.")] = 8095


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Where the world comes from, and how this service gets its certificate."""

    url: Annotated[str, MinLen(1), Doc("Base URL of the control plane's mutual-TLS listener.")]
    code_file: Annotated[
        Path | None, Doc("File with the one-time enrolment code; read when there is no certificate yet.")
    ] = None
    patience_s: Annotated[float, Gt(0), Doc("How long to wait for the control plane when enrolling, in seconds.")] = (
        60.0
    )
    silent_after_s: Annotated[
        float, Gt(0), Doc("Seconds without a line after which the change stream counts as broken.")
    ] = 3.0
    longest_wait_s: Annotated[float, Gt(0), Doc("Longest wait between two attempts to connect, in seconds.")] = 5.0


@dataclass(frozen=True, slots=True)
class SiteOverflow:
    """The ladder of one site."""

    site: Annotated[str, MinLen(1), Doc("Id of the clients' own site.")]
    rungs: Annotated[
        tuple[Rung, ...],
        Doc("Where its clients go when it has no room, in order: sibling, peering, tier, then origin, cdn."),
    ]

    def __post_init__(self) -> None:
        _check_rungs(f"overflow of site {self.site}", self.rungs)


@dataclass(frozen=True, slots=True)
class CommercialCdn:
    """A CDN that is not ours. It has to take our URLs with their tokens, and fetch from the origin by itself."""

    name: Annotated[str, MinLen(1), Doc("What operators call it.")]
    url: Annotated[str, MinLen(8), Doc("Base URL for players.")]


@dataclass(frozen=True, slots=True)
class Overflow:
    """Where clients go when their own sites have no room."""

    usual: Annotated[
        tuple[Rung, ...],
        Doc("The rungs of sites that have none of their own, in order: sibling, peering, tier, then origin, cdn."),
    ] = USUAL
    sites: Annotated[tuple[SiteOverflow, ...], Doc("Sites with rungs of their own")] = ()
    cdns: Annotated[tuple[CommercialCdn, ...], Doc("What the rung cdn stands for, in order")] = ()

    def __post_init__(self) -> None:
        _check_rungs("overflow.usual", self.usual)

    def ladder(self) -> Ladder:
        return Ladder(
            self.usual,
            {site.site: site.rungs for site in self.sites},
            tuple(Cdn(cdn.name, cdn.url) for cdn in self.cdns),
        )


@dataclass(frozen=True, slots=True)
class Reserving:
    """What plays that have just been handed out count before reports show them."""

    play_bps: Annotated[float, Ge(0), Doc("What a play takes on average, in bits per second.")] = 5_000_000.0
    fade_s: Annotated[
        float, Gt(0), Doc("Time constant, in seconds, by which what no report ever showed is forgotten.")
    ] = 20.0
    processes: Annotated[
        int, Ge(1), Doc("Steering processes that share the plays evenly: each counts its own for the others too.")
    ] = 1


@dataclass(frozen=True, slots=True)
class DecisionLog:
    """The steering log: one line a decision."""

    enabled: Annotated[bool, Doc("Whether decisions are written, and kept to be explained later.")] = True
    ipv4_bits: Annotated[int, Ge(0), Le(32), Doc("How far IPv4 addresses are cut before anything is kept of them.")] = (
        24
    )
    ipv6_bits: Annotated[
        int, Ge(0), Le(128), Doc("How far IPv6 addresses are cut before anything is kept of them.")
    ] = 48
    file_bytes: Annotated[int, Ge(65536), Doc("Size in bytes at which a file is complete.")] = 64 * 1024 * 1024
    file_s: Annotated[float, Gt(0), Doc("Age in seconds at which a file is complete.")] = 3600.0
    files: Annotated[int, Ge(1), Doc("How many complete files are kept.")] = 256
    keep_s: Annotated[float, Ge(3600), Doc("How long a complete file is kept, in seconds.")] = 86_400.0
    memory_bytes: Annotated[
        int, Ge(0), Doc("Lines kept in memory for explanations, in bytes; older ones are read from the files.")
    ] = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ContentSteering:
    """How running sessions are steered."""

    public_url: Annotated[
        str, Doc("Base URL at which players reach this service; empty takes the one that each of them asked.")
    ] = ""
    key_file: Annotated[
        Path | None,
        Doc("Keys that seal sessions, one a line; made when missing. Nothing: session.keys in state_dir."),
    ] = None
    ttl_s: Annotated[int, Ge(1), Le(LONGEST_TTL_S), Doc("Seconds after which a session asks again.")] = 60
    trouble_ttl_s: Annotated[
        int, Ge(1), Le(LONGEST_TTL_S), Doc("The same while one of its places is in trouble, or it was just moved.")
    ] = 10
    slow_move_s: Annotated[
        int, Ge(1), Doc("Seconds in which a session whose player reports too little is moved once at most for it.")
    ] = 120
    follow_clients: Annotated[
        bool, Doc("Move sessions whose players ask from a network that another site announces.")
    ] = True
    trusted_proxies: Annotated[
        tuple[str, ...], Doc("Networks of reverse proxies whose X-Forwarded-For is believed, in CIDR notation.")
    ] = ()
    cors_origins: Annotated[tuple[str, ...], Doc("Origins of pages whose players may ask; * for all.")] = ("*",)

    def __post_init__(self) -> None:
        for network in self.trusted_proxies:
            ipaddress.ip_network(network)
        if self.trouble_ttl_s > self.ttl_s:
            raise ValueError("content_steering.trouble_ttl_s: must not be above ttl_s: trouble is looked at more often")


@dataclass(frozen=True, slots=True)
class SteeringSettings:
    """Configuration of `lowtide steering run`."""

    state_dir: Annotated[Path, Doc("Folder of the certificate and of the last world.")]
    control_plane: Annotated[ControlPlane, Doc("Where the world comes from")]
    http: Annotated[Http, Doc("Where rankings are asked for")] = field(default_factory=Http)
    https: Annotated[Https, Doc("A second door of `viewer`, by TLS; needs viewer.enabled")] = field(
        default_factory=Https
    )
    viewer: Annotated[Viewer, Doc("Where running players ask, and nobody can ask for anything else")] = field(
        default_factory=Viewer
    )
    save_every_s: Annotated[float, Gt(0), Doc("Seconds between two saves of the world, when it has changed.")] = 5.0
    save_routes_every_s: Annotated[
        float, Gt(0), Doc("Seconds between two saves of the routes, when they have changed.")
    ] = 60.0
    unhealthy_below: Annotated[float, Ge(0.0), Le(1.0), Doc("Score under which an appliance is no candidate.")] = 0.3
    overloaded_from: Annotated[
        float, Gt(0.0), Doc("Reported load (1 is its whole egress) from which an appliance is no candidate.")
    ] = 0.95
    load_factor: Annotated[
        float, Gt(1.0), Doc("How far over its cluster's mean load an appliance may be before others go first.")
    ] = 1.2
    spill_from: Annotated[
        float, Gt(0.0), Doc("Load (1 is its whole egress) from which an appliance goes behind everybody with room.")
    ] = 0.85
    slow_start_s: Annotated[
        float, Gt(0.0), Doc("Seconds in which an appliance that came back grows to its whole share of plays.")
    ] = 60.0
    reserving: Annotated[Reserving, Doc("What plays just handed out count")] = field(default_factory=Reserving)
    overflow: Annotated[Overflow, Doc("Where clients go when their own sites have no room")] = field(
        default_factory=Overflow
    )
    content_steering: Annotated[ContentSteering, Doc("How running sessions are steered")] = field(
        default_factory=ContentSteering
    )
    decision_log: Annotated[DecisionLog, Doc("The steering log")] = field(default_factory=DecisionLog)
    log_level: Annotated[str, Doc("debug, info, warning, error or critical.")] = "info"

    def __post_init__(self) -> None:
        if self.log_level not in LEVELS:
            raise ValueError(f"log_level: {self.log_level!r} is not one of {', '.join(LEVELS)}")
        if self.https.host and not self.viewer.enabled:
            raise ValueError(
                "https: is a door of `viewer`: set viewer.enabled, or players would reach what `http` answers operators"
            )
        if self.spill_from >= self.overloaded_from:
            raise ValueError(
                "spill_from: must be below overloaded_from, or nobody is ever sent elsewhere before it is too late"
            )


def _check_rungs(where: str, rungs: tuple[Rung, ...]) -> None:
    problem = problem_of(rungs)
    if problem is not None:
        raise ValueError(f"{where}: {problem}")
