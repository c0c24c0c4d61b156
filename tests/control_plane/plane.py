"""A real control plane on loopback, and the hands that call it: an operator, appliances, services."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from chassis.auth import read_secret
from chassis.certificates import make_csr, make_key
from chassis.client import ServiceClient
from chassis.enrolment import enrol, kept_files
from chassis.service import Service
from chassis.tls import TlsFiles, client_context
from contracts.catalogue import FileKind, Licence, PublishedFile, Title, TitleFacts
from contracts.digests import DigestBuilder
from contracts.enrolment import CodeAnswer, CodeRequest, EnrolRequest, PeerKind, san_uri, split_code
from contracts.places import Appliance, ApplianceRegistration, FillWindow, Prefix, Site
from contracts.reports import ApplianceReport, DiskFacts
from contracts.urls import MediaName
from contracts.world import FallbackOrigin
from control_plane.app import compose
from control_plane.config import ControlPlaneSettings, Http, Mtls, NameSettings, Plans, RouteSettings, SteeringSettings
from control_plane.names.ports import Issuer

GB = 1_000_000_000
ORIGIN = FallbackOrigin("origin", "http://127.0.0.1:1", "https://127.0.0.1:2")


@dataclass
class Plane:
    """One running control plane."""

    settings: ControlPlaneSettings
    service: Service
    urls: dict[str, str]
    folder: Path
    _clients: list[ServiceClient] = field(default_factory=list)

    @property
    def token(self) -> str:
        return read_secret(self.settings.state_dir / "operator.token")

    @property
    def operator(self) -> ServiceClient:
        return self._opened(ServiceClient(self.urls["http"], bearer=self.token))

    @property
    def ca_only(self) -> ssl.SSLContext:
        return client_context(ca=self.settings.state_dir / "ca.pem")

    @property
    def nobody(self) -> ServiceClient:
        """A caller of the `mtls` listener without a certificate."""
        return self._opened(ServiceClient(self.urls["mtls"], ssl=self.ca_only))

    def caller(self, files: TlsFiles) -> ServiceClient:
        return self._opened(ServiceClient(self.urls["mtls"], ssl=client_context(files=files)))

    async def code(self, kind: PeerKind, name: str, valid_s: float = 600.0) -> str:
        wanted = CodeRequest(kind, name, valid_s)
        return (await self.operator.post("/v1/enrolment-codes", wanted, CodeAnswer)).code

    async def enrolled(self, kind: PeerKind, name: str) -> TlsFiles:
        code = await self.code(kind, name)
        return await enrol(self.urls["mtls"], code, kind=kind, name=name, folder=self.folder / "enrolled" / name)

    def files_of(self, name: str) -> TlsFiles:
        """Those that `enrolled` made, also before a restart."""
        return kept_files(self.folder / "enrolled" / name)

    async def service_caller(self, name: str) -> ServiceClient:
        return self.caller(await self.enrolled(PeerKind.SERVICE, name))

    async def add_site(self, site_id: str = "a", *, is_tier: bool = False, region: str = "DE") -> Site:
        site = Site(
            site_id,
            site_id.upper(),
            f"isp-{site_id}",
            region,
            (Prefix("127.1.0.0/16"),),
            window=FillWindow("00:00", "00:00", "UTC", 8 * GB, 100 * GB),
            is_tier=is_tier,
        )
        return await self.operator.put(f"/v1/sites/{site_id}", site, Site)

    async def add_box(self, box_id: str, site_id: str = "a") -> ServiceClient:
        """Registered and enrolled; it has reported nothing."""
        registration = ApplianceRegistration(box_id, site_id, site_id)
        await self.operator.put(f"/v1/appliances/{box_id}", registration, Appliance)
        return self.caller(await self.enrolled(PeerKind.APPLIANCE, box_id))

    async def close(self) -> None:
        for client in self._clients:
            await client.close()

    def _opened(self, client: ServiceClient) -> ServiceClient:
        self._clients.append(client)
        return client


@asynccontextmanager
async def running(
    folder: Path,
    *,
    page_dir: Path | None = None,
    routes: RouteSettings | None = None,
    names: NameSettings | None = None,
    issuer: Issuer | None = None,
    steering: SteeringSettings | None = None,
) -> AsyncIterator[Plane]:
    """A control plane whose state is in `folder`; the same folder again is a restart."""
    settings = ControlPlaneSettings(
        state_dir=folder / "state",
        http=Http(port=0),
        mtls=Mtls(port=0),
        plans=Plans(at=""),
        page_dir=page_dir,
        routes=routes or RouteSettings(),
        names=names or NameSettings(),
        steering=steering or SteeringSettings(),
    )
    service = Service("control-plane", partial(_compose, settings, issuer), grace_s=2.0)
    async with service.running() as urls:
        plane = Plane(settings, service, urls, folder)
        try:
            yield plane
        finally:
            await plane.close()


async def _compose(settings: ControlPlaneSettings, issuer: Issuer | None, service: Service) -> None:
    await compose(service, settings, issuer)


def report(sequence: int = 1, **changes: object) -> ApplianceReport:
    """A good report; `changes` are its other fields."""
    values: dict[str, object] = {
        "boot_id": "boot-1",
        "started_at": 1000.0,
        "score": 1.0,
        "reasons": (),
        "player_urls": ("http://127.1.0.11:80",),
        "peer_url": "https://127.1.0.11:81",
        "state": "burn-in",
        "plan_number": 0,
        "keys_number": 0,
        "egress_bps": 0.0,
        "connections": 0,
        "disks": (DiskFacts("/disk", 10 * GB, 0, 0),),
        **changes,
    }
    return ApplianceReport(sequence=sequence, **values)  # type: ignore[arg-type]


def title(title_id: str = "sea", sizes: dict[str, int] | None = None, seed: bytes = b"x") -> Title:
    """A title with files of the given sizes (name → bytes) in tier hd."""
    files = []
    for name, size in (sizes or {"v-360.mp4": 300_000, "v-360.m3u8": 500}).items():
        media = MediaName(title_id, "hd", name)
        builder = DigestBuilder(media.key, "video/mp4")
        builder.update(seed * size)
        group = f"{title_id}/{name.partition('.')[0]}"
        files.append(PublishedFile(media.path, FileKind.VIDEO, "hd", group, size, builder.finish()))
    return Title(TitleFacts(title_id, title_id.title(), licence=Licence()), 60.0, (), tuple(files), published_at=1.0)


def foreign_request(code: str) -> EnrolRequest:
    """An enrolment request with a fresh key for the code's secret."""
    return EnrolRequest(split_code(code)[0], make_csr(make_key(), san_uri(PeerKind.SERVICE, "x")))
