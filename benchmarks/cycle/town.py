"""The processes of the cycle: control plane, steering, origin, two sites with two appliances each, all in one compressed time.

async with open_town(folder, setting, entries) as town:   # enrolled, published, live; the calendar stands until `town.lab.began_at`
    await town.operator.overview()

What an operator, the origin and playback would say over the public doors is said here once, before the calendar runs: sites, appliances, codes, titles,
the media key. Afterwards nobody is told anything.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import msgspec
import yaml
from joserfc.jwk import ECKey

from benchmarks.cycle.catalogue import DAY_S, HOUR_S, Entry, catalogue_bytes, digests_of, titles_of
from chassis.client import ServiceClient
from chassis.enrolment import enrol
from chassis.tls import client_context
from companions.signing import load_or_make
from contracts.digests import FileDigests
from contracts.enrolment import CodeAnswer, CodeRequest, PeerKind
from contracts.keys import KeySet, KeyUse
from contracts.labtime import LabTime
from contracts.overview import Overview
from contracts.places import ApplianceRegistration, ApplianceState, FillWindow, Prefix, Site
from contracts.tokens.claims import MediaClaims
from contracts.tokens.jwt import sign
from contracts.world import FallbackOrigin
from demo.operator import Operator, read_token
from onebox.layout import Command, Layout, wanted_ports
from onebox.ports import allocate
from onebox.processes import ProcessSpec, Running, StartFailed
from onebox.topology import ApplianceSpec, SiteSpec, Topology

MIB = 1 << 20
PLANNED, PULLED = "a", "b"
"""The site that follows the plan, and the one that only pulls through."""
LIVE_WITHIN_S = 60.0
POLL_S = 0.25
PREFIXES = {PLANNED: "127.1.0.0/16", PULLED: "127.2.0.0/16"}
CLIENTS = {PLANNED: "127.1.9.50", PULLED: "127.2.9.50"}


@dataclass(frozen=True, slots=True)
class Setting:
    """Everything about the run that is not the catalogue."""

    day_s: float = 120.0
    """Seconds of the machine per day of the calendar."""
    disk_share: float = 0.1
    """Of a site's disks, in the catalogue's bytes."""
    cache_share: float = 0.2
    second_copy_share: float = 0.02
    """As in the rows of `plan/inside-gain`: with two appliances a second copy costs as much disk as another title."""
    plan_at: str = "01:00"
    window: tuple[str, str] = ("02:00", "10:00")
    fills_in_hours: float = 4.0
    """The rate cap would fill the whole disk of a site in so many hours of the calendar."""
    report_s: float = 1.0
    set_up_s: float = 60.0
    """The calendar stands so long, while everything is started and published; with 0 it runs from the first start."""
    planned: tuple[str, ...] = ("a1", "a2")
    pulled: tuple[str, ...] = ("b1", "b2")

    @property
    def speed(self) -> float:
        return DAY_S / self.day_s


@dataclass
class Town:
    """The running system. `lab` is its time."""

    layout: Layout
    lab: LabTime
    setting: Setting
    entries: Sequence[Entry]
    digests: list[FileDigests]
    disk_bytes: int
    """Of one appliance."""
    rate_bps: int
    """The cap of a site's window, per second of the calendar."""
    processes: dict[str, Running] = field(default_factory=dict)
    key: ECKey | None = None
    kid: str = ""
    _operator: Operator | None = None

    @property
    def operator(self) -> Operator:
        assert self._operator is not None, "the town is open"
        return self._operator

    @property
    def steering_url(self) -> str:
        return self.layout.url("steering.http")

    def state_dir(self, appliance: str) -> Path:
        return self.layout.folder("oca") / appliance / "state"

    def token(self, title_id: str) -> str:
        """A media token as playback signs it: the machine's time, not the calendar's."""
        assert self.key is not None, "the media key is published"
        now = time.time()
        claims = MediaClaims("playback", f"session-{title_id}", f"/media/{title_id}/", ("base", "hd"), now + DAY_S, now)
        return sign(claims, self.key, self.kid)

    def pull_the_plug(self, name: str) -> None:
        """kill −9 for a process with all it started; it stays dead until `revive`."""
        self.processes[name].hold()
        self.processes[name].kill_group()

    def revive(self, name: str) -> None:
        self.processes[name].release()

    async def stop(self) -> None:
        """Appliances first, the control plane last."""
        order = list(self.processes.values())
        await asyncio.gather(*(process.stop() for process in order[1:]))
        for process in order[:1]:
            await process.stop()
        if self._operator is not None:
            await self._operator.aclose()

    # -- setting up --------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        for folder in ("config", "codes", "logs"):
            (self.layout.root / folder).mkdir(parents=True, exist_ok=True)
        services = {command.name: command for command in self.layout.services()}
        await self._start(services["control-plane"], self._control_plane_settings())
        self._operator = Operator(self.layout.url("control-plane.http"), read_token(self.layout.operator_token))
        await self._publish()
        await self._put_places()
        await self._offer_code(PeerKind.SERVICE, "steering")
        await self._start(services["steering"], {})
        for spec in self.layout.topology.appliances:
            await self._offer_code(PeerKind.APPLIANCE, spec.id)
        await asyncio.gather(
            *(
                self._start(self.layout.appliance(spec), {"lab": msgspec.to_builtins(self.lab)})
                for spec in self.layout.topology.appliances
            )
        )
        await self._until_live()
        if self.setting.set_up_s and time.time() > self.lab.began_at:
            raise StartFailed(
                f"the calendar ran before everything was live: more than {self.setting.set_up_s:g} s are needed"
            )

    def _control_plane_settings(self) -> dict[str, object]:
        # What a keeper needs at least for anything (ticks, connections) is minutes of a compressed night.
        escalation_s = 1.5 * self.setting.speed
        return {
            "lab": msgspec.to_builtins(self.lab),
            "plans": {"at": self.setting.plan_at},
            # A page of check bytes per extent is more of a small extent than of a usual one.
            "planner": {
                "escalation_s": escalation_s,
                "store_overhead": 0.03,
                "second_copy_share": self.setting.second_copy_share,
            },
        }

    async def _publish(self) -> None:
        """Playback's media key, the origin's address, every title: over the doors that the services use."""
        media_key = load_or_make(self.layout.folder("playback") / "media.key", KeyUse.MEDIA)
        self.key, self.kid = media_key.private, media_key.kid
        async with self._door("playback") as door:
            await door.put(f"/v1/keys/{media_key.kid}", media_key.public, KeySet)
        async with self._door("origin") as door:
            await self._start_origin()
            origin = FallbackOrigin("origin", self.layout.url("origin.http"), self.layout.url("origin.mtls"))
            await door.put("/v1/origin", origin)
            for title in titles_of(self.entries, self.digests, self.lab.starts_at):
                await door.put(f"/v1/titles/{title.facts.id}", title)

    @asynccontextmanager
    async def _door(self, service: str) -> AsyncIterator[ServiceClient]:
        url = self.layout.url("control-plane.mtls")
        code = await self._code(PeerKind.SERVICE, service)
        folder = self.layout.folder(service) / "tls"
        folder.mkdir(parents=True, exist_ok=True)
        host = self.layout.topology.host
        files = await enrol(
            url, code, kind=PeerKind.SERVICE, name=service, folder=folder, addresses=(host, "localhost")
        )
        async with ServiceClient(url, ssl=client_context(files=files), timeout_s=30.0) as client:
            yield client

    async def _start_origin(self) -> None:
        sizes = self.layout.folder("origin") / "sizes.json"
        sizes.write_bytes(msgspec.json.encode({entry.media.path: entry.size_bytes for entry in self.entries}))
        ports = self.layout.ports
        given = {
            "--sizes": str(sizes),
            "--tls": str(self.layout.folder("origin") / "tls"),
            "--host": self.layout.topology.host,
            "--port": str(ports["origin.http"]),
            "--mtls-port": str(ports["origin.mtls"]),
        }
        argv = [sys.executable, "-m", "benchmarks.cycle.origin", *(text for item in given.items() for text in item)]
        await self._run("origin", tuple(argv))

    async def _put_places(self) -> None:
        start, end = self.setting.window
        whole = self.disk_bytes * len(self.setting.planned)
        # Without volume nothing is ordered for the site that only pulls through.
        for site_id, appliances, volume in ((PLANNED, self.setting.planned, whole), (PULLED, self.setting.pulled, 0)):
            window = FillWindow(start, end, "UTC", self.rate_bps, volume)
            site = Site(site_id, f"Site {site_id}", "Northwind", "DE", (Prefix(PREFIXES[site_id]),), window=window)
            await self.operator.put_site(site)
            for name in appliances:
                registration = ApplianceRegistration(name, site_id, f"{site_id}-main", self.setting.cache_share)
                await self.operator.put_appliance(registration)

    async def _offer_code(self, kind: PeerKind, name: str) -> None:
        file = self.layout.code_file(name)
        file.touch(mode=0o600)
        file.write_text(await self._code(kind, name))

    async def _code(self, kind: PeerKind, name: str) -> str:
        headers = {
            "Authorization": f"Bearer {read_token(self.layout.operator_token)}",
            "Content-Type": "application/json",
        }
        body = msgspec.json.encode(CodeRequest(kind, name))
        async with httpx.AsyncClient(base_url=self.layout.url("control-plane.http"), headers=headers) as client:
            answer = (await client.post("/v1/enrolment-codes", content=body)).raise_for_status()
        return msgspec.json.decode(answer.content, type=CodeAnswer).code

    async def _start(self, command: Command, more: Mapping[str, object]) -> None:
        command.config_file.write_text(yaml.safe_dump({**command.settings, **more}, sort_keys=False))
        await self._run(command.name, command.argv)

    async def _run(self, name: str, argv: tuple[str, ...]) -> None:
        running = Running(ProcessSpec(name, argv, self.layout.root / "logs" / f"{name}.log"))
        self.processes[name] = running
        await running.start()

    async def _until_live(self) -> None:
        wanted = {spec.id for spec in self.layout.topology.appliances}
        for _ in range(round(LIVE_WITHIN_S / POLL_S)):
            if wanted <= live_in(await self.operator.overview()) and await self._is_known_to_steering():
                return
            await asyncio.sleep(POLL_S)
        raise StartFailed(f"not all of {', '.join(sorted(wanted))} were live within {LIVE_WITHIN_S:.0f} s")

    async def _is_known_to_steering(self) -> bool:
        async with httpx.AsyncClient() as client:
            facts = (await client.get(f"{self.steering_url}/v1/world")).json()
        return bool(facts["live"]) and int(facts["appliances"]) == len(self.layout.topology.appliances)


def live_in(overview: Overview) -> set[str]:
    """Appliances that take viewers now."""
    return {
        entry.appliance.id
        for entry in overview.appliances
        if entry.appliance.state is ApplianceState.LIVE
        and entry.connected
        and not entry.health.suspect
        and entry.health.score > 0
    }


@asynccontextmanager
async def open_town(folder: Path, setting: Setting, entries: Sequence[Entry]) -> AsyncIterator[Town]:
    """Everything live and published, the calendar about to run. Stops everything at the end. Raises onebox's StartFailed."""
    digests = await asyncio.to_thread(lambda: [digests_of(entry) for entry in entries])
    site_bytes = int(setting.disk_share * catalogue_bytes(entries))
    disk_bytes = site_bytes // max(len(setting.planned), len(setting.pulled))
    topology = town_topology(folder, setting, disk_bytes)
    layout = Layout(topology, folder, _ports(topology, folder))
    town = Town(
        layout,
        lab_time(setting, time.time()),
        setting,
        entries,
        digests,
        disk_bytes,
        rate_bps=int(site_bytes * 8 / (setting.fills_in_hours * HOUR_S)),
    )
    try:
        await town.begin()
        yield town
    finally:
        await town.stop()


def _ports(topology: Topology, folder: Path) -> dict[str, int]:
    folder.mkdir(parents=True, exist_ok=True)
    return allocate(wanted_ports(topology), folder / "ports.json")


def lab_time(setting: Setting, now: float) -> LabTime:
    """The calendar begins at a midnight a month ago, once everything has had its time to start."""
    midnight = now // DAY_S * DAY_S - 30 * DAY_S
    return LabTime(setting.speed, now + setting.set_up_s, midnight)


def town_topology(folder: Path, setting: Setting, disk_bytes: int) -> Topology:
    sites = tuple(SiteSpec(name, name, "Northwind", "DE", (cidr,)) for name, cidr in PREFIXES.items())
    boxes = [(name, PLANNED, False) for name in setting.planned] + [(name, PULLED, True) for name in setting.pulled]
    return Topology(
        state_dir=str(folder),
        base_port=0,
        sites=sites,
        appliances=tuple(
            ApplianceSpec(
                name,
                site_id,
                f"{PREFIXES[site_id].removesuffix('0.0/16')}0.{11 + number}",
                disk_bytes=disk_bytes,
                extent_bytes=MIB // 2,
                index_map_bytes=8 * MIB,
                cache_share=setting.cache_share,
                workers=1,
                cache_only=cache_only,
                report_s=setting.report_s,
            )
            for number, (name, site_id, cache_only) in enumerate(boxes)
        ),
        log_level="info",
    )
