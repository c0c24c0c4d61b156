"""What runs on the one machine: two sites in two networks and three appliances unless told otherwise.

The settings of `lowtide up`, checked by `chassis.config`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le
from typing_extensions import Doc


@dataclass(frozen=True, slots=True)
class SiteSpec:
    id: Annotated[str, Doc("Short name of the site")]
    name: Annotated[str, Doc("What people call it")]
    isp: Annotated[str, Doc("Whose network it stands in")]
    region: Annotated[str, Doc("ISO 3166 code of its viewers")]
    prefixes: Annotated[tuple[str, ...], Doc("Networks whose clients this site serves, in CIDR form")]
    is_tier: Annotated[bool, Doc("Other sites may be filled from here")] = False
    window_start: Annotated[str, Doc("Opening of the fill window, HH:MM UTC")] = "02:00"
    window_end: Annotated[str, Doc("Closing of the fill window, HH:MM UTC; may lie behind midnight")] = "14:00"
    window_rate_bps: Annotated[int, Gt(0), Doc("Rate cap of fills in bits per second")] = 400_000_000
    window_volume_bytes: Annotated[int, Gt(0), Doc("Bytes fetched at most in one window")] = 10_000_000_000_000


@dataclass(frozen=True, slots=True)
class ApplianceSpec:
    id: Annotated[str, Doc("Name of the appliance")]
    site: Annotated[str, Doc("The site it stands at")]
    address: Annotated[str, Doc("Loopback address it listens on")]
    disk_bytes: Annotated[int, Ge(1 << 20), Doc("Quota of its one disk in bytes; at most what the filesystem has")] = (
        20_000_000_000
    )
    extent_bytes: Annotated[int, Ge(256 * 1024), Doc("Length of an extent file, a multiple of 262144")] = (
        32 * 1024 * 1024
    )
    index_map_bytes: Annotated[int, Ge(1 << 20), Doc("Size of the index map in bytes")] = 64 * 1024 * 1024
    cache_share: Annotated[float, Ge(0), Le(1), Doc("Share of the disk that no plan pins")] = 0.15
    workers: Annotated[int, Ge(1), Le(64), Doc("Worker processes")] = 2
    cache_only: Annotated[bool, Doc("Ignore plans (for comparisons)")] = False
    report_s: Annotated[float, Gt(0), Doc("Time between reports to the control plane")] = 5.0


@dataclass(frozen=True, slots=True)
class PublicSpec:
    """Everything that a browser asks for under host names by https, as outside (docs/names.md)."""

    zone: Annotated[
        str, Doc("Zone of the names: ID.ZONE, and watch, auth, … for the services; empty: addresses and http")
    ] = ""
    directory: Annotated[str, Doc("URL of the ACME directory that appliances' certificates are ordered from")] = ""
    ca_file: Annotated[str, Doc("PEM file of the CA of the directory's own certificate")] = ""
    dns_server: Annotated[str, Doc("IP address of the name server that takes updates of the zone")] = "127.0.0.1"
    dns_port: Annotated[int, Ge(1), Le(65535), Doc("Its port")] = 53
    key_name: Annotated[str, Doc("Name of the TSIG key")] = ""
    key_file: Annotated[str, Doc("File with the key's secret in base64")] = ""
    certificate: Annotated[str, Doc("PEM file with the chain for the services' names")] = ""
    key: Annotated[str, Doc("PEM file with its private key")] = ""


def default_sites() -> tuple[SiteSpec, ...]:
    return (
        SiteSpec("a", "Harbour", "Northwind Telecom", "DE", ("127.1.0.0/16",), is_tier=True),
        SiteSpec("b", "Hillside", "Fjordnet", "NO", ("127.2.0.0/16",)),
    )


def default_appliances() -> tuple[ApplianceSpec, ...]:
    return (
        ApplianceSpec("a1", "a", "127.1.0.11"),
        ApplianceSpec("a2", "a", "127.1.0.12"),
        ApplianceSpec("b1", "b", "127.2.0.11"),
    )


@dataclass(frozen=True, slots=True)
class Topology:
    """The whole configuration of `lowtide up`."""

    state_dir: Annotated[str, Doc("Folder that holds everything: databases, certificates, disks, logs")] = ".lowtide"
    host: Annotated[str, Doc("Address that services other than appliances listen on")] = "127.0.0.1"
    base_port: Annotated[
        int, Ge(0), Le(65000), Doc("First port of the services; 0 takes free ones and remembers them")
    ] = 8800
    sites: Annotated[tuple[SiteSpec, ...], Doc("Sites")] = field(default_factory=default_sites)
    appliances: Annotated[tuple[ApplianceSpec, ...], Doc("Appliances")] = field(default_factory=default_appliances)
    origin_workers: Annotated[int, Ge(1), Le(16), Doc("Transcoding worker processes")] = 1
    ladder: Annotated[tuple[str, ...], Doc("Rungs as HEIGHT@KBPS, lowest first; empty takes the origin's own")] = ()
    preset: Annotated[str, Doc("x264 preset of the ladder; empty takes the origin's own")] = ""
    allow_demo_network: Annotated[
        bool, Doc("Profiles may act as members of another network (for a browser on this machine)")
    ] = True
    public: Annotated[PublicSpec, Doc("Host names and https, for tests of real players")] = field(
        default_factory=PublicSpec
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Doc("Lowest level that is written")] = "info"
