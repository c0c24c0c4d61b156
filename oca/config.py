"""Settings of an appliance: checked by the supervisor (and `lowtide oca`), handed to workers and keeper as JSON.

Plain frozen dataclasses: `chassis.config` checks them with all problems at once, msgspec decodes them in the children.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Annotated, Literal
from urllib.parse import urlsplit

from annotated_types import Ge, Gt, Le
from typing_extensions import Doc

from contracts.labtime import LabTime

EXTENT_STEP_BYTES = 262_144
"""A block: extents hold whole ones."""
_SERVICE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_HOST = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NEVER_PASSED = frozenset(
    (
        "cdn-loop", "connection", "content-length", "expect", "host", "if-range", "keep-alive", "range", "te", "trailer",
        "transfer-encoding", "upgrade", "via",
    )
)  # fmt: skip
"""Fields that belong to one connection, or that are made anew for each upstream."""
LONGEST_SOCKET_PATH = 100
"""The kernel takes 107 bytes; the socket is made under a longer name and renamed."""


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to accept connections on."""

    host: Annotated[str, Doc("IP address to bind; an IPv6 address without brackets")] = "127.0.0.1"
    port: Annotated[int, Ge(0), Le(65535), Doc("TCP port; 0 takes any free one")] = 0


@dataclass(frozen=True, slots=True)
class Listener:
    """One more place where players connect: an IP address and port, or a Unix socket."""

    host: Annotated[str, Doc("IP address to bind; an IPv6 address without brackets; empty for a Unix socket")] = ""
    port: Annotated[int, Ge(0), Le(65535), Doc("TCP port; 0 takes any free one")] = 0
    path: Annotated[str, Doc("Absolute path of a Unix socket (made at start, mode 0660) instead of host and port")] = ""
    tls: Annotated[bool, Doc("TLS 1.2 and 1.3 with the certificates of serving.tls")] = False

    def __post_init__(self) -> None:
        if bool(self.host) == bool(self.path):
            raise ValueError("either host or path has to be given")
        if self.path and (not self.path.startswith("/") or len(self.path.encode()) > LONGEST_SOCKET_PATH):
            raise ValueError(f"path: must be absolute and at most {LONGEST_SOCKET_PATH} bytes long")


@dataclass(frozen=True, slots=True)
class Certificate:
    """What one group of host names is proven with."""

    cert: Annotated[str, Doc("PEM file with the certificate and the chain that leads to a trusted authority")]
    key: Annotated[str, Doc("PEM file with its private key, not encrypted")]


@dataclass(frozen=True, slots=True)
class PlayerTls:
    """How listeners with `tls` prove who they are. Changed files are loaded within a second, no connection is dropped."""

    certificates: Annotated[
        tuple[Certificate, ...],
        Doc("Chosen by the name that a player asks for (SNI); the first is for all other names"),
    ] = ()
    folder: Annotated[
        str,
        Doc("Folder of further ones, NAME.crt beside NAME.key in the order of their names; looked at once a second"),
    ] = ""
    ticket_rotation_s: Annotated[
        float, Ge(60), Doc("Life of the keys that session tickets are sealed with; older sessions begin anew")
    ] = 43_200.0


@dataclass(frozen=True, slots=True)
class PublicNames:
    """The public host name that the control plane has for this box (docs/names.md)."""

    managed: Annotated[bool, Doc("Make a key, have its certificate ordered, show it on listeners with TLS")] = False
    addresses: Annotated[
        tuple[str, ...], Doc("IP addresses published for the name; empty: those of the listeners with TLS")
    ] = ()
    port: Annotated[int, Ge(0), Le(65535), Doc("TCP port players dial; 0: of the first listener with TLS")] = 0

    def __post_init__(self) -> None:
        for address in self.addresses:
            if not _address_version(address):
                raise ValueError(f"addresses: {address!r} is no IP address")


@dataclass(frozen=True, slots=True)
class Disk:
    path: Annotated[str, Doc("Folder of this disk, on its own filesystem in production")]
    quota_bytes: Annotated[int, Ge(1 << 20), Doc("Space that extents may take on this disk, in bytes")]
    weight: Annotated[float, Gt(0), Doc("Share of extents relative to the other disks")] = 1.0
    storage_class: Annotated[
        Literal["hot", "cold"],
        Doc(
            "hot (flash): small files, and what is used much; cold (large): all else. One class alone holds everything"
        ),
    ] = "cold"


@dataclass(frozen=True, slots=True)
class Admission:
    """Who gets a lasting place. The rest is stored too, but goes first (docs/eviction.md). Extents that a plan pins are not asked about."""

    rule: Annotated[
        Literal["all", "second-request", "frequent"],
        Doc(
            "Everything; what is asked for again while it is remembered; what is asked for often lately, larger files oftener"
        ),
    ] = "all"
    max_share: Annotated[float, Gt(0), Le(1), Doc("Share of a disk beyond which one file never lasts")] = 1.0
    remembered: Annotated[int, Ge(16), Doc("Extents per disk whose requests are remembered")] = 100_000
    requests: Annotated[
        int, Ge(1), Le(15), Doc("Requests that `frequent` wants of an extent of a file of usual size")
    ] = 2
    usual_bytes: Annotated[
        int, Ge(1), Doc("File size up to which that is so; each doubling beyond it wants one request more")
    ] = 1 << 30
    passing_share: Annotated[
        float, Ge(0), Le(0.5), Doc("Share of a disk for what does not last; beyond it such extents go first")
    ] = 1 / 64
    short_life_s: Annotated[float, Ge(0), Doc("What is fresh for less than this does not last")] = 60.0


@dataclass(frozen=True, slots=True)
class Store:
    disks: Annotated[tuple[Disk, ...], Doc("The disks of this appliance")]
    extent_bytes: Annotated[
        int, Ge(256 * 1024), Doc("Length of an extent file in bytes, a multiple of 262144; fixed when a disk is made")
    ] = 32 * 1024 * 1024
    index_map_bytes: Annotated[
        int, Ge(1 << 20), Doc("Size of each disk's index map, a memory budget of about 600 B per expected extent")
    ] = 64 * 1024 * 1024
    cache_share: Annotated[
        float, Ge(0), Le(1), Doc("Share of the quota kept for what no plan pinned (pull-through cache)")
    ] = 0.15
    spare_disks: Annotated[
        int,
        Ge(0),
        Le(32),
        Doc("Disks that may be added while the appliance runs (lowtide oca disk add), 40 with the others"),
    ] = 4
    move_bytes_per_s: Annotated[
        int, Ge(1 << 20), Doc("What is moved between disks at most (drain, promotion), all together")
    ] = 64 * 1024 * 1024
    promote_bytes_per_minute: Annotated[
        int, Ge(0), Doc("What is written to hot disks at most because it is used much; 0 promotes nothing")
    ] = 1024 * 1024 * 1024
    policy: Annotated[Literal["lru", "sieve", "s3fifo"], Doc("Eviction policy of the unpinned part")] = "lru"
    high_mark: Annotated[
        float,
        Ge(0.5),
        Le(1),
        Doc(
            "Used share of a disk's space from which extents are evicted ahead of need, so that fills find a reserve; at least "
            "four extents stay free where that is no more than an eighth; 1 evicts only when needed"
        ),
    ] = 0.985
    low_mark: Annotated[float, Ge(0.5), Le(1), Doc("Used share down to which evicting ahead goes")] = 0.98
    admission: Annotated[Admission, Doc("Who gets a lasting place in the unpinned part")] = field(
        default_factory=Admission
    )
    batch_blocks: Annotated[
        int, Ge(1), Doc("Written blocks after which a batch is made durable, at most a second later")
    ] = 64

    scrub_bytes_per_s: Annotated[
        int, Ge(0), Doc("What scrub reads of each disk per second while nothing is written; a round a day; 0 for none")
    ] = 16_777_216
    verify_reads: Annotated[
        float,
        Ge(0),
        Le(1),
        Doc(
            "Share of windows read from a disk whose blocks are compared with their check bytes before they are sent; what is in "
            "memory already is not read. Less saves 43 µs of processor per block, and reads of parts of blocks"
        ),
    ] = 1.0

    def __post_init__(self) -> None:
        if not self.disks:
            raise ValueError("disks: at least one is needed")
        if self.extent_bytes % EXTENT_STEP_BYTES:
            raise ValueError(f"extent_bytes: {self.extent_bytes} is not a multiple of {EXTENT_STEP_BYTES}")
        if self.low_mark > self.high_mark:
            raise ValueError(f"low_mark: {self.low_mark} lies above high_mark {self.high_mark}")


@dataclass(frozen=True, slots=True)
class Pacing:
    """Sending a player what it can use, instead of all at once. Only to players that say what that is, and have a healthy buffer."""

    enabled: Annotated[bool, Doc("Pace by CMCD; false sends as fast as the network takes it")] = True
    factor: Annotated[
        float, Ge(1.2), Doc("Pace as a multiple of what a player can use (CMCD rtp) and of its best rendition (tb)")
    ] = 1.5
    floor_bps: Annotated[int, Ge(1_000_000), Doc("Nobody is paced below this, in bits per second")] = 8_000_000
    healthy_buffer_s: Annotated[float, Gt(0), Doc("Buffer (CMCD bl) from which a player is paced")] = 8.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """Where new sessions are shed, and what one session or one client network may take. Counts are per worker unless said otherwise."""

    sessions: Annotated[
        int, Ge(1), Doc("Sessions served at once by the whole appliance; one on two workers counts twice")
    ] = 50_000
    session_connections: Annotated[int, Ge(1), Doc("Connections of one session; a player has about six")] = 64
    network_connections: Annotated[int, Ge(1), Doc("Connections from one client network (/24, /48)")] = 4_000
    shared_networks: Annotated[
        tuple[str, ...],
        Doc("Prefixes in which many clients share addresses (CGNAT, proxies): their networks are not counted"),
    ] = ("100.64.0.0/10", "127.0.0.0/8", "::1/128")
    lag_s: Annotated[float, Gt(0), Doc("Lateness of the event loop, for seconds, at which new sessions are shed")] = (
        0.25
    )
    connection_share: Annotated[float, Gt(0), Le(1), Doc("Share of max_connections at which new sessions are shed")] = (
        0.95
    )
    egress_share: Annotated[float, Gt(0), Le(1), Doc("Share of egress_bps at which new sessions are shed")] = 0.95
    disk_queue: Annotated[int, Ge(1), Doc("Reads waiting for one disk at which new sessions are shed")] = 256

    def __post_init__(self) -> None:
        """Prefixes are named one by one."""
        for prefix in self.shared_networks:
            try:
                ipaddress.ip_network(prefix)
            except ValueError as error:
                raise ValueError(f"shared_networks: {error}") from error


@dataclass(frozen=True, slots=True)
class Serving:
    workers: Annotated[int, Ge(1), Le(256), Doc("Worker processes, one per core")] = 2
    media: Annotated[Listen, Doc("Where players connect")] = field(default_factory=Listen)
    peers: Annotated[
        Listen, Doc("Where other appliances connect, by mutual TLS; an address that they can dial, no wildcard")
    ] = field(default_factory=Listen)
    peer_misses: Annotated[
        bool,
        Doc(
            "Peers get what their players miss, too; without it only what a fill credential of the control plane names"
        ),
    ] = True
    listeners: Annotated[tuple[Listener, ...], Doc("Where players connect besides media, plain or by TLS")] = ()
    tls: Annotated[PlayerTls, Doc("Certificates of the listeners with TLS")] = field(default_factory=PlayerTls)
    names: Annotated[PublicNames, Doc("The public host name of this box")] = field(default_factory=PublicNames)
    hosts: Annotated[
        tuple[str, ...],
        Doc("Host names (with port) of the delivery service, told to players; empty tells and accepts media's address"),
    ] = ()
    cors_origins: Annotated[tuple[str, ...], Doc("Origins of pages that may play from here; * for all")] = ("*",)
    trusted_networks: Annotated[
        tuple[str, ...],
        Doc("Networks (CIDR) whose clients are told how an answer was made: details in Cache-Status, Server-Timing"),
    ] = ()
    max_connections: Annotated[int, Ge(1), Doc("Connections one worker holds at most")] = 20_000
    header_timeout_s: Annotated[float, Gt(0), Doc("Time a client has to send a request's header")] = 10.0
    idle_timeout_s: Annotated[float, Gt(0), Doc("Time an idle connection is kept")] = 75.0
    send_timeout_s: Annotated[
        float, Gt(0), Doc("Time without any acknowledged byte after which a client is dropped")
    ] = 60.0
    retire_s: Annotated[
        float, Gt(0), Doc("Time a worker that is being replaced has to finish its connections, idle ones included")
    ] = 90.0
    first_byte_s: Annotated[float, Gt(0), Doc("How long a miss waits for its first block")] = 3.0
    stall_s: Annotated[float, Gt(0), Doc("How long a miss waits for each further block")] = 10.0
    cmsd: Annotated[
        bool,
        Doc("Say in answers what is known of their delivery (CMSD-Dynamic: etp, mb, rd, rtt); players may adapt by it"),
    ] = False
    egress_bps: Annotated[
        int, Ge(0), Doc("What all workers together send at most, in bits of bodies per second; 0 for no cap")
    ] = 0
    hints_per_s: Annotated[
        int, Ge(0), Doc("Prefetch hints of players (CMCD nor, nrr) that one worker looks at per second; 0 for none")
    ] = 50
    pacing: Annotated[Pacing, Doc("Pacing of players")] = field(default_factory=Pacing)
    capacity: Annotated[Capacity, Doc("Limits and shedding")] = field(default_factory=Capacity)

    def __post_init__(self) -> None:
        """What others are told to dial must be an address that can be dialled, and a network a network."""
        for network in self.trusted_networks:
            if not _is_network(network):
                raise ValueError(f"trusted_networks: {network} is no network in CIDR notation, such as 192.0.2.0/24")
        if not self.hosts and _is_wildcard(self.media.host):
            raise ValueError(f"hosts: needed when media.host is {self.media.host}, which players cannot dial")
        for number, listener in enumerate(self.listeners):
            named = listener.tls and self.names.managed and self.names.addresses
            if not self.hosts and _is_wildcard(listener.host) and not named:
                raise ValueError(
                    f"hosts: needed when listeners[{number}].host is {listener.host}, which players cannot dial"
                )
            if listener.tls and not (self.tls.certificates or self.tls.folder or self.names.managed):
                raise ValueError(f"tls: listeners[{number}] needs certificates or a folder of them, or names.managed")
        if self.names.managed and not any(listener.tls for listener in self.listeners):
            raise ValueError("names.managed: a public name needs a listener with tls")
        if _is_wildcard(self.peers.host):
            raise ValueError(
                f"peers.host: name the address that other appliances dial; nobody can dial {self.peers.host}"
            )


@dataclass(frozen=True, slots=True)
class AccessLogging:
    """The access log (docs/access-log.md)."""

    access: Annotated[bool, Doc("Write an access log")] = True
    folder: Annotated[str, Doc("Folder of the access log; empty: `logs` in state_dir")] = ""
    format: Annotated[
        Literal["json", "parquet", "both"],
        Doc("What complete files are kept as: JSON lines, Parquet (converted beside the service), or both"),
    ] = "json"
    sample: Annotated[float, Ge(0), Le(1), Doc("Share of sessions that are written, each in full")] = 1.0
    ipv4_bits: Annotated[
        int, Ge(0), Le(32), Doc("Length that clients' IPv4 addresses are cut to; 32 keeps them whole")
    ] = 24
    ipv6_bits: Annotated[
        int, Ge(0), Le(128), Doc("Length that clients' IPv6 addresses are cut to; 128 keeps them whole")
    ] = 48
    file_bytes: Annotated[int, Ge(4096), Doc("Size at which a file is complete and the next one begins")] = 128 << 20
    file_s: Annotated[float, Gt(0), Doc("Age at which a file is complete, whatever its size")] = 3600.0
    files: Annotated[int, Ge(1), Doc("Complete files that are kept; with file_bytes the bound of the folder")] = 24


@dataclass(frozen=True, slots=True)
class ControlPlane:
    url: Annotated[str, Doc("Base URL of the control plane's mutual-TLS listener")]
    code_file: Annotated[str, Doc("File with the one-time enrolment code; read when there is no certificate yet")] = ""
    report_s: Annotated[float, Gt(0), Doc("Time between reports")] = 5.0
    heartbeat_s: Annotated[float, Gt(0), Doc("Time between heartbeats")] = 1.0
    max_offline_s: Annotated[
        float, Gt(0), Doc("Time without the control plane after which only tokens issued before that open anything")
    ] = 86_400.0
    stale_s: Annotated[
        float,
        Ge(0),
        Doc(
            "How long what was invalidated is still served while the control plane cannot be asked whether it is current; then it goes. 0: not at all"
        ),
    ] = 86_400.0
    strict_offline: Annotated[bool, Doc("After max_offline_s no token opens anything, whenever it was issued")] = False


@dataclass(frozen=True, slots=True)
class Fetching:
    """How the keeper asks peers, tiers and the origin."""

    connect_s: Annotated[float, Gt(0), Doc("Time to connect to a source before the next one is asked")] = 1.0
    first_byte_s: Annotated[
        float, Gt(0), Doc("Time a source has to begin its answer, connecting included; the last one has stall_s")
    ] = 2.0
    stall_s: Annotated[float, Gt(0), Doc("Silence between bytes after which a source is given up")] = 5.0
    request_s: Annotated[
        float,
        Gt(0),
        Doc("Time one request to a source may take in all, however steadily it sends; what is left is asked for again"),
    ] = 30.0
    hedge_s: Annotated[
        float,
        Ge(0),
        Doc(
            "Least time without a first byte after which a second source is asked beside the first, for clients; 0 asks none"
        ),
    ] = 0.25
    hedge_far_s: Annotated[
        float,
        Ge(0),
        Doc(
            "Least time without a first byte of a peer of the same site after which a source outside it is asked beside the peer, for clients: its bytes cross the border"
        ),
    ] = 1.0
    retry_share: Annotated[
        float,
        Ge(0),
        Doc("Further requests (after failures, and hedges) per request that sources get at most, besides 2 a second"),
    ] = 0.2
    client_fetches: Annotated[int, Ge(1), Doc("Fetches for clients at once per source")] = 16
    fill_fetches: Annotated[int, Ge(1), Doc("Fetches for fill orders at once per source")] = 4
    prefetches: Annotated[int, Ge(0), Doc("Prefetch hints followed at once; 0 follows none")] = 2
    fill_orders: Annotated[int, Ge(1), Doc("Fill orders worked on at once")] = 3
    passing: Annotated[
        int,
        Ge(1),
        Doc("Exchanges that pass through at once without being stored, each with up to 1 MiB in flight each way"),
    ] = 256


@dataclass(frozen=True, slots=True)
class PullService:
    """A delivery service whose objects come from an HTTP upstream under RFC 9111 (docs/pull-through.md)."""

    name: Annotated[str, Doc("Name in keys, logs and metrics: lower case, digits, hyphens, at most 32; not vod")]
    hosts: Annotated[tuple[str, ...], Doc("Host names (with port) that select this service, disjoint from all others")]
    upstreams: Annotated[
        tuple[str, ...],
        Doc("Base URLs in the order they are asked; what they share is the resource, each has all of it"),
    ]
    query_parameters: Annotated[
        tuple[str, ...],
        Doc("Query parameters that are part of the key and go upstream; * for all. CMCD never does"),
    ] = ("*",)
    request_fields: Annotated[
        tuple[str, ...],
        Doc(
            "Request header fields that go upstream with what may be stored; one that changes answers has to be in Vary"
        ),
    ] = ("accept", "accept-encoding", "accept-language", "authorization")
    max_object_bytes: Annotated[int, Ge(0), Doc("A longer answer is passed on and not stored")] = 64 << 30
    max_unsized_bytes: Annotated[
        int,
        Ge(0),
        Le(64 << 20),
        Doc("An answer that does not say its length is held in memory up to here, then passed on and not stored"),
    ] = 4 << 20
    max_request_bytes: Annotated[
        int, Ge(0), Doc("Longest body of a request that is forwarded; a longer one is 413")
    ] = 1 << 30
    negative_ttl_s: Annotated[
        float,
        Ge(0),
        Le(3600),
        Doc("How long 404, 405, 410 and 414 are fresh where they do not say; 0 stores none such"),
    ] = 5.0
    server_error_ttl_s: Annotated[
        float,
        Ge(0),
        Le(60),
        Doc(
            "How long 500, 502, 503 and 504 are answered again where they do not say; 0 stores none such, as RFC 9111 §3 wants"
        ),
    ] = 0.0
    heuristic_ceiling_s: Annotated[
        float, Ge(0), Doc("Longest freshness guessed from Last-Modified (a tenth of its age); 0 guesses none")
    ] = 86_400.0
    stale_while_revalidate_s: Annotated[
        float, Ge(0), Doc("As if each answer said it, where it does not: stale at once, fetched behind it")
    ] = 0.0
    stale_if_error_s: Annotated[
        float, Ge(0), Doc("As if each answer said it, where it does not: stale while no upstream gives an answer")
    ] = 0.0

    def __post_init__(self) -> None:
        """A name that keys can carry, hosts and base URLs that are some."""
        if _SERVICE_NAME.fullmatch(self.name) is None or self.name == "vod":
            raise ValueError(f"name: {self.name!r} is none; lower case letters, digits and hyphens, and not vod")
        for host in self.hosts:
            if _HOST.fullmatch(host) is None:
                raise ValueError(f"hosts: {host!r} is no host name")
        for field_name in self.request_fields:
            if _FIELD_NAME.fullmatch(field_name) is None or field_name.lower() in _NEVER_PASSED:
                raise ValueError(f"request_fields: {field_name!r} cannot be passed on")
        if not self.hosts or not self.upstreams:
            raise ValueError("hosts, upstreams: at least one of each is needed")
        for url in self.upstreams:
            if not _is_base_url(url):
                raise ValueError(f"upstreams: {url!r} is no http or https URL without query and user")


@dataclass(frozen=True, slots=True)
class BgpSession:
    """A BGP session with one router of the ISP: what it announces says whom this box serves."""

    name: Annotated[str, Doc("Name in reports and logs: lower case, digits, underscores, at most 32, first a letter")]
    peer: Annotated[str, Doc("IP address of the router")]
    peer_as: Annotated[int, Ge(1), Le(4_294_967_295), Doc("Number of the router's autonomous system")]
    local: Annotated[str, Doc("IP address of this box that the session is held from")]
    hops: Annotated[int, Ge(1), Le(255), Doc("Hops to the router; 1 is a neighbour on the same link")] = 1
    password: Annotated[str, Doc("TCP MD5 password (RFC 2385); empty for none. Letters, digits, - . _")] = ""
    maximum: Annotated[
        int, Ge(1), Doc("Most prefixes per address family that BIRD takes of the router; further ones are not learnt")
    ] = 50_000
    peer_port: Annotated[int, Ge(0), Le(65535), Doc("TCP port of the router; 0 is BGP's own, 179")] = 0
    local_port: Annotated[int, Ge(0), Le(65535), Doc("TCP port that the daemon listens on; 0 is BGP's own, 179")] = 0

    def __post_init__(self) -> None:
        """What goes into a daemon's configuration can hold nothing that ends a word there."""
        if re.fullmatch(r"[a-z][a-z0-9_]{0,31}", self.name) is None:
            raise ValueError(f"name: {self.name!r} is none: lower case letters, digits, underscores, first a letter")
        families = {which: _address_version(value) for which, value in (("peer", self.peer), ("local", self.local))}
        for which, version in families.items():
            if not version:
                raise ValueError(f"{which}: {getattr(self, which)!r} is no IP address")
        if len(set(families.values())) > 1:
            raise ValueError(f"peer, local: {self.peer} and {self.local} are of different address families")
        if re.fullmatch(r"[A-Za-z0-9._-]{0,80}", self.password) is None:
            raise ValueError("password: only letters, digits, - . and _, at most 80")


@dataclass(frozen=True, slots=True)
class Routes:
    """What the ISP's routers announce to this box (docs/routes.md)."""

    daemon: Annotated[
        Literal["none", "bird", "exabgp"], Doc("Who holds the BGP sessions; none where this box has none")
    ] = "none"
    local_as: Annotated[int, Ge(0), Le(4_294_967_295), Doc("Number of this box's autonomous system")] = 0
    router_id: Annotated[str, Doc("IPv4 address by which the routers know this box; empty takes a session's own")] = ""
    sessions: Annotated[tuple[BgpSession, ...], Doc("The routers that announce to this box")] = ()
    bird_socket: Annotated[str, Doc("BIRD's control socket")] = "/run/bird/bird.ctl"
    hold_s: Annotated[int, Ge(3), Le(65535), Doc("BGP hold time, in seconds")] = 90
    look_s: Annotated[float, Gt(0), Doc("Seconds between two looks at what the sessions hear")] = 2.0

    def __post_init__(self) -> None:
        names = [session.name for session in self.sessions]
        if len(set(names)) < len(names):
            raise ValueError("sessions: a name is given twice")
        if self.daemon == "exabgp" and len({session.peer for session in self.sessions}) < len(names):
            raise ValueError("sessions: with exabgp every session has a router of its own")
        if self.daemon != "none" and (not self.sessions or not self.local_as):
            raise ValueError("local_as, sessions: both are needed where there is a daemon")
        if self.router_id and _address_version(self.router_id) != 4:
            raise ValueError(f"router_id: {self.router_id!r} is no IPv4 address")


@dataclass(frozen=True, slots=True)
class Appliance:
    """The whole configuration of `lowtide oca run`."""

    state_dir: Annotated[str, Doc("Folder of certificate, keys, plan and spooled reports")]
    store: Annotated[Store, Doc("Disks and cache")]
    control_plane: Annotated[ControlPlane, Doc("Who plans for this appliance")]
    serving: Annotated[Serving, Doc("Listening and limits")] = field(default_factory=Serving)
    fetching: Annotated[Fetching, Doc("Asking peers, tiers and the origin")] = field(default_factory=Fetching)
    status: Annotated[Listen, Doc("Health, readiness and metrics")] = field(default_factory=Listen)
    log: Annotated[AccessLogging, Doc("The access log")] = field(default_factory=AccessLogging)
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Doc("Lowest level that is written")] = "info"
    cache_only: Annotated[bool, Doc("Ignore plans: keep only what is pulled through (for comparisons)")] = False
    routes: Annotated[Routes, Doc("What the ISP's routers announce to this box")] = field(default_factory=Routes)
    services: Annotated[
        tuple[PullService, ...], Doc("Pull-through delivery services beside the media of this box")
    ] = ()
    lab: Annotated[
        LabTime,
        Doc("Compressed time, for a laboratory on loopback; the same as the control plane's (docs/decisions/0012)"),
    ] = field(default_factory=LabTime)

    def __post_init__(self) -> None:
        """A host selects one service and no other; a laboratory stays on loopback."""
        serving = self.serving
        listeners = {f"serving.listeners[{n}].host": one.host for n, one in enumerate(serving.listeners) if one.host}
        listens = {"serving.media.host": serving.media.host, "serving.peers.host": serving.peers.host}
        self.lab.refuse_to_leave(listens | listeners)
        names = [service.name for service in self.services]
        hosts = [host.lower() for host in self.serving.hosts]
        hosts += [host.lower() for service in self.services for host in service.hosts]
        for given, what in ((names, "name"), (hosts, "hosts")):
            twice = sorted({word for word in given if given.count(word) > 1})
            if twice:
                raise ValueError(f"services: {what} given twice: {', '.join(twice)}")


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _is_base_url(text: str) -> bool:
    try:
        found = urlsplit(text)
        named = bool(found.hostname) and (found.port is None or found.port > 0)
    except ValueError:
        return False
    extra = found.query or found.fragment or found.username or found.password
    return found.scheme in ("http", "https") and named and not extra


def _address_version(text: str) -> int:
    """0 for what is no IP address, and for a zone (RFC 4007 §11) that would say something else in a configuration."""
    if re.fullmatch(r"[0-9A-Za-z.:%_-]+", text) is None:
        return 0
    try:
        return ipaddress.ip_address(text).version
    except ValueError:
        return 0


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
