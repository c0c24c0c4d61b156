"""How players and other appliances are served: listeners and their certificates, limits, pacing."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Gt, Le
from typing_extensions import Doc

from contracts.hosts import wrong_in_place
from oca.config.addresses import address_version, is_network, is_wildcard

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
            if not address_version(address):
                raise ValueError(f"addresses: {address!r} is no IP address")


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
        Doc(
            "Host names or IP addresses (host or host:port) of the delivery service, told to players; empty tells and accepts media's address"
        ),
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
        found = ((number, host, wrong_in_place(host)) for number, host in enumerate(self.hosts))
        if wrong := [f"hosts[{number}]: {host!a} {words}" for number, host, words in found if words]:
            raise ValueError("; ".join(wrong))
        for network in self.trusted_networks:
            if not is_network(network):
                raise ValueError(f"trusted_networks: {network} is no network in CIDR notation, such as 192.0.2.0/24")
        if not self.hosts and is_wildcard(self.media.host):
            raise ValueError(f"hosts: needed when media.host is {self.media.host}, which players cannot dial")
        for number, listener in enumerate(self.listeners):
            named = listener.tls and self.names.managed and self.names.addresses
            if not self.hosts and is_wildcard(listener.host) and not named:
                raise ValueError(
                    f"hosts: needed when listeners[{number}].host is {listener.host}, which players cannot dial"
                )
            if listener.tls and not (self.tls.certificates or self.tls.folder or self.names.managed):
                raise ValueError(f"tls: listeners[{number}] needs certificates or a folder of them, or names.managed")
        if self.names.managed and not any(listener.tls for listener in self.listeners):
            raise ValueError("names.managed: a public name needs a listener with tls")
        if is_wildcard(self.peers.host):
            raise ValueError(
                f"peers.host: name the address that other appliances dial; nobody can dial {self.peers.host}"
            )
