"""Settings of playback."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le
from typing_extensions import Doc

from companions.settings import Http


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Where playback's media key becomes known to appliances and origin."""

    url: Annotated[str, Doc("Base URL of the control plane's mutual-TLS listener; empty registers nowhere")] = ""
    code_file: Annotated[
        Path | None, Doc("File with the one-time enrolment code; read when there is no certificate yet")
    ] = None
    folder: Annotated[Path, Doc("Folder where certificate and key are kept after enrolment")] = Path("enrolment")
    name: Annotated[str, Doc("Name of this service in its certificate")] = "playback"
    retry_s: Annotated[float, Gt(0), Doc("Wait between attempts to register the key")] = 2.0
    check_s: Annotated[float, Gt(0), Doc("How often it is checked that the key is still known")] = 60.0


@dataclass(frozen=True, slots=True)
class Public:
    """Addresses as players and browsers reach them. Empty ones are the same as those inside."""

    playback_url: Annotated[str, Doc("Base URL of this service; empty is the listening address")] = ""
    auth_url: Annotated[str, Doc("Base URL of auth; empty is auth_url")] = ""
    catalog_url: Annotated[str, Doc("Base URL of the catalog; empty is catalog_url")] = ""
    recommendation_url: Annotated[str, Doc("Base URL of recommendation, for the viewer page")] = ""
    origin_url: Annotated[str, Doc("Base URL of the origin's media, the last resort; empty is origin_url")] = ""
    steering_url: Annotated[str, Doc("Base URL of steering, for players that are steered; empty is steering_url")] = ""
    regions: Annotated[tuple[str, ...], Doc("ISO 3166 codes that the sign-up form offers")] = ("DE", "FR", "US")


@dataclass(frozen=True, slots=True)
class DemoPlace:
    name: Annotated[str, Doc("What the picker shows")]
    address: Annotated[str, Doc("An IP address inside the network")]

    def __post_init__(self) -> None:
        ipaddress.ip_address(self.address)


@dataclass(frozen=True, slots=True)
class Demo:
    """For demonstrations on one machine: a browser may say in which network it is."""

    allow_demo_network: Annotated[
        bool, Doc("Believe the network that a profile names instead of the connection's address; never in production")
    ] = False
    networks: Annotated[tuple[DemoPlace, ...], Doc("What the viewer page offers to pick from")] = ()


@dataclass(frozen=True, slots=True)
class Sessions:
    heartbeat_s: Annotated[float, Gt(0), Doc("How often players say where they are")] = 10.0
    ttl_s: Annotated[float, Gt(0), Doc("A session without a heartbeat for so long counts as no stream")] = 30.0
    token_extra_s: Annotated[
        float,
        Gt(0),
        Doc("How long a session and its media tokens are good beyond the title's duration, from play or renewal"),
    ] = 43200.0
    token_s: Annotated[
        float,
        Ge(0),
        Doc("How long one media token is good at most, so that players renew it; 0: as long as its session"),
    ] = 0.0
    token_format: Annotated[
        Literal["jwt", "cat"], Doc("How media tokens are written: jwt (RFC 9246) or cat (CTA-5007); both open the same")
    ] = "jwt"
    keep_s: Annotated[float, Gt(0), Doc("How long ended sessions stay in the database")] = 86400.0

    def __post_init__(self) -> None:
        if self.ttl_s <= self.heartbeat_s:
            raise ValueError("sessions.ttl_s: must be above heartbeat_s, or running players are taken for gone")


@dataclass(frozen=True, slots=True)
class Asking:
    """Patience with catalog, steering and origin, and what is remembered for when they are away."""

    catalog_timeout_s: Annotated[float, Gt(0), Doc("How long the catalog may take to answer")] = 1.5
    steering_timeout_s: Annotated[float, Gt(0), Doc("How long steering may take to answer")] = 0.8
    pause_s: Annotated[float, Ge(0), Doc("How long a service that failed is not asked again")] = 1.0
    title_fresh_s: Annotated[float, Ge(0), Doc("How long a title's details count as fresh")] = 15.0
    titles: Annotated[int, Ge(1), Doc("Titles remembered for when the catalog is away")] = 2000
    rankings: Annotated[int, Ge(1), Doc("Rankings remembered, by network and title")] = 20_000
    origin_timeout_s: Annotated[float, Gt(0), Doc("How long the origin may take to give a packaged manifest")] = 1.5
    manifests: Annotated[int, Ge(1), Doc("Packaged manifests remembered, of DASH and of HLS each")] = 1000


@dataclass(frozen=True, slots=True)
class Popularity:
    half_life_s: Annotated[float, Gt(0), Doc("After so long a play counts half")] = 3 * 86400.0
    repeat_s: Annotated[float, Ge(0), Doc("A profile's second play of a title within this time counts no more")] = (
        3600.0
    )
    titles: Annotated[int, Ge(1), Le(10_000), Doc("Titles in an answer")] = 100


@dataclass(frozen=True, slots=True)
class Log:
    """The playback log: JSON lines, rotated."""

    file: Annotated[Path | None, Doc("File of the playback log; nothing writes none")] = None
    rotate_bytes: Annotated[int, Ge(1024), Doc("A file of this size is put aside")] = 64 * 1024 * 1024
    keep_files: Annotated[int, Ge(1), Doc("Files kept, the current one included")] = 8


@dataclass(frozen=True, slots=True)
class Playback:
    """Configuration of `lowtide companions run playback`."""

    database: Annotated[Path, Doc("SQLite file of sessions, positions and play counts")]
    key_file: Annotated[Path, Doc("Private key that signs media tokens; made there with mode 0600 when missing")]
    auth_url: Annotated[str, Doc("Base URL of auth, for the keys of access tokens")]
    catalog_url: Annotated[str, Doc("Base URL of the catalog")]
    steering_url: Annotated[str, Doc("Base URL of steering")]
    origin_url: Annotated[str, Doc("Base URL of the origin's media for players: the last resort")]
    content_steering: Annotated[
        bool, Doc("Name steering in manifests, so that it can move players while they play")
    ] = True
    media_scheme: Annotated[Literal["http", "https"], Doc("Scheme of the delivery service")] = "http"
    http: Annotated[Http, Doc("Where it listens")] = field(default_factory=Http)
    public: Annotated[Public, Doc("Addresses as seen from outside")] = field(default_factory=Public)
    control_plane: Annotated[ControlPlane, Doc("Where the media key is registered")] = field(
        default_factory=ControlPlane
    )
    sessions: Annotated[Sessions, Doc("Streams and heartbeats")] = field(default_factory=Sessions)
    asking: Annotated[Asking, Doc("Patience with other services")] = field(default_factory=Asking)
    popularity: Annotated[Popularity, Doc("How plays fade")] = field(default_factory=Popularity)
    log: Annotated[Log, Doc("The playback log")] = field(default_factory=Log)
    demo: Annotated[Demo, Doc("Demonstrations on one machine")] = field(default_factory=Demo)

    def __post_init__(self) -> None:
        if self.http.host in ("0.0.0.0", "::") and not self.public.playback_url:
            raise ValueError("public.playback_url: must be set where http.host is a wildcard: manifests would name it")
