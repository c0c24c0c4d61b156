"""Settings that every companion has."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Le
from typing_extensions import Doc

from chassis.https import Https


@dataclass(frozen=True, slots=True)
class Http:
    """Where a companion listens and whom it believes."""

    host: Annotated[str, Doc("IP address to bind")] = "127.0.0.1"
    port: Annotated[int, Ge(0), Le(65535), Doc("TCP port; 0 takes any free one")] = 0
    cors_origins: Annotated[tuple[str, ...], Doc("Origins of pages that may call this service; * for all")] = ("*",)
    trusted_proxies: Annotated[
        tuple[str, ...], Doc("Networks of reverse proxies whose X-Forwarded-For is believed, in CIDR notation")
    ] = ()

    https: Annotated[Https, Doc("A second door for browsers, by TLS")] = field(default_factory=Https)

    def __post_init__(self) -> None:
        for network in self.trusted_proxies:
            ipaddress.ip_network(network)
