"""The whole of an appliance's settings, and the few that belong to no room of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le
from typing_extensions import Doc

from contracts.labtime import LabTime
from oca.config.fetching import Fetching, PullService
from oca.config.routes import Routes
from oca.config.serving import Listen, Serving
from oca.config.storing import Store


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
