"""Brings the system up, keeps it up, takes it down. The one place where `onebox` connects its parts."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec
import yaml

from chassis.certificates import expires_at
from chassis.errors import CertificateError
from contracts.enrolment import CodeAnswer, CodeRequest, PeerKind
from contracts.overview import ApplianceOverview, Overview
from contracts.places import ApplianceRegistration, ApplianceState, FillWindow, Prefix, Site, StateChange
from onebox.claims import Claim
from onebox.layout import Command, Layout, fitting, media_listeners, wanted_ports
from onebox.ports import allocate
from onebox.processes import ProcessSpec, Running, StartFailed
from onebox.topology import ApplianceSpec, SiteSpec, Topology

Report = Callable[[str, float], None]
ENROLLED_SERVICES = ("steering", "origin", "playback")
LIVE_WITHIN_S = 30.0
POLL_S = 0.25


class OneBox:
    """A running system on this machine. State lies in `topology.state_dir` and survives a restart."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.root = Path(topology.state_dir).absolute()
        self.processes: dict[str, Running] = {}
        self._layout: Layout | None = None
        self._client: httpx.AsyncClient | None = None
        self._claim: Claim | None = None

    @property
    def layout(self) -> Layout:
        if self._layout is None:
            raise StartFailed("the system was not started")
        return self._layout

    async def start(self, report: Report) -> None:
        """Returns when everything serves. Raises StartFailed with the end of the log of what did not."""
        try:
            await self._start_everything(report)
        except (OSError, CertificateError) as error:
            raise StartFailed(f"the state folder {self.root} cannot be used: {error}") from error

    async def _start_everything(self, report: Report) -> None:
        self._claim = Claim(self.root)
        for folder in ("config", "codes", "logs"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        os.chmod(self.root / "codes", 0o700)
        self._lay_out(self.topology.appliances)
        first, *others = self.layout.services()
        await self._start_all([first], report)
        for name in ENROLLED_SERVICES:
            await self._offer_code(PeerKind.SERVICE, name, self.layout.folder(name))
        await self._start_all(others, report)
        await self.add_sites(self.topology.sites)
        await self.add_appliances(self.topology.appliances, report)

    async def stop(self) -> None:
        """The control plane last; nothing is left running."""
        running = list(self.processes.values())
        await asyncio.gather(*(process.stop() for process in running[1:]))
        await asyncio.gather(*(process.stop() for process in running[:1]))
        self.processes.clear()
        if self._client is not None:
            await self._client.aclose()
            self._client = None
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    async def add_sites(self, sites: Sequence[SiteSpec]) -> None:
        for site in sites:
            await self._operator("PUT", f"/v1/sites/{site.id}", _site(site))

    async def remove_sites(self, site_ids: Sequence[str]) -> None:
        for site_id in site_ids:
            await self._operator("DELETE", f"/v1/sites/{site_id}")

    async def add_appliances(self, specs: Sequence[ApplianceSpec], report: Report) -> None:
        """Registers, enrols and starts appliances; returns when all are live. Raises StartFailed."""
        if not specs:
            return
        specs = fitting(specs, shutil.disk_usage(self.root).total)
        self._lay_out(specs)
        for spec in specs:
            body = ApplianceRegistration(spec.id, spec.site, f"{spec.site}-main", spec.cache_share)
            await self._operator("PUT", f"/v1/appliances/{spec.id}", body)
            await self._offer_code(PeerKind.APPLIANCE, spec.id, self.layout.folder("oca") / spec.id)
        await self._start_all([self.layout.appliance(spec) for spec in specs], report)
        await self._until_live({spec.id for spec in specs}, report)

    async def remove_appliances(self, names: Sequence[str]) -> None:
        """Stops and retires appliances."""
        await asyncio.gather(*(self.processes.pop(name).stop() for name in names))
        for name in names:
            change = StateChange(ApplianceState.RETIRED, "taken down")
            await self._operator("POST", f"/v1/appliances/{name}/state", change)
            await self._operator("DELETE", f"/v1/appliances/{name}")

    def pull_the_plug(self, name: str) -> None:
        """kill −9 for an appliance with all its processes; it stays dead until `revive`."""
        self.processes[name].hold()
        self.processes[name].kill_group()

    def revive(self, name: str) -> None:
        self.processes[name].release()

    async def overview(self) -> Overview:
        return msgspec.json.decode(await self._operator("GET", "/v1/overview"), type=Overview)

    def url(self, service: str) -> str:
        """Base URL of a service's `http` listener."""
        return self.layout.url(f"{service}.http")

    def media_hosts(self, name: str) -> list[str]:
        """host:port where an appliance serves players."""
        return [urlsplit(url).netloc for key, url in self.processes[name].listening.items() if key == "media"]

    @property
    def operator_token_file(self) -> Path:
        return self.layout.operator_token

    @property
    def objects_dir(self) -> Path:
        """The folder that published media paths are relative to."""
        return self.layout.folder("origin") / "objects"

    @property
    def viewer_url(self) -> str:
        return f"{self.layout.public_url('playback') or self.url('playback')}/"

    @property
    def operator_url(self) -> str:
        return f"{self.url('control-plane')}/#token={self.operator_token_file.read_text().strip()}"

    def _lay_out(self, appliances: Sequence[ApplianceSpec]) -> None:
        wanted = wanted_ports(replace(self.topology, appliances=tuple(appliances)))
        self._layout = Layout(
            self.topology, self.root, allocate(wanted, self.root / "ports.json", [media_listeners(self.topology)])
        )

    async def _start_all(self, commands: Sequence[Command], report: Report) -> None:
        done = 0

        async def start(command: Command) -> None:
            nonlocal done
            await self._start(command)
            done += 1
            report(command.name, done / len(commands))

        for outcome in await asyncio.gather(*(start(command) for command in commands), return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _start(self, command: Command) -> None:
        command.config_file.write_text(yaml.safe_dump(command.settings, sort_keys=False))
        os.chmod(command.config_file, 0o600)
        spec = ProcessSpec(command.name, command.argv, self.root / "logs" / f"{command.name}.log")
        running = self.processes.setdefault(command.name, Running(spec))
        await running.start()

    async def _until_live(self, names: set[str], report: Report) -> None:
        for _ in range(round(LIVE_WITHIN_S / POLL_S)):
            entries = (await self.overview()).appliances
            live = {entry.appliance.id for entry in entries if _is_live(entry)}
            report(f"{len(live & names)} of {len(names)} appliances are live", len(live & names) / len(names))
            if names <= live:
                return
            await asyncio.sleep(POLL_S)
        raise StartFailed(f"not live within {LIVE_WITHIN_S:.0f} s: {', '.join(sorted(names - live))}")

    async def _offer_code(self, kind: PeerKind, name: str, folder: Path) -> None:
        """Writes a fresh one-time code for a newcomer; one that has a certificate that is still good needs none."""
        if any(expires_at(file.read_text()) > time.time() for file in folder.rglob("cert.pem")):
            return
        answer = await self._operator("POST", "/v1/enrolment-codes", CodeRequest(kind, name))
        file = self.layout.code_file(name)
        part = file.with_suffix(".part")
        part.touch(mode=0o600)
        part.write_text(msgspec.json.decode(answer, type=CodeAnswer).code)
        part.replace(file)

    async def _operator(self, method: str, path: str, body: msgspec.Struct | None = None) -> bytes:
        if self._client is None:
            token = self.operator_token_file.read_text().strip()
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            self._client = httpx.AsyncClient(base_url=self.url("control-plane"), headers=headers, timeout=20.0)
        content = None if body is None else msgspec.json.encode(body)
        try:
            response = await self._client.request(method, path, content=content)
        except httpx.HTTPError as error:
            raise StartFailed(f"the control plane does not answer {method} {path}: {error!r}") from error
        if response.status_code >= 400:
            raise StartFailed(f"the control plane refused {method} {path}: {response.text}")
        return response.content


def _is_live(entry: ApplianceOverview) -> bool:
    """Heard of since it was started, and well enough that viewers are sent there."""
    health = entry.health
    heard = entry.connected and not health.suspect
    return entry.appliance.state is ApplianceState.LIVE and heard and health.serving and health.score > 0


def _site(spec: SiteSpec) -> Site:
    window = FillWindow(spec.window_start, spec.window_end, "UTC", spec.window_rate_bps, spec.window_volume_bytes)
    prefixes = tuple(Prefix(cidr) for cidr in spec.prefixes)
    return Site(spec.id, spec.name, spec.isp, spec.region, prefixes, window=window, is_tier=spec.is_tier)
