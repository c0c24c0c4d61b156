"""Settings of steering."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt, Le, MinLen
from typing_extensions import Doc

from chassis.logs import LEVELS

NAME = "steering"


@dataclass(frozen=True, slots=True)
class Http:
    """Where rankings are asked for."""

    host: Annotated[str, MinLen(1), Doc("IP address to bind; an IPv6 address without brackets.")] = "127.0.0.1"
    port: Annotated[int, Ge(0), Le(65535), Doc("TCP port; 0 takes any free one.")] = 8090


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
class SteeringSettings:
    """Configuration of `lowtide steering run`."""

    state_dir: Annotated[Path, Doc("Folder of the certificate and of the last world.")]
    control_plane: Annotated[ControlPlane, Doc("Where the world comes from")]
    http: Annotated[Http, Doc("Where rankings are asked for")] = field(default_factory=Http)
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
    log_level: Annotated[str, Doc("debug, info, warning, error or critical.")] = "info"

    def __post_init__(self) -> None:
        if self.log_level not in LEVELS:
            raise ValueError(f"log_level: {self.log_level!r} is not one of {', '.join(LEVELS)}")
