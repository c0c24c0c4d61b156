"""The configuration and the command of every process, from a topology and its ports. Pure.

The dictionaries are the YAML files of the services: their own configuration classes check them when they start.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onebox.topology import ApplianceSpec, Topology

Settings = dict[str, object]
COMPANIONS = ("auth", "catalog", "recommendation", "playback")
SERVICE_PORTS = {
    "control-plane.http": 0,
    "control-plane.mtls": 1,
    "steering.http": 2,
    "origin.http": 3,
    "origin.mtls": 4,
    "steering.viewer": 5,
    "playback.http": 6,
    "auth.http": 7,
    "catalog.http": 8,
    "recommendation.http": 9,
}
"""Listener → distance from the base port."""
WORKER_PORTS = 10
APPLIANCE_PORTS = {"media": 30, "peers": 31, "status": 32}
TLS_PORT = 33
LABELS = {
    "playback": "watch",
    "auth": "auth",
    "catalog": "catalog",
    "recommendation": "home",
    "steering": "steering",
    "origin": "origin",
}
"""Service → the first part of its public name."""
HTTPS_PORTS = 40


@dataclass(frozen=True, slots=True)
class Command:
    """A process to start: `arguments` behind `lowtide`, the file its settings go to, and the settings."""

    name: str
    arguments: tuple[str, ...]
    config_file: Path
    settings: Settings

    @property
    def argv(self) -> tuple[str, ...]:
        return (sys.executable, "-m", "lowtide", *self.arguments, "--config", str(self.config_file))


@dataclass(frozen=True, slots=True)
class Layout:
    """Folders, addresses and commands of one topology."""

    topology: Topology
    root: Path
    ports: Mapping[str, int]

    def url(self, listener: str) -> str:
        """Base URL of a listener such as `origin.http`."""
        scheme = "https" if listener.endswith((".mtls", ".peers")) else "http"
        host = self.topology.host
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.ports[listener]}"

    @property
    def zone(self) -> str:
        return self.topology.public.zone

    def public_name(self, service: str) -> str:
        """Host name of a service; empty where everything is http."""
        return f"{LABELS[service]}.{self.zone}" if self.zone else ""

    def public_url(self, service: str) -> str:
        """Base URL of a service as browsers reach it; empty where that is the address it listens on."""
        return f"https://{self.public_name(service)}" if self.zone else ""

    def doors(self) -> dict[str, tuple[str, int]]:
        """Public host name → address and port where it is served. What a resolver, and a router in between, would do."""
        if not self.zone:
            return {}
        found = {self.public_name(name): (self.topology.host, self.ports[f"{name}.https"]) for name in LABELS}
        for spec in self.topology.appliances:
            found[f"{spec.id}.{self.zone}"] = (spec.address, self.ports[f"{spec.id}.tls"])
        return found

    def code_file(self, name: str) -> Path:
        return self.root / "codes" / f"{name}.code"

    def folder(self, name: str) -> Path:
        return self.root / name

    @property
    def operator_token(self) -> Path:
        return self.folder("control-plane") / "operator.token"

    @property
    def catalog_secret(self) -> Path:
        return self.folder("catalog") / "publisher.secret"

    def services(self) -> list[Command]:
        """In the order of starting; appliances come after them."""
        origin = self._origin()
        workers = [
            self._command(f"origin-worker-{number}", ("origin", "worker"), self._origin(number))
            for number in range(self.topology.origin_workers)
        ]
        return [
            self._command("control-plane", ("control-plane", "run"), self._control_plane()),
            self._command("auth", ("companions", "run", "auth"), {"auth": self._auth()}),
            self._command("catalog", ("companions", "run", "catalog"), {"catalog": self._catalog()}),
            self._command("steering", ("steering", "run"), self._steering()),
            self._command("origin", ("origin", "run"), origin),
            *workers,
            self._command("playback", ("companions", "run", "playback"), {"playback": self._playback()}),
            self._command(
                "recommendation", ("companions", "run", "recommendation"), {"recommendation": self._recommendation()}
            ),
        ]

    def appliance(self, spec: ApplianceSpec) -> Command:
        folder = self.folder("oca") / spec.id
        listen = {name: {"host": spec.address, "port": self.ports[f"{spec.id}.{name}"]} for name in APPLIANCE_PORTS}
        settings: Settings = {
            "state_dir": str(folder / "state"),
            "store": {
                "disks": [{"path": str(folder / "disk"), "quota_bytes": spec.disk_bytes}],
                "extent_bytes": spec.extent_bytes,
                "index_map_bytes": spec.index_map_bytes,
                "cache_share": spec.cache_share,
            },
            "control_plane": {
                "url": self.url("control-plane.mtls"),
                "code_file": str(self.code_file(spec.id)),
                "report_s": spec.report_s,
            },
            "serving": {"workers": spec.workers, "media": listen["media"], "peers": listen["peers"]}
            | self._named(spec),
            "status": listen["status"],
            "log_level": self.topology.log_level,
            "cache_only": spec.cache_only,
        }
        return self._command(spec.id, ("oca", "run"), settings)

    def _command(self, name: str, arguments: tuple[str, ...], settings: Settings) -> Command:
        return Command(name, arguments, self.root / "config" / f"{name}.yaml", settings)

    def _named(self, spec: ApplianceSpec) -> Settings:
        """A listener with TLS under the appliance's public name, which players dial without a port."""
        if not self.zone:
            return {}
        listener = {"host": spec.address, "port": self.ports[f"{spec.id}.tls"], "tls": True}
        return {"listeners": [listener], "names": {"managed": True, "port": 443}}

    def _https(self, service: str) -> Settings:
        if not self.zone:
            return {}
        public = self.topology.public
        return self._listen(f"{service}.https") | {"certificate": public.certificate, "key": public.key}

    def _names(self) -> Settings:
        """Of the control plane."""
        public = self.topology.public
        if not public.zone:
            return {}
        dns = {"server": public.dns_server, "port": public.dns_port, "ttl_s": 5}
        keyed = {"key_name": public.key_name, "key_file": public.key_file} if public.key_name else {}
        acme: Settings = {"directory": public.directory, "terms_agreed": True}
        acme |= {"ca_file": public.ca_file} if public.ca_file else {}
        return {"zone": public.zone, "dns": dns | keyed, "acme": acme, "settle_s": 0.0, "first_retry_s": 2.0}

    def _listen(self, listener: str) -> Settings:
        return {"host": self.topology.host, "port": self.ports[listener]}

    def _control_plane(self) -> Settings:
        return {
            "state_dir": str(self.folder("control-plane")),
            "http": self._listen("control-plane.http"),
            "mtls": {**self._listen("control-plane.mtls"), "names": [self.topology.host, "localhost"]},
            "steering": {"urls": [self.url("steering.http")]},
            "names": self._names(),
            "log_level": self.topology.log_level,
        }

    def _steering(self) -> Settings:
        return {
            "state_dir": str(self.folder("steering")),
            "http": self._listen("steering.http"),
            "https": self._https("steering"),
            "viewer": self._listen("steering.viewer") | {"enabled": True},
            "control_plane": {
                "url": self.url("control-plane.mtls"),
                "code_file": str(self.code_file("steering")),
            },
            "log_level": self.topology.log_level,
        }

    def _origin(self, worker: int | None = None) -> Settings:
        encode: Settings = {}
        if self.topology.ladder:
            encode["rungs"] = [_rung(text, self.topology.preset) for text in self.topology.ladder]
        port = 0 if worker is None else self.ports[f"origin-worker-{worker}.http"]
        return {
            "state_dir": str(self.folder("origin")),
            "operator_token_file": str(self.operator_token),
            "http": self._listen("origin.http") | {"public_url": self.public_url("origin")},
            "https": self._https("origin"),
            "mtls": self._listen("origin.mtls"),
            "control_plane": {"url": self.url("control-plane.mtls")},
            "catalog": {"url": self.url("catalog.http"), "secret_file": str(self.catalog_secret)},
            "enrolment": {
                "code_file": str(self.code_file("origin")),
                "addresses": [self.topology.host, "localhost"],
            },
            "encode": encode,
            "worker": {"http": {"host": self.topology.host, "port": port}},
            "log_level": self.topology.log_level,
        }

    def _auth(self) -> Settings:
        folder = self.folder("auth")
        return {
            "database": str(folder / "auth.sqlite"),
            "key_file": str(folder / "access.key"),
            "http": self._listen("auth.http") | {"https": self._https("auth")},
        }

    def _catalog(self) -> Settings:
        return {
            "database": str(self.folder("catalog") / "catalog.sqlite"),
            "secret_file": str(self.catalog_secret),
            "http": self._listen("catalog.http") | {"https": self._https("catalog")},
        }

    def _recommendation(self) -> Settings:
        return {
            "auth_url": self.url("auth.http"),
            "catalog_url": self.url("catalog.http"),
            "playback_url": self.url("playback.http"),
            "http": self._listen("recommendation.http") | {"https": self._https("recommendation")},
        }

    def _playback(self) -> Settings:
        folder = self.folder("playback")
        networks = [
            {"name": f"{site.name} ({site.isp})", "address": _inside(site.prefixes[0])}
            for site in self.topology.sites
            if site.prefixes
        ]
        return {
            "database": str(folder / "playback.sqlite"),
            "key_file": str(folder / "media.key"),
            "auth_url": self.url("auth.http"),
            "catalog_url": self.url("catalog.http"),
            "media_scheme": "https" if self.zone else "http",
            "steering_url": self.url("steering.http"),
            "origin_url": self.url("origin.http"),
            "http": self._listen("playback.http") | {"https": self._https("playback")},
            "public": {
                "playback_url": self.public_url("playback") or self.url("playback.http"),
                "auth_url": self.public_url("auth") or self.url("auth.http"),
                "catalog_url": self.public_url("catalog") or self.url("catalog.http"),
                "recommendation_url": self.public_url("recommendation") or self.url("recommendation.http"),
                "origin_url": self.public_url("origin"),
                "steering_url": self.public_url("steering") or self.url("steering.viewer"),
                "regions": sorted({site.region for site in self.topology.sites}),
            },
            "control_plane": {
                "url": self.url("control-plane.mtls"),
                "code_file": str(self.code_file("playback")),
                "folder": str(folder / "enrolment"),
            },
            "log": {"file": str(folder / "playback.log")},
            "demo": {"allow_demo_network": self.topology.allow_demo_network, "networks": networks},
        }


def wanted_ports(topology: Topology) -> dict[str, tuple[str, int]]:
    """Listener → (address, wished port; 0 for any)."""

    def wish(distance: int) -> int:
        return topology.base_port + distance if topology.base_port else 0

    found = {name: (topology.host, wish(distance)) for name, distance in SERVICE_PORTS.items()}
    if topology.public.zone:
        found |= {f"{name}.https": (topology.host, wish(HTTPS_PORTS + number)) for number, name in enumerate(LABELS)}
    for number in range(topology.origin_workers):
        found[f"origin-worker-{number}.http"] = (topology.host, wish(WORKER_PORTS + number))
    for spec in topology.appliances:
        found |= {f"{spec.id}.{name}": (spec.address, wish(distance)) for name, distance in APPLIANCE_PORTS.items()}
        if topology.public.zone:
            found[f"{spec.id}.tls"] = (spec.address, wish(TLS_PORT))
    return found


def media_listeners(topology: Topology) -> list[str]:
    """Where appliances serve players: content steering names a place by its host, so that all of them have one port."""
    return [f"{spec.id}.media" for spec in topology.appliances]


def fitting(specs: Sequence[ApplianceSpec], filesystem_bytes: int) -> list[ApplianceSpec]:
    """The appliances with quotas that a filesystem of this size can hold: an appliance refuses a larger one."""
    return [replace(spec, disk_bytes=min(spec.disk_bytes, filesystem_bytes)) for spec in specs]


def _rung(text: str, preset: str) -> Settings:
    """`480@1100` → a rung of 480 lines at 1100 kbit/s."""
    height, _at, kbps = text.partition("@")
    rung: Settings = {"height": int(height), "bitrate_bps": int(kbps) * 1000, "max_rate_bps": int(kbps) * 1300}
    return rung | ({"preset": preset} if preset else {})


def _inside(cidr: str) -> str:
    """An address inside the network: the 50th host of its tenth /24 (IPv6: its 2354th address), or the last one of a smaller one."""
    network = ipaddress.ip_network(cidr)
    return str(network[min(9 * 256 + 50, network.num_addresses - 1)])
